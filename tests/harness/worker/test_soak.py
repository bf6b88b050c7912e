"""A soak in this process, shortened, with the fake engine."""

import gc
import json
import threading

import numpy as np
import pytest

from harness import jobs, scenarios
from harness.measure.samples import Samples
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec
from harness.worker import launch as launching
from harness.worker.scenarios import opened, soak
from harness.worker.stage import Stages


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(scenarios.SoakSettings, "__post_init__", lambda _: None)  # as short as a test may be
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [1, 5]}]}))
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 2))
    given, gives = TensorSpec("input", "float32", (1, 3, 4, 4)), TensorSpec("scores", "float32", (1, 5))
    return jobs.LaunchJob(
        engine="engines.fake:FakeEngine",
        artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,)),
        session=jobs.SessionSpec("cpu", Precision.FP32, 1, None, 3, Goal.THROUGHPUT, strict=False),
        scenario="soak",
        parameters={"seconds": 0.2},
        task={"name": "raw"},
        inputs=jobs.Inputs(tmp_path, "hash of the inputs", 2),
        reference=None,
        limits=jobs.Limits(8, 0.02, 0.1, warmup_s=0.0),
        samples=tmp_path / "samples.npz",
    )


def test_every_stream_is_driven_for_the_whole_time(job, tmp_path):
    answer = launching.launch(job, Stages(tmp_path / "stage"))
    steady = Samples.load(job.samples).steady()
    assert answer.timing.streams == 3
    assert set(steady.stream) == {0, 1, 2}
    assert answer.timing.steady_iterations == len(steady), "nothing was thinned"
    assert answer.timing.steady_ns >= 0.2e9
    assert answer.timing.stop_reason == "max_time"
    assert answer.samples_rows == answer.timing.warmup_iterations + len(steady)


def test_a_soak_that_outgrows_its_room_is_thinned_and_counts_on(job, tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "ROWS", 3 * 64)
    answer = launching.launch(job, Stages(tmp_path / "stage"))
    samples = Samples.load(job.samples)
    steady = samples.steady()
    each = [int(np.count_nonzero(steady.stream == stream)) for stream in range(3)]
    assert len(samples) <= 3 * 64
    # Each stream's first inference has a row, so that a last row may stand for one inference alone.
    assert answer.timing.steady_iterations >= 2 * (len(steady) - 3)
    assert answer.timing.steady_iterations > len(steady)
    assert answer.timing.steady_ns >= 0.19e9, "it went on to the end"
    weight = answer.timing.steady_iterations / len(steady)
    assert weight == pytest.approx(2 ** round(np.log2(weight)), rel=0.1), "each row stands for as many as any other"
    assert min(each) > 0


def test_garbage_is_collected_as_in_service(job, tmp_path, monkeypatch):
    seen = []
    warm = opened.warm
    monkeypatch.setattr(opened, "warm", lambda *given: (seen.append(gc.isenabled()), warm(*given))[1])
    launching.launch(job, Stages(tmp_path / "stage"))
    assert seen == [True] * 3


def test_noise_is_read_around_the_steady_phase(job, tmp_path, monkeypatch):
    order, alive = [], []
    before = threading.active_count()
    watch, warm = soak.NoiseWatch, opened.warm

    class Watch(watch):
        def start(self):
            order.append("watch")
            super().start()

        def stop(self):
            alive.append(threading.active_count())
            return super().stop()

    monkeypatch.setattr(soak, "NoiseWatch", Watch)
    monkeypatch.setattr(opened, "warm", lambda *given: (order.append("warm"), warm(*given))[1])
    answer = launching.launch(job, Stages(tmp_path / "stage"))
    assert order == ["warm", "warm", "warm", "watch"]
    assert alive == [before + 3]  # read while the threads of all streams live
    assert "run_queue_wait" in answer.noise
