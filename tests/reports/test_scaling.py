"""Batch and streams: which rows make a line, what the table says of each point, and what is said without any."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.vocabulary import Precision
from reports.field import fields
from reports.html import render
from reports.names import named, ordered
from reports.scaling import scaling
from reports.speed import CURVES
from reports.view import build
from results.page_tables import page_tables
from results.rank import standings
from results.row import Throughput
from results.visible import visible_differences

MS = 1e6


def rate(make, streams, per_s, latency_ms=None):
    latency = None if latency_ms is None else make.interval(latency_ms * MS)
    return Throughput(make.interval(per_s), streams, latency=latency)


def section_of(rows):
    standing = standings(rows)
    sequence = ordered(rows, standing)
    names = named(sequence, standing)
    return scaling(fields(sequence, names, standing)), names


def lines(panel, names):
    (table,) = panel.tables
    heads = [column.title for column in table.columns]
    return [(names[line.row].label, dict(zip(heads, line.values, strict=True))) for line in table.lines]


@pytest.fixture
def batches(make):
    """One engine at three batches, another at one."""
    return [
        *(
            make.row(engine="a", batch=batch, median_ms=10.0 * batch**0.5, throughput=rate(make, 2, 100.0 * batch**0.5))
            for batch in (4, 1, 16)
        ),
        make.row(engine="b", median_ms=9.0),
    ]


def test_rows_that_differ_in_the_batch_alone_make_a_line(batches):
    section, names = section_of(batches)
    (panel,) = section.panels
    assert (panel.title, panel.workload) == ("Batch", "lite0")
    through, taking = panel.charts
    assert through.paths[0].points == ((1.0, 100.0), (4.0, 200.0), (16.0, 400.0))
    assert [point[1] for point in taking.paths[0].points] == pytest.approx([10.0, 20.0, 40.0])
    assert through.x.places == (1.0, 4.0, 16.0), "ticks are what was measured"
    assert (through.x.log, taking.y.title) == (True, "median latency of a batch, ms")
    assert [label for label, _ in lines(panel, names)] == ["a fp32"] * 3, "one point is no line"
    assert names[through.paths[0].row].workload == "lite0", "the line bears the name of its smallest batch"


def test_a_number_changed_in_the_table_of_batches_is_found(make, batches):
    row = next(row for row in batches if row.cell.batch == 16)
    view = build(make.manifest(), batches, make.standings(batches))
    place = next(name.index for name in view.rows if name.variant_id == row.variant_id)
    page = render(view)
    assert not list(visible_differences(row, page_tables(page)[place]))
    start = page.index('<table id="t-batch-')
    end = page.index("</table>", start)
    changed = page[:start] + page[start:end].replace("40.0", "14.0") + page[end:]
    said = list(visible_differences(row, page_tables(changed)[place]))
    assert [words.split(",")[0].split(" [")[0] for words in said] == ["shows latency 14.0 ms"]


def test_batches_of_two_runs_make_no_line(batches):
    section, _ = section_of([replace(row, run_id=f"run {row.cell.batch}") for row in batches])
    assert section.panels == ()


def test_the_table_says_what_a_batch_brings_and_costs(batches):
    section, names = section_of(batches)
    told = [line for _, line in lines(section.panels[0], names)]
    assert [line["batch"].text for line in told] == ["1", "4", "16"]
    assert [line["of the smallest batch’s"].text for line in told] == ["1.00", "2.00", "4.00"]
    assert (told[1]["throughput"].text, told[1]["throughput"].aside) == ("200", "[198, 202]")
    assert (told[2]["latency"].text, told[2]["per item"].text) == ("40.0", "2.50")


def test_what_differs_in_more_is_another_line(make):
    rows = [
        make.row(engine="a", precision=precision, threads=threads, batch=batch, median_ms=10.0 * batch + threads)
        for precision in (Precision.FP32, Precision.INT8)
        for threads in (1, 2)
        for batch in (1, 8)
    ]
    section, _ = section_of(rows)
    assert len(section.panels[0].charts[0].paths) == 4
    apart = [replace(row, machine=f"m{row.cell.batch}") for row in rows]
    assert section_of(apart)[0].panels == (), "two machines are no ladder of batches"


def test_a_batch_without_a_throughput_leaves_the_other_chart(make):
    rows = [
        make.row(engine="a", throughput=None),
        make.row(engine="a", batch=8, median_ms=70.0, throughput=None),
    ]
    section, names = section_of(rows)
    assert [chart.title for chart in section.panels[0].charts] == ["Latency of a batch against its size"]
    told = [line for _, line in lines(section.panels[0], names)]
    assert [line["throughput"].text for line in told] == ["—", "—"]


def test_what_was_not_measured_makes_no_line(make):
    rows = [make.row(engine="a"), make.row(engine="a", batch=8, median_ms=None)]
    assert section_of(rows)[0].panels == ()


def test_numbers_of_streams_make_a_line_with_the_latency_under_load(make):
    rates = (rate(make, 1, 100.0, 10.0), rate(make, 2, 180.0, 11.1), rate(make, 4, 200.0, 20.0))
    row = make.row(engine="a", throughput=rates[2], throughputs=rates)
    section, names = section_of([row, make.row(engine="b", throughputs=(rate(make, 2, 90.0, 20.0),))])
    (panel,) = section.panels
    assert panel.title == "Streams"
    through, taking = panel.charts
    assert through.paths[0].points == ((1, 100.0), (2, 180.0), (4, 200.0))
    assert [point[1] for point in taking.paths[0].points] == pytest.approx([10.0, 11.1, 20.0])
    told = [line for _, line in lines(panel, names)]
    assert [line["of the fewest streams’"].text for line in told] == ["1.00", "1.80", "2.00"]
    assert [line["per stream"].text for line in told] == ["100", "90.0", "50.0"]
    assert (told[1]["latency"].text, told[1]["latency"].aside) == ("11.1", "[11.0, 11.2]")


def test_streams_of_each_batch_stand_in_a_panel_of_their_own(make):
    def both(scale):
        return (rate(make, 1, 100.0 * scale), rate(make, 2, 150.0 * scale))

    rows = [
        make.row(engine="a", throughput=both(1)[1], throughputs=both(1)),
        make.row(engine="a", batch=8, median_ms=60.0, throughput=both(2)[1], throughputs=both(2)),
    ]
    section, _ = section_of(rows)
    assert [(panel.workload, panel.title) for panel in section.panels] == [
        ("lite0", "Batch"),
        ("lite0", "Streams"),
        ("lite0 b8", "Streams"),
    ]
    assert [len(panel.charts) for panel in section.panels] == [2, 1, 1], "no latency under load was measured"


def test_more_lines_than_can_be_told_apart_are_in_the_table_alone(make):
    rows = [
        make.row(engine=f"e{place:02}", batch=batch, median_ms=10.0 + place + batch)
        for place in range(CURVES + 3)
        for batch in (1, 8)
    ]
    (panel,) = section_of(rows)[0].panels
    assert [len(chart.paths) for chart in panel.charts] == [CURVES, CURVES]
    assert {path.row for path in panel.charts[0].paths} == {path.row for path in panel.charts[1].paths}
    assert len(panel.tables[0].lines) == 2 * (CURVES + 3)
    assert panel.notes == (
        f"The {CURVES} lines of {CURVES + 3} with the highest throughput are drawn; the table has all.",
    )


def test_without_a_sweep_it_says_what_to_put_in_the_suite(make):
    section, _ = section_of([make.row(engine="a"), make.row(engine="b")])
    assert section.panels == ()
    assert "matrix.batch: [1, 4, 16]" in section.empty
    assert "matrix.streams: [1, 2, 4]" in section.empty


def test_the_page_takes_it(make, batches):
    rates = (rate(make, 1, 100.0, 10.0), rate(make, 2, 180.0, 11.1))
    rows = [*batches[:3], replace(batches[3], throughputs=rates)]
    section, _ = section_of(rows)
    view = replace(build(make.manifest(), rows, standings(rows)), sections=(section,))
    page = render(view)
    assert page == render(view), "the same bytes"
    assert "Throughput against the number of streams" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
