"""A client and its hosts, which are lost, silent, slow and wrong: nothing twice, nothing lost, everything told."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from harness import codec, jobs, plan_order
from harness.artifacts import Request, Route, Workshop
from harness.budget import Budget
from harness.cache import Cache
from harness.errors import StoreError
from harness.fleet import sharing
from harness.fleet.contract import FleetError, HostLostError, Packed, Terms
from harness.fleet.dispatch import Crew, Dispatch
from harness.fleet.errands import Errand
from harness.fleet.events import Ended, Finished, Lost, Moved, Noted, Started, Unmeasured
from harness.fleet.sending import Packing
from harness.prepare import Portable
from harness.runner import Bench
from harness.vocabulary import (
    Artifact,
    Cell,
    Completed,
    Failed,
    NoiseReading,
    Plan,
    PlannedCell,
    Precision,
    Record,
    SamplesRef,
    Scenario,
    Skipped,
    State,
    Timing,
    digest,
)
from results.store import RunStore

HOST = {"hw_id": "hw", "env_id": "env"}
SAMPLES = SamplesRef("samples/x.npz", "0" * 64, 1)
NOISY = {"steal": NoiseReading(State.BAD, 0.5, 0.05)}


def cell(threads, scenario="latency"):
    return Cell("w", "h", {"name": "raw"}, (3,), "fake", Precision.FP32, "cpu", Scenario(scenario), threads=threads)


def plan_of(count, launches=1):
    planned = [
        PlannedCell(cell(threads, scenario), launches if scenario == "latency" else 1, 1.0)
        for threads in range(1, count + 1)
        for scenario in ("prove", "latency")
    ]
    cells = {each.cell.cell_id: each for each in planned}
    return Plan("suite", "quick", 0, tuple(planned), plan_order.ordered(cells, 0))


@dataclass
class Scripted:
    """A host that measures nothing, and does what a test says."""

    name: str
    lost_in: int | None = None  # the launch, counted from 0, in which it is lost for ever
    answers: bool = True  # whether it keeps the record of that one
    noisy: bool = False
    wrong: dict = field(default_factory=dict)  # of a record's fields, by a test's will
    values: tuple = ()  # of the medians, in turn
    files: dict = field(default_factory=dict)
    has: bool = False  # every file, from the start
    asked: Counter = field(default_factory=Counter)
    made: dict = field(default_factory=lambda: defaultdict(dict))  # by run: id → Packed
    launched: list = field(default_factory=list)
    terms: dict = field(default_factory=dict)
    threads: set = field(default_factory=set)
    sent: list = field(default_factory=list)
    gone: bool = False
    pause: threading.Event | None = None  # waited for in every launch
    during: object = None  # called in every launch

    def _ask(self, what):
        self.asked[what] += 1
        self.threads.add(threading.current_thread())
        if self.gone:
            raise HostLostError(f"{self.name} does not answer")

    def lacks(self, parcels):
        self._ask("lacks")
        lacking = dict.fromkeys(sha256 for parcel in parcels for _, _, sha256 in parcel.files)
        return () if self.has else tuple(sha256 for sha256 in lacking if sha256 not in self.sent)

    def put(self, chunk):
        self._ask("put")
        self.sent.append(chunk.sha256)

    def assemble(self, parcel):
        self._ask("assemble")

    def build(self, source, parcel, route, request):
        self._ask("build")
        return replace(source, content_hash=f"built {request.build}")

    def begin(self, manifest, terms):
        self._ask("begin")
        self.terms[manifest["run_id"]] = terms

    def launch(self, run_id, step):
        self._ask("launch")
        if self.pause is not None:
            assert self.pause.wait(60)
        if self.during is not None:
            self.during()
        lost = self.lost_in == len(self.launched)
        self.launched.append(step)
        packed = self.packed(run_id, step)
        if not lost or self.answers:
            self.made[run_id][packed.record_id] = packed
        if lost:
            self.gone = True
            raise HostLostError(f"{self.name} does not answer")
        return packed

    def packed(self, run_id, step):
        record = Record(
            run_id, step.cell, step.launch, Completed(), "hw", "env", "t", 1_000_000,
            cell_id=step.cell.cell_id, variant_id=step.cell.variant_id, noise=NOISY if self.noisy else {},
            log=f"logs/{step.cell.cell_id[:8]}-{step.launch.index}-{step.launch.attempt}.log",
        )  # fmt: skip
        if self.values:
            value = 1000 * self.values[step.launch.index % len(self.values)]
            record = replace(record, timing=Timing(0, 0, 0, steady_iterations=1, steady_ns=value, median_ns=value))
        encoded = codec.encode(replace(record, **self.wrong))
        return Packed(digest({"finished": encoded})[:16], encoded, {record.log: b"words", **self.files})

    def held(self, run_id):
        self._ask("held")
        return tuple(self.made[run_id])

    def fetch(self, run_id, record_id):
        self._ask("fetch")
        return self.made[run_id][record_id]

    def forget(self, run_id):
        self._ask("forget")
        self.made.pop(run_id, None)


class Lab:
    """A client's folder and the hosts of its fleet."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "inputs").mkdir()
        (folder / "model.json").write_text("{}")
        np.save(folder / "inputs/inputs.npy", np.zeros((2, 3)))
        self.packing = Packing(Workshop(Cache(folder / "cache"), folder / "scratch", folder / "logs", 60))
        artifact = Artifact("fake", Precision.FP32, folder / "model.json", "hash", 2)
        bench = Bench("engines.fake:FakeEngine", artifact, jobs.Inputs(folder / "inputs", "of the inputs", 2), None)
        self.portable = Portable(bench, Route((), "fake"), (), {})
        self.stores = []
        self.words = []
        self.moved = {}

    def errand(self, host, plan, portables=None, retries=0, budget=None):
        """Make a run on a host."""
        store = RunStore.create(self.folder / "runs", {"plan": codec.encode(plan), "host": HOST})
        self.stores.append(store)
        chosen = portables or {each.cell.variant_id: self.portable for each in plan.cells}
        terms = Terms(600.0, strict=False, warm=False, loads={}, limits={})
        return Errand(host, store, plan, chosen, terms, retries, budget=budget)

    def dispatch(self, hosts, errands, kinds=None, blamed=None):
        crew = Crew(
            {host.name: host for host in hosts},
            kinds or {host.name: "kind" for host in hosts},
            self.packing,
            self.further,
            lambda host, word: self.words.append((host, word)),
        )
        return Dispatch(crew, errands, blamed or {})

    def further(self, left, host, plan):
        made = self.errand(host, plan, left.portables, left.retries, left.budget)
        self.moved[made.store.run_id] = left.store.run_id
        return made

    def run(self, hosts, errands, **other):
        with closing(self.dispatch(hosts, errands, **other).run()) as events:
            return list(events)

    def records(self):
        return [record for store in self.stores for record in store.records()]


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    for store in made.stores:
        store.close()


