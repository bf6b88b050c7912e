"""A network that loses every packet for 30 s, really: nothing is lost, nothing is made twice, no host is given up.

Scheduler, host and client are in networks of their own, and the scheduler's cable is pulled in the middle of a launch:
neither end of any connection is told, and all that TCP sends meanwhile is lost.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from harness.vocabulary import Completed
from results.fleets import LOST, FleetRun

CUT_S = 30.0
SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], threads: [1, 2], scenario: [latency]}
preset: quick
launches: 1
options: {fake: {load_ms: 2000, asleep: true}}
"""


@pytest.fixture(scope="module")
def cut(make_lab, make_switch, wait_until):
    switch = make_switch("scheduler", "oak", "client")
    lab = make_lab("oak", address=switch.address_of["scheduler"], port=8786)
    (lab.folder / "model.json").write_text(json.dumps({"outputs": {"scores": [10]}}))
    (lab.folder / "suite.yaml").write_text(SUITE)
    scheduler = lab.scheduler(at=switch.at("scheduler"))
    oak = lab.worker("oak", at=switch.at("oak"), engines=["fake"])
    client = lab.command("run", "suite.yaml", "--fleet", lab.fleet.name, at=switch.at("client"))
    wait_until(lambda: lab.made("oak") and lab.is_launching("oak"), "second launch", client, oak, scheduler)
    switch.unplug("scheduler")
    at_s, before = time.monotonic(), lab.made("oak")
    wait_until(lambda: lab.made("oak") > before, "end of the launch that was running", oak)
    time.sleep(max(0.0, at_s + CUT_S - time.monotonic()))
    meanwhile = (len(lab.runs[0].records()), lab.made("oak"))
    switch.plug("scheduler")
    code, said = client.ended()
    return SimpleNamespace(lab=lab, oak=oak, before=before, meanwhile=meanwhile, code=code, said=said)


def test_nothing_comes_through_and_the_host_ends_its_launch(cut):
    here, there = cut.meanwhile
    assert there == cut.before + 1  # and nothing further: nobody can ask for it
    assert here <= cut.before


def test_the_run_goes_on_as_if_nothing_had_been(cut):
    assert cut.code == 0, cut.said
    (store,) = cut.lab.runs
    measured = Counter(record.cell_id for record in store.records() if isinstance(record.outcome, Completed))
    assert measured == {planned.cell.cell_id: 1 for planned in store.plan.cells}
    store.check()
    assert store.damage == ()


def test_no_launch_is_made_twice_and_every_one_is_here(cut):
    attempts = Counter((each.cell_id, each.launch) for each in cut.lab.attempts("oak"))
    assert set(attempts.values()) == {1}
    assert [store.digests() for store in cut.lab.held("oak")] == [store.digests() for store in cut.lab.runs]


def test_tcp_alone_outlives_it(cut):
    (place,) = (cut.lab.folder / "runs").glob("fleet-*")
    run = FleetRun.open(place.name, cut.lab.folder / "runs")
    assert [each for each in run.happenings if each.kind == LOST] == []
    assert "is gone" not in cut.oak.said
