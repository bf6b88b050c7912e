"""ONNX in float32 to ONNX in INT8: static quantisation, written as QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters._calibration import Batches, options
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_ONNX, FORMAT_ONNX_SYMMETRIC, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_OPSET = 13
# "mean": of the images' own smallest and largest values, so that one image does not stretch the range of all.
_METHODS = {"mean": "MinMax", "minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
# Clip and ReLU are absorbed by the range of what they limit: without them EfficientNet-Lite0 loses six points of top-1.
_LIMITERS = ("Clip", "Relu")
_DEFAULTS: Mapping[str, Any] = {
    "method": "mean",
    "percentile": 99.99,
    "op_types": ("Conv", "Gemm", "MatMul"),
    "exclude": (),  # regular expressions; a node whose whole name matches stays in float
    "keep_last": True,
    "reduce_range": True,
    "symmetric": False,  # zero points of 0, so signed activations, and biases left in float
}
# A bias of 32 bits would need a DequantizeLinear that TensorRT does not take: it fuses a float one into the layer.
_SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}


class OnnxInt8(Exporter):
    """Weights signed and per channel, activations unsigned and per tensor.

    Only operators with weights are quantised: of YOLO11n's detection head the rest would share one scale between boxes
    and scores, and be wrong by tens of pixels. ``keep_last`` leaves the last of them in float, since ONNX Runtime
    rounds what an INT8 layer answers to 8 bits of its range: logits of rare objects would be cut off.

    ``reduce_range`` keeps weights to 7 bits, since x86 without VNNI adds products of 8 bits in a sum that saturates at
    16 (MLAS, ``VPMADDUBSW``): EfficientNet-Lite0 has top-1 0.884 with it and 0.844 without, on such a CPU. On VNNI and
    on ARM ``reduce_range: false`` is the better choice.
    """

    name: ClassVar[str] = "onnx-int8"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_ONNX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Fold, calibrate, quantise. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        try:
            import onnx
            from onnxruntime import quantization
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError as error:
            raise EngineUnavailable(f"onnx-int8 cannot import what it needs: {error}", self.install) from error
        chosen = options(self.name, spec.options, self.defaults)
        if chosen["method"] not in _METHODS:
            raise ExportFailed(f"there is no method {chosen['method']!r}", f"use one of {', '.join(_METHODS)}")
        batches = Batches(source, spec)
        folded, written = destination / "folded.onnx", destination / "model.onnx"
        onnx.save(_modern(onnx, onnx.load(source.path)), folded)
        # Shapes are static: no symbolic inference is needed, and no sympy.
        quant_pre_process(folded, folded, skip_symbolic_shape=True)
        model = onnx.load(folded)
        _name_all(model.graph)
        onnx.save(model, folded)
        kept = _kept(model.graph, chosen)
        quantization.quantize_static(
            folded,
            written,
            _reader(quantization.CalibrationDataReader, batches),
            op_types_to_quantize=[*chosen["op_types"], *_LIMITERS],
            per_channel=True,
            reduce_range=chosen["reduce_range"],
            activation_type=quantization.QuantType.QInt8 if chosen["symmetric"] else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=sorted(kept),
            calibrate_method=quantization.CalibrationMethod[_METHODS[chosen["method"]]],
            extra_options={**_calibrator(chosen), **(_SYMMETRIC if chosen["symmetric"] else {})},
        )
        folded.unlink()
        notes = (batches.note(chosen["method"]), *_notes(onnx.load(written).graph, chosen), *_why(kept))
        return Exported("model.onnx", source.inputs, source.outputs, notes)


class OnnxInt8Symmetric(OnnxInt8):
    """The same with zero points of 0 and weights on all 8 bits, as TensorRT asks for: a format of its own.

    On a CPU it would be the worse artifact: half of the range of what follows a ReLU is unused, and the sums of x86
    without VNNI saturate.
    """

    name: ClassVar[str] = "onnx-int8-symmetric"
    target: ClassVar[Format] = FORMAT_ONNX_SYMMETRIC
    defaults: ClassVar[Mapping[str, Any]] = {**_DEFAULTS, "symmetric": True, "reduce_range": False}


def _modern(onnx: Any, model: Any) -> Any:
    """Return the model at an opset whose DequantizeLinear knows channels. Raises ``ExportFailed``."""
    version = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    if version >= _OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except RuntimeError as error:
        hint = f"export the model at opset {_OPSET} or later"
        raise ExportFailed(f"the model of opset {version} cannot be brought to {_OPSET}: {error}", hint) from error


def _calibrator(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the calibrator in the words of ``quantize_static``."""
    # A histogram is fed image by image: otherwise every activation of every image is held at once.
    settings: Mapping[str, dict[str, Any]] = {
        "mean": {"CalibMovingAverage": True},
        "minmax": {},
        "entropy": {"CalibStridedMinMax": 1},
        "percentile": {"CalibStridedMinMax": 1, "CalibPercentile": chosen["percentile"]},
    }
    return settings[chosen["method"]]