def shared(lab, plan, *hosts, budget=None):
    """Return an errand for each host, of its share."""
    given = sharing.shares(plan, [host.name for host in hosts], lambda _: True)
    return [lab.errand(host.name, given[host.name], budget=budget) for host in hosts]


def kinds_of(events):
    return Counter(type(event).__name__ for event in events)


def completed(records):
    return Counter((record.cell_id, record.launch.index) for record in records if isinstance(record.outcome, Completed))


def test_every_launch_is_made_once_and_stored_here(lab):
    plan = plan_of(5, launches=2)
    oak, elm = Scripted("oak"), Scripted("elm")
    events = lab.run([oak, elm], shared(lab, plan, oak, elm))
    assert kinds_of(events) == {"Started": 15, "Finished": 15, "Ended": 2}
    assert completed(lab.records()) == {(slot.cell_id, slot.index): 1 for slot in plan.order}
    assert len(oak.launched) + len(elm.launched) == 15
    assert all(
        (store.folder / record.log).read_bytes() == b"words" for store in lab.stores for record in store.records()
    )
    assert (oak.asked["forget"], elm.asked["forget"]) == (1, 1)
    assert oak.threads.isdisjoint(elm.threads)
    assert all(attempt.ended for store in lab.stores for attempt in store.attempts())


