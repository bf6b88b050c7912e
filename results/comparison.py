"""Whether two sides of launches differ: the effect, its tests over a family of cells, and a verdict by the margin.

Pure functions over launch medians and rates. Status, memory and accuracy have rules of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from results.resolution import MOST, POWER, Spread, detection, launches_needed
from results.row import Interval
from results.statistics import holm, paired_log_ratio, welch_log_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.statistics import LogRatio

LEVEL = 0.05
"""Chance of any false alarm in a family that is looked at once."""
LOOKS = (0.01, 0.04)
"""The levels of a first look and of a second one with more launches: split beforehand, they add up to ``LEVEL``."""


class Measure(StrEnum):
    """What a launch is judged by."""

    LATENCY = "latency"  # nanoseconds: more is worse
    THROUGHPUT = "throughput"  # items per second: less is worse


class Design(StrEnum):
    """How the launches of the two sides lie in time."""

    APART = "apart"  # in runs of their own: Welch's test
    INTERLEAVED = "interleaved"  # equal indices ran in the same round: paired, so that drift cancels


class Verdict(StrEnum):
    """What a comparison comes to."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Margin:
    """δ: the smallest change that matters, as a share. It is the user's alone and never grows with the noise."""

    share: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"a margin lies between 0 and 1, not {self.share}")

    @property
    def log(self) -> float:
        """The margin of a log ratio; down as far as up, so that the two directions are each other's mirror."""
        return math.log1p(self.share)


MARGIN = Margin()


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a value per launch, by its index."""

    launches: Mapping[int, float]
    measure: Measure = Measure.LATENCY


@dataclass(frozen=True)
class Compared:
    """What the launches say of after against before."""

    effect: Interval  # after / before, with its 95 % interval; launches of the smaller side, or pairs
    p: float  # one-sided, of no change, in the direction that the estimate has
    adjusted_p: float  # over the family (Holm)
    verdict: Verdict
    message: str
    power: float | None = None  # to find a change of the margin, as the first of the family; None: no spread is known
    launches_needed: int | None = None  # a side, for an answer with 90 % power; None: unknown, or over 1,000
    equivalence: tuple[float, float] | None = None  # interval of the two one-sided tests; 90 % at ``LEVEL``


def compare(
    family: Mapping[str, tuple[Side, Side]],
    margin: Margin = MARGIN,
    level: float = LEVEL,
    design: Design = Design.APART,
) -> dict[str, Compared]:
    """Return each (before, after) of a family judged, in its order.

    ``regressed``: worse by the margin or more, and the one-sided p of no change, adjusted over the family (Holm,
    Scandinavian Journal of Statistics 6, 1979), below ``level``; ``improved`` is its mirror. ``equivalent``: the
    1 - 2 ``level`` interval lies inside the margin, which is two one-sided tests at ``level`` (Schuirmann, Journal of
    Pharmacokinetics and Biopharmaceutics 15, 1987). Else ``inconclusive``. A family that is looked at twice takes a
    level of ``LOOKS`` each time. Raises ``ValueError`` for a level outside (0, 0.5), for a side without launches or
    with a value that is not positive and finite, for sides of different measures, and for an interleaved pair that
    shares no round.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"a level lies between 0 and 0.5, not {level}")
    rule = _Rule(margin, level, len(family))
    tests = {name: _test(before, after, design) for name, (before, after) in family.items()}
    worse = holm([test.p_worse for test in tests.values()])
    better = holm([test.p_better for test in tests.values()])
    return {
        name: _judged(test, rule, up if test.worsening > 0 else down)
        for (name, test), up, down in zip(tests.items(), worse, better, strict=True)
    }


@dataclass(frozen=True)
class _Rule:
    """What every member of a family is judged by."""

    margin: Margin
    level: float
    size: int  # of the family

    @property
    def strictest(self) -> float:
        """The level that the smallest p of the family must keep."""
        return self.level / self.size


@dataclass(frozen=True)
class _Test:
    """One pair of sides. ``worsening`` is the log ratio, positive where after is worse."""

    measure: Measure
    ratio: LogRatio
    launches: int
    spread: Spread | None  # None: a side has one launch
    worsening: float
    p_worse: float
    p_better: float


def _test(before: Side, after: Side, design: Design) -> _Test:
    if before.measure is not after.measure:
        raise ValueError(f"{before.measure} is not compared with {after.measure}")
    first, second = before.launches, after.launches
    if design is Design.INTERLEAVED:
        ratio = paired_log_ratio(first, second)
        rounds = sorted(first.keys() & second.keys())
        groups = [np.log([second[key] / first[key] for key in rounds])]
    else:
        ratio = welch_log_ratio(list(first.values()), list(second.values()))
        groups = [np.log(list(side.values())) for side in (first, second)]
    spread = None
    if ratio.standard_error is not None:
        spread = Spread(tuple(float(group.var(ddof=1)) for group in groups))
    launches, change = min(map(len, groups)), math.log(ratio.estimate)
    if before.measure is Measure.LATENCY:
        return _Test(before.measure, ratio, launches, spread, change, ratio.p_above(), ratio.p_below())
    return _Test(before.measure, ratio, launches, spread, -change, ratio.p_below(), ratio.p_above())


def _judged(test: _Test, rule: _Rule, adjusted_p: float) -> Compared:
    ratio, margin = test.ratio, rule.margin
    inside = ratio.interval(1 - 2 * rule.level)
    verdict = Verdict.INCONCLUSIVE
    if abs(test.worsening) >= margin.log and adjusted_p < rule.level:
        verdict = Verdict.REGRESSED if test.worsening > 0 else Verdict.IMPROVED
    elif inside is not None and -margin.log < math.log(inside[0]) and math.log(inside[1]) < margin.log:
        verdict = Verdict.EQUIVALENT
    power = needed = None
    if ratio.standard_error is not None and test.spread is not None:
        power = detection(margin.log, ratio.standard_error, ratio.degrees, rule.strictest)
        needed = launches_needed(test.spread, margin.log, rule.strictest, rule.level)
    return Compared(
        effect=Interval(ratio.estimate, ratio.low, ratio.high, test.launches),
        p=test.p_worse if test.worsening > 0 else test.p_better,
        adjusted_p=adjusted_p,
        verdict=verdict,
        message=_message(verdict, test, rule, inside, needed),
        power=power,
        launches_needed=needed,
        equivalence=inside,
    )


def _message(verdict: Verdict, test: _Test, rule: _Rule, inside: tuple[float, float] | None, needed: int | None) -> str:
    ratio, margin = test.ratio, f"{100 * rule.margin.share:g} %"
    change = f"{test.measure} {_percent(ratio.estimate)}"
    if inside is None or ratio.low is None or ratio.high is None:
        return f"{change}, and nothing is known of its spread: at least two launches a side are needed"
    if verdict in {Verdict.REGRESSED, Verdict.IMPROVED}:
        return f"{change} [{_percent(ratio.low)}, {_percent(ratio.high)}]"
    interval = f"{change} [{_percent(inside[0])}, {_percent(inside[1])}] at {1 - 2 * rule.level:.0%}"
    if verdict is Verdict.EQUIVALENT:
        return f"{interval}: inside ±{margin}"
    if needed is None:
        return f"this machine cannot tell {margin} from none, not even with {MOST:,} launches; {interval}"
    if needed > test.launches:
        return f"this machine cannot tell {margin} from none; about {needed} launches would; {interval}"
    return f"{interval}: on which side of {margin} it lies is open, though {needed} launches have {POWER:.0%} power"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")
