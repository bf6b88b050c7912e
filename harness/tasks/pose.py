"""Keypoints: boxes as a detector's, the keypoints of each, COCO's mean average precision by keypoint similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import DataError, HarnessError
from harness.tasks import coco_map, coco_official
from harness.tasks.detect import rows
from harness.tasks.detector import Detector, DetectorParameters
from harness.tasks.task import Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.tasks.heads import Candidates
    from harness.tasks.task import Frame

MAX_DETECTIONS = 20
"""Detections of one image that COCO's keypoint evaluation counts."""

COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035),  # nose, eyes, ears
    *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),  # shoulders, elbows, wrists
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),  # hips, knees, ankles
)
"""Per-keypoint constants of COCO's 17 keypoints (cocodataset.org, keypoint evaluation; ``cocoeval.py``)."""


@dataclass(frozen=True)
class PoseParameters(DetectorParameters):
    """How a pose model is fed and read; the defaults are those of Ultralytics' YOLOv8 to YOLO26."""

    keypoints: tuple[int, int] = (17, 3)  # how many, and values of each: x, y, and visibility where there are three
    sigmas: tuple[float, ...] = ()  # one of each keypoint; COCO's for 17, 1 / keypoints for any other number

    def __post_init__(self) -> None:
        super().__post_init__()
        count, values = self.keypoints
        if count < 1 or values not in (2, 3):
            raise HarnessError(
                f"pose: keypoints is {list(self.keypoints)}", "give [how many, 2 or 3], for example [17, 3]"
            )
        if self.sigmas and (len(self.sigmas) != count or min(self.sigmas) <= 0):
            raise HarnessError(f"pose: {len(self.sigmas)} sigmas of {count} keypoints", "give a positive one of each")


class Pose(Detector):
    """Keypoints of each box.

    A prediction is float32 (n, 6 + keypoints x values): a detection as of the task detect, then the keypoints, x and y
    in image pixels; best first.
    """

    name: ClassVar[str] = "pose"
    labels: ClassVar[str] = "keypoints"
    parameters: PoseParameters

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[np.ndarray]:
        """Return one prediction per frame. Raises ``HarnessError`` where the first output is no pose head's."""
        count, values = self.parameters.keypoints
        kept = self.found(next(iter(outputs.values())), len(frames), extra=count * values)
        return [self._rows(found, frame) for found, frame in zip(kept, frames, strict=True)]

    def _rows(self, found: Candidates, frame: Frame) -> np.ndarray:
        points = found.extra.reshape(len(found.scores), *self.parameters.keypoints).copy()
        points[..., 0] = np.clip((points[..., 0] - frame.pad_x) / frame.scale_x, 0, frame.width)
        points[..., 1] = np.clip((points[..., 1] - frame.pad_y) / frame.scale_y, 0, frame.height)
        return np.concatenate([rows(found, frame), points.reshape(len(points), -1)], axis=1, dtype=np.float32)

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return COCO's mAP by object keypoint similarity, and of boxes; labels with ``keypoints`` and ``areas``.

        An object without a labelled keypoint need not be found, as in COCO.
        """
        count, values = self.parameters.keypoints
        coco_map.check(predictions, labels, classes, "keypoints")
        for label in labels:
            if any(len(points) != count for points in label["keypoints"]):
                found = next(len(points) for points in label["keypoints"] if len(points) != count)
                raise DataError(f"an object has {found} keypoints, the task {count}", "set keypoints of the task pose")
        if not any(_labelled(label).any() for label in labels):
            raise DataError("no keypoint is labelled in the evaluation images", "check the slice and the label files")
        sigmas = self.parameters.sigmas or (COCO_SIGMAS if count == len(COCO_SIGMAS) else (1 / count,) * count)
        of_boxes = coco_official.summary(
            coco_official.precision(coco_official.documents(predictions, labels), classes), "box_"
        )
        given = coco_official.documents(predictions, labels)
        points = [points for label in labels for points in label["keypoints"]]
        areas = [area for label in labels for area in label["areas"]]
        for annotation, place, area in zip(given.annotations, points, areas, strict=True):
            annotation["keypoints"] = [value for point in place for value in point]
            annotation["num_keypoints"] = sum(point[2] > 0 for point in place)
            annotation["area"] = area
        for result, row in zip(given.results, (row for prediction in predictions for row in prediction), strict=True):
            place = np.ones((count, 3))  # COCO's form; it does not read the third value
            place[:, :2] = row[6:].reshape(count, values)[:, :2]
            result["keypoints"] = place.ravel().tolist()
        precision = coco_official.precision(given, classes, coco_official.Protocol("keypoints", MAX_DETECTIONS, sigmas))
        return Evaluation(
            metrics={**coco_official.summary(precision), **of_boxes},
            primary="map50_95",
            per_image=coco_map.match(
                predictions,
                labels,
                self._similarity(predictions, labels, np.array(sigmas)),
                [~_labelled(label) for label in labels],
                MAX_DETECTIONS,
            ),
            notes=(coco_map.protocol("object keypoint similarity", MAX_DETECTIONS),),
        )

    def _similarity(
        self, predictions: Sequence[np.ndarray], labels: Sequence[Any], sigmas: np.ndarray
    ) -> coco_map.Similarity:
        def similarity(image: int, chosen: np.ndarray, objects: np.ndarray) -> np.ndarray:
            label = labels[image]
            found = predictions[image][chosen, 6:].astype(np.float64).reshape(-1, *self.parameters.keypoints)[..., :2]
            return np.stack(
                [
                    object_keypoint_similarity(
                        found,
                        np.asarray(label["keypoints"][index], dtype=np.float64),
                        coco_official.corner_size(label["boxes"][index])[0],
                        label["areas"][index],
                        sigmas,
                    )
                    for index in objects
                ],
                axis=1,
            )

        return similarity


def object_keypoint_similarity(
    found: np.ndarray, points: np.ndarray, box: np.ndarray, area: float, sigmas: np.ndarray
) -> np.ndarray:
    """Return (n,) similarity of predicted keypoints (n, k, 2) to one object's (k, 3: x, y, visibility).

    The mean over labelled keypoints of exp(-d² / (2 area (2 sigma)²)), d in pixels (COCO, ``computeOks``). Of an object
    without one, d is the distance from its box (x, y, width, height), grown by its size on each side.
    """
    labelled = points[:, 2] > 0
    if labelled.any():
        apart = (found - points[:, :2])[:, labelled]
        constants = sigmas[labelled]
    else:
        near, far = box[:2] - box[2:], box[:2] + 2 * box[2:]
        apart = np.maximum(near - found, 0) + np.maximum(found - far, 0)
        constants = sigmas
    scaled = (apart**2).sum(axis=2) / (2 * constants) ** 2 / (area + np.spacing(1)) / 2
    return np.asarray(np.exp(-scaled).mean(axis=1))


def _labelled(label: Mapping[str, Any]) -> np.ndarray:
    """Return of each object whether it is to be found: no crowd, and some keypoint of it is labelled."""
    seen = np.array([any(point[2] > 0 for point in points) for points in label["keypoints"]], dtype=bool)
    return np.asarray(seen & ~np.array(label["crowd"], dtype=bool))
