"""COCO's mean average precision: the published figure, and the matches per image that intervals are made of.

The protocol is that of COCO's reference evaluation (github.com/cocodataset/cocoapi, ``cocoeval.py``): ten IoU
thresholds, at most 100 detections per image and class, 101 recall levels, all areas, crowds neither found nor missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import DataError, HarnessError
from harness.tasks.task import Evaluation

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
_CHUNK_ELEMENTS = 4_000_000  # of the largest array that average precision makes at once


def evaluate(predictions: Sequence[np.ndarray], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
    """Return mAP by faster-coco-eval, with the per-image facts of ``match``.

    Predictions are float (n, 6), labels ``{"boxes": [[x1, y1, x2, y2]], "classes": [...], "crowd": [...]}`` of the
    same images, all in image pixels. Raises ``DataError`` where no object is labelled or the model knows other classes
    than the data set, ``HarnessError`` where faster-coco-eval is missing.
    """
    _check(predictions, labels, classes)
    precision = _official_precision(predictions, labels, classes)
    valid = precision > -1
    return Evaluation(
        metrics={
            "map50_95": float(precision[valid].mean()),
            "map50": float(precision[0][valid[0]].mean()),
        },
        primary="map50_95",
        per_image=match(predictions, labels),
        notes=("COCO protocol: 100 detections per image and class, 101 recall levels, all areas",),
    )


def _check(predictions: Sequence[np.ndarray], labels: Sequence[Any], classes: Mapping[int, str]) -> None:
    if any(not isinstance(label, Mapping) for label in labels):
        raise DataError("the evaluation images carry no boxes", "use a yolo or coco data set for the task detect")
    if not any(not crowd for label in labels for crowd in label["crowd"]):
        raise DataError("no object is labelled in the evaluation images", "check the slice and the label files")
    predicted = np.unique(np.concatenate([np.asarray(p)[:, 5] for p in predictions])) if predictions else np.empty(0)
    unknown = [int(index) for index in predicted if int(index) not in classes]
    if unknown:
        raise DataError(
            f"the model predicts class {unknown[0]}, the data set has {len(classes)} classes",
            "evaluate on a data set with the classes that the model was trained on",
        )


def _official_precision(
    predictions: Sequence[np.ndarray], labels: Sequence[Any], classes: Mapping[int, str]
) -> np.ndarray:
    """Return (10 IoU thresholds, 101 recall levels, classes) precision; -1 for a class without objects."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 - never loaded in a measured process
    except ImportError as error:
        raise HarnessError(
            f"detect: faster-coco-eval cannot be imported: {error}", "pip install faster-coco-eval"
        ) from error
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (prediction, label) in enumerate(zip(predictions, labels, strict=True), start=1):
        for box, index, crowd in zip(_corner_size(label["boxes"]), label["classes"], label["crowd"], strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(index),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(crowd),
                }
            )
        boxes = _corner_size(prediction[:, :4])
        for box, score, index in zip(boxes.tolist(), prediction[:, 4].tolist(), prediction[:, 5].tolist(), strict=True):
            results.append({"image_id": image, "category_id": int(index), "bbox": box, "score": score})
    truth = COCO(
        {
            "images": [{"id": image} for image in range(1, len(labels) + 1)],
            "categories": [{"id": index, "name": name} for index, name in classes.items()],
            "annotations": annotations,
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox")
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def _corner_size(boxes: Any) -> np.ndarray:
    """Return float64 x, y, width, height from x1, y1, x2, y2: the form in which COCO computes."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


# --- matches, once per image -------------------------------------------------------------------------------------


def match(predictions: Sequence[np.ndarray], labels: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return the per-image facts of detection, enough to weigh images anew without matching again.

    ``det_*`` are of every detection that counts, by class, then falling score, then image: ``det_image``,
    ``det_class``, ``det_score``, ``det_tp`` (n, 10) found an object, ``det_ignore`` (n, 10) found only a crowd.
    ``gt_image`` and ``gt_class`` are of every object that is no crowd. ``n_images`` counts the images.
    """
    detections: dict[str, list[np.ndarray]] = {name: [] for name in ("image", "class", "score", "tp", "ignore")}
    gt_image, gt_class = [], []
    for image, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
        crowd, classes = np.array(label["crowd"], dtype=bool), np.array(label["classes"], dtype=np.int64)
        gt_image.append(np.full(int((~crowd).sum()), image))
        gt_class.append(classes[~crowd])
        for index, rows in _by_class(prediction):
            of_class = classes == index
            truth = np.asarray(label["boxes"], dtype=np.float64).reshape(-1, 4)[of_class]
            found, ignored = _match_one(_corner_size(rows[:, :4]), _corner_size(truth), crowd[of_class])
            detections["image"].append(np.full(len(rows), image))
            detections["class"].append(np.full(len(rows), index))
            detections["score"].append(rows[:, 4].astype(np.float64))
            detections["tp"].append(found)
            detections["ignore"].append(ignored)
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


def _by_class(prediction: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (class, its best 100 rows by falling score)."""
    ranked = prediction[np.argsort(-prediction[:, 4], kind="stable")]
    for index in np.unique(ranked[:, 5]):
        yield int(index), ranked[ranked[:, 5] == index][:MAX_DETECTIONS]


def _match_one(detections: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return boolean (n, 10) found and ignored, for detections of one image and class by falling score.

    At each threshold a detection takes the free object of highest IoU; failing that it may fall on a crowd, which is
    never used up. Equal IoUs go to the later object, as in the reference.
    """
    found = np.zeros((len(detections), len(IOU_THRESHOLDS)), dtype=bool)
    ignored = np.zeros_like(found)
    if not len(truth):
        return found, ignored
    overlaps = _iou(detections, truth, crowd)
    objects = np.flatnonzero(~crowd)
    taken = np.zeros((len(IOU_THRESHOLDS), len(objects)), dtype=bool)
    levels = np.arange(len(IOU_THRESHOLDS))
    for row in np.flatnonzero(overlaps.max(axis=1) >= IOU_THRESHOLDS[0]):
        if len(objects):
            free = np.where(taken, -1.0, overlaps[row, objects])
            best = len(objects) - 1 - free[:, ::-1].argmax(axis=1)
            found[row] = free[levels, best] >= IOU_THRESHOLDS
            taken[levels[found[row]], best[found[row]]] = True
        if crowd.any():
            ignored[row] = ~found[row] & (overlaps[row, crowd].max() >= IOU_THRESHOLDS)
    return found, ignored


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
