"""MNN: a model of Alibaba's runtime for mobile processors, run on the CPU."""

from __future__ import annotations

import platform
import re
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs, usable_processors
from harness.errors import DataError, EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_MNN,
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

_HINT = Support(
    Level.UNSUPPORTED,
    "MNN takes it as a hint (precision: low, low_bf16), does not tell whether it followed, and on x86 does not",
)
_NONE = Support(Level.UNSUPPORTED, "MNN has no such arithmetic")
_CPU = {
    **{precision.value: _NONE for precision in Precision},
    Precision.FP32.value: Support(Level.NATIVE),
    Precision.FP16.value: _HINT,
    Precision.BF16.value: _HINT,
    Precision.INT8.value: Support(Level.NATIVE),
}
_LEVELS = ("normal", "low", "high")
_ALLOCATORS = {"defer": 0, "eager": 1}
# Codes of MNN 3.6's Interpreter.hpp that its Python package does not name.
_RELEASE = 1  # SessionMode: no callbacks
_ALLOCATOR, _WINOGRAD, _GEOMETRY = 2, 3, 4  # HintMode
_MEMORY_MB, _THREADS = 0, 4  # SessionInfoCode
# "Convolution [ DT_INT8 ] ": the kind, and what a quantised operator computes in.
_TYPE = re.compile(r"(?P<kind>.+?)(?: \[ DT_(?P<precision>\w+) \] ?)?")
_WEIGHTED = frozenset({"Convolution", "ConvolutionDepthwise", "Deconvolution", "DeconvolutionDepthwise"})
_PRODUCTS = frozenset({"MatMul", "BatchMatMul"})


@dataclass(frozen=True)
class MnnOptions:
    """Settings of a session; the defaults are MNN's own."""

    memory: str = "normal"  # normal | low | high
    power: str = "normal"  # normal | low | high
    winograd_memory: int = 3  # 0 to 3: how much memory Winograd's transforms may take; 0: none
    allocator: str = "defer"  # defer: tensors share memory, planned ahead | eager
    geometry: bool = True  # fuse and skip copies between layouts


