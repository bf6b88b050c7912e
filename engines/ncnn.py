"""ncnn: a network of Tencent's runtime for mobile processors, run on the CPU."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines import ncnn_param
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs, usable_processors
from harness.errors import DataError, EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_NCNN,
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
    from pathlib import Path

_BF16 = Support(Level.EMULATED, "weights and activations are kept in bfloat16, and widened to float32 to be multiplied")
_FP16 = Support(Level.UNSUPPORTED, "this processor lacks the float16 arithmetic (ARM asimdhp) that ncnn's options need")
_INT8 = Support(Level.UNSUPPORTED, "no exporter makes an INT8 network: ncnn's wheel holds no quantiser")
_NONE = Support(Level.UNSUPPORTED, "ncnn has no such arithmetic")


@dataclass(frozen=True)
class NcnnOptions:
    """Fields of ``ncnn::Option``; the defaults are ncnn's own."""

    winograd: bool = True  # 3x3 convolutions by Winograd's transform
    sgemm: bool = True  # convolutions as matrix products
    packing_layout: bool = True  # channels interleaved to the width of a vector register
    light_mode: bool = True  # free a tensor after its last use
    openmp_blocktime_ms: int = 20  # how long an idle thread spins


class NcnnEngine(Engine):
    """Tencent's ncnn, one extractor a run over a shared network."""

    name: ClassVar[str] = "ncnn"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_NCNN,)
    options: ClassVar[type] = NcnnOptions
    modules: ClassVar[tuple[str, ...]] = ("ncnn",)
    distributions: ClassVar[tuple[str, ...]] = ("ncnn",)
    install: ClassVar[str] = "pip install 'inference-harness[ncnn]'"

    def probe(self) -> EngineFacts:
        """Return the CPU; Vulkan is not used. Raises ``EngineUnavailable``."""
        ncnn = self._import()
        return EngineFacts(self.name, ncnn.__version__, (_cpu(ncnn),))

    def load(self, artifact: Artifact, config: SessionConfig) -> _NcnnSession:
        """Read the network and prepare its weights. Raises ``EngineUnavailable``, ``Unsupported`` or ``DataError``."""
        ncnn = self._import()
        self.refuse_unsupported({"cpu": _cpu(ncnn).precisions}, artifact, config)
        return _NcnnSession(ncnn, artifact, config)

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:  # noqa: ARG002 - of no consequence
        """FP16 and BF16 are made at load from float32 weights."""
        return Precision.FP32 if precision in {Precision.FP16, Precision.BF16} else precision

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs ncnn and numpy."""
        settings = "".join(f"net.opt.{key} = {value}\n" for key, value in _settings(config).items())
        shapes = {spec.name: spec.shape for spec in artifact.outputs}
        return (
            "from pathlib import Path\n\nimport ncnn\nimport numpy as np\n\nnet = ncnn.Net()\n"
            f"{settings}"
            'net.load_param("MODEL")\n'
            'net.load_model(str(Path("MODEL").with_suffix(".bin")))\n'
            "extractor = net.create_extractor()\n"
            'with np.load("inputs.npz") as archive:\n'
            f"    inputs = [archive[name][0] for name in {[spec.name for spec in artifact.inputs]}]\n"
            "for index, value in enumerate(inputs):\n"
            '    extractor.input(f"in{index}", ncnn.Mat(value))\n'
            "outputs = {\n"
            '    name: np.array(extractor.extract(f"out{index}")[1]).reshape(shape)\n'
            f"    for index, (name, shape) in enumerate({shapes}.items())\n"
            "}\n"
        )

    def _import(self) -> Any:
        try:
            import ncnn
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"ncnn cannot be imported: {error}", self.install) from error
        return ncnn


def _cpu(ncnn: Any) -> DeviceFacts:
    precisions = {precision.value: _NONE for precision in Precision}
    precisions[Precision.FP32.value] = Support(Level.NATIVE)
    precisions[Precision.FP16.value] = Support(Level.NATIVE) if ncnn.cpu_support_arm_asimdhp() else _FP16
    precisions[Precision.BF16.value], precisions[Precision.INT8.value] = _BF16, _INT8
    return DeviceFacts("cpu", f"{platform.machine()}, {ncnn.get_physical_cpu_count()} cores", precisions)


def _settings(config: SessionConfig) -> dict[str, bool | int]:
    """Return the fields of ``ncnn::Option``. ``threads`` is the whole session's, divided among its streams."""
    options, fp16, bf16 = config.options, config.precision is Precision.FP16, config.precision is Precision.BF16
    settings: dict[str, bool | int] = {
        # Float16 is ncnn's default where the processor has it, so it is turned off for float32 rows.
        "use_fp16_packed": fp16,
        "use_fp16_storage": fp16,
        "use_fp16_arithmetic": fp16,
        "use_bf16_storage": bf16,
        "use_bf16_packed": bf16,
        "use_winograd_convolution": options.winograd,
        "use_sgemm_convolution": options.sgemm,
        "use_packing_layout": options.packing_layout,
        "lightmode": options.light_mode,
        "openmp_blocktime": options.openmp_blocktime_ms,
    }
    if config.threads:
        settings["num_threads"] = max(1, config.threads // (config.streams or 1))
    return settings


class _NcnnSession(Session):
    """One network; each stream is a thread with a team of OpenMP threads of its own."""

    def __init__(self, ncnn: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._ncnn, self._artifact, self._config = ncnn, artifact, config
        if any(spec.shape[0] != 1 for spec in artifact.inputs):
            raise Unsupported("ncnn runs one item at a time: its networks have no batch", "ask for batch 1")
        self._net = ncnn.Net()
        settings = _settings(config)
        self._streams = config.streams or 1
        if config.goal is Goal.THROUGHPUT and not config.streams:
            # ncnn has no mode for throughput: an extractor per core, of one thread each, is what its threading allows.
            self._streams = config.threads or usable_processors()
            settings["num_threads"] = 1
        for key, value in settings.items():
            setattr(self._net.opt, key, value)
        _read(ncnn, self._net, artifact.path)

    @property
    def recommended_streams(self) -> int:
        return self._streams

    def stream(self) -> Stream:
        """Return a context with input buffers of its own; weights are the network's."""
        return _NcnnStream(self._ncnn, self._net, self._artifact)

    def describe(self) -> Execution:
        """Run once on zeros, keep every tensor, and read how many bits each layer left in the one it wrote."""
        names = {16: "fp16" if self._net.opt.use_fp16_storage else "bf16", 32: "fp32", 8: "int8"}
        extractor = self._net.create_extractor()
        extractor.set_light_mode(False)
        for index, spec in enumerate(self._artifact.inputs):
            extractor.input(f"in{index}", _zeros(self._ncnn, spec))
        layers = ncnn_param.read(self._artifact.path)
        shapes: dict[str, tuple[int, ...]] = {}
        bits: dict[str, int] = {}
        for blob in (top for layer in reversed(layers) for top in layer.tops):
            tensor = extractor.extract(blob, 1)[1]  # 1: as the layer left it, neither unpacked nor widened
            bits[blob] = tensor.elembits()
            sides = (tensor.c * tensor.elempack, tensor.d, tensor.h, tensor.w)
            shapes[blob] = _shape(tensor.dims, tensor.elempack, sides)
        nodes: Counter[str] = Counter()
        macs: Counter[str] = Counter()
        active = [layer for layer in layers if layer.kind not in ncnn_param.IDLE]
        for layer in active:
            precision = names.get(bits[layer.tops[0]], f"{bits[layer.tops[0]]} bits")
            nodes[precision] += 1
            macs[precision] += layer.macs(shapes)
        uncounted = sorted({layer.kind for layer in active} & ncnn_param.UNCOUNTED)
        reason = f"the work of {', '.join(uncounted)} is not counted" if uncounted else "no layer multiplies"
        known = macs.total() and not uncounted
        shares = {key: count / macs.total() for key, count in macs.items() if count} if known else Unknowable(reason)
        flags = {"storage": "bfloat16, multiplied in float32"} if self._net.opt.use_bf16_storage else {}
        return Execution(
            device="cpu",
            nodes_by_device={"cpu": len(active)},
            macs_by_device={"cpu": 1.0} if known else Unknowable(reason),
            nodes_by_precision=dict(nodes),
            macs_by_precision=shares,
            threads=self._net.opt.num_threads * self._streams,
            streams=self._streams,
            inputs=self._artifact.inputs,
            outputs=self._artifact.outputs,
            operators=dict(Counter(layer.operator for layer in active)),
            graph_nodes=len(active),
            flags={"threads per stream": str(self._net.opt.num_threads), **flags},
        )

    def close(self) -> None:
        """Let go of the network; streams that are still held keep it alive."""
        self._net = None


def _read(ncnn: Any, net: Any, path: Path) -> None:
    """Load both files. Raises ``Unsupported`` for an operator that ncnn lacks, ``DataError`` for anything else."""
    try:
        kinds = sorted({layer.kind for layer in ncnn_param.read(path)})
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path.name} is no ncnn network: {error}", "export the model again") from error
    unknown = [kind for kind in kinds if ncnn.layer_to_index(kind) < 0]
    if unknown:
        raise Unsupported(f"ncnn has no layer {', '.join(unknown)}", "another engine may run this model")
    weights = path.with_suffix(".bin")
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise DataError(f"ncnn cannot load {path.name} and {weights.name}", "they may be cut short: export again")


def _shape(dims: int, elempack: int, sides: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Return a tensor's shape unpacked; ncnn interleaves its outermost axis, given here as ``sides[0]`` for 3 and 4."""
    channels, depth, height, width = sides
    if dims == 1:
        return (width * elempack,)
    if dims == 2:
        return (height * elempack, width)
    return (channels, height, width) if dims == 3 else (channels, depth, height, width)


class _NcnnStream(Stream):
    """Fixed input tensors, allocated by ncnn: one that numpy owned would be overwritten by a layer that works in place.

    Inputs are ``in0``, ``in1``, ... and outputs ``out0``, ... in the order of the artifact's.
    """

    def __init__(self, ncnn: Any, net: Any, artifact: Artifact) -> None:
        self._net, self._artifact = net, artifact
        self._mats = [_zeros(ncnn, spec) for spec in artifact.inputs]
        self._found: list[Any] = []

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._artifact.inputs, inputs)
        for mat, spec in zip(self._mats, self._artifact.inputs, strict=True):
            np.copyto(mat.numpy(), inputs[spec.name][0])

    def run(self) -> None:
        extractor = self._net.create_extractor()
        for index, mat in enumerate(self._mats):
            extractor.input(f"in{index}", mat)
        self._found = [extractor.extract(f"out{index}")[1] for index in range(len(self._artifact.outputs))]

    def fetch(self) -> dict[str, np.ndarray]:
        return {spec.name: _array(mat, spec) for mat, spec in zip(self._found, self._artifact.outputs, strict=True)}


def _zeros(ncnn: Any, spec: TensorSpec) -> Any:
    shared = np.zeros(spec.shape[1:], spec.dtype)  # named, since a Mat over it does not keep it alive
    return ncnn.Mat(shared).clone()


def _array(mat: Any, spec: TensorSpec) -> np.ndarray:
    # ncnn drops the batch, and may drop axes of length 1.
    return np.array(mat, spec.dtype).reshape(spec.shape)
