"""Launch after launch: what is stored of each, and when."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest

from harness import jobs, process, runner
from harness.measure.samples import Samples
from harness.ports import Step
from harness.telemetry.beside import ROWS, Beside
from harness.telemetry.table import Table
from harness.vocabulary import (
    Artifact,
    Cell,
    Completed,
    Failed,
    Goal,
    Launch,
    NoiseReading,
    Precision,
    Scenario,
    Skipped,
    Stage,
    State,
    TensorSpec,
    Timing,
)


def cell(scenario="prove", **other):
    return Cell("toy", "hash", {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, "cpu", Scenario(scenario), **other)


class Sink:
    """A run in memory."""

    run_id = "01TEST"

    def __init__(self, folder):
        self.folder = folder
        self.events = []
        for name in ("logs", "samples"):
            (folder / name).mkdir()

    def started(self, cell, launch):
        self.events.append(("started", cell.cell_id, launch))

    def finished(self, record):
        self.events.append(("finished", record))

    def records(self):
        return [event[1] for event in self.events if event[0] == "finished"]


class Queue:
    """A policy that makes the given steps in turn."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def next(self, records):
        return self.steps.pop(0) if self.steps else None


@pytest.fixture(autouse=True)
def _without_sensors(monkeypatch, tmp_path_factory):
    """What this machine can sample is not what is tested here."""
    monkeypatch.setattr(runner, "Beside", functools.partial(Beside, root=tmp_path_factory.mktemp("bare")))


@pytest.fixture
def sink(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return Sink(folder)


@pytest.fixture
def bench(tmp_path):
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [1, 5]}]}))
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 2))
    given, gives = TensorSpec("input", "float32", (1, 3, 4, 4)), TensorSpec("scores", "float32", (1, 5))
    artifact = Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,))
    return runner.Bench("engines.fake:FakeEngine", artifact, jobs.Inputs(tmp_path, "hash of the inputs", 2), None)


def setting(benches, *cells, **other):
    limits = {each.cell_id: jobs.Limits(8, 0.05, 0.5, warmup_s=0.0) for each in cells}
    return runner.Setting("hw", "env", benches, limits, timeout_s=30, strict=False, **other)


def ran(sink, bench, *cells, **other):
    steps = [Step(each, Launch(0)) for each in cells]
    benches = {each.variant_id: bench for each in cells}
    return list(runner.run(Queue(*steps), sink, setting(benches, *cells, **other)))


def test_each_launch_is_announced_then_filed_before_the_next(sink, bench):
    events = ran(sink, bench, cell("prove"), cell("latency"))
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Started", "Finished", "Started", "Finished"]
    assert [event[0] for event in sink.events] == ["started", "finished"] * 2
    prove, latency = sink.records()
    assert prove.outcome == latency.outcome == Completed()
    assert prove.execution.device == "cpu"
    assert prove.samples is None
    assert (sink.folder / latency.samples.path).is_file()
    assert latency.inputs_hash == "hash of the inputs"
    assert latency.duration_ns > 0
    assert (latency.hw_id, latency.env_id, latency.run_id) == ("hw", "env", "01TEST")
    assert sorted(file.name for file in sink.folder.iterdir()) == ["logs", "samples"]


class Machine:
    """A lock that notes when it is taken and let go, among the events of a run."""

    def __init__(self, sink):
        self.sink = sink

    @contextlib.contextmanager
    def __call__(self):
        self.sink.events.append(("taken",))
        yield (7, 8)
        self.sink.events.append(("let go",))


def test_a_launch_has_the_machine_from_before_its_start_until_it_is_filed(sink, bench, monkeypatch):
    seen = []

    def noted(_kind, _job, child, _answer):
        seen.append(child.descriptors)
        return Skipped("seen")

    monkeypatch.setattr(process, "call", noted)
    ran(sink, bench, cell("prove"), cell("latency"), machine=Machine(sink))
    assert [event[0] for event in sink.events] == ["taken", "started", "finished", "let go"] * 2
    assert seen == [(7, 8)] * 2


