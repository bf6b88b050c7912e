"""Sides whose cells share labels and not identities: each format knows which change is of which cell all the same."""

import csv
import io
from dataclasses import replace

import pytest

from results.changes import Rules
from results.compared import compared
from results.comparison import Design
from results.formats.registry import FORMATS
from results.snapshot import COMPLETED, CellState, Reading, Snapshot

CELL = CellState(
    cell_id="a" * 64,
    key="net/fake/fp32/cpu/b1/latency",  # as a side of an A/B run has it
    label="net/fake/fp32/cpu/b1/latency",
    workload="net",
    engine="fake",
    precision="fp32",
    device="cpu",
    scenario="latency",
    status=COMPLETED,
    readings=(Reading("latency", (1e6, 1.01e6, 0.99e6), (0, 1, 2)),),
    planned=3,
)


@pytest.fixture(params=list(Design))
def comparison(request):
    side = Snapshot("01RUN", "2026-01-02T03:04:05+00:00", "ci", "quick", "hw", "env", "1", {}, {}, (CELL,))
    other = replace(CELL, cell_id="b" * 64) if request.param is Design.INTERLEAVED else CELL
    return compared(side, replace(side, run_id="02RUN", cells=(other,)), Rules(design=request.param))


def test_a_row_of_a_table_says_of_which_cell_it_is(comparison):
    (row,) = csv.DictReader(io.StringIO(FORMATS["csv"].of_comparison(comparison)))
    assert (row["engine"], row["workload"], row["status"]) == ("fake", "net", "completed")


def test_a_case_stands_in_the_suite_of_its_workload_once(comparison):
    text = FORMATS["junit"].of_comparison(comparison)
    assert text.count('<testsuite name="net"') == 1
    assert text.count("<testcase ") == 2  # what became of it, and its latency


def test_a_gauge_has_the_labels_of_its_cell(comparison):
    lines = [line for line in FORMATS["openmetrics"].of_comparison(comparison).splitlines() if "latency" in line]
    samples = [line for line in lines if not line.startswith("#")]
    assert samples
    assert all('engine="fake"' in line for line in samples)
