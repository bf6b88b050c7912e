"""Two clients on the hosts of one fleet: launches take turns, and each client has what it asked for, once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest

from harness.vocabulary import Completed
from results.store import RunStore, runs_in

HOSTS = ("ash", "birch")
SUITE = """
version: 1
workloads:
  toy: {{source: {{file: model.json, format: fake-script}}, task: raw, input: [3, 8, 8]}}
matrix: {{engine: [fake], threads: {threads}, scenario: [latency]}}
preset: quick
launches: 1
options: {{fake: {{load_ms: 200, asleep: true}}}}
"""
LONG, SHORT = list(range(1, 101)), list(range(1, 5))  # rows; the long one is interrupted


@pytest.fixture(scope="module")
def clients(make_lab, wait_until):
    """A client that measures for long, and another that comes and ends meanwhile."""
    lab = make_lab(*HOSTS)
    (lab.folder / "model.json").write_text(json.dumps({"outputs": {"scores": [10]}}))
    lab.scheduler()
    for host in [lab.worker(name, wait=False, engines=["fake"]) for name in HOSTS]:
        host.says("is registered at")

    def client(name, rows):
        (lab.folder / f"{name}.yaml").write_text(SUITE.format(threads=rows))
        words = ("run", f"{name}.yaml", "--fleet", lab.fleet.name, "--runs", name)
        return lab.command(*words, log=f"{name}.log")

    def made_more(process):
        for host in HOSTS:
            before = lab.made(host)
            wait_until(lambda host=host, before=before: lab.made(host) > before + 1, f"launches on {host}", process)

    long = client("long", LONG)
    made_more(long)
    short_ended = client("short", SHORT).ended()
    made_more(long)
    long.kill(signal.SIGTERM)
    stores = {name: [RunStore.open(run) for run in runs_in(lab.folder / name)] for name in ("long", "short")}
    return SimpleNamespace(lab=lab, stores=stores, long=long.ended(), short=short_ended)


def test_the_one_that_came_later_has_all_it_asked_for_once(clients):
    code, said = clients.short
    assert code == 0, said
    measured = Counter(
        record.cell.threads
        for store in clients.stores["short"]
        for record in store.records()
        if record.cell.scenario.name == "latency" and isinstance(record.outcome, Completed)
    )
    assert measured == dict.fromkeys(SHORT, 1)


def test_the_one_that_is_interrupted_says_how_to_go_on_and_its_records_are_whole(clients):
    code, said = clients.long
    assert code == 2, said
    assert "interrupted; continue with: harness run --resume fleet-" in " ".join(said.split())
    for store in clients.stores["long"]:
        store.check()
        assert store.damage == ()


def test_no_two_launches_of_any_client_overlap_on_a_host(clients):
    for host in HOSTS:
        launches = sorted(
            (datetime.fromisoformat(record.started_at), timedelta(microseconds=record.duration_ns / 1000), whose)
            for whose, stores in clients.stores.items()
            for store in stores
            if store.manifest["fleet"]["host"] == host
            for record in store.records()
            if record.duration_ns
        )
        for (start, lasted, _), (following, _, _) in pairwise(launches):
            assert start + lasted <= following + timedelta(milliseconds=1)  # a beginning is told in milliseconds
        turns = [whose for _, _, whose in launches]
        assert turns.index("short") > turns.index("long")
        assert "long" in turns[turns.index("short") :]  # they were there at the same time
