"""The page as a document: self-contained, inert to hostile text, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from harness.errors import DataError
from reports.html import render
from reports.view import build
from results.published import published

VOID = {"meta", "input", "br", "img", "link"}


class Reader(HTMLParser):
    """Collect elements, attributes and text, and check that what is opened is closed."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.ids, self.open, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def hostile_page(make):
    return make.page(make.hostile_rows(), make.hostile_manifest())


def test_the_page_is_well_formed_and_ids_are_unique(varied_page):
    ids = read(varied_page).ids
    assert len(ids) == len(set(ids))


def test_every_reference_inside_the_page_leads_somewhere(varied_page):
    reader = read(varied_page)
    wanted = {value[1:] for _, name, value in reader.attributes if name == "href" and value.startswith("#")}
    wanted |= {
        word for _, name, value in reader.attributes if name.startswith("aria-labelledby") for word in value.split()
    }
    wanted |= set(re.findall(r"url\(#([^)]+)\)", varied_page))
    assert wanted <= set(reader.ids)


def test_nothing_is_fetched_from_anywhere(varied_page, hostile_page):
    for page in (varied_page, hostile_page):
        for tag, name, value in read(page).attributes:
            assert name not in {"src", "srcset", "action", "data", "poster", "background", "ping"}, (tag, name, value)
            if name == "href":
                assert re.match(r"#|data:(text/csv|application/json);|logs/", value), value
    assert not re.search(r"@import|url\((?!#)", varied_page)


def test_hostile_text_makes_no_element_and_no_attribute(make, hostile_page, varied_page):
    hostile, plain = read(hostile_page), read(varied_page)
    assert set(hostile.elements) <= set(plain.elements)
    ours = {(tag, name) for tag, name, _ in plain.attributes} | {("pre", "tabindex")}  # of folded text, which is long
    assert {(tag, name) for tag, name, _ in hostile.attributes} <= ours
    assert hostile.elements.count("script") == 3, "the catalogue, the rows, and the script itself"
    assert not any(name.startswith("on") or name == "style" for _, name, _ in hostile.attributes)


def test_hostile_text_is_shown_as_it_is(make, hostile_page):
    text = "".join(read(hostile_page).text)
    for shown in (
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "$\\frac{1}{2}$ {{ 7*7 }} ${x}",
    ):
        assert shown in text
    assert "a‹U+202E›gnp.exe" in text
    assert not set("\u202e\u2066\x00\x1b\ufffe") & set(hostile_page)
    hostile_page.encode("utf-8")


def test_mathtext_in_a_name_stays_text_in_the_charts(hostile_page):
    drawings = "".join(re.findall(r"<svg xmlns.*?</svg>", hostile_page, re.DOTALL))
    assert "$\\frac{1}{2}$" in drawings


def test_long_text_is_short_until_it_is_unfolded(hostile_page):
    fold = r'<details class="long"><summary><bdi>(x+…x+)</bdi></summary><pre tabindex="0"><bdi>(x+)</bdi>'
    folds = re.findall(fold, hostile_page)
    assert folds
    assert all(len(short) <= 400 and len(whole) == 10_000 for short, whole in folds)
    labels = re.findall(r'<th scope="row" class="name">.*?</th>', hostile_page)
    assert max(map(len, labels)) < 1500


