"""``harness run --fleet``: this machine as several, under other names and as other hardware, without a network."""

from __future__ import annotations

import functools
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import harness
from harness import host, jobs, runner, survey
from harness.cli import fleet_progress, run_fleet
from harness.fleet.contract import HostLostError, UnreachableError
from harness.fleet.events import Finished
from harness.fleet.hosting import Hosting, Kit
from harness.telemetry.beside import Beside
from harness.vocabulary import Completed, EngineFacts, Failed, Skipped
from results.fleets import FleetRun
from results.store import RunStore, runs_in

SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], precision: [fp32, fp16], threads: [1, 2], scenario: [latency]}
preset: quick
launches: 1
options: {fake: {asleep: true, latency_us: 500}}
"""
SHORTEST = jobs.Limits(1, 0.0, 0.0, warmup_iterations=1, warmup_s=0.0, warmup_maximum_s=0.0)


@dataclass(frozen=True)
class Pretended:
    """What is unlike this machine."""

    memory_gib: int = 8
    lost_in: int | None = None  # the launch, counted from 0, that it never answers
    with_all: bool = False  # whether that is since no host can be reached any more
    engines: tuple[str, ...] = ("fake",)
    version: str = ""  # of the harness
    numpy: str = ""  # version of the fake engine


class Pretender(Hosting):
    """This machine under another name and as other hardware, whose launches measure next to nothing."""

    def __init__(self, name, folder, what):
        def fingerprint(versions):
            found = host.fingerprint(versions)
            machine = found["hardware"] | {"memory_gib": what.memory_gib, "accelerators": []}
            return {**found, "hardware": machine, "hw_id": host.short_id(machine)}

        # A lock of its own, since it stands for a machine of its own.
        kit = Kit(engines=frozenset(what.engines), fingerprint=fingerprint, lock=folder / f"{name}.lock")
        super().__init__(name, folder / name, RunStore, kit)
        self.what = what
        self.launched = []
        self.built = []

    def about(self):
        found = super().about()
        return replace(found, harness_version=self.what.version or found.harness_version)

    def overhead(self, job, cpus):
        return jobs.OverheadAnswer(120.0)

    def probe(self, engines, cpus):
        found = dict(super().probe(engines, cpus))
        facts = found.get("fake")
        if self.what.numpy and isinstance(facts, EngineFacts):
            found["fake"] = replace(facts, version=self.what.numpy)
        return found

    def begin(self, manifest, terms):
        super().begin(manifest, replace(terms, limits=dict.fromkeys(terms.limits, SHORTEST)))

    def build(self, source, parcel, route, request):
        self.built.append((route.exporters, request.build))
        return super().build(source, parcel, route, request)

    def launch(self, run_id, step):
        if self.what.lost_in is not None and len(self.launched) >= self.what.lost_in:
            if self.what.with_all:
                raise UnreachableError("the scheduler cannot be reached")
            raise HostLostError(f"{self.name} does not answer")
        self.launched.append(step)
        return super().launch(run_id, step)


@dataclass
class Lab:
    """A user's folder, and the machines of a fleet."""

    place: object
    machines: dict = field(default_factory=dict)
    patched: object = None

    def machine(self, name, **what):
        self.machines[name] = Pretender(name, self.place.folder / "machines", Pretended(**what))
        return self.machines[name]

    def hosts(self):
        return [self.machines[name] for name in sorted(self.machines)]

    def close(self):
        """Keep the machines: a client that goes away ends none of them."""

    def say(self, *words):
        return self.place.say("run", *words, "--fleet", "fleet.yaml")

    @property
    def runs(self):
        return [RunStore.open(folder) for folder in runs_in(self.place.folder / "runs")]

    @property
    def fleet(self):
        (found,) = (self.place.folder / "runs").glob("fleet-*")
        return FleetRun.open(found.name, self.place.folder / "runs")

    @property
    def page(self):
        return (self.fleet.folder / "report.html").read_text()

    def completed(self):
        return Counter(
            (store.manifest["host"]["hw_id"], record.cell_id, record.launch.index)
            for store in self.runs
            for record in store.records()
            if isinstance(record.outcome, Completed)
        )


@pytest.fixture(scope="module", autouse=True)
def _quick(tmp_path_factory):
    """What an engine says takes a process each time, and is asked once; the sensors are not what is tested."""
    real, said = survey.probe, {}

    def probe(entry, workshop, interpreter):
        if entry.name not in said:
            said[entry.name] = real(entry, workshop, interpreter)
        return said[entry.name]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(survey, "probe", probe)
        patched.setattr(runner, "Beside", functools.partial(Beside, root=tmp_path_factory.mktemp("bare")))
        yield


