"""Sections on speed: latency against accuracy, latency and its tail, throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.model import (
    Axis,
    Chart,
    Column,
    Curve,
    Dot,
    DotChart,
    Line,
    Panel,
    ScatterChart,
    Section,
    Spot,
    Table,
    TailChart,
    Value,
)
from reports.text import counted
from reports.verdict import metric_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.units import Scale
    from results.row import Interval, Latency, Quantile, Row

DRAWN = 40
"""Rows in a chart with a line each; the table has them all."""
NAMED = 14
"""Up to so many spots in a plane all get their names; among more, only those that matter."""
CURVES = 8
"""Curves that can be told apart in one chart."""
_LOG_FROM = 6.0
"""A ratio of largest to smallest from which a logarithmic axis reads better."""


def pareto(fields: Sequence[Field]) -> Section:
    """Return latency against accuracy."""
    return Section(
        id="pareto",
        title="Latency against accuracy",
        short="Accuracy",
        lead="Up and to the left is better. The dashed line joins the ranked rows that no other beats on both. "
        "Whiskers are 95 % intervals: across, of the latency; upright, of the change against FP32 on the same images.",
        panels=tuple(panel for field in fields if (panel := _pareto_panel(field))),
        empty="No row has both a latency and an accuracy. Add the scenario “accuracy” to the suite, with evaluation "
        "images, to learn what the speed costs.",
    )


def _pareto_panel(field: Field) -> Panel | None:
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
    chart = ScatterChart(
        id=f"pareto-{_anchor(field)}",
        title=f"Latency against {primary}",
        description=f"{counted(len(spots), 'row')} by median host-to-host latency and {primary}; "
        f"{counted(len(drawn), 'row')} on the Pareto frontier. The table below holds the same numbers.",
        x=Axis(f"median latency, {scale.unit}, log scale", log=True),
        y=Axis(f"{primary}, points"),
        spots=tuple(spots),
        frontier=tuple(drawn),
        rule=baseline.metrics[baseline.primary] * 100 if baseline else None,
        rule_label="FP32 baseline",
    )
    lines = tuple(_pareto_line(name, row, scale, on=name.index in frontier) for name, row in pairs)
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
    table = Table(f"t-pareto-{_anchor(field)}", f"Latency and accuracy, {field.workload}", columns, lines)
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
        bounds = ((metric + change.low - change.estimate) * 100, (metric + change.high - change.estimate) * 100)
        estimate, interval = units.change_in_points(change.estimate, change.low, change.high)
        shown = f"{shown}, {estimate} {interval} against FP32"
    return Spot(
        row=name.index,
        x=latency.estimate / scale.divisor,
        x_bounds=_bounds(latency, scale),
        y=metric * 100,
        y_bounds=bounds,
        tip=f"{name.label}: {scale.quantity(latency.estimate)} {scale.bounds(latency)}; {shown}",
        named=named,
    )


def _pareto_line(name: RowName, row: Row, scale: Scale, *, on: bool) -> Line:
    assert row.latency, "only measured rows are listed"
    assert row.accuracy, "only evaluated rows are listed"
    accuracy, change = row.accuracy, row.accuracy.change
    metric = accuracy.metrics.get(accuracy.primary)
    tone = {"passes": "good", "fails": "bad", "undecided": "warn"}.get(accuracy.verdict, "")
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


def latency(fields: Sequence[Field]) -> Section:
    """Return latency with its quantiles and stages."""
    return Section(
        id="latency",
        title="Latency",
        short="Latency",
        lead="One stream, from a pre-processed tensor in host memory to the task’s final output (host→host). The tick "
        "is the compute part alone. Whiskers and brackets are 95 % intervals over launches.",
        panels=tuple(panel for field in fields if (panel := _latency_panel(field))),
        empty="No row completed a latency measurement.",
    )


def _latency_panel(field: Field) -> Panel | None:
    pairs = [(name, row.latency) for name, row in field if row.latency]
    if not pairs:
        return None
    scale = units.durations([measured.host_to_host.estimate for _, measured in pairs])
    values = [measured.host_to_host.estimate / scale.divisor for _, measured in pairs]
    axis = _axis(f"median latency, {scale.unit}", values)
    dots = [
        Dot(
            row=name.index,
            value=measured.host_to_host.estimate / scale.divisor,
            low=_low(measured.host_to_host, scale),
            high=_high(measured.host_to_host, scale),
            second=measured.compute.estimate / scale.divisor,
            shown=scale.quantity(measured.host_to_host.estimate),
            tip=f"{name.label}: {scale.quantity(measured.host_to_host.estimate)} "
            f"{scale.bounds(measured.host_to_host)}; compute {scale.quantity(measured.compute.estimate)}; "
            f"{counted(measured.host_to_host.launches, 'launch', 'launches')}",
        )
        for name, measured in pairs[:DRAWN]
    ]
    chart = DotChart(
        id=f"latency-{_anchor(field)}",
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
        *(Column(_percent(q), unit, hint="95 % interval; only with enough effective samples") for q in asked),
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
        against = field.standing.ratio_to_best.get(name.variant_id)
        values = (
            estimated(measured.host_to_host, scale),
            Value("1.00", 1.0, "fastest") if name.variant_id in field.standing.best[:1] else _against(against),
            *(_quantile(quantiles.get(q), scale) for q in asked),
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
    return Table(f"t-latency-{_anchor(field)}", f"Latency, {field.workload}", columns, tuple(lines))


def _against(interval: Interval | None) -> Value:
    if interval is None:
        return Value("not ranked", tone="quiet")
    return Value(units.significant(interval.estimate), interval.estimate, units.PLAIN.bounds(interval))


def _quantile(quantile: Quantile | None, scale: Scale) -> Value:
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
            tuple((latency_ns / scale.divisor, share) for latency_ns, share in measured.tail if share > 0),
            f"{name.label}: slowest of {measured.iterations:,}: {scale.quantity(measured.maximum_ns)}",
        )
        for name, measured in drawn
    )
    chart = TailChart(
        id=f"tails-{_anchor(field)}",
        title="Share of inferences slower than a latency",
        description=f"Exceedance of {counted(len(curves), 'row')}. Quantiles and extremes stand in the latency table.",
        x=_axis(f"latency, {scale.unit}", values),
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
        empty="No row completed a throughput measurement. Add the scenario “throughput” to the suite to see it here.",
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
        id=f"throughput-{_anchor(field)}",
        title="Throughput",
        description=f"{counted(len(dots), 'row')}, highest first, with 95 % intervals over launches. "
        "The table below holds the same numbers.",
        axis=_axis("items per second", [dot.value for dot in dots]),
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
    table = Table(f"t-throughput-{_anchor(field)}", f"Throughput, {field.workload}", columns, lines)
    return Panel(field.workload, (chart,), (table,), drawn_of(len(pairs)))


def estimated(interval: Interval, scale: Scale) -> Value:
    """Return an estimate with its bounds aside."""
    bounds = scale.bounds(interval) or "no interval"
    return Value(scale.number(interval.estimate), interval.estimate, bounds)


def drawn_of(rows: int) -> tuple[str, ...]:
    """Return the note of a chart that could not take all rows."""
    return (f"The chart has the first {DRAWN} of {rows} rows; the table has all.",) if rows > DRAWN else ()


def _axis(title: str, values: Sequence[float]) -> Axis:
    positive = [value for value in values if value > 0]
    log = len(positive) > 1 and max(positive) / min(positive) >= _LOG_FROM
    return Axis(f"{title}, log scale" if log else title, log)


def _anchor(field: Field) -> str:
    """Return an id part that is safe and unique whatever the workload is called."""
    return str(next(iter(field.names.values())).index)


def _percent(q: float) -> str:
    return f"p{units.significant(q * 100, 5).rstrip('0').rstrip('.')}"


def _bounds(interval: Interval, scale: Scale) -> tuple[float, float] | None:
    if interval.low is None or interval.high is None:
        return None
    return interval.low / scale.divisor, interval.high / scale.divisor


def _low(interval: Interval, scale: Scale) -> float | None:
    return None if interval.low is None else interval.low / scale.divisor


def _high(interval: Interval, scale: Scale) -> float | None:
    return None if interval.high is None else interval.high / scale.divisor
