"""What the signs of a chart stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import charts
from reports.model import BarChart, DotChart, LineChart, ScatterChart, TailChart, TrackChart
from reports.text import clamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import Chart, RowName


def legend(chart: Chart, names: Sequence[RowName]) -> list[tuple[str, str, str]]:
    """Return the legend of a chart as (symbol, classes, words)."""
    shown = [names[item.row] for item in charts.items(chart)]
    doubted = [("circle", "hollow", "noisy or not ranked")] if any(name.doubted for name in shown) else []
    if isinstance(chart, BarChart):
        return [("block", f"part-{part}", words) for part, words in enumerate(chart.parts, start=1)]
    if isinstance(chart, TrackChart):
        return [(f"level-{level}", "", words) for level, words in enumerate(chart.levels)]
    shapes = {name.precision: name.shape for name in shown}
    by_shape = [(shape, "", precision) for precision, shape in sorted(shapes.items())]
    if isinstance(chart, DotChart):
        second = [("level-0", "", chart.second)] if chart.second else []
        rule = [("level-0", "", chart.rule_label)] if chart.rule is not None else []
        return [*by_shape, *doubted, *second, *rule]
    if isinstance(chart, TailChart | LineChart):
        rows = [(name.shape, f"s{name.series}{' hollow' if name.doubted else ''}", name.label) for name in shown]
        return [*rows, *([("rule", "", chart.rule_label)] if isinstance(chart, LineChart) and chart.rule_label else [])]
    assert isinstance(chart, ScatterChart), "every kind of chart has a legend"
    engines = {(name.engine, name.machine): name.series for name in shown}
    by_engine = [
        ("block", f"s{series}", clamp(f"{engine} on {machine}" if machine else engine, 60))
        for (engine, machine), series in sorted(engines.items())
    ]
    frontier = [("dashes", "", "Pareto frontier")] if len(chart.frontier) > 1 else []
    rule = [("rule", "", chart.rule_label)] if chart.rule is not None else []
    return [*by_engine, *by_shape, *doubted, *frontier, *rule]
