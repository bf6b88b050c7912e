"""NVIDIA TensorRT: a built engine on one GPU, an execution context and a CUDA stream for each stream."""

from __future__ import annotations

import importlib
import json
import sys
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from engines import tensorrt_cuda, tensorrt_snippet
from engines.tensorrt_cuda import Cuda, Gpu
from engines.tensorrt_inspector import inspect
from engines.tensorrt_stream import TensorRTStream
from harness.engine import Engine, Session, SessionConfig
from harness.errors import EngineUnavailable, HarnessError, Unsupported
from harness.vocabulary import (
    FORMAT_TENSORRT,
    FORMAT_TENSORRT_WEAK,
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

_TYPING = {"strong": FORMAT_TENSORRT, "weak": FORMAT_TENSORRT_WEAK}
_COUNTS = frozenset({"nodes", "macs"})  # of the graph, among what the exporter wrote
_THREADS = Unknowable("TensorRT computes on the GPU: it has no threads to set")


@dataclass(frozen=True)
class TensorRTOptions:
    """Settings of a session, and how the network was typed when the engine was built."""

    cuda_graphs: bool = False
    typing: str = "strong"  # strong | weak, which only TensorRT 10 builds


class TensorRTEngine(Engine):
    """Engines of TensorRT 10.3 and later, up to 11."""

    name: ClassVar[str] = "tensorrt"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_TENSORRT, FORMAT_TENSORRT_WEAK)
    options: ClassVar[type] = TensorRTOptions
    modules: ClassVar[tuple[str, ...]] = ("tensorrt", tensorrt_cuda.MODULE)
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt", "cuda-bindings")
    alternatives: ClassVar[tuple[str, ...]] = ("tensorrt-cu12", "tensorrt-cu13")
    install: ClassVar[str] = "pip install 'inference-harness[tensorrt]'"

    def probe(self) -> EngineFacts:
        """Return the GPUs. Raises ``EngineUnavailable``, also where there is no GPU or no driver."""
        trt, cuda = self._import(), Cuda()
        devices = tuple(DeviceFacts(gpu.name, _description(gpu), self._support(gpu)) for gpu in cuda.gpus())
        return EngineFacts(self.name, trt.__version__, devices, cuda.versions())

    def load(self, artifact: Artifact, config: SessionConfig) -> _TensorRTSession:
        """Deserialise the engine. Raises ``EngineUnavailable`` or ``Unsupported``."""
        trt, cuda = self._import(), Cuda()
        gpu = cuda.gpu(config.device)
        support = self._support(gpu)[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"{self.name} cannot run {config.precision} on {config.device}", support.reason)
        if artifact.precision is not config.precision:
            message = f"the engine was built for {artifact.precision}, {config.precision} was asked"
            raise Unsupported(message, "build it at the precision that is asked: nothing is converted at load")
        return _TensorRTSession(trt, cuda, gpu, artifact, config)

    def artifact_formats(self, options: Any) -> tuple[Format, ...]:
        """Return the format of engines typed as asked. Raises ``Unsupported``."""
        if options.typing not in _TYPING:
            raise Unsupported(f"{self.name}: typing cannot be {options.typing!r}", f"it is {' or '.join(_TYPING)}")
        return (_TYPING[options.typing],)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs TensorRT, cuda-bindings and numpy."""
        return tensorrt_snippet.program(self.modules[0], int(config.device.rpartition(":")[2]), artifact.inputs)

    def _support(self, gpu: Gpu) -> dict[str, Support]:
        """Return what NVIDIA's support matrix says of a compute capability."""
        native = Support(Level.NATIVE)
        ampere = native if gpu.capability >= (8, 0) else _lacking(gpu, "8.0")
        return {
            Precision.FP32.value: native,
            Precision.TF32.value: ampere,
            Precision.FP16.value: native,
            Precision.BF16.value: ampere,
            Precision.INT8.value: native,
            Precision.FP8.value: native if gpu.capability >= (8, 9) else _lacking(gpu, "8.9"),
        }

    def _import(self) -> Any:
        try:
            return importlib.import_module(self.modules[0])
        except (ImportError, OSError) as error:  # OSError: a shared library that the package needs is missing
            raise EngineUnavailable(f"{self.modules[0]} cannot be imported: {error}", self.install) from error


def _description(gpu: Gpu) -> str:
    return f"{gpu.description}, compute capability {_capability(gpu)}"


def _capability(gpu: Gpu) -> str:
    return f"{gpu.capability[0]}.{gpu.capability[1]}"


def _lacking(gpu: Gpu, floor: str) -> Support:
    reason = f"it needs compute capability {floor}, this GPU has {_capability(gpu)}"
    return Support(Level.UNSUPPORTED, reason)


def collector(trt: Any) -> Any:
    """Return a logger that prints warnings and worse to standard error, and keeps errors in ``errors``."""

    class Collector(trt.ILogger):  # type: ignore[misc]  # the vendor's class is only known here
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.name in {"INTERNAL_ERROR", "ERROR"}:
                self.errors.append(message)
            if severity.name in {"INTERNAL_ERROR", "ERROR", "WARNING"}:
                sys.stderr.write(f"{trt.__name__}: {severity.name}: {message}\n")

    return Collector()


