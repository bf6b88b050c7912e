"""The report in Markdown: the verdict in words, a table in the shape of Ultralytics', what ran, what to doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.model import Column, Value
from reports.verdict import metric_name
from results.formats.markdown import code, prose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reports.model import Figure, Incident, RowName, Sheet, Verdict, View
    from results.row import Interval, Row

_MOST = 40
"""Lines of a table, incidents and findings of a kind; the page has them all."""
_NAMED = 4
"""Rows of an incident that are named one by one."""
_SCALES = (("params (M)", "parameters", 1e6), ("FLOPs (B)", "flops", 1e9))
"""Columns of Ultralytics' table that are of the model: the flag of an execution that tells each, and its unit."""
_UNKNOWN = "unknown"
_ABOUT_TABLE = (
    "Latency: median of one stream, host→host. ± is the wider half of the 95 % interval over launches. Params and "
    "FLOPs, twice the multiply-accumulates of convolutions and matrix products of one item, are those of the model as "
    f"PyTorch holds it in floating point; {_UNKNOWN} where no such row of it was proven."
)


def markdown(view: View, rows: Sequence[Row]) -> str:
    """Return the report of ``rows``, which are those of the view in any order; text from outside means itself."""
    by_id = {row.variant_id: row for row in rows}
    blocks = [
        f"# {prose(view.title, 120)}",
        " · ".join(f"{prose(key, 40)}: {prose(value, 160)}" for key, value in view.facts),
        f"**{prose(view.banner)}**" if view.banner else "",
        *(f"{prose(note.text, 40)}: {prose(note.detail)}" for note in view.notes),
        *(block for sheet in view.machines for block in _sheet(sheet)),
        *_answers(view),
        *(block for verdict in view.verdicts for block in _verdict(verdict, "##")),
        *_cards(view, "slo"),
        *(block for name, named in _workloads(view).items() for block in _table(name, named, by_id)),
        _ABOUT_TABLE,
        "## Coverage",
        prose(view.coverage.summary),
        *_incidents("What did not complete", view.coverage.incidents, view.rows),
        *_incidents("Completed, with reservations", view.coverage.findings, view.rows),
    ]
    if view.method.command:
        blocks += ["## To reproduce", *map(_command, view.method.command.split("\n"))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _command(line: str) -> str:
    """Return a line of a command; what it says of several runs is no part of what can be pasted."""
    return prose(f"{line.removeprefix('# ')}:") if line.startswith("# ") else code(line, 2000)


def _answers(view: View) -> Iterator[str]:
    """Yield the recommendation, where one was asked for."""
    answer = view.answer
    if answer is None:
        return
    yield f"## {prose(answer.title, 120)}"
    if not answer.panels:
        yield prose(answer.empty)
    for panel in answer.panels:
        if panel.card:
            yield from _verdict(panel.card, "###")
        yield "\n".join(f"- {prose(note, 400)}" for note in panel.notes)
        for table in panel.tables:
            lines = [(Value(view.rows[line.row].label), *line.values) for line in table.lines]
            yield from _grid(table.caption, (Column("row", numeric=False), *table.columns), lines)
        for sheet in panel.sheets:
            yield from _sheet(sheet)


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield from _grid(sheet.caption, sheet.columns, sheet.lines)


def _grid(caption: str, columns: Sequence[Column], lines: Sequence[Sequence[Value]]) -> Iterator[str]:
    """Yield a table of the page under its caption; the page has the lines that are too many here."""
    heads = [prose(f"{column.title} ({column.unit})" if column.unit else column.title, 80) for column in columns]
    aligned = ["--:" if column.numeric else "---" for column in columns]
    cells = [[prose(f"{value.text} {value.aside}".strip(), 160) for value in line] for line in lines[:_MOST]]
    yield f"{prose(caption, 160)}:"
    yield "\n".join(_row(each) for each in (heads, aligned, *cells))
    if len(lines) > _MOST:
        yield f"The first {_MOST} of {len(lines):,} lines."


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cards(view: View, section_id: str) -> Iterator[str]:
    """Yield what the panels of a section come to; nothing where it has none."""
    section = next((section for section in view.sections if section.id == section_id), None)
    cards = [panel.card for panel in section.panels if panel.card] if section else []
    if section is None or not cards:
        return
    yield f"## {prose(section.title, 120)}"
    for card in cards:
        yield from _verdict(card, "###")


def _verdict(verdict: Verdict, level: str) -> Iterator[str]:
    about = f", {prose(verdict.about, 120)}" if verdict.about else ""
    yield f"{level} {prose(verdict.workload, 120)}{about}"
    yield f"**{prose(verdict.headline)}**"
    yield "\n".join(f"- {prose(told, 400)}" for told in (*map(_figure, verdict.figures), *verdict.sentences))


def _figure(figure: Figure) -> str:
    value = " ".join(word for word in (figure.value, figure.unit, figure.bounds) if word)
    return f"{figure.label}: {value}" + (f" ({figure.note})" if figure.note else "")


# --- the table ---------------------------------------------------------------------------------------------------


def _workloads(view: View) -> dict[str, list[RowName]]:
    groups: dict[str, list[RowName]] = {}
    for name in view.rows:
        groups.setdefault(name.workload, []).append(name)
    return groups


def _table(workload: str, names: Sequence[RowName], by_id: Mapping[str, Row]) -> Iterator[str]:
    """Yield the rows that were measured, fastest first; what was not measured is left blank, never guessed."""
    pairs = [(name, row) for name in names if (row := by_id.get(name.variant_id)) is not None]
    told = [(name, row) for name, row in pairs if row.latency or row.throughput or row.accuracy]
    if not told:
        return
    metrics = dict.fromkeys(row.accuracy.primary for _, row in told if row.accuracy)
    heads = [
        "Model",
        "size (pixels)",
        *(f"{prose(metric_name(metric), 40)} (points)" for metric in metrics),
        "latency (ms)",
        "throughput (items/s)",
        *(title for title, _, _ in _SCALES),
        "remarks",
    ]
    aligned = ["---", "---", *["--:"] * (len(heads) - 3), "---"]
    models = _models(row for _, row in pairs)
    lines = [_line(name, row, tuple(metrics), models.get(_model(row), {})) for name, row in told]
    yield f"## Table: {prose(workload, 120)}"
    yield "\n".join(_row(cells) for cells in (heads, aligned, *lines))


def _line(name: RowName, row: Row, metrics: Sequence[str], counts: Mapping[str, float]) -> list[str]:
    remarks = dict.fromkeys(tag.text for tag in name.tags)
    rate = row.throughput
    return [
        prose(name.label, 120),
        _size(row.cell.shape),
        *(_metric(row, metric) for metric in metrics),
        _around(row.latency.host_to_host, 1e6) if row.latency else "",
        _around(rate.items_per_s, 1.0) if rate else "",
        *(units.significant(counts[key] / unit) if key in counts else _UNKNOWN for _, key, unit in _SCALES),
        prose(", ".join(remarks), 120),
    ]


def _size(shape: Sequence[int]) -> str:
    """Return the size of an image as Ultralytics writes it, ``640`` or ``640×480``; any other input by its shape."""
    if len(shape) == 3:
        height, width = shape[1:]
        return str(height) if height == width else f"{height}×{width}"
    return "×".join(map(str, shape))


def _metric(row: Row, metric: str) -> str:
    value = row.accuracy.metrics.get(metric) if row.accuracy and row.accuracy.primary == metric else None
    return "" if value is None else units.fixed(100 * value, 1)


def _around(interval: Interval, divisor: float) -> str:
    """Return ``5.00 ± 0.05``; of an interval that is not even, the wider half."""
    shown = units.significant(interval.estimate / divisor)
    if interval.low is None or interval.high is None:
        return shown
    half = max(interval.high - interval.estimate, interval.estimate - interval.low) / divisor
    return f"{shown} ± {units.fixed(half, max(units.decimals(interval.estimate / divisor), units.decimals(half, 1)))}"


def _models(rows: Iterable[Row]) -> dict[tuple[str, tuple[int, ...]], dict[str, float]]:
    """Return the counts of each model that any of its rows tells: they are of the model, not of who executes it."""
    counts: dict[tuple[str, tuple[int, ...]], dict[str, float]] = {}
    for row in rows:
        flags = row.execution.flags if row.execution else {}
        found = {key: float(flags[key]) for _, key, _ in _SCALES if flags.get(key, "").isdecimal()}
        counts[_model(row)] = {**found, **counts.get(_model(row), {})}
    return counts


def _model(row: Row) -> tuple[str, tuple[int, ...]]:
    return row.cell.source_hash, row.cell.shape


# --- what to doubt -----------------------------------------------------------------------------------------------


def _incidents(title: str, incidents: Sequence[Incident], names: Sequence[RowName]) -> Iterator[str]:
    if not incidents:
        return
    yield f"### {title}"
    lines = [_incident(incident, names) for incident in incidents[:_MOST]]
    if len(incidents) > _MOST:
        lines.append(f"- and {len(incidents) - _MOST:,} more")
    yield "\n".join(lines)


def _incident(incident: Incident, names: Sequence[RowName]) -> str:
    several = len({name.workload for name in names}) > 1
    who = [
        prose(f"{names[row].workload}: {names[row].label}" if several else names[row].label, 120)
        for row in incident.rows[:_NAMED]
    ]
    others = len(incident.rows[_NAMED:]) + incident.more
    if others:
        who.append(f"{others:,} more")
    where = f" ({prose(incident.where, 120)})" if incident.where else ""
    hint = f" What to do: {prose(incident.hint)}" if incident.hint else ""
    return f"- **{prose(incident.state, 60)}**{where}: {prose(incident.reason)} — {', '.join(who)}.{hint}"
