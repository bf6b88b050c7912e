"""One quantity of one cell, before and after, judged by the rule of its kind: from readings to changes, purely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from results.changes import Change
from results.comparison import LEVEL, Design, Margin, Measure, Side, Verdict, compare, percent
from results.quantities import ALIKE, Better, Rule, quantity
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from results.comparison import Compared
    from results.quantities import Quantity
    from results.snapshot import Reading

QUIET = 5
"""Quiet launches that must be left on each side for the noisy ones to be left out."""
_MOST = 1e12  # beyond this a ratio says nothing: one side is as good as 0
_ROUNDING = 1e-9  # of a metric: 0.850 - 0.845 is a little more than 0.005


@dataclass(frozen=True)
class Subject:
    """What is judged. ``margin`` is in what the quantity's rule takes."""

    key: str
    label: str
    quantity: Quantity
    before: Reading
    after: Reading
    margin: float
    gated: bool = False
    notes: tuple[str, ...] = ()

    def change(self, verdict: Verdict, message: str, **figures: Any) -> Change:
        """Return what it comes to, with ``figures`` as other fields of the change."""
        return Change(
            key=self.key,
            label=self.label,
            quantity=self.quantity.name,
            verdict=verdict,
            message=message,
            gated=self.gated,
            margin=self.margin,
            **{"notes": self.notes, **figures},
        )


def judged(subjects: Sequence[Subject], level: float = LEVEL, design: Design = Design.APART) -> tuple[Change, ...]:
    """Return a change for each subject, in their order.

    Those of ``Rule.FAMILY`` are tested together; the gated ones apart from the others, which cost them no power so.
    """
    together = [s for s in subjects if s.quantity.rule is Rule.FAMILY]
    found: dict[int, Change] = {}
    for gated in (True, False):
        family = [subject for subject in together if subject.gated is gated]
        found |= dict(zip(map(id, family), by_launch(family, level, design), strict=True))
    for subject in subjects:
        if id(subject) not in found:
            found[id(subject)] = _alone(subject, level, design)
    return tuple(found[id(subject)] for subject in subjects)


def family_size(changes: Iterable[Change]) -> int:
    """Return how many gated changes were tested together: those with launches enough for a test."""
    return sum(c.gated and c.power is not None and quantity(c.quantity).rule is Rule.FAMILY for c in changes)


def _alone(subject: Subject, level: float, design: Design) -> Change:
    match subject.quantity.rule:
        case Rule.BOUNDS:
            return by_bounds(subject)
        case Rule.EXTENT:
            return by_extent(subject)
        case Rule.POINTS:
            return by_points(subject)
        case _:
            return by_launch([subject], level, design)[0]


@dataclass(frozen=True)
class _Launches:
    """The launches of both sides that count, and what is to be said of those that do not."""

    before: Mapping[int, float]
    after: Mapping[int, float]
    notes: tuple[str, ...] = ()
    why_not: str = ""  # nothing can be said of them at all

    @property
    def testable(self) -> bool:
        """Whether each side has launches enough to show a spread."""
        return not self.why_not and min(len(self.before), len(self.after)) >= 2


def by_launch(family: Sequence[Subject], level: float, design: Design) -> list[Change]:
    """Return the changes of a family that is tested together; what has too few launches for a test is not of it.

    How many launches there are does not depend on what they say, so that leaving such members out keeps the level.
    """
    launches = [_launches(subject, design) for subject in family]
    sides = {
        index: tuple(Side(side, _measure(subject.quantity), subject.quantity.title) for side in (own.before, own.after))
        for index, (subject, own) in enumerate(zip(family, launches, strict=True))
        if not own.why_not
    }
    pairs = {str(index): (before, after) for index, (before, after) in sides.items()}
    margins = {name: Margin(family[int(name)].margin) for name in pairs}
    together = {name: pair for name, pair in pairs.items() if launches[int(name)].testable}
    compared = compare(together, margins, level, design)
    for name, pair in pairs.items():
        if name not in compared:
            compared |= compare({name: pair}, margins, level, design)
    return [
        _tested(subject, own, compared.get(str(index)))
        for index, (subject, own) in enumerate(zip(family, launches, strict=True))
    ]