@pytest.fixture(scope="module")
def labs(tmp_path_factory, new_place):
    """The maker of labs."""
    with pytest.MonkeyPatch.context() as patched:

        def made(suite=SUITE):
            place = new_place(tmp_path_factory.mktemp("lab"))
            (place.folder / "machines").mkdir()
            place.write("suite.yaml", suite)
            place.write("fleet.yaml", "version: 1\nscheduler: tcp://127.0.0.1:1\n")
            lab = Lab(place, patched=patched)
            patched.setattr(run_fleet, "opened", lambda *_: lab)
            return lab

        yield made


@pytest.fixture
def lab(labs):
    return labs()


@pytest.fixture(scope="module")
def together(labs):
    """Two machines of one kind and one of another, and how a run on them ended."""
    lab = labs()
    for name, memory_gib in (("oak", 8), ("elm", 8), ("ash", 16)):
        lab.machine(name, memory_gib=memory_gib)
    return lab, lab.say("suite.yaml")


def test_every_kind_of_machine_measures_the_whole_suite_once(together):
    lab, said = together
    assert said.code == 0, said.err
    plans = {store.manifest["fleet"]["host"]: store.plan for store in lab.runs}
    assert plans.keys() == {"oak", "elm", "ash"}
    both = {planned.cell.cell_id for name in ("oak", "elm") for planned in plans[name].cells}
    assert both == {planned.cell.cell_id for planned in plans["ash"].cells}
    assert len(plans["oak"].cells) == len(plans["elm"].cells) == 4
    assert set(lab.completed().values()) == {1}
    assert len(lab.completed()) == 16
    assert sum(len(machine.launched) for machine in lab.machines.values()) == 16


def test_a_manifest_is_of_its_host(together):
    lab, _ = together
    for store in lab.runs:
        manifest = store.manifest
        name = manifest["fleet"]["host"]
        assert manifest["fleet"] == {"id": lab.fleet.fleet_id, "host": name, "from": ""}
        assert manifest["host"]["hardware"]["memory_gib"] == (16 if name == "ash" else 8)
        assert manifest["host"]["environment"]["versions"]["fake"] == manifest["engines"]["fake"]["version"]
        assert host.short_id(manifest["host"]["environment"]) == manifest["host"]["env_id"]
        assert manifest["overhead"] == {"1": 120.0}
        assert all(record.env_id == manifest["host"]["env_id"] for record in store.records())
        assert store.damage == ()
        store.check()
        assert (store.folder / store.records()[0].log).is_file()


def test_what_the_client_has_whole_the_hosts_forget(together):
    lab, _ = together
    assert [list(runs_in(lab.place.folder / "machines" / name / "runs")) for name in lab.machines] == [[], [], []]


def test_one_page_and_one_summary_tell_of_all_machines(together):
    lab, said = together
    lines = said.out.splitlines()
    assert any(line.endswith(": ash") for line in lines)
    assert any(line.endswith(": elm, oak") for line in lines)
    assert f"report: runs/{lab.fleet.fleet_id}/report.html" in said.out
    for store in lab.runs:
        assert store.run_id in lab.page
    assert "oak was lost" not in lab.page


def test_the_page_is_made_again_by_the_name_of_the_fleet(together):
    lab, _ = together
    page = lab.fleet.folder / "report.html"
    before = page.read_bytes()
    page.unlink()
    said = lab.place.say("report", lab.fleet.fleet_id)
    assert (said.code, said.out.strip()) == (0, f"runs/{lab.fleet.fleet_id}/report.html")
    assert page.read_bytes() == before
    told = json.loads(lab.place.say("report", lab.fleet.fleet_id[:12], "--json").out)
    assert {run["run_id"] for run in told["runs"]} == {store.run_id for store in lab.runs}
    assert len(told["rows"]) == 8


def test_the_folder_of_a_fleet_is_taken_for_no_run(together):
    lab, _ = together
    assert len(runs_in(lab.place.folder / "runs")) == 3
    listed = lab.place.say("results", "ls")
    assert listed.code == 0, listed.err
    assert f"{lab.fleet.fleet_id}: " in listed.out.splitlines()[-1]
    newest = lab.runs[-1].run_id
    refused = lab.place.say("run", "--resume", newest)
    assert refused.code == 4
    assert f"harness run --resume {lab.fleet.fleet_id} --fleet FILE" in " ".join(refused.err.split())
    assert lab.place.say("run", "--resume", lab.fleet.fleet_id).code == 4


