"""A view as one HTML file that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import charts, svg
from reports.model import BarChart, DotChart, LineChart, ScatterChart, TailChart, TrackChart
from reports.text import clamp, inert_json, showable

if TYPE_CHECKING:
    from reports.model import Chart, RowName, View

_HERE = Path(__file__).parent
_LINK_LIMIT = 1_000_000
"""Characters above which a download is no longer repeated in a link; the page's own data block still holds it."""


def render(view: View) -> str:
    """Return the page. The same view gives the same bytes, in any process."""
    styles = svg.Styles()
    drawn = {
        chart.id: _figure(chart, view.rows, styles)
        for section in view.sections
        for panel in section.panels
        for chart in panel.charts
    }
    css, script = _asset("style.css"), _asset("script.js")
    data = inert_json(view.downloads.json)
    css = f"{css}\n{styles.css()}"
    policy = (
        f"default-src 'none'; style-src '{_sha256(css)}'; script-src '{_sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            names=view.rows,
            drawn=drawn,
            css=Markup(css),  # noqa: S704 - ours, without a user's word in it
            script=Markup(script),  # noqa: S704 - ours
            policy=Markup(policy),  # noqa: S704 - ours
            data=Markup(data),  # noqa: S704 - inert
            csv_link=_link(view.downloads.csv, "text/csv"),
            json_link=_link(data, "application/json"),
        )
    )


def _figure(chart: Chart, names: tuple[RowName, ...], styles: svg.Styles) -> dict[str, Any]:
    tips = charts.tips(chart)
    layouts = []
    for canvas in (charts.WIDE, charts.NARROW):
        key = f"{chart.id}-{canvas.name}"
        root = svg.inline(charts.draw(chart, names, canvas), key, tips, styles)
        svg.describe(root, key, showable(chart.title), showable(chart.description))
        root.set("class", canvas.name)
        layouts.append(Markup(svg.text(root)))  # noqa: S704 - an element tree serialises itself escaped
    return {"layouts": layouts, "legend": _legend(chart, names)}


def _legend(chart: Chart, names: tuple[RowName, ...]) -> list[tuple[str, str, str]]:
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
    engines = {name.engine: name.series for name in shown}
    by_engine = [("block", f"s{series}", clamp(engine, 40)) for engine, series in sorted(engines.items())]
    frontier = [("dashes", "", "Pareto frontier")] if len(chart.frontier) > 1 else []
    rule = [("rule", "", chart.rule_label)] if chart.rule is not None else []
    return [*by_engine, *by_shape, *doubted, *frontier, *rule]


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(clamp=clamp, path=quote)
    return environment


def _finalize(value: object) -> object:
    """Make every text that the template writes showable; markup is ours and stays as it is."""
    return showable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _sha256(text: str) -> str:
    """Return a source expression of the Content Security Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _link(text: str, kind: str) -> str:
    """Return a ``data:`` link, or an empty string where it would weigh too much."""
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return f"data:{kind};charset=utf-8;base64,{encoded}" if len(encoded) <= _LINK_LIMIT else ""
