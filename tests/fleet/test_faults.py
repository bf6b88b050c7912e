"""One suite of over 200 cells on four hosts while all that can be lost is lost: nothing measured is, or is there twice.

Three hosts are of one kind and offer the fake engine, the fourth is another machine and offers ONNX Runtime. While they
measure, one is cut off for 30 s, one is killed in a launch and started again, the scheduler is killed and started
again, the client is killed and resumed, and one host is lost for ever.
"""

from __future__ import annotations

import html
import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from harness.tiny_model import TINY_ONNX
from harness.vocabulary import Completed
from results import fleets

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.timeout(600)  # the fixture that all of them share takes minutes where the machine is busy

CUT_S = 30.0
ROWS = 52  # of each of the two precisions
SUITE = f"""
version: 1
workloads:
  toy: {{source: {{file: model.json, format: fake-script}}, task: raw, input: [3, 8, 8]}}
  tiny: {{source: {{onnx: tiny_model.onnx}}, task: raw, input: [3, 16, 16]}}
matrix:
  workload: [toy]
  engine: [fake]
  precision: [fp32, fp16]
  threads: [{", ".join(map(str, range(1, ROWS + 1)))}]
  scenario: [latency]
include:
  - {{workload: [tiny], engine: [onnxruntime], precision: [fp32], threads: [1, 2]}}
preset: quick
launches: 1
options: {{fake: {{load_ms: 500, asleep: true}}}}
"""
SHARED, ALONE = ("ash", "birch", "cedar"), "oak"
HOSTS = (*SHARED, ALONE)


@dataclass
class Facts:
    """What was seen on the way."""

    lab: object
    fleet: str = ""
    lost: dict[str, object] = field(default_factory=dict)  # by host, the attempt that it was killed in
    during_cut: int = 0  # launches that the others made meanwhile
    ended: int = -1
    said: str = ""

    @property
    def run(self):
        """The run of the fleet, as its folder says."""
        return fleets.FleetRun.open(self.fleet, self.lab.folder / "runs")

    @property
    def stores(self):
        """The runs that it is made of, by id."""
        ours = {part.run_id for part in self.run.runs}
        return {store.run_id: store for store in self.lab.runs if store.run_id in ours}

    def records(self, *hosts):
        """What the client has of some hosts, or of all."""
        chosen = hosts or HOSTS
        stores = [store for store in self.stores.values() if store.manifest["fleet"]["host"] in chosen]
        return [record for store in stores for record in store.records()]


def killed_in_a_launch(lab, process, name, wait_until, **asked):
    """Kill a host in the middle of a launch; return the attempt that never ended."""
    for _ in range(20):
        wait_until(lambda: lab.is_launching(name), f"launch on {name}", process)
        last = lab.attempts(name)[-1]
        process.kill()
        if not lab.attempts(name)[-1].ended:
            return last
        process = lab.worker(name, **asked)  # it ended a moment before
    raise AssertionError(f"{name} was never in a launch when it was killed")


@pytest.fixture(scope="module")
def facts(make_lab, wait_until):
    lab = make_lab(*HOSTS)
    (lab.folder / "model.json").write_text(json.dumps({"outputs": {"scores": [10]}}))
    shutil.copy(TINY_ONNX, lab.folder / "tiny_model.onnx")
    (lab.folder / "suite.yaml").write_text(SUITE)
    seen = Facts(lab)
    fake = {"engines": ["fake"]}
    scheduler = lab.scheduler()
    ash, birch = (lab.worker(name, wait=False, **fake) for name in ("ash", "birch"))
    oak = lab.worker(ALONE, wait=False, engines=["onnxruntime"], memory_gib=4096)
    _, wires = lab.wired("cedar", **fake)
    for process in (ash, birch, oak):
        process.says("is registered at")
    client = lab.command("run", "suite.yaml", "--fleet", lab.fleet.name)

    def goes_on(*names):
        for name in names:
            before = lab.made(name)
            wait_until(lambda name=name, before=before: lab.made(name) > before, f"further launches on {name}", client)

    wait_until(lambda: all(lab.made(name) > 2 for name in SHARED), "launches on all", client)
    seen.fleet = next(path.parent.name for path in (lab.folder / "runs").glob(f"*/{fleets.FLEET}"))

    for wire in wires:
        wire.cut()
    cut_at, before = time.monotonic(), lab.made("ash", "birch")
    seen.lost["ash"] = killed_in_a_launch(lab, ash, "ash", wait_until, **fake)
    ash = lab.worker("ash", **fake)
    goes_on("ash", "birch")
    time.sleep(max(0.0, cut_at + CUT_S - time.monotonic()))
    seen.during_cut = lab.made("ash", "birch") - before
    for wire in wires:
        wire.mend()
    goes_on("cedar")

    scheduler.kill()
    lab.scheduler()
    goes_on(*SHARED)

    wait_until(lambda: lab.is_launching("ash"), "launch on ash", client)
    client.kill()
    wait_until(lambda: not any(map(lab.is_launching, HOSTS)), "end of what was asked for")

    lab.write_fleet(patience="5s")
    client = lab.command("run", "--resume", seen.fleet, "--fleet", lab.fleet.name)
    goes_on("birch")
    seen.lost["birch"] = killed_in_a_launch(lab, birch, "birch", wait_until, **fake)
    seen.ended, seen.said = client.ended(400)
    return seen


