"""A ``torch.export`` package to a TorchScript file, which PyTorch deprecated in favour of the former."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

from engines import torch_model
from engines.exporters import _torch
from engines.exporters._calibration import options
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCHSCRIPT, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.torchscript"


class TorchScript(Exporter):
    """Traces the exported program's module, so that both formats run the same operators."""

    name: ClassVar[str] = "torch-script"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_TORCHSCRIPT
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16, Precision.BF16})
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = _torch.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.torchscript``. Raises ``EngineUnavailable``, ``DataError`` or ``ExportFailed``."""
        torch = _torch.require("torch")
        options(self.name, spec.options, self.defaults)
        program = torch_model.read_program(torch, source)
        module = program.module(check_guards=False)
        given = tuple(torch.zeros(value.shape, dtype=value.dtype) for value in program.example_inputs[0])
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and a word on each Python number of the graph
            try:
                traced = torch.jit.trace(module, given, check_trace=False)
                torch.jit.save(traced, destination / _ENTRY)
                found = torch.jit.load(destination / _ENTRY)(*given)
            except Exception as error:  # the tracer raises whatever it likes
                hint = "use mode eager, compile or aoti: PyTorch no longer develops TorchScript"
                raise ExportFailed(f"torch.jit.trace failed: {type(error).__name__}: {error}", hint) from error
            _torch.check(module(*given), found)
        note = "TorchScript is deprecated by PyTorch in favour of torch.export"
        return Exported(_ENTRY, source.inputs, source.outputs, (*source.notes, note))