def test_a_fleet_of_one_is_served_by_the_thread_that_asks(lab):
    oak = Scripted("oak")
    lab.run([oak], [lab.errand("oak", plan_of(1))])
    assert oak.threads == {threading.current_thread()}


def test_only_what_a_host_lacks_is_sent_and_once(lab):
    oak, elm = Scripted("oak"), Scripted("elm", has=True)
    lab.run([oak, elm], shared(lab, plan_of(4), oak, elm))
    assert len(oak.sent) == len(set(oak.sent)) == 2  # the model and the inputs
    assert elm.sent == []
    assert oak.asked["assemble"] == elm.asked["assemble"] == 2
    (terms,) = oak.terms.values()
    load, *others = terms.loads.values()
    assert all(other == load for other in others)
    assert (load.engine, load.artifact.path.name, load.inputs_count) == ("fake", "model.json", 2)


def test_a_host_that_keeps_nothing_of_what_it_is_sent_is_not_measured_on(lab):
    oak = Scripted("oak")
    oak.put = lambda chunk: None
    (lost, _) = lab.run([oak], [lab.errand("oak", plan_of(1))])
    assert "oak does not keep what it is sent" in lost.reason
    assert oak.launched == []


def test_what_is_bound_to_a_device_is_built_by_the_host(lab):
    builds = tuple(Request(1, (3,), {}, build=build) for build in (0, 1))
    portable = replace(lab.portable, route=Route((), "fake-built"), builds=builds)
    plan = plan_of(1)
    oak = Scripted("oak")
    lab.run([oak], [lab.errand("oak", plan, {plan.cells[0].cell.variant_id: portable})])
    (terms,) = oak.terms.values()
    (load,) = terms.loads.values()
    assert load.artifact_parcel == "built 0"
    assert [parcel for _, parcel in load.rebuilt] == ["built 1"]


def test_what_could_not_be_prepared_is_recorded_without_the_host(lab):
    plan = plan_of(2)
    broken, whole = (plan.cells[place].cell.variant_id for place in (0, 2))
    failed = Failed("export", "ExportFailed", "no /home/user/model.onnx")
    oak = Scripted("oak")
    lab.run([oak], [lab.errand("oak", plan, {broken: failed, whole: lab.portable})])
    outcomes = [record.outcome for record in lab.records() if record.variant_id == broken]
    assert outcomes[0].message == "no model.onnx"
    assert {step.cell.variant_id for step in oak.launched} == {whole}


def test_a_noisy_launch_is_asked_for_again(lab):
    oak = Scripted("oak", noisy=True)
    plan = plan_of(1)
    lab.run([oak], [lab.errand("oak", plan, retries=1)])
    assert [(step.cell.scenario.name, step.launch.attempt) for step in oak.launched] == [
        ("prove", 0), ("prove", 1), ("latency", 0), ("latency", 1),
    ]  # fmt: skip


# --- lost hosts --------------------------------------------------------------------------------------------------


def test_rows_that_a_lost_host_left_are_measured_whole_by_its_like(lab):
    plan = plan_of(6)
    oak, elm = Scripted("oak", lost_in=4, answers=False), Scripted("elm")
    events = lab.run([oak, elm], shared(lab, plan, oak, elm))
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.host, lost.cell) == ("oak", oak.launched[4].cell)
    (moved,) = (event for event in events if isinstance(event, Moved))
    (run_id,) = lab.moved
    assert (moved.lost, moved.host, moved.run_id, moved.rows) == ("oak", "elm", run_id, 2)
    done = {record.variant_id for store in lab.stores for record in store.records()}
    assert done == {each.cell.variant_id for each in plan.cells}
    (first, _, third) = lab.stores
    finished = {record.variant_id for record in first.records() if record.cell.scenario.name == "latency"}
    assert finished.isdisjoint(record.variant_id for record in third.records())
    again = Counter(record.cell.scenario.name for record in third.records())
    assert again == {"prove": 2, "latency": 2}


