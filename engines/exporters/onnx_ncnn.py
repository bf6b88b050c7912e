"""ONNX to an ncnn network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from engines.exporters import _pnnx
from harness.engine import Exported, Exporter
from harness.vocabulary import FORMAT_NCNN, FORMAT_ONNX, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format


class OnnxToNcnn(Exporter):
    """For models that come as ONNX; it needs no torch."""

    name: ClassVar[str] = "onnx-ncnn"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_NCNN
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = _pnnx.DISTRIBUTIONS
    install: ClassVar[str] = _pnnx.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - in the source
        """Convert the file. Raises as ``_pnnx.convert`` does."""
        return _pnnx.convert(source.path, source, destination)
