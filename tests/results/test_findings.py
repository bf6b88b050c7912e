from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proof import on_device
from harness.vocabulary import (
    Cell,
    Completed,
    Execution,
    Launch,
    PlannedCell,
    Precision,
    Record,
    Scenario,
    Skipped,
    Unknowable,
)
from results.accuracy import verdict
from results.findings import Evidence, findings
from results.launches import CellHistory, Measured
from results.measures import latency
from results.row import Row


def row(macs_by_device=None, macs_by_precision=None, *, device="cpu", nodes=None):
    cell = Cell("w", "s", {"name": "raw"}, (3,), "e", Precision.INT8, device, Scenario("latency"))
    execution = Execution(
        device=device,
        nodes_by_device=nodes or {device: 10},
        macs_by_device={device: 1.0} if macs_by_device is None else macs_by_device,
        nodes_by_precision={},
        macs_by_precision={"int8": 1.0} if macs_by_precision is None else macs_by_precision,
        threads=1,
        streams=1,
    )
    return Row("v", cell, "l", execution=execution)


def found(row):
    return {finding.kind: finding for finding in findings(Evidence(row))}


@pytest.mark.parametrize(
    ("key", "device", "same"),
    [
        ("cpu", "cpu", True),
        ("CPU", "cpu", True),
        ("CPUExecutionProvider", "cpu", True),
        ("CUDAExecutionProvider", "cuda:0", True),
        ("GPU.0", "gpu.0", True),
        ("gpu", "gpu.0", True),
        ("gpu.1", "gpu.0", False),
        ("cuda:1", "cuda:0", False),
        ("cpu", "gpu.0", False),
        ("npu", "cpu", False),
        ("?", "cpu", False),
    ],
)
def test_names_of_devices(key, device, same):
    assert on_device(key, device) is same


@given(st.floats(0, 1))
def test_nine_tenths_of_the_work_decide_what_a_row_is(share):
    there = found(row({"gpu": share, "cpu": 1 - share}, device="gpu"))
    assert ("fell-back" in there) == (share < 0.9)
    assert all(finding.unranked == (kind == "fell-back") for kind, finding in there.items())
    at = found(row(macs_by_precision={"int8": share, "fp32": 1 - share}))
    assert ("other-precision" in at) == (share < 0.9)
    assert ("partial" in at) == (0.9 <= share < 1)


def test_other_threads_than_asked_are_told():
    asked = {threads: replace(row(), cell=replace(row().cell, threads=threads)) for threads in (None, 1, 4)}
    assert {threads: "other-threads" in found(each) for threads, each in asked.items()} == {
        None: False,
        1: False,
        4: True,
    }
    silent = replace(asked[4].execution, threads=Unknowable("it does not tell"))
    assert "other-threads" not in found(replace(asked[4], execution=silent))


def test_launches_whose_sensors_were_not_read_are_told():
    timed = row()
    records = tuple(
        Record("r", timed.cell, Launch(index), Completed(), "hw", "env", "", 0, unsampled=why)
        for index, why in enumerate(("", "it ended", "it ended"))
    )
    measured = tuple(Measured(record, None, unsteady=False) for record in records)
    history = CellHistory(PlannedCell(timed.cell, 3), records, measured, retried=0, lost=0)
    told = {finding.kind: finding for finding in findings(Evidence(timed, histories=(history,)))}
    assert told["unsampled"].message == "no sensor was read beside 2 of 3 latency launches: it ended"
    quiet = replace(history, records=records[:1], measured=measured[:1])
    assert "unsampled" not in {finding.kind for finding in findings(Evidence(timed, histories=(quiet,)))}


def test_some_nodes_elsewhere_are_told_and_ranked():
    told = found(row(nodes={"cpu": 308, "gpu": 2}))
    assert told["partial"].message == "2 of 310 nodes ran elsewhere than on cpu"
    assert not told["partial"].unranked


def test_a_row_that_was_never_timed_is_not_blamed_for_its_accuracy():
    assert "accuracy-unknown" not in found(replace(row(), outcomes={"accuracy": Skipped("no INT8 route")}))


def test_what_cannot_be_known_neither_convicts_nor_clears():
    unknown = Unknowable("the runtime does not tell")
    assert found(row(unknown, unknown, nodes={"cpu": 1})) == {}  # nothing was timed, so nothing needs proof


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-0.5, 0))
def test_verdict_needs_the_whole_interval(low, width, limit):
    high = low + width
    word = verdict(low, high, limit)
    assert (word == "passes") == (low >= limit)
    assert (word == "fails") == (high < limit)
    assert word in {"passes", "fails", "undecided"}


def test_a_latency_needs_a_launch():
    with pytest.raises(ValueError):
        latency([], ())