class _TensorRTSession(Session):
    """One deserialised engine; each of its streams has a context, and so activations, of its own."""

    def __init__(self, trt: Any, cuda: Cuda, gpu: Gpu, artifact: Artifact, config: SessionConfig) -> None:
        self.trt, self.cuda, self.gpu, self.artifact, self.config = trt, cuda, gpu, artifact, config
        cuda.call("cudaSetDevice", gpu.index)
        self._logger = collector(trt)  # TensorRT keeps a bare pointer to it
        self._runtime = trt.Runtime(self._logger)
        self.engine = self._runtime.deserialize_cuda_engine(artifact.path.read_bytes())
        if self.engine is None:
            reason = self._logger.errors[-1] if self._logger.errors else "no reason given"
            hint = "an engine runs on the GPU and with the TensorRT that it was built for: build it here"
            raise Unsupported(f"the engine cannot be deserialised: {reason}", hint)
        self._check_signature()
        self._streams: weakref.WeakSet[TensorRTStream] = weakref.WeakSet()

    def _check_signature(self) -> None:
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        expected = {spec.name: spec for spec in (*self.artifact.inputs, *self.artifact.outputs)}
        for name in names:
            found = self.engine.get_tensor_dtype(name), tuple(self.engine.get_tensor_shape(name))
            spec = expected.pop(name, None)
            if spec is None or not _fits(spec, *found, self.trt):
                has = f"{name!r} is {found[0]} {found[1]}"
                raise Unsupported(f"the engine is not of this model: {has}, not {spec}", "build it anew")
        if expected:
            raise Unsupported(f"the engine is not of this model: it lacks {', '.join(expected)}", "build it anew")

    @property
    def recommended_streams(self) -> int:
        """What was asked, or one, as NVIDIA's ``trtexec`` has it: TensorRT itself recommends nothing."""
        return self.config.streams or 1

    def stream(self) -> TensorRTStream:
        """Return an execution context with device and host buffers of its own."""
        captures = self.config.options.cuda_graphs and not hasattr(self.trt, "CudaGraphStrategy")
        made = TensorRTStream(self.cuda, self.gpu, self.context(), self.artifact, captures=captures)
        self._streams.add(made)
        return made

    def context(self) -> Any:
        """Return a new execution context, which replays CUDA graphs by itself where the runtime knows how."""
        strategies = getattr(self.trt, "CudaGraphStrategy", None)  # TensorRT for RTX
        if strategies is None or not self.config.options.cuda_graphs:
            made = self.engine.create_execution_context()
        else:
            settings = self.engine.create_runtime_config()
            settings.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
            made = self.engine.create_execution_context(settings)
        if made is None:
            reason = self._logger.errors[-1] if self._logger.errors else "no reason given"
            raise HarnessError(f"no execution context could be made: {reason}", "is the GPU's memory full?")
        return made

    def describe(self) -> Execution:
        """Ask the engine inspector, with a context so that a dynamic batch has a shape."""
        stream = self.stream()
        inspector = self.engine.create_engine_inspector()
        inspector.execution_context = stream.context
        built = self._built()
        tf32 = {"on": True, "off": False}.get(built.get("tf32", ""))
        text = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        found = inspect(text, tf32=tf32, work=int(built["macs"]) if "macs" in built else None)
        layers = found.layers
        return Execution(
            device=self.gpu.name,
            nodes_by_device=layers if isinstance(layers, Unknowable) else {self.gpu.name: layers},
            macs_by_device={self.gpu.name: 1.0},
            nodes_by_precision=found.nodes_by_precision,
            macs_by_precision=found.macs_by_precision,
            threads=_THREADS,
            streams=self.recommended_streams,
            inputs=stream.inputs,
            outputs=stream.outputs,
            operators=found.operators,
            graph_nodes=int(built["nodes"]) if "nodes" in built else Unknowable("the engine does not tell"),
            flags={
                "cuda graphs": "on" if self.config.options.cuda_graphs else "off",
                **{f"built with {key}": value for key, value in built.items() if key not in _COUNTS},
                "context memory": f"{_context_bytes(self.engine)} bytes",
                "distinct tactics": str(found.tactics),
                "layouts": found.formats,
            },
        )

    def _built(self) -> dict[str, str]:
        """Return what the exporter wrote into the engine's name; nothing where another program built it."""
        try:
            told = json.loads(self.engine.name)
        except ValueError:
            return {}
        return {key: str(value) for key, value in told.items()} if isinstance(told, dict) else {}

    def close(self) -> None:
        """Free the buffers of every stream, then the engine."""
        for stream in list(self._streams):
            stream.close()
        self.engine = None


def _fits(spec: TensorSpec, dtype: Any, shape: tuple[int, ...], trt: Any) -> bool:
    try:
        name = np.dtype(trt.nptype(dtype)).name
    except TypeError:  # bfloat16 and FP8, which numpy does not have
        return False
    sides = zip(spec.shape, shape, strict=False)
    return name == spec.dtype and len(shape) == len(spec.shape) and all(has in (-1, want) for want, has in sides)


def _context_bytes(engine: Any) -> int:
    """Return the device memory of one execution context; TensorRT 11 has the second name alone."""
    name = "device_memory_size_v2" if hasattr(engine, "device_memory_size_v2") else "device_memory_size"
    return int(getattr(engine, name))
