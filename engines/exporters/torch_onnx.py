"""A ``torch.export`` package to one ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_ONNX, FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.onnx"
_INSTALL = "pip install 'inference-harness[torch,onnx]'"
# The opset that torch's translations are written in, so nothing is converted. ONNX Runtime's CUDA provider has no
# Resize-19 kernel, and its static quantiser refuses 21 and later.
_OPSET = 18


class TorchExportToOnnx(Exporter):
    """Translates the graph that torch runs, so that both rows of a report compute the same thing.

    torch's own optimiser folds BatchNorm into Conv, padding into Conv and constants; the quantisers need the first.
    """

    name: ClassVar[str] = "torch-export-onnx"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_ONNX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")
    install: ClassVar[str] = _INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - see below
        """Write ``model.onnx``, weights inside, names and static shapes as the source's.

        ``spec`` adds nothing: shapes were fixed when the source was traced. Raises ``EngineUnavailable`` or
        ``ExportFailed``.
        """
        torch, onnx = _torch.require("torch", _INSTALL), _torch.require("onnx", _INSTALL)
        _torch.require("onnxscript", _INSTALL)
        path = destination / _ENTRY
        try:
            program = torch.onnx.export(
                torch.export.load(source.path),
                input_names=[tensor.name for tensor in source.inputs],
                output_names=[tensor.name for tensor in source.outputs],
                opset_version=_OPSET,
                verbose=False,
            )
            model = program.model_proto
            _forget_paths(model.graph)
            onnx.save_model(model, path)
            onnx.checker.check_model(path, full_check=True)
        except Exception as error:  # torch, onnxscript and onnx each raise several classes
            hint = "the message names the operator that has no translation to ONNX"
            raise ExportFailed(f"torch.onnx.export failed: {type(error).__name__}: {error}", hint) from error
        _check_signature(model.graph.input, source.inputs)
        _check_signature(model.graph.output, source.outputs)
        left = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
        notes = (f"{left} BatchNormalization nodes left unfolded",) if left else ()
        return Exported(_ENTRY, source.inputs, source.outputs, notes)


def _forget_paths(graph: Any) -> None:
    """Remove the stack traces that torch leaves in every node: they name files of the machine that exported."""
    for node in graph.node:
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def _check_signature(found: Any, expected: Any) -> None:
    """Raise ``ExportFailed`` unless names and static shapes are what the source had."""
    have = [(value.name, tuple(side.dim_value for side in value.type.tensor_type.shape.dim)) for value in found]
    want = [(tensor.name, tensor.shape) for tensor in expected]
    if have != want:
        raise ExportFailed(f"the ONNX graph has {have}, the source has {want}", "report it with the model's name")
