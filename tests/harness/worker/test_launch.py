"""What a launch holds while it is measured, in this process with the fake engine."""

import json
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from harness import jobs
from harness.errors import HarnessError, NotAsAsked
from harness.measure import memory
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec
from harness.worker import launch as launching
from harness.worker import opening
from harness.worker.scenarios import opened, throughput
from harness.worker.stage import Stages


@pytest.fixture
def job(tmp_path):
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [1, 5]}]}))
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 2))
    given, gives = TensorSpec("input", "float32", (1, 3, 4, 4)), TensorSpec("scores", "float32", (1, 5))

    def of(scenario):
        return jobs.LaunchJob(
            engine="engines.fake:FakeEngine",
            artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,)),
            session=jobs.SessionSpec("cpu", Precision.FP32, 1, None, 2, Goal.THROUGHPUT, strict=False),
            scenario=scenario,
            parameters={},
            task={"name": "raw"},
            inputs=jobs.Inputs(tmp_path, "hash of the inputs", 2),
            reference=None,
            limits=jobs.Limits(8, 0.02, 0.1, warmup_s=0.0),
            samples=tmp_path / "samples.npz",
            items=(),
            classes={},
            shape=(3, 4, 4),
        )

    return of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executed": "fp16"}, "ran fp16: 0% of the multiply-accumulates ran at fp32"),
        ({"placed": "npu"}, "fell back to npu: 0% of the multiply-accumulates ran on cpu"),
    ],
)
def test_what_ran_otherwise_fails_its_proof_where_the_suite_is_strict(job, tmp_path, options, message):
    asked = job("prove")
    session = replace(asked.session, options=options)
    launching.launch(replace(asked, session=session), Stages(tmp_path / "stage"))
    with pytest.raises(NotAsAsked, match=message):
        launching.launch(replace(asked, session=replace(session, strict=True)), Stages(tmp_path / "stage"))


def test_a_model_that_takes_channels_last_gets_the_images_so(job):
    asked = job("latency")
    last = replace(asked.artifact, inputs=(TensorSpec("input", "float32", (2, 4, 4, 3)),))
    (batch,) = opening.batches(asked.inputs, last, 2)
    images = np.load(asked.inputs.path / "inputs.npy")
    assert np.array_equal(batch.tensors["input"], images.transpose(0, 2, 3, 1))
    assert batch.tensors["input"].flags.c_contiguous


def test_such_a_model_is_evaluated_on_images_laid_out_so(job, tmp_path):
    Image.new("RGB", (4, 4), (90, 10, 200)).save(tmp_path / "a.png")
    asked = job("accuracy")
    last = replace(asked.artifact, inputs=(TensorSpec("input", "float32", (1, 4, 4, 3)),))
    items = (jobs.Item(tmp_path / "a.png", 1),)
    classes = {str(index): f"class {index}" for index in range(5)}
    evaluated = replace(asked, artifact=last, task={"name": "classify"}, items=items, classes=classes)
    assert launching.launch(evaluated, Stages(tmp_path / "stage")).accuracy.images == 1


def test_the_peak_is_read_before_outputs_are_compared(job, tmp_path, monkeypatch):
    """A comparison holds copies of the outputs in float64: 19 MiB for YOLO11n, which are not the engine's."""
    order = []
    verify, peak_bytes = opened.verify, memory.peak_bytes
    monkeypatch.setattr(opened, "verify", lambda *given: (order.append("verify"), verify(*given))[1])
    monkeypatch.setattr(memory, "peak_bytes", lambda: (order.append("peak"), peak_bytes())[1])
    answer = launching.launch(job("memory"), Stages(tmp_path / "stage"))
    assert order == ["peak", "verify"]
    assert answer.memory.peak_bytes >= answer.memory.baseline_bytes


def test_noise_of_a_throughput_launch_is_that_of_its_steady_phase(job, tmp_path, monkeypatch):
    order = []
    warm, watch = opened.warm, throughput.NoiseWatch

    class Watch(watch):
        def start(self):
            order.append("watch")
            super().start()

    monkeypatch.setattr(throughput, "NoiseWatch", Watch)
    monkeypatch.setattr(opened, "warm", lambda *given: (order.append("warm"), warm(*given))[1])
    answer = launching.launch(job("throughput"), Stages(tmp_path / "stage"))
    assert order == ["warm", "warm", "watch"]
    assert answer.timing.streams == 2
    assert answer.noise


@pytest.mark.parametrize("streams", [1, 2, 100])
def test_streams_that_are_warmed_up_one_after_the_other_share_the_time(job, streams):
    limits = jobs.Limits(8, 0.02, 0.1, warmup_s=0.5, warmup_maximum_s=10.0)
    each = opened.shared(limits, streams)
    assert streams * each.warmup_maximum_s == pytest.approx(10.0)
    assert each.warmup_s <= each.warmup_maximum_s
    assert each.warmup_s == (0.5 if streams <= 20 else 0.1)


@pytest.mark.parametrize("scenario", ["throughput", "server", "soak", "camera", "mlperf"])
def test_a_launch_of_several_streams_warms_up_within_the_time_of_one(job, tmp_path, monkeypatch, scenario):
    given = []

    def noted(limits, *_):
        given.append(limits.warmup_maximum_s)
        raise InterruptedError

    monkeypatch.setattr(opened, "warm_up", noted)
    if scenario == "mlperf":
        pytest.importorskip("mlperf_loadgen")
    parameters = {"mlperf": {"mode": "offline"}, "camera": {"cameras": 2}}.get(scenario, {})
    asked = replace(job(scenario), parameters=parameters)
    with pytest.raises(InterruptedError):
        launching.launch(asked, Stages(tmp_path / "stage"))
    assert set(given) == {asked.limits.warmup_maximum_s / 2}


def test_a_scenario_that_nobody_knows_is_refused_by_name(job, tmp_path):
    with pytest.raises(HarnessError, match="no scenario is called 'latncy'"):
        launching.launch(job("latncy"), Stages(tmp_path / "stage"))


def test_a_launch_keeps_the_median_that_a_budget_is_spent_by(job, tmp_path):
    answer = launching.launch(job("latency"), Stages(tmp_path / "stage"))
    with np.load(tmp_path / "samples.npz") as columns:
        steady = columns["phase"] == 1
        latencies = (columns["end_ns"] - columns["start_ns"])[steady]
    assert answer.timing.median_ns == int(np.median(latencies))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells threads apart")
def test_noise_of_several_streams_is_read_while_their_threads_live(job, tmp_path, monkeypatch):
    alive = []
    stop = throughput.NoiseWatch.stop
    monkeypatch.setattr(
        throughput.NoiseWatch, "stop", lambda watch: (alive.append(threading.active_count()), stop(watch))[1]
    )
    before = threading.active_count()
    answer = launching.launch(job("throughput"), Stages(tmp_path / "stage"))
    assert alive == [before + 2]
    assert "ended meanwhile" not in answer.noise["run_queue_wait"].detail
