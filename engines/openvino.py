"""OpenVINO: an intermediate representation compiled for one of the devices that its plugins find, or for a choice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from engines.openvino_graph import Graph
from engines.openvino_properties import OpenVINOOptions, properties, real
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import DataError, EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_OPENVINO_IR,
    Artifact,
    DeviceFacts,
    EngineFacts,
    Execution,
    Format,
    Level,
    Precision,
    Support,
    TensorSpec,
    Unknowable,
)


class OpenVINOEngine(Engine):
    """Intel's OpenVINO, one infer request a stream."""

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_OPENVINO_IR,)
    options: ClassVar[type] = OpenVINOOptions
    modules: ClassVar[tuple[str, ...]] = ("engines.openvino_module",)
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)
    install: ClassVar[str] = "pip install 'inference-harness[openvino]'"

    def probe(self) -> EngineFacts:
        """Return what the plugins find, and on request OpenVINO's choice among it. Raises ``EngineUnavailable``."""
        openvino = self._import()
        core = openvino.Core()
        found = list(core.available_devices)
        devices = [_facts(core, name.lower()) for name in found]
        if found:
            devices.append(replace(_facts(core, f"auto:{','.join(found).lower()}"), on_request=True))
        return EngineFacts(self.name, openvino.get_version(), tuple(devices))

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:  # noqa: ARG002 - of the contract
        """BF16 is a hint over float32 weights."""
        return Precision.FP32 if precision is Precision.BF16 else precision

    def load(self, artifact: Artifact, config: SessionConfig) -> _OpenVINOSession:
        """Read the IR and compile it.

        Raises ``EngineUnavailable``, ``Unsupported``, or ``DataError`` for a file that is no whole IR.
        """
        core = self._import().Core()
        for name in real(config.device):
            if not _has(core, name.upper()):
                found = ", ".join(each.lower() for each in core.available_devices)
                raise Unsupported(f"openvino has no device {config.device!r} here", f"it has {found}")
        support = _facts(core, config.device).precisions[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"openvino cannot run {config.precision} on {config.device}", support.reason)
        wanted = self.artifact_precision(config.precision, config.options)
        if artifact.precision is not wanted:
            message = f"the IR was made for {artifact.precision}, {config.precision} was asked"
            raise Unsupported(message, f"export it at {wanted}")
        return _OpenVINOSession(core, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs openvino and numpy."""
        mmap = "" if config.options.mmap else 'core.set_property({"ENABLE_MMAP": False})\n'
        return (
            f"import numpy as np\nimport openvino as ov\n\ncore = ov.Core()\n{mmap}"
            f'model = core.compile_model("MODEL", "{config.device.upper()}", {properties(config)})\n'
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
    """Return what a device computes in; of a choice, what each of those to choose among does."""
    several = [each.upper() for each in real(name)]
    offered = [set(core.get_property(each, "OPTIMIZATION_CAPABILITIES")) for each in several]
    words = sorted(word for word in set.intersection(*offered) if re.fullmatch(r"[A-Z]+\d+", word))
    precisions = {}
    for precision in Precision:
        native = precision.value.upper() in words
        reason = "" if native else f"this device executes f32 whatever the hint; it has {', '.join(words)}"
        precisions[precision.value] = Support(Level.NATIVE if native else Level.UNSUPPORTED, reason)
    described = [core.get_property(each, "FULL_DEVICE_NAME") for each in several]
    chosen = "" if [name.upper()] == several else f"{name.partition(':')[0].upper()}'s choice of "
    return DeviceFacts(name, chosen + " and ".join(described), precisions)


class _OpenVINOSession(Session):
    """One compiled model."""

    def __init__(self, core: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._config, self._artifact, self._core = config, artifact, core
        core.set_property({"ENABLE_MMAP": config.options.mmap})
        self._read = self._read_model()
        if self._read.is_dynamic():
            raise Unsupported("the IR has dynamic shapes", "export the model with static shapes")
        try:
            self._model = core.compile_model(self._read, config.device.upper(), properties(config))
        except RuntimeError as error:
            message = f"openvino cannot compile {artifact.path.name} for {config.device}: {_last(error)}"
            raise Unsupported(
                message, "the message names the operator or the property that it does not take"
            ) from error
        self._inputs = tuple(_spec(port) for port in self._model.inputs)
        self._outputs = tuple(_spec(port) for port in self._model.outputs)

    def _read_model(self) -> Any:
        name = self._artifact.path.name
        try:
            return self._core.read_model(self._artifact.path)
        except RuntimeError as error:
            hint = "was it cut off while it was copied? its .bin lies beside its .xml; make it again"
            raise DataError(f"openvino cannot read {name}: {_last(error)}", hint) from error

    @property
    def recommended_streams(self) -> int:
        """The runtime's own ``OPTIMAL_NUMBER_OF_INFER_REQUESTS``."""
        return int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def stream(self) -> Stream:
        """Return an infer request; the compiled model is shared."""
        return _OpenVINOStream(self._model.create_infer_request(), self._inputs, self._outputs)

    def describe(self) -> Execution:
        """Read the graph that executes: of each layer its precision, what it was made of and, by its shapes, its work.

        A device that shows no graph leaves that unknowable. Of several devices the runtime does not say which layer
        runs on which, so that a choice is reported as the one asked, with what it came to among the flags.
        """
        asked, graph = self._config.device, self._graph()
        ran = "+".join(name.lower() for name in self._model.get_property("EXECUTION_DEVICES"))
        device = asked if real(asked) != [asked] else ran
        blind = Unknowable(f"{ran} shows no executed graph")
        whole = graph.work() if graph else blind
        return Execution(
            device=asked,
            nodes_by_device={device: graph.layers} if graph else blind,
            macs_by_device={device: 1.0} if isinstance(whole, Mapping) else whole,
            nodes_by_precision=graph.precisions() if graph else blind,
            macs_by_precision=whole,
            threads=self._count("INFERENCE_NUM_THREADS"),
            streams=self._count("NUM_STREAMS"),
            inputs=self._inputs,
            outputs=self._outputs,
            operators=graph.operators() if graph else blind,
            graph_nodes=Graph.nodes_of(self._read),
            flags={"execution devices": ran, **self._flags()},
        )

    def _graph(self) -> Graph | None:
        try:
            return Graph(self._model.get_runtime_model(), self._read)
        except RuntimeError:  # as of an NPU, which holds a blob of its driver's
            return None

    def _flags(self) -> dict[str, str]:
        """Return properties of the compiled model as it tells them, by what they are for."""
        shown = {
            "inference precision": "INFERENCE_PRECISION_HINT",
            "hint": "PERFORMANCE_HINT",
            "loaded from cache": "LOADED_FROM_CACHE",
            "cpu pinning": "ENABLE_CPU_PINNING",
        }
        found = {label: self._told(name) for label, name in shown.items()}
        return {label: _text(value) for label, value in found.items() if value is not None}

    def _told(self, name: str) -> Any:
        """Return a property of the model, or of the one device that a choice came to; ``None`` where neither has it."""
        try:
            return self._model.get_property(name)
        except RuntimeError:
            pass
        try:
            devices = self._model.get_property("DEVICE_PROPERTIES")
        except RuntimeError:
            return None
        return next(iter(devices.values())).get(name) if len(devices) == 1 else None

    def _count(self, name: str) -> int | Unknowable:
        value = self._told(name)
        return Unknowable(f"{self._config.device} has no {name}") if value is None else int(value)

    def close(self) -> None:
        """Let go of the compiled model; streams that are still held keep it alive."""
        self._model = self._read = None


def _text(value: Any) -> str:
    """Return a property's value in plain words: types as OpenVINO spells them, switches as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value.to_string() if hasattr(value, "to_string") else getattr(value, "name", value)).lower()


def _last(error: Exception) -> str:
    """Return the innermost message of OpenVINO's nested ones, whose others are places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return told[-1] if told else (lines[-1] if lines else type(error).__name__)


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
