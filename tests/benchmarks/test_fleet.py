"""The benchmark of a fleet at a fraction of its size: what it makes and counts. Nothing is judged by time."""

import pytest

pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[fleet]'")

from benchmarks import fleet, fleet_plan
from benchmarks.launch import bytecode_kept
from harness.errors import HarnessError


def test_a_large_plan_is_filed_whole_by_its_client(tmp_path):
    told = fleet_plan.measured(tmp_path, rows=12, hosts=2)
    assert told["cells"] == 24
    assert told["launches"] >= 24
    assert told["peak_bytes"] > 2**20
    assert min(told[name] for name in ("planned_s", "planned_cpu_s", "made_s", "made_cpu_s")) > 0


def test_launches_that_are_not_filed_are_no_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(fleet_plan.ScriptedHost, "launch", lambda *_: (_ for _ in ()).throw(HarnessError("no")))
    with pytest.raises(HarnessError):
        fleet_plan.measured(tmp_path, rows=2, hosts=2)


def test_pairs_and_shares_come_from_a_fleet_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(fleet, "_ASLEEP", "options: {fake: {load_ms: 50, asleep: true}}\n")
    with bytecode_kept(tmp_path / "bytecode"), fleet._hosts(tmp_path, 2) as hosts:
        remote_ms, local_ms = fleet._pairs(tmp_path, hosts[0], 2)
        took_s, ideal_s = fleet._shared(tmp_path, hosts, rows=2, times=1)
    assert remote_ms.shape == local_ms.shape == (2,)
    assert min(*remote_ms, *local_ms) > 0
    assert len(took_s) == 1
    assert took_s[0] > 0.05 * 4 / 2
    assert ideal_s > 0.05 * 4 / 2
