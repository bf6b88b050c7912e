"""What the engine made of the graph, and what each technique gave: configured rows against those without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.vocabulary import Unknowable
from reports import units
from reports.model import Axis, Column, Dot, DotChart, Line, Panel, Table, Value
from reports.text import counted
from results.techniques import PRECISION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import Execution
    from reports.field import Field
    from reports.units import Scale
    from results.row import Interval, Row
    from results.techniques import Effect, Points

_KINDS = 4
"""Kinds of operators that a cell of a table tells; the particulars of the row have them all."""
_DRAWN = 24
"""Effects in the chart; the table has them all."""
READING = (
    "A technique is told by a row and the one that differs from it in that setting alone, as ratios and differences of "
    "with over without: “with fusion-off: latency × 1.42” says that fusion makes the other row 1.42 times as fast; a "
    "setting that turns something on reads the other way."
)


# --- the graph ---------------------------------------------------------------------------------------------------


def graphs(field: Field) -> Panel | None:
    """Return nodes before and after, operators, precision by layer, and what it took to get there; for every row."""
    pairs = [(name, row) for name, row in field if row.execution or row.artifact]
    if not pairs:
        return None
    took = units.durations(value for _, row in pairs for value in (_export_ns(row), _load_ns(row)))
    sizes = units.sizes(row.memory.peak if row.memory else None for _, row in pairs)
    columns = (
        Column("nodes loaded", hint="operators of the graph as it was loaded, constants not counted"),
        Column("nodes executed", hint="after the runtime’s own optimisation"),
        Column("fused", hint="executed operators that hold several of the graph"),
        Column("operators", numeric=False, hint="executed, by kind, in the runtime’s own words"),
        Column("layers", numeric=False, hint="executed, by precision"),
        Column("export", took.unit, hint="the last step to the artifact, as long as it took when it was made"),
        Column("load", took.unit, hint="reading, compiling or building in the measured process"),
        Column("peak memory", sizes.unit),
    )
    lines = tuple(Line(name.index, _graph(row, took, sizes)) for name, row in pairs)
    table = Table(f"t-graph-{pairs[0][0].index}", f"Graph, {field.workload}", columns, lines)
    return Panel(field.workload, (), (table,), title="Graph, build and memory")


def _graph(row: Row, took: Scale, sizes: Scale) -> tuple[Value, ...]:
    execution, peak = row.execution, row.memory.peak if row.memory else None
    export_ns, load_ns = _export_ns(row), _load_ns(row)
    return (
        _count(execution.graph_nodes if execution else None),
        _count(executed_nodes(execution) if execution else None),
        _count(fused(execution) if execution else None),
        _kinds(execution.operators if execution else None),
        _kinds(execution.nodes_by_precision if execution else None),
        Value(took.number(export_ns), export_ns),
        Value(took.number(load_ns), load_ns),
        Value(sizes.number(peak), peak),
    )


def _export_ns(row: Row) -> int | None:
    return row.artifact.export_ns or None if row.artifact else None


def _load_ns(row: Row) -> float | None:
    return row.cold_start.load.estimate if row.cold_start else None


def executed_nodes(execution: Execution) -> int | Unknowable:
    """Return how many nodes executed: those of the operators, else of the precisions, else of the devices."""
    told: tuple[Mapping[str, int] | Unknowable, ...] = (
        execution.operators,
        execution.nodes_by_precision,
        execution.nodes_by_device,
    )
    counts = [sum(nodes.values()) for nodes in told if not isinstance(nodes, Unknowable) and nodes]
    unknown = next((nodes for nodes in told if isinstance(nodes, Unknowable)), Unknowable("no node is told"))
    return counts[0] if counts else unknown


def fused(execution: Execution) -> int | Unknowable:
    """Return how many executed operators hold several: ``Conv+Sigmoid``, ``FusedConv``.

    None by name where fewer were executed than loaded is no zero: ONNX Runtime's ``Conv`` may hold its activation.
    """
    operators = execution.operators
    if isinstance(operators, Unknowable):
        return operators
    count = sum(count for kind, count in operators.items() if "+" in kind or "fused" in kind.casefold())
    loaded, executed = execution.graph_nodes, executed_nodes(execution)
    if not count and isinstance(loaded, int) and isinstance(executed, int) and executed < loaded:
        return Unknowable("the names of the executed operators do not tell which of them hold several")
    return count


def _count(value: int | Unknowable | None) -> Value:
    if value is None:
        return Value(units.MISSING)
    return Value("not told", tone="quiet") if isinstance(value, Unknowable) else Value(f"{value:,}", value)


def _kinds(counts: Mapping[str, int] | Unknowable | None) -> Value:
    if counts is None:
        return Value(units.MISSING)
    if isinstance(counts, Unknowable):
        return Value("not told", tone="quiet")
    told = ranked_kinds(counts)
    more = f"and {counted(len(told) - _KINDS, 'more kind')}" if len(told) > _KINDS else ""
    shown = ", ".join(told[:_KINDS])
    return Value(shown or units.MISSING, shown or None, more)


def ranked_kinds(counts: Mapping[str, int]) -> list[str]:
    """Return ``FusedConv 52``, the most frequent first."""
    return [f"{kind} {count:,}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


# --- what each technique gave ------------------------------------------------------------------------------------


def given(field: Field, effects: Sequence[Effect]) -> Panel | None:
    """Return the effects among the rows of one field, by technique; ``None`` where it has none."""
    mine = [effect for effect in effects if effect.subject in field.names and effect.base in field.names]
    if not mine:
        return None
    timed = [(effect, effect.latency) for effect in mine if effect.latency is not None]
    charts = (_chart(field, timed[:_DRAWN]),) if timed else ()
    more = (f"The chart has the first {_DRAWN} of {len(timed):,} rows; the table has all.",)
    notes = more if len(timed) > _DRAWN else ()
    return Panel(field.workload, charts, (_table(field, mine),), notes, title="What each technique gave")


def _chart(field: Field, timed: Sequence[tuple[Effect, Interval]]) -> DotChart:
    # Engine and setting are what tells one effect from another; rows that differ in more keep their whole label.
    short = [f"{field.names[effect.subject].engine} {effect.name}" for effect, _ in timed]
    dots = tuple(
        Dot(
            row=field.names[effect.subject].index,
            value=ratio.estimate,
            low=ratio.low,
            high=ratio.high,
            shown=f"×\u00a0{units.significant(ratio.estimate)}",
            tip=f"{field.label(effect.subject)}, {sentence(effect)}, against {field.label(effect.base)}",
            label=label if short.count(label) == 1 else "",
        )
        for label, (effect, ratio) in zip(short, timed, strict=True)
    )
    return DotChart(
        id=f"technique-{field.anchor}",
        title="Latency with the setting, as a multiple of that without",
        description=f"{counted(len(dots), 'row')} by technique, with 95 % intervals over launches. Left of 1 is "
        "faster. The table below holds the same numbers.",
        axis=Axis("ratio of latencies", log=True),
        dots=dots,
        rule=1.0,
        rule_label="no difference",
    )


def _table(field: Field, mine: Sequence[Effect]) -> Table:
    sizes = units.sizes(abs(effect.peak_bytes.estimate) for effect in mine if effect.peak_bytes)
    columns = (
        Column("latency", "×", hint="95 % interval, paired by round of launches"),
        Column("throughput", "×", hint="95 % interval, paired by round of launches"),
        Column("peak memory", sizes.unit, hint="difference of mean peaks, 95 % interval over launches"),
        Column("accuracy", "points", hint="with an interval where compared image by image"),
        Column("technique", numeric=False),
        Column("against", numeric=False, hint="the row that differs in this alone"),
    )
    lines = tuple(
        Line(
            field.names[effect.subject].index,
            (
                _ratio(effect.latency),
                _ratio(effect.throughput),
                _bytes(effect.peak_bytes, sizes),
                _points(effect.accuracy),
                Value(effect.technique or "not said", effect.technique, effect.name),
                Value(field.label(effect.base), field.label(effect.base)),
            ),
        )
        for effect in mine
    )
    return Table(f"t-technique-{field.anchor}", f"What each technique gave, {field.workload}", columns, lines)


def _ratio(interval: Interval | None) -> Value:
    if interval is None:
        return Value(units.MISSING)
    return Value(units.significant(interval.estimate), interval.estimate, units.PLAIN.bounds(interval))


def _bytes(interval: Interval | None, scale: Scale) -> Value:
    if interval is None:
        return Value(units.MISSING)
    text, bounds = units.signed(interval, scale)
    return Value(text, interval.estimate, bounds)


def _points(points: Points | None) -> Value:
    if points is None:
        return Value(units.MISSING)
    if points.low is None or points.high is None:
        shown, _ = units.change_in_points(points.estimate, points.estimate, points.estimate)
        return Value(shown, points.estimate)
    shown, bounds = units.change_in_points(points.estimate, points.low, points.high)
    return Value(shown, points.estimate, bounds)


def sentence(effect: Effect) -> str:
    """Return ``with fusion-off: latency × 1.42 [1.38, 1.46], peak memory +12.0 MiB``, and no word on what is better."""
    parts = [
        f"{what} ×\u00a0{value.text} {value.aside}".rstrip()
        for what, interval in (("latency", effect.latency), ("throughput", effect.throughput))
        if interval is not None and (value := _ratio(interval))
    ]
    if effect.peak_bytes is not None:
        scale = units.sizes([abs(effect.peak_bytes.estimate)])
        value = _bytes(effect.peak_bytes, scale)
        parts.append(f"peak memory {value.text}\u00a0{scale.unit} {value.aside}".rstrip())
    if effect.accuracy is not None:
        value = _points(effect.accuracy)
        parts.append(f"accuracy {value.text} points {value.aside}".rstrip())
    return f"with {effect.name}: {', '.join(parts)}"


def particulars(row: Row, effects: Sequence[Effect], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a row's named setting gave, in words; ``labels``: of every row, by variant id."""
    return [
        (
            f"technique, {effect.technique}" if effect.technique else "technique",
            f"{sentence(effect)}, against {labels[effect.base]}",
        )
        for effect in effects
        if effect.subject == row.variant_id and effect.technique != PRECISION
    ]
