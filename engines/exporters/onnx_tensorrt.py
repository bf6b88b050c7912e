"""ONNX to a TensorRT engine: parsed, tuned on the GPU that it will run on, serialised."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _onnx_graph
from engines.exporters._calibration import options
from engines.tensorrt import TensorRTEngine, collector
from engines.tensorrt_cuda import Cuda
from engines.tensorrt_inspector import mark
from engines.tensorrt_rtx import DISTRIBUTIONS, INSTALL, TensorRTRTXEngine
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import (
    FORMAT_ONNX,
    FORMAT_ONNX_SYMMETRIC,
    FORMAT_TENSORRT,
    FORMAT_TENSORRT_RTX,
    FORMAT_TENSORRT_WEAK,
    Precision,
)

if TYPE_CHECKING:
    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY, _TIMINGS = "model.engine", "timing.cache"
_LEVELS = range(6)
_COMPATIBILITY = {
    "none": "NONE",
    "ampere_plus": "AMPERE_PLUS",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",  # TensorRT 10.4 and later
}
_COMMON: Mapping[str, Any] = {
    "workspace_mib": None,  # scratch memory that a kernel may take; null: all that the GPU has
    "dynamic": None,  # [smallest, best, largest] batch of an optimisation profile; null: the batch of the cell alone
}
_TUNED: Mapping[str, Any] = {
    **_COMMON,
    "builder_optimization_level": 3,
    "timing_cache": "build",  # off | build | keep | {file: ..., sha256: ...} to begin with, which is kept too
    "sparse_weights": False,
    "hardware_compatibility": "none",
    "version_compatible": False,
    "tactic_sources": None,  # names of ``TacticSource``; null: TensorRT's own choice
    "max_aux_streams": None,  # CUDA streams beside the first that one inference may use; null: TensorRT's own choice
}
_HINT = "the message names what no kernel could be found for, or what was too large"
# What a weakly typed network allows beside float32.
_ALLOWED: Mapping[Precision, str] = {Precision.FP16: "FP16", Precision.BF16: "BF16"}


class OnnxToTensorRT(Exporter):
    """Strongly typed: each operator computes in the type that the ONNX gives it, so FP16, BF16 and FP8 come from there.

    FP32 leaves TF32 off, which TensorRT has on by default; TF32 turns it on. A build times kernels on the GPU, and two
    builds of one model may choose differently: each is a sample.
    """

    name: ClassVar[str] = "onnx-tensorrt"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_TENSORRT
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32, Precision.TF32})
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16, Precision.BF16, Precision.FP8})
    bound: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt", "cuda-bindings", "onnx")
    install: ClassVar[str] = TensorRTEngine.install
    engine: ClassVar[type[TensorRTEngine]] = TensorRTEngine
    defaults: ClassVar[Mapping[str, Any]] = _TUNED
    strong: ClassVar[bool] = True

    def binding(self, device: str) -> dict[str, str]:
        """Return the GPU, its compute capability, and the versions of TensorRT, CUDA and the driver."""
        trt, cuda = self._import(), Cuda()
        gpu = cuda.gpu(device)
        capability = f"{gpu.capability[0]}.{gpu.capability[1]}"
        told = {"gpu": gpu.description, "compute capability": capability, self.engine.name: str(trt.__version__)}
        return {**told, **cuda.versions()}

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Build ``model.engine``, its boundary the source's.

        Raises ``Unsupported`` with the operator, opset or shape that TensorRT does not take, ``ExportFailed`` or
        ``EngineUnavailable``.
        """
        trt, onnx = self._import(), self._onnx()
        chosen = options(self.name, spec.options, self.defaults)
        model = _onnx_graph.read(onnx, source.path)
        work = _onnx_graph.work(onnx, model)
        dynamic = _dynamic(chosen["dynamic"], spec.batch)
        if dynamic:
            _onnx_graph.open_batch(onnx, model, spec.batch)
        logger = collector(trt)
        self._enter(spec.device, chosen)
        builder = trt.Builder(logger)
        network = self._network(trt, builder)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(model.SerializeToString(), str(source.path)):
            raise _refusal(trt, parser, self.engine.name)
        config = builder.create_builder_config()
        self._configure(trt, config, spec, chosen)
        if dynamic:
            _check_batch(network, source)
            config.add_optimization_profile(_profile(builder, source, dynamic))
        self._mark(network, work, chosen, spec)
        timings = self._timings(trt, config, chosen)
        serialised = builder.build_serialized_network(network, config)
        if serialised is None:
            reason = logger.errors[-1] if logger.errors else "no reason given"
            raise ExportFailed(f"{self.engine.name} could not build an engine: {reason}", _HINT)
        (destination / _ENTRY).write_bytes(serialised)
        notes = [f"{'strongly' if self.strong else 'weakly'} typed network"]
        if dynamic:
            notes.append(f"optimisation profile for batches {dynamic[0]} to {dynamic[2]}, best at {dynamic[1]}")
        if timings:
            kept = bytes(config.get_timing_cache().serialize())
            (destination / _TIMINGS).write_bytes(kept)
            left = (
                f"{_TIMINGS} lies beside the engine and counts in its size: sha256 {hashlib.sha256(kept).hexdigest()}"
            )
            notes += [timings, left]
        return Exported(_ENTRY, source.inputs, source.outputs, tuple(notes))

    def _import(self) -> Any:
        return self.engine()._import()  # noqa: SLF001 - one flavour, two halves

    def _onnx(self) -> Any:
        try:
            return importlib.import_module("onnx")
        except ImportError as error:
            raise EngineUnavailable(f"onnx cannot be imported: {error}", "pip install onnx") from error

    def _enter(self, device: str, chosen: Mapping[str, Any]) -> None:  # noqa: ARG002 - see TensorRT for RTX
        """Make the asked GPU the current one, on which the builder will time its kernels."""
        cuda = Cuda()
        cuda.call("cudaSetDevice", cuda.gpu(device).index)

    def _network(self, trt: Any, builder: Any) -> Any:
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = builder.create_network(1 << int(flag) if self.strong else 0)
        if network.get_flag(flag) != self.strong:
            hint = "leave the engine's option `typing` at strong"
            raise Unsupported(f"{self.engine.name} {trt.__version__} builds no weakly typed network", hint)
        return network

    def _configure(self, trt: Any, config: Any, spec: ExportSpec, chosen: Mapping[str, Any]) -> None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # tells layers apart; kernels are the same
        if chosen["workspace_mib"] is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(chosen["workspace_mib"]) << 20)
        switch = config.set_flag if spec.precision is Precision.TF32 else config.clear_flag
        switch(trt.BuilderFlag.TF32)
        self._tune(trt, config, spec, chosen)

    def _tune(self, trt: Any, config: Any, spec: ExportSpec, chosen: Mapping[str, Any]) -> None:
        level = chosen["builder_optimization_level"]
        if level not in _LEVELS:
            raise ExportFailed(f"builder_optimization_level cannot be {level!r}", "it is a number from 0 to 5")
        config.builder_optimization_level = level
        compatibility = _COMPATIBILITY.get(chosen["hardware_compatibility"], "")
        levels = trt.HardwareCompatibilityLevel.__members__
        if compatibility not in levels:
            hint = f"this TensorRT has {', '.join(key for key, value in _COMPATIBILITY.items() if value in levels)}"
            raise ExportFailed(f"hardware_compatibility cannot be {chosen['hardware_compatibility']!r}", hint)
        config.hardware_compatibility_level = levels[compatibility]
        flags = [name for name in ("SPARSE_WEIGHTS", "VERSION_COMPATIBLE") if chosen[name.lower()]]
        flags += [] if self.strong else [_ALLOWED[spec.precision]] if spec.precision in _ALLOWED else []
        for name in flags:
            config.set_flag(getattr(trt.BuilderFlag, name))
        if chosen["tactic_sources"] is not None:
            config.set_tactic_sources(_sources(trt, chosen["tactic_sources"]))
        if chosen["max_aux_streams"] is not None:
            config.max_aux_streams = int(chosen["max_aux_streams"])

    def _timings(self, trt: Any, config: Any, chosen: Mapping[str, Any]) -> str:
        """Prepare the cache of kernel timings, and return what to note of it where it is to be kept."""
        given = chosen.get("timing_cache", "build")
        if given == "build":
            return ""
        if given == "off":
            config.set_flag(trt.BuilderFlag.DISABLE_TIMING_CACHE)
            return ""
        content = b"" if given == "keep" else _given_timings(given)
        if not config.set_timing_cache(config.create_timing_cache(content), False):  # noqa: FBT003 - takes no keyword
            hint = "it was made on another GPU or by another TensorRT: give one of these, or `keep` to make it"
            raise ExportFailed("the file of `timing_cache` does not fit", hint)
        told = f"sha256 {hashlib.sha256(content).hexdigest()}" if content else "empty"
        return f"began with a timing cache, {told}"

    def _mark(
        self, network: Any, work: Mapping[str, tuple[str, int]], chosen: Mapping[str, Any], spec: ExportSpec
    ) -> None:
        """Write into the engine what only the builder knows, for the inspector to give back."""
        multiplying = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"}
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            node = layer.metadata.removeprefix("[ONNX Layer: ").removesuffix("]")
            if node in work:
                kind, macs = work[node]
                layer.metadata = mark(node, kind, macs if layer.type.name in multiplying else 0)
        built = {"nodes": sum(kind != "Constant" for kind, _ in work.values())}
        total = _onnx_graph.total(work)
        if total is not None:
            built["macs"] = total
        told = {
            "typing": "strong" if self.strong else "weak",
            "tf32": "on" if spec.precision is Precision.TF32 else "off",
            **{key: value for key, value in chosen.items() if value != self.defaults[key]},
        }
        network.name = json.dumps({**built, **told})


