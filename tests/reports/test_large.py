"""A run with more rows than a page can show everywhere: what leads, what is counted, what the script lists."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.vocabulary import Completed, Failed, Finding, Stage
from reports import large
from reports.catalogue import anchors, catalogue
from reports.field import fields
from reports.html import render
from reports.names import named, ordered
from reports.view import build
from results.published import published
from results.reported import line_differences


def embedded(page, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)[1])


def array(text, kind):
    return np.frombuffer(base64.b64decode(text, validate=True), f"<{kind}").tolist()


def texts(coded, size):
    """Return what the script makes of coded texts."""
    of = coded["of"]
    kind = "u1" if len(of) <= 256 else "u2" if len(of) <= 65536 else "u4"
    return [of[at] for at in (array(coded["at"], kind) if "at" in coded else [0] * size)]


def labels(found, size):
    words = [texts(place, size) for place in found["labels"]]
    return [" ".join(filter(None, each)) for each in zip(*words, strict=True)]


def grown(make, count=400):
    """Return rows of two workloads of which some failed and many are noisy, each with words of its own."""
    rows = list(make.many(count))
    crash = Failed(Stage.LOAD, "crash", "signal 11", "see its log")
    for index in range(0, count, 40):
        rows[index] = make.row(
            rows[index].cell.workload,
            engine=rows[index].cell.engine,
            precision=rows[index].cell.precision,
            threads=rows[index].cell.threads,
            median_ms=None,
            outcomes=dict.fromkeys(make.SCENARIOS, crash),
        )
    noisy = [Finding("noisy", f"{index} of 5 launches") for index in range(60)]
    return tuple(
        row if index % 10 or not row.latency else make.with_findings(row, noisy[index % 60])
        for index, row in enumerate(rows)
    )


@pytest.fixture(scope="module")
def rows(make):
    return grown(make)


@pytest.fixture(scope="module")
def view(make, rows):
    return build(make.manifest(), rows, make.standings(rows))


@pytest.fixture(scope="module")
def page(view):
    return render(view)


def groups(make, rows):
    standings = make.standings(rows)
    sequence = ordered(rows, standings)
    return fields(sequence, named(sequence, standings), standings)


def test_a_page_of_few_rows_leads_with_all_of_them(make):
    found = groups(make, make.many(40))
    assert large.leading(found) == found


def test_the_ranked_lead_and_the_baseline_is_among_them(make, rows):
    whole, led = groups(make, rows), large.leading(groups(make, rows))
    assert [field.workload for field in led] == [field.workload for field in whole]
    for field, few in zip(whole, led, strict=True):
        assert large.FEW <= len(few.rows) <= large.FEW + 1
        first = [*field.standing.best, *field.standing.rest][: large.FEW]
        assert set(first) <= set(few.rows)
        assert few.baseline == field.baseline
        assert set(few.standing.best) <= set(few.rows) == set(few.names)


def test_many_workloads_share_the_room(make):
    rows = [make.row(f"w{place % 60}", engine=f"e{place // 60}", median_ms=5.0 + place) for place in range(360)]
    led = large.leading(groups(make, rows))
    assert len(led) == 24
    assert {len(field.rows) for field in led} <= {2, 3}


def test_the_page_says_how_many_of_how_many(view, page):
    assert "leading rows" in large.remark(view)
    assert large.remark(view) in page
    assert f"of {len(view.rows)} in all" in large.remark(view)
    assert len(re.findall(r"<[a-z]", page)) < 6000


def test_a_verdict_shows_the_rows_that_the_sections_show(view):
    told = {item.row for item in view.particulars}
    for verdict in large.shortened(view).verdicts:
        rows = {line.row for line in verdict.table.lines}
        assert rows == {row for row in told if view.rows[row].workload == verdict.workload}


def test_the_view_of_few_rows_is_told_as_it_is(make):
    few = build(make.manifest(), make.many(40), make.standings(make.many(40)))
    assert large.shortened(few) is few


def test_the_numbers_of_a_chart_are_told_as_text(view, page):
    tails = next(section for section in view.sections if section.id == "tails")
    chart = tails.panels[0].charts[0]
    told = re.search(r'<details class="of-chart">.*?<pre>(.*?)</pre>', page, re.DOTALL)[1]
    head, *lines = csv.reader(io.StringIO(html.unescape(told)))
    assert head == ["row", "latency, ms", "share of inferences slower"]
    assert len(lines) == sum(len(curve.points) for curve in chart.curves)
    assert lines[0][0] == view.rows[chart.curves[0].row].label
    assert [float(number) for number in lines[0][1:]] == pytest.approx(chart.curves[0].points[0], rel=1e-3)


def test_what_failed_is_counted_with_its_reason_and_its_first_rows(view, page):
    coverage = large.compact(view.coverage, view.rows)
    assert coverage.matrices == ()
    assert [workload for workload, _ in coverage.sheets] == ["lite0", "yolo"]
    failed = [incident for incident in coverage.incidents if incident.state == "failed"]
    assert [len(incident.rows) + incident.more for incident in failed] == [10]
    (noisy,) = [finding for finding in coverage.findings if finding.state == "noisy"]
    assert len(noisy.rows) == 6
    assert noisy.more > 10
    assert "other reasons besides" in noisy.reason
    assert "signal 11" in page


def test_counts_of_the_coverage_add_up(view):
    coverage = large.compact(view.coverage, view.rows)
    counted = sum(
        value.sort for _, sheet in coverage.sheets for line in sheet.lines for value in line[1:] if value.sort
    )
    assert counted == len(view.rows)


def test_the_script_finds_every_row_with_its_reason(view, page):
    found = embedded(page, "catalogue")
    size = len(view.rows)
    assert [f"row-{anchor}" for anchor in found["ids"].split(" ")] == list(anchors(view.rows))
    assert labels(found, size) == [name.label for name in view.rows]
    why, states = texts(found["why"], size), texts(found["facets"]["state"], size)
    failed = [index for index, state in enumerate(states) if state == "failed"]
    assert len(failed) == 10
    assert {why[index] for index in failed} == {"failed: signal 11"}
    lines = json.loads(view.downloads.json)
    assert array(found["ranked"], "u1") == [int(line["ranked"]) for line in lines]
    latency = array(next(figure for figure in found["figures"] if figure["key"] == "latency_ms")["values"], "f4")
    known = [np.nan if line["latency_ms"] is None else line["latency_ms"] for line in lines]
    assert latency == pytest.approx(known, rel=1e-6, nan_ok=True)
    assert np.isnan(latency).sum() == 10


def test_every_row_is_in_the_data_once_without_its_certificate(view, page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    found = published(tmp_path / "page.html")
    assert list(found.rows) == [name.variant_id for name in view.rows]
    columns = set(next(iter(found.rows.values())))
    assert "certificate" not in columns
    assert "certificate_sha256" in columns
    assert columns == set(json.loads(view.downloads.json)[0]) - {"certificate"}


def test_rounded_rows_still_say_what_the_records_give(rows, page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    found = published(tmp_path / "page.html")
    assert not [words for row in rows for words in line_differences(row, found.rows[row.variant_id])]


def test_the_rows_in_full_come_last(page):
    assert page.index('id="catalogue"') < page.index("<script>") < page.index('id="rows"')


def test_addresses_of_rows_are_those_of_their_variants(make, view):
    few = build(make.manifest(), make.many(40), make.standings(make.many(40)))
    here = dict(zip((name.variant_id for name in view.rows), anchors(view.rows), strict=True))
    shared = [name for name in few.rows if name.variant_id in here]
    assert shared
    assert all(here[name.variant_id] == anchors(few.rows)[name.index] for name in shared)
    assert len(set(here.values())) == len(here)


@pytest.mark.parametrize("variant", ['"><script>', "", "a b", "é" * 40, "x" * 10_000, "\ud800"])
def test_an_id_that_is_no_word_becomes_one(make, variant):
    name = make.named_row(variant)
    assert re.fullmatch(r"row-[0-9a-z-]{0,40}", anchors([name])[0])


def test_ids_that_begin_alike_are_told_apart(make):
    names = [make.named_row("a" * 20), make.named_row("a" * 19 + "b"), make.named_row("b" * 20)]
    found = anchors(names)
    assert len(set(found)) == 3
    assert found[2] == f"row-{'b' * 12}"


def test_an_empty_view_has_an_empty_catalogue():
    found = json.loads(catalogue(build({}, (), ()), []))
    assert (found["ids"], found["labels"], found["ranked"]) == ("", [], "")


@given(st.lists(st.text("ab é—"), max_size=40), st.integers(1, 400))
def test_every_label_comes_back_as_it_was_however_many_words_it_has(make, words, count):
    told = [" ".join(word.split()) for word in words] + [f"engine t{place} a b c d e f g h" for place in range(count)]
    names = tuple(replace(make.named_row(f"{place:064x}"), label=label) for place, label in enumerate(told))
    found = json.loads(catalogue(replace(build({}, (), ()), rows=names), [{}] * len(told)))
    assert labels(found, len(told)) == told
    assert texts(found["facets"]["accuracy"], len(told)) == ["not measured"] * len(told)


def test_a_figure_beyond_what_the_list_can_hold_stays_the_largest(make):
    view = build({}, (make.row(),), ())
    found = json.loads(catalogue(view, [{"latency_ms": 1e300, "accuracy_change": -1e300}]))
    assert [np.isfinite(array(figure["values"], "f4")).all() for figure in found["figures"]] == [True, True]


def test_a_large_page_is_of_latin_letters_and_says_the_same(view, page):
    assert max(page) <= "\xff"
    raw = re.findall(r"<(?:script|style)[^>]*>(.*?)</(?:script|style)>", page, re.DOTALL)
    assert len(raw) == 4
    assert all(part.isascii() for part in raw)
    label = "möglich 你好 — “x”"
    odd = replace(view, subtitle=label)
    assert label in html.unescape(render(odd))


def test_a_row_partly_failed_keeps_its_figures(make):
    mixed = {"latency": Completed(), "memory": Failed(Stage.LOAD, "timeout", "too slow", "")}
    rows = (make.row(outcomes=mixed), make.row(engine="b"))
    found = embedded(make.page(rows), "catalogue")
    assert found["why"]["of"] == ["", "failed: too slow"] or found["why"]["of"] == ["failed: too slow", ""]


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(visit, page, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(page, encoding="utf-8")
    return lambda fragment="", **options: visit(path, fragment, **options)


def listed(page):
    return page.locator("#t-all tbody tr:not(.pad) th bdi").all_inner_texts()


@pytest.mark.browser
def test_only_what_is_in_sight_exists_and_scrolling_brings_the_rest(opened):
    page = opened("#data")
    table = page.locator("#t-all")
    table.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('#t-all tbody tr').length > 10")
    assert table.get_attribute("aria-rowcount") == "401"
    assert page.locator("#t-all tbody tr").count() < 80
    first = listed(page)
    table.focus()
    page.keyboard.press("End")
    assert listed(page) != first
    assert page.locator("#t-all tbody tr.marked").get_attribute("aria-rowindex") == "401"


@pytest.mark.browser
def test_all_rows_are_sorted_and_filtered_and_that_is_in_the_address(opened):
    page = opened("#data")
    page.locator("#t-all thead button", has_text="median latency").click()
    page.wait_for_function("document.querySelectorAll('#t-all tbody tr').length > 10")
    ascending = page.locator("#t-all tbody tr:not(.pad) td:nth-child(2)").all_inner_texts()
    values = [float(text) for text in ascending]
    assert values == sorted(values)
    assert "sort=t-all%3A1a" in page.url
    page.get_by_role("combobox", name="State").select_option("failed")
    assert page.locator("#t-all").get_attribute("aria-rowcount") == "11"
    assert page.locator("output.count").inner_text() == "10 of 400 rows"
    address = page.url.split("#")[1]
    again = opened(f"#{address}")
    again.locator("#t-all").scroll_into_view_if_needed()
    again.wait_for_function("document.querySelector('#t-all').getAttribute('aria-rowcount') === '11'")
    assert again.locator("#t-all thead th").nth(1).get_attribute("aria-sort") == "ascending"


@pytest.mark.browser
def test_a_row_that_no_section_shows_is_told_in_full(opened, view):
    told = {item.row for item in view.particulars}
    untold = next(name for name in view.rows if name.index not in told)
    page = opened(f"#{anchors(view.rows)[untold.index]}")
    facts = page.locator("#all .one")
    facts.wait_for()
    assert untold.label in facts.locator("h4").inner_text()
    assert untold.variant_id in facts.inner_text()
    assert page.locator("#t-all tbody tr.marked th bdi").inner_text() == untold.label


@pytest.mark.browser
def test_without_scripts_the_leading_rows_and_the_files_remain(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#all").is_hidden()
    assert page.locator("#t-latency-0 tbody tr").count() >= large.FEW
    assert page.get_by_role("link", name="CSV").is_visible()
    assert "in the source of this page" in page.locator("#data noscript").inner_text()


@pytest.mark.browser
def test_the_json_of_a_large_page_is_made_of_its_compressed_rows(opened, view, tmp_path):
    page = opened()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="JSON").click()
    waiting.value.save_as(tmp_path / "rows.json")
    lines = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    full = json.loads(view.downloads.json)
    assert [line["variant_id"] for line in lines] == [line["variant_id"] for line in full]
    for name, value in lines[0].items():
        assert value == (pytest.approx(full[0][name], rel=1e-9) if isinstance(value, float) else full[0][name])


@pytest.mark.browser
def test_a_browser_that_cannot_expand_says_so(browser, page, view, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(page, encoding="utf-8")
    old = browser.new_page()
    old.add_init_script("delete globalThis.DecompressionStream")
    told = {item.row for item in view.particulars}
    untold = next(name for name in view.rows if name.index not in told)
    old.goto(f"{path.as_uri()}#{anchors(view.rows)[untold.index]}")
    old.get_by_text("cannot read compressed data").wait_for()
    old.get_by_role("button", name="JSON").click()
    old.locator(".buttons").get_by_text("harness report --json").wait_for()
    old.close()


@pytest.mark.browser
def test_who_filters_need_not_wait_for_the_rows_in_full(visit, page, tmp_path):
    path = tmp_path / "begun.html"
    path.write_text(page[: page.index('<script type="application/zlib"')], encoding="utf-8")
    begun = visit(path)
    begun.get_by_role("combobox", name="State").select_option("failed")
    assert begun.locator("output.count").inner_text() == "10 of 400 rows"
    begun.get_by_role("button", name="JSON").click()
    begun.locator(".buttons").get_by_text("harness report --json").wait_for()
