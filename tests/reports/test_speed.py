"""Sections on speed: axes, names of percentiles, and what is said of rows beyond a chart."""

from __future__ import annotations

import pytest

from reports.speed import DRAWN, axis_of, drawn_of, estimated, percentile, quantiled
from reports.units import PLAIN, durations
from reports.view import build
from results.row import Interval, Quantile


@pytest.mark.parametrize(
    ("q", "words"), [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")]
)
def test_percentiles_have_their_usual_names(q, words):
    assert percentile(q) == words


@pytest.mark.parametrize(
    ("values", "log"), [([1, 5.9], False), ([1, 6], True), ([0, 100], False), ([], False), ([0, 2, 20], True)]
)
def test_an_axis_is_logarithmic_where_values_are_far_apart(values, log):
    axis = axis_of("items per second", values)
    assert axis.log is log
    assert axis.title.endswith(", log scale") is log


def test_a_chart_that_is_full_says_how_many_rows_there_are(make):
    assert drawn_of(DRAWN) == ()
    rows = [make.row(engine=f"e{place}", median_ms=10.0 + place) for place in range(DRAWN + 2)]
    view = build(make.manifest(), rows, make.standings(rows))
    for section in view.sections:
        if section.id in {"latency", "throughput"}:
            (panel,) = section.panels
            assert len(panel.charts[0].dots) == DRAWN
            assert len(panel.tables[0].lines) == DRAWN + 2
            assert panel.notes == (f"The chart has the first {DRAWN} of {DRAWN + 2} rows; the table has all.",)


def test_throughput_is_ordered_by_itself(make):
    rows = [
        make.row(engine="a", median_ms=10.0),
        make.row(engine="b", median_ms=11.0, throughput=make.row(median_ms=5.0).throughput),
    ]
    view = build(make.manifest(), rows, make.standings(rows))
    section = next(part for part in view.sections if part.id == "throughput")
    assert [view.rows[line.row].label for line in section.panels[0].tables[0].lines] == ["b fp32", "a fp32"]


def test_a_whisker_of_a_share_ends_where_a_share_does(make):
    rows = [
        make.row(accuracy=make.accuracy(0.995)),
        make.row(engine="b", accuracy=make.accuracy(0.004, (-0.991, -0.999, 0.2), "fails")),
        make.row(engine="c", accuracy=make.accuracy(0.997, (0.002, -0.003, 0.008), "passes")),
    ]
    view = build(make.manifest(), rows, make.standings(rows))
    (panel,) = next(part for part in view.sections if part.id == "pareto").panels
    bounds = {view.rows[spot.row].engine: spot.y_bounds for spot in panel.charts[0].spots}
    assert bounds["b"] == (0.0, 100.0)
    assert bounds["c"] == (pytest.approx(99.2), 100.0)


def test_tied_rows_are_called_so_wherever_they_are_held_against_the_fastest(make):
    rows = [make.row(engine=engine, median_ms=10.0 + place) for place, engine in enumerate("abc")]
    view = build(make.manifest(), rows, make.standings(rows, 2))
    (panel,) = next(part for part in view.sections if part.id == "latency").panels
    for table in (panel.tables[0], view.verdicts[0].table):
        asides = [line.values[1].aside for line in table.lines]
        assert asides[0] == "fastest"
        assert [aside.endswith("tie") for aside in asides] == [False, True, False]


def test_without_bounds_that_is_said():
    assert estimated(Interval(5.0, None, None, 1), PLAIN).aside == "no interval"


def test_a_quantile_says_why_it_is_missing():
    scale = durations([5e6])
    assert quantiled(None, scale).text == "—"
    small = quantiled(Quantile(0.99, None, None, None, 120.7, 368), scale)
    assert (small.text, small.aside, small.sort) == ("n too small", "120 of 368", None)
    whole = quantiled(Quantile(0.99, 6e6, 5.9e6, 6.2e6, 900.0, 368), scale)
    assert (whole.text, whole.aside) == ("6.00", "[5.90, 6.20]")
