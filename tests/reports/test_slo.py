"""Throughput at the SLO: who carries most, who is equal, who is kept out, and what is said where nothing is known."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.vocabulary import Completed, Failed, Finding, Stage
from reports.field import fields
from reports.html import render
from reports.names import named, ordered
from reports.slo import slo
from reports.view import build
from results.driven import Camera, RateTried, Server, Share
from results.page_tables import page_tables
from results.rank import standings
from results.row import Interval, Quantile
from results.served import lowest_missed, served
from results.statistics import rate_interval
from results.visible import visible_differences

MS = 1e6
FIVE = (80.0, 79.0, 81.0, 80.5, 79.5)
ALIKE = (79.5, 81.5, 78.5, 80.0, 80.0)
LESS = (55.0, 54.0, 56.0, 55.5, 54.5)


def tried(rate, launch, *, late=0.0, value_ms=31.0, stable=True):
    """One rate of one launch; ``late`` is a share."""
    of = int(20 * rate)
    count = int(late * of)
    response = Quantile(0.99, value_ms and value_ms * MS, None, None, 900.0, 368)
    return RateTried(launch, rate, response, Share(count, of, 0.0, 1.0), stable, of, of - count)


def server(rates, verdict="meets", **changes):
    """A search of one launch per rate, each of which a rate a quarter higher missed."""
    found = [tried(rate, launch, value_ms=30.0 + launch) for launch, rate in enumerate(rates)]
    missed = [tried(1.25 * rate, launch, late=0.2, value_ms=90.0) for launch, rate in enumerate(rates)]
    made = Server(
        cell_id="s",
        title="",
        streams=2,
        batch=1,
        slo_ms=50.0,
        slo_percentile=99.0,
        searched=True,
        rate_hz=rate_interval(rates) if rates else None,
        tried=(*found, *missed),
        lateness_ns=0.08 * MS,
        verdict=verdict,
        message="",
    )
    return replace(made, **changes)


def given(rate, launches=5, **changes):
    """A rate of the suite's, which met."""
    runs = tuple(tried(rate, launch) for launch in range(launches))
    return server((rate,), searched=False, rate_hz=Interval(rate, None, None, launches), tried=runs, **changes)


def camera(cameras, *, holds=True, **changes):
    missed = Share(0, 1500, 0.0, 0.002) if holds else Share(30, 1500, 0.01, 0.03)
    made = Camera(
        cell_id="c",
        title="",
        cameras=cameras,
        fps=30.0,
        deadline_ms=33.3333,
        phase="staggered",
        drop="stale",
        decode=True,
        streams=1,
        launches=5,
        missed=missed,
        launch_misses=(missed.estimate,) * 5,
        dropped=0,
        overruns=0,
        response=Interval(20 * MS, 19 * MS, 21 * MS, 5),
        quantiles=(),
        worst_lateness_ns=0.0,
        verdict="holds" if holds else "misses",
    )
    return replace(made, **changes)


def section_of(rows):
    standing = standings(rows)
    sequence = ordered(rows, standing)
    names = named(sequence, standing)
    return slo(fields(sequence, names, standing)), names


def told(rows, place=0):
    """Return the card, and [(label, {column: value})] of the table, of a panel."""
    section, names = section_of(rows)
    panel = section.panels[place]
    (table,) = panel.tables
    heads = [column.title for column in table.columns]
    lines = [(names[line.row].label, dict(zip(heads, line.values, strict=True))) for line in table.lines]
    return panel.card, lines


@pytest.fixture
def two(make):
    return (
        make.row(engine="openvino", median_ms=14.0, servers=(server(FIVE),)),
        make.row(engine="torch", median_ms=20.0, servers=(server(LESS),)),
    )


def test_the_one_that_carries_most_is_named_with_its_rate_and_its_lead(two):
    card, lines = told(two)
    assert card.headline == "openvino fp32 carries the most within p99 ≤ 50.0\u00a0ms: 80.0 queries/s."
    assert [figure.value for figure in card.figures] == ["80.0", "0.687"]
    assert card.figures[0].note == "95 % interval over 5 launches"
    (first, best), (second, other) = lines
    assert (first, second) == ("openvino fp32", "torch fp32")
    assert (best["rate within the SLO"].text, best["rate within the SLO"].aside) == ("80.0", "[79.0, 81.0]")
    assert (best["of the best"].aside, other["of the best"].text) == ("best", "0.687")
    assert best["p99"].text == "34.0", "where it was highest"
    assert best["missed at"].text == "98.8"
    assert (best["verdict"].text, best["verdict"].tone) == ("meets", "good")


def test_a_tie_is_called_a_tie(make):
    rows = [
        make.row(engine="a", servers=(server(FIVE),)),
        make.row(engine="b", servers=(server(ALIKE),)),
        make.row(engine="c", servers=(server(LESS),)),
    ]
    card, lines = told(rows)
    assert (
        card.headline == "A tie: a fp32 and b fp32 carry the most within p99 ≤ 50.0\u00a0ms, and cannot be told apart."
    )
    assert len(card.leaders) == 2
    assert lines[1][1]["of the best"].aside.endswith(", tie")
    assert not lines[2][1]["of the best"].aside.endswith("tie")


