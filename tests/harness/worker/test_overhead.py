"""The overhead of every scenario that has a loop of its own, as a report takes it."""

import pytest

from harness.errors import EngineUnavailable
from harness.jobs import OverheadJob
from harness.scenarios import KINDS
from harness.worker import overhead
from harness.worker.stage import Stages


@pytest.fixture
def stages(tmp_path):
    return Stages(tmp_path / "stage")


def test_one_stream_is_always_told(stages):
    answer = overhead.overhead(OverheadJob(1000), stages)
    assert answer.per_iteration_ns > 0
    assert (answer.by_streams, answer.by_scenario) == ({}, {})


def test_streams_and_scenarios_are_told_where_they_are_asked(stages):
    answer = overhead.overhead(
        OverheadJob(500, streams=(1, 2), scenarios=("latency", "end_to_end", "server", "soak"), seconds=0.05), stages
    )
    assert set(answer.by_streams) == {"1", "2"}
    assert set(answer.by_scenario) == {"end_to_end", "server", "soak"}
    assert all(value > 0 for value in (*answer.by_streams.values(), *answer.by_scenario.values()))


def test_a_camera_is_told():
    assert 0 < overhead.camera(0.1) < 1e9


def test_loadgen_is_left_out_where_it_is_absent(stages, monkeypatch):
    def absent(_):
        raise EngineUnavailable("no LoadGen")

    monkeypatch.setitem(overhead.OF_SCENARIO, "mlperf", absent)
    assert overhead.overhead(OverheadJob(100, scenarios=("mlperf",)), stages).by_scenario == {}


def test_loadgen_drives_the_null_stream():
    pytest.importorskip("mlperf_loadgen")
    assert overhead.mlperf(0.05) > 0


def test_every_timed_scenario_has_an_overhead():
    of_streams = {"latency", "sentinel", "throughput"}
    assert {name for name, kind in KINDS.items() if kind.timed} == of_streams | set(overhead.OF_SCENARIO)