def _tested(subject: Subject, launches: _Launches, compared: Compared | None) -> Change:
    notes = (*launches.notes, *subject.notes)
    if compared is None:
        message = f"{subject.quantity.title}: {launches.why_not}"
        return subject.change(Verdict.INCONCLUSIVE, message, notes=notes)
    return subject.change(
        compared.verdict,
        compared.message,
        before=_geometric_mean(launches.before),
        after=_geometric_mean(launches.after),
        effect=compared.effect,
        adjusted_p=compared.adjusted_p,
        power=compared.power,
        launches_needed=compared.launches_needed if compared.verdict is Verdict.INCONCLUSIVE else None,
        notes=notes,
    )


def _measure(quantity: Quantity) -> Measure:
    return Measure.LATENCY if quantity.better is Better.SMALLER else Measure.THROUGHPUT


def _geometric_mean(launches: Mapping[int, float]) -> float:
    return math.exp(math.fsum(map(math.log, launches.values())) / len(launches))


def _launches(subject: Subject, design: Design) -> _Launches:
    before, after = _by_index(subject.before), _by_index(subject.after)
    if not all(_positive(side.values()) for side in (before, after)):
        return _Launches({}, {}, why_not="a launch has a value that is not above 0")
    if design is Design.INTERLEAVED:
        return _rounds(subject, before, after)
    noisy = [frozenset(reading.noisy) for reading in (subject.before, subject.after)]
    if not any(noisy):
        return _Launches(before, after)
    words = ", ".join(
        f"{len(flagged)} of {len(side)} {name}"
        for name, flagged, side in zip(("before", "after"), noisy, (before, after), strict=True)
        if flagged
    )
    quiet = [
        {index: value for index, value in side.items() if index not in flagged}
        for flagged, side in zip(noisy, (before, after), strict=True)
    ]
    if min(map(len, quiet)) >= QUIET:
        return _Launches(quiet[0], quiet[1], (f"noisy launches left out: {words}",))
    return _Launches(before, after, (f"noisy launches counted, too few are quiet: {words}",))


def _positive(values: Collection[float]) -> bool:
    # The sum is finite where all are, but for sums beyond a double's range, which no duration comes near.
    return bool(values) and min(values) > 0 and math.isfinite(sum(values))


def _rounds(subject: Subject, before: Mapping[int, float], after: Mapping[int, float]) -> _Launches:
    """Return the launches of the rounds that both sides have; a round with a noisy launch is noisy."""
    common = sorted(before.keys() & after.keys())
    if not common:
        return _Launches({}, {}, why_not="the two sides have no round in common")
    notes = []
    single = len(before) + len(after) - 2 * len(common)
    if single:
        notes.append(f"launches without their like on the other side left out: {single}")
    flagged = {*subject.before.noisy, *subject.after.noisy}
    quiet = [index for index in common if index not in flagged]
    if len(quiet) < len(common):
        words = f"{len(common) - len(quiet)} of {len(common)}"
        if len(quiet) >= QUIET:
            notes.append(f"noisy rounds left out: {words}")
            common = quiet
        else:
            notes.append(f"noisy rounds counted, too few are quiet: {words}")
    return _Launches({i: before[i] for i in common}, {i: after[i] for i in common}, tuple(notes))


def _by_index(reading: Reading) -> dict[int, float]:
    return dict(zip(reading.launches or range(len(reading.values)), reading.values, strict=True))


@dataclass(frozen=True)
class _Bounded:
    value: float
    low: float
    high: float


def by_bounds(subject: Subject) -> Change:
    """Judge by the interval of each side: what counts is only what lies apart by the margin.

    The ratio of any two values inside is at least after.low / before.high and at most after.high / before.low:
    ``regressed`` where that whole range is at or beyond the margin, ``equivalent`` where it is inside. Of a side of
    0, as misses may be, there is no ratio; the first still holds as after.low ≥ (1 + margin) before.high, and the
    second is told by the difference, within ``ALIKE``.
    """
    before, after = _bounded(subject.before), _bounded(subject.after)
    title, margin = subject.quantity.title, _percent(subject.margin)
    if before is None or after is None:
        return subject.change(Verdict.INCONCLUSIVE, f"{title}: one side has no interval")
    worse, better = (after, before) if subject.quantity.better is Better.SMALLER else (before, after)
    factor = 1 + subject.margin
    words = f"{title} {_shown(before, after)}"
    if worse.low >= factor * better.high and worse.low > better.high:
        verdict, message = Verdict.REGRESSED, f"{words}: the intervals lie {margin} or more apart"
    elif better.low >= factor * worse.high and better.low > worse.high:
        verdict, message = Verdict.IMPROVED, f"{words}: the intervals lie {margin} or more apart"
    elif _alike(before, after, factor):
        within = f"±{margin}" if before.value and after.value else f"±{100 * ALIKE:g} point"
        verdict, message = Verdict.EQUIVALENT, f"{words}: inside {within}"
    else:
        verdict, message = Verdict.INCONCLUSIVE, f"{words}: the intervals do not tell {margin} from none"
    effect = _ratio(before, after)
    return subject.change(verdict, message, before=before.value, after=after.value, effect=effect)