def test_the_run_ends_well(facts):
    assert facts.ended == 0, facts.said


def test_every_cell_is_measured_by_some_host_of_its_kind(facts):
    completed = {record.cell_id for record in facts.records() if isinstance(record.outcome, Completed)}
    planned = {
        planned.cell.cell_id: planned.cell
        for store in facts.stores.values()
        for planned in store.plan.cells
        if planned.skipped is None and planned.cell.scenario.name != "sentinel"
    }
    assert len(planned) >= 200
    assert completed >= planned.keys()
    assert {cell.engine for cell in planned.values()} == {"fake", "onnxruntime"}
    alone = {record.cell.engine for record in facts.records(ALONE) if isinstance(record.outcome, Completed)}
    assert alone == {"onnxruntime"}


def test_no_two_launches_overlap_on_a_host(facts):
    together = 0
    for host in HOSTS:
        launches = sorted(
            (datetime.fromisoformat(record.started_at), timedelta(microseconds=record.duration_ns / 1000))
            for record in facts.records(host)
            if record.duration_ns
        )
        together += len(launches)
        for (start, lasted), (following, _) in pairwise(launches):
            assert start + lasted <= following + timedelta(milliseconds=1)  # a beginning is told in milliseconds
    assert together >= 200


def test_what_a_host_measured_is_here(facts):
    here = {digest for store in facts.stores.values() for digest in store.digests()}
    for host in HOSTS:
        held = [digest for store in facts.lab.held(host) for digest in store.digests()]
        assert held, host
        missing = [digest for digest in held if digest not in here]
        # What the lost one stored at its very end was never told to anybody.
        assert len(missing) <= (host == "birch"), host


def test_nothing_is_measured_twice(facts):
    parts = {part.run_id: part for part in facts.run.runs}
    moved = {
        planned.cell.cell_id
        for run_id, store in facts.stores.items()
        if parts[run_id].taken_from
        for planned in store.plan.cells
    }
    seen = Counter(
        (record.cell_id, record.launch.index, record.run_id if record.cell_id in moved else "")
        for record in facts.records()
        if isinstance(record.outcome, Completed) and record.cell.scenario.name != "sentinel"
    )
    assert [key for key, count in seen.items() if count > 1] == []


def test_files_of_records_are_whole(facts):
    for store in facts.stores.values():
        store.check()
        assert store.damage == ()


def test_a_launch_that_a_worker_was_killed_in_is_made_again(facts):
    lost = facts.lost["ash"]
    begun = [each for each in facts.lab.attempts("ash") if (each.cell_id, each.launch) == (lost.cell_id, lost.launch)]
    assert len(begun) == 2
    again = [record.outcome for record in facts.records("ash") if record.cell_id == lost.cell_id]
    assert again == [Completed()]


def test_others_go_on_while_a_host_is_cut_off_and_it_comes_back(facts):
    assert facts.during_cut > 5
    assert [each for each in facts.run.happenings if each.kind == fleets.LOST and each.host == "cedar"] == []


def test_rows_of_a_host_that_is_lost_for_ever_are_measured_by_its_like(facts):
    happened = {each.kind: each for each in facts.run.happenings}
    assert happened[fleets.LOST].host == "birch"
    assert happened[fleets.LOST].cell_id == facts.lost["birch"].cell_id
    taken = [part for part in facts.run.runs if part.taken_from]
    assert {part.host for part in taken} <= {"ash", "cedar"}
    assert facts.lost["birch"].cell_id in {
        planned.cell.cell_id for part in taken for planned in facts.stores[part.run_id].plan.cells
    }


def test_the_report_says_what_happened(facts):
    page = html.unescape((facts.run.folder / "report.html").read_text(encoding="utf-8"))
    kinds = {each.kind for each in facts.run.happenings}
    assert {fleets.LOST, fleets.MOVED, fleets.RESUMED} <= kinds
    for happening in facts.run.happenings:
        assert happening.text in page
    machines = {store.manifest["host"]["hw_id"] for store in facts.stores.values()}
    assert len(machines) == 2
    assert all(f"#{hw_id[:4]}" in page for hw_id in machines)  # of one processor, told apart by their ids


def test_hosts_keep_nothing_that_the_client_has(facts):
    for host in ("ash", "cedar", "oak"):
        assert list((facts.lab.folder / "hosts" / host / "state" / "runs").glob("[0-9A-Z]*")) == []
