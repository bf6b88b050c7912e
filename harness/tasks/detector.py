"""What every detector shares: the letterbox, the reading of the head, suppression, and the settings of validation."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError
from harness.tasks.boxes import Letterbox, suppress
from harness.tasks.heads import HEADS, Candidates, Selection
from harness.tasks.parameters import TaskParameters, one_of
from harness.tasks.task import Frame, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LETTERBOXES = ("center", "topleft")
CHANNELS = ("rgb", "bgr")
_VALIDATION_CONFIDENCE = 0.001
_VALIDATION_DETECTIONS = 300
_END_TO_END = "end2end"


@dataclass(frozen=True)
class DetectorParameters(TaskParameters):
    """How a detector is fed and its boxes are chosen; the defaults are those of Ultralytics' YOLOv8 to YOLO26."""

    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300  # of one image
    agnostic: bool = False  # suppress across classes
    multi_label: bool = False  # a box may give several detections
    letterbox: str = "center"
    pad: int = 114
    channels: str = "rgb"
    scale: float = 255.0  # pixels are divided by it

    def __post_init__(self) -> None:
        task = type(self).__name__.removesuffix("Parameters").lower()
        one_of(task, "letterbox", self.letterbox, LETTERBOXES)
        one_of(task, "channels", self.channels, CHANNELS)
        for key, value in (("confidence", self.confidence), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise HarnessError(f"{task}: {key} is {value}", "give a number from 0 to 1")
        if self.max_detections < 1:
            raise HarnessError(f"{task}: max_detections is {self.max_detections}", "give at least 1")
        if not 0 <= self.pad <= 255:
            raise HarnessError(f"{task}: pad is {self.pad}", "give a pixel value from 0 to 255, for example 114")
        if not self.scale > 0:
            raise HarnessError(f"{task}: scale is {self.scale}", "give 255 for inputs from 0 to 1, 1 for 0 to 255")


class Detector(Task):
    """A model that answers with boxes, and with more of each box where ``extra`` channels follow its class scores."""

    parameters: DetectorParameters
    head = "yolo"  # key of ``harness.tasks.heads.HEADS``
    centred = False  # boxes are centre, width and height throughout

    def __init__(self, parameters: DetectorParameters) -> None:
        self.parameters = parameters

    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Return float32 (3, H, W): letterboxed to ``shape``, divided by ``scale``. Raises ``HarnessError``."""
        _, height, width = shape
        letterbox = Letterbox(height, width, self.parameters.letterbox == "center", self.parameters.pad)
        canvas, frame = letterbox.apply(image)
        planes = canvas.transpose(2, 0, 1)
        if self.parameters.channels == "bgr":
            planes = planes[::-1]
        return np.ascontiguousarray(planes, dtype=np.float32) / np.float32(self.parameters.scale), frame

    def for_evaluation(self) -> Task:
        """Return the task at confidence 0.001, all labels of a box, at least 300 detections; IoU stays as deployed.

        With the default IoU of 0.7 these are the settings of Ultralytics' own validation.
        """
        return type(self)(dataclasses.replace(self.parameters, **self._validation()))

    def _validation(self) -> dict[str, Any]:
        return {
            "confidence": _VALIDATION_CONFIDENCE,
            "multi_label": True,
            "max_detections": max(self.parameters.max_detections, _VALIDATION_DETECTIONS),
        }

    @abstractmethod
    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[Any]:
        """Return one prediction per frame."""

    def found(self, output: np.ndarray, count: int, extra: int = 0) -> Iterator[Candidates]:
        """Yield what is kept of each of the first ``count`` images, best first, in pixels of the input.

        A ``yolo`` head answers (batch, 4 + classes + extra, boxes); rows of 6 + extra instead are those of an
        end-to-end one, which has left no duplicates. Raises ``HarnessError`` where the output has not three dimensions.
        """
        if output.ndim != 3:
            raise HarnessError(
                f"{self.name}: the first output has shape {output.shape}, a {self.head} head has 3 dimensions",
                f"export the model without post-processing; heads that are read: {', '.join(HEADS)}",
            )
        head = _END_TO_END if self.head == "yolo" and output.shape[2] == 6 + extra else self.head
        if head == "yolo" and output.shape[1] < 5 + extra:
            raise HarnessError(
                f"{self.name}: the first output has shape {output.shape}: no class score beside 4 of a box and {extra}",
                "name the task that the model was trained for",
            )
        selection = Selection(
            self.parameters.confidence, self.parameters.multi_label, self._input_size(), extra, self.centred
        )
        for one in output.astype(np.float32, copy=False)[:count]:
            candidates = HEADS[head](one, selection)
            if head == _END_TO_END:
                kept = np.argsort(-candidates.scores, kind="stable")[: self.parameters.max_detections]
            else:
                kept = self._suppressed(candidates)
            yield candidates.take(kept)

    def _input_size(self) -> tuple[int, int] | None:
        return None

    def _suppressed(self, candidates: Candidates) -> np.ndarray:
        classes = None if self.parameters.agnostic else candidates.classes
        return suppress(
            candidates.boxes, candidates.scores, classes, self.parameters.iou, self.parameters.max_detections
        )
