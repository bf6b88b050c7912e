"""From encoded image to final output, with the fake engine in this process."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from harness import jobs
from harness.errors import DataError
from harness.measure.samples import STEADY, WARMUP, Samples
from harness.tasks import catalog
from harness.tasks.images import decode
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec
from harness.worker.encoded import ROTATED, Columns, Encoded
from harness.worker.launch import launch
from harness.worker.stage import Stages

TASK = {"name": "classify", "resize": 4}


@pytest.fixture
def job(tmp_path):
    """Return what is asked for with these images and this batch."""
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((4, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 4))

    def of(items, batch=1, shape=None):
        model = tmp_path / "model.json"
        model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [batch, 5]}]}))
        given = TensorSpec("input", "float32", shape or (batch, 3, 4, 4))
        gives = TensorSpec("scores", "float32", (batch, 5))
        return jobs.LaunchJob(
            engine="engines.fake:FakeEngine",
            artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given,), (gives,)),
            session=jobs.SessionSpec("cpu", Precision.FP32, batch, None, 1, Goal.LATENCY, strict=False),
            scenario="end_to_end",
            parameters={},
            task=TASK,
            inputs=jobs.Inputs(tmp_path, "hash of the inputs", 4),
            reference=None,
            limits=jobs.Limits(12, 0.0, 60.0, relative_half_width=10.0, warmup_s=0.0, warmup_maximum_s=0.1),
            samples=tmp_path / "samples.npz",
            items=items,
            shape=(3, 4, 4),
        )

    return of


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(1)
    made = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (6 + index, 8, 3), dtype=np.uint8)).save(path)
        made.append(jobs.Item(path))
    return tuple(made)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_row_begins_where_its_image_is_decoded(job, images, tmp_path, batch):
    answer = launch(job(images, batch), Stages(tmp_path / "stage"))
    samples = Samples.load(tmp_path / "samples.npz")
    assert set(samples.phase) == {WARMUP, STEADY}
    order = (samples.scheduled_ns, samples.start_ns, samples.bound_ns, samples.synced_ns, samples.end_ns)
    for before, after in itertools.pairwise(order):
        assert np.all(before <= after)
    # Decoding a picture and resizing it takes more than no time.
    assert np.all(samples.scheduled_ns < samples.start_ns)
    assert np.all(samples.end_ns[:-1] <= samples.scheduled_ns[1:]), "one after the other"
    assert answer.timing.steady_iterations >= 12
    assert answer.timing.stop_reason == "precise"
    assert answer.noise


def test_the_stop_rule_looks_at_the_whole_way():
    columns = Columns(4)
    for row in range(3):
        columns.decoding[row], columns.start[row], columns.end[row] = 100 * row, 100 * row + 60, 100 * row + 70 + row
    columns.filled = 3
    assert columns.latencies_ns(1).tolist() == [71, 72]
    assert columns.samples().scheduled_ns.tolist() == [0, 100, 200]


def test_without_images_it_is_refused(job, tmp_path):
    with pytest.raises(DataError, match="no image to decode"):
        launch(job(()), Stages(tmp_path / "stage"))


def test_an_image_that_is_gone_is_named_before_anything_is_timed(job, images, tmp_path):
    images[3].path.unlink()
    stages = Stages(tmp_path / "stage")
    with pytest.raises(DataError, match=r"3\.png: cannot be read"):
        launch(job(images), stages)
    assert stages.current.value not in {"warmup", "steady"}


def test_a_corrupt_image_is_named(job, images, tmp_path):
    images[2].path.write_bytes(images[2].path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"2\.png: not a readable image"):
        launch(job(images), Stages(tmp_path / "stage"))


@pytest.mark.parametrize(("batch", "last"), [(1, False), (1, True), (3, False), (3, True)])
def test_inputs_are_those_that_accuracy_is_judged_on(job, images, batch, last):
    shape = (batch, 4, 4, 3) if last else (batch, 3, 4, 4)
    task = catalog.create(TASK)
    read = Encoded.read(job(images, batch, shape), task)
    for index in range(4):
        tensors, frames = read.prepare(index)
        numbers = [(index * batch + offset) % len(images) for offset in range(batch)]
        expected = [task.preprocess(decode(images[number].path), (3, 4, 4)) for number in numbers]
        stacked = np.stack([tensor for tensor, _ in expected])
        assert np.array_equal(tensors["input"], stacked.transpose(0, 2, 3, 1) if last else stacked)
        assert tensors["input"].flags.c_contiguous
        assert frames == tuple(frame for _, frame in expected)


def test_no_more_images_are_held_than_rotate(job, images):
    task = catalog.create(TASK)
    many = images * 30
    assert len(Encoded.read(job(many), task).files) == ROTATED
    assert len(Encoded.read(replace(job(many, 3), session=replace(job(many).session, batch=100)), task).files) == 100