def test_what_is_not_executed_does_not_wait_for_the_machine(sink, bench):
    settled = Step(cell(), Launch(0), Skipped("its prove launch failed"))
    steps = [settled, Step(cell("latency"), Launch(0)), Step(cell(batch=2), Launch(0))]
    benches = {cell(batch=2).variant_id: Skipped("no exporter")}
    list(runner.run(Queue(*steps), sink, setting(benches, machine=Machine(sink))))
    assert [event[0] for event in sink.events] == ["started", "finished"] * 3


def test_who_is_interrupted_while_it_waits_has_begun_nothing(sink, bench):
    def waiting():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(sink, bench, cell(), machine=waiting)
    assert sink.events == []


@pytest.mark.parametrize(
    "trouble", [Failed(Stage.EXPORT, "crash", "the export died", "look"), Skipped("no exporter", "install one")]
)
def test_what_could_not_be_prepared_is_recorded_without_a_process(sink, trouble, monkeypatch):
    monkeypatch.setattr(process, "call", lambda *_: pytest.fail("a process was started"))
    ran(sink, trouble, cell())
    (record,) = sink.records()
    assert record.outcome == trouble
    assert record.log == ""


def test_a_settled_step_is_recorded_as_it_is(sink, bench):
    settled = Skipped("its prove launch failed")
    list(runner.run(Queue(Step(cell(), Launch(0), settled)), sink, setting({})))
    assert sink.records()[0].outcome == settled


def test_a_cell_that_nobody_prepared_is_not_lost(sink):
    list(runner.run(Queue(Step(cell(), Launch(0))), sink, setting({})))
    assert sink.records()[0].outcome.kind == "not-prepared"


def test_an_interrupt_is_recorded_and_passed_on(sink, bench, monkeypatch):
    def interrupted(_kind, _job, child, _answer):
        (child.scratch / jobs.STAGE_FILE).write_text("load")
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ran(sink, bench, cell())
    (record,) = sink.records()
    assert (record.outcome.stage, record.outcome.kind) == (Stage.LOAD, "interrupted")
    assert "resume" in record.outcome.hint
    assert not [file for file in sink.folder.iterdir() if file.name.startswith(".")]


def test_a_run_folder_that_takes_no_scratch_fails_the_launch(sink, bench, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner.tempfile, "mkdtemp", full)
    ran(sink, bench, cell())
    outcome = sink.records()[0].outcome
    assert (outcome.stage, outcome.kind) == (Stage.RECORD, "OSError")
    assert "No space left" in outcome.message
    assert outcome.hint


def test_what_a_killed_run_left_is_swept_before_the_first_launch(sink, bench):
    stale = sink.folder / ".0123456789abcdef-0-0-x1y2z3"
    stale.mkdir()
    (stale / "cache").write_text("large")
    ran(sink, bench)
    assert not stale.exists()


def test_the_names_of_two_attempts_differ():
    names = {runner.launch_name(cell(), Launch(index, attempt)) for index in (0, 1) for attempt in (0, 1)}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("images", "median_ms", "expected_s"),
    [(0, 0, 30), (10, 0, 30), (1000, 0, 400), (1000, 2000, 4400), (10, 2000, 44)],
)
def test_an_accuracy_launch_may_take_what_its_images_take(sink, bench, monkeypatch, images, median_ms, expected_s):
    """Where the suite allows 30 seconds a launch; a latency launch has told how long an inference takes."""
    given = {}

    def noted(_kind, job, child, _answer):
        given[job.scenario] = child.timeout_s
        timing = Timing(0, 0, 10**12, median_ns=median_ms * 10**6 if job.scenario == "latency" else 10**12)
        return jobs.LaunchAnswer({}, timing=timing)

    monkeypatch.setattr(process, "call", noted)
    items = tuple(jobs.Item(sink.folder / "a.png", 1) for _ in range(images))
    ran(sink, replace(bench, items=items), cell("prove"), cell("latency"), cell("accuracy"))
    assert given == {"prove": 30, "latency": 30, "accuracy": pytest.approx(expected_s)}


