from dataclasses import replace

import numpy as np
import pytest

from harness.ports import INTERRUPTED
from harness.telemetry.sensor import Column
from harness.telemetry.table import Table
from harness.vocabulary import Completed, Failed, Launch, Precision, Skipped, Stage
from results.rows import rows
from results.statistics import launch_interval
from results.store import RunStore

FP32, INT8 = Precision.FP32, Precision.INT8


@pytest.fixture
def found(synthetic_rows):
    return synthetic_rows


def one(found, workload, label):
    (row,) = [row for row in found if row.cell.workload == workload and row.label == label]
    return row


def kinds(row):
    return {finding.kind for finding in row.findings}


def test_every_variant_of_the_plan_has_one_row_in_its_order(found, factory):
    assert [row.variant_id for row in found] == [recipe.cell("latency").variant_id for recipe in factory.RECIPES]
    assert len({(row.cell.workload, row.label) for row in found}) == len(found)


def test_a_row_tells_what_its_samples_say(found, written_run):
    row = one(found, "lite0", "onnxruntime fp32 cpu b1")
    store = RunStore.open(written_run)
    records = [r for r in store.records() if r.cell_id == row.cell_ids["latency"]]
    steady = [store.samples(record.samples).steady() for record in records]
    medians = [float(np.median(samples.host_to_host_ns)) for samples in steady]
    assert row.latency.launch_medians_ns == pytest.approx(medians)
    assert row.latency.launch_indices == (0, 1, 2, 3, 4)
    assert row.latency.host_to_host == launch_interval(row.latency.launch_medians_ns)
    pooled = np.concatenate([samples.host_to_host_ns for samples in steady])
    assert row.latency.iterations == len(pooled) == 600
    assert (row.latency.minimum_ns, row.latency.maximum_ns) == (pooled.min(), pooled.max())
    assert [quantile.q for quantile in row.latency.quantiles] == [0.5, 0.9, 0.99]
    parts = row.latency.bind.estimate + row.latency.compute.estimate + row.latency.finish.estimate
    assert parts == pytest.approx(row.latency.host_to_host.estimate, rel=0.01)
    assert set(row.outcomes.values()) == {Completed()}
    assert row.cold_start.load.launches == 5
    assert row.memory.launches == 5
    assert row.memory.baseline < row.memory.imported < row.memory.loaded < row.memory.first < row.memory.peak
    assert row.execution.nodes_by_device == {"cpu": 310}
    assert row.versions["onnxruntime"] == "1.31.0"
    assert row.artifact.format == "onnx"
    assert row.findings == ()
    assert row.ranked


def test_throughput_counts_items_of_all_streams(found):
    single, batched = one(found, "yolo11n", "torch fp32 cpu b1"), one(found, "yolo11n", "openvino fp32 cpu b8")
    for row in (single, batched):
        expected = 2 * row.cell.batch * 1e9 / row.latency.mean_ns
        assert row.throughput.items_per_s.estimate == pytest.approx(expected, rel=0.05)
        assert row.throughput.streams == 2


def test_warm_up_and_slow_levels_are_told(found):
    row = one(found, "yolo11n", "onnxruntime fp16 cpu b1")
    assert row.latency.unsteady_launches == 2
    assert row.latency.host_to_host.estimate == pytest.approx(1.2 * 70e6, rel=0.05)  # the last level, not the mix
    assert {"unsteady", "screening"} <= kinds(row)


def test_accuracy_is_compared_with_the_engines_own_fp32(found):
    worse = one(found, "lite0", "onnxruntime int8 cpu b1")
    assert worse.accuracy.change.reference == "onnxruntime fp32 cpu b1"
    assert worse.accuracy.change.estimate == pytest.approx(-0.18)
    assert worse.accuracy.verdict == "fails"
    assert not worse.ranked
    same = one(found, "lite0", "openvino int8 cpu b1")
    assert same.accuracy.change.reference == "openvino fp32 cpu b1"
    assert same.accuracy.verdict == "passes"
    assert same.accuracy.target == 0.97  # of the suite
    assert one(found, "lite0", "torch fp32 cpu b1").accuracy.verdict == "reference"
    assert one(found, "yolo11n", "openvino fp32 cpu b8").accuracy is None


