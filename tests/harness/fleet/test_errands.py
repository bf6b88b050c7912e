"""What a host gives is filed once, however often it comes and however long the run is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import codec
from harness.fleet import errands
from harness.fleet.contract import Packed, Terms
from harness.fleet.errands import Errand
from harness.vocabulary import Cell, Completed, Launch, Plan, PlannedCell, Precision, Record, Scenario
from results.store import RunStore, record_id

CELL = Cell("w", "h", {"name": "raw"}, (3,), "fake", Precision.FP32, "cpu", Scenario("latency"))
TERMS = Terms(600.0, strict=False, warm=False, loads={}, limits={})


@pytest.fixture
def errand(tmp_path):
    plan = Plan("suite", "quick", 0, (PlannedCell(CELL, 1, 1.0),), ())
    with RunStore.create(tmp_path, {"plan": codec.encode(plan)}) as store:
        yield Errand("oak", store, plan, {}, TERMS, 0)


def record(errand, index, **other):
    made = Record(
        errand.store.run_id, CELL, Launch(index), Completed(), "hw", "env", "t", 1,
        cell_id=CELL.cell_id, variant_id=CELL.variant_id,
    )  # fmt: skip
    return replace(made, **other)


def given(errand, made):
    return errand.kept(Packed(record_id(made), codec.encode(made), {}))


def test_what_comes_twice_is_filed_once(errand):
    for made in (record(errand, 0), record(errand, 1), record(errand, 0, duration_ns=7)):
        given(errand, made)
    assert [each.launch.index for each in errand.store.records()] == [0, 1]
    assert given(errand, record(errand, 1, duration_ns=7)).duration_ns == 1, "what is stored is what it is told of"


def test_another_attempt_is_another_record(errand):
    for attempt in (0, 1):
        given(errand, replace(record(errand, 0), launch=Launch(0, attempt)))
    assert [each.launch.attempt for each in errand.store.records()] == [0, 1]


def test_what_was_filed_before_is_known_after_resuming(errand):
    given(errand, record(errand, 0))
    for again in (replace(errand, retries=1), errand.without(())):
        given(again, record(errand, 0, duration_ns=7))
    assert len(errand.store.records()) == 1


def test_what_others_wrote_meanwhile_is_known(errand):
    given(errand, record(errand, 0))
    errand.store.finished(record(errand, 1))
    given(errand, record(errand, 1, duration_ns=7))
    assert [each.duration_ns for each in errand.store.records()] == [1, 1]


def test_a_correction_stands_for_what_it_corrects(errand):
    first = record(errand, 0)
    for made in (first, record(errand, 1)):
        given(errand, made)
    errand.store.finished(replace(first, duration_ns=9, supersedes=record_id(first)))
    assert given(errand, replace(first, duration_ns=7)).duration_ns == 9
    assert len(errand.store.records()) == 2


def test_each_record_is_looked_at_a_few_times_however_many_there_are(errand, monkeypatch):
    looked, real = [], errands._key
    monkeypatch.setattr(errands, "_key", lambda made: looked.append(made) or real(made))
    for index in range(60):
        given(errand, record(errand, index))
    assert len(looked) <= 4 * 60