def test_a_fleet_that_is_done_has_nothing_to_do_when_it_is_resumed(together):
    lab, _ = together
    before = {store.run_id: len(store.records()) for store in lab.runs}
    lab.patched.setattr(run_fleet, "opened", lambda *_: lab)
    said = lab.place.say("run", "--resume", lab.fleet.fleet_id, "--fleet", "fleet.yaml", "--json", "--quiet")
    assert (said.code, said.err) == (0, "")
    assert {store.run_id: len(store.records()) for store in lab.runs} == before
    told = json.loads(said.out)
    assert (told["fleet_id"], told["interrupted"], len(told["rows"])) == (lab.fleet.fleet_id, False, 8)


def test_what_is_bound_to_a_device_is_built_where_it_is_measured(labs):
    suite = SUITE.replace("asleep: true", "asleep: true, built: true").replace("launches: 1", "launches: 2\nbuilds: 2")
    lab = labs(suite.replace("threads: [1, 2]", "threads: [1]").replace("fp32, fp16", "fp32"))
    oak = lab.machine("oak")
    said = lab.say("suite.yaml")
    assert said.code == 0, said.err
    assert oak.built == [(("fake-builder",), 0), (("fake-builder",), 1)]
    (store,) = lab.runs
    latency = [record for record in store.records() if record.cell.scenario.name == "latency"]
    assert [record.artifact.notes[-1] for record in latency] == ["build 0 for cpu", "build 1 for cpu"]
    assert latency[0].artifact.route == ("fake-import", "fake-builder")


def test_rows_of_a_host_that_is_lost_for_ever_are_measured_by_its_like(lab):
    lab.machine("elm", lost_in=1)
    lab.machine("oak")
    said = lab.say("suite.yaml")
    assert said.code == 0, said.err
    lost, moved = lab.fleet.happenings
    assert (lost.kind, lost.host) == ("lost", "elm")
    assert "elm was lost while it measured toy/fake/" in lost.text
    assert moved.kind == "moved"
    assert "2 rows that elm did not finish: measured by oak from the start" in moved.text
    (first,) = (part for part in lab.fleet.runs if part.host == "elm")
    (second,) = (part for part in lab.fleet.runs if part.taken_from)
    assert (second.host, second.taken_from) == ("oak", first.run_id)
    assert {cell for _, cell, _ in lab.completed()} == {
        planned.cell.cell_id for store in lab.runs for planned in store.plan.cells
    }
    assert "elm was lost while it measured" in lab.page
    assert "elm was lost while it measured" in said.out
    rows = json.loads(lab.place.say("report", lab.fleet.fleet_id, "--json").out)["rows"]
    assert len(rows) == 4
    assert all(row["latency_ms"] for row in rows)


def test_rows_that_nobody_can_measure_are_measured_once_their_host_is_back(lab):
    lab.machine("oak", lost_in=3)
    said = lab.say("suite.yaml", "--set", "matrix.threads=[1]")
    assert said.code == 2, said.err
    fleet_id = lab.fleet.fleet_id
    assert f"continue with: harness run --resume {fleet_id} --fleet fleet.yaml" in " ".join(said.err.split())
    assert [each.kind for each in lab.fleet.happenings] == ["lost", "unmeasured"]
    assert "no other host of its kind is there" in lab.page

    absent = lab.machines.pop("oak")
    lab.machine("ash", memory_gib=16)
    said = lab.say("--resume", fleet_id)
    assert said.code == 2, said.err
    assert lab.machines["ash"].launched == []
    assert "the host oak is not there" in lab.fleet.happenings[-2].text

    absent.what = Pretended()
    lab.machines["oak"] = absent
    said = lab.say("--resume", fleet_id)
    assert said.code == 0, said.err
    assert {each.kind for each in lab.fleet.happenings} == {"lost", "unmeasured", "resumed", "back"}
    assert set(lab.completed().values()) == {1}
    assert len(lab.completed()) == 4
    assert "oak is back" in lab.page


