"""The settings of an OpenVINO model, and the properties that say them to the runtime."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import Unsupported
from harness.vocabulary import Goal, Precision

if TYPE_CHECKING:
    from harness.engine import SessionConfig

HINTS = {Precision.FP32: "f32", Precision.FP16: "f16", Precision.BF16: "bf16"}
_GOALS = {
    "latency": "LATENCY",
    "throughput": "THROUGHPUT",
    "cumulative": "CUMULATIVE_THROUGHPUT",
    "none": None,
}
_MODES = {"accuracy": "ACCURACY", "performance": "PERFORMANCE"}
_CORES = {"any": "ANY_CORE", "performance": "PCORE_ONLY", "efficient": "ECORE_ONLY"}
_CHOOSERS = ("auto", "multi", "hetero")
"""Plugins that stand for several devices, by priority: ``auto:gpu,cpu``. The plain word ``auto`` is the suite's."""


@dataclass(frozen=True)
class OpenVINOOptions:
    """Settings of a compiled model; null leaves a choice to the adapter or to the runtime."""

    hint: str | None = None  # latency | throughput | cumulative | none; null: the scenario's goal
    execution_mode: str | None = None  # accuracy | performance; null: accuracy for FP32, else the runtime's
    inference_precision: str | None = None  # f32 | f16 | bf16 | dynamic; null: that of the row, and none for INT8
    num_requests: int | None = None  # the requests to expect, a bound of what the throughput hint chooses
    subgraphs: bool = True  # whether the CPU plugin joins what it does not fuse into generated kernels
    cpu_pinning: bool | None = None
    hyper_threading: bool | None = None
    cores: str | None = None  # any | performance | efficient
    dynamic_quantization: int | None = None  # group size for activations; 0: off
    mmap: bool = True  # whether weights are mapped from the file rather than read
    model_cache: bool = (
        False  # whether the compiled model is kept in this launch's scratch folder, and looked for there
    )
    properties: Mapping[str, Any] = field(default_factory=dict)  # any others, in OpenVINO's words


def real(name: str) -> list[str]:
    """Return the devices that a name stands for: itself, or those that it lets a plugin choose among."""
    chooser, _, several = name.partition(":")
    return several.split(",") if chooser in _CHOOSERS and several else [name]


def properties(config: SessionConfig) -> dict[str, Any]:
    """Return the properties to compile with; all else is the runtime's default, CPU pinning included.

    INT8 is in the IR, and the layers it leaves in float run at the runtime's own choice. A FP32 row asks for float32
    arithmetic everywhere. A plugin that chooses hands each device its own, and takes the hint for itself.
    """
    options = config.options
    goal = options.hint or config.goal.value
    hint = _word("hint", goal, _GOALS)
    common: dict[str, Any] = {"PERFORMANCE_HINT": hint} if hint else {}
    if options.num_requests is not None:
        common["PERFORMANCE_HINT_NUM_REQUESTS"] = options.num_requests
    if options.model_cache:
        if config.scratch is None:
            raise Unsupported("openvino: `model_cache` needs a folder", "give the session a scratch folder")
        common["CACHE_DIR"] = str(config.scratch / "openvino-cache")
    devices = real(config.device)
    own = {name: _own(config, name) for name in devices}
    if devices == [config.device]:
        return common | own[config.device] | dict(options.properties)
    if config.device.startswith("auto:"):
        # Otherwise a CPU serves the first inferences while another device compiles.
        common["ENABLE_STARTUP_FALLBACK"] = False
    return common | {"DEVICE_PROPERTIES": {name.upper(): each for name, each in own.items()}} | dict(options.properties)


def _own(config: SessionConfig, device: str) -> dict[str, Any]:
    """Return the properties of one device. Some are the CPU's alone, ``INFERENCE_NUM_THREADS`` the whole session's."""
    options = config.options
    made: dict[str, Any] = {}
    if options.inference_precision or config.precision in HINTS:
        made["INFERENCE_PRECISION_HINT"] = options.inference_precision or HINTS[config.precision]
    mode = options.execution_mode or ("accuracy" if config.precision is Precision.FP32 else None)
    if mode:
        made["EXECUTION_MODE_HINT"] = _word("execution_mode", mode, _MODES)
    streams = config.streams or (1 if config.goal is Goal.LATENCY and options.hint in {None, "latency"} else None)
    if streams:
        made["NUM_STREAMS"] = streams
    if options.dynamic_quantization is not None:
        made["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = options.dynamic_quantization
    if device.partition(".")[0] != "cpu":
        return made
    if config.threads:
        made["INFERENCE_NUM_THREADS"] = config.threads
    if not options.subgraphs:
        made["SNIPPETS_MODE"] = "DISABLE"
    switches = {"ENABLE_CPU_PINNING": options.cpu_pinning, "ENABLE_HYPER_THREADING": options.hyper_threading}
    made |= {name: value for name, value in switches.items() if value is not None}
    if options.cores is not None:
        made["SCHEDULING_CORE_TYPE"] = _word("cores", options.cores, _CORES)
    return made


def _word(option: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise Unsupported(f"openvino: {option} cannot be {value!r}", f"it is one of {', '.join(choices)}")
    return choices[value]
