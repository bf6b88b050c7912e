"""ONNX Runtime's execution providers as devices: their names, their settings, and what they compute in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import Unsupported
from harness.vocabulary import Goal, Level, Precision, Support

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import SessionConfig

SUFFIX = "ExecutionProvider"
CPU = f"CPU{SUFFIX}"
HARDWARE = ("cpu", "gpu", "npu")
_MOST_DEVICES = 16
_NATIVE = Support(Level.NATIVE)
_NO_BF16 = "which operators this provider computes in bfloat16 is not known here"
_NO_FP8 = "whether this provider multiplies 8-bit floats is not known here"
_ONLY_CUDA = "only the CUDA provider has a switch for TF32"


def _precisions(**given: Support | str) -> dict[str, Support]:
    """Return FP32 as native and the rest as given; a text is why a precision is unsupported."""
    reasons: dict[str, Support | str] = {"tf32": _ONLY_CUDA, "bf16": _NO_BF16, "fp8": _NO_FP8}
    words = {"fp32": _NATIVE, **reasons, **given}
    return {
        name: word if isinstance(word, Support) else Support(Level.UNSUPPORTED, word) for name, word in words.items()
    }


@dataclass(frozen=True)
class Provider:
    """One provider. ``numbered``: several devices, told by ``device_id``; ``memory``: where it wants its tensors."""

    name: str
    precisions: Mapping[str, Support]
    numbered: bool = False
    hardware: tuple[str, ...] = ()  # kinds told by ``device_type``
    memory: str = ""  # ONNX Runtime's word for its memory; empty: the host's
    graph: str = ""  # the option that captures the work of a run as a CUDA graph
    partner: str = ""  # the provider that takes what this one leaves, before the CPU's
    settings: Mapping[str, str] = field(default_factory=dict)


_GPU_INT8 = "no 8-bit kernels for Conv and Gemm: it dequantises and multiplies in float32"
_UNTOLD = "whether this provider computes in it is not known here"
_OTHER = _precisions(fp16=_UNTOLD, int8=_UNTOLD)
PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider(
        CPU,
        _precisions(
            int8=_NATIVE,
            fp8="the CPU provider multiplies no 8-bit floats: between Q/DQ nodes its layers compute in float32",
            fp16=Support(
                Level.EMULATED,
                "the CPU provider has no float16 kernels for Conv and Gemm: it runs float32 ones between casts",
            ),
            bf16="the CPU provider has no bfloat16 kernels for Conv and Gemm",
        ),
    ),
    "cuda": Provider(
        f"CUDA{SUFFIX}",
        _precisions(tf32=_NATIVE, fp16=_NATIVE, int8=Support(Level.EMULATED, _GPU_INT8)),
        numbered=True,
        memory="cuda",
        graph="enable_cuda_graph",
    ),
    "tensorrt": Provider(
        f"Tensorrt{SUFFIX}",
        _precisions(fp16=_NATIVE, int8=_NATIVE),
        numbered=True,
        memory="cuda",
        graph="trt_cuda_graph_enable",
        partner="cuda",
    ),
    "openvino": Provider(f"OpenVINO{SUFFIX}", _precisions(fp16=_NATIVE, int8=_NATIVE), hardware=HARDWARE),
    "xnnpack": Provider(f"Xnnpack{SUFFIX}", _precisions(int8=_NATIVE, fp16=_UNTOLD)),
    "dml": Provider(f"Dml{SUFFIX}", _precisions(fp16=_NATIVE, int8=_NATIVE), numbered=True),
    "coreml": Provider(
        f"CoreML{SUFFIX}", _precisions(fp16=_NATIVE, int8="it leaves QuantizeLinear and DequantizeLinear to the CPU")
    ),
}


@dataclass(frozen=True)
class Device:
    """A device as the suite says it, such as ``cuda:0`` or ``openvino:cpu``."""

    name: str
    provider: Provider
    number: int = 0
    hardware: str = ""

    @property
    def precisions(self) -> Mapping[str, Support]:
        """What it computes in. An OpenVINO device's own limits override its provider's."""
        given = dict(self.provider.precisions)
        if self.hardware == "cpu":
            reason = "the provider takes no float16 on a CPU: it executes the graph in float32"
            given["fp16"] = Support(Level.EMULATED, reason)
        if self.hardware == "npu":
            given["fp32"] = Support(Level.UNSUPPORTED, "an NPU computes in float16 and 8 bits")
        return given


def parse(name: str) -> Device:
    """Return the device of a name. Raises ``Unsupported`` for a word that names none."""
    kind, _, which = name.partition(":")
    provider = PROVIDERS.get(kind) or Provider(kind, _OTHER, hardware=HARDWARE)
    if provider.numbered and re.fullmatch(r"\d*", which):
        return Device(name, provider, int(which or 0))
    if provider.hardware and which.partition(".")[0] in provider.hardware:
        number = which.partition(".")[2]
        return Device(name, provider, int(number) if number.isdigit() else 0, which.partition(".")[0])
    if kind in PROVIDERS and not which and not provider.hardware:
        return Device(name, provider)
    kinds = ", ".join(
        f"{key}{':0' if one.numbered else ':cpu' if one.hardware else ''}" for key, one in PROVIDERS.items()
    )
    raise Unsupported(f"onnxruntime has no device {name!r}", f"devices are named like {kinds}")


def names(held: tuple[str, ...]) -> list[list[str]]:
    """Return the names that devices of a build may have, a list for each series that ends at the first one absent."""
    found = []
    for kind, provider in PROVIDERS.items():
        if provider.name in held:
            numbers = [f"{kind}:{number}" for number in range(_MOST_DEVICES)] if provider.numbered else [kind]
            found += [[f"{kind}:{one}"] for one in provider.hardware] or [numbers]
    return found


def short(provider: str) -> str:
    """Return a device's word for a provider's name: ``CUDAExecutionProvider`` is ``cuda``."""
    known = {one.name: kind for kind, one in PROVIDERS.items()}
    return known.get(provider, provider.removesuffix(SUFFIX).casefold())


def settings(device: Device, config: SessionConfig, streams: int, threads: int) -> dict[str, str]:
    """Return the options of the device's provider; those of the suite's ``provider_options`` override them.

    TF32 is said for CUDA either way, since its default is on (onnxruntime.ai, CUDA provider, ``use_tf32``).
    XNNPACK brings a thread pool of its own; its documentation recommends one thread for ONNX Runtime's, not spinning.
    """
    provider, options = device.provider, config.options
    made: dict[str, str] = dict(provider.settings)
    if provider.numbered:
        made["device_id"] = str(device.number)
    if provider is PROVIDERS["cuda"]:
        made["use_tf32"] = str(int(config.precision is Precision.TF32))
    if provider is PROVIDERS["tensorrt"]:
        # The provider builds a weakly typed network: without the flag a float16 graph is computed in float32.
        made |= {"trt_fp16_enable": "1"} if config.precision is Precision.FP16 else {}
        made |= {"trt_int8_enable": "1"} if config.precision is Precision.INT8 else {}
    if provider is PROVIDERS["xnnpack"] and threads:
        made["intra_op_num_threads"] = str(threads)
    if provider is PROVIDERS["openvino"]:
        made |= _openvino(device, config, streams)
    if options.cuda_graph:
        if not provider.graph:
            raise Unsupported(f"onnxruntime: {device.name} captures no CUDA graphs", "leave `cuda_graph` out")
        if streams > 1:
            raise Unsupported("onnxruntime: a session with CUDA graphs serves one stream", "leave `cuda_graph` out")
        made[provider.graph] = "1"
    return made | {name: _text(value) for name, value in options.provider_options.items()}


def _openvino(device: Device, config: SessionConfig, streams: int) -> dict[str, str]:
    made = {"device_type": device.name.partition(":")[2].upper(), "num_streams": str(streams)}
    if config.threads:
        made["num_of_threads"] = str(config.threads)
    if device.hardware == "gpu":  # its default there is float16
        made["precision"] = "FP16" if config.precision is Precision.FP16 else "FP32"
    return made


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def budget(device: Device, config: SessionConfig, processors: int) -> tuple[int, int]:
    """Return streams and intra-op threads (0: the runtime's choice), ``config.threads`` being the whole session's.

    On the CPU provider k streams are k calling threads, and all share one pool of intra-op threads less one, since a
    caller works too: k streams and n intra-op threads keep k + n - 1 threads busy. One thread a stream gives most
    throughput. A pool of the provider's own is shared by the callers, who then wait for each other.
    """
    if config.goal is Goal.LATENCY:
        return config.streams or 1, config.threads or 0
    threads = config.threads or processors
    if device.provider.name == CPU:
        streams = config.streams or threads
        return streams, max(1, threads - streams + 1)
    if device.provider is PROVIDERS["openvino"]:
        return config.streams or (threads if device.hardware == "cpu" else 2), threads
    return config.streams or (2 if device.provider.memory else 1), threads