def test_a_client_that_is_interrupted_loses_nothing(lab, monkeypatch):
    lab.machine("oak")
    lab.machine("elm")
    heard = []

    class Impatient(fleet_progress.Silent):
        def heard(self, event):
            heard.append(event)
            if sum(isinstance(each, Finished) for each in heard) == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fleet_progress, "reporter", lambda **_: Impatient())
        said = lab.say("suite.yaml")
    assert said.code == 2, said.err
    assert "interrupted; continue with" in said.err
    stored = sum(len(store.records()) for store in lab.runs)
    assert 3 <= stored < 8
    until = time.monotonic() + 60
    while any(not attempt.ended for machine in lab.machines for attempt in _attempts(lab, machine)):
        assert time.monotonic() < until, "the hosts do not end what they were asked for"
        time.sleep(0.05)
    before = {name: [(step.cell.cell_id, step.launch) for step in each.launched] for name, each in lab.machines.items()}
    said = lab.say("--resume", lab.fleet.fleet_id)
    assert said.code == 0, said.err
    assert set(lab.completed().values()) == {1}
    assert len(lab.completed()) == 8
    for name, machine in lab.machines.items():
        launched = [(step.cell.cell_id, step.launch) for step in machine.launched]
        assert launched[: len(before[name])] == before[name]
        assert len(set(launched)) == len(launched), "a launch was asked for again whose record the host holds"
    assert [each.kind for each in lab.fleet.happenings] == ["interrupted", "resumed"]
    assert "the run was interrupted" in lab.page


def test_where_no_host_can_be_asked_nothing_is_moved_and_a_resume_goes_on(lab):
    for name in ("elm", "oak"):
        lab.machine(name, lost_in=1, with_all=True)
    said = lab.say("suite.yaml")
    assert said.code == 2, said.err
    assert f"continue with: harness run --resume {lab.fleet.fleet_id}" in " ".join(said.err.split())
    (told,) = lab.fleet.happenings
    assert (told.kind, told.text) == ("interrupted", "the run was interrupted: the scheduler cannot be reached")
    assert told.text in lab.page
    assert [part.taken_from for part in lab.fleet.runs] == ["", ""]
    for machine in lab.machines.values():
        machine.what = Pretended()
    said = lab.say("--resume", lab.fleet.fleet_id)
    assert said.code == 0, said.err
    assert set(lab.completed().values()) == {1}
    assert len(lab.completed()) == 8


def _attempts(lab, name):
    for folder in runs_in(lab.place.folder / "machines" / name / "runs"):
        yield from RunStore.open(folder).attempts()


@pytest.fixture(scope="module")
def idle(labs):
    """Two machines of one kind on which nothing is measured."""
    lab = labs()
    lab.machine("oak")
    lab.machine("elm")
    return lab


@pytest.fixture
def refused(idle):
    """Run a suite that is refused before anything runs; return what was said, in one line."""

    def ask(*words, suite=SUITE):
        idle.patched.setattr(run_fleet, "opened", lambda *_: idle)
        idle.place.write("suite.yaml", suite)
        said = idle.say("suite.yaml", *words)
        assert said.code == 4, (said.out, said.err)
        assert not (idle.place.folder / "runs").exists()
        assert not any(machine.launched for machine in idle.machines.values())
        return " ".join(said.err.split())

    return ask


def test_an_engine_that_nobody_offers_is_refused_by_name(refused):
    said = refused("--set", "matrix.engine=[fake,onnxruntime]")
    assert "no host of the fleet offers the engine 'onnxruntime'" in said
    assert "elm: no engine is called 'onnxruntime' on elm" in said
    assert "no engine is called 'nonesuch'" in refused("--set", "matrix.engine=[nonesuch]")


def test_a_device_that_nobody_offers_is_refused_by_name(refused):
    said = refused("--set", "matrix.device=[cpu,cuda:7]")
    assert "no host of the fleet offers the device 'cuda:7'" in said
    assert "the hosts offer cpu" in said


def test_what_a_fleet_does_not_do_is_refused_by_name(refused):
    said = refused(suite=SUITE + "interpreters: {fake: /usr/bin/python3}\n")
    assert "interpreters: that of the engine 'fake' is each host's own" in said
    assert "harness fleet worker --interpreter" in said


def test_a_budget_that_the_machines_of_a_kind_cannot_keep_is_refused(refused):
    said = refused("--set", "budget=20s")
    assert "the budget 20s is shorter than one launch of each cell: 24 s of prove + " in said
    assert "shared by 2 machines" in said


def test_a_pattern_that_matches_nothing_is_refused(refused):
    assert "no cell matches '*/int8/*'" in refused("--only", "*/int8/*")


