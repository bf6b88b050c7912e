"""Average precision of our own against faster-coco-eval, weights against real duplicates, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.tasks import coco_map

CLASSES = {0: "a", 1: "b", 2: "c", 3: "never labelled"}


def scene(rng, *, images=8, ties=True):
    """Labels and predictions that partly find them: shifted boxes, ghosts, ties of score, crowds, empty images."""
    labels, predictions = [], []
    for _ in range(images):
        count = int(rng.integers(0, 12))
        corner = rng.integers(0, 80, (count, 2)).astype(float)
        boxes = np.concatenate([corner, corner + rng.integers(5, 30, (count, 2))], axis=1)
        classes = rng.integers(0, 3, count)
        crowd = rng.random(count) < 0.2
        labels.append({"boxes": boxes.tolist(), "classes": classes.tolist(), "crowd": crowd.tolist()})
        shifted = boxes + rng.integers(-2, 3, (count, 4))
        ghosts = rng.integers(0, 80, (3, 2)).astype(float)
        found = np.concatenate([shifted, boxes[::2], np.concatenate([ghosts, ghosts + 15], axis=1)])
        of_class = np.concatenate([classes, classes[::2], rng.integers(0, 4, 3)])
        # Few levels give ties within and between images.
        scores = rng.integers(1, 9, len(found)) / 8 if ties else rng.random(len(found))
        rows = np.concatenate([found, scores[:, None], of_class[:, None]], axis=1).astype(np.float32)
        predictions.append(rows[rng.permutation(len(rows))])
    return predictions, labels


def has_objects(labels):
    return any(not crowd for label in labels for crowd in label["crowd"])


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_unit_weights_give_the_published_figure(seed):
    pytest.importorskip("faster_coco_eval")
    predictions, labels = scene(np.random.default_rng(seed))
    if not has_objects(labels):
        return
    published = coco_map.evaluate(predictions, labels, CLASSES)
    own = coco_map.mean_average_precision(published.per_image, np.ones((1, len(labels))))[0]
    assert own.mean() == pytest.approx(published.metrics["map50_95"], abs=1e-6)
    assert own[0] == pytest.approx(published.metrics["map50"], abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_a_weight_is_a_number_of_copies(seed):
    pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(seed)
    predictions, labels = scene(rng, images=5, ties=False)  # copies of equal scores may stand in another order
    weights = rng.multinomial(5, np.full(5, 0.2))
    copies = np.repeat(np.arange(5), weights)
    drawn = [labels[index] for index in copies]
    if not has_objects(drawn):
        return
    published = coco_map.evaluate([predictions[index] for index in copies], drawn, CLASSES)
    own = coco_map.mean_average_precision(coco_map.match(predictions, labels), weights[np.newaxis])
    assert own.mean() == pytest.approx(published.metrics["map50_95"], abs=1e-6)


def test_more_than_a_hundred_detections_of_a_class_are_cut_as_in_coco():
    pytest.importorskip("faster_coco_eval")
    labels = [{"boxes": [[0, 0, 10, 10]], "classes": [0], "crowd": [False]}]
    ghosts = np.tile(np.array([[50, 50, 60, 60, 0.9, 0]], np.float32), (100, 1))
    hit = np.array([[0, 0, 10, 10, 0.1, 0]], np.float32)
    for rows, expected in ((np.concatenate([ghosts[1:], hit]), 0.01), (np.concatenate([ghosts, hit]), 0.0)):
        result = coco_map.evaluate([rows], labels, CLASSES)
        assert result.metrics["map50_95"] == pytest.approx(expected)
        own = coco_map.mean_average_precision(result.per_image, np.ones((1, 1)))
        assert own.mean() == pytest.approx(expected)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    facts = coco_map.match(*scene(rng, images=20))
    weights = rng.multinomial(20, np.full(20, 0.05), size=50)
    whole = coco_map.mean_average_precision(facts, weights)
    monkeypatch.setattr(coco_map, "_CHUNK_ELEMENTS", 200)
    assert np.array_equal(whole, coco_map.mean_average_precision(facts, weights), equal_nan=True)


def test_a_class_without_a_drawn_object_leaves_the_mean():
    perfect = np.array([[0, 0, 10, 10, 0.9, 0]], np.float32)
    labels = [
        {"boxes": [[0, 0, 10, 10]], "classes": [0], "crowd": [False]},
        {"boxes": [[0, 0, 10, 10]], "classes": [1], "crowd": [False]},
        {"boxes": [], "classes": [], "crowd": []},
    ]
    facts = coco_map.match([perfect, np.empty((0, 6), np.float32), np.empty((0, 6), np.float32)], labels)
    mean = coco_map.mean_average_precision(facts, np.array([[1, 1, 1], [3, 0, 0], [0, 3, 0], [0, 0, 3]])).mean(axis=1)
    assert mean[:3].tolist() == [0.5, 1.0, 0.0]
    assert np.isnan(mean[3])


def test_no_predictions_score_nothing():
    pytest.importorskip("faster_coco_eval")
    labels = [{"boxes": [[0, 0, 10, 10]], "classes": [0], "crowd": [False]}]
    result = coco_map.evaluate([np.empty((0, 6), np.float32)], labels, CLASSES)
    assert result.metrics == {"map50_95": 0, "map50": 0}
    assert coco_map.mean_average_precision(result.per_image, np.ones((1, 1))).tolist() == [[0.0] * 10]


BOX = np.array([[0, 0, 10, 10, 0.9, 0]], np.float32)


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (BOX, 3, "carry no boxes"),
        (BOX, None, "carry no boxes"),
        (BOX, {"boxes": [], "classes": [], "crowd": []}, "no object is labelled"),
        (BOX, {"boxes": [[0, 0, 9, 9]], "classes": [0], "crowd": [True]}, "no object is labelled"),
        (BOX + np.array([0, 0, 0, 0, 0, 79]), {"boxes": [[0, 0, 9, 9]], "classes": [0], "crowd": [False]}, "class 79"),
    ],
)
def test_what_cannot_be_scored_is_refused(prediction, label, message):
    with pytest.raises(DataError, match=message) as caught:
        coco_map.evaluate([prediction], [label], CLASSES)
    assert caught.value.hint