def _reader(base: Any, batches: Batches) -> Any:
    """Return the batches as the ``CalibrationDataReader`` that ONNX Runtime asks for."""

    class Reader(base):  # type: ignore[misc]  # the base is only known here
        def __init__(self) -> None:
            self._range = iter(range(len(batches)))

        def get_next(self) -> Any:
            index = next(self._range, None)
            return None if index is None else batches[index]

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._range = iter(range(start_index, end_index))

    return Reader()


def _name_all(graph: Any) -> None:
    """Name the nodes that have no name, since nodes are excluded by it."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def _kept(graph: Any, chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the nodes to leave in float, and why."""
    maker = {output: node for node in graph.node for output in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    kept = {}
    leading: set[str] = set()  # values on the way to a layer, since the graph is read from its end
    for node in reversed(graph.node):
        layer = node.op_type in chosen["op_types"]
        if any(re.fullmatch(pattern, node.name) for pattern in chosen["exclude"]):
            kept[node.name] = "as asked"
        elif layer and node.op_type == "MatMul" and not weights.intersection(node.input):
            kept[node.name] = "multiplies activations"
        elif layer and _weighs_softmax(node, maker):
            kept[node.name], layer = "weighs a softmax", False
        elif layer and chosen["keep_last"] and leading.isdisjoint(node.output):
            kept[node.name] = "last layer"
        if layer or not leading.isdisjoint(node.output):
            leading.update(node.input)
    return kept


def _weighs_softmax(node: Any, maker: Mapping[str, Any]) -> bool:
    """Whether a layer is the expectation of a distribution, as YOLO's distances to the sides of a box are.

    In INT8 a step of such a distance, one 255th of 16 bins at stride 32, is two pixels; the work saved is nothing.
    """
    before = maker.get(node.input[0])
    while before is not None and before.op_type in {"Reshape", "Transpose"}:
        before = maker.get(before.input[0])
    return before is not None and before.op_type == "Softmax"


def _why(kept: Mapping[str, str]) -> tuple[str, ...]:
    """Say what was kept in float, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(kept.items()):
        reasons.setdefault(reason, []).append(name)
    return tuple(f"kept in float ({reason}): {', '.join(names)}" for reason, names in reasons.items())


def _notes(graph: Any, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what was quantised, and how. Raises ``ExportFailed`` where nothing was."""
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    total: Counter[str] = Counter(node.op_type for node in graph.node if node.op_type in chosen["op_types"])
    done: Counter[str] = Counter(
        node.op_type for node in graph.node if node.op_type in total and dequantized.issuperset(node.input[:2])
    )
    if not done:
        raise ExportFailed(f"the model has no {' or '.join(chosen['op_types'])} to quantise", "set `op_types`")
    counts = ", ".join(f"{done[op]} of {count} {op}" for op, count in sorted(total.items()))
    bits = "7 bits" if chosen["reduce_range"] else "8 bits"
    activations = "signed activations without zero points" if chosen["symmetric"] else "unsigned activations"
    return (f"QDQ of {counts}: {activations}, weights per channel on {bits}",)
