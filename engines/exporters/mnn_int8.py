"""MNN in float32 to MNN in INT8, by MNN's offline quantiser."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _mnn
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
}


class MnnInt8(Exporter):
    """Activations asymmetric, by the moving average of their extremes; weights symmetric, per channel.

    Every operator that can be is quantised. In 3.6.1 the two other methods for activations (KL, ADMM) corrupt the heap,
    and the setting that keeps operators in float (``skip_quant_op_names``) changes nothing, so neither is offered.
    """

    name: ClassVar[str] = "mnn-int8"
    source: ClassVar[Format] = FORMAT_MNN
    target: ClassVar[Format] = FORMAT_MNN
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("mnn", "pillow")
    install: ClassVar[str] = _mnn.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Quantise by the calibration images. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        chosen = options(self.name, spec.options, _DEFAULTS)
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
        notes = batches.note("MNN's moving average"), "images given to MNN in 256 levels"
        return Exported(_ENTRY, source.inputs, source.outputs, notes)


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
