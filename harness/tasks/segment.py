"""Instance segmentation by prototypes: a detector's boxes, a mask of each, COCO's mean average precision of masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import HarnessError
from harness.tasks import coco_map, coco_official, masks
from harness.tasks.boxes import to_image
from harness.tasks.detect import rows
from harness.tasks.detector import Detector, DetectorParameters
from harness.tasks.parameters import one_of
from harness.tasks.task import Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.tasks.heads import Candidates
    from harness.tasks.task import Frame

FORMS = ("input", "image", "runs")


@dataclass(frozen=True)
class SegmentParameters(DetectorParameters):
    """How a segmenter is fed and read; the defaults are those of Ultralytics' YOLOv8 to YOLO26."""

    masks: str = "input"  # their pixels: the model's input, as Ultralytics' predict | the image | its run lengths

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("segment", "masks", self.masks, FORMS)


@dataclass(frozen=True)
class Instances:
    """What was found in one image, best first, without those whose mask is empty.

    ``boxes`` is float32 (n, 6) as of the task detect. ``masks`` is uint8 (n, height, width) of the input or the image,
    or n of COCO's uncompressed run lengths ``{"size": [height, width], "counts": array}``.
    """

    boxes: np.ndarray
    masks: np.ndarray | Sequence[Mapping[str, Any]]


class Segment(Detector):
    """A mask of each box; of the outputs, that of three dimensions are boxes, that of four the prototypes."""

    name: ClassVar[str] = "segment"
    labels: ClassVar[str] = "segments"
    parameters: SegmentParameters

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[Instances]:
        """Return one prediction per frame. Raises ``HarnessError`` where there are no boxes or no prototypes."""
        boxes = next((value for value in outputs.values() if value.ndim == 3), None)
        prototypes = next((value for value in outputs.values() if value.ndim == 4), None)
        if boxes is None or prototypes is None:
            shapes = ", ".join(str(value.shape) for value in outputs.values())
            raise HarnessError(
                f"segment: the outputs have the shapes {shapes}",
                "a segmenter answers with boxes in 3 dimensions and prototypes in 4; export it without post-processing",
            )
        kept = self.found(boxes, len(frames), extra=prototypes.shape[1])
        surfaces = prototypes.astype(np.float32, copy=False)
        return [
            self._instances(found, surface, frame)
            for found, surface, frame in zip(kept, surfaces, frames, strict=False)
        ]

    def _instances(self, found: Candidates, prototypes: np.ndarray, frame: Frame) -> Instances:
        size = prototypes.shape[1:]
        if self.parameters.masks == "input":
            way, boxes = masks.to_input(*size), found.boxes
        else:
            way, boxes = masks.to_image(*size, frame), to_image(found.boxes, frame)
        crops = masks.crops(prototypes, found.extra, boxes, way)
        seen = [row for row, crop in enumerate(crops) if crop.inside.any()]
        crops = [crops[row] for row in seen]
        kept = rows(found.take(np.array(seen, dtype=int)), frame)
        if self.parameters.masks == "runs":
            return Instances(kept, [masks.run_lengths(crop, way.shape) for crop in crops])
        return Instances(kept, masks.paint(crops, way.shape))

    def _validation(self) -> dict[str, Any]:
        return {**super()._validation(), "masks": "runs"}

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return COCO's mAP of masks at the image's size, and of boxes; labels with ``segments``."""
        boxes = [prediction.boxes for prediction in predictions]
        coco_map.check(boxes, labels, classes, "segments")
        of_boxes = coco_official.summary(
            coco_official.precision(coco_official.documents(boxes, labels), classes), "box_"
        )
        sized = list(zip(predictions, [label["size"] for label in labels], strict=True))
        found = [[_compressed(mask, size) for mask in prediction.masks] for prediction, size in sized]
        truth = [[_compressed(shape, label["size"]) for shape in label["segments"]] for label in labels]
        given = coco_official.documents(boxes, labels)
        for image, label in zip(given.images, labels, strict=True):
            image["height"], image["width"] = label["size"]
        for documents, shapes in ((given.annotations, truth), (given.results, found)):
            for document, shape in zip(documents, (shape for image in shapes for shape in image), strict=True):
                document["segmentation"] = shape
        precision = coco_official.precision(given, classes, coco_official.Protocol("segm"))
        return Evaluation(
            metrics={**coco_official.summary(precision), **of_boxes},
            primary="map50_95",
            per_image=coco_map.match(boxes, labels, _similarity(found, truth, labels)),
            notes=(coco_map.protocol("IoU of masks at the image's size"),),
        )


def _similarity(found: Sequence[Any], truth: Sequence[Any], labels: Sequence[Any]) -> coco_map.Similarity:
    mask = _library()

    def similarity(image: int, rows_: np.ndarray, objects: np.ndarray) -> np.ndarray:
        crowd = [int(labels[image]["crowd"][index]) for index in objects]
        overlaps = mask.iou([found[image][row] for row in rows_], [truth[image][index] for index in objects], crowd)
        return np.asarray(overlaps).reshape(len(rows_), len(objects))

    return similarity


def _compressed(shape: Any, size: Sequence[int]) -> Any:
    """Return COCO's compressed run lengths of polygons, of plain run lengths, or of what is compressed already."""
    mask = _library()
    height, width = size
    if isinstance(shape, Mapping):
        counts = shape["counts"]
        if isinstance(counts, (str, bytes)):
            return dict(shape)
        return mask.frPyObjects({"size": [height, width], "counts": [int(run) for run in counts]}, height, width)
    return mask.merge(mask.frPyObjects([list(polygon) for polygon in shape], height, width))


def _library() -> Any:
    coco_official.require()
    from faster_coco_eval.core import mask  # noqa: PLC0415 - never loaded in a measured process

    return mask
