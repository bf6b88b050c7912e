"""The history of one quantity of one cell on one hardware: its levels, where they change, and what changed there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from results.change_points import LEVEL, SHORTEST, segmentation
from results.environments import differences
from results.quantities import Better, quantity
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from results.acknowledged import Acknowledgement
    from results.change_points import ChangePoint, Segmentation
    from results.changes import Difference
    from results.points import Point
    from results.quantities import Quantity

LAST = 200
"""Points that are looked at unless said otherwise."""


@dataclass(frozen=True)
class Series:
    """Points of one cell, one quantity and one hardware, oldest first; environments may differ from point to point."""

    cell_id: str
    label: str
    quantity: str
    hw_id: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Spot:
    """One run, as it is shown. Its value is the median of its launches, which a noisy minority hardly moves."""

    run_id: str
    created_at: str
    value: float  # in the quantity's unit
    low: float  # of its launches the smallest, and the largest
    high: float
    launches: int  # 0 where the value is one of all of them together
    noisy: int
    env_id: str
    revision: str
    left_out: str = ""  # why the search for changes does not see it


@dataclass(frozen=True)
class Shift:
    """A change of level, and what changed around it."""

    index: int  # of the first spot of the new level
    run_id: str
    created_at: str
    before_run_id: str  # the last of the old level
    before: float  # levels, in the quantity's unit
    after: float
    effect: Interval  # after / before; of shares after - before
    worsening: float  # how far to the worse: the logarithm of the effect, or the difference; below 0: an improvement
    delay: int  # points of the new level after which it was seen
    p: float
    age: int  # spots since, the first of the new level counted
    revisions: tuple[str, str]  # of the last of the old level and the first of the new one; empty where there is none
    causes: tuple[Difference, ...] = ()  # differences of environment
    causes_run_id: str = ""  # the run that they came with
    acknowledgement: Acknowledgement | None = None

    @property
    def worse(self) -> bool:
        """Whether the new level is the worse one."""
        return self.worsening > 0


@dataclass(frozen=True)
class History:
    """A series in levels."""

    cell_id: str
    label: str
    hw_id: str
    quantity: Quantity
    spots: tuple[Spot, ...]
    shifts: tuple[Shift, ...]
    level: Interval | None = None  # the last one, in the quantity's unit; its ``launches`` are its points
    notes: tuple[str, ...] = ()

    @property
    def open(self) -> tuple[Shift, ...]:
        """Changes that nobody has acknowledged."""
        return tuple(shift for shift in self.shifts if shift.acknowledgement is None)

    @property
    def worst(self) -> float:
        """How far the worst of the open changes went to the worse; below 0 where all are improvements."""
        return max((shift.worsening for shift in self.open), default=-math.inf)


def history(
    series: Series, acknowledgements: Iterable[Acknowledgement] = (), *, level: float = LEVEL, seed: int = 0
) -> History:
    """Return a series in levels (``results.change_points``), with what changed around each change.

    The smallest change is the quantity's step. A point whose launches were noisy by more than a half is shown and
    marked, and left out of the search; so is one that is not above zero where changes are ratios. An acknowledged
    change sets a level of its own from its run on, by the spread of the whole series.
    """
    kind = quantity(series.quantity)
    spots = tuple(_spot(point, kind) for point in series.points)
    seen = [index for index, spot in enumerate(spots) if not spot.left_out]
    told = _told(series, seen, acknowledgements)
    values = [spots[index].value for index in seen]
    # Points are told apart by differences: of the exponentials, logarithms are the values themselves.
    found = segmentation(
        [math.exp(value) for value in values] if kind.is_share else values,
        minimum_share=kind.step,
        level=level,
        seed=seed,
        known=list(told),
    )
    shifts = tuple(
        _shift(series, kind, change, seen, told[change.known] if change.known else None) for change in found.changes
    )
    return History(
        cell_id=series.cell_id,
        label=series.label,
        hw_id=series.hw_id,
        quantity=kind,
        spots=spots,
        shifts=shifts,
        level=_last(found, kind),
        notes=tuple(_notes(spots, seen)),
    )


def _spot(point: Point, kind: Quantity) -> Spot:
    launches = len(point.values) if point.by_launch else 0
    spot = Spot(
        run_id=point.run_id,
        created_at=point.created_at,
        value=median(point.values),
        low=min(point.values),
        high=max(point.values),
        launches=launches,
        noisy=point.noisy,
        env_id=point.env_id,
        revision=point.revision,
    )
    if 2 * point.noisy > launches:
        most = f"{point.noisy} of {launches}" if point.by_launch else "most"
        return replace(spot, left_out=f"{most} launches were noisy")
    if not math.isfinite(spot.value) or (not kind.is_share and spot.value <= 0):
        return replace(spot, left_out=f"{spot.value:g} is part of no ratio")
    return spot


def _told(
    series: Series, seen: Sequence[int], acknowledgements: Iterable[Acknowledgement]
) -> dict[int, Acknowledgement]:
    """Return the acknowledgements of this series by the place, among the points seen, that a level begins at."""
    mine = (series.cell_id, series.quantity, series.hw_id)
    told = {}
    for one in acknowledgements:
        if (one.cell_id, one.quantity, one.hw_id) != mine or not series.points:
            continue
        place = next((i for i, point in enumerate(series.points) if point.run_id == one.run_id), None)
        if place is None and one.created_at >= series.points[0].created_at:
            place = next((i for i, point in enumerate(series.points) if point.created_at >= one.created_at), None)
        begin = None if place is None else next((k for k, index in enumerate(seen) if index >= place), None)
        if begin:  # before the first point there is no other level
            told[begin] = one
    return told


def _shift(
    series: Series, kind: Quantity, change: ChangePoint, seen: Sequence[int], acknowledged: Acknowledgement | None
) -> Shift:
    points, index, last = series.points, seen[change.index], seen[change.index - 1]
    effect = _difference(change.ratio) if kind.is_share else change.ratio
    change_of_log = math.log(change.ratio.estimate)
    causes, causes_run_id = _causes(points, index)
    return Shift(
        index=index,
        run_id=points[index].run_id,
        created_at=points[index].created_at,
        before_run_id=points[last].run_id,
        before=_in_unit(change.before, kind),
        after=_in_unit(change.after, kind),
        effect=effect,
        worsening=change_of_log if kind.better is Better.SMALLER else -change_of_log,
        delay=change.delay,
        p=change.p,
        age=len(points) - index,
        revisions=(points[last].revision, points[index].revision),
        causes=causes,
        causes_run_id=causes_run_id,
        acknowledgement=acknowledged,
    )


def _causes(points: Sequence[Point], index: int) -> tuple[tuple[Difference, ...], str]:
    """Return the differences of environment nearest to a change, and the run that they came with.

    Noise moves a change by a point or two, so where nothing differs right at it, its neighbours are asked.
    """
    for place in sorted(range(index - SHORTEST + 1, index + SHORTEST), key=lambda place: abs(place - index)):
        if 0 < place < len(points) and points[place - 1].env_id != points[place].env_id:
            found = differences(
                _without_revision(points[place - 1].environment), _without_revision(points[place].environment)
            )
            if found:
                return found, points[place].run_id
    return (), ""


def _without_revision(environment: Mapping[str, object]) -> dict[str, object]:
    """Return the environment but for the revision, which is told as a range."""
    return {place: fact for place, fact in environment.items() if place != "revision"}


def _last(found: Segmentation, kind: Quantity) -> Interval | None:
    if not found.levels:
        return None
    value = found.levels[-1].value
    return _difference(value) if kind.is_share else value


def _in_unit(value: float, kind: Quantity) -> float:
    return math.log(value) if kind.is_share else value


def _difference(ratio: Interval) -> Interval:
    low, high = (None if bound is None else math.log(bound) for bound in (ratio.low, ratio.high))
    return Interval(math.log(ratio.estimate), low, high, ratio.launches)


def _notes(spots: Sequence[Spot], seen: Sequence[int]) -> list[str]:
    left_out = len(spots) - len(seen)
    return [f"{left_out} of {len(spots)} points are left out of the search for changes"] if left_out else []