class OnnxSymmetricToTensorRT(OnnxToTensorRT):
    """INT8 as its Q/DQ nodes say, by scales without zero points; what they do not enclose stays in float32."""

    name: ClassVar[str] = "onnx-symmetric-tensorrt"
    source: ClassVar[Format] = FORMAT_ONNX_SYMMETRIC
    precisions: ClassVar[frozenset[Precision]] = frozenset()
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})


class OnnxToTensorRTWeak(OnnxToTensorRT):
    """Weakly typed, of TensorRT 10 alone: from float32, the builder takes FP16 or BF16 where that is faster."""

    name: ClassVar[str] = "onnx-tensorrt-weak"
    target: ClassVar[Format] = FORMAT_TENSORRT_WEAK
    precisions: ClassVar[frozenset[Precision]] = OnnxToTensorRT.precisions | _ALLOWED.keys()
    keeps: ClassVar[frozenset[Precision]] = frozenset()
    strong: ClassVar[bool] = False


class OnnxToTensorRTRTX(OnnxToTensorRT):
    """TensorRT for RTX: no tuning at build time, so an engine can be built for a GPU that is not there."""

    name: ClassVar[str] = "onnx-tensorrt-rtx"
    target: ClassVar[Format] = FORMAT_TENSORRT_RTX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = (*DISTRIBUTIONS, "onnx")
    install: ClassVar[str] = INSTALL
    engine: ClassVar[type[TensorRTEngine]] = TensorRTRTXEngine
    defaults: ClassVar[Mapping[str, Any]] = {**_COMMON, "compute_capability": None}  # "8.9"; null: the GPU's own

    def _enter(self, device: str, chosen: Mapping[str, Any]) -> None:
        if chosen["compute_capability"] is None:
            super()._enter(device, chosen)

    def _tune(self, trt: Any, config: Any, spec: ExportSpec, chosen: Mapping[str, Any]) -> None:  # noqa: ARG002 - the contract
        asked = chosen["compute_capability"]
        known = trt.ComputeCapability.__members__
        name = "CURRENT" if asked is None else f"SM{str(asked).replace('.', '')}"
        if name not in known:
            has = ", ".join(f"{key[2:-1]}.{key[-1]}" for key in known if key.startswith("SM"))
            raise Unsupported(f"{self.engine.name} builds nothing for compute capability {asked}", f"it has {has}")
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[name], 0)


