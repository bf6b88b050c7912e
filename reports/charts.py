"""The charts of a view, drawn with matplotlib: one function each, in a wide and a narrow layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from reports.model import Axis, BarChart, Chart, DotChart, LineChart, ScatterChart, TailChart, TrackChart
from reports.svg import TOKENS, settings
from reports.text import clamp
from reports.units import significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from reports.model import RowName, Spot

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^", "plus": "P"}
_DASHES: dict[str, Any] = {
    "circle": "solid",
    "square": (0, (6, 2)),
    "diamond": (0, (6, 2, 1.5, 2)),
    "triangle": (0, (2, 1.6)),
    "plus": (0, (1, 2)),
}
_PLACES = (
    (11, 9, "left"),
    (11, -9, "left"),
    (-11, 9, "right"),
    (-11, -9, "right"),
    (0, 20, "center"),
    (0, -20, "center"),
    (11, 26, "left"),
    (11, -26, "left"),
)
"""Where the name of a spot may stand, best first: offsets in points."""
_TRACK_MARKERS = ("|", "o", "o", "D")
_REACH = 2.5
"""How far, as a factor of the range of estimates, whiskers may stretch an axis; longer ones end in an arrow."""
_MARKED = 24
"""Points of a path that are marked one by one."""


@dataclass(frozen=True)
class Canvas:
    """A layout: sizes in CSS pixels at scale 1."""

    name: str
    width: int
    font: float
    left: int  # room for the labels of lines; 0 puts them above their lines
    right: int
    pitch: int  # of lines
    plot: int  # height of the plane of charts without lines
    ticks: int

    @property
    def above(self) -> bool:
        """Whether labels stand above their lines."""
        return self.left == 0


WIDE = Canvas("wide", width=960, font=13, left=230, right=104, pitch=28, plot=380, ticks=7)
NARROW = Canvas("narrow", width=350, font=12.5, left=0, right=4, pitch=46, plot=300, ticks=4)
_BOTTOM, _TOP = 50, 8


def draw(chart: Chart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    """Return a figure of ``chart``; every artist of a row has the gid ``row:<n>:<what>``."""
    with mpl.rc_context({**settings(chart.id), "font.size": canvas.font}):
        if isinstance(chart, ScatterChart):
            return _scatter(chart, names, canvas)
        if isinstance(chart, TailChart):
            return _tails(chart, names, canvas)
        if isinstance(chart, LineChart):
            return _paths(chart, names, canvas)
        if isinstance(chart, DotChart):
            return _dots(chart, names, canvas)
        if isinstance(chart, BarChart):
            return _bars(chart, names, canvas)
        return _tracks(chart, names, canvas)


def tips(chart: Chart) -> dict[int, str]:
    """Return the tip of each row in a chart."""
    return {item.row: clamp(item.tip, 300) for item in items(chart)}


def items(chart: Chart) -> Sequence[Any]:
    """Return what a chart draws, one item per row."""
    if isinstance(chart, ScatterChart):
        return chart.spots
    if isinstance(chart, TailChart):
        return chart.curves
    if isinstance(chart, LineChart):
        return chart.paths
    if isinstance(chart, DotChart):
        return chart.dots
    return chart.bars if isinstance(chart, BarChart) else chart.tracks


# --- charts with one line per row --------------------------------------------------------------------------------


def _dots(chart: DotChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    rule = [] if chart.rule is None else [chart.rule]
    values = [dot.value for dot in chart.dots] + [dot.second for dot in chart.dots if dot.second] + rule
    bounds = [bound for dot in chart.dots for bound in (dot.low, dot.high) if bound is not None]
    figure, axes = _lines(canvas, len(chart.dots), chart.axis, _limits(values, bounds, log=chart.axis.log))
    for level in rule:
        axes.axvline(level, color=TOKENS["muted"], lw=1.1)
    for line, dot in enumerate(chart.dots):
        name = names[dot.row]
        colour = TOKENS[f"series-{name.series}"]
        _label(axes, canvas, line, dot.row, dot.label or name.label, dot.shown)
        if dot.low is not None and dot.high is not None:
            _whisker(axes, line, dot.row, dot.low, dot.high, colour)
        if dot.second:
            style: dict[str, Any] = {"marker": "|", "ms": 11, "mew": 1.6, "color": TOKENS["muted"], "clip_on": False}
            _draw(axes, [dot.second], [line], gid=f"row:{dot.row}:", **style)
        _mark(axes, dot.value, line, name, f"row:{dot.row}:dot")
    return figure


def _bars(chart: BarChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    limit = max(sum(bar.parts) for bar in chart.bars)
    figure, axes = _lines(canvas, len(chart.bars), chart.axis, (0.0, limit * 1.02 or 1.0))
    for line, bar in enumerate(chart.bars):
        _label(axes, canvas, line, bar.row, names[bar.row].label, bar.shown)
        start = 0.0
        for part, length in enumerate(bar.parts, start=1):
            ink: dict[str, Any] = {"fc": TOKENS[f"part-{part}"], "ec": TOKENS["surface"], "lw": 1.2}
            corner, height = (start, line - 6.5 / canvas.pitch), 13 / canvas.pitch
            axes.add_artist(Rectangle(corner, length, height, gid=f"row:{bar.row}:", clip_on=False, **ink))
            start += length
    return figure


def _tracks(chart: TrackChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    limit = max(max(track.levels) for track in chart.tracks)
    figure, axes = _lines(canvas, len(chart.tracks), chart.axis, (0.0, limit * 1.03 or 1.0))
    for line, track in enumerate(chart.tracks):
        name, gid = names[track.row], f"row:{track.row}:"
        colour = TOKENS[f"series-{name.series}"]
        _label(axes, canvas, line, track.row, name.label, track.shown)
        _draw(axes, [min(track.levels), max(track.levels)], [line, line], color=colour, lw=1.4, gid=gid, clip_on=False)
        for position, (level, marker) in enumerate(zip(track.levels, _TRACK_MARKERS, strict=True)):
            face = TOKENS["surface"] if position == 1 else colour
            style: dict[str, Any] = {
                "marker": marker,
                "ms": (11, 7, 7, 8)[position],
                "mfc": face,
                "mec": colour,
                "mew": 1.6,
            }
            _draw(axes, [level], [line], ls="none", gid=gid, clip_on=False, **style)
    return figure


def _lines(canvas: Canvas, count: int, axis: Axis, limits: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, axes = _plane(canvas, count * canvas.pitch, canvas.left, canvas.right)
    axes.set_ylim(count - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    _scale(axes, "x", axis, limits, canvas)
    return figure, axes


def _label(axes: Axes, canvas: Canvas, line: int, row: int, label: str, shown: str) -> None:
    gid, transform = f"row:{row}:", axes.get_yaxis_transform()
    style: dict[str, Any] = {"transform": transform, "va": "center_baseline", "color": TOKENS["fg"], "gid": gid}
    if canvas.above:
        axes.text(0, line - 0.42, clamp(label, 34), ha="left", **style)
        axes.text(1, line - 0.42, shown, ha="right", **style)
        return
    axes.text(-12 / _span(axes), line, clamp(label, 32), ha="right", **style)
    axes.text(1 + canvas.right / _span(axes), line, shown, ha="right", **style)


def _whisker(axes: Axes, line: float, row: int, low: float, high: float, colour: str) -> None:
    first, last = axes.get_xlim()
    gid = f"row:{row}:"
    style: dict[str, Any] = {"color": colour, "lw": 1.8, "solid_capstyle": "butt", "clip_on": False}
    _draw(axes, [max(low, first), min(high, last)], [line, line], gid=gid, **style)
    for beyond, place, marker in ((low < first, first, "<"), (high > last, last, ">")):
        if beyond:
            _draw(axes, [place], [line], marker=marker, ms=6, color=colour, clip_on=False, gid=gid)


def _mark(axes: Axes, x: float, y: float, name: RowName, gid: str, size: float = 8.5) -> None:
    colour = TOKENS[f"series-{name.series}"]
    face = TOKENS["surface"] if name.doubted else colour
    marker = MARKERS[name.shape]
    style: dict[str, Any] = {"mfc": face, "mec": colour, "mew": 1.7, "ls": "none", "zorder": 5, "clip_on": False}
    _draw(axes, [x], [y], marker=marker, ms=size, gid=gid, **style)


# --- charts in the plane -----------------------------------------------------------------------------------------


def _scatter(chart: ScatterChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    figure, axes = _plane(canvas, canvas.plot, 56 if not canvas.above else 44, 12)
    x_bounds = [bound for spot in chart.spots for bound in spot.x_bounds or ()]
    y_bounds = [bound for spot in chart.spots for bound in spot.y_bounds or ()]
    _scale(axes, "x", chart.x, _limits([spot.x for spot in chart.spots], x_bounds, log=chart.x.log), canvas)
    rule = [] if chart.rule is None else [chart.rule]
    _scale(axes, "y", chart.y, _around([spot.y for spot in chart.spots] + rule, y_bounds), canvas)
    if chart.rule is not None:
        axes.axhline(chart.rule, color=TOKENS["muted"], lw=1.1)
    if len(chart.frontier) > 1:
        xs, ys = zip(*chart.frontier, strict=True)
        _draw(axes, xs, ys, color=TOKENS["muted"], lw=1.4, ls=(0, (5, 3)), drawstyle="steps-post", zorder=1)
    for spot in chart.spots:
        name = names[spot.row]
        colour, gid = TOKENS[f"series-{name.series}"], f"row:{spot.row}:"
        if spot.x_bounds:
            _draw(axes, spot.x_bounds, [spot.y, spot.y], color=colour, lw=1.3, gid=gid)
        if spot.y_bounds:
            _draw(axes, [spot.x, spot.x], spot.y_bounds, color=colour, lw=1.3, gid=gid)
        _mark(axes, spot.x, spot.y, name, f"row:{spot.row}:dot", 10)
    _name_spots(axes, chart.spots, names, canvas)
    return figure


def _name_spots(axes: Axes, spots: Sequence[Spot], names: Sequence[RowName], canvas: Canvas) -> None:
    """Write the names of the spots that have one where they hide nothing, as far as there is such a place."""
    frame = axes.get_window_extent()
    places = {spot.row: axes.transData.transform((spot.x, spot.y)) for spot in spots}
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in places.values()]
    for spot in sorted((spot for spot in spots if spot.named), key=lambda spot: spot.x):
        label = clamp(names[spot.row].label, 28)
        x, y = places[spot.row]
        width, height = len(label) * canvas.font * 0.54, canvas.font * 1.15
        for dx, dy, align in _PLACES:
            left = x + dx - {"left": 0.0, "right": width, "center": width / 2}[align]
            box = (left, y + dy - height / 2, left + width, y + dy + height / 2)
            fits = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1
            if fits and not any(_overlap(box, other) for other in taken):
                style: dict[str, Any] = {
                    "ha": align,
                    "va": "center",
                    "color": TOKENS["fg"],
                    "gid": f"row:{spot.row}:halo",
                }
                axes.annotate(label, (spot.x, spot.y), (dx, dy), textcoords="offset points", **style)
                taken.append(box)
                break


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _tails(chart: TailChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    figure, axes = _plane(canvas, canvas.plot - 60, 56 if not canvas.above else 48, 12)
    latencies = [latency for curve in chart.curves for latency, _ in curve.points]
    shares = [share for curve in chart.curves for _, share in curve.points]
    _scale(axes, "x", chart.x, _limits(latencies, (), log=chart.x.log, from_zero=False), canvas)
    lowest = math.floor(math.log10(min(shares)))
    axes.set_yscale("log")
    axes.set_ylim(10**lowest, 1.25)
    decades = [10.0**power for power in range(lowest, 1)]
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator(decades))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{significant(decade * 100, 1)} %" for decade in decades]))
    axes.set_ylabel("share of inferences slower", color=TOKENS["muted"])
    for curve in chart.curves:
        name, gid = names[curve.row], f"row:{curve.row}:"
        colour = TOKENS[f"series-{name.series}"]
        xs, ys = zip(*curve.points, strict=True)
        _draw(axes, xs, ys, color=colour, lw=1.8, ls=_DASHES[name.shape], drawstyle="steps-pre", gid=gid)
        for target in (0.5, *decades[1:-1]):
            distances = [abs(math.log10(share / target)) for share in ys]
            index = distances.index(min(distances))
            if distances[index] < 0.2:
                _mark(axes, xs[index], ys[index], name, gid, 6.5)
        _mark(axes, xs[-1], ys[-1], name, f"row:{curve.row}:dot", 8)
    return figure


def _paths(chart: LineChart, names: Sequence[RowName], canvas: Canvas) -> Figure:
    figure, axes = _plane(canvas, canvas.plot - 60, 64 if not canvas.above else 52, 12)
    rule = [] if chart.rule is None else [chart.rule]
    xs, ys = ([point[way] for path in chart.paths for point in path.points] for way in (0, 1))
    _scale(axes, "x", chart.x, _limits(xs, (), log=chart.x.log, from_zero=False), canvas)
    _scale(axes, "y", chart.y, _limits([*ys, *rule], (), log=chart.y.log), canvas)
    for level in rule:
        axes.axhline(level, color=TOKENS["muted"], lw=1.4)
    for path in chart.paths:
        name, gid = names[path.row], f"row:{path.row}:"
        if path.joined:
            along, up = zip(*path.points, strict=True)
            _draw(axes, along, up, color=TOKENS[f"series-{name.series}"], lw=1.8, ls=_DASHES[name.shape], gid=gid)
        marked = path.points[:-1] if len(path.points) <= _MARKED or not path.joined else ()
        for x, y in marked:
            _mark(axes, x, y, name, gid, 6.5)
        _mark(axes, *path.points[-1], name, f"row:{path.row}:dot", 8)
    return figure


# --- axes --------------------------------------------------------------------------------------------------------


def _plane(canvas: Canvas, height: int, left: int, right: int) -> tuple[Figure, Axes]:
    """Return a figure with one bare plane of ``height`` pixels; 72 dots per inch make a point a CSS pixel."""
    total = height + _BOTTOM + _TOP
    figure = Figure(figsize=(canvas.width / 72, total / 72), dpi=72)
    width = canvas.width - left - right
    axes = figure.add_axes((left / canvas.width, _BOTTOM / total, width / canvas.width, height / total))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=7, labelcolor=TOKENS["muted"])
    axes.grid(visible=True, color=TOKENS["grid"], linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
    """Draw a line or a mark; the limits are set, so that nothing need be reckoned from it as `plot` would."""
    axes.add_artist(Line2D(xs, ys, **style))


def _span(axes: Axes) -> float:
    return float(axes.get_window_extent().width)


def _scale(axes: Axes, way: str, axis: Axis, limits: tuple[float, float], canvas: Canvas) -> None:
    if axis.log:
        axes.set(**{f"{way}scale": "log"})
    if axis.within:
        limits = max(limits[0], axis.within[0]), min(limits[1], axis.within[1])
    axes.set(**{f"{way}lim": limits, f"{way}label": axis.title})
    line = axes.xaxis if way == "x" else axes.yaxis
    line.label.set(color=TOKENS["muted"])
    line.labelpad = 8 if way == "x" else 4
    asked = axis.places[:: math.ceil(len(axis.places) / canvas.ticks) or 1]
    places = list(asked) or ticks(*limits, log=axis.log, most=canvas.ticks)
    line.set_minor_locator(NullLocator())
    line.set_major_locator(FixedLocator(places))
    line.set_major_formatter(FixedFormatter([_tick(place) for place in places]))


def ticks(low: float, high: float, *, log: bool, most: int) -> list[float]:
    """Return round places between ``low`` and ``high``: 1-2-5 on a logarithmic axis that spans enough for three."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            places = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
            if 3 <= len(places) <= most:
                return places
        if len(places) > most:
            return places[:: math.ceil(len(places) / most)]
    found = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(place) for place in found if low <= place <= high]


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.10f}".rstrip("0").rstrip(".").replace("-", "−") if abs(value) >= 1e-6 else f"{value:g}"


def _limits(
    values: Sequence[float], bounds: Sequence[float], *, log: bool, from_zero: bool = True
) -> tuple[float, float]:
    """Return the ends of an axis that holds every estimate, and the whiskers within reason."""
    low, high = min(values), max(values)
    reach_low, reach_high = max(min([low, *bounds]), low / _REACH), min(max([high, *bounds]), high * _REACH)
    if log:
        return reach_low / 1.15, reach_high * 1.15
    if from_zero:
        return 0.0, reach_high * 1.04 or 1.0
    margin = (high - low or high or 1.0) * 0.04
    return max(0.0, low - margin), high + margin


def _around(values: Sequence[float], bounds: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that need not begin at zero, with room around the estimates."""
    low, high = min(values), max(values)
    spread = max(high - low, 1.0)
    low, high = max(min([low, *bounds]), low - spread), min(max([high, *bounds]), high + spread)
    margin = max((high - low) * 0.12, 1.0 - (high - low) / 2)
    return low - margin, high + margin
