"""ONNX Runtime on its CPU provider; another provider is another row of ``_PROVIDERS``."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.onnxruntime_profile import Profile
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_ONNX,
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
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider"}
_CPU = {
    Precision.FP32.value: Support(Level.NATIVE),
    Precision.INT8.value: Support(Level.NATIVE),
    Precision.FP16.value: Support(
        Level.EMULATED, "the CPU provider has no float16 kernels for Conv and Gemm: it runs float32 ones between casts"
    ),
    Precision.BF16.value: Support(Level.UNSUPPORTED, "the CPU provider has no bfloat16 kernels for Conv and Gemm"),
}
_OPTIMIZATION = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_DTYPES = {"float": "float32", "double": "float64"}  # the words of ONNX Runtime that are not numpy's


@dataclass(frozen=True)
class OnnxRuntimeOptions:
    """Settings of a session; ``allow_spinning: null`` leaves the thread pool as the runtime makes it."""

    graph_optimization: str = "all"  # all | extended | basic | disabled
    execution_mode: str = "sequential"  # sequential | parallel
    allow_spinning: bool | None = None
    arena: bool = True


class OnnxRuntimeEngine(Engine):
    """Microsoft's ONNX Runtime, through its IO binding."""

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_ONNX,)
    options: ClassVar[type] = OnnxRuntimeOptions
    modules: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"

    def probe(self) -> EngineFacts:
        """Return the devices whose provider this build holds. Raises ``EngineUnavailable``."""
        ort = self._import()
        return EngineFacts(self.name, ort.__version__, tuple(_devices(ort)))

    def load(self, artifact: Artifact, config: SessionConfig) -> _OrtSession:
        """Read and optimise the graph. Raises ``EngineUnavailable`` or ``Unsupported``."""
        ort = self._import()
        devices = {device.name: device for device in _devices(ort)}
        if config.device not in devices:
            raise Unsupported(f"onnxruntime has no device {config.device!r} here", f"it has {', '.join(devices)}")
        support = devices[config.device].precisions[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"onnxruntime cannot run {config.precision} on {config.device}", support.reason)
        if artifact.precision is not config.precision:
            message = f"the model holds {artifact.precision} arithmetic, {config.precision} was asked"
            raise Unsupported(message, "export it at the precision that is asked: the runtime casts nothing at load")
        return _OrtSession(ort, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs onnxruntime and numpy."""
        lines = ["import numpy as np", "import onnxruntime as ort", "", "options = ort.SessionOptions()"]
        level = _OPTIMIZATION[config.options.graph_optimization]
        lines.append(f"options.graph_optimization_level = ort.GraphOptimizationLevel.{level}")
        if config.threads:
            lines.append(f"options.intra_op_num_threads = {config.threads}")
        lines += [
            f'session = ort.InferenceSession("MODEL", options, providers=["{_PROVIDERS[config.device]}"])',
            'with np.load("inputs.npz") as inputs:',
            "    found = session.run(None, dict(inputs))",
            "outputs = dict(zip((value.name for value in session.get_outputs()), found))",
        ]
        return "\n".join(lines) + "\n"

    def _import(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(f"onnxruntime cannot be imported: {error}", self.install) from error
        return onnxruntime


def _devices(ort: Any) -> list[DeviceFacts]:
    held = ort.get_available_providers()
    return [DeviceFacts(name, provider, _CPU) for name, provider in _PROVIDERS.items() if provider in held]


def _budget(config: SessionConfig) -> tuple[int, int]:
    """Return streams and intra-op threads (0: the runtime's choice), ``config.threads`` being the whole session's.

    k streams are k calling threads, and all share one pool of intra-op threads less one, since a caller works too:
    k streams and n intra-op threads keep k + n - 1 threads busy. One thread a stream gives most throughput.
    """
    if config.goal is Goal.LATENCY:
        return config.streams or 1, config.threads or 0
    threads = config.threads or len(os.sched_getaffinity(0))
    streams = config.streams or threads
    return streams, max(1, threads - streams + 1)


class _OrtSession(Session):
    """One graph and one thread pool, shared by the session's streams."""

    def __init__(self, ort: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._ort, self._artifact, self._config = ort, artifact, config
        self._streams, self._intra = _budget(config)
        self._session = self._open(self._settings())
        self._inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self._outputs = tuple(_spec(value) for value in self._session.get_outputs())

    def _settings(self) -> Any:
        ort, options = self._ort, self._config.options
        settings = ort.SessionOptions()
        settings.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, _choice("graph_optimization", options.graph_optimization, _OPTIMIZATION)
        )
        modes = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
        settings.execution_mode = _choice("execution_mode", options.execution_mode, modes)
        settings.intra_op_num_threads = self._intra
        settings.inter_op_num_threads = 1 if options.execution_mode == "sequential" else self._intra
        settings.enable_cpu_mem_arena = options.arena
        if options.allow_spinning is not None:
            settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.allow_spinning)))
        if self._config.strict and self._config.device != "cpu":
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return settings

    def _open(self, settings: Any) -> Any:
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        providers = [_PROVIDERS[self._config.device]]
        try:
            return self._ort.InferenceSession(str(self._artifact.path), settings, providers=providers)
        except errors.NotImplemented as error:
            raise Unsupported(f"onnxruntime lacks a kernel: {error}", "try another precision or opset") from error

    @property
    def recommended_streams(self) -> int:
        return self._streams

    def stream(self) -> Stream:
        """Return an IO binding with buffers of its own."""
        return _OrtStream(self._ort, self._session, self._inputs, self._outputs)

    def describe(self) -> Execution:
        """Load the graph a second time and profile one run of it on zeros, in ``scratch``.

        Weights stay unpacked in that second session, since packed ones are missing from the profile's shapes.
        """
        settings = self._settings()
        settings.enable_profiling = True
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings.add_session_config_entry("session.disable_prepacking", "1")
        with tempfile.TemporaryDirectory(dir=self._config.scratch) as folder:
            settings.profile_file_prefix = str(Path(folder) / "profile")
            session = self._open(settings)
            placed: Counter[str] = Counter()
            for subgraph in session.get_provider_graph_assignment_info():
                placed[subgraph.ep_name] += len(subgraph.get_nodes())
            session.run(None, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._inputs})
            intra = session.get_session_options().intra_op_num_threads
            profile = Profile(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))
        # Where the runtime chose, the profile tells: of a short run it may miss a thread that had not started yet.
        threads = intra or profile.threads
        device = {provider: name for name, provider in _PROVIDERS.items()}
        return Execution(
            device=self._config.device,
            nodes_by_device={device.get(name, name): count for name, count in placed.items()},
            macs_by_device={device.get(name, name): share for name, share in profile.macs_by_provider().items()},
            nodes_by_precision=profile.nodes_by_precision(),
            macs_by_precision=profile.macs_by_precision(),
            threads=threads + self._streams - 1,
            streams=self._streams,
            inputs=self._inputs,
            outputs=self._outputs,
            flags={"executed nodes": str(profile.nodes), "intra-op threads": str(threads), **profile.flags()},
        )

    def close(self) -> None:
        """Let go of the graph; streams that are still held keep it alive."""
        self._session = None