class OnnxSymmetricToTensorRTRTX(OnnxToTensorRTRTX):
    """INT8 as its Q/DQ nodes say."""

    name: ClassVar[str] = "onnx-symmetric-tensorrt-rtx"
    source: ClassVar[Format] = FORMAT_ONNX_SYMMETRIC
    precisions: ClassVar[frozenset[Precision]] = frozenset()
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})


def _given_timings(given: Any) -> bytes:
    """Return the content of a cache of kernel timings. Raises ``ExportFailed`` unless it is the one that is named.

    The content is named beside the file since an engine is looked up by its settings: after a change of the file alone,
    one built from the former content would be taken for it.
    """
    hint = "it is off, build, keep, or {file: absolute path, sha256: of its content}, as `keep` notes both"
    if not isinstance(given, Mapping) or given.keys() != {"file", "sha256"}:
        raise ExportFailed(f"timing_cache cannot be {given!r}", hint)
    path = Path(str(given["file"]))
    if not path.is_absolute() or not path.is_file():
        raise ExportFailed(f"timing_cache: {given['file']!r} is no file", hint)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != str(given["sha256"]).lower():
        message = f"timing_cache: {path.name} holds another content, sha256 {found}"
        raise ExportFailed(message, "name that content, if it is the one to begin with")
    return content


