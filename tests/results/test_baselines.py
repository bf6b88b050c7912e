"""Baselines: what of a run is accepted, where it lies, and what is never overwritten."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, StoreError
from results.baselines import accepted, baselines_in, find, path_of, save
from results.snapshot import COMPLETED, FAILED, SKIPPED, CellState, Reading, Snapshot
from results.snapshot_files import read


def cell(name="a", readings=None, *, scenario="latency", status=COMPLETED, why="", findings=()):
    if readings is None:
        readings = (by_launch("latency", 10), Reading("p99", (3e6,), low=2.9e6, high=3.2e6))
    return CellState(
        cell_id=name * 8,
        key=name * 8,
        label=f"net/fake/fp32/cpu/{name}/{scenario}",
        workload="net",
        engine="fake",
        precision="fp32",
        device="cpu",
        scenario=scenario,
        status=status,
        why=why,
        readings=tuple(readings) if status == COMPLETED else (),
        findings=tuple(findings),
        planned=10,
    )


def by_launch(name, count, *, noisy=(), value=2e6):
    return Reading(name, tuple(value + index for index in range(count)), tuple(range(count)), tuple(noisy))


def run(*cells, **facts):
    return Snapshot(
        **{
            "run_id": "01RUN",
            "created_at": "2026-01-02T03:04:05+00:00",
            "suite": "ci",
            "preset": "default",
            "hw_id": "hw1",
            "env_id": "env1",
            "harness_version": "1",
            "hardware": {},
            "environment": {},
            "cells": cells,
            **facts,
        }
    )


def refusals(made):
    return {each.label.split("/")[-2]: each.why for each in made.refused}


def test_what_is_quiet_is_taken_whole():
    made = accepted(run(cell(), cell("b", [by_launch("memory", 3)], scenario="memory")))
    assert made.snapshot == run(cell(), cell("b", [by_launch("memory", 3)], scenario="memory"))
    assert made.refused == ()
    assert not made.is_empty


def test_a_noisy_launch_is_left_out_and_with_it_what_it_was_pooled_into():
    noisy = cell(readings=[by_launch("latency", 10, noisy=(0, 7)), Reading("p99", (3e6,), low=2e6, high=4e6)])
    made = accepted(run(replace(noisy, findings=("noisy", "partial"))))
    (kept,) = made.snapshot.cells
    (reading,) = kept.readings
    assert reading.launches == (1, 2, 3, 4, 5, 6, 8, 9)
    assert reading.values == tuple(2e6 + index for index in reading.launches)
    assert reading.noisy == ()
    assert kept.findings == ("partial",)
    assert made.snapshot.notes == ("net/fake/fp32/cpu/a/latency: noisy launches left out: 0, 7",)


def test_a_cell_without_five_quiet_launches_is_refused():
    made = accepted(
        run(cell(), cell("b", [by_launch("latency", 9, noisy=range(5))]), cell("c", [by_launch("load", 4)]))
    )
    assert refusals(made) == {
        "b": "4 quiet launches of its median latency, 5 are needed",
        "c": "4 quiet launches of its load time, 5 are needed",
    }
    assert [each.cell_id for each in made.snapshot.cells] == ["aaaaaaaa"]
    assert accepted(run(cell(readings=[by_launch("latency", 9, noisy=range(4))]))).refused == ()


@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_no_noisy_launch_is_ever_accepted(drawn):
    count, noisy = drawn
    made = accepted(run(cell(readings=[by_launch("latency", count, noisy=sorted(noisy)), by_launch("memory", count)])))
    for kept in made.snapshot.cells:
        reading = kept.reading("latency")
        assert not noisy & set(reading.launches)
        assert len(reading.launches) == len(reading.values) >= 5
    assert bool(made.refused) == (count - len(noisy) < 5)


def test_memory_of_noisy_launches_alone_is_left_out():
    made = accepted(run(cell("b", [by_launch("memory", 2, noisy=(0, 1))], scenario="memory"), cell()))
    assert made.snapshot.cells[0].readings == ()
    assert made.refused == ()


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (cell(findings=["throttled"]), "launches were throttled"),
        (cell(findings=["fell-back"]), "the work ran elsewhere than asked"),
        (cell(findings=["other-precision"]), "the work ran at another precision than asked"),
        (cell(status=FAILED, why="load, error: no such file"), "failed: load, error: no such file"),
        (cell(status=SKIPPED, why="not installed"), "skipped: not installed"),
        (cell(status="not run"), "not run"),
        (
            cell(readings=[Reading("p99", (3e6,), low=2e6, high=float("inf"))]),
            "its 99th percentile of latency has no finite interval",
        ),
        (cell(readings=[by_launch("latency", 6, value=float("nan"))]), "its median latency has no finite interval"),
        (cell(readings=[by_launch("throughput", 6, value=0.0)]), "its throughput has a launch at zero"),
    ],
)
def test_what_did_not_run_as_asked_is_refused(spoilt, why):
    made = accepted(run(spoilt))
    assert refusals(made) == {"a": why}
    assert made.is_empty


def test_what_is_refused_and_a_drift_are_noted_and_what_was_skipped_is_not():
    made = accepted(run(cell(), cell("b", status=FAILED), cell("c", status=SKIPPED), drift="the machine became slower"))
    assert made.snapshot.notes == ("net/fake/fp32/cpu/b/latency: refused: failed", "the machine became slower")


def test_a_baseline_lies_by_suite_and_hardware(tmp_path):
    saved = save(tmp_path, run(cell()))
    assert saved.path == tmp_path / "ci" / "hw1.json"
    assert saved.replaced is None
    assert read(saved.path) == run(cell())
    save(tmp_path, run(cell(), hw_id="hw2"))
    save(tmp_path, run(cell(), suite="other"))
    save(tmp_path, run(cell()), "main")
    assert [path.relative_to(tmp_path).as_posix() for path, _ in baselines_in(tmp_path)] == [
        "ci/hw1.json",
        "ci/hw2.json",
        "main/hw1.json",
        "other/hw1.json",
    ]
    assert [path.stem for path, _ in baselines_in(tmp_path, "ci")] == ["hw1", "hw2"]
    assert [path.parent.name for path, _ in baselines_in(tmp_path, "ci", "main")] == ["main"]
    assert find(tmp_path, "ci", "hw1") == (saved.path, run(cell()))
    assert find(tmp_path, "ci", "hw1", "main")[0].parent.name == "main"
    assert find(tmp_path, "ci", "hw3") is None
    assert baselines_in(tmp_path / "nowhere") == ()


def test_a_file_has_one_cell_a_line(tmp_path):
    text = save(tmp_path, run(cell(), cell("b"))).path.read_text()
    assert [json.loads(line.rstrip(","))["cell_id"] for line in text.splitlines() if "cell_id" in line] == [
        "aaaaaaaa",
        "bbbbbbbb",
    ]


def test_the_same_is_replaced_and_another_suites_is_not(tmp_path):
    save(tmp_path, run(cell()), "main")
    again = save(tmp_path, run(cell(), cell("b"), run_id="02RUN"), "main")
    assert again.replaced == run(cell())
    with pytest.raises(HarnessError, match="is the baseline of the suite 'ci', not of 'other'"):
        save(tmp_path, run(cell(), suite="other"), "main")
    assert find(tmp_path, "ci", "hw1", "main")[1].run_id == "02RUN"


def test_a_file_in_the_wrong_place_is_named(tmp_path):
    save(tmp_path, run(cell())).path.rename(tmp_path / "ci" / "hw2.json")
    with pytest.raises(StoreError, match="holds a baseline of the suite 'ci' on hw1"):
        find(tmp_path, "ci", "hw2")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a b", "/abs"])
def test_a_name_is_no_path(tmp_path, name):
    with pytest.raises(HarnessError, match="a baseline cannot be called"):
        path_of(tmp_path, "ci", "hw1", name)


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_every_suite_has_a_folder_of_its_own(tmp_path_factory, one, other):
    root = tmp_path_factory.getbasetemp()
    first, second = path_of(root, one, "hw"), path_of(root, other, "hw")
    assert (first == second) == (one == other)
    assert first.parent.parent == root
    assert not first.parent.name.startswith((".", "-"))
    assert len(first.parent.name) <= 100


def test_proofs_alone_are_no_baseline_where_more_was_measured():
    proof = cell("p", [Reading("size", (100.0,))], scenario="prove")
    noisy = cell(readings=[by_launch("latency", 10, noisy=range(8))])
    assert accepted(run(proof, noisy)).is_empty
    assert not accepted(run(proof)).is_empty
    memory = cell("m", [by_launch("memory", 3)], scenario="memory")
    assert not accepted(run(proof, noisy, memory)).is_empty
