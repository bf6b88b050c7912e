"""A view as one HTML file that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import charts, large, svg
from reports.catalogue import anchors, catalogue, facets
from reports.chart_data import as_text, sheet
from reports.embedded import carried
from reports.legend import legend
from reports.text import clamp, inert_json, showable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reports.model import Chart, Coverage, Panel, RowName, Section, Value, View

_HERE = Path(__file__).parent
_LINK_LIMIT = 1_000_000
"""Characters above which the CSV is no link; the script still makes the JSON from the page's own data block."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PLAIN = str.maketrans({",": None, "−": "-", "+": None})
_LINKABLE = "!$()*+,-./:;=?@_~ "
"""Characters that stand as they are in a ``data:`` link inside double quotes; a space is no space at its ends."""


def render(view: View) -> str:
    """Return the page. The same view gives the same bytes, in any process."""
    styles = svg.Styles()
    panels = [panel for section in _sections(view) for panel in section.panels]
    drawn = {chart.id: _figure(chart, view.rows, styles) for panel in panels for chart in panel.charts}
    lines = json.loads(view.downloads.json) if view.rows else []
    css, script = _asset("style.css"), _asset("script.js")
    css = f"{css}\n{styles.css()}"
    policy = (
        f"default-src 'none'; style-src '{_sha256(css)}'; script-src '{_sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    whole = len(view.rows) <= large.WHOLE
    told = large.shortened(view)
    sheets = {chart.id: sheet(chart, view.rows) for panel in panels for chart in _untold(panel)}
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=told,
            names=view.rows,
            anchors=anchors(view.rows),
            told=frozenset(item.row for item in view.particulars),
            several=len(view.verdicts) > 1,
            counts=Counter(name.workload for name in view.rows),
            facets=facets(view, lines),
            coverage=_failures_first(told.coverage),
            remark=large.remark(view),
            drawn=drawn,
            chart_data=sheets if whole else {},
            chart_text={} if whole else {name: as_text(found) for name, found in sheets.items()},
            shapes=Markup(styles.shapes()),  # noqa: S704 - ours
            css=Markup(css),  # noqa: S704 - ours, without a user's word in it
            script=Markup(script),  # noqa: S704 - ours
            policy=Markup(policy),  # noqa: S704 - ours
            catalogue=Markup(inert_json(catalogue(view, lines))),  # noqa: S704 - inert
            data=carried(lines, whole=whole),
            csv_link=_link(view.downloads.csv),
        )
    )
    return page if whole else _narrow(page)


def _narrow(page: str) -> str:
    """Return a page with every character beyond Latin-1 as a reference.

    A browser decodes it to half the memory, and megabytes of it in a fraction of the time. What is read as it stands,
    styles, scripts and data, is ASCII.
    """
    return page.encode("latin-1", "xmlcharrefreplace").decode("latin-1")


def plain(template: str, style: str, **told: object) -> str:
    """Return a page without a script; ``style``: the asset of its own rules, which follow the report's."""
    css = f"{_asset('style.css')}\n{_asset(style)}"
    policy = f"default-src 'none'; style-src '{_sha256(css)}'; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template(template)
        .render(
            **told,
            css=Markup(css),  # noqa: S704 - ours, without a user's word in it
            policy=Markup(policy),  # noqa: S704 - ours
        )
    )


def _sections(view: View) -> Iterator[Section]:
    if view.answer is not None:
        yield view.answer
    yield from view.sections


def _untold(panel: Panel) -> tuple[Chart, ...]:
    """Return the charts of a panel whose numbers no table of it holds."""
    return () if panel.tables or panel.sheets else panel.charts


def _failures_first(coverage: Coverage) -> Coverage:
    return replace(coverage, incidents=tuple(sorted(coverage.incidents, key=lambda incident: incident.tone != "bad")))


def _figure(chart: Chart, names: tuple[RowName, ...], styles: svg.Styles) -> dict[str, Any]:
    tips = charts.tips(chart)
    layouts = []
    for canvas in (charts.WIDE, charts.NARROW):
        key = f"{chart.id}-{canvas.name}"
        root = svg.inline(charts.draw(chart, names, canvas), key, tips, styles)
        svg.describe(root, key, showable(chart.title), showable(chart.description))
        root.set("class", canvas.name)
        layouts.append(Markup(svg.text(root)))  # noqa: S704 - an element tree serialises itself escaped
    return {"layouts": layouts, "legend": legend(chart, names)}


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
    environment.filters.update(clamp=clamp, path=quote, order=_order, bare=_bare)
    return environment


def _finalize(value: object) -> object:
    """Make every text that the template writes showable; markup is ours and stays as it is."""
    return showable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _order(value: float | str) -> str:
    """Return what a cell is sorted by: six digits order as many as anyone can tell apart."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bare(lines: Iterable[Sequence[Value]]) -> frozenset[int]:
    """Return the places of columns whose text alone tells the order: numbers that are all shown in one unit."""
    told: dict[int, bool] = {}
    for line in lines:
        for place, value in enumerate(line):
            plain = value.text.translate(_PLAIN)
            alike = value.sort is None or (isinstance(value.sort, int | float) and _NUMBER.fullmatch(plain) is not None)
            told[place] = told.get(place, True) and alike
    return frozenset(place for place, alike in told.items() if alike)


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _sha256(text: str) -> str:
    """Return a source expression of the Content Security Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _link(text: str) -> str:
    """Return a ``data:`` link of CSV, or an empty string where it would weigh too much."""
    if len(text) > _LINK_LIMIT:
        return ""  # a link is never shorter than its text
    link = f"data:text/csv;charset=utf-8,{quote(text, safe=_LINKABLE, errors='replace')}"
    return link if len(link) <= _LINK_LIMIT else ""