def test_what_was_skipped_or_failed_is_there_with_its_reason(found, factory):
    skipped = one(found, "lite0", "torch int8 cpu b1")
    assert set(skipped.outcomes.values()) == {Skipped("torch does not execute int8 on cpu", "use onnxruntime")}
    assert skipped.latency is None
    assert not skipped.ranked
    failed = one(found, "yolo11n", "onnxruntime int8 cpu b1")
    assert failed.outcomes["latency"] == factory.NONSENSE
    assert failed.latency is None


def test_what_ran_elsewhere_or_otherwise_is_unranked(found):
    fell = one(found, "yolo11n", "openvino fp32 gpu.0 b1")
    assert "fell-back" in kinds(fell)
    assert not fell.ranked
    other = one(found, "lite0", "openvino fp16 cpu b1")
    assert {"other-precision", "emulated"} <= kinds(other)
    assert other.findings[0].unranked  # what bars it comes first
    assert "unproven" in kinds(one(found, "yolo11n", "onnxruntime fp32 cpu b1"))


def test_failures_noise_and_retries_are_told(found):
    row = one(found, "yolo11n", "openvino int8 cpu b1")
    messages = {finding.kind: finding.message for finding in row.findings}
    assert row.outcomes["latency"] == Completed()
    assert row.latency.host_to_host.launches == 4
    assert row.latency.launch_indices == (0, 1, 3, 4)
    assert messages["launches-failed"] == "1 of 5 latency launches failed"
    assert messages["retried"] == "2 of 5 latency launches were retried"
    assert messages["noisy"] == "2 of 4 latency launches were noisy: run queue wait"
    assert row.noise["run_queue_wait"].value == 0.08
    assert row.noise["steal"].state.value == "ok"


def test_few_and_random_inputs_are_told(found, factory):
    (row,) = [row for row in found if row.cell.workload == factory.HOSTILE]
    assert {"few-inputs", "random-inputs"} <= kinds(row)


@pytest.fixture
def make(factory, tmp_path):
    """Write a run of one recipe, then let ``change`` act on its store, and return the rows."""

    def run(change, *recipes, manifest=None, **settings):
        recipes = recipes or (factory.Recipe("lite0", "torch", FP32, launches=3),)
        with RunStore.create(tmp_path / "runs", {**factory.manifest_of(recipes), **(manifest or {})}) as store:
            change(store, *recipes)
        return rows(RunStore.open(store.folder), **settings)

    return run


def test_an_interrupted_run_says_so(make):
    (row,) = make(lambda store, recipe: None)
    assert {type(outcome) for outcome in row.outcomes.values()} == {Skipped}
    assert "interrupted" in row.outcomes["latency"].reason
    assert not row.ranked


def test_an_interrupted_launch_was_not_run(make, factory):
    def change(store, recipe):
        done = factory.record_of(store, recipe, "latency", Launch(0), seed=1)
        stopped = Failed(Stage.STEADY, INTERRUPTED, "the run was interrupted in this launch")
        store.finished(done)
        store.finished(replace(done, launch=Launch(1), outcome=stopped, samples=None, timing=None))
        proof = factory.record_of(store, recipe, "prove", Launch(0), seed=1)
        store.finished(replace(proof, outcome=stopped, execution=None))
        store.finished(replace(proof, launch=Launch(0, attempt=1)))
        memory = factory.record_of(store, recipe, "memory", Launch(0), seed=1)
        store.finished(replace(memory, outcome=stopped, memory=None))

    (row,) = make(change)
    messages = {finding.kind: finding.message for finding in row.findings}
    assert messages["incomplete"] == "2 of 3 latency launches were not run"
    assert "launches-failed" not in messages
    assert "retried" not in messages
    assert isinstance(row.outcomes["memory"], Skipped)


def test_a_failed_accuracy_pass_marks_the_row(make, factory):
    def change(store, recipe):
        store.finished(factory.record_of(store, recipe, "latency", Launch(0), seed=1))
        accuracy = factory.record_of(store, recipe, "accuracy", Launch(0), seed=1)
        store.finished(replace(accuracy, outcome=factory.CRASH, accuracy=None))

    (row,) = make(change, factory.Recipe("lite0", "torch", INT8))
    messages = {finding.kind: finding.message for finding in row.findings}
    assert factory.CRASH.message in messages["accuracy-unknown"]


def test_a_launch_without_an_end_is_a_crash(make):
    def change(store, recipe):
        store.started(recipe.cell("latency"), Launch(0))

    (row,) = make(change)
    assert row.outcomes["latency"].kind == "crashed"


