"""Detection heads: the raw output of a model for one image, as boxes with scores and classes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CANDIDATES = 30_000
"""Candidates of one image that enter suppression, best first: the cap of Ultralytics' ``non_max_suppression``."""

_STRIDES = (8, 16, 32)  # of YOLOX's three feature maps


@dataclass(frozen=True)
class Candidates:
    """Boxes (n, 4) in input pixels, scores (n,), class indices (n,), and what else the head says of each (n, extra)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    extra: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))

    def take(self, rows: np.ndarray) -> Candidates:
        """Return those of the given indices, in their order."""
        extra = self.extra[rows] if len(self.extra) else self.extra
        return Candidates(self.boxes[rows], self.scores[rows], self.classes[rows], extra)


@dataclass(frozen=True)
class Selection:
    """Which boxes of a raw output become candidates."""

    confidence: float  # only scores above it
    multi_label: bool  # every class of a box above it, rather than its best one
    input_size: tuple[int, int] | None = None  # (height, width), where a grid cannot be told from a square input's
    extra: int = 0  # channels after the class scores: mask coefficients, keypoints or an angle
    centred: bool = False  # boxes stay centre x, centre y, width, height, as what is rotated needs them


def decode_yolo(output: np.ndarray, selection: Selection) -> Candidates:
    """Read (4 + C + extra, N): centre x, centre y, width, height in input pixels, C class scores; no objectness."""
    end = len(output) - selection.extra
    chosen, scores, classes = _choose(output[4:end], selection)
    boxes = output[:4, chosen]
    return Candidates(boxes.T if selection.centred else _corners(boxes), scores, classes, output[end:, chosen].T)


def decode_yolox(output: np.ndarray, selection: Selection) -> Candidates:
    """Read (N, 5 + C): offsets in grid cells, log sizes, objectness, C class scores; score = objectness x class."""
    cells = _grid(*_input_size(len(output), selection.input_size))
    likely = np.flatnonzero(output[:, 4] > selection.confidence)  # class scores are at most 1
    rows = output[likely]
    chosen, scores, classes = _choose((rows[:, 5:] * rows[:, 4:5]).T, selection)
    at, stride = cells[:2, likely[chosen]], cells[2, likely[chosen]]
    raw = rows[chosen, :4].T
    return Candidates(_corners(np.concatenate([(raw[:2] + at) * stride, np.exp(raw[2:]) * stride])), scores, classes)


def decode_end2end(output: np.ndarray, selection: Selection) -> Candidates:
    """Read (N, 6 + extra): x1, y1, x2, y2 in input pixels, score, class; the model has left no duplicates.

    Of what is rotated, the first four are centre x, centre y, width, height.
    """
    rows = output[output[:, 4] > selection.confidence]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.intp), rows[:, 6:])


HEADS: dict[str, Callable[[np.ndarray, Selection], Candidates]] = {
    "yolo": decode_yolo,
    "yolox": decode_yolox,
    "end2end": decode_end2end,
}
"""Decoders of one image's float32 output by the name that a suite gives."""


def _choose(scores: np.ndarray, selection: Selection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (box index, score, class) of the candidates in class scores (C, N)."""
    if selection.multi_label:
        classes, chosen = np.nonzero(scores > selection.confidence)
        values = scores[classes, chosen]
    else:
        # The maximum over all boxes is one pass over memory; which class it was is asked of the few that remain.
        best = scores.max(axis=0)
        chosen = np.flatnonzero(best > selection.confidence)
        values, classes = best[chosen], scores[:, chosen].argmax(axis=0)
    if len(values) > MAX_CANDIDATES:
        top = np.sort(np.argpartition(-values, MAX_CANDIDATES)[:MAX_CANDIDATES])
        chosen, values, classes = chosen[top], values[top], classes[top]
    return chosen, values, classes


def _corners(centred: np.ndarray) -> np.ndarray:
    """Return (n, 4) x1, y1, x2, y2 from (4, n) centre x, centre y, width, height."""
    half = centred[2:] / 2
    return np.concatenate([centred[:2] - half, centred[:2] + half]).T


def _input_size(count: int, given: tuple[int, int] | None) -> tuple[int, int]:
    # A square input of side s has s² (1/64 + 1/256 + 1/1024) cells.
    side = round((count * 1024 / 21) ** 0.5)
    height, width = given or (side, side)
    cells = sum((height // stride) * (width // stride) for stride in _STRIDES)
    if cells != count:
        raise HarnessError(
            f"detect: a yolox head of {height} x {width} has {cells} boxes, this output has {count}",
            "give input_size: [height, width] where the input is not square, or another head",
        )
    return height, width


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> np.ndarray:
    """Return float32 (3, N): column, row and stride of each cell."""
    maps = []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        maps.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)]))
    return np.concatenate(maps, axis=1).astype(np.float32)
