"""A site in a browser: an index that leads to every page and file, on any screen, by keyboard, on paper."""

from __future__ import annotations

import re

import pytest

from reports import site
from reports.view import of_runs
from results.merged import merged
from results.sources import NO_PLAN

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

SCREENS = [{"width": 360, "height": 780}, {"width": 1280, "height": 900}]


@pytest.fixture(scope="module")
def folder(make, offered, tmp_path_factory):
    """A site of a suite with an answer, one of two machines, one of each hostile name, and one without rows."""
    folder = tmp_path_factory.mktemp("site")
    rows = make.varied()
    alone = merged([make.source(rows)])
    elsewhere = make.source(rows, "both", "02B", machine="Intel Xeon, 8 cores", hw_id="bbbbbbbbbbbb")
    several = [
        merged([make.source(rows, "both", "02A"), elsewhere]),
        *(
            merged([make.source(rows[6:8], text, f"03{place}", machine=text, env_id=text, damage=(text,))])
            for place, text in enumerate(make.HOSTILE)
        ),
        merged([make.source((), "nothing", "04A", trouble=NO_PLAN)]),
    ]
    pages = [
        site.Page("quickstart", make.answered(offered), alone),
        *(site.Page(each.sources[0].suite, of_runs(each), each) for each in several),
    ]
    for name, text in site.files(pages):
        (folder / name).write_bytes(text.encode("utf-8", "replace"))
    return folder


@pytest.fixture
def index(visit, folder):
    return lambda **options: visit(folder / site.INDEX, **options)


def card_of(page, suite):
    return page.locator(".card", has=page.get_by_role("link", name=suite, exact=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS, ids=["narrow", "wide"])
def test_the_index_fits_any_screen(index, screen, scheme):
    page = index(viewport=screen, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
    cards = page.locator(".cards > .card")
    assert cards.count() == 10
    right = cards.evaluate_all("cards => cards.map(card => card.getBoundingClientRect().right)")
    assert max(right) <= screen["width"]
    ink, ground = (
        sum(map(int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{what}"))[:3]))
        for what in ("color", "backgroundColor")
    )
    assert (ink > ground) == (scheme == "dark")


def test_every_link_opens_a_page_of_the_site_that_fetches_nothing_else(visit, index, folder):
    links = index().locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    pages = sorted({link for link in links if link.endswith(".html")})
    assert len(pages) == 10
    for link in pages:
        assert visit(folder / link).locator("#h-verdict").is_visible()
    assert all((folder / link).stat().st_size for link in links)


def test_a_card_begins_with_what_to_buy(index):
    card = card_of(index(), "quickstart")
    assert card.locator(".answer").inner_text().startswith("Buy 4 × Example box (3 and 1 spare): openvino int8")


def test_what_is_hostile_stays_a_word(index, make):
    page = index()
    assert page.locator("main script, main img, main b").count() == 0
    titles = page.locator(".card h2").all_inner_texts()
    assert {"<script>alert(1)</script>", "a‹U+202E›gnp.exe‹U+2066›x"} <= set(titles)
    assert page.evaluate("document.dir || getComputedStyle(document.body).direction") == "ltr"


def test_a_run_without_rows_says_why(index):
    card = card_of(index(), "nothing")
    assert "No rows: nothing was planned, or nothing was recorded." in card.inner_text()
    assert "no readable plan" in card.inner_text()


def test_the_keyboard_alone_opens_a_page(index, folder):
    page = index()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the suites"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.getAttribute('href')")
    assert (folder / first).is_file()
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.className"))
    assert {path.name for path in folder.iterdir() if path.name not in {site.INDEX, first}} <= reached
    assert "scroll" in reached, "the table of runs scrolls by keyboard"


def test_without_scripts_nothing_is_missing(index):
    with_scripts, without = (index(java_script_enabled=enabled) for enabled in (True, False))
    assert without.locator("main").inner_text() == with_scripts.locator("main").inner_text()


def test_the_print_is_light_and_leaves_no_card_or_run_out(index):
    page = index(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--fg').trim()") == "#171a20"
    assert page.locator(".cards > .card:visible").count() == 10
    assert page.locator("#runs tbody tr:visible").count() == 11
    assert page.locator(".buttons:visible").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")


def test_the_print_is_as_wide_as_the_paper(visit, make, offered, tmp_path):
    pages = [site.Page("quickstart", make.answered(offered), merged([make.source(make.varied())]))]
    (tmp_path / site.INDEX).write_text(site.index(pages), encoding="utf-8")
    page = visit(tmp_path / site.INDEX, viewport={"width": 703, "height": 1017})  # A4 at 96 dpi, less its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