class _OrtStream(Stream):
    """Fixed host buffers, bound once."""

    def __init__(self, ort: Any, session: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self._session, self._specs = session, inputs
        self._binding = session.io_binding()
        self._inputs = {spec.name: _buffer(ort, spec) for spec in inputs}
        self._outputs = {spec.name: _buffer(ort, spec) for spec in outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, value in self._inputs.items():
            np.copyto(value.numpy(), inputs[name])

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def fetch(self) -> dict[str, np.ndarray]:
        return {name: value.numpy().copy() for name, value in self._outputs.items()}


def _buffer(ort: Any, spec: TensorSpec) -> Any:
    return ort.OrtValue.ortvalue_from_shape_and_type(spec.shape, np.dtype(spec.dtype))


def _spec(value: Any) -> TensorSpec:
    """Return the signature of a model's input or output. Raises ``Unsupported`` where its shape is not static."""
    if not all(isinstance(side, int) for side in value.shape):
        raise Unsupported(f"{value.name!r} has the dynamic shape {value.shape}", "export the model with static shapes")
    word = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(value.name, _DTYPES.get(word, word), tuple(value.shape))


def _choice(option: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise Unsupported(f"onnxruntime: {option} cannot be {value!r}", f"it is one of {', '.join(choices)}")
    return choices[value]
