"""NVIDIA TensorRT for RTX: TensorRT's interface, kernels compiled on the user's GPU when an engine is loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from engines import tensorrt_cuda
from engines.tensorrt import TensorRTEngine
from harness.vocabulary import FORMAT_TENSORRT_RTX, Level, Precision, Support

if TYPE_CHECKING:
    from engines.tensorrt_cuda import Gpu
    from harness.vocabulary import Format

# The SDK's wheel has the first name, PyPI's the second; looking one up imports nothing.
PACKAGE = next((name for name in ("tensorrt_rtx", "tensorrt_rtx_bindings") if importlib.util.find_spec(name)), "")
DISTRIBUTIONS = ("tensorrt-rtx-cu13-bindings", "cuda-bindings")
INSTALL = "pip install 'inference-harness[tensorrt-rtx]'"
_INT8 = "its support matrix lists INT8 for the weights of matrix products alone"
_TF32 = "its support matrix does not list TF32"
_FP8 = "its documentation has FP8 for matrix products alone"


@dataclass(frozen=True)
class TensorRTRTXOptions:
    """Settings of a session; CUDA graphs are captured and replayed by the runtime itself."""

    cuda_graphs: bool = False


class TensorRTRTXEngine(TensorRTEngine):
    """The same interface under another name, without tuning at build time."""

    name: ClassVar[str] = "tensorrt-rtx"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_TENSORRT_RTX,)
    options: ClassVar[type] = TensorRTRTXOptions
    modules: ClassVar[tuple[str, ...]] = (PACKAGE or "tensorrt_rtx", tensorrt_cuda.MODULE)
    distributions: ClassVar[tuple[str, ...]] = DISTRIBUTIONS
    alternatives: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = INSTALL

    def artifact_formats(self, options: Any) -> tuple[Format, ...]:  # noqa: ARG002 - its networks are always strongly typed
        """Return the one format."""
        return self.formats

    def _support(self, gpu: Gpu) -> dict[str, Support]:
        given = super()._support(gpu)
        fp8 = given[Precision.FP8.value]
        return {
            **given,
            Precision.TF32.value: Support(Level.UNSUPPORTED, _TF32),
            Precision.INT8.value: Support(Level.EMULATED, _INT8),
            Precision.FP8.value: Support(Level.EMULATED, _FP8) if fp8.level is Level.NATIVE else fp8,
        }
