"""The rows of a workload at a glance: what each measure says of them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.model import Column, Line, Table, Value
from reports.speed import against, estimated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.row import Row

TONES = {"passes": "good", "fails": "bad", "undecided": "warn"}
"""How an accuracy verdict is coloured; every verdict is also a word."""


def glance(field: Field) -> Table | None:
    """Return the table under a verdict, ranked rows first, ``None`` where nothing was timed; no column is empty."""
    place = {variant: rank for rank, variant in enumerate((*field.standing.best, *field.standing.rest))}
    pairs = [(name, row) for name, row in field if row.latency or row.throughput]
    pairs.sort(key=lambda pair: place.get(pair[0].variant_id, len(place)))
    if not pairs:
        return None
    rows = [row for _, row in pairs]
    scale = units.durations(row.latency.host_to_host.estimate for row in rows if row.latency)
    sizes = units.sizes(row.memory.peak for row in rows if row.memory)
    offered: tuple[tuple[Column, Callable[[RowName, Row], Value | None]], ...] = (
        (
            Column("median latency", scale.unit, hint="host→host, 95 % interval over launches"),
            lambda _, row: estimated(row.latency.host_to_host, scale) if row.latency else None,
        ),
        (
            Column("against fastest", "×", hint="ratio of latencies; “not ranked”: see Coverage for the reason"),
            lambda name, row: against(field, name.variant_id) if row.latency else None,
        ),
        (
            Column("throughput", "items/s", hint="with the number of streams that suits the engine"),
            lambda _, row: estimated(row.throughput.items_per_s, units.PLAIN) if row.throughput else None,
        ),
        (
            Column("against FP32", "points", hint="paired change on the same images, 95 % interval"),
            lambda _, row: _change(row),
        ),
        (Column("target", numeric=False, hint="of the accuracy, as the suite sets it"), lambda _, row: _target(row)),
        (
            Column("peak memory", sizes.unit),
            lambda _, row: Value(sizes.number(row.memory.peak), row.memory.peak) if row.memory else None,
        ),
    )
    filled = [(column, [value(name, row) for name, row in pairs]) for column, value in offered]
    shown = [(column, values) for column, values in filled if any(value is not None for value in values)]
    lines = tuple(
        Line(name.index, tuple(values[place] or Value(units.MISSING) for _, values in shown))
        for place, (name, _) in enumerate(pairs)
    )
    columns: Sequence[Column] = [column for column, _ in shown]
    return Table(f"t-glance-{field.anchor}", f"Rows at a glance, {field.workload}", tuple(columns), lines)


def _change(row: Row) -> Value | None:
    accuracy = row.accuracy
    if accuracy is None:
        return None
    if accuracy.change is None:
        return Value("reference", 0.0, tone="quiet") if accuracy.verdict == "reference" else None
    text, bounds = units.change_in_points(accuracy.change.estimate, accuracy.change.low, accuracy.change.high)
    return Value(text, accuracy.change.estimate, bounds)


def _target(row: Row) -> Value | None:
    if row.accuracy is None:
        return None
    verdict = row.accuracy.verdict
    return Value(verdict, verdict, tone=TONES.get(verdict, "quiet"))
