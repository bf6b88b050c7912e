"""What a suite may set of a torch session."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from typing import Any

from engines.torch_inductor import Inductor


@dataclass(frozen=True)
class TorchOptions:
    """Settings of a session. Those of inductor are the exporter's where ``mode`` is ``aoti``."""

    mode: str = "eager"  # eager | compile | aoti | torchscript
    channels_last: bool = False  # not aoti: inductor lays out what it compiles
    autocast: bool = False  # eager and compile: FP32 weights, FP16 or BF16 arithmetic by torch.autocast
    cuda_graphs: bool = False  # capture a run once a stream, and replay it
    cudnn_benchmark: bool = False  # let cuDNN time its kernels and take the fastest
    freezing: bool | None = None  # compile: weights as constants, by default for INT8 alone; torchscript likewise
    compile_mode: str = "default"  # compile: or reduce-overhead, max-autotune, max-autotune-no-cudagraphs
    fusion: bool = True  # compile
    memory: str = "reuse"  # compile: none | reuse | pool
    inductor: Mapping[str, Any] = field(default_factory=dict)  # compile: further keys of torch._inductor.config

    @property
    def inductor_settings(self) -> Inductor:
        """What of this is inductor's."""
        return Inductor(self.compile_mode, self.freezing, self.fusion, self.memory, self.inductor)