def _alike(before: _Bounded, after: _Bounded, factor: float) -> bool:
    if before.value and after.value:
        return after.high < factor * before.low and before.high < factor * after.low
    return max(after.high - before.low, before.high - after.low) < ALIKE


def _bounded(reading: Reading) -> _Bounded | None:
    if reading.low is None or reading.high is None:
        return None
    return _Bounded(reading.values[0], reading.low, reading.high)


def _ratio(before: _Bounded, after: _Bounded) -> Interval | None:
    """Return after / before with the range that it may lie in; ``None`` where a side is 0."""
    estimate = _over(after.value, before.value)
    if not estimate:
        return None
    return Interval(estimate, _over(after.low, before.high), _over(after.high, before.low), 0)


def _over(value: float, by: float) -> float | None:
    ratio = value / by if by > 0 else math.inf
    return ratio if ratio < _MOST else None


def _shown(before: _Bounded, after: _Bounded) -> str:
    found = _ratio(before, after)
    if found is not None:
        bounds = f" [{percent(found.low)}, {percent(found.high)}]" if found.low and found.high else ""
        return percent(found.estimate) + bounds
    sides = (f"{100 * side.value:.3g} % [{100 * side.low:.3g}, {100 * side.high:.3g}]" for side in (before, after))
    return " → ".join(sides)


def by_extent(subject: Subject) -> Change:
    """Judge by the medians, against the margin, and by the ranges of the launches, which must not overlap.

    ``equivalent`` where the medians are within the margin; ``inconclusive`` where they are not and the ranges overlap,
    and where launches differ and a side has one.
    """
    title, margin = subject.quantity.title, _percent(subject.margin)
    before, after = subject.before.values, subject.after.values
    middle = median(before), median(after)
    if min(middle) <= 0:
        return subject.change(Verdict.INCONCLUSIVE, f"{title}: a side is not above 0")
    ratio = middle[1] / middle[0]
    effect = Interval(ratio, None, None, min(len(before), len(after)))
    words = f"{title} {percent(ratio)}"
    apart = max(before) < min(after) or max(after) < min(before)
    inside = 1 / (1 + subject.margin) < ratio < 1 + subject.margin
    if (subject.before.launches or subject.after.launches) and effect.launches < 2:
        verdict, message = Verdict.INCONCLUSIVE, f"{words}: at least two launches a side are needed"
    elif inside:
        verdict, message = Verdict.EQUIVALENT, f"{words}: inside ±{margin}"
    elif not apart:
        verdict, message = Verdict.INCONCLUSIVE, f"{words}: beyond {margin}, but some launches of the sides overlap"
    else:
        worse = (ratio > 1) == (subject.quantity.better is Better.SMALLER)
        message = f"{words}: in every launch" if subject.after.launches else words
        verdict = Verdict.REGRESSED if worse else Verdict.IMPROVED
    return subject.change(verdict, message, before=middle[0], after=middle[1], effect=effect)


def by_points(subject: Subject) -> Change:
    """Judge the difference itself, of one metric on the same images: at the margin or beyond it, or equivalent."""
    before, after = subject.before, subject.after
    metric = after.name or subject.quantity.title
    if before.name != after.name:
        message = f"{subject.quantity.title}: {before.name or 'a metric without a name'} is not {metric}"
        return subject.change(Verdict.INCONCLUSIVE, message)
    difference = after.values[0] - before.values[0]
    points = f"{100 * difference:+.2f} points".replace("-", "−")
    worsening = -difference if subject.quantity.better is Better.LARGER else difference
    if abs(difference) < subject.margin - _ROUNDING or difference == 0:
        verdict, message = Verdict.EQUIVALENT, f"{metric} {points}: inside ±{100 * subject.margin:g} points"
    else:
        verdict, message = Verdict.REGRESSED if worsening > 0 else Verdict.IMPROVED, f"{metric} {points}"
    effect = Interval(difference, None, None, 1)
    return subject.change(verdict, message, before=before.values[0], after=after.values[0], effect=effect)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
