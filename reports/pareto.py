"""The section that says what speed costs: latency against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import nothing
from reports.glance import TONES
from reports.model import Axis, Column, Line, Panel, ScatterChart, Section, Spot, Table, Value
from reports.speed import estimated
from reports.text import counted
from reports.verdict import metric_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.units import Scale
    from results.row import Row

NAMED = 14
"""Up to so many spots in a plane all get their names; among more, only those that matter."""
_POINTS = (0.0, 100.0)
"""What a metric can be: an interval of a change, carried over to the metric, may reach beyond."""


def pareto(fields: Sequence[Field]) -> Section:
    """Return latency against accuracy."""
    return Section(
        id="pareto",
        title="Latency against accuracy",
        short="Accuracy",
        lead="Up and to the left is better. The dashed line joins the ranked rows that no other beats on both. "
        "Whiskers are 95 % intervals: across, of the latency; upright, of the change against FP32 on the same images.",
        panels=tuple(panel for field in fields if (panel := _panel(field))),
        empty=nothing(fields, "accuracy", "No row has both a latency and an accuracy."),
    )


def _panel(field: Field) -> Panel | None:
    pairs = [(name, row) for name, row in field if row.latency and row.accuracy]
    measured = [row.latency.host_to_host.estimate for _, row in pairs if row.latency]
    if not measured:
        return None
    scale = units.durations(measured)
    frontier = {field.names[variant].index for variant in field.standing.frontier}
    key = {field.names[variant].index for variant in (*field.standing.frontier, *field.standing.best)}
    spots = [
        spot for name, row in pairs if (spot := _spot(name, row, scale, named=len(pairs) <= NAMED or name.index in key))
    ]
    primary = next(metric_name(row.accuracy.primary) for _, row in pairs if row.accuracy)
    drawn = sorted((spot.x, spot.y) for spot in spots if spot.row in frontier)
    baseline = field.rows[field.baseline].accuracy if field.baseline else None
    level = baseline.metrics.get(baseline.primary) if baseline else None
    chart = ScatterChart(
        id=f"pareto-{field.anchor}",
        title=f"Latency against {primary}",
        description=f"{counted(len(spots), 'row')} by median host-to-host latency and {primary}; "
        f"{counted(len(drawn), 'row')} on the Pareto frontier. The table below holds the same numbers.",
        x=Axis(f"median latency, {scale.unit}, log scale", log=True),
        y=Axis(f"{primary}, points", within=_POINTS),
        spots=tuple(spots),
        frontier=tuple(drawn),
        rule=None if level is None else level * 100,
        rule_label="FP32 baseline",
    )
    lines = tuple(_line(name, row, scale, on=name.index in frontier) for name, row in pairs)
    columns = (
        Column("median latency", scale.unit),
        Column(primary, "points"),
        Column("against FP32", "points", hint="paired change on the same images, 95 % interval"),
        Column("target", numeric=False),
        Column("images"),
        Column("frontier", numeric=False),
    )
    missing = sum(1 for _, row in field if row.latency and not row.accuracy)
    notes = (f"{counted(missing, 'row')} without an accuracy: not shown here.",) if missing else ()
    table = Table(f"t-pareto-{field.anchor}", f"Latency and accuracy, {field.workload}", columns, lines)
    return Panel(field.workload, (chart,) if len(spots) > 1 else (), (table,), notes)


def _spot(name: RowName, row: Row, scale: Scale, *, named: bool) -> Spot | None:
    """Return a row by latency and metric; its vertical whisker is the interval of the change against FP32."""
    assert row.latency, "only measured rows are placed"
    assert row.accuracy, "only evaluated rows are placed"
    latency, accuracy = row.latency.host_to_host, row.accuracy
    metric, change = accuracy.metrics.get(accuracy.primary), accuracy.change
    if metric is None:
        return None
    shown, bounds = f"{metric_name(accuracy.primary)} {units.fixed(metric * 100, 1)} points", None
    if change is not None:
        ends = ((metric + end - change.estimate) * 100 for end in (change.low, change.high))
        low, high = (min(max(end, _POINTS[0]), _POINTS[1]) for end in ends)
        bounds = low, high
        estimate, interval = units.change_in_points(change.estimate, change.low, change.high)
        shown = f"{shown}, {estimate} {interval} against FP32"
    return Spot(
        row=name.index,
        x=latency.estimate / scale.divisor,
        x_bounds=scale.ends(latency),
        y=metric * 100,
        y_bounds=bounds,
        tip=f"{name.label}: {scale.quantity(latency.estimate)} {scale.bounds(latency)}; {shown}",
        named=named,
    )


def _line(name: RowName, row: Row, scale: Scale, *, on: bool) -> Line:
    assert row.latency, "only measured rows are listed"
    assert row.accuracy, "only evaluated rows are listed"
    accuracy, change = row.accuracy, row.accuracy.change
    metric = accuracy.metrics.get(accuracy.primary)
    tone = TONES.get(accuracy.verdict, "")
    against = Value(units.MISSING)
    if change is not None:
        text, bounds = units.change_in_points(change.estimate, change.low, change.high)
        against = Value(text, change.estimate, bounds)
    return Line(
        name.index,
        (
            estimated(row.latency.host_to_host, scale),
            Value(units.MISSING if metric is None else units.fixed(metric * 100, 1), metric),
            against,
            Value(accuracy.verdict, accuracy.verdict, tone=tone),
            Value(f"{accuracy.images:,}", accuracy.images),
            Value("on it" if on else units.MISSING, 0 if on else None),
        ),
    )
