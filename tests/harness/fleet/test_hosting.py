"""This machine as a host: what it answers, and that it answers alike when it is asked twice."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
from ulid import ULID

import harness
from harness import codec, host, jobs, process, runner, survey
from harness.artifacts import Exporters, Request, Route
from harness.engine import Calibration
from harness.fleet import benches, hosting, shelf
from harness.fleet.contract import FleetError, Load, Parcel, Terms
from harness.fleet.hosting import Hosting, Kit
from harness.fleet.parcels import chunks, entry, parcel_of
from harness.ports import Step
from harness.telemetry.beside import Beside
from harness.vocabulary import (
    FORMAT_FAKE,
    FORMAT_FAKE_BUILT,
    SCHEMA_VERSION,
    Artifact,
    Cell,
    Completed,
    EngineFacts,
    Failed,
    Launch,
    Plan,
    PlannedCell,
    Precision,
    Record,
    Scenario,
    Skipped,
    Slot,
    Stage,
    TensorSpec,
)
from results.store import RunStore, record_id

HW = {"hw_id": "0123456789ab", "env_id": "ba9876543210", "hardware": {}, "environment": {}, "conditions": {}}


def cell(scenario="latency", **other):
    return Cell("toy", "hash", {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, "cpu", Scenario(scenario), **other)


def step(scenario="latency", index=0, attempt=0, **other):
    return Step(cell(scenario, **other), Launch(index, attempt))


@pytest.fixture(autouse=True)
def _without_sensors(monkeypatch, tmp_path_factory):
    """What this machine can sample is not what is tested here."""
    monkeypatch.setattr(runner, "Beside", functools.partial(Beside, root=tmp_path_factory.mktemp("bare")))


@pytest.fixture(scope="module", autouse=True)
def _probed_once():
    """What an engine says takes a process each time; here it is asked once."""
    real, said = survey.probe, {}

    def probe(entry, workshop, interpreter):
        key = (entry.name, workshop.cpus)
        if key not in said:
            said[key] = real(entry, workshop, interpreter)
        return said[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(survey, "probe", probe)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """What launches need, on the client."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "inputs").mkdir()
    (folder / "model.json").write_text(json.dumps({"outputs": [{"name": "scores", "shape": [1, 5]}]}))
    np.save(folder / "inputs/inputs.npy", np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    (folder / "inputs/frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 2))
    given, gives = TensorSpec("input", "float32", (1, 3, 4, 4)), TensorSpec("scores", "float32", (1, 5))
    artifact = Artifact(FORMAT_FAKE, Precision.FP32, folder / "model.json", "hash", 10, (given,), (gives,))
    return runner.Bench("engines.fake:FakeEngine", artifact, jobs.Inputs(folder / "inputs", "of the inputs", 2), None)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What a host says of the fake engine."""
    with_it = Hosting("lab", tmp_path_factory.mktemp("probed"), RunStore, kit(tmp_path_factory.mktemp("lock")))
    return with_it.probe(["fake"], None)["fake"]


def kit(place, **other):
    return Kit(**{"fingerprint": lambda _: HW, "lock": place / "machine.lock", "patience_s": 60.0, **other})


@pytest.fixture
def lab(tmp_path):
    with hosted(tmp_path) as made:
        yield made


class hosted:  # noqa: N801 - a context manager, used as a function is
    """A host over a folder, closed at the end as a worker does."""

    def __init__(self, folder, **other):
        self.made = Hosting("lab", folder / "state", RunStore, kit(folder, **other))

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        self.made.close()


def sent(lab, files):
    """Bring a file or folder to a host; return the hash of its parcel."""
    parcel = parcel_of(files)
    for chunk in chunks(files, parcel, lab.lacks([parcel])):
        lab.put(chunk)
    lab.assemble(parcel)
    return parcel.content_hash


def load_of(lab, bench, **other):
    artifact = bench.artifact
    return Load(
        engine="fake",
        artifact=replace(artifact, path=entry(artifact.path, artifact.path)),
        artifact_parcel=sent(lab, artifact.path),
        inputs_parcel=sent(lab, bench.inputs.path),
        inputs_hash=bench.inputs.content_hash,
        inputs_count=bench.inputs.count,
        reference_parcel="",
        **other,
    )


def terms_of(cells, loads, **other):
    limits = {each.cell_id: jobs.Limits(8, 0.05, 0.5, warmup_s=0.0) for each in cells}
    return Terms(**{"timeout_s": 30.0, "strict": False, "warm": False, "loads": loads, "limits": limits, **other})


def manifest_of(facts, cells, **other):
    plan = Plan(
        "suite", "quick", 0, tuple(PlannedCell(c, 1) for c in cells), tuple(Slot(c.cell_id, 0, 0) for c in cells)
    )
    stamps = {"schema": SCHEMA_VERSION, "run_id": str(ULID()), "created_at": "2026-01-01T00:00:00.000+00:00"}
    found = {"harness_version": harness.__version__, "host": HW, "engines": {"fake": codec.encode(facts)}}
    return {**stamps, **found, "plan": codec.encode(plan), **other}


@pytest.fixture
def begun(lab, bench, facts):
    """The id of a run that is ready on the host."""
    return begin(lab, bench, facts)


def begin(lab, bench, facts, *scenarios, load=None, manifest=None, **other):
    cells = [cell(scenario) for scenario in scenarios or ("prove", "latency")]
    ready = load or load_of(lab, bench)
    made = manifest or manifest_of(facts, cells)
    lab.begin(made, terms_of(cells, {each.variant_id: ready for each in cells}, **other))
    return made["run_id"]


def journal(lab, run_id):
    return RunStore.open(lab._state / "runs" / run_id)


def record_in(packed):
    return codec.decode(Record, packed.record)


def test_a_launch_is_given_back_with_all_that_its_record_refers_to(lab, begun):
    packed = lab.launch(begun, step())
    record = record_in(packed)
    assert record.outcome == Completed()
    assert (record.run_id, record.hw_id, record.env_id) == (begun, HW["hw_id"], HW["env_id"])
    assert set(packed.files) == {record.samples.path, record.log}
    assert hashlib.sha256(packed.files[record.samples.path]).hexdigest() == record.samples.sha256
    assert journal(lab, begun).records() == (record,)
    assert packed.record_id == record_id(record)


def test_a_record_is_that_of_a_local_run(lab, begun, bench, tmp_path):
    there = record_in(lab.launch(begun, step()))
    store = RunStore.adopt(tmp_path / "runs", journal(lab, begun).manifest)
    limits = terms_of([cell()], {}).limits
    setting = runner.Setting(HW["hw_id"], HW["env_id"], {cell().variant_id: bench}, limits, 30.0, strict=False)
    asked = iter([step(), None])

    class Once:
        def next(self, _):
            return next(asked)

    with store:
        list(runner.run(Once(), store, setting))
    (here,) = store.records()
    measured = {"started_at", "duration_ns", "timing", "noise", "execution", "memory", "versions"}
    ours, theirs = codec.encode(here), codec.encode(there)
    assert {key: ours[key] for key in ours.keys() - measured - {"samples"}} == {
        key: theirs[key] for key in theirs.keys() - measured - {"samples"}
    }
    assert here.artifact.path == Path("model.json")
    assert (here.samples.path, here.versions) == (there.samples.path, there.versions)


def test_asked_twice_it_is_made_once(lab, begun, monkeypatch):
    first = lab.launch(begun, step())
    monkeypatch.setattr(process, "call", lambda *_: pytest.fail("made again"))
    assert lab.launch(begun, step()) == first
    assert lab.held(begun) == (first.record_id,)


def test_an_answer_that_was_lost_with_the_worker_is_given_by_the_next(tmp_path, bench, facts, monkeypatch):
    with hosted(tmp_path) as lab:
        run_id = begin(lab, bench, facts)
        lost = lab.launch(run_id, step())
    with hosted(tmp_path) as lab:
        assert lab.held(run_id) == (lost.record_id,)
        assert lab.fetch(run_id, lost.record_id) == lost
        with monkeypatch.context() as patched:
            patched.setattr(process, "call", lambda *_: pytest.fail("made again"))
            assert lab.launch(run_id, step()) == lost
        # It goes on with the terms that the one before was given.
        assert record_in(lab.launch(run_id, step(index=1))).outcome == Completed()


def test_another_attempt_is_another_launch(lab, begun):
    ids = {lab.launch(begun, step(attempt=attempt)).record_id for attempt in (0, 1)}
    assert set(lab.held(begun)) == ids
    assert len(ids) == 2


def test_what_another_process_added_is_seen(tmp_path, bench, facts):
    with hosted(tmp_path) as lab, hosted(tmp_path) as other:
        run_id = begin(lab, bench, facts)
        assert other.held(run_id) == ()
        first = lab.launch(run_id, step())
        with pytest.raises(FleetError, match="is being written by another process"):
            other.launch(run_id, step(index=1))
        lab.close()
        assert other.launch(run_id, step()) == first


def test_an_interruption_is_stored_and_passed_on(lab, begun, monkeypatch):
    def interrupted(_kind, _job, child, _answer):
        (child.scratch / jobs.STAGE_FILE).write_text("load")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(process, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.launch(begun, step())
    (name,) = lab.held(begun)
    outcome = record_in(lab.fetch(begun, name)).outcome
    assert (outcome.stage, outcome.kind) == (Stage.LOAD, "interrupted")
    assert record_in(lab.launch(begun, step(attempt=1))).outcome == Completed()
    assert len(lab.held(begun)) == 2


def test_a_cell_that_nobody_prepared_is_a_record_without_files(lab, facts):
    run = manifest_of(facts, [cell()])
    lab.begin(run, terms_of([cell()], {}))
    packed = lab.launch(run["run_id"], step())
    assert record_in(packed).outcome.kind == "not-prepared"
    assert packed.files == {}


def test_a_crash_costs_its_launch(lab, bench, facts):
    broken = cell("prove", options={"fault": "abort"})
    run = manifest_of(facts, [broken])
    lab.begin(run, terms_of([broken], {broken.variant_id: load_of(lab, bench)}))
    packed = lab.launch(run["run_id"], Step(broken, Launch(0)))
    record = record_in(packed)
    assert (record.outcome.kind, record.outcome.message[:17]) == ("crash", "killed by SIGABRT")
    assert set(packed.files) == {record.log}


@pytest.mark.parametrize("trouble", [Skipped("not on this device"), Failed(Stage.EXPORT, "crash", "it died", "look")])
def test_what_could_not_be_made_is_filed_without_waiting_for_the_machine(tmp_path, facts, trouble):
    with hosted(tmp_path, patience_s=0.0) as lab, hosted(tmp_path) as other:
        run = manifest_of(facts, [cell()])
        lab._probed["fake"] = (time.monotonic(), facts)
        lab.begin(run, terms_of([cell()], {cell().variant_id: trouble}))
        with other._machine("something long"):
            assert record_in(lab.launch(run["run_id"], step())).outcome == trouble
            settled = replace(step(index=1), settled=Skipped("known"))
            assert record_in(lab.launch(run["run_id"], settled)).outcome == Skipped("known")


def test_two_hosts_of_one_machine_take_turns(tmp_path, bench, facts):
    """Two workers on one machine: what they measure never overlaps."""
    labs = [Hosting(name, tmp_path / name, RunStore, kit(tmp_path)) for name in ("one", "two")]
    runs = [begin(lab, bench, facts) for lab in labs]

    def work(lab, run_id):
        for index in range(2):
            lab.launch(run_id, step(index=index))
        lab.close()

    threads = [threading.Thread(target=work, args=pair) for pair in zip(labs, runs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = []
    for lab, run_id in zip(labs, runs, strict=True):
        for record in journal(lab, run_id).records():
            assert record.outcome == Completed()
            start = datetime.fromisoformat(record.started_at)
            # The time when it began is cut to the millisecond.
            spans.append((start, start + timedelta(microseconds=record.duration_ns / 1000 - 1000)))
    spans.sort()
    assert len(spans) == 4
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_who_waits_too_long_is_told_for_whom(tmp_path, bench, facts):
    with hosted(tmp_path) as lab, hosted(tmp_path) as other:
        run_id = begin(lab, bench, facts)
        lab._kit = replace(lab._kit, patience_s=0.0)
        with other._machine("a launch of run X"), pytest.raises(FleetError) as caught:
            lab.launch(run_id, step())
        assert caught.value.message.startswith("lab: this machine is taken by a launch of run X by lab, process")
        assert journal(lab, run_id).attempts() == ()
        assert record_in(lab.launch(run_id, step())).outcome == Completed()


def test_the_launched_child_holds_the_machine(lab, begun, monkeypatch):
    seen = []

    def noted(_kind, _job, child, _answer):
        (descriptor,) = child.descriptors
        seen.append(os.fstat(descriptor).st_ino == lab._lock.stat().st_ino)
        return Skipped("seen")

    monkeypatch.setattr(process, "call", noted)
    lab.launch(begun, step())
    assert seen == [True]
    assert lab._descriptors == ()


def test_another_machine_is_refused_by_both_names(tmp_path, bench, facts):
    other = HW | {"hw_id": "another00000"}
    with hosted(tmp_path, fingerprint=lambda _: other) as lab, pytest.raises(FleetError) as caught:
        begin(lab, bench, facts)
    assert HW["hw_id"] in caught.value.message
    assert "another00000" in caught.value.message
    assert caught.value.hint


def test_a_worker_that_comes_back_on_another_machine_does_not_go_on(tmp_path, bench, facts):
    with hosted(tmp_path) as lab:
        run_id = begin(lab, bench, facts)
        kept = lab.launch(run_id, step())
    with hosted(tmp_path, fingerprint=lambda _: HW | {"hw_id": "another00000"}) as lab:
        assert lab.launch(run_id, step()) == kept  # what was measured is not lost
        with pytest.raises(FleetError, match="another00000"):
            lab.launch(run_id, step(index=1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"harness_version": "0.0.1"}, "harness 0.0.1"),
        ({"engines": {"fake": {"version": "0.1", "versions": {}}}}, "fake 0.1"),
        ({"engines": {"ghost": {"version": "3", "versions": {}}}}, "ghost 3, which is not available"),
        ({"engines": {"fake": {"reason": "not installed"}}}, None),
    ],
)
def test_other_versions_are_refused_by_name(lab, bench, facts, change, named):
    manifest = manifest_of(facts, [cell()], **change)
    if named is None:
        assert begin(lab, bench, facts, manifest=manifest) == manifest["run_id"]
        return
    with pytest.raises(FleetError, match=named):
        begin(lab, bench, facts, manifest=manifest)
    assert lab.held(manifest["run_id"]) == ()


@pytest.mark.parametrize("change", [{"run_id": "../../etc"}, {"run_id": 5}, {"host": {}}, {"engines": None}])
def test_what_is_no_manifest_is_refused(lab, bench, facts, change):
    with pytest.raises(FleetError):
        begin(lab, bench, facts, manifest=manifest_of(facts, [cell()], **change))


def test_an_engine_that_it_has_not_is_named(tmp_path, bench, facts):
    with hosted(tmp_path, engines=frozenset({"other"})) as lab:
        answers = lab.probe(["ghost", "fake"], None)
        assert answers["ghost"] == Skipped(
            "no engine is called 'ghost' on lab", "install the distribution that offers it there"
        )
        assert "no engine is called 'fake' on lab" in answers["fake"].reason
        with pytest.raises(FleetError, match=r"fake .*, which is not available there now"):
            begin(lab, bench, facts)
        run = manifest_of(facts, [cell()], engines={})
        with pytest.raises(FleetError, match="lab: no engine is called 'fake' here"):
            begin(lab, bench, facts, manifest=run)


def test_it_says_what_its_engines_can_do(lab, facts):
    assert isinstance(facts, EngineFacts)
    assert facts.version == np.__version__
    assert lab.probe(["fake"], [0])["fake"] == facts


@pytest.mark.parametrize("field", ["artifact_parcel", "inputs_parcel", "reference_parcel"])
def test_a_parcel_that_is_not_there_is_told_before_anything_runs(lab, bench, facts, field):
    with pytest.raises(FleetError, match="lab: the parcel 000000000000 is not here"):
        begin(lab, bench, facts, load=replace(load_of(lab, bench), **{field: "0" * 64}))


def test_a_parcel_that_broke_on_the_way_is_lacking(lab, bench):
    parcel = parcel_of(bench.artifact.path)
    (piece,) = chunks(bench.artifact.path, parcel, lab.lacks([parcel]))
    lab.put(replace(piece, data=piece.data[::-1]))
    assert lab.lacks([parcel]) == (parcel.files[0][2],)
    with pytest.raises(FleetError, match=r"lab: 1 files of the parcel .* are lacking"):
        lab.assemble(parcel)
    with pytest.raises(FleetError, match=r"lab: '../x' is no name"):
        lab.lacks([Parcel("0" * 64, (("../x", 1, "0" * 64),))])


def test_what_the_child_is_given_lies_in_parcels(lab, bench, facts, tmp_path, monkeypatch):
    images = {}
    for name in ("one.png", "two.png"):
        images[name] = tmp_path / name
        images[name].write_bytes(name.encode())
    (tmp_path / "code").mkdir()
    (tmp_path / "code/metrics.py").write_text("def best(predictions, labels, classes): return {'best': 1.0}")
    np.savez(tmp_path / "outputs.npz", scores=np.zeros(5))
    several, alone = sent(lab, images), sent(lab, images["two.png"])
    load = replace(
        load_of(lab, bench),
        reference_parcel=sent(lab, tmp_path / "outputs.npz"),
        items=((f"{several}/one.png", 1), (alone, {"boxes": [1, 2]})),
        classes={"1": "dog"},
        task_parcels={"path": sent(lab, tmp_path / "code")},
    )
    run_id = begin(lab, bench, facts, "accuracy", load=load)
    given = []
    monkeypatch.setattr(process, "call", lambda _kind, job, _child, _answer: given.append(job) or Skipped("seen"))
    lab.launch(run_id, step("accuracy"))
    (job,) = given
    assert [(item.path.read_bytes(), item.label) for item in job.items] == [
        (b"one.png", 1),
        (b"two.png", {"boxes": [1, 2]}),
    ]
    assert (job.classes, job.reference.name) == ({"1": "dog"}, "outputs.npz")
    assert (Path(job.task["path"]) / "metrics.py").is_file()
    assert job.artifact.path.name == "model.json"
    assert {file.name for file in job.inputs.path.iterdir()} == {"inputs.npy", "frames.json"}
    places = [job.artifact.path, job.reference, job.inputs.path, Path(job.task["path"]), *(i.path for i in job.items)]
    assert all(place.is_relative_to(lab._state) for place in places)


def test_terms_are_kept_as_they_were_given(bench):
    items = (("0" * 64, {"boxes": [1]}), ("1" * 64, None))
    more = ((bench.artifact, "4" * 64),)
    load = Load("fake", bench.artifact, "2" * 64, "3" * 64, "hash", 2, "", items, rebuilt=more)
    loads = {
        "a": load,
        "b": replace(load, engine="other", items=items),
        "c": Skipped("no"),
        "d": replace(load, items=()),
    }
    terms = terms_of([cell()], loads)
    text = benches.written(terms)
    assert benches.read(text) == terms
    assert text.count("0" * 64) == 1  # what variants have in common is written once
    again = benches.read(text)
    assert again.loads["a"].items is again.loads["b"].items


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"terms": {}, "items": {}, "of": {}}'])
def test_terms_that_were_damaged_are_told(text):
    with pytest.raises(FleetError, match="terms of the run cannot be read"):
        benches.read(text)


def test_a_plan_may_grow_and_nothing_else_may_change(lab, bench, facts):
    short = manifest_of(facts, [cell("prove")])
    run_id = begin(lab, bench, facts, "prove", manifest=short)
    lab.launch(run_id, step("prove"))
    longer = short | {"plan": manifest_of(facts, [cell("prove"), cell()])["plan"]}
    for _ in range(2):
        begin(lab, bench, facts, manifest=longer)
    assert len(journal(lab, run_id).plan.order) == 2
    assert record_in(lab.launch(run_id, step())).outcome == Completed()
    assert len(lab.held(run_id)) == 2
    with pytest.raises(FleetError, match="does not go on"):
        begin(lab, bench, facts, "prove", manifest=short)
    with pytest.raises(FleetError, match="differs in command"):
        begin(lab, bench, facts, manifest=longer | {"command": "another"})


def test_what_was_not_begun_is_told(lab, bench, facts):
    unknown = str(ULID())
    assert lab.held(unknown) == lab.held("../runs") == ()
    for ask in (lambda: lab.launch(unknown, step()), lambda: lab.fetch(unknown, "0" * 16)):
        with pytest.raises(FleetError, match="was not begun there"):
            ask()
    run_id = begin(lab, bench, facts, "prove")
    with pytest.raises(FleetError, match=r"begun without .*latency"):
        lab.launch(run_id, step())
    with pytest.raises(FleetError, match="no record"):
        lab.fetch(run_id, "0" * 16)
    lab.close()
    (lab._folder(run_id) / "terms.json").unlink()
    lab._settings.clear()
    with pytest.raises(FleetError, match="not begun to its end"):
        lab.launch(run_id, step("prove"))


def test_a_run_is_forgotten_whole_and_its_parcels_stay(lab, begun, bench):
    lab.launch(begun, step())
    lab.forget(begun)
    lab.forget(begun)
    lab.forget("../shelf")
    assert lab.held(begun) == ()
    assert list((lab._state / "runs").iterdir()) == []
    assert lab.lacks([parcel_of(bench.artifact.path)]) == ()


def test_a_launch_that_takes_its_worker_down_twice_is_not_made_again(lab, begun, monkeypatch):
    with journal(lab, begun) as store:
        for _ in range(2):
            store.started(cell(), Launch(0))
    monkeypatch.setattr(process, "call", lambda *_: pytest.fail("made a third time"))
    outcome = record_in(lab.launch(begun, step())).outcome
    assert (outcome.kind, outcome.stage) == ("crashed", Stage.STEADY)


def test_a_launch_that_was_lost_once_is_made_again(lab, begun):
    with journal(lab, begun) as store:
        store.started(cell(), Launch(0))
    assert record_in(lab.launch(begun, step())).outcome == Completed()


WORKER = """
import sys
from pathlib import Path
from harness.fleet.hosting import Hosting, Kit
from harness.ports import Step
from harness.vocabulary import Cell, Launch, Precision, Scenario
from results.store import RunStore

folder, run_id, hw = Path(sys.argv[1]), sys.argv[2], {"hw_id": sys.argv[3]}
lab = Hosting("lab", folder / "state", RunStore, Kit(fingerprint=lambda _: hw, lock=folder / "machine.lock"))
options = {"load_ms": 60000.0, "asleep": True}
asked = ("toy", "hash", {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, "cpu", Scenario("latency"))
lab.launch(run_id, Step(Cell(*asked, options=options), Launch(0)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_a_killed_worker_leaves_nothing_measuring_and_the_next_goes_on(tmp_path, bench, facts, monkeypatch):
    slow = cell(options={"load_ms": 60000.0, "asleep": True})
    run = manifest_of(facts, [slow])
    with hosted(tmp_path) as lab:
        lab.begin(run, terms_of([slow], {slow.variant_id: load_of(lab, bench)}, timeout_s=60.0))
    arguments = [str(tmp_path), run["run_id"], HW["hw_id"]]
    with subprocess.Popen([sys.executable, "-c", WORKER, *arguments]) as worker:
        while not (children := _measuring(worker)):
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=20)[1] == []
    with hosted(tmp_path) as lab:
        assert lab.held(run["run_id"]) == ()
        assert [attempt.ended for attempt in journal(lab, run["run_id"]).attempts()] == [False]
        monkeypatch.setattr(process, "call", lambda *_: Skipped("launched"))
        again = record_in(lab.launch(run["run_id"], Step(slow, Launch(0))))
        assert (again.outcome, again.launch) == (Skipped("launched"), Launch(0))


def _measuring(worker):
    """The launches below a worker that came to their load."""
    found = []
    for child in psutil.Process(worker.pid).children(recursive=True):
        try:
            stage = Path(child.cmdline()[-1]) / jobs.STAGE_FILE
            if "harness.worker" in child.cmdline() and stage.read_text() == "load":
                found.append(child)
        except (psutil.Error, OSError):  # it ended, or has only begun
            continue
    return found


class Counted(Beside):
    """Sensors that tell when they are begun and ended."""

    events: list[str]

    def __enter__(self):
        self.events.append("on")
        return super().__enter__()

    def __exit__(self, *facts):
        self.events.append("off")
        super().__exit__(*facts)


@pytest.fixture
def sensors(monkeypatch, tmp_path):
    monkeypatch.setattr(Counted, "events", [], raising=False)
    (tmp_path / "bare").mkdir()
    monkeypatch.setattr(runner, "Beside", functools.partial(Counted, root=tmp_path / "bare"))
    monkeypatch.setattr(process, "call", lambda *_: Skipped("not the point"))
    return Counted.events


def test_the_sensors_stay_from_launch_to_launch(lab, begun, sensors):
    for index in range(3):
        lab.launch(begun, step(index=index))
    assert sensors == ["on"]
    lab.close()
    assert sensors == ["on", "off"]
    lab.launch(begun, step(index=3))
    assert sensors == ["on", "off", "on"]


def test_another_run_has_its_own_sensors(lab, bench, facts, sensors):
    for run_id in [begin(lab, bench, facts), begin(lab, bench, facts)]:
        lab.launch(run_id, step())
    assert sensors == ["on", "off", "on"]


def test_a_client_that_is_gone_leaves_no_sensors_running(lab, begun, sensors, monkeypatch):
    monkeypatch.setattr(hosting, "_IDLE_S", 0.05)
    lab.launch(begun, step())
    until = time.monotonic() + 20
    while len(sensors) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert sensors == ["on", "off"]
    with journal(lab, begun) as store:
        store.acquire()  # it is nobody's any more
    lab.launch(begun, step(index=1))
    assert len(lab.held(begun)) == 2


def test_a_warm_cache_stays_from_launch_to_launch(lab, bench, facts, monkeypatch):
    run_id, asked = begin(lab, bench, facts, warm=True), []

    def answered(_kind, job, _child, _answer):
        asked.append(sorted(file.name for file in job.warm.iterdir()))
        (job.warm / "compiled").write_text("by the runtime")
        return Skipped("not the point")

    monkeypatch.setattr(process, "call", answered)
    for scenario in ("prove", "latency"):
        lab.launch(run_id, step(scenario))
    assert asked == [[], ["compiled"]]


def built(lab, bench, *, device="cpu", **other):
    """Have a host build for its device what the client made."""
    whole = Exporters().route(FORMAT_FAKE, (FORMAT_FAKE_BUILT,), Precision.FP32)
    source = replace(bench.artifact, path=Path("model.json"))
    request = Request(1, (3, 4, 4), {}, device=device, **other)
    # Where the step was chosen, nothing is known of what this host has.
    foreign = tuple(replace(each, target="elsewhere:Builder", code="", versions={}) for each in whole.steps)
    return lab.build(source, sent(lab, bench.artifact.path), Route(foreign, whole.format), request)


def test_what_is_bound_to_the_device_is_made_there_once(lab, bench, facts, monkeypatch):
    made = built(lab, bench)
    assert (made.format, made.path, made.exporter) == (FORMAT_FAKE_BUILT, Path("model.json"), "fake-builder")
    assert made.notes == ("build 0 for cpu",)
    with monkeypatch.context() as patched:
        real = process.call
        patched.setattr(
            process, "call", lambda kind, *rest: pytest.fail(kind) if kind == "export" else real(kind, *rest)
        )
        assert built(lab, bench) == made
    load = replace(load_of(lab, bench), artifact=made, artifact_parcel=made.content_hash)
    run_id = begin(lab, bench, facts, load=load)
    record = record_in(lab.launch(run_id, step()))
    assert record.outcome == Completed()
    assert record.artifact == made


def test_builds_differ_and_take_turns(lab, bench, facts):
    first, second = built(lab, bench), built(lab, bench, build=1)
    assert first.notes != second.notes
    rebuilt = ((second, second.content_hash),)
    load = replace(load_of(lab, bench), artifact=first, artifact_parcel=first.content_hash, rebuilt=rebuilt)
    run_id = begin(lab, bench, facts, load=load)
    notes = [record_in(lab.launch(run_id, step(index=index))).artifact.notes for index in range(2)]
    assert notes == [first.notes, second.notes]


def test_calibration_tensors_are_named_by_their_parcel(lab, bench, tmp_path, monkeypatch):
    np.save(tmp_path / "inputs.npy", np.zeros((2, 3, 4, 4), np.float32))
    (tmp_path / "both").mkdir()
    for file in (tmp_path / "inputs.npy", bench.artifact.path):
        (tmp_path / "both" / file.name).write_bytes(file.read_bytes())
    alone, together = sent(lab, tmp_path / "inputs.npy"), sent(lab, tmp_path / "both")
    for place, parcel in ((alone, alone), (f"{together}/inputs.npy", alone), ("inputs.npy", together)):
        request = Request(1, (3, 4, 4), {}, Calibration(Path(place), "hash", 2))
        calibration = lab._calibrated(request, parcel).calibration
        assert np.load(calibration.path, mmap_mode="r").shape == (2, 3, 4, 4)
        assert calibration.content_hash == "hash"


def test_what_cannot_be_built_is_told_by_name(lab, bench, tmp_path):
    script = json.loads(bench.artifact.path.read_text()) | {"build_fault": "raise"}
    (tmp_path / "model.json").write_text(json.dumps(script))
    broken = replace(bench, artifact=replace(bench.artifact, path=tmp_path / "model.json", content_hash="broken"))
    failed = built(lab, broken)
    assert isinstance(failed, Failed)
    assert "fake-builder: scripted failure" in failed.message
    whole = Exporters().route(FORMAT_FAKE, (FORMAT_FAKE_BUILT,), Precision.FP32)
    ghost = Route((replace(whole.steps[0], name="ghost"),), whole.format)
    source = replace(bench.artifact, path=Path("model.json"))
    refused = lab.build(source, sent(lab, bench.artifact.path), ghost, Request(1, (3, 4, 4), {}))
    assert isinstance(refused, Skipped)
    assert "ghost" in refused.reason
    assert lab.build(source, "", Route((), FORMAT_FAKE), Request(1, (3, 4, 4), {})) == source


def test_a_full_disk_names_the_host(lab, bench, facts, monkeypatch):
    load = load_of(lab, bench)

    def full(*_):
        raise OSError(28, "No space left on device", "/somewhere/terms.json")

    monkeypatch.setattr(shelf, "_sync", full)
    with pytest.raises(FleetError, match=r"lab: .*No space left on device") as caught:
        begin(lab, bench, facts, load=load)
    assert caught.value.hint


def test_it_says_what_it_is(tmp_path):
    lab = Hosting("lab", tmp_path, RunStore, Kit(versions={"distributed": "2026.8.0"}))
    about = lab.about()
    assert (lab.name, about.name, about.harness_version) == ("lab", "lab", harness.__version__)
    assert about.hw_id == host.short_id(host.hardware())
    assert about.fingerprint["environment"]["versions"] == {"harness": harness.__version__}
    assert set(about.versions) == {"python", "distributed"}
