"""Object detection: letterbox, decoding of the head, suppression of duplicates, COCO's mean average precision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import HarnessError
from harness.tasks import coco_map
from harness.tasks.boxes import Letterbox, suppress, to_image
from harness.tasks.heads import HEADS, Candidates, Selection
from harness.tasks.parameters import TaskParameters, one_of
from harness.tasks.task import Evaluation, Frame, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LETTERBOXES = ("center", "topleft")
CHANNELS = ("rgb", "bgr")
_VALIDATION_CONFIDENCE = 0.001
_VALIDATION_DETECTIONS = 300


@dataclass(frozen=True)
class DetectParameters(TaskParameters):
    """How a detector is fed and read; the defaults are those of Ultralytics' YOLOv8 to YOLO11.

    YOLOX: ``head: yolox, letterbox: topleft, channels: bgr, scale: 1``.
    """

    head: str = "yolo"  # layout of the first output, see ``harness.tasks.heads``
    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300  # of one image
    agnostic: bool = False  # suppress across classes
    multi_label: bool = False  # a box may give several detections
    letterbox: str = "center"
    pad: int = 114
    channels: str = "rgb"
    scale: float = 255.0  # pixels are divided by it
    input_size: tuple[int, int] | None = None  # (height, width), which a yolox head needs where it is not square

    def __post_init__(self) -> None:
        one_of("detect", "head", self.head, HEADS)
        one_of("detect", "letterbox", self.letterbox, LETTERBOXES)
        one_of("detect", "channels", self.channels, CHANNELS)
        for key, value in (("confidence", self.confidence), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise HarnessError(f"detect: {key} is {value}", "give a number from 0 to 1")
        if self.max_detections < 1:
            raise HarnessError(f"detect: max_detections is {self.max_detections}", "give at least 1")
        if not 0 <= self.pad <= 255:
            raise HarnessError(f"detect: pad is {self.pad}", "give a pixel value from 0 to 255, for example 114")
        if not self.scale > 0:
            raise HarnessError(f"detect: scale is {self.scale}", "give 255 for inputs from 0 to 1, 1 for 0 to 255")


class Detect(Task):
    """Boxes with classes. A prediction is float32 (n, 6): x1, y1, x2, y2 in image pixels, score, class; best first."""

    name: ClassVar[str] = "detect"

    def __init__(self, parameters: DetectParameters) -> None:
        self.parameters = parameters
        self._decode = HEADS[parameters.head]
        self._selection = Selection(parameters.confidence, parameters.multi_label, parameters.input_size)

    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Return float32 (3, H, W): letterboxed to ``shape``, divided by ``scale``. Raises ``HarnessError``."""
        _, height, width = shape
        letterbox = Letterbox(height, width, self.parameters.letterbox == "center", self.parameters.pad)
        canvas, frame = letterbox.apply(image)
        planes = canvas.transpose(2, 0, 1)
        if self.parameters.channels == "bgr":
            planes = planes[::-1]
        return np.ascontiguousarray(planes, dtype=np.float32) / np.float32(self.parameters.scale), frame

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[np.ndarray]:
        """Return one prediction per frame. Raises ``HarnessError`` where the first output has not three dimensions."""
        output = next(iter(outputs.values()))
        if output.ndim != 3:
            raise HarnessError(
                f"detect: the first output has shape {output.shape}, a {self.parameters.head} head has 3 dimensions",
                f"export the model without post-processing, or set head to one of {', '.join(HEADS)}",
            )
        raw = output.astype(np.float32, copy=False)[: len(frames)]
        return [self._finish(self._decode(one, self._selection), frame) for one, frame in zip(raw, frames, strict=True)]

    def _finish(self, found: Candidates, frame: Frame) -> np.ndarray:
        if self.parameters.head == "end2end":
            kept = np.argsort(-found.scores, kind="stable")[: self.parameters.max_detections]
        else:
            classes = None if self.parameters.agnostic else found.classes
            kept = suppress(found.boxes, found.scores, classes, self.parameters.iou, self.parameters.max_detections)
        prediction = np.empty((len(kept), 6), dtype=np.float32)
        prediction[:, :4] = to_image(found.boxes[kept], frame)
        prediction[:, 4] = found.scores[kept]
        prediction[:, 5] = found.classes[kept]
        return prediction

    def for_evaluation(self) -> Detect:
        """Return the task at confidence 0.001, all labels of a box, at least 300 detections; IoU stays as deployed.

        With the default IoU of 0.7 these are the settings of Ultralytics' own validation.
        """
        return Detect(
            dataclasses.replace(
                self.parameters,
                confidence=_VALIDATION_CONFIDENCE,
                multi_label=True,
                max_detections=max(self.parameters.max_detections, _VALIDATION_DETECTIONS),
            )
        )

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return COCO's mAP over IoU 0.50:0.95 and at 0.50; labels as in ``harness.tasks.datasets``."""
        return coco_map.evaluate(predictions, labels, classes)