def test_another_kind_of_host_stands_in_for_none(lab):
    plan = plan_of(2)
    oak, elm = Scripted("oak", lost_in=1), Scripted("elm")
    errands = [lab.errand("oak", plan), lab.errand("elm", plan)]
    events = lab.run([oak, elm], errands, kinds={"oak": "one", "elm": "other"})
    (left,) = (event for event in events if isinstance(event, Unmeasured))
    assert (left.host, left.rows) == ("oak", 2)
    assert len(elm.launched) == 4
    assert lab.moved == {}


def test_a_host_that_had_nothing_to_do_takes_over(lab):
    oak, elm = Scripted("oak", lost_in=0), Scripted("elm")
    events = lab.run([oak, elm], [lab.errand("oak", plan_of(1))])
    assert kinds_of(events)["Moved"] == 1
    assert len(elm.launched) == 2


def test_what_was_moved_moves_again_with_its_host(lab):
    plan = plan_of(3)
    hosts = [Scripted("ash", lost_in=1), Scripted("elm", lost_in=3), Scripted("oak")]
    lab.run(hosts, [lab.errand("ash", plan)])
    done = completed(lab.stores[-1].records()) + completed(lab.stores[1].records())
    assert {variant for variant, _ in done}
    measured = {record.variant_id for record in lab.records() if record.cell.scenario.name == "latency"}
    assert measured == {each.cell.variant_id for each in plan.cells}


def test_a_cell_in_which_two_hosts_were_lost_is_tried_on_no_third(lab):
    plan = plan_of(1)
    hosts = [Scripted("ash", lost_in=0, answers=False), Scripted("elm", lost_in=0, answers=False), Scripted("oak")]
    lab.run(hosts, [lab.errand("ash", plan)])
    assert hosts[2].launched == []
    first = lab.stores[-1].records()[0]
    assert isinstance(first.outcome, Failed)
    assert (first.outcome.kind, first.outcome.message) == ("crashed", "hosts were lost 2 times while they measured it")


def test_hosts_that_were_lost_before_a_resume_are_counted_too(lab):
    plan = plan_of(1)
    hosts = [Scripted("ash", lost_in=0, answers=False), Scripted("elm")]
    prove = plan.cells[0].cell.cell_id
    lab.run(hosts, [lab.errand("ash", plan)], blamed={prove: 1})
    assert hosts[1].launched == []


def test_a_host_that_refuses_to_begin_is_told_of_by_its_reason(lab):
    oak = Scripted("oak")

    def refuse(manifest, terms):
        raise FleetError("oak: its hardware is another now")

    oak.begin = refuse
    lost, left = lab.run([oak], [lab.errand("oak", plan_of(1))])
    assert (lost.reason, lost.cell) == ("oak: its hardware is another now", None)
    assert isinstance(left, Unmeasured)


@pytest.mark.parametrize(
    ("wrong", "files", "said"),
    [
        ({"cell_id": "another"}, {}, "was asked for w/fake/fp32/cpu/b1/t1/prove"),
        ({"run_id": "another"}, {}, "gave another"),
        ({"duration_ns": "long"}, {}, "gave what is no record"),
        ({}, {"../../escaped": b"x"}, "is no file of a run folder"),
        ({}, {"/tmp/escaped": b"x"}, "is no file of a run folder"),
        ({}, {"records.jsonl": b""}, "is no file of a run folder"),
        ({}, {"samples/../manifest.json": b"{}"}, "is no file of a run folder"),
        ({}, {"logs/..": b""}, "is no file of a run folder"),
        ({}, {"logs/of-another-launch.log": b"x"}, "which its record does not refer to"),
        ({"samples": SAMPLES}, {SAMPLES.path: b"rotten"}, "gave samples/x.npz otherwise than its record says"),
        ({"samples": SAMPLES}, {}, "gave samples/x.npz otherwise than its record says"),
    ],
)
def test_an_answer_that_is_none_is_not_filed(lab, wrong, files, said):
    oak = Scripted("oak", wrong=wrong, files=files)
    events = lab.run([oak], [lab.errand("oak", plan_of(1))])
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert said in lost.reason
    assert lab.records() == []
    assert not list(lab.folder.rglob("escaped"))


