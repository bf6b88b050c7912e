"""Sections on speed: latency and its tail, throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import nothing
from reports.model import (
    Axis,
    Chart,
    Column,
    Curve,
    Dot,
    DotChart,
    Line,
    Panel,
    Section,
    Table,
    TailChart,
    Value,
)
from reports.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.units import Scale
    from results.row import Interval, Latency, Quantile

DRAWN = 40
"""Rows in a chart with a line each; the table has them all."""
CURVES = 8
"""Curves that can be told apart in one chart."""
_LOG_FROM = 6.0
"""A ratio of largest to smallest from which a logarithmic axis reads better."""


def latency(fields: Sequence[Field]) -> Section:
    """Return latency with its quantiles and stages."""
    return Section(
        id="latency",
        title="Latency",
        short="Latency",
        lead="One stream, from a pre-processed tensor in host memory to the task’s final output (host→host). The tick "
        "is the compute part alone. Whiskers and brackets are 95 % intervals over launches.",
        panels=tuple(panel for field in fields if (panel := _latency_panel(field))),
        empty=nothing(fields, "latency", "No row completed a latency measurement."),
    )


def _latency_panel(field: Field) -> Panel | None:
    pairs = [(name, row.latency) for name, row in field if row.latency]
    if not pairs:
        return None
    scale = units.durations([measured.host_to_host.estimate for _, measured in pairs])
    values = [measured.host_to_host.estimate / scale.divisor for _, measured in pairs]
    axis = axis_of(f"median latency, {scale.unit}", values)
    dots = [
        Dot(
            row=name.index,
            value=measured.host_to_host.estimate / scale.divisor,
            low=scale.count(measured.host_to_host.low),
            high=scale.count(measured.host_to_host.high),
            second=measured.compute.estimate / scale.divisor,
            shown=scale.quantity(measured.host_to_host.estimate),
            tip=f"{name.label}: {scale.quantity(measured.host_to_host.estimate)} "
            f"{scale.bounds(measured.host_to_host)}; compute {scale.quantity(measured.compute.estimate)}; "
            f"{counted(measured.host_to_host.launches, 'launch', 'launches')}",
        )
        for name, measured in pairs[:DRAWN]
    ]
    chart = DotChart(
        id=f"latency-{field.anchor}",
        title="Median latency, host→host",
        description=f"{counted(len(dots), 'row')}, fastest first, with 95 % intervals over launches. "
        "The table below holds the same numbers.",
        axis=axis,
        dots=tuple(dots),
        second="compute alone",
    )
    return Panel(field.workload, (chart,), (_latency_table(field, pairs, scale),), drawn_of(len(pairs)))


def _latency_table(field: Field, pairs: list[tuple[RowName, Latency]], scale: Scale) -> Table:
    asked = sorted({quantile.q for _, measured in pairs for quantile in measured.quantiles if quantile.q > 0.5})
    unit = scale.unit
    columns = (
        Column("median", unit, hint="host→host, 95 % interval over launches"),
        Column("against fastest", "×", hint="ratio of latencies; “not ranked”: see Coverage for the reason"),
        *(Column(percentile(q), unit, hint="95 % interval; only with enough effective samples") for q in asked),
        Column("min", unit),
        Column("max", unit),
        Column("bind", unit, hint="copying the input in"),
        Column("compute", unit, hint="run and synchronise"),
        Column("finish", unit, hint="fetching outputs and post-processing"),
        Column("samples", hint="and the launches that they come from"),
    )
    lines = []
    for name, measured in pairs:
        quantiles = {quantile.q: quantile for quantile in measured.quantiles}
        values = (
            estimated(measured.host_to_host, scale),
            against(field, name.variant_id),
            *(quantiled(quantiles.get(q), scale) for q in asked),
            Value(scale.number(measured.minimum_ns), measured.minimum_ns),
            Value(scale.number(measured.maximum_ns), measured.maximum_ns),
            *(
                Value(scale.number(part.estimate), part.estimate)
                for part in (measured.bind, measured.compute, measured.finish)
            ),
            Value(
                f"{measured.iterations:,}",
                measured.iterations,
                counted(measured.host_to_host.launches, "launch", "launches"),
            ),
        )
        lines.append(Line(name.index, values))
    return Table(f"t-latency-{field.anchor}", f"Latency, {field.workload}", columns, tuple(lines))


def against(field: Field, variant: str) -> Value:
    """Return how a row's latency stands to the fastest, or that it is not ranked."""
    if variant in field.standing.best[:1]:
        return Value("1.00", 1.0, "fastest")
    ratio = field.standing.ratio_to_best.get(variant)
    if ratio is None:
        return Value("not ranked", tone="quiet")
    tied = " tie" if variant in field.standing.best else ""
    return Value(units.significant(ratio.estimate), ratio.estimate, f"{units.PLAIN.bounds(ratio)}{tied}".strip())


def quantiled(quantile: Quantile | None, scale: Scale) -> Value:
    """Return a quantile with its bounds aside, or that the sample is too small for it."""
    if quantile is None:
        return Value(units.MISSING)
    if quantile.value_ns is None:
        counts = f"{int(quantile.effective_samples):,} of {quantile.required_samples:,}"
        return Value("n too small", None, counts, tone="quiet")
    places = units.decimals(quantile.value_ns / scale.divisor)
    bounds = ""
    if quantile.low_ns is not None and quantile.high_ns is not None:
        low, high = quantile.low_ns / scale.divisor, quantile.high_ns / scale.divisor
        bounds = f"[{units.fixed(low, places)}, {units.fixed(high, places)}]"
    return Value(scale.number(quantile.value_ns), quantile.value_ns, bounds)


