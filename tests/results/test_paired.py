"""Paired changes: the score interval against its definition and by simulation, and the bootstrap of matches."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from harness.errors import HarnessError
from harness.tasks import coco_map
from results import paired
from results.paired import change, tango

Z = 1.959963984540054


def classified(top1, label=None):
    hits = np.asarray(top1, dtype=bool)
    labels = np.arange(len(hits)) if label is None else np.asarray(label)
    return {"kind": np.array("classify"), "label": labels, "top1": hits, "top5": hits}


# --- difference of paired proportions ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [20, 250])
def test_no_disagreement_bounds_the_change_and_never_at_zero(n):
    bound = Z**2 / (n + Z**2)
    assert tango(0, 0, n) == pytest.approx((-bound, bound), abs=1e-9)


def score(gained, lost, n, delta):
    """The score statistic with its nuisance share found by maximising the likelihood, not by Tango's closed form."""
    smallest, largest = max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12

    def loss(share):
        rest = n - gained - lost
        parts = ((gained, share + delta), (lost, share), (rest, 1 - 2 * share - delta))
        return -sum(count * np.log(max(value, 1e-300)) for count, value in parts if count)

    share = minimize_scalar(loss, bounds=(smallest, largest), method="bounded", options={"xatol": 1e-13}).x
    return (gained - lost - n * delta) / np.sqrt(n * (2 * share + delta * (1 - delta)))


@given(n=st.integers(5, 300), data=st.data())
@settings(deadline=None, max_examples=60)
def test_the_bounds_solve_the_score_equation(n, data):
    gained = data.draw(st.integers(0, n - 1))
    lost = data.draw(st.integers(0, n - 1 - gained))
    low, high = tango(gained, lost, n)
    assert -1 <= low < (gained - lost) / n < high <= 1 or (gained == lost and low < 0 < high)
    assert score(gained, lost, n, low) == pytest.approx(Z, abs=1e-3)
    assert score(gained, lost, n, high) == pytest.approx(-Z, abs=1e-3)
    mirrored = tango(lost, gained, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("n", [1, 20, 1000])
def test_disagreement_on_every_image_reaches_the_end_of_the_scale(n):
    low, high = tango(n, 0, n)
    assert high == 1.0
    assert -1 < low < 1
    assert tango(0, n, n) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("n", "gain", "loss"), [(20, 0.05, 0.05), (50, 0.02, 0.10), (250, 0.01, 0.05)])
def test_the_interval_covers_the_truth_in_95_percent(n, gain, loss):
    rng = np.random.default_rng(5)
    interval = functools.cache(functools.partial(tango, n=n))
    draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=4000)
    covered = [low <= gain - loss <= high for low, high in (interval(int(g), int(c)) for g, c, _ in draws)]
    assert 0.935 < np.mean(covered) < 0.99  # a score interval is wide where two of 20 images disagree


def test_counts_the_images_that_changed():
    result = change(classified([1, 1, 1, 0, 0] * 10), classified([1, 0, 0, 1, 0] * 10))
    assert result.estimate == pytest.approx(-0.2)
    assert (result.low, result.high) == tango(10, 20, 50)
    assert (result.images, result.metric) == (50, "top1")
    assert "Tango" in result.method


# --- mAP ---------------------------------------------------------------------------------------------------------


def scene(seed, images=40, noise=1.5):
    """Labels that depend on nothing but ``images``, and predictions whose boxes are off by ``noise`` pixels."""
    fixed, rng = np.random.default_rng(1), np.random.default_rng(seed)
    labels, predictions = [], []
    for _ in range(images):
        corner = fixed.integers(0, 80, (4, 2)).astype(float)
        boxes = np.concatenate([corner, corner + fixed.integers(15, 30, (4, 2))], axis=1)
        classes = fixed.integers(0, 5, 4)
        labels.append({"boxes": boxes.tolist(), "classes": classes.tolist(), "crowd": [False] * 4})
        found = np.concatenate([boxes + rng.normal(0, noise, boxes.shape), boxes[:1] + 60])
        rows = np.column_stack([found, rng.random(5), np.append(classes, 0)])
        predictions.append(rows.astype(np.float32))
    return predictions, labels


def test_the_estimate_is_the_change_of_the_published_figures():
    pytest.importorskip("faster_coco_eval")
    (first, labels), (second, _) = scene(2), scene(3, noise=3)
    names = dict(enumerate("abcde"))
    before, after = (coco_map.evaluate(found, labels, names) for found in (first, second))
    result = change(before.per_image, after.per_image)
    assert result.estimate == pytest.approx(after.metrics["map50_95"] - before.metrics["map50_95"], abs=1e-9)
    assert result.low < result.estimate < result.high < 0
    assert (result.images, result.metric) == (40, "map50_95")
    assert str(paired.RESAMPLES) in result.method


def test_both_arms_share_their_resamples():
    (first, labels), (second, _) = scene(2), scene(3)
    one, two = coco_map.match(first, labels), coco_map.match(second, labels)
    same = change(one, one)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
    forth, back = change(one, two, seed=4), change(two, one, seed=4)
    assert (forth.estimate, forth.low, forth.high) == pytest.approx((-back.estimate, -back.high, -back.low))
    assert change(one, two, seed=4) == forth
    assert change(one, two, seed=5) != forth


def test_the_interval_is_as_wide_as_resampling_the_files_would_make_it():
    pytest.importorskip("faster_coco_eval")
    (first, labels), (second, _) = scene(2, images=15), scene(3, images=15, noise=3)
    names, rng = dict(enumerate("abcde")), np.random.default_rng(9)
    changes = []
    for _ in range(150):
        drawn = rng.integers(0, 15, 15)
        again = [labels[index] for index in drawn]
        arms = [coco_map.evaluate([found[i] for i in drawn], again, names).metrics for found in (first, second)]
        changes.append(arms[1]["map50_95"] - arms[0]["map50_95"])
    result = change(coco_map.match(first, labels), coco_map.match(second, labels))
    low, high = np.quantile(changes, [0.025, 0.975])
    assert (result.high - result.low) == pytest.approx(high - low, rel=0.2)


# --- what cannot be compared -------------------------------------------------------------------------------------


def detected(**other):
    predictions, labels = scene(2, images=5)
    return {**coco_map.match(predictions, labels), **other}


@pytest.mark.parametrize(
    ("reference", "candidate", "message"),
    [
        (classified([1, 0]), classified([1, 0, 1]), "other images"),
        (classified([1, 0]), classified([1, 0], label=[0, 9]), "other images"),
        (detected(), detected(n_images=np.array(6)), "other images"),
        (detected(), detected(gt_class=np.zeros(20, np.int32)), "other images"),
        (classified([1, 0]), detected(), "image by image"),
        ({}, {}, "image by image"),
        ({"kind": np.array("own")}, {"kind": np.array("own")}, "image by image"),
    ],
)
def test_rows_of_other_images_are_refused(reference, candidate, message):
    with pytest.raises(HarnessError, match=message) as caught:
        change(reference, candidate)
    assert caught.value.hint
