"""The page in a browser: no errors, nothing fetched, sorting, filtering, keyboard, no scripts, narrow, dark, print."""

from __future__ import annotations

import re
import shutil

import pytest

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

_CHROMIUM = shutil.which("chromium")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NARROW = {"width": 360, "height": 780}


@pytest.fixture(scope="module")
def browser():
    if _CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(make, varied_page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "report.html").write_text(varied_page, encoding="utf-8")
    (folder / "hostile.html").write_text(make.page(make.hostile_rows(), make.hostile_manifest()), encoding="utf-8")
    (folder / "none.html").write_text(make.page(make.varied()[6:9]), encoding="utf-8")
    return folder


@pytest.fixture
def visit(browser, folder):
    """Open a page, and at the end insist that it said nothing to the console and fetched nothing but itself."""
    contexts, complaints = [], []

    def open_page(name="report.html", fragment="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        here = (folder / name).as_uri()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.split("#")[0] == here or complaints.append(request.url))
        page.goto(here + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def names(page, table):
    return page.locator(f"{table} tbody tr:visible th.name bdi").all_inner_texts()


@pytest.mark.parametrize("name", ["report.html", "hostile.html", "none.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_a_complaint_and_without_sideways_scrolling(visit, name, scheme):
    for size in (NARROW, {"width": 1280, "height": 900}):
        page = visit(name, viewport=size, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_sorting_goes_both_ways_and_leaves_missing_values_last(visit):
    page = visit()
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


def test_a_filter_hides_rows_marks_and_workloads_and_is_kept_in_the_address(visit):
    page = visit()
    page.get_by_role("combobox", name="Engine").select_option("openvino")
    page.get_by_label("Precision").select_option("int8")
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


def test_an_address_restores_section_and_filter(visit):
    page = visit(fragment="#throughput?engine=openvino&q=int8&device=nonsense")
    assert page.locator("output.count").inner_text() == "2 of 13 rows"
    assert page.get_by_label("Name holds").input_value() == "int8"
    sync_api.expect(page.locator("#h-throughput")).to_be_in_viewport()


def test_a_hostile_value_filters_like_any_other(visit):
    page = visit("hostile.html", viewport={"width": 1280, "height": 900})
    page.get_by_label("Workload").select_option("<script>alert(1)</script>")
    assert page.locator("output.count").inner_text() == "3 of 21 rows"
    page.reload()
    assert page.locator("output.count").inner_text() == "3 of 21 rows"


def test_a_mark_shows_its_tip_under_the_pointer_and_under_the_keyboard(visit):
    page = visit(viewport={"width": 1280, "height": 900})
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


def test_the_keyboard_alone_reaches_and_works_everything(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    reached, active = set(), "document.activeElement"
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"{active}.tagName + '.' + ({active}.getAttribute('class') ?? '')"))
        if page.evaluate("document.activeElement.hasAttribute('download')"):
            break
    assert {"A.", "SELECT.", "INPUT.", "BUTTON.clear", "g.mark", "DIV.scroll", "SUMMARY.", "A.button"} <= reached
    page.locator("#t-latency-0 thead button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#t-latency-0 thead th").nth(1).get_attribute("aria-sort") == "ascending"


def test_without_scripts_everything_is_there(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".filter").is_hidden()
    assert page.locator("thead button").count() == 0
    sections = "verdict pareto latency tails throughput cold-start memory executed coverage method data"
    for section in sections.split():
        assert page.locator(f"#{section} h2").is_visible()
    assert page.locator("#t-latency-0 tbody tr:visible").count() == 6
    assert page.get_by_text("the worker ended by signal 11 (segmentation fault)").first.is_visible()
    assert page.locator("#latency svg.wide .mark > title").first.text_content().startswith("onnxruntime int8: 4.00")


@pytest.mark.parametrize("scripts", [True, False])
def test_downloads_work_with_and_without_scripts(visit, scripts, tmp_path):
    page = visit(java_script_enabled=scripts)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    assert waiting.value.suggested_filename == "harness-01JABCDEF.csv"
    waiting.value.save_as(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").startswith("workload,")


def test_charts_change_their_layout_with_the_width(visit):
    wide, narrow = visit(viewport={"width": 1280, "height": 900}), visit(viewport=NARROW)
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


def test_colours_follow_the_scheme_in_the_charts_too(visit):
    ink = "getComputedStyle(document.querySelector('#latency svg.wide text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert light.evaluate(ink) != dark.evaluate(ink)
    for page in (light, dark):
        values = [re.findall(r"\d+", page.evaluate(what)) for what in (ink, ground)]
        assert abs(sum(map(int, values[0][:3])) - sum(map(int, values[1][:3]))) > 250


def test_the_print_is_light_whole_and_unfolded(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--fg').trim()") == "#171a20"
    assert page.locator("nav.bar").is_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details[open]").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")
