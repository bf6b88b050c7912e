"""What the page's renderer draws lies where matplotlib's own SVG has it."""

from __future__ import annotations

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from reports import charts, svg
from reports.model import (
    Axis,
    Bar,
    BarChart,
    Curve,
    Dot,
    DotChart,
    LineChart,
    Path,
    RowName,
    ScatterChart,
    Spot,
    TailChart,
    Track,
    TrackChart,
)

SVG = "{http://www.w3.org/2000/svg}"
AXIS = Axis("latency, ms")
DOTS = (Dot(0, 5.0, 4.9, 5.1, "", "5.00", 4.0), Dot(1, 9.0, 0.1, 900.0, "", "9.00"), Dot(2, 7.0, None, None, ""))
SPOTS = (Spot(0, 5.0, (4.9, 5.1), 80.0, (79.0, 81.0), "", named=True), Spot(1, 9.0, None, 70.0, (60.0, 75.0), ""))
CURVES = (Curve(0, ((5.0, 1.0), (6.0, 0.1), (7.0, 0.001)), ""), Curve(1, ((5.0, 1.0), (8.0, 0.5)), ""))
WAVE = tuple((1.0 + step / 50, 3.0 + math.sin(step)) for step in range(200))
CHARTS = (
    DotChart("d", "t", "d", AXIS, DOTS, "compute", rule=6.0),
    ScatterChart("s", "t", "d", Axis("x", log=True), AXIS, SPOTS, ((5.0, 80.0), (9.0, 81.0)), 80.0),
    TailChart("t", "t", "d", AXIS, CURVES),
    BarChart("b", "t", "d", AXIS, ("a", "b"), (Bar(0, (1.0, 2.0), "", "3"), Bar(1, (0.0, 0.0), ""))),
    TrackChart("m", "t", "d", AXIS, ("a", "b", "c", "d"), (Track(0, (1.0, 2.0, 3.0, 3.5), "", "x"),)),
    LineChart("l", "t", "d", Axis("x", log=True), AXIS, (Path(0, WAVE, ""), Path(1, WAVE[:3], "", joined=False))),
)
NAMES = [
    RowName(
        row, f"v{row}", "w", "openvino int8", "openvino", "int8", "cpu", row, "square", "completed", doubted=row == 1
    )
    for row in range(3)
]


def theirs(chart, canvas):
    """Return the elements that matplotlib writes, less its definitions, its ground and what it only clips with."""
    text = io.StringIO()
    with mpl.rc_context(svg.settings("k")):
        charts.draw(chart, NAMES, canvas).savefig(text, format="svg", transparent=True)
    root = ET.fromstring(text.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            ground = child.tag == f"{SVG}path" and child.get("style", "") == "fill: none"
            if ground or child.tag in {f"{SVG}defs", f"{SVG}metadata"}:
                parent.remove(child)
    return [(element.tag.removeprefix(SVG), element) for element in root.iter()]


def ours(chart, canvas):
    root = svg.inline(charts.draw(chart, NAMES, canvas), "k", {}, svg.Styles())
    for defs in root.findall("defs"):
        root.remove(defs)
    return [(element.tag, element) for element in root.iter()]


def places(elements, tag):
    found = [element for name, element in elements if name == tag]
    if tag == "path":
        return [tuple(map(float, re.match(r"M\s*(\S+?) (-?[\d.]+)", element.get("d")).groups())) for element in found]
    return [(float(element.get("x")), float(element.get("y"))) for element in found]


def near(some, others):
    return all(min(math.dist(one, other) for other in others) < 0.1 for one in some)


@pytest.mark.parametrize("canvas", [charts.WIDE, charts.NARROW], ids=lambda canvas: canvas.name)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_lines_marks_and_words_lie_where_matplotlib_has_them(chart, canvas):
    here, there = ours(chart, canvas), theirs(chart, canvas)
    for tag in ("path", "use", "text"):
        mine, its = places(here, tag), places(there, tag)
        assert len(mine) == len(its), tag
        assert mine or (tag, type(chart)) == ("use", BarChart)
        assert near(mine, its), tag
        assert near(its, mine), tag
    words = [sorted(element.text for name, element in each if name == "text") for each in (here, there)]
    assert words[0] == words[1]


@pytest.mark.parametrize("chart", CHARTS[:2], ids=lambda chart: type(chart).__name__)
def test_what_is_cut_off_is_cut_off_by_the_plane(chart):
    root = svg.inline(charts.draw(chart, NAMES, charts.WIDE), "k", {}, svg.Styles())
    (clip,) = root.findall("defs/clipPath")
    (box,) = clip
    assert clip.get("id") == "k-0"
    assert float(box.get("x")) + float(box.get("width")) <= charts.WIDE.width
    uses = {element.get("clip-path") for element in root.iter() if element.get("clip-path")}
    assert uses == {"url(#k-0)"}


def test_a_character_that_the_font_lacks_is_no_warning():
    names = [RowName(0, "v", "w", "日本語 🎈", "e", "int8", "cpu", 0, "square", "completed", doubted=False)]
    chart = DotChart("d", "t", "d", AXIS, (Dot(0, 5.0, None, None, "tip"),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = svg.inline(charts.draw(chart, names, charts.WIDE), "k", {0: "tip"}, svg.Styles())
    assert "日本語 🎈" in [element.text for element in root.iter("text")]


def test_an_axis_stands_as_far_from_its_ticks_as_matplotlib_would_have_it():
    label = Axis("accuracy, points")
    chart = ScatterChart("s", "t", "d", AXIS, label, SPOTS)
    turned = [
        [element for name, element in each if name == "text" and element.text == label.title]
        for each in (ours(chart, charts.WIDE), theirs(chart, charts.WIDE))
    ]
    (mine,), (its,) = turned
    assert mine.get("transform").startswith("rotate(-90 ")
    assert float(mine.get("x")) == pytest.approx(float(its.get("x")), abs=0.6)
