"""ONNX to an MNN model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from engines.exporters import _mnn
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_MNN, FORMAT_ONNX, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.mnn"


class OnnxToMnn(Exporter):
    """MNN's own converter; names, order and shapes stay as the source's."""

    name: ClassVar[str] = "onnx-mnn"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_MNN
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("mnn",)
    install: ClassVar[str] = _mnn.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - in the source
        """Convert the file, and prepare the result once. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        arguments = ["-f", "ONNX", "--modelFile", str(source.path.resolve()), "--MNNModel", _ENTRY]
        said = _mnn.call("mnnconvert", [*arguments, "--bizCode", "harness"], destination)
        if not (destination / _ENTRY).is_file():
            errors = [line for line in said if "rror" in line or "not support" in line.lower() or "failed" in line]
            message = f"MNN cannot convert {source.path.name}: {'; '.join(errors or said[-1:])}"
            raise ExportFailed(message, "the file may be cut short, or hold an operator that MNN does not translate")
        _mnn.check(source, destination / _ENTRY)
        return Exported(_ENTRY, source.inputs, source.outputs)
