"""Labelled images: what a suite names, resolved to files, hashes and labels.

A label is JSON-able: a class index for classification; for detection ``{"boxes": [[x1, y1, x2, y2], ...], "classes":
[...], "crowd": [...]}`` with boxes in pixels of the upright image; ``None`` where there is none. By its form it has
more of each object, in pixels too:

- ``segments``: polygons ``[[x, y, ...], ...]`` or COCO's run lengths, and ``size`` [height, width] of the image
- ``keypoints``: ``[[x, y, visibility], ...]``, 0 where one is not labelled, and ``areas``
- ``corners``: x, y of the four corners
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.tasks import coco_labels, label_files, yolo_labels
from harness.tasks.images import SUFFIXES
from harness.tasks.parameters import suggestion
from harness.vocabulary import digest

if TYPE_CHECKING:
    from harness.tasks.label_files import Labelled

_SLICE = re.compile(r"(?:(?P<split>[^\W\d]\w*):)?(?P<start>-?\d*):(?P<stop>-?\d*)(?::(?P<step>-?\d*))?")


@dataclass(frozen=True)
class DataSpec:
    """A data set as a suite names it. Relative paths are relative to the suite's folder.

    ``calibrate`` and ``evaluate`` are Python slices over the items sorted by path, such as ``"0:64"``, of another split
    where they begin with its name, such as ``"train:0:64"``; an ``evaluate`` of ``None`` takes all.
    """

    kind: str  # yolo | imagefolder | coco | files
    location: str  # a data YAML | a folder of one folder per class | an annotation JSON | a glob, or a folder
    images: str | None = None  # coco: folder of the images, if not the JSON's | files: a glob below ``location``
    package: str | None = None  # files: ``location`` is below this installed package
    label: str | None = None  # files: regular expression over the file name; its first group is the class index
    split: str | None = None  # yolo: key of the data YAML, ``val`` by default | imagefolder: folder of the split
    calibrate: str | None = None
    evaluate: str | None = None
    calibration: DataSpec | None = None  # another data set to calibrate on, in the place of ``calibrate``


@dataclass(frozen=True)
class Item:
    """One image file, by content and label."""

    path: Path
    sha256: str
    label: Any = None


@dataclass(frozen=True)
class DataSet:
    """Images in the order in which they are used, and the names of the classes where they are known."""

    items: tuple[Item, ...]
    classes: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # JSON has no integer keys: a set that crossed to another process comes back with text.
        object.__setattr__(self, "classes", {int(index): name for index, name in self.classes.items()})

    @property
    def content_hash(self) -> str:
        """SHA-256 over the images' hashes and labels, in order; names and places of files are not in it."""
        return digest([[item.sha256, item.label] for item in self.items])


@dataclass(frozen=True)
class Selections:
    """What a suite takes from a data set."""

    calibrate: DataSet | None
    evaluate: DataSet

    @property
    def overlap(self) -> int:
        """Number of evaluation images whose bytes are also among the calibration images."""
        if self.calibrate is None:
            return 0
        calibrated = {item.sha256 for item in self.calibrate.items}
        return sum(item.sha256 in calibrated for item in self.evaluate.items)


def resolve(spec: DataSpec, base: Path, form: str = "boxes") -> Selections:
    """Return the images that ``spec`` selects, with ``base`` as the folder of relative paths.

    ``form`` is what a task's metric needs of each object, see ``harness.tasks.catalog.labels``.

    Raises ``DataError`` for what is missing, empty or malformed; the message names the file, and the line where there
    is one.
    """
    if spec.kind not in _READERS:
        raise DataError(f"no data set kind {spec.kind!r}", suggestion(spec.kind, _READERS))

    @functools.cache
    def read(split: str | None) -> Labelled:
        labelled = _READERS[spec.kind](spec, _Place(base, split, form))
        if not labelled.labels:
            raise DataError(f"{spec.location}: no images", f"images end in {', '.join(sorted(SUFFIXES))}")
        return labelled

    if spec.calibration is not None:
        return Selections(
            resolve(spec.calibration, base, form).evaluate,
            _select(read, spec, ":" if spec.evaluate is None else spec.evaluate, "evaluate"),
        )
    calibrate = None if spec.calibrate is None else _select(read, spec, spec.calibrate, "calibrate")
    return Selections(calibrate, _select(read, spec, ":" if spec.evaluate is None else spec.evaluate, "evaluate"))


def _select(read: Callable[[str | None], Labelled], spec: DataSpec, text: str, key: str) -> DataSet:
    matched = _SLICE.fullmatch(text.strip())
    if matched is None or matched["step"] in {"0", "-0"} or "-" in (matched["start"], matched["stop"], matched["step"]):
        raise DataError(f"{key}: {text!r} is no slice", 'write "start:stop" as in Python, for example "0:64"')
    labelled = read(matched["split"] or spec.split)
    paths = sorted(labelled.labels)
    bounds = (int(part) if part else None for part in (matched["start"], matched["stop"], matched["step"]))
    chosen = paths[slice(*bounds)]
    if not chosen:
        raise DataError(f"{key}: {text!r} selects none of {len(paths)} images", "widen the slice")
    return DataSet(tuple(Item(path, _sha256_of(path), labelled.labels[path]) for path in chosen), labelled.classes)


def _sha256_of(path: Path) -> str:
    try:
        facts = path.stat()
        return _sha256_cached(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check that the image exists and may be read") from error


@functools.lru_cache(maxsize=65536)
def _sha256_cached(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the key: a file that changed is read again
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- where each kind lies ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """The folder of relative paths, the split that is asked for, and the form of label."""

    base: Path
    split: str | None
    form: str


def _read_yolo(spec: DataSpec, place: _Place) -> Labelled:
    return yolo_labels.read_yolo(place.base / spec.location, place.split or "val", place.form)


def _read_imagefolder(spec: DataSpec, place: _Place) -> Labelled:
    return label_files.read_imagefolder(place.base / spec.location / (place.split or ""))


def _read_coco(spec: DataSpec, place: _Place) -> Labelled:
    _refuse_split(spec, place.split)
    annotations = place.base / spec.location
    images = place.base / spec.images if spec.images else annotations.parent
    return coco_labels.read_coco(annotations, images, place.form)


def _read_files(spec: DataSpec, place: _Place) -> Labelled:
    _refuse_split(spec, place.split)
    root = place.base if spec.package is None else _package_folder(spec.package)
    location = Path(spec.location)
    pattern = str(location / spec.images) if spec.images else str(location)
    if not spec.images and (root / location).is_dir():
        pattern = str(location / "*")
    return label_files.read_files(root, pattern, spec.label)


_READERS: dict[str, Callable[[DataSpec, _Place], Labelled]] = {
    "coco": _read_coco,
    "files": _read_files,
    "imagefolder": _read_imagefolder,
    "yolo": _read_yolo,
}

KINDS = tuple(_READERS)


def _refuse_split(spec: DataSpec, split: str | None) -> None:
    if split is not None:
        raise DataError(
            f"{spec.location}: a data set of kind {spec.kind} has no split {split!r}", "leave the split out"
        )


def _package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise DataError(f"the package {name} is not installed", f"pip install {name}")
    return Path(next(iter(found.submodule_search_locations)))
