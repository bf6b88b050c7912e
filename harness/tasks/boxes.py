"""Boxes in pixels: the letterbox that an image goes through, and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError
from harness.tasks.task import Frame

_BLOCK = 128  # boxes compared at once: small enough for the caches, large enough that Python's own cost vanishes


@dataclass(frozen=True)
class Letterbox:
    """How an image is fitted into an input of another aspect ratio: scaled, never stretched, then padded."""

    height: int
    width: int
    centred: bool  # False: the image keeps the top left corner
    pad: int  # value of the padding, 0 to 255

    def apply(self, image: np.ndarray) -> tuple[np.ndarray, Frame]:
        """Return the uint8 (height, width, 3) canvas and its frame.

        Equal byte for byte to Ultralytics' ``LetterBox(auto=False)`` (OpenCV's bilinear resize, which does not
        antialias; a Pillow resize would). Raises ``HarnessError`` where OpenCV is missing.
        """
        try:
            import cv2  # noqa: PLC0415 - never loaded in a measured process
        except ImportError as error:
            raise HarnessError(
                f"detect: OpenCV cannot be imported: {error}", "pip install opencv-python-headless"
            ) from error
        height, width = image.shape[:2]
        ratio = min(self.height / height, self.width / width)
        new_width, new_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
        spare_x, spare_y = self.width - new_width, self.height - new_height
        # An odd pixel of padding goes right and below.
        left, top = (spare_x // 2, spare_y // 2) if self.centred else (0, 0)
        if (new_width, new_height) != (width, height):
            image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        canvas = np.full((self.height, self.width, 3), self.pad, dtype=np.uint8)
        canvas[top : top + new_height, left : left + new_width] = image
        return canvas, Frame(width, height, new_width / width, new_height / height, float(left), float(top))


def to_image(boxes: np.ndarray, frame: Frame) -> np.ndarray:
    """Return x1, y1, x2, y2 boxes (n, 4) of an input as boxes of its image, clipped to it."""
    pads = np.array([frame.pad_x, frame.pad_y] * 2, dtype=np.float32)
    scales = np.array([frame.scale_x, frame.scale_y] * 2, dtype=np.float32)
    limits = np.array([frame.width, frame.height] * 2, dtype=np.float32)
    return np.asarray(np.clip((boxes - pads) / scales, 0, limits))


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None, iou: float, limit: int) -> np.ndarray:
    """Return the indices that greedy non-maximum suppression keeps, highest score first, at most ``limit``.

    Boxes (n, 4) are x1, y1, x2, y2. A box is dropped where its IoU with a kept box of the same class (of any class,
    where ``classes`` is ``None``) and of no lower score exceeds ``iou``; equal scores rank in the order given.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = _Ranked.of(boxes[order], None if classes is None else classes[order])
    kept = np.empty(0, dtype=np.intp)
    # The boxes come in blocks of falling score: what is kept of one block is final before the next is looked at.
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(order)))
        if len(kept):
            block = block[~ranked.overlap(kept, block, iou).any(axis=0)]
        kept = np.concatenate([kept, block[_greedy(ranked.overlap(block, block, iou))]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


def _greedy(overlap: np.ndarray) -> np.ndarray:
    """Return which of n ranked boxes greedy suppression keeps, from their (n, n) overlaps, as a boolean mask.

    Repeats "kept is what no kept box of higher rank overlaps" until nothing changes: after k rounds the first k are
    final, and real detections settle in three or four.
    """
    above = np.triu(overlap, 1)
    keep = np.ones(len(overlap), dtype=bool)
    while True:
        update = np.logical_not(above[keep].any(axis=0))
        if np.array_equal(update, keep):
            return keep
        keep = update


@dataclass(frozen=True)
class _Ranked:
    """Boxes as columns, so that a block of pairs is a handful of array operations."""

    x1: np.ndarray
    y1: np.ndarray
    x2: np.ndarray
    y2: np.ndarray
    area: np.ndarray
    classes: np.ndarray | None

    @classmethod
    def of(cls, boxes: np.ndarray, classes: np.ndarray | None) -> _Ranked:
        x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
        return cls(x1, y1, x2, y2, (x2 - x1) * (y2 - y1), classes)

    def overlap(self, rows: np.ndarray, columns: np.ndarray, iou: float) -> np.ndarray:
        """Return whether the IoU of each (row, column) exceeds ``iou``; empty boxes overlap nothing."""
        width = np.minimum(self.x2[rows, np.newaxis], self.x2[columns])
        width -= np.maximum(self.x1[rows, np.newaxis], self.x1[columns])
        height = np.minimum(self.y2[rows, np.newaxis], self.y2[columns])
        height -= np.maximum(self.y1[rows, np.newaxis], self.y1[columns])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = self.area[rows, np.newaxis] + self.area[columns] - shared
        exceeds: np.ndarray = shared > iou * union
        if self.classes is not None:
            exceeds &= self.classes[rows, np.newaxis] == self.classes[columns]
        return exceeds
