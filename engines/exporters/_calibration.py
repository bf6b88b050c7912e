"""Calibration images as batches of the model's one input, and the options of a quantiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ExportFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import Calibration, ExportSpec
    from harness.vocabulary import Artifact


class Batches(Sequence[dict[str, np.ndarray]]):
    """Item i is ``{input name: float32 (batch, C, H, W)}``, or channels last as the model has it, read when asked for.

    The last batch is filled up with the first images. Raises ``ExportFailed`` where the model has several inputs or
    the images are not of its shape.
    """

    def __init__(self, source: Artifact, spec: ExportSpec) -> None:
        self.calibration = _given(spec)
        if len(source.inputs) != 1:
            names = ", ".join(tensor.name for tensor in source.inputs)
            raise ExportFailed(f"the model has the inputs {names}", "calibration gives images to a single input")
        self._name, self._batch = source.inputs[0].name, source.inputs[0].shape[0]
        self._images = np.load(self.calibration.path, mmap_mode="r")
        item = source.inputs[0].shape[1:]
        if len(item) == 3 and self._images.shape[1:] != item == (*self._images.shape[2:], self._images.shape[1]):
            self._images = np.moveaxis(self._images, 1, -1)  # the model takes channels last; still read when asked for
        if self._images.shape[1:] != item or self._images.dtype != np.float32 or not len(self._images):
            found = f"{self._images.dtype} {self._images.shape}"
            message = f"the calibration images are {found}, the model takes float32 (N, {item})"
            raise ExportFailed(message, "set `input:` of the workload to what the model takes")

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch)

    def __getitem__(self, index: Any) -> Any:
        if index >= len(self):
            raise IndexError(index)
        rows = np.arange(index * self._batch, (index + 1) * self._batch) % len(self._images)
        return {self._name: np.ascontiguousarray(self._images[rows])}

    def note(self, method: str) -> str:
        """Say what the ranges of the activations come from."""
        return f"calibrated by {method} on {len(self._images)} images, sha256 {self.calibration.content_hash[:12]}"


def _given(spec: ExportSpec) -> Calibration:
    if spec.calibration is None:
        raise ExportFailed("no calibration images were given", "name them under `data: {calibrate: ...}`")
    return spec.calibration


def options(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` with what was given. Raises ``ExportFailed`` for an option that is not among them."""
    unknown = sorted(given.keys() - defaults.keys())
    if unknown:
        raise ExportFailed(f"{name} has no option {unknown[0]!r}", f"it has: {', '.join(defaults)}")
    return {**defaults, **given}
