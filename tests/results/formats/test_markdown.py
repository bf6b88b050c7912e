"""The summary of a step and the comment on a pull request: their order, their size, and that their text is inert."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.comparison import Design, Verdict
from results.formats import markdown
from results.formats.comment import MOST_CHARACTERS, Comment, tag
from results.formats.summary import MOST_BYTES, Summary

BOTH = pytest.mark.parametrize("form", [Summary(), Comment()], ids=["summary", "comment"])


def _rows(text):
    """Return the cells of the rows of every table but their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line[2:-2].split(" | ") for line in lines if not line.startswith(("| verdict |", "| outcome |"))]


@BOTH
def test_what_fails_is_first_and_what_is_equivalent_last(form, compared):
    text = form.of_comparison(compared)
    verdicts = [row[0] for row in _rows(text)]
    assert verdicts == [
        *["**regressed**"] * 3,
        "regressed, allowed until 2026-12-01",
        "regressed (not gated)",
        "inconclusive",
        "improved",
        *["equivalent"] * 2,
    ]
    assert "ci: 3 regressed, 1 regressed (allowed), 1 regressed (not gated), 1 inconclusive, 1 improved" in text


@BOTH
def test_a_row_says_both_sides_in_one_unit_and_the_interval(form, compared):
    rows = {(html.unescape(row[1]), row[2]): row for row in _rows(form.of_comparison(compared))}
    label = "<code>yolo11n/onnxruntime/int8/cpu/b1/fast</code>"
    assert rows[label, "median latency"][3:] == [
        *("3.03 ms", "3.21 ms", "+5.9 % [+4.1, +7.7]"),
        "1 of 5 launches was noisy and left out",
    ]
    accuracy = rows[label.replace("fast", "accuracy"), "accuracy"]
    assert accuracy[5] == "−0.80 points [−1.20, −0.40]"
    assert accuracy[6] == "the new kernel is exact"
    assert "about 24 launches would" in rows[label.replace("fast", "streams"), "throughput"][6]


@BOTH
def test_where_and_how_is_said(form, compared, made):
    text = form.of_comparison(compared)
    assert "<code>01JBEFORE</code> → <code>01JAFTER</code>, measured apart; hardware <code>0123456789ab</code>" in text
    assert "2 tests (Holm), level 5 %" in text
    assert "95 %" in text
    assert "<code>versions.onnxruntime</code>: 1.30.0 → 1.31.0" in text
    assert "<code>governor</code>: absent → powersave" in text
    assert "only before: <code>yolo11n/onnxruntime/int8/cpu/b1/gone</code>" in text
    after = made.snapshot(drift="the sentinel slowed by 7 %", hw_id="ffffffffffff")
    rules = replace(compared.rules, design=Design.INTERLEAVED)
    across = made.comparison(after=after, rules=rules, hardware=compared.causes[:1])
    text = form.of_comparison(across)
    assert "**The two sides ran on different hardware**" in text
    assert "interleaved, paired by round" in text
    assert "Drift while measuring: the sentinel slowed by 7 %" in text


@BOTH
def test_a_run_alone_shows_failed_cells_first_then_its_figures(form, run):
    rows = _rows(form.of_run(run))
    assert rows[0][0] == "**failed**"
    assert rows[0][5].startswith("load, crash: model.onnx")
    by_measure = {(row[1].rpartition("/")[0].rpartition("/")[2], row[2]): row for row in rows}
    assert by_measure["fast<", "median latency"][3:] == ["3.21 [3.19, 3.24] ms", "5", "1 noisy launch"]
    assert by_measure["accuracy<", "accuracy (top1)"][3] == "0.912"
    assert by_measure["camera<", "deadline misses"][3:5] == ["0 [0, 0.00300]", "—"]
    assert by_measure["memory<", "peak memory"][3] == "256 MiB"
    assert rows[-1][0] == "not run"


def test_a_comment_shows_what_fails_and_folds_the_rest(compared):
    text = Comment().of_comparison(compared)
    seen, folded = text.split("<details><summary>6 more</summary>")
    assert text.startswith("<!-- harness:ci:0123456789ab -->\n### harness · ci: ")
    assert len(_rows(seen)) == 3
    assert len(_rows(folded)) == 6
    assert text.count("<details>") == text.count("</details>") == 2


