"""What more at once brings: throughput and latency against the size of a batch, and against the number of streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports import units
from reports.model import Column, Line, LineChart, Panel, Path, Section, Table, Value
from reports.speed import CURVES, axis_of, estimated
from reports.text import counted
from reports.workloads import workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reports.field import Field
    from reports.model import Axis, RowName
    from reports.units import Scale
    from results.row import Row, Throughput

_EMPTY = (
    "No row was measured with two batches or two numbers of streams. In the suite, matrix.batch: [1, 4, 16] with the "
    "scenarios “latency” and “throughput” draws the one, matrix.streams: [1, 2, 4] with “throughput” the other."
)


def scaling(fields: Sequence[Field]) -> Section:
    """Return throughput and latency against batch and streams, of the rows that have two points or more."""
    panels: list[Panel] = []
    for group in workloads(fields):
        panels += _by_batch(group)
        for field in group:
            panels += _by_streams(field)
    return Section(
        id="scaling",
        title="Batch and streams",
        short="Batch and streams",
        lead="What more work at once brings, and what it costs: a line is one engine at one precision on one device, "
        "and only what was measured is marked. Throughput that levels off has no more to give; latency that climbs on "
        "is the price. Intervals are in the tables.",
        panels=tuple(panels),
        empty=_EMPTY,
    )


@dataclass(frozen=True)
class _Series:
    """One line of a chart; ``row`` is the one that it is drawn as."""

    row: RowName
    points: tuple[tuple[float, float], ...]


# --- against the batch -------------------------------------------------------------------------------------------


def _by_batch(group: Sequence[Field]) -> Iterator[Panel]:
    ladders = [ladder for ladder in _ladders(group) if len({row.cell.batch for _, row in ladder}) > 1]
    if not ladders:
        return
    ladders.sort(key=_standing)
    rates = _series(ladders, lambda row: row.throughput.items_per_s.estimate if row.throughput else None)
    times = _series(ladders, _latency_ns)
    scale = units.durations(_latency_ns(row) for ladder in ladders for _, row in ladder)
    anchor, workload = group[0].anchor, group[0].workload
    charts = [
        _chart(
            f"batch-rate-{anchor}", "Throughput against the batch", "batch", ("items per second", units.PLAIN), rates
        ),
        _chart(
            f"batch-latency-{anchor}",
            "Latency of a batch against its size",
            "batch",
            (f"median latency of a batch, {scale.unit}", scale),
            times,
        ),
    ]
    table = Table(f"t-batch-{anchor}", f"Batches, {workload}", *_batch_table(ladders, scale))
    notes = _drawn((rates, times))
    yield Panel(workload, tuple(chart for chart in charts if chart), (table,), notes, "Batch")


def _ladders(group: Sequence[Field]) -> Iterable[list[tuple[RowName, Row]]]:
    """Return the measured rows of every batch that differ in nothing else, run and machine included, smallest first."""
    alike: dict[object, list[tuple[RowName, Row]]] = {}
    for name, row in (pair for field in group for pair in field):
        if row.latency or row.throughput:
            key = replace(row.cell, batch=1).variant_id, row.run_id, row.machine
            alike.setdefault(key, []).append((name, row))
    for ladder in alike.values():
        ladder.sort(key=lambda pair: pair[1].cell.batch)
    return alike.values()


def _standing(ladder: Sequence[tuple[RowName, Row]]) -> tuple[float, float]:
    """Order by the highest throughput, and where there is none by the least time per item."""
    times = [latency_ns / row.cell.batch for _, row in ladder if (latency_ns := _latency_ns(row)) is not None]
    return -max(_rate(row) for _, row in ladder), min(times, default=0.0)


def _series(ladders: Sequence[Sequence[tuple[RowName, Row]]], value: Callable[[Row], float | None]) -> list[_Series]:
    """Return a series per ladder that has the value at two batches."""
    found = []
    for ladder in ladders:
        points = [(float(row.cell.batch), told) for _, row in ladder if (told := value(row)) is not None]
        if len(points) > 1:
            found.append(_Series(ladder[0][0], tuple(points)))
    return found


def _batch_table(
    ladders: Sequence[Sequence[tuple[RowName, Row]]], scale: Scale
) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    columns = (
        Column("batch"),
        Column("throughput", "items/s", hint="95 % interval over launches"),
        Column("of the smallest batch’s", "×", hint="ratio of throughputs"),
        Column("streams", hint="that the throughput was reached with"),
        Column("latency", scale.unit, hint="median of a whole batch, one stream, 95 % interval over launches"),
        Column("per item", scale.unit, hint="that latency over the size of the batch"),
    )
    lines = []
    for ladder in ladders:
        first = ladder[0][1].throughput
        for name, row in ladder:
            rate, latency_ns, batch = row.throughput, _latency_ns(row), row.cell.batch
            each_ns = None if latency_ns is None else latency_ns / batch
            values = (
                Value(str(batch), batch),
                estimated(rate.items_per_s, units.PLAIN) if rate else Value(units.MISSING),
                _ratio(rate, first),
                Value(str(rate.streams), rate.streams) if rate else Value(units.MISSING),
                estimated(row.latency.host_to_host, scale) if row.latency else Value(units.MISSING),
                Value(scale.number(each_ns), each_ns),
            )
            lines.append(Line(name.index, values))
    return columns, tuple(lines)


def _latency_ns(row: Row) -> float | None:
    return row.latency.host_to_host.estimate if row.latency else None


def _rate(row: Row) -> float:
    return row.throughput.items_per_s.estimate if row.throughput else 0.0


# --- against the streams -----------------------------------------------------------------------------------------


def _by_streams(field: Field) -> Iterator[Panel]:
    swept = [(name, row.throughputs) for name, row in field]
    found = [(name, rates) for name, rates in swept if len({rate.streams for rate in rates}) > 1]
    if not found:
        return
    found.sort(key=lambda pair: -max(rate.items_per_s.estimate for rate in pair[1]))
    scale = units.durations(rate.latency.estimate for _, rates in found for rate in rates if rate.latency)
    through = [
        _Series(name, tuple((rate.streams, rate.items_per_s.estimate) for rate in rates)) for name, rates in found
    ]
    taking = [
        _Series(name, points)
        for name, rates in found
        if len(points := tuple((rate.streams, rate.latency.estimate) for rate in rates if rate.latency)) > 1
    ]
    charts = [
        _chart(
            f"streams-rate-{field.anchor}",
            "Throughput against the number of streams",
            "streams",
            ("items per second", units.PLAIN),
            through,
        ),
        _chart(
            f"streams-latency-{field.anchor}",
            "Latency under that load",
            "streams",
            (f"median latency, {scale.unit}", scale),
            taking,
        ),
    ]
    table = Table(f"t-streams-{field.anchor}", f"Streams, {field.workload}", *_stream_table(found, scale))
    drawn = tuple(chart for chart in charts if chart)
    yield Panel(field.workload, drawn, (table,), _drawn((through, taking)), "Streams")


def _stream_table(
    found: Sequence[tuple[RowName, Sequence[Throughput]]], scale: Scale
) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    columns = (
        Column("streams"),
        Column("throughput", "items/s", hint="95 % interval over launches"),
        Column("of the fewest streams’", "×", hint="ratio of throughputs"),
        Column("per stream", "items/s"),
        Column(
            "latency", scale.unit, hint="median of a batch while every stream is at work, 95 % interval over launches"
        ),
        Column("launches"),
    )
    lines = []
    for name, rates in found:
        for rate in rates:
            each = rate.items_per_s.estimate / max(rate.streams, 1)
            values = (
                Value(str(rate.streams), rate.streams),
                estimated(rate.items_per_s, units.PLAIN),
                _ratio(rate, rates[0]),
                Value(units.significant(each), each),
                estimated(rate.latency, scale) if rate.latency else Value(units.MISSING),
                Value(str(rate.items_per_s.launches), rate.items_per_s.launches),
            )
            lines.append(Line(name.index, values))
    return columns, tuple(lines)


# --- both --------------------------------------------------------------------------------------------------------


def _ratio(rate: Throughput | None, first: Throughput | None) -> Value:
    if rate is None or first is None or not first.items_per_s.estimate:
        return Value(units.MISSING)
    ratio = rate.items_per_s.estimate / first.items_per_s.estimate
    return Value(units.significant(ratio), ratio)


def _chart(id_: str, title: str, x: str, y: tuple[str, Scale], series: Sequence[_Series]) -> LineChart | None:
    """Return the chart of the first series; ``None`` where there is none."""
    told, scale = y
    drawn = series[:CURVES]
    if not drawn:
        return None
    paths = tuple(
        Path(one.row.index, tuple((at, value / scale.divisor) for at, value in one.points), _tip(one, x, scale))
        for one in drawn
    )
    return LineChart(
        id=id_,
        title=title,
        description=f"{counted(len(paths), 'line')}, a mark per measurement. The table below holds the same numbers "
        "with their intervals.",
        # The measured values are few and no others: they are the ticks.
        x=replace(_axis(x, paths, 0), places=tuple(sorted({at for path in paths for at, _ in path.points}))),
        y=_axis(told, paths, 1),
        paths=paths,
    )


def _axis(title: str, paths: Sequence[Path], way: int) -> Axis:
    return axis_of(title, [point[way] for path in paths for point in path.points])


def _tip(series: _Series, x: str, scale: Scale) -> str:
    first, last = series.points[0], series.points[-1]
    ends = (scale.quantity(value) if scale.unit else f"{scale.number(value)} items/s" for _, value in (first, last))
    return f"{series.row.label}: {' to '.join(ends)} from {first[0]:g} to {last[0]:g} ({x})"


def _drawn(all_series: Iterable[Sequence[_Series]]) -> tuple[str, ...]:
    most = max((len(series) for series in all_series), default=0)
    return (
        (f"The {CURVES} lines of {most} with the highest throughput are drawn; the table has all.",)
        if most > CURVES
        else ()
    )
