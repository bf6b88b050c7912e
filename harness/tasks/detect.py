"""Object detection: letterbox, decoding of the head, suppression of duplicates, COCO's mean average precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.tasks import coco_map
from harness.tasks.boxes import to_image
from harness.tasks.detector import Detector, DetectorParameters
from harness.tasks.heads import HEADS, Candidates
from harness.tasks.parameters import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.tasks.task import Evaluation, Frame


@dataclass(frozen=True)
class DetectParameters(DetectorParameters):
    """How a detector is fed and read; the defaults are those of Ultralytics' YOLOv8 to YOLO26.

    YOLOX: ``head: yolox, letterbox: topleft, channels: bgr, scale: 1``.
    """

    head: str = "yolo"  # layout of the first output, see ``harness.tasks.heads``; ``yolo`` reads an end-to-end one too
    input_size: tuple[int, int] | None = None  # (height, width), which a yolox head needs where it is not square

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("detect", "head", self.head, HEADS)


class Detect(Detector):
    """Boxes with classes. A prediction is float32 (n, 6): x1, y1, x2, y2 in image pixels, score, class; best first."""

    name: ClassVar[str] = "detect"
    parameters: DetectParameters

    def __init__(self, parameters: DetectParameters) -> None:
        super().__init__(parameters)
        self.head = parameters.head

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[np.ndarray]:
        """Return one prediction per frame. Raises ``HarnessError`` where the first output has not three dimensions."""
        kept = self.found(next(iter(outputs.values())), len(frames))
        return [rows(found, frame) for found, frame in zip(kept, frames, strict=True)]

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return COCO's mAP over IoU 0.50:0.95 and at 0.50; labels as in ``harness.tasks.datasets``."""
        return coco_map.evaluate(predictions, labels, classes)

    def _input_size(self) -> tuple[int, int] | None:
        return self.parameters.input_size


def rows(found: Candidates, frame: Frame) -> np.ndarray:
    """Return float32 (n, 6) of candidates with corners: the box in image pixels, score, class."""
    prediction = np.empty((len(found.scores), 6), dtype=np.float32)
    prediction[:, :4] = to_image(found.boxes, frame)
    prediction[:, 4] = found.scores
    prediction[:, 5] = found.classes
    return prediction
