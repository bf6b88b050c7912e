"""OpenVINO: an intermediate representation compiled for one of the devices that its plugins find."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_OPENVINO_IR,
    Artifact,
    DeviceFacts,
    EngineFacts,
    Execution,
    Format,
    Goal,
    Level,
    Precision,
    Support,
    TensorSpec,
    Unknowable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_HINTS = {Precision.FP32: "f32", Precision.FP16: "f16", Precision.BF16: "bf16"}
# Types of executed layers that multiply and accumulate.
_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
_PRODUCTS = frozenset({"FullyConnected", "MatMul"})


class OpenVINOEngine(Engine):
    """Intel's OpenVINO, one infer request a stream."""

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_OPENVINO_IR,)
    modules: ClassVar[tuple[str, ...]] = ("engines.openvino_module",)
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)
    install: ClassVar[str] = "pip install 'inference-harness[openvino]'"

    def probe(self) -> EngineFacts:
        """Return what the plugins find. Raises ``EngineUnavailable``."""
        openvino = self._import()
        core = openvino.Core()
        return EngineFacts(
            self.name, openvino.get_version(), tuple(_facts(core, name) for name in core.available_devices)
        )

    def load(self, artifact: Artifact, config: SessionConfig) -> _OpenVINOSession:
        """Read the IR and compile it. Raises ``EngineUnavailable`` or ``Unsupported``."""
        core = self._import().Core()
        if not _has(core, config.device.upper()):
            found = ", ".join(name.lower() for name in core.available_devices)
            raise Unsupported(f"openvino has no device {config.device!r} here", f"it has {found}")
        support = _facts(core, config.device.upper()).precisions[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"openvino cannot run {config.precision} on {config.device}", support.reason)
        if artifact.precision is not config.precision:
            message = f"the IR was made for {artifact.precision}, {config.precision} was asked"
            raise Unsupported(message, "export it at the precision that is asked")
        return _OpenVINOSession(core, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs openvino and numpy."""
        return (
            "import numpy as np\nimport openvino as ov\n\n"
            f'model = ov.Core().compile_model("MODEL", "{config.device.upper()}", {_properties(config)})\n'
            'with np.load("inputs.npz") as inputs:\n'
            "    found = model(dict(inputs))\n"
            "outputs = {port.any_name: np.array(found[port]) for port in model.outputs}\n"
        )

    def _import(self) -> Any:
        try:
            from engines.openvino_module import openvino
        except ImportError as error:
            raise EngineUnavailable(f"openvino cannot be imported: {error}", self.install) from error
        return openvino


def _has(core: Any, name: str) -> bool:
    """Return whether a device is there, asking its own plugin alone.

    ``available_devices`` opens every plugin there is: 20 ms and 5 MB that would be measured as this device's load.
    """
    plugin, _, number = name.partition(".")
    try:
        found = core.get_property(plugin, "AVAILABLE_DEVICES")
    except RuntimeError:  # no such plugin, or one of those that stand for several, such as AUTO
        return False
    # As ``available_devices`` names them: a plugin's only device has no number.
    return number in found if number else len(found) == 1


def _facts(core: Any, name: str) -> DeviceFacts:
    capabilities = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
    precisions = {}
    for precision in Precision:
        native = precision.value.upper() in capabilities
        reason = "" if native else f"this device executes f32 whatever the hint; it has {', '.join(capabilities)}"
        precisions[precision.value] = Support(Level.NATIVE if native else Level.UNSUPPORTED, reason)
    return DeviceFacts(name.lower(), core.get_property(name, "FULL_DEVICE_NAME"), precisions)


def _properties(config: SessionConfig) -> dict[str, str | int]:
    """Return the properties to compile with; all else is the runtime's default, CPU pinning included.

    INT8 is in the IR, and the layers it leaves in float run at the runtime's own choice. A FP32 row asks for float32
    arithmetic everywhere. ``INFERENCE_NUM_THREADS``, the CPU's alone, is the whole session's.
    """
    properties: dict[str, str | int] = {"PERFORMANCE_HINT": config.goal.value.upper()}
    if config.precision in _HINTS:
        properties["INFERENCE_PRECISION_HINT"] = _HINTS[config.precision]
    if config.precision is Precision.FP32:
        properties["EXECUTION_MODE_HINT"] = "ACCURACY"
    if config.threads and config.device == "cpu":
        properties["INFERENCE_NUM_THREADS"] = config.threads
    streams = config.streams or (1 if config.goal is Goal.LATENCY else None)
    if streams:
        properties["NUM_STREAMS"] = streams
    return properties


class _OpenVINOSession(Session):
    """One compiled model; no cache folder is set, so every load compiles anew."""

    def __init__(self, core: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._config, self._artifact = config, artifact
        model = core.read_model(artifact.path)
        if model.is_dynamic():
            raise Unsupported("the IR has dynamic shapes", "export the model with static shapes")
        self._model = core.compile_model(model, config.device.upper(), _properties(config))
        self._inputs = tuple(_spec(port) for port in self._model.inputs)
        self._outputs = tuple(_spec(port) for port in self._model.outputs)

    @property
    def recommended_streams(self) -> int:
        """The runtime's own ``OPTIMAL_NUMBER_OF_INFER_REQUESTS``."""
        return int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def stream(self) -> Stream:
        """Return an infer request; the compiled model is shared."""
        return _OpenVINOStream(self._model.create_infer_request(), self._inputs, self._outputs)

    def describe(self) -> Execution:
        """Read the graph that executes: the precision of each layer and, by its shapes, the work it is."""
        layers = [
            (info["layerType"].astype(str), _precision(info), node)
            for node, info in ((node, node.get_rt_info()) for node in self._model.get_runtime_model().get_ordered_ops())
            if info["layerType"].astype(str) not in {"Const", "Input", "Output"}
        ]
        macs: Counter[str] = Counter()
        for kind, precision, node in layers:
            macs[precision] += _macs(kind, node)
        devices = [name.lower() for name in self._model.get_property("EXECUTION_DEVICES")]
        device = devices[0] if len(devices) == 1 else "+".join(devices)
        return Execution(
            device=self._config.device,
            nodes_by_device={device: len(layers)},
            macs_by_device=_shares({device: macs.total()}),
            nodes_by_precision=dict(Counter(precision for _, precision, _ in layers)),
            macs_by_precision=_shares(macs),
            threads=self._count("INFERENCE_NUM_THREADS"),
            streams=self._count("NUM_STREAMS"),
            inputs=self._inputs,
            outputs=self._outputs,
            flags={"inference precision": self._model.get_property("INFERENCE_PRECISION_HINT").to_string()},
        )

    def _count(self, name: str) -> int | Unknowable:
        try:
            return int(self._model.get_property(name))
        except RuntimeError:
            return Unknowable(f"{self._config.device} has no {name}")

    def close(self) -> None:
        """Let go of the compiled model; streams that are still held keep it alive."""
        self._model = None


class _OpenVINOStream(Stream):
    """One infer request over the input and output tensors that the plugin allocated for it."""

    def __init__(self, request: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self._request, self._specs = request, inputs
        self._inputs = {spec.name: request.get_tensor(spec.name).data for spec in inputs}
        self._outputs = {spec.name: request.get_tensor(spec.name).data for spec in outputs}

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, buffer in self._inputs.items():
            np.copyto(buffer, inputs[name])

    def run(self) -> None:
        """Infer in the calling thread, as the vendor's benchmark does with ``-api sync``.

        ``start_async`` and ``wait`` hand over to another thread and back: 0.1 ms more on the tiny model, equal on
        YOLO11n. Outputs are shared, since copying them is ``fetch``'s.
        """
        self._request.infer(share_outputs=True)

    def fetch(self) -> dict[str, np.ndarray]:
        return {name: buffer.copy() for name, buffer in self._outputs.items()}


def _spec(port: Any) -> TensorSpec:
    return TensorSpec(port.any_name, np.dtype(port.element_type.to_dtype()).name, tuple(port.shape))


def _precision(info: Any) -> str:
    word = info["runtimePrecision"].astype(str)
    return str(_WORDS.get(word, word))


def _macs(kind: str, node: Any) -> int:
    """Return the multiply-accumulates of an executed layer from the shapes of its weight and of what it computes."""
    if kind not in _CONVOLUTIONS | _PRODUCTS:
        return 0
    left, output = ([int(side) for side in port.get_shape()] for port in (node.input(0), node.output(0)))
    if kind in _PRODUCTS:
        inner = left[-1] if len(output) < 2 or left[-2] == output[-2] else left[-2]
        return math.prod(output) * inner
    weight = math.prod(
        map(int, node.input(1).get_shape())
    )  # (out, in / groups, kernel...), or with the groups in front
    # A transposed convolution multiplies each position of its input by the whole kernel of that channel.
    positions, channels = (left, left[1]) if kind == "Deconvolution" else (output, output[1])
    return math.prod(positions) * weight // channels


def _shares(macs: Mapping[str, int]) -> dict[str, float] | Unknowable:
    whole = sum(macs.values())
    if not whole:
        return Unknowable("no executed layer is of a type known to multiply and accumulate")
    return {key: value / whole for key, value in macs.items() if value}
