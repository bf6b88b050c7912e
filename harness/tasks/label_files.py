"""Readers of the ways in which labelled images lie on disk: Ultralytics YAML, ImageFolder, COCO JSON, plain files."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.tasks.images import SUFFIXES, upright_size

_TOLERANCE = 0.01  # how far a normalised coordinate may lie outside 0 to 1; Ultralytics allows the same


@dataclass(frozen=True)
class Labelled:
    """Image files with their labels, and the names of the classes by index."""

    labels: Mapping[Path, Any]
    classes: Mapping[int, str]


# --- Ultralytics -------------------------------------------------------------------------------------------------


def read_yolo(path: Path, split: str) -> Labelled:
    """Read a split of an Ultralytics data YAML: a folder, a list of files, or several of them.

    The label file of ``a/images/b.jpg`` is ``a/labels/b.txt``: lines of class, centre x, centre y, width, height,
    normalised to the image; or of a class and a polygon, which becomes its bounding box. An image without one has no
    objects. ``path:`` in the YAML is relative to the YAML. Raises ``DataError``.
    """
    document = _yaml(path)
    classes = _names(path, document.get("names"))
    root = path.parent / str(document.get("path") or ".")
    if document.get(split) is None:
        keys = ", ".join(key for key in ("train", "val", "test") if document.get(key) is not None)
        raise DataError(f"{path}: no split {split!r}", f"it has {keys or 'none'}")
    entries = document[split] if isinstance(document[split], list) else [document[split]]
    images = [image for entry in entries for image in _yolo_images(root / str(entry))]
    files = {image: _label_file(image) for image in images}
    if images and not any(file.is_file() for file in files.values()):
        raise DataError(
            f"{path}: none of {len(images)} images has a label file", f"the first is looked for at {files[images[0]]}"
        )
    return Labelled({image: _yolo_label(image, file, len(classes)) for image, file in files.items()}, classes)


def _yaml(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - never loaded in a measured process
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - as above

    try:
        document = YAML(typ="safe", pure=True).load(_text(path))
    except YAMLError as error:
        raise DataError(f"{path}: not YAML: {error}", "mend the data set file") from error
    if not isinstance(document, Mapping):
        raise DataError(f"{path}: not an Ultralytics data set file", "it has the keys path, train, val and names")
    return document


def _names(path: Path, names: object) -> dict[int, str]:
    if isinstance(names, list):
        return {index: str(name) for index, name in enumerate(names)}
    if isinstance(names, Mapping) and sorted(names) == list(range(len(names))):
        return {index: str(names[index]) for index in range(len(names))}
    raise DataError(f"{path}: names is not a list of classes", "give names: a list, or a mapping from 0, 1, 2, ...")


def _yolo_images(entry: Path) -> list[Path]:
    if entry.is_dir():
        return _images_below(entry)
    if entry.suffix == ".txt":
        lines = (line.strip() for line in _text(entry).splitlines())
        return [entry.parent / line for line in lines if line]
    raise DataError(f"{entry}: no such folder or list of images", "check path: and the split in the data set file")


def _label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder named ``images`` becomes ``labels``."""
    parts = list(image.parent.parts)
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts) / f"{image.stem}.txt"


def _yolo_label(image: Path, file: Path, classes: int) -> dict[str, Any]:
    width, height = upright_size(image)
    boxes, indices = [], []
    seen = set()
    for number, line in enumerate(_text(file).splitlines() if file.is_file() else (), start=1):
        values = line.split()
        if not values or tuple(values) in seen:  # an object written twice is one object, as Ultralytics has it
            continue
        seen.add(tuple(values))
        index, (x1, y1, x2, y2) = _yolo_line(f"{file}:{number}", values, classes)
        boxes.append([x1 * width, y1 * height, x2 * width, y2 * height])
        indices.append(index)
    return {"boxes": boxes, "classes": indices, "crowd": [False] * len(boxes)}


def _yolo_line(where: str, values: list[str], classes: int) -> tuple[int, tuple[float, float, float, float]]:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise DataError(f"{where}: not numbers", "write class, centre x, centre y, width, height") from None
    index, coordinates = int(numbers[0]) if numbers[0].is_integer() else -1, numbers[1:]
    if not 0 <= index < classes:
        raise DataError(f"{where}: class {values[0]} of {classes} classes", "classes count from 0, as in names:")
    if any(not -_TOLERANCE <= value <= 1 + _TOLERANCE for value in coordinates):
        raise DataError(
            f"{where}: a coordinate outside 0 to 1", "coordinates are shares of the image's width and height"
        )
    if len(coordinates) == 4:
        x, y, width, height = coordinates
        return index, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(coordinates) >= 6 and len(coordinates) % 2 == 0:
        xs, ys = coordinates[::2], coordinates[1::2]
        return index, (min(xs), min(ys), max(xs), max(ys))
    raise DataError(f"{where}: {len(values)} values", "write 5 values, or a class and at least 3 points")


# --- ImageFolder and plain files ---------------------------------------------------------------------------------


def read_imagefolder(folder: Path) -> Labelled:
    """Read one folder per class; the sorted names of the folders are the classes. Raises ``DataError``."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "it holds one folder of images per class")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not names:
        raise DataError(f"{folder}: holds no folder", "it holds one folder of images per class")
    labels = {image: index for index, name in enumerate(names) for image in _images_below(folder / name)}
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


def _images_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]


# --- COCO --------------------------------------------------------------------------------------------------------


def read_coco(path: Path, images: Path) -> Labelled:
    """Read a COCO annotation JSON; categories in the order of their ids become the classes 0, 1, 2, ...

    Crowds are kept and flagged. Raises ``DataError``.
    """
    try:
        document = json.loads(_text(path))
        categories = sorted(document["categories"], key=lambda category: int(category["id"]))
        index_of = {int(category["id"]): index for index, category in enumerate(categories)}
        file_of = {image["id"]: images / image["file_name"] for image in document["images"]}
        labels: dict[Path, dict[str, list[Any]]] = {
            file: {"boxes": [], "classes": [], "crowd": []} for file in file_of.values()
        }
        for number, annotation in enumerate(document["annotations"]):
            where = f"{path}: annotations[{number}]"
            _add_coco(where, annotation, labels.get(file_of.get(annotation["image_id"], Path())), index_of)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a COCO annotation file: {type(error).__name__}: {error}",
            "it has images, annotations and categories, each a list",
        ) from error
    return Labelled(labels, {index: str(category["name"]) for index, category in enumerate(categories)})


def _add_coco(
    where: str,
    annotation: Mapping[str, Any],
    label: dict[str, list[Any]] | None,
    index_of: Mapping[int, int],
) -> None:
    if label is None:
        raise DataError(f"{where}: image {annotation['image_id']} is not listed", "mend the annotation file")
    if annotation["category_id"] not in index_of:
        raise DataError(f"{where}: category {annotation['category_id']} is not listed", "mend the annotation file")
    x, y, width, height = (float(value) for value in annotation["bbox"])
    label["boxes"].append([x, y, x + width, y + height])
    label["classes"].append(index_of[annotation["category_id"]])
    label["crowd"].append(bool(annotation.get("iscrowd", 0)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path in the suite") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8", "check the path in the suite") from error
