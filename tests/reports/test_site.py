"""A folder of pages: names that last, links that lead somewhere, the same bytes in whatever order."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from reports import site
from reports.view import of_runs
from results.merged import merged
from results.sources import NO_PLAN, Source


@pytest.fixture
def page(make):
    """Return a maker of pages."""

    def made(suite="quickstart", rows=None, run_id="01A", **changes):
        plan = {"suite": suite, "preset": "default", "seed": 7}
        known = {
            "run_id": run_id,
            "created_at": "2026-02-03T04:05:06+00:00",
            "suite": suite,
            "hw_id": "aaaaaaaaaaaa",
            "env_id": "e",
            "machine": "AMD EPYC, 2 cores",
            "manifest": make.manifest(plan=plan, run_id=run_id),
            "rows": tuple((make.row(), make.row(engine="openvino", median_ms=5.0)) if rows is None else rows),
            "records": 9,
            "folder": Path("runs") / run_id,
        }
        together = merged([Source(**{**known, **changes})])
        return site.Page(suite, of_runs(together), together)

    return made


def links(text):
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def test_every_link_of_the_index_is_a_file_of_the_site_or_a_place_in_it(page):
    files = dict(site.files([page(), page("YOLO 11n/../x", (), "01B")]))
    ids = re.findall(r'id="([^"]*)"', files["index.html"])
    for link in links(files["index.html"]):
        assert link in files or link[1:] in ids, link
    assert [name for name in files if name.endswith(".html")][-1] == "index.html", "the index comes last"


def test_the_index_says_what_each_page_holds(page):
    text = html.unescape(site.index([page()]))
    for said in (
        "quickstart",
        "openvino fp32 is the fastest.",
        "AMD EPYC, 2 cores · 2026-02-03 04:05 UTC · 2 rows",
        "cells completed",
        "01A",
    ):
        assert said in text


def test_data_lies_beside_each_page(page):
    files = dict(site.files([page()]))
    assert set(files) == {"quickstart.csv", "quickstart.json", "quickstart.html", "index.html"}
    assert len(json.loads(files["quickstart.json"])) == 2
    assert files["quickstart.csv"].count("\n") == 3


def test_the_same_pages_give_the_same_bytes_in_whatever_order(page):
    pages = [page("a"), page("b", (), "01B"), page("B", (), "01C")]
    assert list(site.files(pages)) == list(site.files(pages[::-1]))


def test_the_policy_of_the_index_allows_its_own_style_alone(page):
    text = site.index([page()])
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "<script" not in text
    assert " style=" not in text


def test_hostile_suites_are_shown_as_they_are(page, make):
    pages = [page(text, run_id=f"01{place}", machine=text) for place, text in enumerate(make.HOSTILE)]
    text = site.index(pages)
    assert "<script>alert(1)</script>" in html.unescape(text)
    assert not re.search(r"<script|<img|<b>", text)
    assert not set("\u202e\u2066\x00\x1b\ufffe") & set(text)
    assert all(re.fullmatch(r"(#|[a-z0-9-]+\.(html|csv|json)).*", link) for link in links(text))


def test_a_suite_without_a_name_has_a_page(page):
    assert site.UNNAMED in site.index([page("")])
    assert re.fullmatch("suite-[0-9a-f]{10}", page("").slug)


def test_nothing_recorded_is_a_word_on_the_card(page):
    text = html.unescape(site.index([page(rows=(), trouble=NO_PLAN)]))
    assert "No rows: nothing was planned, or nothing was recorded." in text
    assert "manifest holds no readable plan" in text


def test_names_made_to_meet_are_refused(page):
    with pytest.raises(HarnessError, match="one page") as caught:
        list(site.files([page("A b"), page(site.slug("A b"), run_id="01B")]))
    assert caught.value.hint


def test_many_verdicts_are_counted(page, make):
    rows = [make.row(f"w{place:02d}") for place in range(20)]
    text = site.index([page(rows=rows)])
    assert "12 more on the page" in text


def test_what_an_earlier_site_left_is_named(page):
    names = ["quickstart.html", "index.html", "old-suite.html", "notes.txt", "quickstart.csv"]
    assert site.strangers(names, [page()]) == ("old-suite.html",)


@pytest.mark.parametrize("name", ["quickstart", "yolo11n", "a", "a-b-c", "0", "x" * 60])
def test_a_plain_name_is_its_own(name):
    assert site.slug(name) == name


@pytest.mark.parametrize(
    "name", ["index", "con", "nul", "com1", "-a", "a-", "x" * 61, "A", "é", "../a", "", "a.b", "."]
)
def test_any_other_name_gains_a_digest(name):
    assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{10}", site.slug(name))


@given(st.text(), st.text())
def test_slugs_are_safe_and_tell_names_apart(one, other):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", site.slug(one))
    assert site.slug(one) == site.slug(one)
    if one != other and site.slug(one) != other and site.slug(other) != one:
        assert site.slug(one) != site.slug(other)


def test_runs_of_all_suites_are_listed_newest_first(page):
    first = page("a", run_id="01A")
    second = page("b", run_id="01B", created_at="2026-03-03T04:05:06+00:00")
    text = site.index([first, second])
    table = text[text.index('id="runs"') :]
    assert table.index("01B") < table.index("01A")
    assert dataclasses.asdict(first.merged.sources[0])["run_id"] == "01A"
