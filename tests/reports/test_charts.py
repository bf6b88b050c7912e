"""Charts: axes that hold what they should, marks that can be found, colours that can be seen."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from reports import charts, svg
from reports.model import (
    Axis,
    Bar,
    BarChart,
    Curve,
    Dot,
    DotChart,
    RowName,
    ScatterChart,
    Spot,
    TailChart,
    Track,
    TrackChart,
)
from reports.renderer import outline

CSS = (Path(reports.__file__).parent / "assets" / "style.css").read_text(encoding="utf-8")


def name(index, label="openvino int8", shape="triangle", *, doubted=False):
    return RowName(index, f"v{index}", "w", label, "openvino", "int8", "cpu", index % 10, shape, "completed", doubted)


AXIS = Axis("latency, ms")
CHARTS = (
    DotChart(
        "d", "t", "d", AXIS, (Dot(0, 5.0, 4.9, 5.1, "tip 0", "5", 4.0), Dot(1, 9.0, None, None, "tip 1")), "compute"
    ),
    ScatterChart(
        "s",
        "t",
        "d",
        Axis("x", log=True),
        AXIS,
        (Spot(0, 5.0, (4.9, 5.1), 80.0, (79.0, 81.0), "tip 0"), Spot(1, 9.0, None, 70.0, None, "tip 1", named=True)),
        ((5.0, 80.0), (9.0, 81.0)),
        80.0,
        "FP32",
    ),
    TailChart(
        "t",
        "t",
        "d",
        AXIS,
        (Curve(0, ((5.0, 1.0), (6.0, 0.1), (7.0, 0.001)), "tip 0"), Curve(1, ((5.0, 1.0), (8.0, 0.5)), "tip 1")),
    ),
    BarChart(
        "b",
        "t",
        "d",
        AXIS,
        ("import", "load", "first"),
        (Bar(0, (1.0, 2.0, 3.0), "tip 0"), Bar(1, (0.0, 0.0, 0.0), "tip 1")),
    ),
    TrackChart(
        "m",
        "t",
        "d",
        AXIS,
        ("a", "b", "c", "d"),
        (Track(0, (1.0, 2.0, 3.0, 3.5), "tip 0"), Track(1, (2.0, 1.0, 3.0, 3.0), "tip 1")),
    ),
)


def drawn(chart, names=None, canvas=charts.WIDE, styles=None):
    figure = charts.draw(chart, names or [name(0), name(1)], canvas)
    return svg.text(svg.inline(figure, f"k-{chart.id}", charts.tips(chart), styles or svg.Styles()))


@pytest.mark.parametrize("canvas", [charts.WIDE, charts.NARROW], ids=lambda canvas: canvas.name)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_each_row_is_one_mark_with_its_tip(chart, canvas):
    text = drawn(chart, canvas=canvas)
    assert re.findall(r'class="mark" data-row="(\d)"><title>(tip \d)', text) == [("0", "tip 0"), ("1", "tip 1")]
    assert "style=" not in text
    assert "<style" not in text
    assert all(id_.startswith(f"k-{chart.id}-") for id_ in re.findall(r' id="([^"]+)"', text))


def test_styles_of_all_figures_are_classes_of_the_page():
    styles = svg.Styles()
    for chart in CHARTS:
        svg.inline(charts.draw(chart, [name(0), name(1)], charts.WIDE), chart.id, {}, styles)
    css = styles.css()
    assert "var(--series-0)" in css
    assert not re.search(r"#0[12]0[0-9a-f]{3}|font-family", css)


def test_a_doubted_row_is_hollow():
    styles = svg.Styles()
    solid, hollow = (drawn(CHARTS[0], [name(0, doubted=doubted), name(1)], styles=styles) for doubted in (False, True))
    assert solid != hollow


@pytest.mark.parametrize(
    "label", ["$\\frac{a}{b}$", "<b>&\"'", "日本語 emoji 🎈", "a" * 10_000, "a\nb\tc", "$", "\\", "% _ ^ {"]
)
@pytest.mark.parametrize("chart", CHARTS[:2], ids=["lines", "plane"])
def test_any_name_can_be_drawn_and_stays_text(chart, label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = drawn(chart, [name(0, label), name(1, label)])
    assert "mathdefault" not in text
    assert text.count("<b>") == 0


def test_a_whisker_beyond_reason_is_cut_with_an_arrow():
    dots = (Dot(0, 5.0, 0.1, 9000.0, "tip"), Dot(1, 6.0, 5.9, 6.1, "tip"))
    figure = charts.draw(DotChart("d", "t", "d", AXIS, dots), [name(0), name(1)], charts.WIDE)
    axes = figure.axes[0]
    assert axes.get_xlim()[1] < 20
    assert any(line.get_marker() == ">" for line in axes.lines)


def test_an_axis_keeps_to_what_its_values_can_be():
    spots = (Spot(0, 5.0, None, 0.2, (0.0, 1.4), "tip"), Spot(1, 9.0, None, 99.9, (98.0, 100.0), "tip"))
    for within, kept in ((None, False), ((0.0, 100.0), True)):
        chart = ScatterChart("s", "t", "d", AXIS, Axis("top-1, points", within=within), spots)
        low, high = charts.draw(chart, [name(0), name(1)], charts.WIDE).axes[0].get_ylim()
        assert ((low, high) == (0.0, 100.0)) is kept


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e5), st.booleans(), st.sampled_from([4, 7]))
def test_ticks_are_few_and_inside(low, factor, log, most):
    high = low * factor
    places = charts.ticks(low, high, log=log, most=most)
    assert all(low <= place <= high for place in places)
    assert len(places) <= most + 1
    assert places == sorted(places)


def test_ticks_are_round():
    assert charts.ticks(4.3, 23, log=True, most=7) == [5, 10, 20]
    assert charts.ticks(0, 21, log=False, most=7) == [0, 5, 10, 15, 20]


def tokens(text):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text))


LIGHT = tokens(CSS.split("@media", 1)[0])
DARK = {**LIGHT, **tokens(CSS.split("prefers-color-scheme: dark", 1)[1].split("/* Ground */", 1)[0])}


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out(palette):
    for ground in ("bg", "surface"):
        for ink in ("fg", "muted", "accent", "good", "warn", "bad"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    for tone in ("good", "warn", "bad"):
        assert contrast(palette[tone], palette[f"{tone}-bg"]) >= 4.5, tone
    assert contrast(palette["fg"], palette["plain-bg"]) >= 4.5
    for token in (*(f"series-{index}" for index in range(10)), "part-1", "part-2", "part-3"):
        assert contrast(palette[token], palette["surface"]) >= 3, token


def test_every_token_of_the_charts_is_in_the_style_sheet():
    assert set(svg.TOKENS) <= set(LIGHT)
    assert len(set(svg.TOKENS.values())) == len(svg.TOKENS)


def segments(text):
    """Return the commands of a path with their numbers."""
    found = re.findall("([MLCQz])([^MLCQz]*)", text)
    return [(command, [float(word) for word in rest.split()]) for command, rest in found]


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("M 223 328 L 223 8", "M223 328v-320"),
        ("M 0 0 L 1.04 0 L 1.04 2.26 L 3 4 z", "M0 0h1v2.3l2 1.7z"),
        ("M 1 1 L 1.01 1.01 L 5 1", "M1 1h4"),
        ("M 0 3.25 C 0.86 3.25 1.69 2.91 2.3 2.3 L 2.3 -1", "M0 3.2C0.9 3.2 1.7 2.9 2.3 2.3v-3.3"),
        ("M -0.01 5", "M0 5"),
    ],
)
def test_outlines_are_short_and_the_same(path, short):
    assert outline(segments(path)) == short


@given(st.lists(st.tuples(st.floats(-999, 999), st.floats(-999, 999)), min_size=1, max_size=40))
def test_short_outlines_do_not_drift(points):
    path = [("ML"[place > 0], point) for place, point in enumerate(points)]
    x = y = 0.0
    for command, rest in re.findall(r"([MlhvL])([^MlhvL]*)", outline(path)):
        numbers = [float(word) for word in rest.split()]
        if command == "M":
            x, y = numbers
        else:
            x += numbers[0] if command in "lh" else 0.0
            y += numbers[-1] if command in "lv" else 0.0
    assert (x, y) == pytest.approx(points[-1], abs=0.06)


def test_outlines_of_marks_stand_once_for_all_charts():
    styles = svg.Styles()
    texts = []
    for chart in CHARTS:
        for canvas in (charts.WIDE, charts.NARROW):
            figure = charts.draw(chart, [name(0), name(1)], canvas)
            root = svg.inline(figure, f"k-{chart.id}-{canvas.name}", charts.tips(chart), styles)
            texts.append(svg.text(root))
    shapes = styles.shapes()
    used = set(re.findall(r'href="#(g\d+)"', "".join(texts)))
    assert used == set(re.findall(r'id="(g\d+)"', shapes))
    assert len(used) < 20
    assert all("<path id" not in text for text in texts)
