"""Instance masks from prototypes: mixed, enlarged and cropped to their boxes; and COCO's run lengths of them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.tasks.task import Frame

PROTOTYPE_STRIDE = 4
"""Input pixels per pixel of a prototype, of every Ultralytics model."""


@dataclass(frozen=True)
class Crop:
    """A mask as the part of it that its box covers: boolean (h, w), its first pixel at (top, left)."""

    top: int
    left: int
    inside: np.ndarray


@dataclass(frozen=True)
class Enlargement:
    """From prototype pixels to pixels of a canvas, linear along each axis: ``rows`` (H, h) and ``columns`` (W, w)."""

    rows: np.ndarray
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return len(self.rows), len(self.columns)


@functools.lru_cache(maxsize=8)
def to_input(height: int, width: int) -> Enlargement:
    """Return the way from prototypes of that size to the model's input, as Ultralytics' ``process_mask`` goes it."""
    sides = (_bilinear(side, PROTOTYPE_STRIDE * side) for side in (height, width))
    return Enlargement(*sides)


@functools.lru_cache(maxsize=8)
def to_image(height: int, width: int, frame: Frame) -> Enlargement:
    """Return the way from prototypes of that size to the image, as Ultralytics' ``process_mask_native`` goes it.

    The letterbox's padding is cut off first; where it is not a whole number of prototype pixels, they are enlarged two
    or four times before.
    """
    content = max(round(frame.height * frame.scale_y), 1), max(round(frame.width * frame.scale_x), 1)
    spare = PROTOTYPE_STRIDE * height - content[0] | PROTOTYPE_STRIDE * width - content[1]
    factor = PROTOTYPE_STRIDE // math.gcd(PROTOTYPE_STRIDE, spare | spare // 2)
    size = factor / PROTOTYPE_STRIDE  # pixels of what is cut per pixel of the input

    def axis(side: int, pad: float, inside: int, target: int) -> np.ndarray:
        first = round(pad * size)
        enlarged = _bilinear(side, factor * side)[first : first + max(round(inside * size), 1)]
        return np.ascontiguousarray(_bilinear(len(enlarged), target) @ enlarged)

    return Enlargement(
        axis(height, frame.pad_y, content[0], frame.height), axis(width, frame.pad_x, content[1], frame.width)
    )


def crops(prototypes: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, way: Enlargement) -> list[Crop]:
    """Return the mask of each box: where the mix of prototypes (k, h, w) by coefficients (n, k) is above zero.

    Boxes (n, 4) are x1, y1, x2, y2 in pixels of the canvas; a pixel belongs to a box whose corner it is not left of or
    above (YOLACT, arXiv 1904.02689, section 3.2, as Ultralytics crops). Only what a box covers is computed.
    """
    height, width = way.shape
    edges = np.ceil(np.clip(boxes, 0, [width, height, width, height])).astype(int)
    return [
        Crop(top, left, _inside(prototypes, mix, way.rows[top:bottom], way.columns[left:right]))
        for (left, top, right, bottom), mix in zip(edges.tolist(), coefficients, strict=True)
    ]


def _inside(prototypes: np.ndarray, mix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    if not (len(rows) and len(columns)):
        return np.zeros((len(rows), len(columns)), dtype=bool)
    high, wide = _support(rows), _support(columns)
    part = prototypes[:, high, wide]
    logits = (mix @ part.reshape(len(part), -1)).reshape(part.shape[1:])
    enlarged: np.ndarray = rows[:, high] @ logits @ columns[:, wide].T
    return enlarged > 0


def _support(weights: np.ndarray) -> slice:
    """Return the source pixels from the first that the first target takes to the last that the last one takes."""
    return slice(int((weights[0] > 0).argmax()), len(weights[-1]) - int((weights[-1][::-1] > 0).argmax()))


def paint(found: list[Crop], shape: tuple[int, int]) -> np.ndarray:
    """Return the masks as uint8 (n, height, width), 1 inside."""
    canvas = np.zeros((len(found), *shape), dtype=np.uint8)
    for layer, crop in zip(canvas, found, strict=True):
        height, width = crop.inside.shape
        layer[crop.top : crop.top + height, crop.left : crop.left + width] = crop.inside
    return canvas


def run_lengths(crop: Crop, shape: tuple[int, int]) -> dict[str, Any]:
    """Return COCO's uncompressed run lengths: down the columns, from the left, beginning with the outside."""
    height, width = shape
    columns = np.zeros((crop.inside.shape[1], crop.inside.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = crop.inside.T
    changes = np.diff(columns, axis=1)
    offset = crop.left * height + crop.top
    (column, row), (last_column, last_row) = np.nonzero(changes > 0), np.nonzero(changes < 0)
    starts, ends = offset + column * height + row, offset + last_column * height + last_row
    apart = np.ones(len(starts), dtype=bool)
    apart[1:] = starts[1:] != ends[:-1]  # a run that goes on at the head of the next column is one run
    bounds = np.stack([starts[apart], ends[np.append(apart[1:], True)[: len(ends)]]], axis=1).ravel()
    return {"size": [height, width], "counts": np.diff(np.concatenate([[0], bounds, [height * width]]))}


def _bilinear(source: int, target: int) -> np.ndarray:
    """Return float32 (target, source): weights of bilinear resizing, pixels being areas, the edge repeated.

    It is torch's ``interpolate(mode="bilinear", align_corners=False)``, which does not antialias.
    """
    at = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0.0)
    low = np.minimum(at.astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    share = (at - low).astype(np.float32)
    weights = np.zeros((target, source), dtype=np.float32)
    lines = np.arange(target)
    weights[lines, low] += 1 - share
    weights[lines, high] += share
    return weights
