"""Images as a model takes them: channels first, as they are prepared, or last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def laid_out(images: np.ndarray, taken: tuple[int, ...], batch: int | None = None) -> np.ndarray:
    """Return a view of images (N, C, H, W), channels last where a model of input shape ``taken`` takes them so.

    ``batch``: how many it takes at once, where that is not all of them. As given where both are the same shape.
    """
    size = len(images) if batch is None else batch
    given = (size, *images.shape[1:])
    last = len(given) == 4 and taken != given and taken == (size, *given[2:], given[1])
    return images.transpose(0, 2, 3, 1) if last else images
