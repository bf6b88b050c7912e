"""Rotated boxes: geometry by hand and against drawn points, suppression, and mean average precision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.tasks import catalog, oriented
from harness.tasks.obb import Obb, ObbParameters
from harness.tasks.task import Frame

CLASSES = {0: "plane", 1: "ship"}
boxes = st.tuples(
    st.floats(-20, 20), st.floats(-20, 20), st.floats(1, 40), st.floats(1, 40), st.floats(-math.pi, math.pi)
).map(lambda values: np.array([values]))


def iou(one, other):
    return oriented.rotated_iou(np.array([one], float), np.array([other], float)).item()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 4, 2, 0.3), (0, 0, 4, 2, 0.3), 1),
        ((0, 0, 4, 2, 0), (0, 0, 2, 4, math.pi / 2), 1),  # the same rectangle, said otherwise
        ((0, 0, 4, 2, 0), (2, 0, 4, 2, 0), 1 / 3),
        (
            (0, 0, 2, 2, 0),
            (0, 0, 2, 2, math.pi / 4),
            8 * (math.sqrt(2) - 1) / (8 - 8 * (math.sqrt(2) - 1)),
        ),  # an octagon
        ((0, 0, 4, 4, 0), (0, 0, 2, 2, 0.7), 1 / 4),  # one inside the other
        ((0, 0, 6, 2, 0), (0, 0, 6, 2, math.pi / 2), 4 / 20),  # a cross
        ((0, 0, 2, 2, 0), (2, 0, 2, 2, 0), 0),  # they touch
        ((0, 0, 2, 2, 0), (9, 9, 2, 2, 1), 0),
        ((0, 0, 0, 0, 0), (0, 0, 2, 2, 1), 0),
    ],
)
def test_the_iou_of_rotated_boxes_by_hand(one, other, expected):
    assert iou(one, other) == pytest.approx(expected, abs=1e-9)


@given(boxes, boxes)
@settings(max_examples=40, deadline=None)
def test_the_iou_is_that_of_points_spread_over_a_box(one, other):
    x, y, width, height, angle = one[0]
    along, across = (
        np.stack(np.meshgrid(*[(np.arange(60) + 0.5) / 60 - 0.5] * 2)).reshape(2, -1).T * [width, height]
    ).T
    points = np.column_stack(
        [x + along * np.cos(angle) - across * np.sin(angle), y + along * np.sin(angle) + across * np.cos(angle)]
    )
    away = points - other[0, :2]
    cosine, sine = np.cos(other[0, 4]), np.sin(other[0, 4])
    inside = (np.abs(away @ [cosine, sine]) <= other[0, 2] / 2) & (np.abs(away @ [-sine, cosine]) <= other[0, 3] / 2)
    shared = inside.mean() * width * height
    union = width * height + other[0, 2] * other[0, 3] - shared
    assert oriented.rotated_iou(one, other).item() == pytest.approx(shared / union, abs=0.04)


@given(boxes, boxes, st.floats(-3, 3), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_the_iou_is_symmetric_and_does_not_see_turns_shifts_or_scale(one, other, turn, scale):
    def moved(box):
        cosine, sine = np.cos(turn), np.sin(turn)
        x, y = box[0, :2]
        return np.array(
            [
                [
                    (x * cosine - y * sine) * scale + 7,
                    (x * sine + y * cosine) * scale,
                    *box[0, 2:4] * scale,
                    box[0, 4] + turn,
                ]
            ]
        )

    overlap = oriented.rotated_iou(one, other)
    assert 0 <= overlap.item() <= 1 + 1e-9
    assert oriented.rotated_iou(other, one) == pytest.approx(overlap, abs=1e-6)
    assert oriented.rotated_iou(moved(one), moved(other)) == pytest.approx(overlap, abs=1e-6)


@given(boxes)
def test_the_smallest_rectangle_around_a_rectangle_is_itself(box):
    (found,) = oriented.enclosing(oriented.corners(box))
    assert oriented.rotated_iou(found[np.newaxis], box).item() == pytest.approx(1, abs=1e-6)
    assert found[2] >= found[3]
    assert -math.pi / 4 <= found[4] < 3 * math.pi / 4


def test_four_points_in_any_order_have_one_smallest_rectangle():
    points = np.array([[0, 0], [4, 2], [4, 0], [0, 2]], float)  # the edges cross
    (found,) = oriented.enclosing(points[np.newaxis])
    assert found == pytest.approx([2, 1, 4, 2, 0])


def test_the_probabilistic_iou_is_one_of_equals_and_falls_with_distance():
    box = np.array([[0, 0, 8, 4, 0.5]])
    same, near, far = (oriented.probabilistic_iou(box, box + np.array([[x, 0, 0, 0, 0]])).item() for x in (0, 2, 20))
    assert same == pytest.approx(1, abs=1e-3)
    assert same > near > far >= 0
    assert far == pytest.approx(0, abs=1e-3)


def test_the_probabilistic_iou_by_hand():
    """Two unit-covariance boxes a distance d apart: Bhattacharyya distance d² / 8."""
    side = math.sqrt(12)
    one, other = np.array([[0, 0, side, side, 0]]), np.array([[2, 0, side, side, 1.0]])
    assert oriented.probabilistic_iou(one, other).item() == pytest.approx(1 - math.sqrt(1 - math.exp(-0.5)), abs=1e-5)


def test_suppression_is_fast_nms():
    """b falls to a; c overlaps b alone, and falls to it all the same, which greedy suppression would keep."""
    row = np.array([[0, 0, 10, 10, 0], [4, 0, 10, 10, 0], [8, 0, 10, 10, 0], [4, 0, 10, 10, 0]], float)
    a, b, c = row[:3]
    threshold = oriented.probabilistic_iou(a[np.newaxis], c[np.newaxis]).item() + 0.01
    assert oriented.probabilistic_iou(b[np.newaxis], c[np.newaxis]).item() > threshold
    scores, classes = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 0, 1])
    assert oriented.suppress(row, scores, classes, threshold, 300).tolist() == [0, 3]
    assert oriented.suppress(row, scores, None, threshold, 300).tolist() == [0]
    assert oriented.suppress(row, scores, classes, threshold, 1).tolist() == [0]


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    row = np.column_stack([rng.uniform(0, 100, (300, 2)), rng.uniform(5, 40, (300, 2)), rng.uniform(0, 3, 300)])
    scores, classes = rng.random(300), rng.integers(0, 3, 300)
    whole = oriented.suppress(row, scores, classes, 0.3, 300)
    monkeypatch.setattr(oriented, "_BLOCK", 7)
    assert oriented.suppress(row, scores, classes, 0.3, 300).tolist() == whole.tolist()
    assert oriented.suppress(row, scores, classes, 0.3, 20).tolist() == whole[:20].tolist()


FRAME = Frame(width=200, height=100, scale_x=2.0, scale_y=2.0, pad_x=0.0, pad_y=100.0)


@pytest.mark.parametrize("end2end", [False, True])
def test_boxes_come_back_to_image_pixels(end2end):
    output = np.zeros((1, 3, 7) if end2end else (1, 7, 84), np.float32)
    if end2end:
        output[0, 0] = [100, 200, 40, 20, 0.9, 1, 0.5]
    else:
        output[0, :, 2] = [100, 200, 40, 20, 0.1, 0.9, 0.5]
    (found,) = Obb(ObbParameters()).postprocess({"o": output}, [FRAME])
    assert found == pytest.approx(np.array([[50, 50, 20, 10, 0.9, 1, 0.5]]))


def label(truth, classes=None):
    points = oriented.corners(np.array(truth, float).reshape(-1, 5))
    near, far = points.min(axis=1), points.max(axis=1)
    return {
        "boxes": np.concatenate([near, far], axis=1).tolist(),
        "classes": classes or [0] * len(truth),
        "crowd": [False] * len(truth),
        "corners": points.reshape(-1, 8).tolist(),
    }


def evaluate(rows, labels):
    predictions = [
        np.array([(*box[:4], score, index, box[4]) for box, score, index in image], np.float32).reshape(-1, 7)
        for image in rows
    ]
    return catalog.create({"name": "obb"}).evaluate(predictions, labels, CLASSES)


def test_perfect_boxes_score_one_and_the_wrong_angle_less():
    truth = [(50, 50, 30, 10, 0.4), (20, 20, 12, 8, 1.3)]
    perfect = evaluate([[(truth[0], 0.9, 0), (truth[1], 0.8, 1)]], [label(truth, [0, 1])])
    assert perfect.metrics == pytest.approx({"map50_95": 1, "map50": 1, "probiou_map50_95": 1, "probiou_map50": 1})
    assert perfect.primary == "map50_95"
    turned = [(*box[:4], box[4] + 0.5) for box in truth]
    worse = evaluate([[(turned[0], 0.9, 0), (turned[1], 0.8, 1)]], [label(truth, [0, 1])]).metrics
    assert worse["map50_95"] < 0.3


def test_an_iou_by_hand_reaches_the_thresholds_below_it():
    """A 10 x 10 box shifted by 2 along its own width: IoU 2/3, four of ten thresholds."""
    angle = 0.6
    moved = (50 + 2 * math.cos(angle), 50 + 2 * math.sin(angle), 10, 10, angle)
    metrics = evaluate([[(moved, 0.9, 0)]], [label([(50, 50, 10, 10, angle)])]).metrics
    assert metrics["map50_95"] == pytest.approx(0.4)
    assert metrics["map50"] == 1


def test_a_missed_object_and_a_ghost_cost_recall_and_precision():
    truth = [(50, 50, 30, 10, 0.4), (20, 20, 12, 8, 1.3)]
    result = evaluate([[((80, 80, 10, 10, 0), 0.95, 0), (truth[0], 0.9, 0)]], [label(truth)])
    assert result.metrics["map50"] == pytest.approx(0.5 * 51 / 101)  # precision 1/2 up to recall 1/2
    assert result.per_image["det_tp"].shape == (2, 10)


def test_labels_without_corners_are_refused():
    with pytest.raises(DataError, match="carry no corners"):
        evaluate([[]], [{"boxes": [[0, 0, 9, 9]], "classes": [0], "crowd": [False]}])
