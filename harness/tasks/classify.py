"""Image classification: resize and crop as validation scripts do, the five best classes, top-1 and top-5 accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import DataError, HarnessError
from harness.tasks.parameters import TaskParameters, one_of
from harness.tasks.task import Evaluation, Frame, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERPOLATIONS = ("bicubic", "bilinear")
_TOP = 5


@dataclass(frozen=True)
class ClassifyParameters(TaskParameters):
    """How an image becomes an input: ``(pixel - mean) / std``, pixels in RGB from 0 to 255, one number or one each.

    The default is torchvision's ImageNet normalisation times 255; EfficientNet-Lite is ``mean: 127, std: 128``.
    """

    resize: int = 256  # short side before the centre crop to the input's size, pixels
    interpolation: str = "bilinear"  # both are antialiased (Pillow's), as in torchvision on Pillow images
    mean: float | tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: float | tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        one_of("classify", "interpolation", self.interpolation, INTERPOLATIONS)
        if self.resize < 1:
            raise HarnessError(f"classify: resize is {self.resize}", "give the short side in pixels, for example 256")
        if not np.all(np.asarray(self.std) > 0):
            raise HarnessError(f"classify: std is {self.std}", "give positive numbers in units of 0 to 255")


class Classify(Task):
    """One label per image; the model's first output is (B, classes), logits or probabilities alike."""

    name: ClassVar[str] = "classify"

    def __init__(self, parameters: ClassifyParameters) -> None:
        self.parameters = parameters
        self._mean = np.asarray(parameters.mean, dtype=np.float32)
        self._std = np.asarray(parameters.std, dtype=np.float32)

    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Return float32 (3, H, W): short side to ``resize``, centre crop to ``shape``, normalised.

        Raises ``HarnessError`` where the input is larger than the resized image.
        """
        from PIL import Image  # noqa: PLC0415 - never loaded in a measured process

        _, crop_height, crop_width = shape
        height, width = image.shape[:2]
        short, target = min(height, width), self.parameters.resize
        # The long side is cut to an integer as torchvision's Resize does.
        new_height, new_width = target * height // short, target * width // short
        if crop_height > new_height or crop_width > new_width:
            raise HarnessError(
                f"classify: resize {target} gives {new_width} x {new_height}, smaller than the input of "
                f"{crop_width} x {crop_height}",
                f"set resize to at least {max(crop_height, crop_width)}",
            )
        method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
        resized = Image.fromarray(image).resize((new_width, new_height), method[self.parameters.interpolation])
        top, left = round((new_height - crop_height) / 2), round((new_width - crop_width) / 2)
        pixels = np.asarray(resized, dtype=np.float32)[top : top + crop_height, left : left + crop_width]
        tensor = np.ascontiguousarray(((pixels - self._mean) / self._std).transpose(2, 0, 1))
        frame = Frame(width, height, new_width / width, new_height / height, -float(left), -float(top))
        return tensor, frame

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[list[tuple[int, float]]]:
        """Return per frame its five best (class, score), best first; the score is as the model gives it."""
        output = next(iter(outputs.values()))
        scores = output.reshape(len(output), -1)[: len(frames)]
        count = min(_TOP, scores.shape[1])
        best = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
        best_scores = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-best_scores.astype(np.float32), axis=1, kind="stable")
        classes = np.take_along_axis(best, order, axis=1).tolist()
        values = np.take_along_axis(best_scores, order, axis=1).astype(np.float64).tolist()
        return [list(zip(*pair, strict=True)) for pair in zip(classes, values, strict=True)]

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return top-1 and top-5 accuracy; a label is a class index. Raises ``DataError`` for an image without one."""
        del classes
        if not labels:
            raise DataError("the evaluation set holds no image", "check the slice in evaluate:")
        if any(isinstance(label, bool) or not isinstance(label, int) for label in labels):
            raise DataError("the evaluation images carry no class index", "give a label: regex, or a labelled data set")
        ranked = [[int(index) for index, _ in prediction] for prediction in predictions]
        top1 = np.array([row[:1] == [label] for row, label in zip(ranked, labels, strict=True)])
        top5 = np.array([label in row for row, label in zip(ranked, labels, strict=True)])
        return Evaluation(
            metrics={"top1": float(top1.mean()), "top5": float(top5.mean())},
            primary="top1",
            per_image={
                "kind": np.array("classify"),
                "label": np.array(labels, dtype=np.int64),
                "top1": top1,
                "top5": top5,
            },
        )
