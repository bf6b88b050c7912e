"""The section on scenarios that look like production; there is none where no row drove one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import arrivals, endurance, loadgen, units
from reports.model import Axis, Bar, BarChart, Column, Line, Panel, Section, Table, Value
from reports.speed import DRAWN, drawn_of, estimated, percentile, quantiled
from reports.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.driven import EndToEnd


def under_load(fields: Sequence[Field]) -> tuple[Section, ...]:
    """Return the section, or nothing where no row has any of it."""
    kinds = (
        _end_to_end,
        arrivals.cameras,
        arrivals.servers,
        endurance.soaks,
        endurance.growth,
        loadgen.loadgen,
    )
    panels = tuple(panel for field in fields for kind in kinds for panel in kind(field))
    if not panels:
        return ()
    section = Section(
        id="load",
        title="How it behaves under load",
        short="Under load",
        lead="What service asks beyond one inference after the other: encoded images, frames and queries that arrive "
        "by a clock of their own, and full load for long. Each scenario ran in launches of its own; brackets are 95 % "
        "intervals.",
        panels=panels,
    )
    return (section,)


# --- end to end --------------------------------------------------------------------------------------------------


def _end_to_end(field: Field) -> Iterator[Panel]:
    pairs = [(name, row.end_to_end) for name, row in field if row.end_to_end]
    if not pairs:
        return
    pairs.sort(key=lambda pair: pair[1].total.estimate)
    notes = (
        "From an encoded image in memory to the task’s final output, one at a time.",
        *drawn_of(len(pairs)),
    )
    charts = (_end_to_end_chart(field, pairs[:DRAWN]),)
    yield Panel(field.workload, charts, (_end_to_end_table(field, pairs),), notes, "End to end")


def _end_to_end_chart(field: Field, pairs: Sequence[tuple[RowName, EndToEnd]]) -> BarChart:
    scale = units.durations(found.total.estimate for _, found in pairs)
    bars = []
    for name, found in pairs:
        parts = (found.preparation, found.inference, found.finish)
        words = ("preparation", "inference", "finish")
        told = ", ".join(f"{word} {scale.quantity(part.estimate)}" for word, part in zip(words, parts, strict=True))
        whole = scale.quantity(found.total.estimate)
        tip = f"{name.label}: {whole} {scale.bounds(found.total)}; {told}"
        bars.append(Bar(name.index, tuple(part.estimate / scale.divisor for part in parts), tip, whole))
    return BarChart(
        id=f"end-to-end-{field.anchor}",
        title="From encoded image to final output",
        description=f"{counted(len(bars), 'row')}, fastest first: the median of each stage, stacked. They need "
        "not add up to the median of the whole, which stands beside. The table below holds the same numbers.",
        axis=Axis(f"time from the encoded image, {scale.unit}"),
        parts=("decoding and pre-processing", "inference", "fetch and post-processing"),
        bars=tuple(bars),
    )


def _end_to_end_table(field: Field, pairs: Sequence[tuple[RowName, EndToEnd]]) -> Table:
    scale = units.durations(found.total.estimate for _, found in pairs)
    asked = sorted({quantile.q for _, found in pairs for quantile in found.quantiles if quantile.q > 0.5})
    unit = scale.unit
    columns = (
        Column("total", unit, hint="median, 95 % interval over launches"),
        *(Column(percentile(q), unit, hint="of the total; only with enough effective samples") for q in asked),
        Column("preparation", unit, hint="decoding and pre-processing"),
        Column("inference", unit, hint="bind, run and synchronise"),
        Column("finish", unit, hint="fetching outputs and post-processing"),
        Column("samples", hint="and the launches that they come from"),
    )
    lines = []
    for name, found in pairs:
        quantiles = {quantile.q: quantile for quantile in found.quantiles}
        values = (
            estimated(found.total, scale),
            *(quantiled(quantiles.get(q), scale) for q in asked),
            *(estimated(part, scale) for part in (found.preparation, found.inference, found.finish)),
            Value(f"{found.iterations:,}", found.iterations, counted(found.total.launches, "launch", "launches")),
        )
        lines.append(Line(name.index, values))
    return Table(f"t-end-to-end-{field.anchor}", f"End to end, {field.workload}", columns, tuple(lines))
