"""COCO's mean average precision of any similarity: the matches per image, and the figure of weighted images.

The protocol is that of COCO's reference evaluation (github.com/cocodataset/cocoapi, ``cocoeval.py``): ten IoU
thresholds, at most 100 detections per image and class, 101 recall levels, all areas, crowds neither found nor missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.tasks import coco_official
from harness.tasks.coco_official import MAX_DETECTIONS, corner_size
from harness.tasks.task import Evaluation

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
_CHUNK_ELEMENTS = 4_000_000  # of the largest array that average precision makes at once


Similarity = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""From an image's number, rows of its prediction and indices of its objects to (rows, objects), each 0 to 1."""


def evaluate(predictions: Sequence[np.ndarray], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
    """Return mAP by faster-coco-eval, with the per-image facts of ``match``.

    Predictions are float (n, 6), labels ``{"boxes": [[x1, y1, x2, y2]], "classes": [...], "crowd": [...]}`` of the
    same images, all in image pixels. Raises ``DataError`` where no object is labelled or the model knows other classes
    than the data set, ``HarnessError`` where faster-coco-eval is missing.
    """
    check(predictions, labels, classes)
    return Evaluation(
        metrics=coco_official.summary(coco_official.precision(coco_official.documents(predictions, labels), classes)),
        primary="map50_95",
        per_image=match(predictions, labels),
        notes=(protocol(),),
    )


def protocol(similarity: str = "", detections: int = MAX_DETECTIONS) -> str:
    """Return the note that says how the figure was made."""
    note = f"COCO protocol: {detections} detections per image and class, 101 recall levels, all areas"
    return f"{note}, {similarity}" if similarity else note


def check(
    predictions: Sequence[np.ndarray], labels: Sequence[Any], classes: Mapping[int, str], key: str = "boxes"
) -> None:
    """Raise ``DataError`` unless some object is labelled with ``key``, and every predicted class has a name."""
    if any(not isinstance(label, Mapping) or key not in label for label in labels):
        raise DataError(f"the evaluation images carry no {key}", "use a yolo or coco data set that is labelled with it")
    if not any(not crowd for label in labels for crowd in label["crowd"]):
        raise DataError("no object is labelled in the evaluation images", "check the slice and the label files")
    predicted = np.unique(np.concatenate([np.asarray(p)[:, 5] for p in predictions])) if predictions else np.empty(0)
    unknown = [int(index) for index in predicted if int(index) not in classes]
    if unknown:
        raise DataError(
            f"the model predicts class {unknown[0]}, the data set has {len(classes)} classes",
            "evaluate on a data set with the classes that the model was trained on",
        )


# --- matches, once per image -------------------------------------------------------------------------------------


def match(
    predictions: Sequence[np.ndarray],
    labels: Sequence[Any],
    similarity: Similarity | None = None,
    ignored: Sequence[np.ndarray] | None = None,
    limit: int = MAX_DETECTIONS,
) -> dict[str, np.ndarray]:
    """Return the per-image facts of detection, enough to weigh images anew without matching again.

    A prediction (n, 6 or more) has its score in column 4 and its class in column 5. ``similarity`` is by default the
    IoU of boxes, ``ignored`` tells of each image's objects which need not be found (n,), by default the crowds.

    ``det_*`` are of every detection that counts, by class, then falling score, then image: ``det_image``,
    ``det_class``, ``det_score``, ``det_tp`` (n, 10) found an object, ``det_ignore`` (n, 10) found only what is ignored.
    ``gt_image`` and ``gt_class`` are of every object that is not. ``n_images`` counts the images.
    """
    alike = similarity or box_similarity(predictions, labels)
    detections: dict[str, list[np.ndarray]] = {name: [] for name in ("image", "class", "score", "tp", "ignore")}
    gt_image, gt_class = [], []
    for image, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
        crowd, classes = np.array(label["crowd"], dtype=bool), np.array(label["classes"], dtype=np.int64)
        passed = crowd if ignored is None else ignored[image]
        gt_image.append(np.full(int((~passed).sum()), image))
        gt_class.append(classes[~passed])
        for index, rows in _by_class(prediction, limit):
            objects = np.flatnonzero(classes == index)
            overlaps = alike(image, rows, objects) if len(objects) else np.empty((len(rows), 0))
            found, unneeded = _match_one(overlaps, passed[objects], crowd[objects])
            detections["image"].append(np.full(len(rows), image))
            detections["class"].append(np.full(len(rows), index))
            detections["score"].append(prediction[rows, 4].astype(np.float64))
            detections["tp"].append(found)
            detections["ignore"].append(unneeded)
    thresholds = len(IOU_THRESHOLDS)
    empty = {"score": np.empty(0), "tp": np.empty((0, thresholds), bool), "ignore": np.empty((0, thresholds), bool)}
    joined = {name: np.concatenate([empty.get(name, np.empty(0, int)), *parts]) for name, parts in detections.items()}
    order = np.lexsort((-joined["score"], joined["class"]))  # stable: equal scores stay in the order of images
    return {
        "kind": np.array("detect"),
        "n_images": np.array(len(labels)),
        "gt_image": np.concatenate([np.empty(0, int), *gt_image]).astype(np.int32),
        "gt_class": np.concatenate([np.empty(0, int), *gt_class]).astype(np.int32),
        "det_image": joined["image"][order].astype(np.int32),
        "det_class": joined["class"][order].astype(np.int32),
        "det_score": joined["score"][order],
        "det_tp": joined["tp"][order],
        "det_ignore": joined["ignore"][order],
    }


def _by_class(prediction: np.ndarray, limit: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (class, the rows of its best detections by falling score)."""
    ranked = np.argsort(-prediction[:, 4], kind="stable")
    for index in np.unique(prediction[:, 5]):
        yield int(index), ranked[prediction[ranked, 5] == index][:limit]


def _match_one(overlaps: np.ndarray, passed: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return boolean (n, 10) found and ignored, for the similarities of n detections of one class by falling score.

    At each threshold a detection takes the free object that is most alike; failing that it may fall on one that is
    passed over, which is used up too unless it is a crowd. Equals go to the later object, as in the reference.
    """
    found = np.zeros((len(overlaps), len(IOU_THRESHOLDS)), dtype=bool)
    ignored = np.zeros_like(found)
    if not overlaps.size:
        return found, ignored
    wanted, others = overlaps[:, ~passed], overlaps[:, passed]
    taken, used = (np.zeros((len(IOU_THRESHOLDS), part.shape[1]), dtype=bool) for part in (wanted, others))
    levels = np.arange(len(IOU_THRESHOLDS))
    for row in np.flatnonzero(overlaps.max(axis=1) >= IOU_THRESHOLDS[0]):
        if wanted.size:
            best, reached = _best(wanted[row], taken)
            found[row] = reached
            taken[levels[reached], best[reached]] = True
        if others.size:
            best, reached = _best(others[row], used & ~crowd[passed])
            ignored[row] = reached & ~found[row]
            used[levels[ignored[row]], best[ignored[row]]] = True
    return found, ignored


def _best(overlaps: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per threshold the free object that is most alike, the last of equals, and whether it is alike enough."""
    free = np.where(taken, -1.0, overlaps)
    best = free.shape[1] - 1 - free[:, ::-1].argmax(axis=1)
    return best, free[np.arange(len(free)), best] >= IOU_THRESHOLDS


def box_similarity(predictions: Sequence[np.ndarray], labels: Sequence[Any]) -> Similarity:
    """Return the IoU of upright boxes; with a crowd, the share of the detection that lies inside."""

    def similarity(image: int, rows: np.ndarray, objects: np.ndarray) -> np.ndarray:
        truth = np.asarray(labels[image]["boxes"], dtype=np.float64).reshape(-1, 4)[objects]
        crowd = np.array(labels[image]["crowd"], dtype=bool)[objects]
        return _iou(corner_size(predictions[image][rows, :4]), corner_size(truth), crowd)

    return similarity


def _iou(detections: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return (detections, truth) IoU of x, y, width, height boxes; with a crowd, the share of the detection inside."""
    near = np.maximum(detections[:, np.newaxis, :2], truth[:, :2])
    far = np.minimum(detections[:, np.newaxis, :2] + detections[:, np.newaxis, 2:], truth[:, :2] + truth[:, 2:])
    shared = np.prod(np.maximum(far - near, 0), axis=2)
    area = np.prod(detections[:, 2:], axis=1)[:, np.newaxis]
    union = np.where(crowd, area, area + np.prod(truth[:, 2:], axis=1) - shared)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


# --- average precision of weighted images ------------------------------------------------------------------------


def mean_average_precision(facts: Mapping[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return (R, 10) mean over classes of average precision per IoU threshold, for ``weights`` (R, images) >= 0.

    A weight is how many times an image is in the set; with ones the mean over thresholds is ``map50_95``. A class whose
    every object has weight 0 leaves the mean of that row, and so of both arms of a comparison alike; a row where every
    class left is NaN. The copies of a detection stand together, before others of the same score.
    """
    classes = np.unique(facts["gt_class"])
    total = np.zeros((len(weights), len(IOU_THRESHOLDS)))
    present = np.zeros(len(weights), dtype=np.int64)
    starts = np.searchsorted(facts["det_class"], classes, side="left")
    ends = np.searchsorted(facts["det_class"], classes, side="right")
    for index, start, end in zip(classes, starts, ends, strict=True):
        objects = np.bincount(facts["gt_image"][facts["gt_class"] == index], minlength=weights.shape[1])
        positives = weights @ objects.astype(np.float64)
        present += positives > 0
        rows = max(1, _CHUNK_ELEMENTS // max(1, int(end - start)))
        for first in range(0, len(weights), rows):
            chunk = slice(first, first + rows)
            total[chunk] += _average_precision(facts, slice(start, end), weights[chunk], positives[chunk])
    with np.errstate(invalid="ignore"):
        return total / present[:, np.newaxis]


def _average_precision(
    facts: Mapping[str, np.ndarray], detections: slice, weights: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """Return (R, 10) average precision of one class, 0 in rows without an object of it.

    Precision over recall can only have a peak at a detection that found something, so the curve is drawn through
    those alone: a few per class, where all detections are thousands.
    """
    found, ignored = facts["det_tp"][detections], facts["det_ignore"][detections]
    peaks = np.flatnonzero(found.any(axis=1))
    if not len(peaks):
        return np.zeros((len(weights), found.shape[1]))
    by_detection = weights[:, facts["det_image"][detections]].astype(np.float64)
    seen = by_detection.cumsum(axis=1)[:, np.newaxis, peaks]
    if ignored.any():
        seen = seen - np.stack([(by_detection * level).cumsum(axis=1)[:, peaks] for level in ignored.T], axis=1)
    hits = (by_detection[:, np.newaxis, peaks] * found[peaks].T).cumsum(axis=2)
    precision = hits / np.maximum(seen, np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
    recall = hits / np.where(positives > 0, positives, np.inf)[:, np.newaxis, np.newaxis]
    # Recall levels that each peak is the first to reach; level 0 is reached by the first.
    reached = np.searchsorted(RECALL_LEVELS, recall, side="right")
    steps = np.diff(reached, axis=2, prepend=0)
    return np.asarray((steps * envelope).sum(axis=2) / len(RECALL_LEVELS))