@pytest.mark.parametrize(
    ("scenario", "goal", "streams"),
    [("latency", Goal.LATENCY, 1), ("throughput", Goal.THROUGHPUT, 4), ("memory", Goal.LATENCY, 1)],
)
def test_only_throughput_is_asked_for_streams(bench, tmp_path, scenario, goal, streams):
    one = cell(scenario, streams=4, threads=2)
    job = runner.launch_job(one, bench, setting({}, one), tmp_path / "samples.npz")
    assert (job.session.goal, job.session.streams, job.session.threads) == (goal, streams, 2)


def test_images_go_to_the_accuracy_pass_alone(bench, tmp_path):
    with_images = replace(bench, items=(jobs.Item(tmp_path / "a.png", 1),), classes={"1": "dog"})
    for scenario, count in (("accuracy", 1), ("latency", 0)):
        one = cell(scenario)
        job = runner.launch_job(one, with_images, setting({}, one), tmp_path / "samples.npz")
        assert (len(job.items), len(job.classes)) == (count, count)


def test_a_record_names_the_artifact_and_not_its_place(sink, bench):
    (record,) = [event.record for event in ran(sink, bench, cell()) if isinstance(event, runner.Finished)]
    assert isinstance(record.outcome, Completed), record.outcome
    assert record.artifact.path.parts == (bench.artifact.path.name,)
    assert record.artifact.content_hash == bench.artifact.content_hash


def test_a_warm_cache_stays_from_launch_to_launch_of_a_row_and_goes_with_the_run(sink, bench, monkeypatch):
    asked = []

    def answered(kind, job, child, answer):
        asked.append(job.warm)
        (job.warm / "compiled").write_text("by the runtime")
        return jobs.LaunchAnswer({})

    monkeypatch.setattr(process, "call", answered)
    cells = [cell(), cell("latency"), cell("latency", threads=2)]
    steps = [Step(one, Launch(0)) for one in cells]
    warm = setting({one.variant_id: bench for one in cells}, *cells, warm=True)
    list(runner.run(Queue(*steps), sink, warm))
    assert asked[0] == asked[1] != asked[2]
    assert not (sink.folder / runner.WARM).exists()


def test_caches_begin_empty_as_a_rule(bench, tmp_path):
    one = cell()
    assert runner.launch_job(one, bench, setting({}, one), tmp_path / "samples.npz").warm is None


@pytest.fixture
def sensors(tmp_path, monkeypatch):
    """A machine with one sensor: a thermometer."""
    zone = tmp_path / "root/sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("x86_pkg_temp\n")
    (zone / "temp").write_text("61000\n")
    monkeypatch.setattr(runner, "Beside", functools.partial(Beside, root=tmp_path / "root"))


