"""The page in a browser: no errors, nothing fetched, sorting, filtering, keyboard, no scripts, narrow, dark, print."""

from __future__ import annotations

import itertools
import json
import re

import pytest

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

NARROW = {"width": 360, "height": 780}


@pytest.fixture(scope="module")
def folder(make, varied_page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "report.html").write_text(varied_page, encoding="utf-8")
    (folder / "hostile.html").write_text(make.page(make.hostile_rows(), make.hostile_manifest()), encoding="utf-8")
    (folder / "none.html").write_text(make.page(make.varied()[6:9]), encoding="utf-8")
    return folder


@pytest.fixture
def open_page(visit, folder):
    def open_page(name="report.html", fragment="", **options):
        return visit(folder / name, fragment, **options)

    return open_page


def names(page, table):
    return page.locator(f"{table} tbody tr:visible th.name bdi").all_inner_texts()


@pytest.mark.parametrize("name", ["report.html", "hostile.html", "none.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_a_complaint_and_without_sideways_scrolling(open_page, name, scheme):
    for size in (NARROW, {"width": 1280, "height": 900}):
        page = open_page(name, viewport=size, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_sections_named_above_do_not_run_into_each_other_where_it_is_narrow(open_page):
    page = open_page(viewport=NARROW)
    ends = page.evaluate(
        "[...document.querySelectorAll('.bar ul a')].map(a => { const r = document.createRange();"
        " r.selectNodeContents(a); const box = r.getBoundingClientRect(); return [box.left, box.right]; })"
    )
    assert len(ends) > 5
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends))


def test_sorting_goes_both_ways_and_leaves_missing_values_last(open_page):
    page = open_page()
    table = "#t-latency-0"
    head = page.locator(f"{table} thead th", has_text="against fastest")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = names(page, table)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    descending = names(page, table)
    ranked = len(ascending) - 2
    assert ascending[:ranked] == descending[:ranked][::-1]
    assert set(ascending[ranked:]) == set(descending[ranked:]) == {"onnxruntime int8", "openvino fp16"}
    page.locator(f"{table} thead th").first.get_by_role("button").click()
    assert names(page, table) == sorted(names(page, table))
    assert page.locator(f"{table} thead th[aria-sort]").count() == 1


def test_a_filter_hides_rows_marks_and_workloads_and_is_kept_in_the_address(open_page):
    page = open_page()
    page.get_by_role("combobox", name="Engine").select_option("openvino")
    page.get_by_role("combobox", name="Precision").select_option("int8")
    assert page.locator("output.count").inner_text() == "2 of 13 rows"
    assert names(page, "#t-latency-0") == ["openvino int8"]
    assert page.locator("#latency .mark:not(.off):visible").count() == 1
    assert "engine=openvino&precision=int8" in page.url
    page.get_by_role("link", name="Coverage", exact=True).click()
    assert page.url.endswith("#coverage?engine=openvino&precision=int8")
    assert page.locator("#coverage .incidents li:visible").count() == 2
    page.get_by_role("button", name="Clear").click()
    assert page.locator("output.count").inner_text() == "13 rows"
    assert page.url.endswith("#coverage")


def test_an_address_restores_section_and_filter(open_page):
    page = open_page(fragment="#throughput?engine=openvino&q=int8&device=nonsense")
    assert page.locator("output.count").inner_text() == "2 of 13 rows"
    assert page.get_by_label("Name holds").input_value() == "int8"
    sync_api.expect(page.locator("#h-throughput")).to_be_in_viewport()


def test_a_hostile_value_filters_like_any_other(open_page):
    page = open_page("hostile.html", viewport={"width": 1280, "height": 900})
    page.get_by_role("combobox", name="Workload").select_option("<script>alert(1)</script>")
    assert page.locator("output.count").inner_text() == "3 of 21 rows"
    page.reload()
    assert page.locator("output.count").inner_text() == "3 of 21 rows"


def test_a_mark_shows_its_tip_under_the_pointer_and_under_the_keyboard(open_page):
    page = open_page(viewport={"width": 1280, "height": 900})
    marks = page.locator("#latency .chart").first.locator("svg.wide .mark")
    marks.nth(1).locator(".dot").hover()
    tip = page.locator("#tip")
    assert tip.inner_text().startswith("openvino int8: 5.00")
    page.mouse.move(1, 1)
    assert tip.is_hidden()
    marks.first.focus()
    first = tip.inner_text()
    page.keyboard.press("ArrowDown")
    assert tip.is_visible()
    assert tip.inner_text() != first
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    assert page.locator("#latency .chart").first.locator("svg.wide .mark[tabindex='0']").count() == 1


def test_the_keyboard_alone_reaches_and_works_everything(open_page):
    page = open_page(viewport={"width": 1280, "height": 900})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    reached, active = set(), "document.activeElement"
    for _ in range(1500):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"{active}.tagName + '.' + ({active}.getAttribute('class') ?? '')"))
        if page.evaluate("document.activeElement.hasAttribute('download')"):
            break
    assert {
        *("A.", "SELECT.", "INPUT.", "BUTTON.", "BUTTON.clear", "g.mark"),
        *("DIV.scroll", "SUMMARY.", "A.button"),
    } <= reached
    page.locator("#t-latency-0 thead button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#t-latency-0 thead th").nth(1).get_attribute("aria-sort") == "ascending"


