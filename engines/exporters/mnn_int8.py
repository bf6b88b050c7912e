"""MNN in float32 to MNN in INT8, by MNN's offline quantiser."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _mnn, _mnn_graph
from engines.exporters._calibration import Batches, options
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_MNN, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.mnn"
_FORMATS = {1: "GRAY", 3: "RGB"}
_DEFAULTS: Mapping[str, Any] = {
    "weights": "MAX_ABS",  # range of the weights, or ADMM
    "keep_last": True,
    "keep_concat": True,
}


class MnnInt8(Exporter):
    """Activations asymmetric, by the moving average of their extremes; weights symmetric, per channel.

    What follows the last layers computes in float: there a detector decodes boxes in pixels, of which 8 bits leave few.
    ``keep_last`` has those layers answer in float too. ``keep_concat`` keeps what concatenations give in float, which
    MNN gets wrong in 8 bits: YOLO11n's boxes were 19 pixels off with it, and 1.4 without. All weights stay rounded.

    In 3.6.1 the two other methods for activations (KL, ADMM) corrupt the heap, and the setting that would keep
    operators in float (``skip_quant_op_names``) changes nothing: their scales are taken out of the file instead.
    """

    name: ClassVar[str] = "mnn-int8"
    source: ClassVar[Format] = FORMAT_MNN
    target: ClassVar[Format] = FORMAT_MNN
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("mnn", "pillow")
    install: ClassVar[str] = _mnn.INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Quantise by the calibration images. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        chosen = options(self.name, spec.options, self.defaults)
        if chosen["weights"] not in {"MAX_ABS", "ADMM"}:
            raise ExportFailed(f"weights cannot be {chosen['weights']!r}", "it is one of MAX_ABS, ADMM")
        batches = Batches(source, spec)
        with tempfile.TemporaryDirectory(dir=destination) as name:
            folder = Path(name)
            images = folder / "images"
            images.mkdir()
            config = {
                **_write(np.load(batches.calibration.path, mmap_mode="r"), images),
                "path": f"{images.resolve()}/",
                "feature_quantize_method": "EMA",
                "weight_quantize_method": chosen["weights"],
                "batch_size": source.inputs[0].shape[0],
            }
            path = folder / "config.json"
            path.write_text(json.dumps(config), encoding="utf-8")
            said = _mnn.call("mnnquant", [str(source.path.resolve()), _ENTRY, path.name], folder)
            made = folder / _ENTRY
            if made.is_file():
                shutil.move(made, destination / _ENTRY)  # alone: the ranges that lie beside it are in it too
        if not (destination / _ENTRY).is_file():
            raise ExportFailed(f"MNN cannot quantise the model: {'; '.join(said[-2:])}", "see its log for the operator")
        _mnn.check(source, destination / _ENTRY, Precision.INT8)  # the tool may have died over a file half written
        kept = _spared(destination / _ENTRY, chosen)
        _mnn.check(source, destination / _ENTRY, Precision.INT8)
        notes = batches.note("MNN's moving average"), "images given to MNN in 256 levels", *kept
        return Exported(_ENTRY, source.inputs, source.outputs, notes)


def _spared(path: Path, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Have parts of a quantised graph compute in float, and say which.

    Raises ``ExportFailed`` where no layer would be left.
    """
    data = path.read_bytes()
    graph = _mnn_graph.operators(data)
    last, after = _mnn_graph.ending(graph)
    if not chosen["keep_last"]:
        last = []
    elif len(last) == len(_mnn_graph.layers(graph)):
        raise ExportFailed("every layer of the model would stay in float", "set `keep_last: false` for such a model")
    joined = [each for each in graph if each.kind == _mnn_graph.CONCAT and each not in after]
    if not chosen["keep_concat"]:
        joined = []
    kept = [*after, *last, *joined]
    path.write_bytes(_mnn_graph.in_float(data, {tensor for each in kept for tensor in each.outputs}))
    notes = [f"kept in float (after the last layers): {len(after)} operators"]
    if last:
        kinds = Counter(_mnn_graph.LAYERS[each.kind] for each in last)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        notes.append(f"kept in float (last layer): {counts}, weights rounded to 8 bits")
    if joined:
        notes.append(f"kept in float (concatenations): {len(joined)}, and what layers read from them")
    return tuple(notes)


def _write(images: np.ndarray, folder: Path) -> dict[str, Any]:
    """Write the images as PNG, 256 levels from their least to their largest value; return how MNN reads them back.

    MNN's quantiser takes picture files alone, and computes (value - mean) * normal.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise EngineUnavailable(f"mnn-int8 cannot import what it needs: {error}", _mnn.INSTALL) from error
    count, channels, height, width = images.shape
    if channels not in _FORMATS:
        raise ExportFailed(f"the images have {channels} channels", "MNN's quantiser reads pictures of 1 or 3")
    low, high = float(images.min()), float(images.max())
    step = (high - low) / 255 or 1.0
    for index, image in enumerate(images):
        levels = np.rint((image - low) / step).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(levels.squeeze(2) if channels == 1 else levels).save(folder / f"{index:06}.png")
    return {
        "format": _FORMATS[channels],
        "mean": [-low / step] * channels,
        "normal": [step] * channels,
        "width": width,
        "height": height,
        "used_image_num": count,
    }