def test_another_version_of_the_harness_is_refused_by_name(idle, refused):
    idle.machines["elm"].what = Pretended(version="0.0.1")
    said = refused()
    idle.machines["elm"].what = Pretended()
    assert f"the host elm has harness 0.0.1, this is {harness.__version__}" in said


def test_a_fleet_without_hosts_is_refused(idle, refused):
    machines, idle.machines = idle.machines, {}
    said = refused()
    idle.machines = machines
    assert "the fleet has no hosts" in said


def test_a_fleet_that_is_not_there_is_named(lab):
    (lab.place.folder / "runs").mkdir()
    assert "no runs of a fleet in runs begin with 'fleet-0'" in lab.say("--resume", "fleet-0").err
    assert lab.say("--resume", "latest").code == 4


def test_engines_that_only_some_hosts_have_are_skipped_on_the_others(lab):
    lab.machine("oak", memory_gib=8)
    lab.machine("ash", memory_gib=16, engines=())
    said = lab.say("suite.yaml", "--only", "*/fp32/cpu/b1/t1/*", "--only", "*/auto/*")
    assert said.code == 0, said.err
    of = {store.manifest["fleet"]["host"]: store for store in lab.runs}
    assert {record.cell.device for record in of["oak"].records()} == {"cpu"}
    assert of["ash"].records() == ()
    assert all(isinstance(planned.skipped, Skipped) for planned in of["ash"].plan.cells)
    assert lab.machines["ash"].launched == []


def test_hosts_of_one_hardware_with_other_versions_are_kinds_of_their_own(lab):
    lab.machine("elm", numpy="0.9")
    lab.machine("oak")
    # The host holds the manifest against what its engine says: here that is what was pretended.
    lab.machines["elm"]._facts = lambda engines: lab.machines["elm"].probe(engines, None)
    said = lab.say("suite.yaml", "--only", "*/fp32/cpu/b1/t1/*")
    assert said.code == 0, said.err
    (told,) = lab.fleet.happenings
    assert told.kind == "differing"
    assert "elm, oak are of one hardware and differ in fake (0.9, " in told.text
    assert [len(store.records()) for store in lab.runs] == [2, 2]


def test_what_cannot_be_exported_fails_by_name_on_every_machine(lab):
    lab.place.model(export_fault="raise")
    for name, memory_gib in (("oak", 8), ("ash", 16)):
        lab.machine(name, memory_gib=memory_gib)
    said = lab.say("suite.yaml", "--set", "matrix.threads=[1]")
    assert said.code == 3, said.err
    outcomes = [record.outcome for store in lab.runs for record in store.records()]
    assert len(outcomes) == 8
    assert all(isinstance(outcome, Failed | Skipped) for outcome in outcomes)
    assert not any(machine.launched for machine in lab.machines.values())


def test_every_machine_has_the_budget_for_its_share(lab):
    for name in ("oak", "elm"):
        lab.machine(name)
    said = lab.say("suite.yaml", "--only", "*/fp32/*", "--set", "budget=10m", "--set", "launches=3")
    assert said.code == 0, said.err
    assert {store.manifest["suite"]["budget"] for store in lab.runs} == {"10m"}
    for store in lab.runs:
        labels = [record.cell.label.rpartition("/")[2] for record in store.records()]
        assert labels == ["prove", "latency", "latency", "latency"]


# --- this machine alone ------------------------------------------------------------------------------------------


def test_this_machine_alone_is_a_fleet_that_is_stopped_and_resumed(place):
    suite = SUITE.replace("asleep: true", "load_ms: 1500, asleep: true")
    place.write("suite.yaml", suite.replace("[1, 2]", "[1]").replace("fp32, fp16", "fp32"))
    place.write("fleet.yaml", "version: 1\nscheduler: local\n")
    runs = place.folder / "runs"
    with place.begin("run", "suite.yaml", "--fleet", "fleet.yaml", "--quiet") as process:
        until = time.monotonic() + 120
        while not (place.runs and any(attempt.label.endswith("/latency") for attempt in place.store.attempts())):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    (fleet,) = (path.name for path in runs.glob("fleet-*"))
    assert f"harness run --resume {fleet} --fleet fleet.yaml" in " ".join(err.split())
    end = place.run("run", "--resume", fleet, "--fleet", "fleet.yaml")
    assert end.code == 0, end.err
    completed = Counter(r.cell_id for r in place.store.records() if isinstance(r.outcome, Completed))
    assert completed == {planned.cell.cell_id: 1 for planned in place.store.plan.cells}
    assert Path(runs / fleet / "report.html").is_file()
