"""Frames by the clock: when they are due, and what becomes of them, with the fake engine in this process."""

import json
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from harness import jobs
from harness.errors import DataError
from harness.measure import noise
from harness.measure.samples import DROPPED, STEADY, WARMUP, Samples
from harness.scenarios import PHASES, CameraSettings
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec
from harness.worker import encoded
from harness.worker.launch import launch
from harness.worker.scenarios.camera import due
from harness.worker.stage import Stages

PATIENT_MS = 60_000.0
"""A deadline that nothing misses, however busy the machine is."""


@pytest.fixture
def drive(tmp_path):
    """Launch ``camera`` with these parameters and return its answer and its samples."""
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((8, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 8))

    def driven(parameters, *, batch=1, streams=None, latency_ms=0.0, **others):
        model = tmp_path / "model.json"
        model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [batch, 5]}]}))
        given, gives = TensorSpec("input", "float32", (batch, 3, 4, 4)), TensorSpec("scores", "float32", (batch, 5))
        options = {"latency_us": 1e3 * latency_ms, "asleep": True}
        session = jobs.SessionSpec("cpu", Precision.FP32, batch, None, streams, Goal.LATENCY, strict=False)
        job = jobs.LaunchJob(
            engine="engines.fake:FakeEngine",
            artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,)),
            session=replace(session, options=options),
            scenario="camera",
            parameters=parameters,
            task={"name": "classify", "resize": 4},
            inputs=jobs.Inputs(tmp_path, "hash of the inputs", 8),
            reference=None,
            limits=jobs.Limits(8, 0.02, 0.1, warmup_s=0.0, warmup_maximum_s=0.1),
            samples=tmp_path / "samples.npz",
            shape=(3, 4, 4),
        )
        answer = launch(replace(job, **others), Stages(tmp_path / "stage"))
        return answer, Samples.load(tmp_path / "samples.npz")

    return driven


def by_phase(samples):
    return Counter(samples.phase.tolist())


def test_every_frame_has_a_row_with_the_time_when_it_was_due(drive):
    answer, samples = drive({"cameras": 3, "fps": 100.0, "seconds": 0.1, "deadline_ms": PATIENT_MS, "drop": "never"})
    assert by_phase(samples)[STEADY] == 30
    assert set(samples.phase) == {WARMUP, STEADY}
    steady = samples.steady()
    assert Counter(steady.stream.tolist()) == {0: 10, 1: 10, 2: 10}
    from_start = steady.scheduled_ns - steady.scheduled_ns[0]
    expected = due(CameraSettings(cameras=3, fps=100.0, seconds=0.1))
    assert np.array_equal(from_start, expected.due_ns)
    assert np.array_equal(steady.stream, expected.source)
    assert np.all(steady.scheduled_ns <= steady.start_ns)
    assert answer.samples_rows == len(samples)
    assert answer.timing.steady_iterations == 30
    assert answer.timing.warmup_iterations == by_phase(samples)[WARMUP] > 0


def test_a_frame_gives_way_to_the_next_one_of_its_camera(drive):
    # An inference takes five intervals and more: of 30 frames at most 7 can be taken, whatever the machine does.
    answer, samples = drive({"fps": 100.0, "seconds": 0.3}, latency_ms=50.0)
    phases = by_phase(samples)
    assert phases[STEADY] + phases[DROPPED] == 30
    assert phases[DROPPED] >= 23
    dropped = samples.phase == DROPPED
    assert not dropped[-1], "nothing comes after the last frame"
    assert np.all(samples.scheduled_ns[dropped] > 0)
    for column in (samples.start_ns, samples.bound_ns, samples.synced_ns, samples.end_ns):
        assert np.all(column[dropped] == -1)
    assert answer.timing.warmup_iterations == phases[WARMUP], "what was dropped was no warm-up"


def test_with_drop_never_each_frame_is_worked_on(drive):
    parameters = {"fps": 100.0, "seconds": 0.1, "deadline_ms": PATIENT_MS, "drop": "never"}
    _, samples = drive(parameters, latency_ms=30.0)
    steady = samples.steady()
    assert len(steady) == 10
    assert DROPPED not in samples.phase
    # Each waits for the one before: the last is done 10 × 30 ms after the first began, 90 ms after which it was due.
    assert steady.response_ns[-1] >= 200e6


def test_an_engine_that_cannot_keep_up_is_given_up_and_every_frame_is_accounted_for(drive):
    _, samples = drive({"fps": 200.0, "seconds": 0.2, "drop": "never"}, latency_ms=30.0)
    driven = samples.phase[samples.phase != WARMUP]
    assert len(driven) == 40
    begun = int(np.count_nonzero(driven == STEADY))
    # A frame is begun 30 ms after the one before and due 5 ms after it: one in ten waits for longer than 0.2 s.
    assert 1 <= begun <= 10
    assert np.all(driven[begun:] == DROPPED)
    scheduled_ns = samples.scheduled_ns[samples.phase != WARMUP]
    expected = due(CameraSettings(fps=200.0, seconds=0.2))
    assert np.array_equal(scheduled_ns - scheduled_ns[0], expected.due_ns)


