"""Image files to pixels, upright and in RGB, whatever they were stored as."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.Image import Image

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File name endings that are taken for images, in lower case."""


def decode(path: Path) -> np.ndarray:
    """Return the image as uint8 RGB (H, W, 3), turned upright as its EXIF orientation says.

    Grey is repeated over the channels, CMYK and palettes are converted, alpha is dropped, 16-bit keeps its high byte.
    Raises ``DataError`` naming the file where it is missing, corrupt or cut short.
    """
    with _opened(path, path) as image:
        return _pixels(image)


def decode_bytes(encoded: bytes, path: Path) -> np.ndarray:
    """Return what ``decode`` returns for ``path``, from the bytes of that file. Raises ``DataError`` naming it."""
    with _opened(BytesIO(encoded), path) as image:
        return _pixels(image)


def upright_size(path: Path) -> tuple[int, int]:
    """Return (width, height) as ``decode`` would give them, from the file's header alone. Raises ``DataError``."""
    with _opened(path, path) as image:
        width, height = image.size
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        return (height, width) if orientation in _EXIF_TRANSPOSED else (width, height)


_EXIF_ORIENTATION = 0x0112
_EXIF_TRANSPOSED = frozenset({5, 6, 7, 8})  # the orientations that exchange rows and columns


def _pixels(image: Image) -> np.ndarray:
    from PIL import ImageOps  # noqa: PLC0415 - loaded by what decodes alone

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # Pillow would clip 16-bit values at 255 rather than scale them
        high_byte = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(high_byte[:, :, np.newaxis], 3, axis=2)
    return np.array(upright.convert("RGB"))


@contextmanager
def _opened(file: Path | BytesIO, path: Path) -> Iterator[Image]:
    """Open an image; ``path`` is what an error calls it."""
    from PIL import Image  # noqa: PLC0415 - as above

    try:
        with Image.open(file) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such image", "check the data set's folder, or remove it from the list") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: not a readable image: {error}", "replace the file or take it out of the set"
        ) from error