def sampling():
    """The processes below this one that sample sensors."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "harness.telemetry" in child.cmdline():
                found.append(child.pid)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


@pytest.mark.usefixtures("sensors")
def test_one_process_samples_beside_all_launches_and_ends_with_the_run(sink, bench):
    cells = [cell("prove"), cell("latency")]
    benches = {each.variant_id: bench for each in cells}
    events = runner.run(Queue(*(Step(each, Launch(0)) for each in cells)), sink, setting(benches, *cells))
    seen = [sampling() for _ in events]
    assert seen[0] == seen[-1]
    assert len(seen[0]) == 1
    assert sampling() == []
    assert not (sink.folder / ROWS).exists()


@pytest.mark.usefixtures("sensors")
def test_a_launch_keeps_the_rows_from_before_it_to_after_it(sink, bench):
    ran(sink, bench, cell("latency"))
    (record,) = sink.records()
    assert record.outcome == Completed()
    kept = sink.folder / record.telemetry.path
    assert kept.parent.name == "telemetry"
    assert kept.stem == (sink.folder / record.samples.path).stem
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == record.telemetry.sha256
    with np.load(kept, allow_pickle=False) as archive:
        table = Table.of_arrays(archive)
    samples = Samples.load(sink.folder / record.samples.path)
    assert len(table) == record.telemetry.rows
    assert table.time_ns[0] < samples.start_ns.min()
    assert table.time_ns[-1] > samples.end_ns.max()
    column = [column.name for column in table.columns].index("temperature/thermal_zone0 x86_pkg_temp")
    assert set(table.values[:, column]) == {61_000.0}


@pytest.mark.usefixtures("sensors")
def test_a_run_that_is_left_early_leaves_no_process(sink, bench):
    one = cell()
    events = runner.run(Queue(Step(one, Launch(0))), sink, setting({one.variant_id: bench}, one))
    next(events)
    assert len(sampling()) == 1
    events.close()
    assert sampling() == []


@pytest.mark.usefixtures("sensors")
def test_rows_that_cannot_be_kept_cost_no_launch(sink, bench):
    (sink.folder / "telemetry").write_text("in the way")
    ran(sink, bench, cell("latency"))
    (record,) = sink.records()
    assert record.outcome == Completed()
    assert record.telemetry is None
    assert record.unsampled.startswith("what the sensors said cannot be kept: ")


@pytest.mark.usefixtures("sensors")
def test_a_launch_without_its_sensors_says_why(sink, bench, monkeypatch):
    with monkeypatch.context() as here:
        here.setattr(sys, "executable", "/no/such/python")
        with Beside(sink.folder, sink.folder.parent / "root") as beside:
            assert not beside.sampling
    assert list(sink.folder.rglob("*.log")) == []
    monkeypatch.setattr(runner, "Beside", lambda _: contextlib.nullcontext(beside))
    ran(sink, bench, cell("latency"))
    (record,) = sink.records()
    assert record.outcome == Completed()
    assert record.unsampled == "the process that reads the sensors cannot be started: No such file or directory"


@pytest.mark.usefixtures("sensors")
def test_what_the_sensors_say_of_the_gpu_joins_the_noise_of_the_launch(sink, bench, monkeypatch):
    slowed, asked = NoiseReading(State.BAD, 0.5, 0.0, "share", "power brake"), []

    def readings(table, device, window_ns):
        asked.append((device, window_ns))
        return {"gpu_throttle": slowed}

    monkeypatch.setattr(runner, "readings", readings)
    ran(sink, bench, cell("latency"), cell("prove"))
    record, proof = sink.records()
    assert proof.telemetry is not None
    assert proof.noise == {}  # it times nothing, and is not made again for noise
    assert record.noise["gpu_throttle"] == slowed
    assert "run_queue_wait" in record.noise
    steady = Samples.load(sink.folder / record.samples.path).steady()
    assert asked == [("cpu", (steady.start_ns.min(), steady.end_ns.max()))]


def test_a_launch_is_kept_on_the_processors_of_its_cell(sink, bench, monkeypatch):
    given = []
    monkeypatch.setattr(process, "call", lambda _kind, _job, child, _answer: given.append(child.cpus) or Skipped("-"))
    bound = replace(cell(), scenario=Scenario("prove", {"cpus": [0, 1]}))
    ran(sink, bench, bound, cell())
    assert given == [(0, 1), None]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux keeps a process on processors")
def test_processors_that_are_not_there_fail_the_launch_by_name(sink, bench):
    ran(sink, bench, replace(cell(), scenario=Scenario("prove", {"cpus": [100_000]})))
    outcome = sink.records()[0].outcome
    assert (outcome.stage, outcome.kind) == (Stage.PREPARE, "processors")
    assert "100000" in outcome.message


def test_an_environment_has_its_own_interpreters():
    usual, other = {"fake": "/usual/python"}, {"fake": "/other/python"}
    held = setting({}, interpreters=usual, environments={"head": other, "bare": {}})
    assert held.interpreter(cell()) == "/usual/python"
    assert held.interpreter(cell(environment="head")) == "/other/python"
    assert held.interpreter(cell(environment="bare")) == sys.executable