def test_many_equals_are_told_in_short(make):
    card, _ = told([make.row(engine=f"e{place}", servers=(server(FIVE),)) for place in range(6)])
    assert re.match(r"A tie of 6 rows: e\d fp32 carries the most within", card.headline)


def test_what_is_left_out_of_rankings_never_leads_and_is_said(make, two):
    finding = Finding("fell-back", "fell back to cpu", unranked=True)
    fallen = make.row(engine="fast", servers=(server([2 * rate for rate in FIVE]),), findings=(finding,))
    card, lines = told([*two, fallen])
    assert card.headline.startswith("openvino fp32 carries the most")
    assert "fast fp32 carried 160 queries/s, but is left out of the ranking." in card.sentences
    assert lines[0][0] == "fast fp32"
    assert lines[0][1]["of the best"].text == "not ranked"


def test_only_what_meets_can_lead(make, two):
    unsure = make.row(engine="unsure", servers=(server([3 * rate for rate in FIVE], "undecided"),))
    bad = make.row(engine="bad", servers=(server((), "misses"),))
    card, lines = told([*two, unsure, bad])
    assert card.headline.startswith("openvino fp32 carries the most")
    assert "Undecided: unsure fp32." in card.sentences
    assert "Misses: bad fp32." in card.sentences
    assert [label for label, _ in lines] == ["openvino fp32", "torch fp32", "unsure fp32", "bad fp32"]
    assert (lines[3][1]["rate within the SLO"].text, lines[3][1]["p99"].text) == ("none", "—")


def test_where_none_meets_it_nobody_is_named(make):
    card, _ = told([make.row(servers=(server((), "misses"),))])
    assert (card.headline, card.leaders) == ("No row is shown to carry any rate within p99 ≤ 50.0\u00a0ms.", ())
    assert card.figures == ()


def test_the_only_one_that_meets_it_is_alone(make):
    rows = [make.row(engine="a", servers=(server(FIVE),)), make.row(engine="b", servers=(server((), "misses"),))]
    assert told(rows)[0].headline.startswith("a fp32 alone is shown to carry a rate within")


def test_rates_that_the_suite_gives_are_equal_and_no_test_is_claimed(make):
    rows = [make.row(engine="a", servers=(given(60.0),)), make.row(engine="b", servers=(given(60.0),))]
    card, lines = told(rows)
    assert card.headline == "Equal: a fp32 and b fp32 carry the same within p99 ≤ 50.0\u00a0ms."
    assert card.figures[0].note == "the rate that the suite gives; more was not tried"
    assert any("compared as they are" in sentence for sentence in card.sentences)
    assert any("there may be more" in sentence for sentence in card.sentences)
    assert lines[1][1]["of the best"].text == "equal"
    assert lines[0][1]["missed at"].text == "—"


def test_few_launches_lead_only_their_like(make, two):
    few = make.row(engine="few", launches=2, servers=(server((160.0, 161.0)),))
    assert told([*two, few])[0].headline.startswith("openvino fp32")
    alone = told([few])[0]
    assert alone.headline.startswith("few fp32")
    assert alone.sentences[-1] == "Screening: fewer than five launches; nothing here is a recommendation."


def test_one_launch_shows_no_spread(make):
    rows = [make.row(engine=name, launches=1, servers=(server((rate,)),)) for name, rate in (("a", 9.0), ("b", 8.0))]
    card, _ = told(rows)
    assert card.headline.startswith("a fp32 carries the most")
    assert card.figures[0].note == "1 launch: no interval"
    assert any("have no spread" in sentence for sentence in card.sentences)


def test_batches_of_a_workload_compete_in_one_panel(make):
    rows = [
        make.row(engine="a", servers=(server(LESS),)),
        make.row(engine="a", batch=8, median_ms=90.0, servers=(server(FIVE, batch=8),)),
    ]
    section, names = section_of(rows)
    assert {name.workload for name in names} == {"lite0", "lite0 b8"}
    (panel,) = section.panels
    assert panel.card.headline.startswith("a fp32 b8 carries the most")
    (chart,) = panel.charts
    assert [dot.label for dot in chart.dots] == ["a fp32 b8", "a fp32 b1"]
    assert [line.values[5].text for line in panel.tables[0].lines] == ["8", "1"]


def test_each_service_level_stands_alone(make):
    strict = server(LESS, slo_ms=10.0)
    rows = [make.row(engine="a", servers=(server(FIVE), strict)), make.row(engine="b", servers=(server(ALIKE),))]
    section, _ = section_of(rows)
    assert [panel.title for panel in section.panels] == ["p99 ≤ 50.0\u00a0ms", "p99 ≤ 10.0\u00a0ms"]
    assert [len(panel.tables[0].lines) for panel in section.panels] == [2, 1]