def test_a_comment_without_failures_has_no_empty_table(made):
    text = Comment().of_comparison(made.comparison([made.change("one", "status", Verdict.EQUIVALENT)]))
    assert text.count(markdown.OF_CHANGES) == 1


@pytest.mark.parametrize("suite", ["a --> b", "x--y", "<!-- z", "ci\n-->", "--", "größe 1.2"])
def test_nothing_ends_the_hidden_tag(made, suite):
    line = tag(made.snapshot(suite=suite))
    assert re.fullmatch(r"<!-- harness:[^<>\s]*:0123456789ab -->", line)
    assert "--" not in line[4:-3]


def _many(made, count, message="what is open"):
    changes = [made.change(f"c{index}", "latency", Verdict.REGRESSED, message) for index in range(count // 3)]
    changes += [made.change(f"i{index}", "latency", Verdict.INCONCLUSIVE, message) for index in range(count // 3)]
    changes += [made.change(f"e{index}", "latency", Verdict.EQUIVALENT) for index in range(count // 3)]
    return made.comparison(changes)


@pytest.mark.parametrize(
    ("form", "limit", "size", "count"),
    [
        (Summary(), MOST_BYTES, lambda text: len(text.encode()), 12_000),
        (Comment(), MOST_CHARACTERS, len, 1_200),
    ],
    ids=["summary", "comment"],
)
def test_what_is_too_long_is_cut_by_whole_rows_from_the_bottom(made, form, limit, size, count):
    text = form.of_comparison(_many(made, count, "µ" * 400))
    assert limit * 0.95 < size(text) <= limit
    rows = _rows(text)
    assert all(len(row) == 7 for row in rows)
    told = re.search(r"^([\d,]+) rows are not shown for want of room: (.*)\.$", text, re.MULTILINE)
    assert int(told[1].replace(",", "")) == count - len(rows)
    assert f"{count // 3:,} equivalent" in told[2]
    assert text.count("<details>") == text.count("</details>")
    assert "What differs around them" in text


@BOTH
def test_a_long_list_of_causes_leaves_room_for_the_rows(form, made, compared):
    causes = [replace(compared.causes[0], place=f"versions.package{index}") for index in range(20_000)]
    text = form.of_comparison(made.comparison(causes=tuple(causes)))
    assert len(_rows(text)) == len(compared.changes)
    assert re.search(r"- and [\d,]+ more\n", text)
    assert len(text) <= (MOST_CHARACTERS if isinstance(form, Comment) else MOST_BYTES)


@BOTH
def test_text_from_outside_is_inert(form, made):
    hostile = made.cell("h", status="failed", why=made.hostile, label=made.hostile)
    change = replace(made.change("h", "status", Verdict.REGRESSED, made.hostile), label=made.hostile)
    after = made.snapshot([hostile], suite=made.hostile, drift=made.hostile)
    compared = made.comparison([change], after=after, removed=(made.hostile,))
    for text in (form.of_run(after), form.of_comparison(compared)):
        assert {len(row) for row in _rows(text)} <= {6, 7}
        outside = re.sub(r"</?(?:code|details|summary)>|^<!-- harness:.* -->$", "", text, flags=re.MULTILINE)
        assert not re.search(r"<[a-z!/]", outside)
        assert "`" not in text
        assert "@e" not in text
        assert "#7" not in text


@BOTH
def test_a_parser_of_markdown_sees_tables_of_plain_text(form, made):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    change = replace(made.change("h", "status", Verdict.REGRESSED, made.hostile), label=made.hostile)
    page = parser.render(form.of_comparison(made.comparison([change, change])))
    assert page.count("<table>") == 1
    assert page.count("<tr>") == 3
    assert page.count("<td") == 14
    assert "<b>" not in page
    assert "<a " not in page
    assert "&lt;b&gt;|`@\u200beveryone`|&lt;/b&gt;" in page


@given(st.text(alphabet="@#<>|`*_[]()~$&\\w.:/!ab \n\t\x00", max_size=40))
def test_prose_and_code_mean_themselves(text):
    flat = " ".join(text.replace("\x00", "‹U+0000›").split())
    assert html.unescape(markdown.prose(text)).replace("\u200b", "") == flat or "/" in text or "\\" in text
    for made in (markdown.prose(text), markdown.code(text)[6:-7]):
        assert not set(made) & set("<>|`*_[]~$\\\n")
        assert not re.search(r"@\w|#\w(?<!&#\w)|://|www\.", made)
