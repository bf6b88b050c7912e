"""The charts of the page as pictures: in its light colours, each with its title and its legend."""

from __future__ import annotations

import functools
import io
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import reports
from reports import charts, svg
from reports.legend import legend
from reports.model import ScatterChart
from reports.text import clamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

    from reports.model import Chart, RowName, View

SCALE = 2
"""Pixels per CSS pixel of the page: sharp in print and on dense screens."""
_STYLE = Path(reports.__file__).parent / "assets" / "style.css"
_TOKEN = re.compile(r"--([\w-]+):\s*(#[0-9a-fA-F]{6})\b")
_UNSAFE = re.compile(r"[^a-z0-9-]+")
_PAD, _LINE, _CHARACTER, _SYMBOL = 14, 22, 0.56, 44
"""In CSS pixels: around everything, a line of text, a character as a share of the font, a symbol with its gaps."""
_COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
_LINES: Mapping[str, Any] = {"dashes": (0, (5, 3)), "rule": "solid"}
_LEVELS = {"level-0": "|", "level-1": "o", "level-2": "o", "level-3": "D"}
"""How the page draws the symbols of its legends that are no markers of rows."""


def pictures(view: View) -> Iterator[tuple[str, bytes]]:
    """Yield the name of a file and a PNG for every chart of the page, in its order; names are safe and unique."""
    taken: set[str] = set()
    for chart, workload in _charts(view):
        stem = _UNSAFE.sub("-", chart.id.casefold()).strip("-")[:80] or "chart"
        name = next(name for name in _numbered(stem) if name not in taken)
        taken.add(name)
        yield f"{name}.png", picture(chart, view.rows, workload)


def frontiers(view: View) -> list[tuple[Chart, str]]:
    """Return the charts of latency against accuracy, each with its workload; one per workload that has both."""
    return [
        (chart, panel.workload)
        for section in view.sections
        if section.id == "pareto"
        for panel in section.panels
        for chart in panel.charts
        if isinstance(chart, ScatterChart)
    ]


def picture(chart: Chart, names: Sequence[RowName], workload: str) -> bytes:
    """Return a chart as PNG: the same bytes for the same chart, fonts and matplotlib; no date is in it."""
    with mpl.rc_context(svg.settings(chart.id)), warnings.catch_warnings():
        # A name may hold characters that matplotlib's font lacks: a box stands for each.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = charts.draw(chart, names, charts.WIDE)
        _headed(figure, chart, names, f"{chart.title} · {workload}")
        figure.draw_without_rendering()  # only then are there ticks
        _painted(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=72 * SCALE, metadata={"Software": None})
    return buffer.getvalue()


def _charts(view: View) -> Iterator[tuple[Chart, str]]:
    sections = (*((view.answer,) if view.answer else ()), *view.sections)
    return ((chart, panel.workload) for section in sections for panel in section.panels for chart in panel.charts)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    for number in range(2, 1_000_000):
        yield f"{stem}-{number}"


# --- colours -----------------------------------------------------------------------------------------------------


@functools.cache
def _light() -> Mapping[str, str]:
    """Return the light colour of every token by the colour that stands for it in a figure."""
    tokens: dict[str, str] = {}
    for token, colour in _TOKEN.findall(_STYLE.read_text(encoding="utf-8")):
        tokens.setdefault(token, colour)  # the light ones come first
    return {sentinel: tokens[token] for token, sentinel in svg.TOKENS.items()}


def _painted(figure: Figure) -> None:
    """Replace what stands for the tokens of the style sheet by their light colours."""
    light = _light()
    for artist in figure.findobj(Artist):
        for kind in _COLOURED:
            get, put = (getattr(artist, f"{way}_{kind}", None) for way in ("get", "set"))
            if get is None or put is None:
                continue
            colour = _hex(get())
            if colour in light:
                put(light[colour])
    figure.set_facecolor(light[svg.TOKENS["surface"]])


def _hex(colour: Any) -> str:
    """Return a colour as ``#rrggbb``; empty where it is none, or several."""
    try:
        return to_hex(colour)
    except (TypeError, ValueError):
        return ""


# --- title and legend --------------------------------------------------------------------------------------------


def _headed(figure: Figure, chart: Chart, names: Sequence[RowName], title: str) -> None:
    """Make room above the chart, and write its title and its legend there."""
    width, height = (size * 72 for size in figure.get_size_inches())
    entries = [(_handle(symbol, classes), clamp(words, 40)) for symbol, classes, words in legend(chart, names)]
    longest = max((len(words) for _, words in entries), default=0)
    columns = max(1, int((width - 2 * _PAD) // (_SYMBOL + longest * charts.WIDE.font * _CHARACTER)))
    head = _PAD + _LINE + math.ceil(len(entries) / columns) * _LINE + _PAD
    total = height + head + _PAD
    places = [(axes, axes.get_position()) for axes in figure.axes]
    figure.set_size_inches((width + 2 * _PAD) / 72, total / 72)
    for axes, place in places:
        across, up = width / (width + 2 * _PAD), height / total
        left = (place.x0 * width + _PAD) / (width + 2 * _PAD)
        axes.set_position((left, (place.y0 * height + _PAD) / total, place.width * across, place.height * up))
    edge = _PAD / (width + 2 * _PAD)
    style: dict[str, Any] = {"size": charts.WIDE.font * 1.15, "weight": "bold", "color": svg.TOKENS["fg"], "va": "top"}
    figure.text(edge, 1 - _PAD / total, clamp(title, 100), **style)
    if entries:
        figure.legend(
            handles=[handle for handle, _ in entries],
            labels=[words for _, words in entries],
            loc="upper left",
            bbox_to_anchor=(edge, 1 - (_PAD + _LINE) / total),
            ncols=columns,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            columnspacing=1.6,
            fontsize=charts.WIDE.font,
            labelcolor=svg.TOKENS["fg"],
        )


def _handle(symbol: str, classes: str) -> Artist:
    """Return what stands for the words of an entry; the classes of the page name its colour."""
    series = re.search(r"\bs(\d+)\b", classes)
    part = re.search(r"\bpart-\d+\b", classes)
    colour = svg.TOKENS[f"series-{series[1]}" if series else part[0] if part else "muted"]
    if symbol == "block":
        return Patch(facecolor=colour)
    if symbol in _LINES:
        return Line2D([], [], color=colour, lw=1.4, ls=_LINES[symbol])
    mark = charts.MARKERS.get(symbol) or _LEVELS.get(symbol, "o")
    face = svg.TOKENS["surface"] if "hollow" in classes or symbol == "level-1" else colour
    return Line2D([], [], ls="none", marker=mark, ms=8, mec=colour, mfc=face, mew=1.7)