def test_without_scripts_everything_is_there(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator(".filter").is_hidden()
    assert page.locator("thead button").count() == 0
    sections = "verdict pareto latency tails throughput cold-start memory executed coverage method data"
    for section in sections.split():
        assert page.locator(f"#{section} h2").is_visible()
    assert page.locator("#t-latency-0 tbody tr:visible").count() == 6
    assert page.get_by_text("the worker ended by signal 11 (segmentation fault)").first.is_visible()
    assert page.locator("#latency svg.wide .mark > title").first.text_content().startswith("onnxruntime int8: 4.00")


@pytest.mark.parametrize("scripts", [True, False])
def test_downloads_work_with_and_without_scripts(open_page, scripts, tmp_path):
    page = open_page(java_script_enabled=scripts)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    assert waiting.value.suggested_filename == "harness-01JABCDEF.csv"
    waiting.value.save_as(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").startswith("workload,")


def test_the_json_is_made_of_what_the_page_holds(open_page, make, tmp_path):
    page = open_page()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="JSON").click()
    assert waiting.value.suggested_filename == "harness-01JABCDEF.json"
    waiting.value.save_as(tmp_path / "rows.json")
    lines = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert len(lines) == len(make.varied())
    assert {"workload", "variant_id", "certificate"} <= lines[0].keys()


def test_a_row_leads_to_its_particulars_which_open_and_are_marked(open_page):
    page = open_page()
    page.locator("#t-latency-0").get_by_role("link", name="openvino int8").click()
    address = page.url.split("#")[1]
    assert re.fullmatch("row-[0-9a-f]{12}", address)
    fold = page.locator(f"#{address}")
    sync_api.expect(fold).to_have_attribute("open", "")
    sync_api.expect(fold.locator("summary")).to_be_in_viewport()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    again = open_page(fragment=f"#{address}")
    sync_api.expect(again.locator(f"#{address} .facts")).to_be_in_viewport()
    assert again.locator("tr.marked th.name bdi").first.inner_text() == "openvino int8"
    assert again.locator("#latency .mark.marked").count() == 2, "wide and narrow"
    again.go_back()


def test_going_back_takes_back_place_sort_and_filter(open_page):
    page = open_page()
    page.get_by_role("combobox", name="Precision").select_option("int8")
    page.locator("#t-latency-0").get_by_role("link", name="openvino int8").click()
    assert "?precision=int8" in page.url
    page.get_by_role("button", name="Clear").click()
    assert "?" not in page.url
    page.go_back()
    assert page.get_by_role("combobox", name="Precision").input_value() == "int8"
    assert page.locator("output.count").inner_text().endswith("of 13 rows")


def test_a_sort_is_kept_in_the_address(open_page):
    page = open_page()
    head = "#t-latency-0 thead th >> nth=6 >> button"
    page.locator(head).click()
    page.locator(head).click()
    found = names(page, "#t-latency-0")
    again = open_page(fragment="#" + page.url.split("#")[1])
    assert names(again, "#t-latency-0") == found
    assert again.locator("#t-latency-0 thead th").nth(6).get_attribute("aria-sort") == "descending"
    again.evaluate("location.hash = 'latency'")
    again.wait_for_function("!document.querySelector('#t-latency-0 th[aria-sort]')")
    assert names(again, "#t-latency-0") == names(open_page(), "#t-latency-0")


@pytest.mark.parametrize(
    "fragment",
    [
        "#?sort=:",
        "#x?sort=t-latency-0:99d&sort=h-latency:1a&sort=t-all:77a",
        "#%3Cscript%3E?q=%00",
        "#row-none",
        "#?a=b",
    ],
)
def test_an_address_that_says_nothing_known_changes_nothing(open_page, fragment):
    page = open_page(fragment=fragment)
    assert page.locator("#verdict h2").is_visible()
    assert page.locator("main th[aria-sort]").count() == 0


def test_a_row_that_the_filter_hides_is_shown_when_its_address_is_opened(open_page):
    page = open_page()
    page.locator("#t-latency-0").get_by_role("link", name="torch fp32").click()
    target = page.url.split("#")[1]
    page = open_page(fragment=f"#{target}?precision=int8")
    sync_api.expect(page.locator(f"#{target}")).to_be_visible()
    assert page.locator("output.count").inner_text() == "13 rows"


def test_what_a_tag_means_is_told_under_the_keyboard(open_page):
    page = open_page()
    tip = page.locator("#tip")
    link = page.locator("#t-latency-0").get_by_role("link", name="onnxruntime int8")
    link.focus()
    assert "misses 99 %" in tip.inner_text()
    assert link.get_attribute("aria-describedby") == "tip"
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("#t-latency-0 thead button").nth(1).focus()
    assert "95 % interval" in tip.inner_text()
    page.locator("#t-latency-0 tbody .tag").first.hover()
    assert tip.is_visible()


def test_charts_change_their_layout_with_the_width(open_page):
    wide, narrow = open_page(viewport={"width": 1280, "height": 900}), open_page(viewport=NARROW)
    assert wide.locator("#latency svg.wide").first.is_visible()
    assert narrow.locator("#latency svg.narrow").first.is_visible()
    assert narrow.locator("#latency svg.wide").first.is_hidden()
    sizes = narrow.evaluate(
        "[...document.querySelectorAll('svg.narrow text')]"
        ".map(text => text.getBoundingClientRect().height).filter(height => height > 0)"
    )
    assert min(sizes) >= 9, "chart text can be read on a phone"


def test_heads_stay_in_sight_in_a_long_table(browser, make, tmp_path):
    path = tmp_path / "many.html"
    path.write_text(make.page(make.many(24)), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 400})
    page.goto(path.as_uri())
    box = page.locator("#latency .scroll").first
    box.evaluate("element => element.scrollTop = 100")
    offset = box.evaluate(
        "element => element.querySelector('thead th').getBoundingClientRect().top - element.getBoundingClientRect().top"
    )
    assert 0 <= offset <= 2
    page.close()


def test_colours_follow_the_scheme_in_the_charts_too(open_page):
    ink = "getComputedStyle(document.querySelector('#latency svg.wide text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert light.evaluate(ink) != dark.evaluate(ink)
    for page in (light, dark):
        values = [re.findall(r"\d+", page.evaluate(what)) for what in (ink, ground)]
        assert abs(sum(map(int, values[0][:3])) - sum(map(int, values[1][:3]))) > 250


def test_the_print_is_light_whole_and_unfolded(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--fg').trim()") == "#171a20"
    assert page.locator("nav.bar").is_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open]):not(.of-chart)").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details[open]").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")
