"""A model that is only timed: no data, no metric, the outputs as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import HarnessError
from harness.tasks.parameters import TaskParameters
from harness.tasks.task import Frame, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


@dataclass(frozen=True)
class RawParameters(TaskParameters):
    """The task ``raw`` has no parameters of its own."""


class Raw(Task):
    """Any model over seeded inputs; says nothing about what the outputs mean."""

    name: ClassVar[str] = "raw"

    def __init__(self, parameters: RawParameters) -> None:
        self.parameters = parameters

    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Raise ``HarnessError``: what an image means to this model is unknown."""
        del image, shape
        raise HarnessError("the task raw takes no images", "name a task that does, such as classify or detect")

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[Any]:
        """Return per frame its row of every output, as views; an output without the batch's axis is given whole."""
        batch = len(frames)
        return [
            {name: array[row] if array.ndim and len(array) >= batch else array for name, array in outputs.items()}
            for row in range(batch)
        ]
