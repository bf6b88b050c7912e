"""COCO's published figures by faster-coco-eval: boxes, masks and keypoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DETECTIONS = 100


@dataclass(frozen=True)
class Documents:
    """What COCO's evaluation reads: images, annotations and results, each a list of mappings in the order given."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    results: list[dict[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """What is compared, and how many detections of an image and class count."""

    kind: str = "bbox"  # or segm, keypoints
    max_detections: int = MAX_DETECTIONS
    sigmas: tuple[float, ...] = field(default=())  # of keypoints


def documents(predictions: Sequence[np.ndarray], labels: Sequence[Any]) -> Documents:
    """Return boxes, scores and classes as documents.

    Predictions are (n, 6 or more): x1, y1, x2, y2, score, class; labels as in ``harness.tasks.datasets``.
    """
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (prediction, label) in enumerate(zip(predictions, labels, strict=True), start=1):
        for box, index, crowd in zip(corner_size(label["boxes"]), label["classes"], label["crowd"], strict=True):
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
        boxes = corner_size(prediction[:, :4])
        for box, score, index in zip(boxes.tolist(), prediction[:, 4].tolist(), prediction[:, 5].tolist(), strict=True):
            results.append({"image_id": image, "category_id": int(index), "bbox": box, "score": score})
    return Documents([{"id": image} for image in range(1, len(labels) + 1)], annotations, results)


def precision(
    given: Documents,
    classes: Mapping[int, str],
    protocol: Protocol = Protocol(),
) -> np.ndarray:
    """Return (10 thresholds, 101 recall levels, classes) precision; -1 for a class without objects.

    Raises ``HarnessError`` where faster-coco-eval is missing.
    """
    library = require()
    truth = library.COCO(
        {
            "images": given.images,
            "categories": [{"id": index, "name": name} for index, name in classes.items()],
            "annotations": given.annotations,
        }
    )
    evaluation = library.COCOeval_faster(truth, truth.loadRes(given.results), protocol.kind)
    evaluation.params.maxDets = [protocol.max_detections]
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    if protocol.sigmas:
        evaluation.params.kpt_oks_sigmas = np.asarray(protocol.sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def summary(found: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Return mAP over the thresholds 0.50:0.95 and at 0.50 from what ``precision`` gives."""
    valid = found > -1
    return {
        f"{prefix}map50_95": float(found[valid].mean()),
        f"{prefix}map50": float(found[0][valid[0]].mean()),
    }


def require() -> Any:
    """Return faster-coco-eval, never loaded in a measured process. Raises ``HarnessError``."""
    try:
        import faster_coco_eval  # noqa: PLC0415 - as above
    except ImportError as error:
        raise HarnessError(f"faster-coco-eval cannot be imported: {error}", "pip install faster-coco-eval") from error
    return faster_coco_eval


def corner_size(boxes: Any) -> np.ndarray:
    """Return float64 x, y, width, height from x1, y1, x2, y2: the form in which COCO computes."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