def tails(fields: Sequence[Field]) -> Section:
    """Return the exceedance curves."""
    return Section(
        id="tails",
        title="Tails",
        short="Tails",
        lead="Share of inferences slower than a latency, on a logarithmic axis. A curve ends where the sample does: "
        "nothing is extrapolated. Steep is steady; a foot to the right is what a deadline meets.",
        panels=tuple(panel for field in fields if (panel := _tail_panel(field))),
        empty="No row has enough samples to draw a tail.",
    )


def _tail_panel(field: Field) -> Panel | None:
    pairs = [(name, row.latency) for name, row in field if row.latency and len(row.latency.tail) > 1]
    if not pairs:
        return None
    drawn = pairs[:CURVES]
    scale = units.durations([measured.host_to_host.estimate for _, measured in drawn])
    values = [latency_ns / scale.divisor for _, measured in drawn for latency_ns, _ in measured.tail]
    curves = tuple(
        Curve(
            name.index,
            tuple((latency_ns / scale.divisor, share) for latency_ns, share in measured.tail),
            f"{name.label}: slowest of {measured.iterations:,}: {scale.quantity(measured.maximum_ns)}",
        )
        for name, measured in drawn
    )
    chart = TailChart(
        id=f"tails-{field.anchor}",
        title="Share of inferences slower than a latency",
        description=f"Exceedance of {counted(len(curves), 'row')}. Quantiles and extremes stand in the latency table.",
        x=axis_of(f"latency, {scale.unit}", values),
        curves=curves,
    )
    notes = (f"The {len(drawn)} fastest of {len(pairs)} rows are drawn.",) if len(drawn) < len(pairs) else ()
    return Panel(field.workload, (chart,), (), notes)


def throughput(fields: Sequence[Field]) -> Section:
    """Return throughput with as many streams as each engine does best with."""
    return Section(
        id="throughput",
        title="Throughput",
        short="Throughput",
        lead="Items finished per second with several streams at once, each engine with the number that suits it. "
        "More is better; whiskers and brackets are 95 % intervals over launches.",
        panels=tuple(panel for field in fields if (panel := _throughput_panel(field))),
        empty=nothing(fields, "throughput", "No row completed a throughput measurement."),
    )


def _throughput_panel(field: Field) -> Panel | None:
    pairs = [(name, row.throughput, row.cell.batch) for name, row in field if row.throughput]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: -pair[1].items_per_s.estimate)
    dots = [
        Dot(
            row=name.index,
            value=measured.items_per_s.estimate,
            low=measured.items_per_s.low,
            high=measured.items_per_s.high,
            shown=f"{units.significant(measured.items_per_s.estimate)}\u00a0/s",
            tip=f"{name.label}: {units.significant(measured.items_per_s.estimate)} items/s "
            f"{units.PLAIN.bounds(measured.items_per_s)}; {counted(measured.streams, 'stream')}",
        )
        for name, measured, _ in pairs[:DRAWN]
    ]
    chart: Chart = DotChart(
        id=f"throughput-{field.anchor}",
        title="Throughput",
        description=f"{counted(len(dots), 'row')}, highest first, with 95 % intervals over launches. "
        "The table below holds the same numbers.",
        axis=axis_of("items per second", [dot.value for dot in dots]),
        dots=tuple(dots),
    )
    columns = (Column("throughput", "items/s"), Column("streams"), Column("batch"), Column("launches"))
    lines = tuple(
        Line(
            name.index,
            (
                estimated(measured.items_per_s, units.PLAIN),
                Value(str(measured.streams), measured.streams),
                Value(str(batch), batch),
                Value(str(measured.items_per_s.launches), measured.items_per_s.launches),
            ),
        )
        for name, measured, batch in pairs
    )
    table = Table(f"t-throughput-{field.anchor}", f"Throughput, {field.workload}", columns, lines)
    return Panel(field.workload, (chart,), (table,), drawn_of(len(pairs)))


def estimated(interval: Interval, scale: Scale) -> Value:
    """Return an estimate with its bounds aside."""
    bounds = scale.bounds(interval) or "no interval"
    return Value(scale.number(interval.estimate), interval.estimate, bounds)


def drawn_of(rows: int) -> tuple[str, ...]:
    """Return the note of a chart that could not take all rows."""
    return (f"The chart has the first {DRAWN} of {rows} rows; the table has all.",) if rows > DRAWN else ()


def axis_of(title: str, values: Sequence[float]) -> Axis:
    """Return an axis that is logarithmic where the values are far apart."""
    positive = [value for value in values if value > 0]
    log = len(positive) > 1 and max(positive) / min(positive) >= _LOG_FROM
    return Axis(f"{title}, log scale" if log else title, log)


def percentile(q: float) -> str:
    """Return ``p99`` for 0.99 and ``p99.9`` for 0.999."""
    return f"p{units.significant(q * 100, 5).rstrip('0').rstrip('.')}"
