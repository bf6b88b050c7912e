"""ONNX in float32 to ONNX in float16, inputs and outputs kept in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_ONNX, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format


class OnnxFloat16(Exporter):
    """ONNX Runtime's own converter; onnxconverter-common's gives YOLO11n a Resize that does not load."""

    name: ClassVar[str] = "onnx-fp16"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_ONNX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16})
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - in the source
        """Convert weights and activations. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        try:
            import onnx
            from onnxruntime.transformers.float16 import convert_float_to_float16
            from onnxruntime.transformers.onnx_model import OnnxModel
        except ImportError as error:
            raise EngineUnavailable(f"onnx-fp16 cannot import what it needs: {error}", self.install) from error
        try:
            model = convert_float_to_float16(onnx.load(source.path), keep_io_types=True)
            _drop_repeated(model.graph.node)
            _drop_repeated(model.graph.value_info)
            converted = OnnxModel(model)
            converted.topological_sort()  # casts were appended at the end
            onnx.checker.check_model(converted.model)
        except Exception as error:  # protobuf's, the checker's and the converter's own classes
            hint = "the message names the operator or the part of the file that cannot be converted"
            raise ExportFailed(f"{source.path.name} cannot be made float16: {error}", hint) from error
        onnx.save(converted.model, destination / "model.onnx")
        casts = sum(node.op_type == "Cast" for node in converted.model.graph.node)
        notes = (f"inputs and outputs kept in float32, {casts} casts",)
        return Exported("model.onnx", source.inputs, source.outputs, notes)


def _drop_repeated(entries: Any) -> None:
    """Keep the first of several equal nodes or value infos.

    The converter writes one cast per use of a tensor, all of one name, and two such casts make an invalid model.
    """
    seen: set[bytes] = set()
    kept = []
    for entry in entries:
        written = entry.SerializeToString(deterministic=True)
        if written not in seen:
            seen.add(written)
            kept.append(entry)
    if len(kept) < len(entries):
        del entries[:]
        entries.extend(kept)
