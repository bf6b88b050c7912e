"""From a run to its snapshot: what is read of each scenario, and how it is kept beside the run."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import StoreError
from harness.measure.samples import DROPPED, STEADY, Samples
from harness.plan_order import lengthened
from harness.ports import INTERRUPTED
from harness.vocabulary import (
    Completed,
    Failed,
    Launch,
    NoiseReading,
    PlannedCell,
    Precision,
    Scenario,
    Skipped,
    Stage,
    State,
    Trial,
)
from results import snapshots
from results.rows import rows
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED
from results.snapshots import SNAPSHOT, derived, identity_key, select, snapshot
from results.store import JOURNAL, RunStore
from results.tags import tag

MS = 1_000_000


@pytest.fixture(scope="module")
def store(written_run):
    return RunStore.open(written_run)


@pytest.fixture(scope="module")
def found(store):
    return derived(store)


def cell(found, label):
    return next(cell for cell in found.cells if cell.label == label)


def test_the_head_is_the_manifests(found, store):
    assert (found.run_id, found.suite, found.preset) == (store.run_id, "synthetic", "default")
    assert (found.hw_id, found.env_id, found.harness_version) == ("hw-0123456789ab", "env-0123456789ab", "0.1.0")
    assert found.created_at == store.manifest["created_at"]
    assert found.hardware["cpu_model"] == "AMD EPYC"
    assert found.environment["versions"]["openvino"] == "2026.4.0"
    assert (found.drift, found.tags, found.notes) == ("", (), ())


def test_every_planned_cell_is_there_with_what_became_of_it(found, store):
    assert [cell.cell_id for cell in found.cells] == [planned.cell.cell_id for planned in store.plan.cells]
    skipped = cell(found, "lite0/torch/int8/cpu/b1/s1/latency")
    assert (skipped.status, skipped.why, skipped.readings) == (SKIPPED, "torch does not execute int8 on cpu", ())
    failed = cell(found, "yolo11n/onnxruntime/int8/cpu/b1/s1/latency")
    assert failed.status == FAILED
    assert failed.why.startswith("verify, VerifyFailed: cosine 0.12")
    assert {cell.status for cell in found.cells} == {COMPLETED, FAILED, SKIPPED}


def test_figures_are_those_of_the_rows(found, store):
    for row in rows(store):
        cells = {each.cell_id: each for each in found.cells}
        if row.latency is not None:
            reading = cells[row.cell_ids["latency"]].reading("latency")
            assert reading.values == row.latency.launch_medians_ns
            assert reading.launches == row.latency.launch_indices
        if row.throughput is not None:
            reading = cells[row.cell_ids["throughput"]].reading("throughput")
            assert reading.values == row.throughput.launch_rates
        if row.memory is not None:
            reading = cells[row.cell_ids["memory"]].reading("memory")
            assert reading.values == row.memory.launch_peaks
        if row.accuracy is not None:
            reading = cells[row.cell_ids["accuracy"]].reading("accuracy")
            assert reading.values == (row.accuracy.metrics[row.accuracy.primary],)
            assert reading.name == row.accuracy.primary
            assert reading.launches == ()
        if row.artifact is not None and "prove" in row.cell_ids and row.execution is not None:
            assert cells[row.cell_ids["prove"]].reading("size").values == (float(row.artifact.size_bytes),)
        for each in found.cells:
            if each.cell_id in row.cell_ids.values():
                assert each.findings == tuple(dict.fromkeys(finding.kind for finding in row.findings))


def test_percentiles_are_those_that_the_samples_carry(found):
    names = {reading.quantity for reading in cell(found, "lite0/torch/fp32/cpu/b1/s1/latency").readings}
    assert names == {"latency", "p90", "p99", "load", "first"}, "p50 is the latency by launch"
    p99 = cell(found, "lite0/torch/fp32/cpu/b1/s1/latency").reading("p99")
    assert len(p99.values) == 1
    assert p99.low <= p99.values[0] <= p99.high
    few = {reading.quantity for reading in cell(found, "yolo11n/onnxruntime/fp16/cpu/b1/s1/latency").readings}
    assert "p99" not in few, "two launches do not carry it"


def test_launches_that_failed_are_missing_and_noisy_ones_are_named(found):
    latency = cell(found, "yolo11n/openvino/int8/cpu/b1/s1/latency")
    assert latency.status == COMPLETED
    assert (latency.planned, latency.failed) == (5, 1)
    for name in ("latency", "load", "first"):
        assert latency.reading(name).launches == (0, 1, 3, 4)
        assert latency.reading(name).noisy == (1, 3)
    assert {"noisy", "launches-failed"} <= set(latency.findings)
    assert cell(found, "yolo11n/openvino/int8/cpu/b1/throughput").reading("throughput").noisy == ()


def test_the_key_leaves_the_environment_out(store):
    planned = store.plan.cells[0].cell
    assert identity_key(planned) == planned.cell_id
    elsewhere = replace(planned, environment="candidate")
    assert identity_key(elsewhere) == planned.cell_id != elsewhere.cell_id


@pytest.fixture
def run(factory, tmp_path):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("latency", "memory"))
    return factory.write_run(tmp_path / "runs", (recipe,))


def test_it_is_kept_until_the_journal_says_more(run, factory, monkeypatch):
    first = snapshot(RunStore.open(run))
    assert (run / SNAPSHOT).is_file()
    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "derived", lambda store: pytest.fail("it is kept"))
        assert snapshot(RunStore.open(run)) == first
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("latency", "memory"))
    with RunStore.open(run) as store:
        launch = Launch(2, round=2)
        store.started(recipe.cell("latency"), launch)
        store.finished(factory.record_of(store, recipe, "latency", launch, seed=5))
    again = snapshot(RunStore.open(run))
    assert again.cells[0].reading("latency").launches == (0, 1, 2)
    assert again.derived_from != first.derived_from


def test_a_plan_that_grew_is_noticed_before_anything_more_is_measured(run):
    with RunStore.open(run) as store:
        assert snapshot(store).cells[0].planned == 2
        store.lengthen(lengthened(store.plan, 4))
        assert snapshot(store).cells[0].planned == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 99, "cells": []}'])
def test_what_was_kept_and_cannot_be_read_is_made_again(run, damage):
    first = snapshot(RunStore.open(run))
    (run / SNAPSHOT).write_text(damage)
    assert snapshot(RunStore.open(run)) == first
    assert json.loads((run / SNAPSHOT).read_text())["run_id"] == run.name


def test_what_was_kept_of_another_run_is_not_taken(run, factory, tmp_path):
    recipe = factory.Recipe("lite0", "openvino", Precision.FP32, launches=2, scenarios=("latency",))
    other = factory.write_run(tmp_path / "others", (recipe,))
    snapshot(RunStore.open(other))
    (run / SNAPSHOT).write_bytes((other / SNAPSHOT).read_bytes())
    assert snapshot(RunStore.open(run)).run_id == run.name


def test_a_folder_that_may_only_be_read_is_read(run, monkeypatch):
    def refused(path, found):
        raise StoreError(f"no permission for {path}")

    monkeypatch.setattr(snapshots, "write", refused)
    assert snapshot(RunStore.open(run)).run_id == run.name
    assert not (run / SNAPSHOT).exists()


def test_tags_are_read_anew_each_time(run):
    assert snapshot(RunStore.open(run)).tags == ()
    tag(run, "release")
    assert snapshot(RunStore.open(run)).tags == ("release",)
    assert json.loads((run / SNAPSHOT).read_text())["tags"] == []


def test_a_run_of_which_nothing_was_measured_has_its_cells(factory, tmp_path):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, scenarios=("latency",))
    with RunStore.create(tmp_path, factory.manifest_of((recipe,))) as store:
        assert not (store.folder / JOURNAL).exists()
        (only,) = snapshot(store).cells
    assert (only.status, only.why, only.planned) == (NOT_RUN, "", 5)


def test_some_cells_can_be_chosen(found):
    chosen = select(found, ["*/memory", found.cells[0].cell_id[:12]])
    assert {each.scenario for each in chosen.cells} == {"memory", found.cells[0].scenario}
    assert len(select(found, ["*/memory"]).cells) < len(chosen.cells)
    assert select(found, []) == found
    assert select(found, ["nothing"]).cells == ()


# What a run of these takes minutes to measure is read from launches made by hand.


def history(factory, kind, launches, **parameters):
    """Return the history of a cell of one kind whose launches have these samples and facts."""
    recipe = factory.Recipe("lite0", "torch", Precision.FP32)
    planned = PlannedCell(replace(recipe.cell("latency"), scenario=Scenario(kind, parameters)), len(launches))
    measured = [
        SimpleNamespace(
            samples=samples,
            unsteady=False,
            record=SimpleNamespace(
                cell=planned.cell,
                cell_id=planned.cell.cell_id,
                launch=Launch(index),
                outcome=Completed(),
                timing=SimpleNamespace(streams=1, steady_iterations=len(samples)),
                noise={},
                **facts,
            ),
        )
        for index, (samples, facts) in enumerate(launches)
    ]
    records = tuple(launch.record for launch in measured)
    return SimpleNamespace(
        planned=planned, measured=tuple(measured), records=records, completed=records, outcome=Completed()
    )


def samples_of(due_ns, took_ns, phase=STEADY):
    due = np.asarray(due_ns, dtype=np.int64)
    end = due + np.asarray(took_ns, dtype=np.int64)
    return Samples(np.full(len(due), phase), np.zeros_like(due), due, due, due, end, end)


def readings(told):
    return {reading.quantity: reading for reading in snapshots._state(told, ()).readings}


def test_a_searched_rate_is_read_by_launch(factory):
    def searched(*tried):
        parts, trials = [], []
        for rate, took_ms in tried:
            trials.append(Trial(rate, 1000 / rate, 1000, sum(map(len, parts)), 1000))
            parts.append(samples_of(np.arange(1000) * 1e9 / rate, np.full(1000, took_ms * MS)))
        return Samples.joined(parts), {"trials": tuple(trials)}

    told = history(factory, "server", [searched((100, 10), (200, 20), (300, 500)), searched((100, 10), (150, 20))])
    assert readings(told)["rate"].values == (200.0, 150.0)
    assert readings(told)["rate"].launches == (0, 1)
    assert readings(history(factory, "server", [searched((100, 500))])) == {}
    told = history(factory, "server", [searched((100, 500)), searched((100, 10), (200, 20))])
    assert readings(told)["rate"].values == (0.0, 200.0)  # no rate is one: it is not left out


def test_a_given_rate_is_read_by_its_percentile(factory):
    def driven(offered=2000, rows=2000):
        trial = Trial(100.0, 20.0, offered, 0, rows)
        return samples_of(np.arange(rows) * 10 * MS, np.full(rows, 7 * MS)), {"trials": (trial,)}

    found = readings(history(factory, "server", [driven(), driven()], rate=100.0, slo_ms=50.0))
    assert found["p99"].values == (7.0 * MS,)
    assert found["p99"].low <= 7 * MS <= found["p99"].high
    given_up = history(factory, "server", [driven(), driven(offered=2100)], rate=100.0, slo_ms=50.0)
    assert readings(given_up) == {}, "the percentile of those answered flatters an endless queue"


def test_deadline_misses_are_read_with_their_interval(factory):
    took = np.full(300, 10 * MS)
    took[:30] = 90 * MS
    samples = samples_of(np.arange(300) * 100 * MS, took)
    found = readings(history(factory, "camera", [(samples, {})], fps=10.0, deadline_ms=50.0))["misses"]
    assert found.values == (0.1,)
    assert found.low < 0.1 < found.high
    nothing = samples_of([], [], DROPPED)
    assert readings(history(factory, "camera", [(nothing, {})], fps=10.0)) == {}


def test_a_soak_is_read_by_launch(factory):
    samples = samples_of(np.arange(12_000) * 5 * MS, np.full(12_000, 5 * MS))
    found = readings(history(factory, "soak", [(samples, {}), (samples, {})]))["sustained"]
    assert found.values == pytest.approx((200.0, 200.0), rel=0.01)
    assert found.launches == (0, 1)


def test_end_to_end_is_read_from_when_decoding_begins(factory):
    samples = samples_of(np.arange(100) * 10 * MS, np.full(100, 6 * MS))
    found = readings(history(factory, "end_to_end", [(samples, {}), (samples, {})]))
    assert found["latency"].values == (6.0 * MS, 6.0 * MS)
    assert found["p95"].values == (6.0 * MS,)


def test_loadgen_is_not_compared(factory):
    samples = samples_of(np.arange(10) * 10 * MS, np.full(10, 6 * MS))
    assert readings(history(factory, "mlperf", [(samples, {})])) == {}


def test_any_detector_flags_a_launch(factory, run):
    record = RunStore.open(run).records()[0]
    assert not snapshots.is_noisy(record)
    loud = {**record.noise, "steal": NoiseReading(State.BAD)}
    assert snapshots.is_noisy(replace(record, noise=loud))


def test_words_of_failures_hold_no_folders(factory, run):
    crash = Failed(Stage.LOAD, "OSError", "cannot open '/home/somebody/models/net.onnx'")
    told = SimpleNamespace(outcome=crash)
    assert snapshots._outcome(told) == (FAILED, "load, OSError: cannot open 'net.onnx'")
    assert snapshots._outcome(SimpleNamespace(outcome=Skipped("no /usr/lib/libcuda.so"))) == (SKIPPED, "no libcuda.so")


def test_what_the_user_interrupted_was_not_run(factory, run):
    with RunStore.open(run) as store:
        record = store.records()[0]
        stopped = Failed(Stage.STEADY, INTERRUPTED, "stopped by the user")
        store.finished(replace(record, launch=Launch(7), outcome=stopped, samples=None))
    assert derived(RunStore.open(run)).cells[0].status == COMPLETED


def test_a_run_of_the_first_schema_has_a_snapshot():
    run = derived(RunStore.open(Path(__file__).parent / "data" / "schema-1"))
    read_of = {cell.scenario: {reading.quantity for reading in cell.readings} for cell in run.cells}
    assert read_of["latency"] >= {"latency", "load", "first"}
    assert read_of["accuracy"] == {"accuracy"}
