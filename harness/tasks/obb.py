"""Oriented boxes: decoding of the head, suppression by probabilistic IoU, mean average precision of rotated boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.tasks import coco_map, oriented
from harness.tasks.detector import Detector, DetectorParameters
from harness.tasks.task import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.tasks.heads import Candidates
    from harness.tasks.task import Frame


@dataclass(frozen=True)
class ObbParameters(DetectorParameters):
    """How a detector of oriented boxes is fed and read; the defaults are those of Ultralytics' YOLOv8 to YOLO26."""


class Obb(Detector):
    """Rotated boxes with classes.

    A prediction is float32 (n, 7): centre x, centre y, width, height in image pixels, score, class, and the angle in
    radians that the width is turned by, from x to y; best first. Boxes are not clipped to the image.
    """

    name: ClassVar[str] = "obb"
    labels: ClassVar[str] = "corners"
    centred = True

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[np.ndarray]:
        """Return one prediction per frame. Raises ``HarnessError`` where the first output has not three dimensions."""
        kept = self.found(next(iter(outputs.values())), len(frames), extra=1)
        return [_rows(found, frame) for found, frame in zip(kept, frames, strict=True)]

    def _suppressed(self, candidates: Candidates) -> np.ndarray:
        boxes = np.concatenate([candidates.boxes, candidates.extra], axis=1)
        classes = None if self.parameters.agnostic else candidates.classes
        return oriented.suppress(boxes, candidates.scores, classes, self.parameters.iou, self.parameters.max_detections)

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return mAP by the IoU of rotated boxes, and by the probabilistic IoU of Ultralytics' validation.

        Labels with ``corners``, of which each becomes the smallest rectangle around it, as models are trained.
        """
        coco_map.check(predictions, labels, classes, "corners")
        truth = [
            oriented.enclosing(np.asarray(label["corners"], dtype=np.float64).reshape(-1, 4, 2)) for label in labels
        ]
        facts = coco_map.match(predictions, labels, _similarity(predictions, truth, oriented.rotated_iou))
        of_gaussians = coco_map.match(predictions, labels, _similarity(predictions, truth, oriented.probabilistic_iou))
        once = np.ones((1, len(labels)))
        exact = coco_map.mean_average_precision(facts, once)[0]
        gaussian = coco_map.mean_average_precision(of_gaussians, once)[0]
        return Evaluation(
            metrics={
                "map50_95": float(exact.mean()),
                "map50": float(exact[0]),
                "probiou_map50_95": float(gaussian.mean()),
                "probiou_map50": float(gaussian[0]),
            },
            primary="map50_95",
            per_image=facts,
            notes=(coco_map.protocol("IoU of rotated boxes"),),
        )


def _rows(found: Candidates, frame: Frame) -> np.ndarray:
    prediction = np.empty((len(found.scores), 7), dtype=np.float32)
    prediction[:, 0] = (found.boxes[:, 0] - frame.pad_x) / frame.scale_x
    prediction[:, 1] = (found.boxes[:, 1] - frame.pad_y) / frame.scale_y
    # As Ultralytics does; the two scales of a letterbox differ by less than a pixel over the whole side.
    prediction[:, 2] = found.boxes[:, 2] / frame.scale_x
    prediction[:, 3] = found.boxes[:, 3] / frame.scale_y
    prediction[:, 4] = found.scores
    prediction[:, 5] = found.classes
    prediction[:, 6] = found.extra[:, 0]
    return prediction


def _similarity(
    predictions: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> coco_map.Similarity:
    def similarity(image: int, rows: np.ndarray, objects: np.ndarray) -> np.ndarray:
        boxes = predictions[image][rows].astype(np.float64)
        return measure(boxes[:, [0, 1, 2, 3, 6]], truth[image][objects])

    return similarity
