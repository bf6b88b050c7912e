"""ONNX to OpenVINO's intermediate representation."""

from __future__ import annotations

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

    What a device computes in is asked at load, by a hint, so FP32 and BF16 give the same float32 weights. FP16 stores
    its weights in 16 bits: a device that computes in float16 rounds them so anyway.
    """

    name: ClassVar[str] = "onnx-openvino"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_OPENVINO_IR
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32, Precision.FP16, Precision.BF16})
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
            hint = "the message names the operator that OpenVINO's ONNX frontend does not translate"
            raise ExportFailed(f"OpenVINO cannot read {source.path.name}: {error}", hint) from error
        openvino.save_model(model, destination / "model.xml", compress_to_fp16=spec.precision is Precision.FP16)
        notes = {
            Precision.FP32: (),
            Precision.FP16: ("weights stored in float16",),
            Precision.BF16: ("the IR holds float32; the hint given at load makes it bfloat16",),
        }
        return Exported("model.xml", source.inputs, source.outputs, notes[spec.precision])
