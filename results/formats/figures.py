"""What a run says of each quantity of each cell: an estimate with its interval, under a name that stays the same."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.formats.words import showable
from results.quantities import quantity
from results.row import Interval
from results.statistics import launch_interval, rate_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from results.changes import Change, Comparison
    from results.quantities import Quantity
    from results.snapshot import CellState, Reading, Snapshot


@dataclass(frozen=True)
class Figure:
    """One quantity of one cell, in the quantity's unit; ``name`` is the cell's, unique among all figures' cells."""

    name: str
    cell: CellState
    quantity: Quantity
    reading: Reading
    interval: Interval  # bounds are ``None`` where there are none

    @property
    def launches(self) -> int | None:
        """How many launches have a value of it; ``None`` where it has one over all of them."""
        return len(self.reading.launches) or None


@dataclass(frozen=True)
class Named:
    """A cell with its name."""

    name: str
    cell: CellState


def named(snapshot: Snapshot) -> tuple[Named, ...]:
    """Return the cells by label; of cells that share one, the beginning of the id tells them apart."""
    return tuple(
        Named(name, cell)
        for name, cell in zip(_unique((c.label, c.cell_id) for c in snapshot.cells), snapshot.cells, strict=True)
    )


def figures(snapshot: Snapshot) -> tuple[Figure, ...]:
    """Return what was measured, in the order of the run."""
    return tuple(figure for each in named(snapshot) for figure in figures_of(each))


def figures_after(comparison: Comparison) -> tuple[Figure, ...]:
    """Return what was measured after the change, under the names of the comparison, which both sides share."""
    return tuple(figure for each in named_after(comparison) for figure in figures_of(each))


def named_after(comparison: Comparison) -> tuple[Named, ...]:
    """Return the cells after the change, under the names of the comparison."""
    names, identity = names_of(comparison.changes), comparison.rules.identity
    return tuple(Named(names.get(identity(each.cell), each.name), each.cell) for each in named(comparison.after))


def figures_of(each: Named) -> tuple[Figure, ...]:
    """Return what was measured of one cell."""
    return tuple(
        Figure(each.name, each.cell, known, reading, interval(reading, known))
        for reading in each.cell.readings
        if reading.values
        for known in [quantity(reading.quantity)]
    )


def names_of(changes: Iterable[Change]) -> Mapping[str, str]:
    """Return the name of each key that has a change."""
    labels = {change.key: change.label for change in changes}
    return dict(zip(labels, _unique((label, key) for key, label in labels.items()), strict=True))


def interval(reading: Reading, known: Quantity) -> Interval:
    """Return a reading as an estimate with its 95 % interval over launches.

    Durations: geometric mean with the t interval of the logarithms; rates: arithmetic mean; else the median, which has
    bounds only where the reading brings them.
    """
    values = reading.values
    derived = reading.low is None and reading.high is None and len(values) > 1
    if derived and known.unit == "ns" and min(values) > 0:
        return launch_interval(values)
    if derived and known.unit == "1/s" and min(values) >= 0:
        return rate_interval(values)
    return Interval(statistics.median(values), reading.low, reading.high, len(values))


def _unique(labels: Iterable[tuple[str, str]]) -> list[str]:
    """Return the first of each pair, with the beginning of the second where the first is there twice."""
    pairs = [(showable(label), identity) for label, identity in labels]
    counts = Counter(label for label, _ in pairs)
    return [label if counts[label] == 1 else f"{label} #{identity[:8]}" for label, identity in pairs]
