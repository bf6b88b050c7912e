"""Three readers with one question each: at most two actions from the top of the page, by pointer or by keyboard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.html import render
from reports.model import Column, Figure, Panel, Section, Sheet, Value, Verdict
from reports.view import build

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

AT_SLO = "cost per million inferences at p99 ≤ 33 ms"


def answer(text):
    """Return a first section with ``text`` wherever a text from outside may stand."""
    card = Verdict(
        "lite0",
        text,
        text,
        (0,),
        (Figure("devices", "3", "", "[3, 4]", text), Figure(AT_SLO, "0.41", "EUR", "[0.40, 0.43]")),
        (text,),
    )
    sheet = Sheet(
        "t-relaxing", text, (Column(text, numeric=False), Column("saves", "%")), ((Value(text), Value("12", 12.0)),)
    )
    return Section("answer", text, "Answer", text, (Panel("lite0", card=card, sheets=(sheet,), notes=(text,)),))


@pytest.fixture(scope="module")
def folder(make, offered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    (folder / "report.html").write_text(render(make.answered(offered)), encoding="utf-8")
    return folder


@pytest.fixture
def page(visit, folder):
    return visit(folder / "report.html")


def test_the_fastest_int8_row_that_keeps_its_accuracy(visit, make, tmp_path):
    rows = (
        *make.varied(),
        make.row(engine="litert", precision=make.INT8, median_ms=9.0),
        make.row(engine="tvm", precision=make.INT8, median_ms=11.0),
    )
    path = tmp_path / "report.html"
    path.write_text(make.page(rows), encoding="utf-8")
    page = visit(path)
    page.get_by_role("combobox", name="Precision").select_option("int8")
    page.get_by_role("combobox", name="Accuracy").select_option("kept")
    found = page.locator(".found")
    sync_api.expect(found).to_be_in_viewport()
    assert found.inner_text().split() == ["Fastest", "ranked:", "litert", "int8", "9.00", "ms"]
    shown = page.locator("#verdict .glance tbody tr:visible th.name bdi").all_inner_texts()
    assert shown[:2] == ["litert int8", "tvm int8"]


def test_why_a_cell_failed(page):
    page.locator("#verdict .caveats").get_by_text("failed").click()
    reason = page.locator("#coverage .incidents li.bad .why").first
    sync_api.expect(reason).to_be_in_viewport()
    assert reason.inner_text() in {
        "loading took longer than 600 s",
        "the worker ended by signal 11 (segmentation fault)",
        "operator aten::grid_sampler has no ONNX form",
    }


def test_why_a_cell_failed_by_keyboard(page):
    page.locator("#verdict .caveats a", has_text="failed").focus()
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#coverage .incidents li.bad .why").first).to_be_in_viewport()
    assert page.evaluate("document.activeElement.id") == "incidents"


def test_the_cost_per_million_at_the_slo(page):
    figure = page.locator(".figures > div", has_text=AT_SLO)
    sync_api.expect(figure).to_be_in_viewport()
    assert figure.locator(".big").inner_text() == "0.164"
    assert figure.locator(".of").inner_text() == "EUR"
    assert figure.locator(".bounds").inner_text() == "[0.164, 0.218]"


def test_the_cost_of_another_row_at_the_slo(page):
    page.get_by_role("link", name="Cost", exact=True).click()
    line = page.locator("#cost tbody tr", has_text="openvino fp32")
    sync_api.expect(line).to_be_in_viewport()
    head = page.locator("#cost thead th").nth(1)
    assert head.inner_text().split() == [*AT_SLO.split(), "EUR"]
    assert line.locator("td").first.inner_text().split()[0] == "0.264"


def test_the_answer_comes_first_and_the_page_leads_to_it(page):
    assert page.locator("main > section").first.get_attribute("id") == "recommendation"
    assert page.locator(".bar ul a").first.inner_text() == "Recommendation"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "recommendation"


def test_the_first_page_in_print_holds_the_answer(page):
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1017})  # A4 at 96 dpi, less its margins
    box = page.locator("#recommendation .figures").bounding_box()
    assert box["y"] + box["height"] < 1017


def test_hostile_words_in_the_answer_and_of_machines_stay_words(make, visit, tmp_path):
    rows = make.varied()[:3]
    view = build(make.manifest(), rows, make.standings(rows))
    for place, text in enumerate(make.HOSTILE):
        lines = ((Value(text, text, text, ""), Value(text, text, text, "")),)
        sheet = Sheet("t-machines", text, (Column(text, text, numeric=False, hint=text), Column(text)), lines)
        hostile = replace(view, answer=answer(text), machines=(sheet, replace(sheet, id="t-runs")))
        path = tmp_path / f"{place}.html"
        path.write_text(render(hostile), encoding="utf-8")
        page = visit(path, viewport={"width": 360, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("main script, main img, main b").count() == 0
        page.locator("#t-machines thead button").first.click()
