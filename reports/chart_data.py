"""The numbers of a chart as a table, for charts whose numbers no table beside them holds."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from reports.model import BarChart, Column, DotChart, LineChart, ScatterChart, Sheet, TailChart, Value
from reports.units import MISSING, significant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.model import Chart, RowName

_DIGITS = 4
_ROW = Column("row", numeric=False)


def sheet(chart: Chart, names: Sequence[RowName]) -> Sheet:
    """Return what a chart draws, one line a row, or one line a point where it draws lines."""
    columns, lines = _told(chart)
    told = tuple((Value(names[row].label, names[row].label), *values) for row, values in lines)
    return Sheet(f"data-{chart.id}", f"The data of: {chart.title}", (_ROW, *columns), told)


def as_text(found: Sheet) -> str:
    """Return a sheet as comma-separated values: as much in one element as a table says in thousands."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(" ".join(filter(None, (column.title, column.unit))) for column in found.columns)
    writer.writerows([value.text for value in line] for line in found.lines)
    return text.getvalue()


def _told(chart: Chart) -> tuple[list[Column], list[tuple[int, list[Value]]]]:
    if isinstance(chart, DotChart):
        heads = [chart.axis.title, "low", "high", *([chart.second] if chart.second else [])]
        dots = [(dot.row, [dot.value, dot.low, dot.high, dot.second][: len(heads)]) for dot in chart.dots]
        return _columns(heads), [(row, _values(values)) for row, values in dots]
    if isinstance(chart, ScatterChart):
        heads = [chart.x.title, "low", "high", chart.y.title, "low", "high"]
        spots = [
            (spot.row, [spot.x, *(spot.x_bounds or (None, None)), spot.y, *(spot.y_bounds or (None, None))])
            for spot in chart.spots
        ]
        return _columns(heads), [(row, _values(values)) for row, values in spots]
    if isinstance(chart, TailChart | LineChart):
        second = "share of inferences slower" if isinstance(chart, TailChart) else chart.y.title
        return _columns([chart.x.title, second]), [(row, _values(point)) for row, point in _points(chart)]
    if isinstance(chart, BarChart):
        heads = [f"{part} ({chart.axis.title})" for part in chart.parts]
        return _columns(heads), [(bar.row, _values(bar.parts)) for bar in chart.bars]
    heads = [f"{level} ({chart.axis.title})" for level in chart.levels]
    return _columns(heads), [(track.row, _values(track.levels)) for track in chart.tracks]


def _points(chart: TailChart | LineChart) -> Iterator[tuple[int, tuple[float, float]]]:
    for item in chart.curves if isinstance(chart, TailChart) else chart.paths:
        for point in item.points:
            yield item.row, point


def _columns(heads: Sequence[str]) -> list[Column]:
    return [Column(head.removesuffix(", log scale")) for head in heads]


def _values(values: Sequence[float | None]) -> list[Value]:
    return [Value(MISSING) if value is None else Value(significant(value, _DIGITS), value) for value in values]