def test_a_service_level_is_the_heading_of_its_card_alone(make):
    rows = [make.row(servers=(server(FIVE),), cameras=(camera(4),))]
    page = render(build(make.manifest(), rows, make.standings(rows)))
    part = page[page.index('<section id="slo"') : page.index("</section>", page.index('<section id="slo"'))]
    heads = re.findall(r"<h3[^>]*>([^<]*)</h3>", part)
    assert len(heads) == part.count('<article class="card"') == 2
    assert all("fp32" in head for head in heads), heads


def test_a_rate_changed_in_the_page_is_found(make):
    row = make.row(servers=(server(FIVE),))
    page = render(build(make.manifest(), [row], make.standings([row])))
    assert not list(visible_differences(row, page_tables(page)[0]))
    start = page.index('<table id="t-slo-')
    changed = page[:start] + page[start:].replace("80.0", "95.0", 1)
    assert any("shows rate within the SLO 95.0" in said for said in visible_differences(row, page_tables(changed)[0]))


def test_of_several_settings_of_one_level_the_best_counts(make):
    row = make.row(servers=(server(LESS, title="one", streams=1), server(FIVE, title="four", streams=4)))
    (level,) = served([row])
    assert level.servers[row.variant_id].title == "four"
    _, [(_, line)] = told([row])
    assert line["streams"].text == "4"


def test_the_lowest_miss_is_of_what_lies_above():
    noisy = server(FIVE, tried=(*server(FIVE).tried, tried(40.0, 1, late=0.5)))
    assert lowest_missed(noisy) == 79.0 * 1.25
    assert lowest_missed(given(60.0)) is None


def test_cameras_are_counted_up_to_the_first_number_that_is_missed(make):
    rows = [
        make.row(engine="a", cameras=(camera(1), camera(4), camera(8, holds=False), camera(16))),
        make.row(engine="b", median_ms=21.0, cameras=(camera(1), camera(4, holds=False))),
        make.row(engine="c", median_ms=22.0, cameras=(camera(1, holds=False),)),
    ]
    card, lines = told(rows)
    assert card.headline == "a fp32 holds the most: 4 cameras."
    assert card.sentences == ("Of 1,500 frames of a fp32 none was late: at most 0.200\u00a0% are, at 95\u00a0%.",)
    assert [(label, line["cameras held"].text, line["missed at"].text) for label, line in lines] == [
        ("a fp32", "4", "8"),
        ("b fp32", "1", "4"),
        ("c fp32", "none", "1"),
    ]
    assert lines[0][1]["frames/s"].text == "120"
    assert lines[0][1]["missed"].aside == "≤ 0.200"


def test_equal_cameras_are_equal_and_kinds_stand_apart(make):
    night = camera(2, fps=15.0)
    rows = [make.row(engine="a", cameras=(camera(4), night)), make.row(engine="b", cameras=(camera(4),))]
    section, _ = section_of(rows)
    first, second = section.panels
    assert first.card.headline == "Equal: a fp32 and b fp32 hold 4 cameras."
    assert "More were not tried: there may be room." in first.card.sentences
    assert second.card.headline == "a fp32 holds 2 cameras."
    assert second.title == "Cameras at 15\u00a0frames/s, deadline 33.3\u00a0ms"


def test_where_no_camera_is_held_nobody_is_named(make):
    finding = Finding("fell-back", "fell back", unranked=True)
    rows = [
        make.row(cameras=(camera(1, holds=False),)),
        make.row(engine="b", cameras=(camera(2),), findings=(finding,)),
    ]
    card, _ = told(rows)
    assert (card.headline, card.leaders) == ("No row is shown to hold a single camera.", ())


def test_what_was_not_asked_is_said_with_what_to_ask(make):
    section, _ = section_of([make.row()])
    assert section.panels == ()
    assert "The suite does not ask for the scenario “server”" in section.empty
    assert "scenarios.server.slo_ms" in section.empty


def test_what_was_asked_and_failed_is_under_coverage(make):
    outcomes = {"latency": Completed(), "server": Failed(Stage.STEADY, "crash", "signal 11")}
    section, _ = section_of([make.row(outcomes=outcomes)])
    assert section.empty == "No row completed a measurement under arrivals; every reason is under Coverage."


def test_the_page_takes_it_with_unique_ids_and_inert_names(make, two):
    hostile = make.HOSTILE[1]
    other = make.row(hostile, engine=hostile, servers=(server(FIVE, title=hostile),), cameras=(camera(1),))
    rows = [*two, replace(other, label=hostile), make.row(hostile, engine="b", servers=(server(LESS),))]
    section, _ = section_of(rows)
    view = build(make.manifest(), rows, standings(rows))
    page = render(replace(view, sections=(section,)))
    assert page == render(replace(view, sections=(section,))), "the same bytes"
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "<img" not in page
    assert "carries the most within p99" in page
