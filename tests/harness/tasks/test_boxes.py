"""Suppression against a naive reference, and the letterbox against Ultralytics' own."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tasks.boxes import Letterbox, suppress, to_image
from harness.tasks.task import Frame


def naive(boxes, scores, classes, iou, limit):
    """Greedy suppression as one would say it aloud."""
    kept = []
    for candidate in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        clashes = False
        for other in kept:
            if classes is not None and classes[other] != classes[candidate]:
                continue
            (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = boxes[other].tolist(), boxes[candidate].tolist()
            shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
            union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
            clashes |= shared > iou * union
        if not clashes:
            kept.append(candidate)
    return kept[:limit]


# Whole pixels and quarters keep both computations exact, so that equal means equal, ties included.
corner = st.integers(0, 12)
size = st.integers(0, 8)
row = st.tuples(corner, corner, size, size, st.integers(1, 6), st.integers(0, 2))


@given(
    rows=st.lists(row, max_size=40),
    iou=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    limit=st.integers(1, 50),
    by_class=st.booleans(),
)
@settings(deadline=None)
def test_equals_the_naive_reference(rows, iou, limit, by_class):
    values = np.array(rows, dtype=np.float32).reshape(-1, 6)
    boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
    scores, classes = values[:, 4] / 8, values[:, 5].astype(int) if by_class else None
    assert suppress(boxes, scores, classes, iou, limit).tolist() == naive(boxes, scores, classes, iou, limit)


@pytest.mark.parametrize("limit", [5, 300, 2000])
def test_equals_the_naive_reference_across_blocks(limit):
    rng = np.random.default_rng(7)
    corners = rng.integers(0, 60, (900, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.integers(8, 32, (900, 2))], axis=1).astype(np.float32)
    scores, classes = rng.integers(0, 200, 900).astype(np.float32), rng.integers(0, 3, 900)
    assert suppress(boxes, scores, classes, 0.5, limit).tolist() == naive(boxes, scores, classes, 0.5, limit)


def test_a_chain_of_overlaps_keeps_every_other_box():
    # Each box overlaps its neighbours alone: a wrong fixed point would drop what an already dropped box overlaps.
    starts = np.arange(100, dtype=np.float32) * 4
    boxes = np.stack([starts, np.zeros(100), starts + 6, np.full(100, 10)], axis=1).astype(np.float32)
    scores = np.linspace(1, 0.5, 100, dtype=np.float32)
    assert suppress(boxes, scores, None, 0.1, 300).tolist() == list(range(0, 100, 2))


def test_nothing_comes_of_nothing():
    assert suppress(np.empty((0, 4)), np.empty(0), np.empty(0), 0.5, 10).tolist() == []


# In a process of its own: importing Ultralytics replaces functions of Pillow and OpenCV.
AGAINST_ULTRALYTICS = """
import numpy as np
from ultralytics.data.augment import LetterBox
from harness.tasks.boxes import Letterbox
for width, height in ((640, 480), (333, 500), (50, 40), (1, 3000), (1279, 721), (640, 416)):
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for centred in (True, False):
        theirs = LetterBox((416, 640), auto=False, center=centred)(image=image)
        ours, frame = Letterbox(416, 640, centred, 114).apply(image)
        assert np.array_equal(ours, theirs), (width, height, centred)
        assert (frame.width, frame.height) == (width, height)
"""


@pytest.mark.engine
def test_letterbox_equals_ultralytics_to_the_byte(tmp_path):
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, "-c", AGAINST_ULTRALYTICS]
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_letterbox_frame_maps_boxes_back():
    pytest.importorskip("cv2")
    image = np.zeros((300, 500, 3), dtype=np.uint8)
    image[60:240, 100:400] = 255
    canvas, frame = Letterbox(320, 320, centred=True, pad=0).apply(image)
    rows, columns = np.nonzero(canvas[:, :, 0] > 127)
    drawn = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float32)
    assert to_image(drawn, frame)[0] == pytest.approx([100, 60, 400, 240], abs=1)


def test_boxes_are_clipped_to_the_image():
    frame = Frame(width=100, height=50, scale_x=2, scale_y=2, pad_x=10, pad_y=20)
    assert to_image(np.array([[0, 0, 500, 500]], dtype=np.float32), frame).tolist() == [[0, 0, 100, 50]]
