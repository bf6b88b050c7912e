"""The watch over the resident set in a memory launch: with an engine that keeps bytes, and with one that does not."""

import json
import mmap
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from engines.fake import FakeEngine, FakeSession, FakeStream
from harness import jobs
from harness.measure import memory
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec
from harness.worker import launch as launching
from harness.worker.stage import Stages
from results.scenarios.growth import growth

KEPT = 8 * 1024
"""Bytes that the leaking engine keeps of each inference: 8 MiB over a thousand, in pages of its own.

What an allocator hands out may be what other tests gave back, and then nothing grows.
"""


@pytest.fixture
def leaking(monkeypatch):
    """The import path of an engine whose streams keep bytes of every inference."""

    class LeakingStream(FakeStream):
        def __init__(self, session):
            super().__init__(session)
            self.kept = []

        def run(self):
            super().run()
            self.kept.append(mmap.mmap(-1, KEPT))
            self.kept[-1].write(bytes(KEPT))

    class LeakingSession(FakeSession):
        def stream(self):
            return LeakingStream(self)

    class LeakingEngine(FakeEngine):
        def load(self, artifact, config):
            return LeakingSession(artifact, config, self._clock)

    module = ModuleType("leaking_engine")
    module.LeakingEngine = LeakingEngine
    monkeypatch.setitem(sys.modules, "leaking_engine", module)
    return "leaking_engine:LeakingEngine"


@pytest.fixture
def job(tmp_path):
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [1, 5]}]}))
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 2))
    given, gives = TensorSpec("input", "float32", (1, 3, 4, 4)), TensorSpec("scores", "float32", (1, 5))
    return jobs.LaunchJob(
        engine="engines.fake:FakeEngine",
        artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,)),
        session=jobs.SessionSpec("cpu", Precision.FP32, 1, None, 1, Goal.LATENCY, strict=False),
        scenario="memory",
        parameters={},
        task={"name": "raw"},
        inputs=jobs.Inputs(tmp_path, "hash of the inputs", 2),
        reference=None,
        limits=jobs.Limits(8, 0.02, 30.0, warmup_s=0.0, growth_iterations=1000),
        samples=tmp_path / "samples.npz",
    )


def watched(job, tmp_path):
    return launching.launch(job, Stages(tmp_path / "stage")).memory.growth


def test_the_resident_set_is_read_about_every_hundredth_inference(job, tmp_path):
    counts, levels = zip(*watched(job, tmp_path), strict=True)
    assert counts == tuple(range(10, 1001, 10))
    assert min(levels) > 0


@pytest.mark.parametrize(("asked", "readings"), [(100, 100), (150, 150), (999, 111)])
def test_all_that_is_asked_is_run_with_at_least_fifty_readings(job, tmp_path, asked, readings):
    found = watched(replace(job, limits=replace(job.limits, growth_iterations=asked)), tmp_path)
    assert found[-1][0] == asked
    assert len(found) == readings


def test_nothing_is_watched_where_nothing_is_asked(job, tmp_path):
    assert watched(replace(job, limits=replace(job.limits, growth_iterations=0)), tmp_path) == ()


def test_a_slow_model_is_watched_as_long_as_the_phase_may_take(job, tmp_path):
    slow = replace(job.session, options={"latency_us": 5000.0, "asleep": True})
    limits = replace(job.limits, minimum_iterations=4, maximum_s=0.6)
    found = watched(replace(job, session=slow, limits=limits), tmp_path)
    assert 0 < found[-1][0] < 1000


def test_the_watch_comes_after_the_peak(job, tmp_path, monkeypatch):
    order = []
    peak, resident = memory.peak_bytes, memory.resident_bytes
    monkeypatch.setattr(memory, "peak_bytes", lambda: (order.append("peak"), peak())[1])
    monkeypatch.setattr(memory, "resident_bytes", lambda: (order.append("resident"), resident())[1])
    watched(job, tmp_path)
    assert order[:5] == ["resident"] * 4 + ["peak"]
    assert order[5:] == ["resident"] * 100


def test_an_engine_that_keeps_bytes_is_found_out(job, tmp_path, leaking):
    readings = watched(replace(job, engine=leaking), tmp_path)
    found = growth([SimpleNamespace(memory=SimpleNamespace(growth=readings))])
    assert found.leaks
    assert found.bytes_per_inference.estimate == pytest.approx(KEPT, rel=0.1)


def test_an_engine_that_keeps_nothing_is_not(job, tmp_path):
    found = growth([SimpleNamespace(memory=SimpleNamespace(growth=watched(job, tmp_path)))])
    assert not found.leaks
    assert found.inferences == 1000