def test_launches_that_were_not_run_are_told(make, factory):
    def change(store, recipe):
        store.finished(factory.record_of(store, recipe, "latency", Launch(0), seed=1))

    (row,) = make(change)
    messages = {finding.kind: finding.message for finding in row.findings}
    assert messages["incomplete"] == "2 of 3 latency launches were not run"
    assert row.latency.host_to_host.low is None


def test_the_last_completed_attempt_counts(make, factory):
    def change(store, recipe):
        first = factory.record_of(store, recipe, "latency", Launch(0, attempt=0), seed=1)
        second = factory.record_of(store, replace(recipe, median_ms=40.0), "latency", Launch(0, attempt=1), seed=2)
        third = replace(first, launch=Launch(0, attempt=2), outcome=factory.CRASH, samples=None)
        for record in (first, second, third):
            store.finished(record)

    (row,) = make(change)
    assert row.latency.host_to_host.estimate == pytest.approx(40e6, rel=0.05)
    assert "retried" in kinds(row)
    assert "launches-failed" not in kinds(row)


def test_damaged_samples_cost_one_launch(make, factory):
    def change(store, recipe):
        for index in range(3):
            record = factory.record_of(store, recipe, "latency", Launch(index), seed=index)
            store.finished(record)
        (store.folder / record.samples.path).write_bytes(b"gone")

    (row,) = make(change)
    assert row.latency.host_to_host.launches == 2
    assert "launches-failed" in kinds(row)


def test_only_damaged_samples_are_a_failure(make, factory):
    def change(store, recipe):
        record = factory.record_of(store, recipe, "latency", Launch(0), seed=0)
        store.finished(replace(record, samples=None))

    (row,) = make(change)
    assert isinstance(row.outcomes["latency"], Failed)
    assert row.outcomes["latency"].stage is Stage.RECORD
    assert row.latency is None


def test_a_cell_that_only_records_know_gets_a_row(make, factory):
    stranger = factory.Recipe("lite0", "openvino", FP32)

    def change(store, recipe):
        store.finished(factory.record_of(store, stranger, "latency", Launch(0), seed=0))

    found = make(change)
    assert [row.label for row in found] == ["torch fp32 cpu b1", "openvino fp32 cpu b1"]


def test_overlap_of_calibration_and_evaluation_bars_only_what_was_calibrated(make, factory):
    recipes = tuple(factory.Recipe("lite0", "torch", precision) for precision in (FP32, INT8))

    def change(store, *recipes):
        for recipe in recipes:
            store.finished(factory.record_of(store, recipe, "latency", Launch(0), seed=0))

    plain, calibrated = make(change, *recipes, manifest={"workloads": {"lite0": {"calibration_overlap": 3}}})
    assert plain.ranked
    assert "overlap" in kinds(calibrated)
    assert not calibrated.ranked


def test_without_a_reference_the_change_is_not_measured(make, factory):
    def change(store, recipe):
        store.finished(factory.record_of(store, recipe, "accuracy", Launch(0), seed=0))

    (row,) = make(change, factory.Recipe("lite0", "torch", INT8))
    assert row.accuracy.verdict == "not measured"
    assert row.accuracy.change is None
    assert "accuracy-unknown" in kinds(row)


def test_without_facts_per_image_the_change_is_not_measured(make, factory):
    recipes = tuple(factory.Recipe("lite0", "torch", precision) for precision in (FP32, INT8))

    def change(store, *recipes):
        for recipe in recipes:
            record = factory.record_of(store, recipe, "accuracy", Launch(0), seed=0)
            store.finished(replace(record, accuracy=replace(record.accuracy, per_image=None)))

    _, row = make(change, *recipes)
    assert row.accuracy.verdict == "not measured"


def test_an_overhead_above_one_percent_is_told(make, factory):
    def change(store, recipe):
        store.finished(factory.record_of(store, recipe, "latency", Launch(0), seed=0))

    (row,) = make(change, factory.Recipe("lite0", "torch", FP32, median_ms=0.01))
    assert "overhead" in kinds(row)


