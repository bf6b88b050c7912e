"""Masks, keypoints and rotated boxes from the same raw outputs, against Ultralytics' own post-processing."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.tasks import catalog
from harness.tasks.task import Frame

pytestmark = pytest.mark.engine

SIDE = 320
IMAGES = ((640, 480), (333, 500), (97, 301), (320, 320))  # (width, height)

# What Ultralytics' predictors do with raw outputs, in a process of its own: it replaces functions of other libraries.
THEIRS = """
import sys
import numpy as np, torch
from ultralytics.utils import nms, ops
folder, side = sys.argv[1], int(sys.argv[2])
raw = np.load(folder + "/raw.npz")
images = raw["images"].tolist()
prototypes = torch.from_numpy(raw["prototypes"][0])
found = {}
def kept(name, classes, iou, rotated=False):
    return nms.non_max_suppression(torch.from_numpy(raw[name].copy()), 0.25, iou, nc=classes, rotated=rotated)[0]
for index, (width, height) in enumerate(images):
    inside, whole = (side, side), (height, width)
    for form in ("input", "image"):
        rows = kept("segment", 5, 0.7)
        if form == "input":
            masks = ops.process_mask(prototypes, rows[:, 6:], rows[:, :4], inside, upsample=True)
        rows[:, :4] = ops.scale_boxes(inside, rows[:, :4], whole)
        if form == "image":
            masks = ops.process_mask_native(prototypes, rows[:, 6:], rows[:, :4], whole)
        keep = masks.amax((-2, -1)) > 0
        found[f"boxes_{form}_{index}"], found[f"masks_{form}_{index}"] = rows[keep, :6], masks[keep]
    rows = kept("pose", 1, 0.7)
    points = ops.scale_coords(inside, rows[:, 6:].reshape(-1, 17, 3).clone(), whole).reshape(len(rows), -1)
    rows[:, :4] = ops.scale_boxes(inside, rows[:, :4], whole)
    found[f"pose_{index}"] = torch.cat([rows[:, :6], points], 1)
    rows = kept("obb", 15, 0.3, rotated=True)
    rows[:, :4] = ops.scale_boxes(inside, rows[:, :4], whole, xywh=True)
    found[f"obb_{index}"] = rows
np.savez(folder + "/theirs.npz", **{name: value.numpy() for name, value in found.items()})
"""


def head(rng, classes, extra, count=400):
    output = np.zeros((1, 4 + classes + extra, count), np.float32)
    output[0, :2] = rng.uniform(0, SIDE, (2, count))
    output[0, 2:4] = rng.uniform(8, 120, (2, count))
    output[0, 4 : 4 + classes] = rng.random((classes, count)) ** 4
    return output


def frame(width, height):
    """The letterbox of an image, as ``harness.tasks.boxes.Letterbox`` makes it."""
    ratio = min(SIDE / height, SIDE / width)
    inner = round(width * ratio), round(height * ratio)
    spare = (SIDE - inner[0]) // 2, (SIDE - inner[1]) // 2
    return Frame(width, height, inner[0] / width, inner[1] / height, float(spare[0]), float(spare[1]))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Raw outputs, and what Ultralytics makes of them for each image."""
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    segment, pose, obb = head(rng, 5, 32), head(rng, 1, 51), head(rng, 15, 1, 2000)
    segment[0, 9:] = rng.normal(size=(32, 400))
    pose[0, 5:] = rng.uniform(0, SIDE, (51, 400))
    obb[0, 19] = rng.uniform(-np.pi / 4, 3 * np.pi / 4, 2000)
    coarse = rng.normal(size=(1, 32, 10, 10)).astype(np.float32)
    raw = {"segment": segment, "pose": pose, "obb": obb, "prototypes": coarse.repeat(8, axis=2).repeat(8, axis=3)}
    np.savez(folder / "raw.npz", images=np.array(IMAGES), **raw)
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, str(folder), str(SIDE)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "theirs.npz") as archive:
        return raw, dict(archive)


@pytest.mark.parametrize("index", range(len(IMAGES)), ids=json.dumps)
@pytest.mark.parametrize("form", ["input", "image"])
def test_masks_are_those_of_ultralytics(both, form, index):
    raw, theirs = both
    task = catalog.create({"name": "segment", "masks": form})
    (found,) = task.postprocess({"a": raw["segment"], "b": raw["prototypes"]}, [frame(*IMAGES[index])])
    assert np.array_equal(found.boxes, theirs[f"boxes_{form}_{index}"])
    expected = theirs[f"masks_{form}_{index}"]
    assert found.masks.shape == expected.shape
    assert expected.sum() > 1000
    assert (found.masks != expected).sum() <= 1e-5 * expected.sum()  # at zero, sums of another order may differ


@pytest.mark.parametrize("index", range(len(IMAGES)), ids=json.dumps)
@pytest.mark.parametrize(("task", "iou"), [("pose", 0.7), ("obb", 0.3)])
def test_keypoints_and_rotated_boxes_are_those_of_ultralytics(both, task, iou, index):
    raw, theirs = both
    (found,) = catalog.create({"name": task, "iou": iou}).postprocess({"o": raw[task]}, [frame(*IMAGES[index])])
    assert len(found) > 50
    assert np.array_equal(found, theirs[f"{task}_{index}"])