# --- a budget ----------------------------------------------------------------------------------------------------


def budget(seconds, launches=20):
    return Budget(f"{seconds}s", float(seconds), launches)


def slow(name, **other):
    """Return a host each of whose launches takes a second, and times a thing that varies."""
    return Scripted(name, wrong={"duration_ns": 10**9}, values=(100, 90, 110, 105), **other)


def spent_s(records):
    return sum(record.duration_ns for record in records) / 1e9


def test_every_host_spends_the_budget_on_its_share(lab):
    plan = plan_of(4, launches=5)
    oak, elm = slow("oak"), slow("elm")
    lab.run([oak, elm], shared(lab, plan, oak, elm, budget=budget(15)))
    for store in lab.stores:
        assert spent_s(store.records()) == 15.0
        launches = Counter(cell_id for cell_id, _ in completed(store.records()))
        assert launches.keys() == {planned.cell.cell_id for planned in store.plan.cells}
        proofs, timed = sorted(launches.values())[:2], sorted(launches.values())[2:]
        assert proofs == [1, 1]
        assert min(timed) >= 2
        assert sum(timed) == 13  # and not the 10 of the plan


def test_what_a_budget_does_not_hold_is_told_and_not_asked_for(lab):
    oak = slow("oak")
    events = lab.run([oak], [lab.errand("oak", plan_of(4), budget=budget(6))])
    skipped = [record for record in lab.records() if isinstance(record.outcome, Skipped)]
    assert [record.outcome.reason for record in skipped] == ["not run: the budget of 6s was spent"] * 2
    assert len(oak.launched) == spent_s(lab.records()) == 6
    assert kinds_of(events) == {"Started": 8, "Finished": 8, "Ended": 1}


def test_a_budget_is_not_spent_anew_by_a_resume(lab):
    errand = lab.errand("oak", plan_of(2), budget=budget(12))
    oak = slow("oak", lost_in=7, answers=True)
    lab.run([oak], [errand])
    assert spent_s(lab.records()) == 7.0
    oak.gone = False
    oak.lost_in = None
    events = lab.run([oak], [errand])
    assert kinds_of(events)["Recovered"] == 1
    assert spent_s(lab.records()) == len(oak.launched) == 12
    assert len(completed(lab.records())) == 12


@pytest.mark.parametrize(("lost_in", "rows"), [(4, 3), (8, 1), (9, 0)])
def test_a_lost_host_leaves_the_rows_that_lack_their_first_launches(lab, lost_in, rows):
    """Three proofs, then two launches of each, then whatever the budget buys."""
    oak, elm = slow("oak", lost_in=lost_in, answers=False), slow("elm")
    events = lab.run([oak, elm], [lab.errand("oak", plan_of(3, launches=2), budget=budget(20))])
    assert sum(event.rows for event in events if isinstance(event, Moved)) == rows
    assert not any(isinstance(event, Unmeasured) for event in events)
    assert len(elm.launched) == (20 if rows else 0)
    timed = Counter(cell_id for cell_id, _ in completed(lab.records()))
    assert all(timed[each.cell.cell_id] >= each.launches for each in plan_of(3, launches=2).cells)


def test_what_is_left_of_a_budget_is_time(lab):
    oak, elm = slow("oak"), slow("elm")
    dispatch = lab.dispatch([oak, elm], shared(lab, plan_of(2), oak, elm, budget=budget(9)))
    assert dispatch.left_s("oak") == dispatch.left_s("elm") == 9.0
    with closing(dispatch.run()) as events:
        next(event for event in events if isinstance(event, Finished))
        assert dispatch.left_s("oak") + dispatch.left_s("elm") == 17.0
        list(events)
    assert dispatch.left_s("oak") == dispatch.left_s("elm") == 0.0


