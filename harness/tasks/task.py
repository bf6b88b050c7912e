"""The contract of a task: image to tensor, outputs to predictions, predictions and labels to metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


@dataclass(frozen=True)
class Frame:
    """How one image became one input: what post-processing needs to map results back to image pixels.

    A point (x, y) of the input lies at ((x - pad_x) / scale_x, (y - pad_y) / scale_y) of the image.
    """

    width: int = 0  # of the image, pixels
    height: int = 0
    scale_x: float = 1.0
    scale_y: float = 1.0
    pad_x: float = 0.0
    pad_y: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """Metrics over a data set, and the per-image facts that paired intervals need."""

    metrics: Mapping[str, float]
    primary: str
    per_image: Mapping[str, np.ndarray] = field(default_factory=dict)  # arrays of an .npz, see ``results.paired``
    notes: tuple[str, ...] = ()


class Task(ABC):
    """One kind of work.

    Importing its module loads the standard library and numpy only; image codecs and metric libraries are imported
    inside ``preprocess`` and ``evaluate``; of the timed processes only those whose work it is to decode run the former.
    """

    name: ClassVar[str]
    labels: ClassVar[str] = "boxes"
    """What of an object its metric needs: a form of ``harness.tasks.datasets``."""

    @abstractmethod
    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Return a float32 (C, H, W) input of ``shape`` and its frame, from a uint8 RGB (H, W, 3) image."""

    @abstractmethod
    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[Any]:
        """Return one prediction per frame from the raw outputs of a batch: part of the headline latency."""

    def for_evaluation(self) -> Task:
        """Return the task with the parameters of validation, where they differ from deployment's."""
        return self

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return metrics over predictions and the labels of the same images, in the same order."""
        raise NotImplementedError(f"{self.name} has no metric")
