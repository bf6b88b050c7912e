"""COCO annotation files: boxes, masks and keypoints of every image in one JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.tasks.label_files import Labelled, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def read_coco(path: Path, images: Path, form: str = "boxes") -> Labelled:
    """Read a COCO annotation JSON; categories in the order of their ids become the classes 0, 1, 2, ...

    Crowds are kept and flagged. Besides boxes, ``form`` is ``segments`` or ``keypoints``. Raises ``DataError``.
    """
    if form not in _FORMS:
        raise DataError(
            f"{path}: a COCO annotation file has no {form}", f"it has {', '.join(_FORMS)}; give a yolo data set"
        )
    also, take = _FORMS[form]
    try:
        document = json.loads(text_of(path))
        categories = sorted(document["categories"], key=lambda category: int(category["id"]))
        index_of = {int(category["id"]): index for index, category in enumerate(categories)}
        image_of = {image["id"]: image for image in document["images"]}
        labels: dict[Any, dict[str, Any]] = {
            number: {"boxes": [], "classes": [], "crowd": [], **{key: [] for key in also}} for number in image_of
        }
        for number, annotation in enumerate(document["annotations"]):
            where = f"{path}: annotations[{number}]"
            label = labels.get(annotation["image_id"])
            _add(where, annotation, label, index_of)
            take(label, annotation)
        if form == "segments":
            for number, image in image_of.items():
                labels[number]["size"] = [int(image["height"]), int(image["width"])]
        files = {images / image["file_name"]: labels[number] for number, image in image_of.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a COCO annotation file: {type(error).__name__}: {error}",
            f"it has images, annotations and categories, each a list, and of each annotation its {form}",
        ) from error
    return Labelled(files, {index: str(category["name"]) for index, category in enumerate(categories)})


def _add(where: str, annotation: Mapping[str, Any], label: dict[str, Any] | None, index_of: Mapping[int, int]) -> None:
    if label is None:
        raise DataError(f"{where}: image {annotation['image_id']} is not listed", "mend the annotation file")
    if annotation["category_id"] not in index_of:
        raise DataError(f"{where}: category {annotation['category_id']} is not listed", "mend the annotation file")
    x, y, width, height = (float(value) for value in annotation["bbox"])
    label["boxes"].append([x, y, x + width, y + height])
    label["classes"].append(index_of[annotation["category_id"]])
    label["crowd"].append(bool(annotation.get("iscrowd", 0)))


def _take_nothing(label: Any, annotation: Mapping[str, Any]) -> None:
    del label, annotation


def _take_segments(label: Any, annotation: Mapping[str, Any]) -> None:
    shape = annotation["segmentation"]
    if isinstance(shape, dict):
        label["segments"].append({"size": shape["size"], "counts": shape["counts"]})
    else:
        label["segments"].append([[float(value) for value in polygon] for polygon in shape])


def _take_keypoints(label: Any, annotation: Mapping[str, Any]) -> None:
    values = [float(value) for value in annotation["keypoints"]]
    label["keypoints"].append([values[start : start + 3] for start in range(0, len(values), 3)])
    label["areas"].append(float(annotation["area"]))


_FORMS: dict[str, tuple[tuple[str, ...], Callable[[Any, Mapping[str, Any]], None]]] = {
    "boxes": ((), _take_nothing),
    "segments": (("segments",), _take_segments),
    "keypoints": (("keypoints", "areas"), _take_keypoints),
}
"""Of each form, the keys of a label that it adds, and what takes them from an annotation."""