def test_the_policy_holds_the_hashes_of_what_is_inline(varied_page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', varied_page)[1]
    style = re.search(r"<style>(.*?)</style>", varied_page, re.DOTALL)[1]
    script = re.findall(r"<script>(.*?)</script>", varied_page, re.DOTALL)
    assert len(script) == 1
    for text, directive in ((style, "style-src"), (script[0], "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_styles_are_never_inline(varied_page):
    assert not any(name == "style" for _, name, _ in read(varied_page).attributes)


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)[1])


def test_the_downloads_hold_every_row(make, varied_page):
    ((name, link),) = re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8,([^"]+)"', varied_page)
    rows = make.varied()
    view = build(make.manifest(), rows, make.standings(rows))
    assert name == "harness-01JABCDEF.csv"
    assert unquote(html.unescape(link)) == view.downloads.csv
    data = embedded(varied_page)
    lines = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    assert lines == json.loads(view.downloads.json)


def test_what_verification_reads_of_a_page_is_what_it_reads_of_the_json(make, varied_page, tmp_path):
    rows = make.varied()
    view = build(make.manifest(), rows, make.standings(rows))
    (tmp_path / "page.html").write_text(varied_page, encoding="utf-8")
    (tmp_path / "rows.json").write_text(view.downloads.json, encoding="utf-8")
    from_page, from_json = published(tmp_path / "page.html"), published(tmp_path / "rows.json")
    assert from_page.rows == from_json.rows
    assert len(from_page.rows) == len(rows)


@pytest.mark.parametrize("text", ['{"columns": ["variant_id"], "rows": [[1, 2]]}', '{"columns": [[]], "rows": [[1]]}'])
def test_a_page_whose_rows_do_not_fit_their_columns_is_refused(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(DataError, match="holds no rows"):
        published(tmp_path / "rows.json")


def test_each_row_has_an_address_that_its_tables_lead_to(varied_page):
    reader = read(varied_page)
    folds = {value for value in reader.ids if value.startswith("row-")}
    links = {value[1:] for tag, name, value in reader.attributes if (tag, name) == ("a", "href") and "#row-" in value}
    assert len(folds) == 13
    assert links == folds


def test_a_panel_without_a_table_has_the_data_of_its_charts(varied_page):
    section = re.search(r'<section id="tails".*?</section>', varied_page, re.DOTALL)[0]
    assert section.count("The data of this chart") == section.count('<figure class="chart">') == 2
    latency = re.search(r'<section id="latency".*?</section>', varied_page, re.DOTALL)[0]
    assert "The data of this chart" not in latency, "the table below holds it"


def test_hostile_data_survives_in_the_downloads(hostile_page):
    data = embedded(hostile_page)
    at = data["columns"].index("workload")
    assert "</script><img src=x onerror=alert(1)>" in {row[at] for row in data["rows"]}


def test_a_download_too_large_for_a_link_is_left_in_the_page(make, monkeypatch):
    monkeypatch.setattr("reports.html._LINK_LIMIT", 100)
    page = make.page(make.varied()[:1])
    assert "data:text/csv" not in page
    assert "too large for a link" in page


def test_every_chart_has_a_name_a_description_and_its_table(varied_page):
    figures = re.findall(r'<figure class="chart">.*?</figure>', varied_page, re.DOTALL)
    assert len(figures) >= 10
    for figure in figures:
        assert len(re.findall(r'<svg [^>]*role="img"', figure)) == 2, "wide and narrow"
        assert len(re.findall(r"<title id=[^>]+>[^<]+</title><desc id=[^>]+>[^<]+</desc>", figure)) == 2
        assert "#01010" not in figure, "every stand-in colour is replaced"
        assert "var(--" not in figure, "colours come from classes"


def test_rendering_twice_gives_the_same_bytes(make, varied_page):
    rows = make.varied()
    logs = {cell_id: f"logs/{cell_id[:12]}-0.log" for item in rows for cell_id in item.cell_ids.values()}
    assert make.page(rows, records=321, logs=logs) == varied_page


@pytest.mark.parametrize("count", [0, 1, 3])
def test_small_runs_are_pages(make, count):
    rows = make.varied()[6 : 6 + count]
    page = make.page(rows)
    read(page)
    assert "<svg xmlns" not in page, "nothing to draw"


def test_nothing_at_all_is_a_page():
    assert "The run has no rows" in render(build({}, (), ()))


def test_two_hundred_rows_stay_small(make):
    page = make.page(make.many(200))
    read(page)
    assert len(page.encode()) < 3_000_000
    assert "The chart has the first 40 of 100 rows; the table has all." in page
