"""ONNX in float32 to ONNX in INT8: static quantisation, written as QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _onnx_layers
from engines.exporters._calibration import Batches, options
from engines.exporters._vendor import explained
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_ONNX, FORMAT_ONNX_SYMMETRIC, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_OPSET = 13  # the first whose DequantizeLinear knows channels
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
        except ImportError as error:
            raise EngineUnavailable(f"onnx-int8 cannot import what it needs: {error}", self.install) from error
        chosen = options(self.name, spec.options, self.defaults)
        if chosen["method"] not in _METHODS:
            raise ExportFailed(f"there is no method {chosen['method']!r}", f"use one of {', '.join(_METHODS)}")
        batches = Batches(source, spec)
        folded, written = destination / "folded.onnx", destination / "model.onnx"
        model = _onnx_layers.folded(source.path, folded, _OPSET)
        kept = _onnx_layers.kept(model.graph, chosen)
        hint = "leave the operator that the message names in float: `exclude`, or `op_types`"
        with explained("ONNX Runtime could not quantise the model", hint):
            quantization.quantize_static(
                folded,
                written,
                _onnx_layers.reader(quantization.CalibrationDataReader, batches),
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
        counted = _notes(onnx.load(written).graph, chosen)
        notes = (batches.note(chosen["method"]), *counted, *_onnx_layers.why(kept))
        return Exported("model.onnx", source.inputs, source.outputs, notes)


class OnnxInt8Symmetric(OnnxInt8):
    """The same with zero points of 0 and weights on all 8 bits, as TensorRT asks for: a format of its own.

    On a CPU it would be the worse artifact: half of the range of what follows a ReLU is unused, and the sums of x86
    without VNNI saturate.
    """

    name: ClassVar[str] = "onnx-int8-symmetric"
    target: ClassVar[Format] = FORMAT_ONNX_SYMMETRIC
    defaults: ClassVar[Mapping[str, Any]] = {**_DEFAULTS, "symmetric": True, "reduce_range": False}


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