@pytest.mark.parametrize(("cameras", "asked", "streams"), [(1, None, 1), (3, None, 2), (1, 3, 3)])
def test_streams_are_those_asked_for_or_recommended_but_no_more_than_cameras(
    drive, cameras, asked, streams, monkeypatch
):
    alive, stop = [], noise.NoiseWatch.stop
    monkeypatch.setattr(
        noise.NoiseWatch, "stop", lambda watch: (alive.append(threading.active_count()), stop(watch))[1]
    )
    before = threading.active_count()
    parameters = {"cameras": cameras, "fps": 100.0, "seconds": 0.05}
    answer, _ = drive(parameters, streams=asked)
    assert answer.timing.streams == streams
    # Read while the threads of all streams live: none has ended meanwhile, taking what it waited along.
    assert min(alive) >= before + streams - 1
    assert alive


def test_frames_of_one_trigger_share_a_batch(drive):
    parameters = {"cameras": 4, "fps": 20.0, "seconds": 0.2, "phase": "synchronous", "deadline_ms": PATIENT_MS}
    _, samples = drive(parameters, batch=4, streams=1)
    steady = samples.steady()
    assert len(steady) + by_phase(samples)[DROPPED] == 16
    assert max(Counter(steady.start_ns.tolist()).values()) == 4
    assert len(np.unique(steady.scheduled_ns)) <= 4


def pictures(folder, count):
    rng = np.random.default_rng(1)
    made = []
    for index in range(count):
        path = folder / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(path)
        made.append(jobs.Item(path))
    return tuple(made)


@pytest.mark.parametrize("batch", [1, 2])
def test_encoded_frames_are_decoded_one_by_one_in_turn(drive, tmp_path, monkeypatch, batch):
    decoded = []
    decode_bytes = encoded.decode_bytes
    monkeypatch.setattr(
        encoded, "decode_bytes", lambda data, path: (decoded.append(path.name), decode_bytes(data, path))[1]
    )
    items = pictures(tmp_path, 3)
    parameters = {"fps": 50.0, "seconds": 0.2, "decode": True, "drop": "never", "deadline_ms": PATIENT_MS}
    _, samples = drive(parameters, batch=batch, streams=1, items=items)
    assert by_phase(samples)[STEADY] == 10
    assert decoded[-10:] == [f"{index % 3}.png" for index in range(10)]
    assert set(decoded) == {"0.png", "1.png", "2.png"}
    warm = samples.phase == WARMUP
    assert np.any(samples.start_ns[warm] > samples.scheduled_ns[warm]), "the warm-up decodes too"


def test_encoded_frames_need_images(drive):
    with pytest.raises(DataError, match="no image to decode"):
        drive({"decode": True, "seconds": 0.1})


@st.composite
def settings(draw):
    fps = draw(st.floats(0.5, 240))
    frames = draw(st.integers(2, 50))
    seconds = (frames + draw(st.floats(0, 0.9))) / fps
    assume(seconds * fps >= 2)
    return CameraSettings(
        cameras=draw(st.integers(1, 12)), fps=fps, seconds=seconds, phase=draw(st.sampled_from(PHASES))
    )


@given(settings())
def test_each_camera_gives_a_frame_per_interval(asked):
    arrivals = due(asked)
    interval_ns = 1e9 / asked.fps
    frames = int(asked.seconds * asked.fps + 1e-6)
    assert Counter(arrivals.source.tolist()) == dict.fromkeys(range(asked.cameras), frames)
    assert np.all(np.diff(arrivals.due_ns) >= 0)
    assert arrivals.due_ns[0] >= 0
    assert arrivals.due_ns.dtype == arrivals.source.dtype == np.int64
    for camera in range(asked.cameras):
        own = arrivals.due_ns[arrivals.source == camera]
        assert own[0] < interval_ns + 1
        assert np.all(np.abs(np.diff(own) - interval_ns) <= 1)
    again = due(asked)
    assert np.array_equal(arrivals.due_ns, again.due_ns)
    assert np.array_equal(arrivals.source, again.source)


@given(settings())
def test_the_phase_says_how_cameras_lie_to_each_other(asked):
    arrivals = due(asked)
    interval_ns = 1e9 / asked.fps
    firsts = np.array([arrivals.due_ns[arrivals.source == camera][0] for camera in range(asked.cameras)])
    if asked.phase == "staggered":
        assert np.all(np.abs(np.diff(arrivals.due_ns) - interval_ns / asked.cameras) <= 1)
        assert firsts[0] == 0
    elif asked.phase == "synchronous":
        assert np.all(firsts == 0)
        together = arrivals.source.reshape(-1, asked.cameras)
        assert np.all(together == np.arange(asked.cameras)), "in order of camera"
    elif asked.cameras > 1:
        assert len(np.unique(firsts)) > 1


def test_a_product_just_below_a_whole_number_of_frames_is_that_number():
    assert 0.29 * 100 < 29
    assert len(due(CameraSettings(fps=100.0, seconds=0.29))) == 29
