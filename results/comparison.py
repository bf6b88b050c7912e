"""Whether two sides of launches differ: the effect, its tests over a family of cells, and a verdict by the margin.

Pure functions over launch medians and rates. Status, memory and accuracy have rules of their own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from results.families import welch_log_ratios
from results.resolution import MOST, POWER, Spread, detection, launches_needed
from results.row import Interval
from results.statistics import holm, paired_log_ratio

if TYPE_CHECKING:
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
    name: str = ""  # what messages call it; its measure where empty


@dataclass(frozen=True)
class Resolving:
    """How many launches an answer takes, worked out when it is asked for: over a family that is most of the time."""

    spread: Spread
    margin: Margin
    detecting: float  # levels
    equating: float

    @functools.cached_property
    def launches(self) -> int | None:
        """Launches a side for an answer with 90 % power; ``None``: over 1,000."""
        return launches_needed(self.spread, self.margin.log, self.detecting, self.equating)


@dataclass(frozen=True)
class Compared:
    """What the launches say of after against before."""

    effect: Interval  # after / before, with its 95 % interval; launches of the smaller side, or pairs
    p: float  # one-sided, of no change, in the direction that the estimate has
    adjusted_p: float  # over the family (Holm)
    verdict: Verdict
    message: str
    power: float | None = None  # to find a change of the margin, as the first of the family; None: no spread is known
    equivalence: tuple[float, float] | None = None  # interval of the two one-sided tests; 90 % at ``LEVEL``
    resolving: Resolving | None = field(default=None, repr=False)  # None: no spread is known

    @property
    def launches_needed(self) -> int | None:
        """Launches a side for an answer with 90 % power; ``None``: unknown, or over 1,000."""
        return None if self.resolving is None else self.resolving.launches


def compare(
    family: Mapping[str, tuple[Side, Side]],
    margin: Margin | Mapping[str, Margin] = MARGIN,
    level: float = LEVEL,
    design: Design = Design.APART,
) -> dict[str, Compared]:
    """Return each (before, after) of a family judged, in its order.

    ``regressed``: worse by the margin or more, and the one-sided p of no change, adjusted over the family (Holm,
    Scandinavian Journal of Statistics 6, 1979), below ``level``; ``improved`` is its mirror. ``equivalent``: the
    1 - 2 ``level`` interval lies inside the margin, which is two one-sided tests at ``level`` (Schuirmann, Journal of
    Pharmacokinetics and Biopharmaceutics 15, 1987). Else ``inconclusive``. A family that is looked at twice takes a
    level of ``LOOKS`` each time. ``margin``: one for all, or one by name. Raises ``ValueError`` for a level outside
    (0, 0.5), for a side without launches or with a value that is not positive and finite, for sides of different
    measures, and for an interleaved pair that shares no round.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"a level lies between 0 and 0.5, not {level}")
    margins = margin if isinstance(margin, Mapping) else dict.fromkeys(family, margin)
    tests = _tests(family, design)
    worse = holm([test.p_worse for test in tests.values()])
    better = holm([test.p_better for test in tests.values()])
    return {
        name: _judged(test, _Rule(margins[name], level, len(family)), up if test.worsening > 0 else down)
        for (name, test), up, down in zip(tests.items(), worse, better, strict=True)
    }


@dataclass(frozen=True)
class _Rule:
    """What a member of a family is judged by."""

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

    name: str
    ratio: LogRatio
    launches: int
    spread: Spread | None  # None: a side has one launch
    worsening: float
    p_worse: float
    p_better: float


def _tests(family: Mapping[str, tuple[Side, Side]], design: Design) -> dict[str, _Test]:
    for before, after in family.values():
        if before.measure is not after.measure:
            raise ValueError(f"{before.measure} is not compared with {after.measure}")
    if design is Design.INTERLEAVED:
        return {name: _paired(before, after) for name, (before, after) in family.items()}
    pairs = [(list(before.launches.values()), list(after.launches.values())) for before, after in family.values()]
    return {
        name: _test(sides, ratio, variances, min(map(len, pair)))
        for (name, sides), pair, (ratio, variances) in zip(family.items(), pairs, welch_log_ratios(pairs), strict=True)
    }


def _paired(before: Side, after: Side) -> _Test:
    first, second = before.launches, after.launches
    ratio = paired_log_ratio(first, second)
    differences = np.log([second[key] / first[key] for key in sorted(first.keys() & second.keys())])
    spread = (float(differences.var(ddof=1)),) if len(differences) > 1 else ()
    return _test((before, after), ratio, spread, len(differences))


def _test(sides: tuple[Side, Side], ratio: LogRatio, variances: tuple[float, ...], launches: int) -> _Test:
    side, change = sides[0], math.log(ratio.estimate)
    spread = None if ratio.standard_error is None else Spread(variances)
    name = side.name or str(side.measure)
    if side.measure is Measure.LATENCY:
        return _Test(name, ratio, launches, spread, change, ratio.p_above(), ratio.p_below())
    return _Test(name, ratio, launches, spread, -change, ratio.p_below(), ratio.p_above())


def _judged(test: _Test, rule: _Rule, adjusted_p: float) -> Compared:
    ratio, margin = test.ratio, rule.margin
    inside = ratio.interval(1 - 2 * rule.level)
    verdict = Verdict.INCONCLUSIVE
    if abs(test.worsening) >= margin.log and adjusted_p < rule.level:
        verdict = Verdict.REGRESSED if test.worsening > 0 else Verdict.IMPROVED
    elif inside is not None and -margin.log < math.log(inside[0]) and math.log(inside[1]) < margin.log:
        verdict = Verdict.EQUIVALENT
    power = resolving = None
    if ratio.standard_error is not None and test.spread is not None:
        power = detection(margin.log, ratio.standard_error, ratio.degrees, rule.strictest)
        resolving = Resolving(test.spread, margin, rule.strictest, rule.level)
    return Compared(
        effect=Interval(ratio.estimate, ratio.low, ratio.high, test.launches),
        p=test.p_worse if test.worsening > 0 else test.p_better,
        adjusted_p=adjusted_p,
        verdict=verdict,
        message=_message(verdict, test, rule, inside, resolving),
        power=power,
        equivalence=inside,
        resolving=resolving,
    )


def _message(
    verdict: Verdict, test: _Test, rule: _Rule, inside: tuple[float, float] | None, resolving: Resolving | None
) -> str:
    ratio, margin = test.ratio, f"{100 * rule.margin.share:g} %"
    change = f"{test.name} {percent(ratio.estimate)}"
    if inside is None or ratio.low is None or ratio.high is None or resolving is None:
        return f"{change}, and nothing is known of its spread: at least two launches a side are needed"
    if verdict in {Verdict.REGRESSED, Verdict.IMPROVED}:
        return f"{change} [{percent(ratio.low)}, {percent(ratio.high)}]"
    interval = f"{change} [{percent(inside[0])}, {percent(inside[1])}] at {1 - 2 * rule.level:.0%}"
    if verdict is Verdict.EQUIVALENT:
        return f"{interval}: inside ±{margin}"
    needed = resolving.launches
    if needed is None:
        return f"this machine cannot tell {margin} from none, not even with {MOST:,} launches; {interval}"
    if needed > test.launches:
        return f"this machine cannot tell {margin} from none; about {needed} launches would; {interval}"
    return f"{interval}: on which side of {margin} it lies is open, though {needed} launches have {POWER:.0%} power"


def percent(ratio: float) -> str:
    """Return a ratio as a change, ``+3.1 %``, with a true minus sign."""
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")
