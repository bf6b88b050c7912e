"""Ultralytics data sets: a data YAML, and a text file of normalised labels beside each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.tasks.images import upright_size
from harness.tasks.label_files import Labelled, images_below, text_of

_TOLERANCE = 0.01  # how far a normalised coordinate may lie outside 0 to 1; Ultralytics allows the same
_AREA_OF_BOX = 0.53
"""Share of its box that a person fills: what Ultralytics scores keypoints with where no area is labelled."""


@dataclass(frozen=True)
class _Reading:
    """How a line is read: the form of label, the number of classes, and (keypoints, values of each) where known."""

    form: str
    classes: int
    keypoints: tuple[int, int] | None


@dataclass(frozen=True)
class _Line:
    """An object, in shares of the image: x1, y1, x2, y2, and what else its form has."""

    index: int
    box: tuple[float, float, float, float]
    points: tuple[float, ...] = ()  # x, y, ... of a polygon or of corners | x, y, visibility, ... of keypoints


def read_yolo(path: Path, split: str, form: str = "boxes") -> Labelled:
    """Read a split of an Ultralytics data YAML: a folder, a list of files, or several of them.

    The label file of ``a/images/b.jpg`` is ``a/labels/b.txt``, each line an object in shares of the image, by ``form``:

    - ``boxes``: class, centre x, centre y, width, height; a polygon or keypoints are read too, for their box
    - ``segments``: class, x, y, x, y, ... of a polygon
    - ``keypoints``: class, box, then of each keypoint x, y and, where ``kpt_shape`` has three values, visibility
    - ``corners``: class, x, y of four corners

    An image without a label file has no objects. ``path:`` in the YAML is relative to it. Raises ``DataError``.
    """
    document = _yaml(path)
    classes = _names(path, document.get("names"))
    reading = _Reading(form, len(classes), _keypoints(path, document.get("kpt_shape"), form))
    root = path.parent / str(document.get("path") or ".")
    if document.get(split) is None:
        keys = ", ".join(key for key in ("train", "val", "test") if document.get(key) is not None)
        raise DataError(f"{path}: no split {split!r}", f"it has {keys or 'none'}")
    entries = document[split] if isinstance(document[split], list) else [document[split]]
    images = [image for entry in entries for image in _images(root / str(entry))]
    files = {image: _label_file(image) for image in images}
    if images and not any(file.is_file() for file in files.values()):
        raise DataError(
            f"{path}: none of {len(images)} images has a label file", f"the first is looked for at {files[images[0]]}"
        )
    return Labelled({image: _label(image, file, reading) for image, file in files.items()}, classes)


def _yaml(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - never loaded in a measured process
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - as above

    try:
        document = YAML(typ="safe", pure=True).load(text_of(path))
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


def _keypoints(path: Path, given: object, form: str) -> tuple[int, int] | None:
    if given is None and form != "keypoints":
        return None
    match given:
        case [int(count), int(values)] if count > 0 and values in (2, 3):
            return count, values
    raise DataError(f"{path}: kpt_shape is {given!r}", "give kpt_shape: [how many, 2 or 3], for example [17, 3]")


def _images(entry: Path) -> list[Path]:
    if entry.is_dir():
        return images_below(entry)
    if entry.suffix == ".txt":
        lines = (line.strip() for line in text_of(entry).splitlines())
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


def _label(image: Path, file: Path, reading: _Reading) -> dict[str, Any]:
    width, height = upright_size(image)
    lines, seen = [], set()
    for number, line in enumerate(text_of(file).splitlines() if file.is_file() else (), start=1):
        values = tuple(line.split())
        if not values or values in seen:  # an object written twice is one object, as Ultralytics has it
            continue
        seen.add(values)
        lines.append(_line(f"{file}:{number}", values, reading))
    boxes = [[x1 * width, y1 * height, x2 * width, y2 * height] for x1, y1, x2, y2 in (line.box for line in lines)]
    label: dict[str, Any] = {
        "boxes": boxes,
        "classes": [line.index for line in lines],
        "crowd": [False] * len(lines),
    }
    if reading.form == "keypoints":
        label["keypoints"] = [_points(line.points, (width, height, 1), 3) for line in lines]
        label["areas"] = [_AREA_OF_BOX * (x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    elif reading.form != "boxes":
        shapes = [
            [value * (height if place % 2 else width) for place, value in enumerate(line.points)] for line in lines
        ]
        if reading.form == "segments":
            label |= {"segments": [[shape] for shape in shapes], "size": [height, width]}
        else:
            label["corners"] = shapes
    return label


def _points(values: tuple[float, ...], scales: tuple[int, ...], each: int) -> list[list[float]]:
    starts = range(0, len(values), each)
    return [
        [value * scale for value, scale in zip(values[start : start + each], scales, strict=True)] for start in starts
    ]


def _line(where: str, values: tuple[str, ...], reading: _Reading) -> _Line:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise DataError(f"{where}: not numbers", "write class, centre x, centre y, width, height") from None
    index, rest = int(numbers[0]) if numbers[0].is_integer() else -1, numbers[1:]
    if not 0 <= index < reading.classes:
        raise DataError(
            f"{where}: class {values[0]} of {reading.classes} classes", "classes count from 0, as in names:"
        )
    posed = reading.keypoints is not None and len(rest) == 4 + reading.keypoints[0] * reading.keypoints[1]
    if posed or reading.form == "keypoints":
        return _posed(where, index, rest, reading)
    _check_shares(where, rest)
    if reading.form == "boxes" and len(rest) == 4:
        return _Line(index, _cornered(rest))
    polygon = len(rest) == 8 if reading.form == "corners" else len(rest) >= 6 and len(rest) % 2 == 0
    if not polygon:
        raise DataError(f"{where}: {len(values)} values", f"write {_EXPECTED[reading.form]}")
    xs, ys = rest[::2], rest[1::2]
    return _Line(index, (min(xs), min(ys), max(xs), max(ys)), tuple(rest))


_EXPECTED = {
    "boxes": "5 values, or a class and at least 3 points",
    "segments": "a class and at least 3 points",
    "corners": "a class and 4 corners",
}


def _posed(where: str, index: int, rest: list[float], reading: _Reading) -> _Line:
    count, values = reading.keypoints or (0, 3)
    if len(rest) != 4 + count * values:
        raise DataError(
            f"{where}: {len(rest) + 1} values", f"write a class, a box and {count} x {values} values, as kpt_shape says"
        )
    _check_shares(where, rest[:4])
    points: list[float] = []
    for start in range(4, len(rest), values):
        x, y = rest[start : start + 2]
        # Without visibility, a point outside the image is one that is not labelled, as Ultralytics has it.
        seen = rest[start + 2] if values == 3 else float(x >= 0 and y >= 0)
        if seen > 0:
            _check_shares(where, [x, y])
        points += [x, y, seen]
    return _Line(index, _cornered(rest[:4]), tuple(points))


def _cornered(box: list[float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _check_shares(where: str, coordinates: list[float]) -> None:
    if any(not -_TOLERANCE <= value <= 1 + _TOLERANCE for value in coordinates):
        raise DataError(
            f"{where}: a coordinate outside 0 to 1", "coordinates are shares of the image's width and height"
        )