class MnnEngine(Engine):
    """Alibaba's MNN, one session a stream."""

    name: ClassVar[str] = "mnn"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_MNN,)
    options: ClassVar[type] = MnnOptions
    modules: ClassVar[tuple[str, ...]] = ("MNN",)
    distributions: ClassVar[tuple[str, ...]] = ("mnn",)
    install: ClassVar[str] = "pip install 'inference-harness[mnn]'"

    def probe(self) -> EngineFacts:
        """Return the CPU; GPU backends are not in MNN's wheel. Raises ``EngineUnavailable``."""
        version = str(self._import().version())
        return EngineFacts(self.name, version, (DeviceFacts("cpu", platform.machine(), _CPU),))

    def load(self, artifact: Artifact, config: SessionConfig) -> _MnnSession:
        """Read the model and prepare a session. Raises ``EngineUnavailable``, ``Unsupported`` or ``DataError``."""
        mnn = self._import()
        self.refuse_unsupported({"cpu": _CPU}, artifact, config)
        return _MnnSession(mnn, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs MNN and numpy."""
        shapes = {spec.name: spec.shape for spec in artifact.outputs}
        hints = "".join(f"interpreter.setSessionHint({key}, {value})\n" for key, value in _hints(config))
        return (
            'import MNN\nimport numpy as np\n\ninterpreter = MNN.Interpreter("MODEL")\n'
            f"{hints}"
            f"session = interpreter.createSession({_settings(config, config.threads)})\n\n\n"
            "def host(value):\n"
            "    return MNN.Tensor(value.shape, MNN.Halide_Type_Float, value, MNN.Tensor_DimensionType_Caffe)\n\n\n"
            'with np.load("inputs.npz") as archive:\n'
            "    inputs = {name: host(np.ascontiguousarray(value)) for name, value in archive.items()}\n"
            f"outputs = {{name: host(np.zeros(shape, np.float32)) for name, shape in {shapes}.items()}}\n"
            "for name, value in inputs.items():\n"
            "    interpreter.getSessionInput(session, name).copyFrom(value)\n"
            "interpreter.runSession(session)\n"
            "for name, value in outputs.items():\n"
            "    interpreter.getSessionOutput(session, name).copyToHostTensor(value)\n"
            "outputs = {name: value.getNumpyData().copy() for name, value in outputs.items()}\n"
        )

    def _import(self) -> Any:
        try:
            import MNN
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"MNN cannot be imported: {error}", self.install) from error
        return MNN


def _settings(config: SessionConfig, threads: int | None) -> dict[str, Any]:
    options = config.options
    for name in ("memory", "power"):
        if getattr(options, name) not in _LEVELS:
            message = f"mnn: {name} cannot be {getattr(options, name)!r}"
            raise Unsupported(message, f"it is one of {', '.join(_LEVELS)}")
    settings = {"backend": "CPU", "precision": "high", "memory": options.memory, "power": options.power}
    return settings | ({"numThread": threads} if threads else {})


def _hints(config: SessionConfig) -> list[tuple[int, int]]:
    """Return the hints that differ from MNN's defaults."""
    options = config.options
    if options.allocator not in _ALLOCATORS:
        message = f"mnn: allocator cannot be {options.allocator!r}"
        raise Unsupported(message, f"it is one of {', '.join(_ALLOCATORS)}")
    if not 0 <= options.winograd_memory <= 3:
        raise Unsupported(f"mnn: winograd_memory cannot be {options.winograd_memory}", "it is 0, 1, 2 or 3")
    hints = [(_ALLOCATOR, _ALLOCATORS[options.allocator])] if options.allocator != "defer" else []
    hints += [(_WINOGRAD, options.winograd_memory)] if options.winograd_memory != 3 else []
    return hints + ([] if options.geometry else [(_GEOMETRY, 0)])


class _MnnSession(Session):
    """One model. Its streams are sessions of their own, which pack their own copy of the weights.

    ``threads`` is the whole budget: of k streams each gets threads // k, at least one. MNN has no mode for throughput:
    one stream of one thread per thread of the budget is what its threading allows.
    """

    def __init__(self, mnn: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._mnn, self._artifact, self._config = mnn, artifact, config
        many = config.goal is Goal.THROUGHPUT and not config.streams
        self._streams = (config.threads or usable_processors()) if many else (config.streams or 1)
        self._threads = max(1, config.threads // self._streams) if config.threads else (1 if many else None)
        self._interpreter = self._open()
        self._interpreter.setSessionMode(_RELEASE)
        # The first stream's, made now so that its preparation is part of the load.
        self._spare: Any = self._session(self._interpreter)
        inputs = self._interpreter.getSessionInputAll(self._spare)
        _check("input", artifact.inputs, {name: tuple(value.getShape()) for name, value in inputs.items()})
        outputs = self._interpreter.getSessionOutputAll(self._spare)
        _check("output", artifact.outputs, {name: tuple(value.getShape()) for name, value in outputs.items()})

    def _open(self) -> Any:
        try:
            interpreter = self._mnn.Interpreter(str(self._artifact.path))
        except Exception as error:  # the binding raises Exception itself
            message = f"MNN cannot read {self._artifact.path.name}"
            raise DataError(message, "the file may be cut short: export the model again") from error
        for key, value in _hints(self._config):
            interpreter.setSessionHint(key, value)
        return interpreter

    def _session(self, interpreter: Any) -> Any:
        settings = _settings(self._config, self._threads)
        try:
            return interpreter.createSession(settings)
        except Exception as error:  # as above
            message = f"MNN makes no session of {self._artifact.path.name}: {error}"
            raise Unsupported(message, "its log names the operator that MNN lacks") from error

    @property
    def recommended_streams(self) -> int:
        return self._streams

    def stream(self) -> Stream:
        """Return a session with buffers of its own."""
        session, self._spare = self._spare or self._session(self._interpreter), None
        return _MnnStream(self._mnn, self._interpreter, session, self._artifact)

    def describe(self) -> Execution:
        """Run once on zeros with MNN's callbacks: kind, work and quantised type of each operator."""
        interpreter = self._open()
        session = self._session(interpreter)
        stream = _MnnStream(self._mnn, interpreter, session, self._artifact)
        executed: list[tuple[str, str, float]] = []

        def before(_tensors: Any, info: Any) -> bool:
            match = _TYPE.fullmatch(info.getType())
            kind, precision = (match["kind"], match["precision"]) if match else (info.getType(), None)
            executed.append((kind, precision.lower() if precision else "fp32", info.getFlops()))
            return True

        stream.feed()
        interpreter.runSessionWithCallBackInfo(session, before, lambda _tensors, _info: True)
        macs: Counter[str] = Counter()
        for kind, precision, millions in executed:
            # MNN counts what moves data too; only these multiply.
            macs[precision] += round(millions * 1e6) if kind in _WEIGHTED | _PRODUCTS else 0
        shares = {key: count / macs.total() for key, count in macs.items() if count} if macs.total() else None
        idle = Unknowable("no operator is of a kind known to multiply and accumulate")
        return Execution(
            device="cpu",
            nodes_by_device={"cpu": len(executed)},
            macs_by_device={"cpu": 1.0} if shares else idle,
            nodes_by_precision=dict(Counter(precision for _, precision, _ in executed)),
            macs_by_precision=shares or idle,
            threads=_integer(interpreter.getSessionInfo(session, _THREADS)) * self._streams,
            streams=self._streams,
            inputs=self._artifact.inputs,
            outputs=self._artifact.outputs,
            operators=dict(Counter(kind for kind, _, _ in executed)),
            graph_nodes=Unknowable("MNN's Python package does not show the graph before its session is prepared"),
            flags={"session memory": f"{interpreter.getSessionInfo(session, _MEMORY_MB):.1f} MB"},
        )

    def close(self) -> None:
        """Let go of the model; streams that are still held keep it alive."""
        self._interpreter = self._spare = None


def _integer(value: float) -> int:
    """Undo the binding, which hands MNN's 32-bit integer out as if its bits were a float's."""
    return int(struct.unpack("i", struct.pack("f", value))[0])


def _check(what: str, expected: tuple[TensorSpec, ...], found: Mapping[str, tuple[int, ...]]) -> None:
    wanted = {spec.name: spec.shape for spec in expected}
    if wanted != found:
        raise Unsupported(f"the model's {what}s are {found}, expected were {wanted}", "export it with static shapes")
    other = next((spec for spec in expected if spec.dtype != "float32"), None)
    if other:
        raise Unsupported(f"{other.name!r} is {other.dtype}", f"this adapter's {what}s are float32")


class _MnnStream(Stream):
    """Host tensors over one session."""

    def __init__(self, mnn: Any, interpreter: Any, session: Any, artifact: Artifact) -> None:
        self._interpreter, self._session, self._specs = interpreter, session, artifact.inputs
        self._inputs = {spec.name: _host(mnn, spec) for spec in artifact.inputs}
        self._outputs = {spec.name: _host(mnn, spec) for spec in artifact.outputs}
        self._sources = {name: interpreter.getSessionInput(session, name) for name in self._inputs}
        self._targets = {name: interpreter.getSessionOutput(session, name) for name in self._outputs}

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, value in self._inputs.items():
            np.copyto(value.getNumpyData(), inputs[name])  # a view of the tensor's memory

    def feed(self) -> None:
        """Copy into the session, which uses its inputs' memory for other tensors while it runs."""
        for name, value in self._inputs.items():
            self._sources[name].copyFrom(value)

    def run(self) -> None:
        self.feed()
        code = self._interpreter.runSession(self._session)
        if code:
            raise Unsupported(f"MNN ended with error code {code}", "its log names the operator")

    def fetch(self) -> dict[str, np.ndarray]:
        for name, value in self._outputs.items():
            self._targets[name].copyToHostTensor(value)
        return {name: value.getNumpyData().copy() for name, value in self._outputs.items()}


def _host(mnn: Any, spec: TensorSpec) -> Any:
    zeros = np.zeros(spec.shape, np.float32)
    return mnn.Tensor(spec.shape, mnn.Halide_Type_Float, zeros, mnn.Tensor_DimensionType_Caffe)
