"""ONNX to OpenVINO's intermediate representation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_ONNX, FORMAT_OPENVINO_IR, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format


class OnnxToOpenVINO(Exporter):
    """Writes ``model.xml`` and ``model.bin``; names and shapes stay as the source's.

    What a device computes in is asked at load, by a hint, so that BF16 is loaded from the float32 IR. FP16 stores its
    weights in 16 bits: a device that computes in float16 rounds them so anyway.
    """

    name: ClassVar[str] = "onnx-openvino"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_OPENVINO_IR
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32, Precision.FP16})
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)
    install: ClassVar[str] = "pip install 'inference-harness[openvino]'"

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Convert the file. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        try:
            from engines.openvino_module import openvino
        except ImportError as error:
            raise EngineUnavailable(f"openvino cannot be imported: {error}", self.install) from error
        try:
            # Unlike ``Core.read_model`` it also simplifies: shapes folded, activations recognised.
            model = openvino.convert_model(source.path)
        except Exception as error:  # the converter's own classes, which derive from nothing else
            raise _refused(str(error), source.path.name) from error
        openvino.save_model(model, destination / "model.xml", compress_to_fp16=spec.precision is Precision.FP16)
        notes = ("weights stored in float16",) if spec.precision is Precision.FP16 else ()
        return Exported("model.xml", source.inputs, source.outputs, notes)


def _refused(text: str, name: str) -> ExportFailed:
    """Return the error for what the converter says, without the places in its source."""
    unknown = re.search(r"No conversion rule found for operations: (.+)", text)
    if unknown:
        hint = "export the model without it: OpenVINO's ONNX frontend does not translate it"
        return ExportFailed(f"OpenVINO does not know {unknown[1].strip()} of {name}", hint)
    if "can't be parsed" in text:
        return ExportFailed(f"OpenVINO cannot read {name} as ONNX", "was it cut off while it was copied? make it again")
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("Check '", "FrontEnd"))
    ]
    return ExportFailed(f"OpenVINO cannot convert {name}: {' '.join(lines)}", "the message names what it does not take")