# --- the client --------------------------------------------------------------------------------------------------


def test_a_client_that_was_ended_finds_what_was_measured_meanwhile(lab):
    plan = plan_of(2)
    oak, elm = Scripted("oak", pause=threading.Event()), Scripted("elm", pause=threading.Event())
    errands = shared(lab, plan, oak, elm)
    with closing(lab.dispatch([oak, elm], errands).run()) as events:
        begun = [next(events), next(events)]
    assert all(isinstance(event, Started) for event in begun)
    before = threading.enumerate()
    for host in (oak, elm):
        host.pause.set()
    for thread in before:
        if thread.name.startswith("fleet "):
            thread.join(60)
    assert lab.records() == []  # whoever asked is gone: nothing is filed behind its back
    assert (len(oak.launched), len(elm.launched)) == (1, 1)

    events = lab.run([oak, elm], errands)
    assert kinds_of(events)["Recovered"] == 2
    assert completed(lab.records()) == {(slot.cell_id, slot.index): 1 for slot in plan.order}
    assert len(oak.launched) + len(elm.launched) == len(plan.order)


def test_a_launch_that_never_came_back_is_asked_for_as_the_same_attempt(lab):
    oak = Scripted("oak", lost_in=0, answers=False)
    errand = lab.errand("oak", plan_of(1))
    lab.run([oak], [errand])
    oak.gone, oak.lost_in = False, None
    lab.run([oak], [errand])
    assert [step.launch.attempt for step in oak.launched] == [0, 0, 0]
    assert [step.cell.scenario.name for step in oak.launched] == ["prove", "prove", "latency"]


def test_an_answer_that_is_here_already_is_not_filed_twice(lab):
    oak = Scripted("oak")
    errand = lab.errand("oak", plan_of(1))
    lab.run([oak], [errand])
    step = oak.launched[0]
    # As if the host told it in other words: the launch is the same.
    oak.made[errand.store.run_id]["0123456789abcdef"] = oak.packed(errand.store.run_id, step)
    events = lab.run([oak], [errand])
    assert kinds_of(events) == {"Recovered": 1, "Ended": 1}
    assert len(errand.store.records()) == 2


def test_a_full_disk_here_is_no_hosts_fault(lab, monkeypatch):
    oak, elm = Scripted("oak"), Scripted("elm")
    errands = shared(lab, plan_of(2), oak, elm)

    def full(_self, record):
        raise StoreError("no space left")

    monkeypatch.setattr(RunStore, "finished", full)
    with pytest.raises(StoreError, match="no space left"):
        lab.run([oak, elm], errands)
    with pytest.raises(StoreError, match="no space left"):
        lab.run([oak], [errands[0]])


def test_an_interrupt_of_the_one_host_is_passed_on(lab):
    def interrupt():
        raise KeyboardInterrupt

    oak = Scripted("oak", during=interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.run([oak], [lab.errand("oak", plan_of(1))])


@pytest.mark.parametrize("count", [1, 2])
def test_a_word_about_a_connection_comes_in_its_turn(lab, count):
    hosts = [Scripted(name) for name in ("oak", "elm")[:count]]
    dispatch = lab.dispatch(hosts, shared(lab, plan_of(2), *hosts))
    dispatch.noted("oak is silent")
    with closing(dispatch.run()) as events:
        assert Noted("oak is silent") in list(events)


def test_how_much_is_left_shrinks_to_nothing(lab):
    oak, elm = Scripted("oak"), Scripted("elm")
    dispatch = lab.dispatch([oak, elm], shared(lab, plan_of(4), oak, elm))
    assert dispatch.left_s("oak") == dispatch.left_s("elm") == 4.0
    with closing(dispatch.run()) as events:
        assert any(isinstance(event, Ended) for event in events)
        list(events)
    assert dispatch.left_s("oak") == dispatch.left_s("elm") == 0.0
