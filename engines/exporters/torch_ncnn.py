"""A ``torch.export`` package to an ncnn network."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from engines.exporters import _pnnx, _torch
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_NCNN, FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format


class TorchExportToNcnn(Exporter):
    """By TorchScript, which pnnx knows best: from ONNX, 11 of YOLO11n's 77 SiLU stay three layers each."""

    name: ClassVar[str] = "torch-export-ncnn"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_NCNN
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("torch", *_pnnx.DISTRIBUTIONS)
    install: ClassVar[str] = _pnnx.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - in the source
        """Trace the package again and convert it. Raises as ``_pnnx.convert`` does."""
        torch = _torch.require("torch")
        with tempfile.TemporaryDirectory(dir=destination) as folder:
            path = Path(folder) / "model.pt"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # TorchScript is deprecated, and is all that pnnx reads of torch
                    module = torch.export.load(source.path).module()
                    given = tuple(torch.zeros(tensor.shape) for tensor in source.inputs)
                    torch.jit.trace(module, given, check_trace=False).save(str(path))
            except Exception as error:  # torch's loader and tracer raise several classes
                hint = "the package may be cut short: export it again"
                raise ExportFailed(f"TorchScript cannot trace the package: {error}", hint) from error
            return _pnnx.convert(path, source, destination)
