"""What a page shows, read back from its tables, and held against what the records give."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from harness.errors import DataError
from results.page_tables import page_tables
from results.published import published
from results.row import Interval
from results.visible import compared, visible_differences

PAGE = """
<table class="plain"><tbody><tr data-row="0"><td data-v="1">not of the class</td></tr></tbody></table>
<table id="t" class="wide data">
<caption>Rows at a glance</caption>
<thead><tr><th scope="col" class="name"><span class="head">row</span></th>
<th scope="col" title="host→host"><span class="head">median latency</span> <span class="unit">ms</span></th>
<th scope="col"><span class="head">against fastest</span> <span class="unit">×</span></th>
<th scope="col"><span class="head">throughput</span> <span class="unit">items/s</span></th>
<th scope="col"><span class="head">against FP32</span> <span class="unit">points</span></th>
<th scope="col"><span class="head">peak memory</span> <span class="unit">MiB</span></th></tr></thead>
<tbody>
<tr data-row="1">
<th scope="row"><svg class="mk"><use href="#a"/></svg><a href="#r"><bdi>torch &amp; <b>more</b></bdi></a></th>
<td class="num" data-v="1.4e+07">14.0 <small>[13.9, 14.2]</small></td><td class="num" data-v="2">2.00</td>
<td class="num" data-v="1234.56">1,235 <small>no interval</small></td>
<td data-v="-0.041">−4.1 <small>[−6.0, −2.3]</small></td>
<td class="num" data-v="104857600">100</td></tr>
<tr><td>about no row</td></tr>
<tr data-row="0">
<th scope="row">other</th><td>—</td><td>not ranked</td><td>—</td><td data-v="0.0">reference</td><td>—</td></tr>
</tbody></table>
"""


def a_row(**changes):
    measured = {
        "latency": SimpleNamespace(host_to_host=Interval(14.0e6, 13.9e6, 14.2e6, 5)),
        "throughput": SimpleNamespace(items_per_s=Interval(1234.56, None, None, 1)),
        "throughputs": (),
        "accuracy": SimpleNamespace(change=SimpleNamespace(estimate=-0.041, low=-0.06, high=-0.023)),
        "memory": SimpleNamespace(peak=100 * 2.0**20),
        "cold_start": None,
    }
    return SimpleNamespace(**{**measured, **changes})


def test_tables_are_read_with_their_heads():
    tables = page_tables(PAGE)
    assert sorted(tables) == [0, 1]
    first, ratio, rate, change, memory = tables[1]
    assert (first.head, first.unit, first.text, first.aside, first.order) == (
        "median latency",
        "ms",
        "14.0",
        "[13.9, 14.2]",
        "1.4e+07",
    )
    assert first.heads == {"row", "median latency", "against fastest", "throughput", "against FP32", "peak memory"}
    assert (ratio.head, rate.text, change.text, memory.unit) == ("against fastest", "1,235", "−4.1", "MiB")
    assert [cell.text for cell in tables[0]] == ["—", "not ranked", "—", "reference", "—"]


def test_what_the_records_give_agrees():
    cells = page_tables(PAGE)
    assert list(visible_differences(a_row(), cells[1])) == []
    assert compared(a_row(), cells[1]) == 4, "the ratio follows from another row's latency"
    assert list(visible_differences(a_row(), cells[0])) == []
    assert compared(a_row(), cells[0]) == 0


@pytest.mark.parametrize(
    ("shown", "instead", "words"),
    [
        (">14.0 ", ">13.0 ", "shows median latency 13.0 ms [13.9, 14.2], the records give 14.0 [13.9, 14.2]"),
        ("[13.9, ", "[13.1, ", "shows median latency 14.0 ms [13.1, 14.2], the records give 14.0 [13.9, 14.2]"),
        ("14.2]", "14.0]", "shows median latency 14.0 ms [13.9, 14.0], the records give 14.0 [13.9, 14.2]"),
        ('"1.4e+07"', '"1.3e+07"', "shows median latency 14.0 ms [13.9, 14.2], the records give 14.0 [13.9, 14.2]"),
        ("1,235", "1,253", "shows throughput 1,253 items/s, the records give 1,235"),
        ("−4.1", "−1.4", "shows against FP32 −1.4 points [−6.0, −2.3], the records give −4.1 [−6.0, −2.3]"),
        ("−4.1", "4.1", "shows against FP32 4.1 points [−6.0, −2.3], the records give −4.1 [−6.0, −2.3]"),
        (">100<", ">10<", "shows peak memory 10 MiB, the records give 100"),
        (">ms<", ">µs<", "shows median latency 14.0 µs [13.9, 14.2], the records give 14,000.0 [13,900.0, 14,200.0]"),
    ],
)
def test_a_number_that_was_changed_is_named(shown, instead, words):
    changed = PAGE.replace(shown, instead, 1)
    assert changed != PAGE
    assert list(visible_differences(a_row(), page_tables(changed)[1])) == [words]


def test_a_number_of_what_was_not_measured_is_named():
    told = list(visible_differences(a_row(throughput=None, latency=None), page_tables(PAGE)[1]))
    assert told == [
        "shows median latency 14.0 ms [13.9, 14.2], the records give none",
        "shows throughput 1,235 items/s, the records give none",
    ]


def test_a_rate_is_that_of_some_number_of_streams():
    two = (SimpleNamespace(items_per_s=Interval(1000.0, 990.0, 1010.0, 5)), a_row().throughput)
    assert not list(visible_differences(a_row(throughputs=two), page_tables(PAGE)[1]))


PACKED = (
    '<script type="application/json" id="rows">'
    '{"columns": ["variant_id", "ranked"], "rows": [["a", true], ["b", null]]}</script>'
)


def test_a_page_names_its_rows_in_the_order_of_its_tables(tmp_path):
    page = tmp_path / "report.html"
    page.write_text(PAGE + PACKED, encoding="utf-8")
    found = published(page)
    assert found.rows == {"a": {"variant_id": "a", "ranked": True}, "b": {"variant_id": "b", "ranked": None}}
    assert found.seen["b"][0].text == "14.0"
    assert found.seen["a"][0].text == "—"


def test_a_page_whose_table_has_more_rows_than_its_data_shows_nothing_of_them(tmp_path):
    page = tmp_path / "report.html"
    page.write_text(PAGE.replace('data-row="1"', 'data-row="7"') + PACKED, encoding="utf-8")
    assert set(published(page).seen) == {"a"}


@pytest.mark.parametrize(
    "data",
    [
        '{"columns": ["variant_id"], "rows": [["a", 1]]}',
        '{"columns": ["engine"], "rows": [["a"]]}',
        '{"columns": 3, "rows": [["a"]]}',
        '{"columns": ["variant_id"], "rows": 3}',
    ],
)
def test_columns_that_do_not_fit_their_rows_are_no_report(tmp_path, data):
    page = tmp_path / "report.html"
    page.write_text(re.sub(r"\{.*\}", data, PACKED), encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows of a report"):
        published(page)