def _sources(trt: Any, names: Any) -> int:
    """Return the bit mask of tactic sources by name. Raises ``ExportFailed``."""
    known = trt.TacticSource.__members__
    unknown = [name for name in names if str(name).upper() not in known]
    if unknown:
        hint = f"this TensorRT has {', '.join(known).lower()}"
        raise ExportFailed(f"tactic_sources cannot hold {unknown[0]!r}", hint)
    return sum(1 << int(known[str(name).upper()]) for name in names)


def _dynamic(given: Any, batch: int) -> tuple[int, int, int] | None:
    """Return smallest, best and largest batch. Raises ``ExportFailed`` unless they are in order, around ``batch``."""
    if given is None:
        return None
    try:
        smallest, best, largest = (int(each) for each in given)
    except (TypeError, ValueError):
        raise ExportFailed(f"dynamic cannot be {given!r}", "it is three batches, such as [1, 4, 16]") from None
    if not (1 <= smallest <= best <= largest and smallest <= batch <= largest):
        hint = "give the smallest, best and largest batch, with the batches of the matrix between them"
        raise ExportFailed(f"dynamic {[smallest, best, largest]} does not fit a batch of {batch}", hint)
    return smallest, best, largest


def _profile(builder: Any, source: Artifact, batches: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for spec in source.inputs:
        profile.set_shape(spec.name, *((batch, *spec.shape[1:]) for batch in batches))
    return profile


def _check_batch(network: Any, source: Artifact) -> None:
    """Raise ``Unsupported`` where an output does not follow a batch that varies."""
    expected = {spec.name: (-1, *spec.shape[1:]) for spec in source.outputs}
    for index in range(network.num_outputs):
        output = network.get_output(index)
        if tuple(output.shape) != expected[output.name]:
            hint = "leave `dynamic` out, or export the model so that no operator repeats the batch"
            raise Unsupported(f"the output {output.name!r} does not follow a batch that varies", hint)


def _refusal(trt: Any, parser: Any, name: str) -> ExportFailed | Unsupported:
    """Return the parser's first error as one of ours."""
    error = parser.get_error(0)
    where = f"{error.node_operator()} (node {error.node_name()})" if error.node_operator() else "the file"
    reason = " ".join(str(error.desc()).split())
    if error.code() == trt.ErrorCode.MODEL_DESERIALIZE_FAILED:
        return ExportFailed(f"{name} cannot read the ONNX: {reason}", "is the file complete?")
    if reason == "false" or "Plugin not found" in reason:  # the parser's words for what it has no importer for
        reason = "it has no such operator"
    hint = "replace the operator in the model, or leave the engine out: it runs nothing elsewhere"
    return Unsupported(f"{name} does not take {where}: {reason[:500]}", hint)
