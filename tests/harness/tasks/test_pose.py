"""Keypoints: the way back to image pixels, COCO's similarity by hand, and its figure with the same from our matches."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError, HarnessError
from harness.tasks import catalog, coco_map
from harness.tasks.pose import COCO_SIGMAS, Pose, PoseParameters, object_keypoint_similarity
from harness.tasks.task import Frame

FRAME = Frame(width=200, height=100, scale_x=2.0, scale_y=2.0, pad_x=0.0, pad_y=100.0)


def test_keypoints_come_back_to_image_pixels():
    output = np.zeros((1, 5 + 6, 84), np.float32)
    output[0, :5, 3] = [100, 200, 40, 20, 0.9]
    output[0, 5:, 3] = [100, 200, 0.8, -10, 400, 0.1]
    (found,) = Pose(PoseParameters(keypoints=(2, 3))).postprocess({"o": output}, [FRAME])
    expected = [40, 45, 60, 55, 0.9, 0, 50, 50, 0.8, 0, 100, 0.1]  # the second point is clipped to the image
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([expected]))


def test_an_end_to_end_head_is_read_too():
    rows = np.zeros((1, 4, 6 + 4), np.float32)
    rows[0, 0] = [80, 190, 120, 210, 0.9, 0, 100, 200, 20, 120]
    (found,) = Pose(PoseParameters(keypoints=(2, 2))).postprocess({"o": rows}, [FRAME])
    assert found == pytest.approx(np.array([[40, 45, 60, 55, 0.9, 0, 50, 50, 10, 10]]))


@pytest.mark.parametrize(
    "wrong",
    [{"keypoints": (0, 3)}, {"keypoints": (17, 4)}, {"sigmas": (0.1,)}, {"keypoints": (1, 3), "sigmas": (0.0,)}],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(HarnessError) as caught:
        PoseParameters(**wrong)
    assert caught.value.hint


def test_the_similarity_is_that_of_its_formula():
    points = np.array([[10, 10, 2], [20, 10, 1], [99, 99, 0]], float)  # the third is not labelled
    found = np.array([[[10, 10], [20, 13], [0, 0]], [[10, 10], [20, 10], [5, 5]]], float)
    similarity = object_keypoint_similarity(found, points, np.array([0, 0, 30, 20]), 300, np.array([0.1, 0.05, 0.2]))
    assert similarity == pytest.approx([(1 + math.exp(-9 / (2 * 300 * 0.1**2))) / 2, 1])


def test_of_an_object_without_keypoints_what_is_near_its_box_is_alike():
    nothing = np.zeros((1, 3))
    found = np.array([[[35, 15]], [[70, 10]]], float)  # within the box grown by its size; 10 pixels outside
    similarity = object_keypoint_similarity(found, nothing, np.array([0, 0, 30, 20]), 300, np.array([0.1]))
    assert similarity == pytest.approx([1, math.exp(-(10**2) / (2 * 300 * 0.2**2))])


def test_sigmas_are_one_of_each_of_cocos_keypoints():
    assert len(COCO_SIGMAS) == 17
    assert COCO_SIGMAS[0] == 0.026
    assert COCO_SIGMAS[11] == 0.107


def person(rng, keypoints=17):
    x, y = rng.uniform(10, 60, 2)
    width, height = rng.uniform(20, 60, 2)
    points = np.column_stack(
        [rng.uniform(x, x + width, keypoints), rng.uniform(y, y + height, keypoints), rng.integers(0, 3, keypoints)]
    )
    return [x, y, x + width, y + height], points


def label(people, crowd=None):
    return {
        "boxes": [box for box, _ in people],
        "classes": [0] * len(people),
        "crowd": crowd or [False] * len(people),
        "keypoints": [points.tolist() for _, points in people],
        "areas": [0.53 * (box[2] - box[0]) * (box[3] - box[1]) for box, _ in people],
    }


def prediction(people, scores, noise=0.0, rng=None):
    rows = []
    for (box, points), score in zip(people, scores, strict=True):
        moved = points.copy()
        if noise:
            moved[:, :2] += rng.normal(0, noise, (len(points), 2))
        rows.append([*box, score, 0, *moved.ravel()])
    return np.array(rows, np.float32).reshape(-1, 6 + 51)


def evaluate(predictions, labels, **settings):
    pytest.importorskip("faster_coco_eval")
    return catalog.create({"name": "pose", **settings}).evaluate(predictions, labels, {0: "person"})


def test_perfect_keypoints_score_one_and_worse_ones_less():
    rng = np.random.default_rng(0)
    people = [person(rng) for _ in range(4)]
    scores = [0.9, 0.8, 0.7, 0.6]
    exact = evaluate([prediction(people, scores)], [label(people)]).metrics
    assert exact == {"map50_95": 1, "map50": 1, "box_map50_95": 1, "box_map50": 1}
    near, far = (
        evaluate([prediction(people, scores, noise, rng)], [label(people)]).metrics["map50_95"] for noise in (3, 12)
    )
    assert 1 > near > far


def test_a_known_distance_reaches_the_thresholds_below_its_similarity():
    sigma, area = 0.1, 400.0
    points = np.array([[20.0, 20.0, 2]])
    apart = math.sqrt(-math.log(0.72) * 2 * area * (2 * sigma) ** 2)  # a similarity of 0.72: five of ten thresholds
    truth = {**label([([10, 10, 30, 30], points)]), "areas": [area]}
    found = np.array([[10, 10, 30, 30, 0.9, 0, 20 + apart, 20, 1]], np.float32)
    metrics = evaluate([found], [truth], keypoints=[1, 3], sigmas=[sigma]).metrics
    assert metrics["map50_95"] == pytest.approx(0.5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_our_matches_give_cocos_figure(seed):
    """Crowds and people without a labelled keypoint among them: neither found nor missed."""
    rng = np.random.default_rng(seed)
    predictions, labels = [], []
    for _ in range(4):
        people = [person(rng) for _ in range(int(rng.integers(0, 6)))]
        for _, points in people:
            points[:, 2] *= rng.random() > 0.25
        labels.append(label(people, (rng.random(len(people)) < 0.15).tolist()))
        shown = [*people, *people[:2]]
        predictions.append(prediction(shown, rng.integers(1, 9, len(shown)) / 8, 4, rng))
    if not any(
        points[:, 2].any() and not crowd
        for each in labels
        for points, crowd in zip(map(np.array, each["keypoints"]), each["crowd"], strict=True)
    ):
        return
    result = evaluate(predictions, labels)
    own = coco_map.mean_average_precision(result.per_image, np.ones((1, len(labels))))[0]
    assert own.mean() == pytest.approx(result.metrics["map50_95"], abs=1e-6)
    assert own[0] == pytest.approx(result.metrics["map50"], abs=1e-6)


def test_labels_of_another_number_of_keypoints_are_refused():
    people = [person(np.random.default_rng(0), keypoints=5)]
    with pytest.raises(DataError, match="5 keypoints, the task 17"):
        evaluate([np.empty((0, 57), np.float32)], [label(people)])


def test_labels_without_a_seen_keypoint_are_refused():
    people = [person(np.random.default_rng(0))]
    people[0][1][:, 2] = 0
    with pytest.raises(DataError, match="no keypoint is labelled"):
        evaluate([np.empty((0, 57), np.float32)], [label(people)])
