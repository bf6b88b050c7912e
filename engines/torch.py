"""PyTorch on a CPU or an NVIDIA GPU: eager, compiled by inductor, ahead of time too, or as TorchScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines import torch_snippet
from engines.torch_devices import devices
from engines.torch_options import TorchOptions
from engines.torch_session import TorchSession
from harness.engine import Engine, SessionConfig
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_TORCH_AOTI,
    FORMAT_TORCH_EXPORT,
    FORMAT_TORCHSCRIPT,
    EngineFacts,
    Precision,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Artifact, Format

_FORMATS: Mapping[str, Format] = {
    "eager": FORMAT_TORCH_EXPORT,
    "compile": FORMAT_TORCH_EXPORT,
    "aoti": FORMAT_TORCH_AOTI,
    "torchscript": FORMAT_TORCHSCRIPT,
}
_HALVES = frozenset({Precision.FP16, Precision.BF16})
_EAGER_INT8 = (
    "eager torch would compute an INT8 model's layers in float32, between quantising and dequantising",
    "set `mode: compile` or `mode: aoti`, where inductor lowers them to INT8 kernels",
)
_COMPILE = frozenset({"compile"})
_MODES_OF: Mapping[str, frozenset[str]] = {
    "channels_last": frozenset({"eager", "compile", "torchscript"}),
    "autocast": frozenset({"eager", "compile"}),
    "freezing": frozenset({"compile", "torchscript"}),
    "compile_mode": _COMPILE,
    "fusion": _COMPILE,
    "memory": _COMPILE,
    "inductor": _COMPILE,
}
"""The modes that an option means something in; the others refuse it where it is not its default."""


class TorchEngine(Engine):
    """Runs the exported graph, in float32 arithmetic proper (no TF32) where FP32 is asked."""

    name: ClassVar[str] = "torch"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_TORCH_EXPORT, FORMAT_TORCH_AOTI, FORMAT_TORCHSCRIPT)
    options: ClassVar[type] = TorchOptions
    modules: ClassVar[tuple[str, ...]] = ("torch",)
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = "pip install 'inference-harness[torch]'"

    def probe(self) -> EngineFacts:
        """Return the CPU and every CUDA device. Raises ``EngineUnavailable``."""
        torch = self._import()
        versions = {"cuda": torch.version.cuda} if torch.version.cuda else {}
        return EngineFacts(self.name, str(torch.__version__), devices(torch), versions)

    def load(self, artifact: Artifact, config: SessionConfig) -> TorchSession:
        """Load the artifact, move it to the device, and compile it in mode ``compile``.

        Raises ``EngineUnavailable``, ``Unsupported``, or ``DataError`` where the file is not what it should be.
        """
        torch = self._import()
        _check(config)
        (expected,) = self.artifact_formats(config.options)
        if artifact.format != expected:
            raise Unsupported(
                f"mode {config.options.mode} loads {expected}, not {artifact.format}", "choose `mode` by the artifact"
            )
        self.refuse_unsupported({device.name: device.precisions for device in devices(torch)}, artifact, config)
        return TorchSession(torch, artifact, config)

    def artifact_formats(self, options: TorchOptions) -> tuple[Format, ...]:
        """Return the format of the mode. Raises ``Unsupported`` for a mode that there is not."""
        if options.mode not in _FORMATS:
            raise Unsupported(f"torch: mode cannot be {options.mode!r}", f"it is one of {', '.join(_FORMATS)}")
        return (_FORMATS[options.mode],)

    def artifact_precision(self, precision: Precision, options: TorchOptions) -> Precision:
        """Return FP32 where the arithmetic alone is of another precision: TF32, and autocast.

        Raises ``Unsupported`` for INT8 in the mode ``eager``, so that nothing is exported for it.
        """
        if precision is Precision.INT8 and options.mode == "eager":
            raise Unsupported(*_EAGER_INT8)
        casts = precision is Precision.TF32 or (options.autocast and precision in _HALVES)
        return Precision.FP32 if casts else precision

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs torch and numpy."""
        return torch_snippet.program(artifact, config)

    def _import(self) -> Any:
        try:
            import torch
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"torch cannot be imported: {error}", self.install) from error
        return torch


def _check(config: SessionConfig) -> None:
    """Raise ``Unsupported`` where the options do not go together, or not with the device or the precision."""
    options, precision = config.options, config.precision
    default = TorchOptions()
    for name, modes in _MODES_OF.items():
        if options.mode not in modes and getattr(options, name) != getattr(default, name):
            elsewhere = " (in mode aoti, set it on the exporter torch-aoti)" if modes == _COMPILE else ""
            message = f"torch: {name} means nothing in mode {options.mode}"
            raise Unsupported(message, f"it is for {', '.join(sorted(modes))}{elsewhere}")
    for name in ("cuda_graphs", "cudnn_benchmark"):
        if getattr(options, name) and config.device == "cpu":
            raise Unsupported(f"torch: {name} needs an NVIDIA GPU", "leave it out, or ask for cuda:0")
    if options.autocast and precision not in _HALVES:
        raise Unsupported(f"torch.autocast does not compute at {precision}", "ask for fp16 or bf16")
    if precision is Precision.INT8 and options.mode == "eager":
        raise Unsupported(*_EAGER_INT8)
    if precision is Precision.TF32 and options.mode == "aoti":
        message = "an AOTInductor package chose its matrix kernels when it was made, without TF32"
        raise Unsupported(message, "ask for tf32 in mode eager or compile")
    if (
        options.cuda_graphs
        and options.mode == "compile"
        and options.compile_mode in {"reduce-overhead", "max-autotune"}
    ):
        message = f"torch: compile_mode {options.compile_mode} captures CUDA graphs of its own"
        raise Unsupported(message, "leave `cuda_graphs` out, or take max-autotune-no-cudagraphs")