def test_the_fastest_stream_count_is_the_throughput(make, factory):
    def change(store, recipe):
        for streams, speed in ((1, 1.0), (2, 0.5)):
            record = factory.record_of(
                store, replace(recipe, median_ms=10 * speed), "throughput", Launch(streams), seed=0
            )
            cell = replace(record.cell, streams=streams)
            store.finished(replace(record, cell=cell, cell_id=cell.cell_id, variant_id=cell.variant_id))
        bad = replace(record.cell, streams=4)
        failed = replace(record, cell=bad, cell_id=bad.cell_id, outcome=factory.CRASH, samples=None)
        store.finished(failed)

    (row,) = make(change)
    assert row.throughput.items_per_s.estimate == pytest.approx(2 * 1000 / 5, rel=0.1)
    assert row.outcomes["throughput"] == factory.CRASH  # the worst of several
    assert len(row.throughputs) > 1
    assert row.throughput == max(row.throughputs, key=lambda rate: rate.items_per_s.estimate)
    assert [rate.streams for rate in row.throughputs] == sorted(rate.streams for rate in row.throughputs)
    assert all(rate.latency.estimate > 0 for rate in row.throughputs)


def test_options_tell_rows_apart_where_nothing_else_does(make, factory):
    def change(store, recipe):
        for value in (1, 2):
            record = factory.record_of(store, recipe, "latency", Launch(0), seed=0)
            cell = replace(record.cell, options={"level": value})
            store.finished(replace(record, cell=cell, cell_id=cell.cell_id, variant_id=cell.variant_id))

    found = make(change)
    assert [row.label for row in found] == [
        "torch fp32 cpu b1", "torch fp32 cpu b1 level=1", "torch fp32 cpu b1 level=2",
    ]  # fmt: skip


def test_the_energy_of_a_soak_is_that_of_its_own_launch(factory, tmp_path, monkeypatch):
    """A counter that gives 40 W while two streams need 10 ms for an inference each: 0.2 J of an inference."""
    whole = factory.record_of

    def metered(store, recipe, scenario, launch, seed):
        if scenario != "soak":
            return whole(store, recipe, scenario, launch, seed)
        driven = whole(store, recipe, "throughput", launch, seed)
        times_ns = np.arange(0, 1_600_000_000, 100_000_000)
        counter = Column("rapl/0", "rapl", "energy", "package", "uJ", wraps=1e12)
        path = store.folder / "telemetry.npz"
        Table((counter,), times_ns, (40.0 * times_ns / 1e3).reshape(-1, 1), {}).save(path)
        cell = recipe.cell("soak")
        telemetry = factory.reference(store.folder, path, len(times_ns))
        return replace(driven, cell=cell, cell_id=cell.cell_id, variant_id=cell.variant_id, telemetry=telemetry)

    monkeypatch.setattr(factory, "record_of", metered)
    recipe = factory.Recipe("lite0", "torch", FP32, 10.0, launches=1, scenarios=("prove", "soak"))
    (row,) = rows(RunStore.open(factory.write_run(tmp_path, (recipe,))))
    (soak,) = row.soaks
    (energy,) = soak.energy
    assert (energy.scope, energy.source, row.energy) == ("package", "rapl", ())
    assert energy.watts == pytest.approx(40.0)
    assert energy.joules_per_inference.estimate == pytest.approx(40.0 / soak.sustained, rel=0.05)


def test_the_sensors_of_a_row_are_those_beside_its_timed_launches(factory, tmp_path, monkeypatch):
    whole, clocks = factory.record_of, Column("cpufreq/mean", "cpufreq", "clock", "cpu", "kHz")

    def sensed(store, recipe, scenario, launch, seed):
        record = whole(store, recipe, scenario, launch, seed)
        if scenario != "latency":
            return record
        times_ns = np.arange(-10, 200) * 100_000_000
        values = np.full((len(times_ns), 1), 2e6 + 1e5 * launch.index)
        path = store.folder / f"telemetry-{launch.index}.npz"
        Table((clocks,), times_ns, values, {"temperature": "no"}).save(path)
        return replace(record, telemetry=factory.reference(store.folder, path, len(times_ns)))

    monkeypatch.setattr(factory, "record_of", sensed)
    recipe = factory.Recipe("lite0", "torch", FP32, 10.0, launches=3, scenarios=("prove", "latency"))
    (row,) = rows(RunStore.open(factory.write_run(tmp_path, (recipe,))))
    clock, temperature = row.sensors
    assert (clock.name, clock.launches) == ("CPU clock", 3)
    assert clock.spread == pytest.approx((2000.0, 2100.0, 2200.0))
    assert (temperature.spread, temperature.reason) == (None, "no")
