"""Labelled images of folders by class and of plain files, and what every reader of labels gives."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.tasks.images import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Labelled:
    """Image files with their labels, and the names of the classes by index."""

    labels: Mapping[Path, Any]
    classes: Mapping[int, str]


def read_imagefolder(folder: Path) -> Labelled:
    """Read one folder per class; the sorted names of the folders are the classes. Raises ``DataError``."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "it holds one folder of images per class")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not names:
        raise DataError(f"{folder}: holds no folder", "it holds one folder of images per class")
    labels = {image: index for index, name in enumerate(names) for image in images_below(folder / name)}
    return Labelled(labels, dict(enumerate(names)))


def read_files(root: Path, pattern: str, label: str | None) -> Labelled:
    """Read the images that a glob below ``root`` matches; ``**`` crosses folders.

    The class index is the first group of the regular expression ``label``, searched in the file's name. Raises
    ``DataError`` where nothing matches, or a name has no index.
    """
    found = (root / name for name in glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 - absolute too
    images = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not images:
        raise DataError(f"{root / pattern}: no images", f"images end in {', '.join(sorted(SUFFIXES))}")
    if label is None:
        return Labelled(dict.fromkeys(images), {})
    try:
        expression = re.compile(label)
    except re.error as error:
        raise DataError(f"label: {label!r} is no regular expression: {error}", r'for example "(\d+)_.*"') from error
    if not expression.groups:
        raise DataError(f"label: {label!r} has no group", r'put the class index into parentheses: "(\d+)_.*"')
    return Labelled({path: _index_in_name(path, expression) for path in images}, {})


def _index_in_name(path: Path, expression: re.Pattern[str]) -> int:
    found = expression.search(path.name)
    if found is None or not (found[1] or "").isdecimal():
        raise DataError(f"{path}: no class index by {expression.pattern!r}", "its first group must be the index")
    return int(found[1])


def images_below(folder: Path) -> list[Path]:
    """Return every image file in a folder and in those inside it."""
    return [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]


def text_of(path: Path) -> str:
    """Return the text of a file in UTF-8. Raises ``DataError`` naming it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path in the suite") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8", "check the path in the suite") from error
