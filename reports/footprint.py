"""Sections on what an engine costs before it is fast: cold start, memory, artifact size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import nothing
from reports.model import Axis, Bar, BarChart, Column, Line, Panel, Section, Table, Track, TrackChart, Value
from reports.speed import DRAWN, drawn_of, estimated
from reports.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field


def cold_start(fields: Sequence[Field]) -> Section:
    """Return import, load and first inference."""
    return Section(
        id="cold-start",
        title="Cold start",
        short="Cold start",
        lead="From a fresh process to the first result: importing the runtime, loading (reading, compiling, building) "
        "the model, and the first inference. Runtime caches are empty.",
        panels=tuple(panel for field in fields if (panel := _cold_start_panel(field))),
        empty="No row has a cold start.",
    )


def _cold_start_panel(field: Field) -> Panel | None:
    pairs = [(name, row.cold_start) for name, row in field if row.cold_start]
    if not pairs:
        return None
    totals = {name.index: cold.imported.estimate + cold.load.estimate + cold.first.estimate for name, cold in pairs}
    pairs.sort(key=lambda pair: totals[pair[0].index])
    scale = units.durations(totals.values())
    bars = tuple(
        Bar(
            name.index,
            tuple(part.estimate / scale.divisor for part in (cold.imported, cold.load, cold.first)),
            f"{name.label}: import {scale.quantity(cold.imported.estimate)}, load "
            f"{scale.quantity(cold.load.estimate)}, first {scale.quantity(cold.first.estimate)}",
            scale.quantity(totals[name.index]),
        )
        for name, cold in pairs[:DRAWN]
    )
    anchor = pairs[0][0].index
    chart = BarChart(
        id=f"cold-{anchor}",
        title="Cold start",
        description=f"{counted(len(bars), 'row')}, quickest first: import, load and first inference stacked. "
        "The table below holds the same numbers.",
        axis=Axis(f"time from the start of the import, {scale.unit}"),
        parts=("import", "load", "first inference"),
        bars=bars,
    )
    columns = (
        Column("total", scale.unit),
        Column("import", scale.unit),
        Column("load", scale.unit),
        Column("first", scale.unit),
        Column("launches"),
    )
    lines = tuple(
        Line(
            name.index,
            (
                Value(scale.number(totals[name.index]), totals[name.index]),
                *(estimated(part, scale) for part in (cold.imported, cold.load, cold.first)),
                Value(str(cold.load.launches), cold.load.launches),
            ),
        )
        for name, cold in pairs
    )
    table = Table(f"t-cold-{anchor}", f"Cold start, {field.workload}", columns, lines)
    return Panel(field.workload, (chart,), (table,), drawn_of(len(pairs)))


def memory(fields: Sequence[Field]) -> Section:
    """Return resident memory by phase and the size of the artifact."""
    return Section(
        id="memory",
        title="Memory and size",
        short="Memory",
        lead="Resident memory of the measured process: at its baseline, after importing the runtime, after loading the "
        "model, and the kernel’s high-water mark. Measured in launches of their own, never while timing.",
        panels=tuple(panel for field in fields if (panel := _memory_panel(field))),
        empty=nothing(fields, "memory", "No row has a memory measurement."),
    )


def _memory_panel(field: Field) -> Panel | None:
    pairs = [(name, row.memory) for name, row in field if row.memory]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: pair[1].peak)
    scale = units.sizes(use.peak for _, use in pairs)
    artifacts = {name.index: row.artifact for name, row in field if row.artifact}
    files = units.sizes(artifact.size_bytes for artifact in artifacts.values())
    tracks = tuple(
        Track(
            name.index,
            tuple(level / scale.divisor for level in (use.baseline, use.imported, use.loaded, use.peak)),
            f"{name.label}: baseline {scale.quantity(use.baseline)}, imported {scale.quantity(use.imported)}, loaded "
            f"{scale.quantity(use.loaded)}, peak {scale.quantity(use.peak)}",
            scale.quantity(use.peak),
        )
        for name, use in pairs[:DRAWN]
    )
    anchor = pairs[0][0].index
    chart = TrackChart(
        id=f"memory-{anchor}",
        title="Resident memory",
        description=f"{counted(len(tracks), 'row')}, smallest peak first: baseline, imported, loaded and peak. "
        "The table below holds the same numbers.",
        axis=Axis(f"resident memory, {scale.unit}"),
        levels=("baseline", "imported", "loaded", "peak"),
        tracks=tracks,
    )
    columns = (
        Column("peak", scale.unit),
        Column("baseline", scale.unit),
        Column("imported", scale.unit),
        Column("loaded", scale.unit),
        Column("after first", scale.unit),
        Column("artifact", files.unit, hint="size on disk"),
        Column("launches"),
    )
    lines = []
    for name, use in pairs:
        artifact = artifacts.get(name.index)
        size = artifact.size_bytes if artifact else None
        levels = (use.peak, use.baseline, use.imported, use.loaded, use.first)
        values = (
            *(Value(scale.number(level), level) for level in levels),
            Value(files.number(size), size),
            Value(str(use.launches), use.launches),
        )
        lines.append(Line(name.index, values))
    table = Table(f"t-memory-{anchor}", f"Memory and size, {field.workload}", columns, tuple(lines))
    return Panel(field.workload, (chart,), (table,), drawn_of(len(pairs)))
