"""ONNX in float32 to ONNX in FP8 (E4M3): calibrated scales, written as QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _onnx_layers
from engines.exporters._calibration import Batches, options
from engines.exporters._vendor import explained
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_ONNX, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_OPSET, _IR_VERSION = 19, 9  # the first that know 8-bit floats
_LARGEST = 448.0  # of E4M3 (Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433)
_LAYERS = ("Conv", "Gemm", "MatMul")
# The search of entropy and percentile for a range worth clipping to supposes equal steps, which a float has not.
_METHODS = ("minmax", "mean")
_LARGEST_KERNEL = 32  # positions; see ``min_channels``
_DEFAULTS: Mapping[str, Any] = {
    "method": "minmax",  # of all images' values; or "mean" of the images' own extremes
    "op_types": _LAYERS,
    "exclude": (),  # regular expressions; a node whose whole name matches stays in float
    "keep_last": True,
    # NVIDIA's FP8 kernels want 16 channels in and out, and kernels of at most 32 positions (TensorRT Model Optimizer,
    # modelopt/onnx/quantization/graph_utils.py): Q/DQ around smaller layers would be work without a use.
    "min_channels": 16,
}


class OnnxFloat8(Exporter):
    """Explicit Q/DQ as TensorRT takes it: weights stored in FP8, per channel; activations per tensor; zero points 0.

    ONNX Runtime's own quantiser refuses FP8 convolutions, and sets scales by standard deviations, which cuts extremes
    off; here the largest magnitude becomes E4M3's largest. Biases, and all that is no layer, stay in float32.
    """

    name: ClassVar[str] = "onnx-fp8"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_ONNX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.FP8})
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "ml_dtypes")
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Fold, calibrate, insert the pairs. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        try:
            import ml_dtypes
            import onnx
            from onnxruntime import quantization
        except ImportError as error:
            raise EngineUnavailable(f"onnx-fp8 cannot import what it needs: {error}", self.install) from error
        chosen = options(self.name, spec.options, self.defaults)
        _check(chosen)
        batches = Batches(source, spec)
        folded = destination / "folded.onnx"
        model = _onnx_layers.folded(source.path, folded, _OPSET)
        kept = _kept(model.graph, chosen)
        layers = [node for node in model.graph.node if node.op_type in chosen["op_types"]]
        if all(node.name in kept for node in layers):
            hint = "; ".join(_onnx_layers.why(kept))[:500] or "set `op_types`"
            raise ExportFailed(f"the model has no {' or '.join(chosen['op_types'])} for FP8", hint)
        with explained("ONNX Runtime could not calibrate the model", "does it run in float32 at this batch?"):
            largest = _largest(quantization, folded, batches, chosen)
        folded.unlink()
        pairs = _Pairs(onnx, model.graph, largest, ml_dtypes.float8_e4m3fn)
        pairs.insert([node.name for node in layers if node.name not in kept])
        model.ir_version = max(model.ir_version, _IR_VERSION)
        with explained("the model with its pairs is not valid ONNX", "report it with the model's name"):
            onnx.checker.check_model(model, full_check=True)
        onnx.save(model, destination / "model.onnx")
        total = Counter(node.op_type for node in layers)
        done = Counter(node.op_type for node in layers if node.name not in kept)
        counts = ", ".join(f"{done[kind]} of {count} {kind}" for kind, count in sorted(total.items()))
        said = f"Q/DQ in FP8 (E4M3) of {counts}: activations per tensor, weights per channel"
        notes = (batches.note(chosen["method"]), said, *_onnx_layers.why(kept))
        return Exported("model.onnx", source.inputs, source.outputs, notes)


def _check(chosen: Mapping[str, Any]) -> None:
    """Raise ``ExportFailed`` for settings that make no sense."""
    if chosen["method"] not in _METHODS:
        raise ExportFailed(f"there is no method {chosen['method']!r}", f"use one of {', '.join(_METHODS)}")
    foreign = sorted(set(chosen["op_types"]) - set(_LAYERS))
    if foreign:
        raise ExportFailed(f"op_types cannot hold {foreign[0]!r}", f"FP8 is for {', '.join(_LAYERS)}")


def _kept(graph: Any, chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the nodes to leave in float, and why."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = _onnx_layers.kept(graph, chosen)
    for node in graph.node:
        if node.op_type in chosen["op_types"] and node.name not in found:
            reason = _unfit(node, shapes, chosen["min_channels"])
            found.update({node.name: reason} if reason else {})
    return found


def _unfit(node: Any, shapes: Mapping[str, tuple[int, ...]], min_channels: int) -> str:
    """Say why no kernel takes a layer in FP8; nothing where one may."""
    shape = shapes.get(node.input[_weight(node, shapes)], ())
    if len(shape) < 2 or (node.op_type == "Conv" and node.input[0] in shapes):
        return "its weights are computed"
    sides = shape[:2] if node.op_type == "Conv" else shape[-2:]
    if min(sides) < min_channels:
        return f"fewer than {min_channels} channels"
    if node.op_type == "Conv" and math.prod(shape[2:]) > _LARGEST_KERNEL:
        return f"a kernel of more than {_LARGEST_KERNEL} positions"
    return ""


def _weight(node: Any, weights: Mapping[str, Any]) -> int:
    """Return which input of a layer holds its weights: the second, unless only the first factor is constant."""
    return int(node.op_type == "Conv" or node.input[1] in weights)


def _channel_axis(node: Any, weight: int, rank: int) -> int:
    """Return the axis of the weights that becomes the output's channels, which is never summed over."""
    if node.op_type == "Conv":
        return 0
    turned = any(entry.name == ("transA", "transB")[weight] and entry.i for entry in node.attribute)
    return rank - 1 if bool(weight) != turned else rank - 2


def _largest(quantization: Any, model: Path, batches: Batches, chosen: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest magnitude of every value that goes into a layer or out of it, over the batches."""
    augmented = model.with_name("augmented.onnx")
    calibrator = quantization.create_calibrator(
        str(model),
        list(chosen["op_types"]),
        augmented_model_path=str(augmented),
        calibrate_method=quantization.CalibrationMethod.MinMax,
        extra_options={"moving_average": chosen["method"] == "mean"},
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN axis encountered", RuntimeWarning)  # such a value is refused by name
        calibrator.collect_data(_onnx_layers.reader(quantization.CalibrationDataReader, batches))
    ranges = calibrator.compute_data().data
    augmented.unlink()
    return {name: float(np.abs(np.asarray(found.range_value, np.float64)).max()) for name, found in ranges.items()}


def _scale(largest: Any) -> Any:
    """Return what magnitudes are divided by to become E4M3's largest; 1 where all is zero."""
    smallest = np.finfo(np.float32).tiny
    return np.where(np.asarray(largest) > 0, np.maximum(np.divide(largest, _LARGEST), smallest), 1.0).astype(np.float32)


class _Pairs:
    """Writes FP8 into a graph in topological order: a value or a weight that several layers read is written once."""

    def __init__(self, onnx: Any, graph: Any, largest: Mapping[str, float], dtype: Any) -> None:
        """``largest``: magnitude of each value; ``dtype``: numpy's E4M3, which its library has alone."""
        self._onnx, self._graph, self._largest, self._dtype = onnx, graph, largest, dtype
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes: list[Any] = []
        self._made: dict[tuple[str, int | None], str] = {}

    def insert(self, layers: Sequence[str]) -> None:
        """Put pairs before the named layers, in place. Raises ``ExportFailed`` for a value without a finite range."""
        chosen = set(layers)
        for node in self._graph.node:
            if node.name in chosen:
                index = _weight(node, self._weights)
                weight = self._weights[node.input[index]]
                axis = _channel_axis(node, index, len(weight.dims))
                node.input[index] = self._once(weight.name, axis)
                node.input[1 - index] = self._once(node.input[1 - index], None)
            self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | {each.name for each in self._graph.output}
        left = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(left)
        given = [value for value in self._graph.input if value.name not in self._weights]  # old files list both
        del self._graph.input[:]
        self._graph.input.extend(given)

    def _once(self, name: str, axis: int | None) -> str:
        """Return the name of a value, or with ``axis`` of a weight, after it went through FP8."""
        key = (name, axis)
        if key not in self._made:
            self._made[key] = self._activation(name) if axis is None else self._stored(name, axis)
        return self._made[key]

    def _activation(self, name: str) -> str:
        largest = self._largest.get(name, math.nan)
        if not math.isfinite(largest):
            message = f"no finite range was seen of {name!r}, which a layer reads"
            raise ExportFailed(message, "do the calibration images hold numbers that the model can take?")
        scale, zero = self._scales(name, _scale(largest))
        coded, made = f"{name}.fp8", f"{name}.dequantized"
        self._nodes.append(self._node("QuantizeLinear", [name, scale, zero], coded))
        self._nodes.append(self._node("DequantizeLinear", [coded, scale, zero], made))
        return made

    def _stored(self, name: str, axis: int) -> str:
        value = self._onnx.numpy_helper.to_array(self._weights[name]).astype(np.float32)
        others = tuple(side for side in range(value.ndim) if side != axis)
        largest = np.abs(value).max(axis=others)
        scales = _scale(largest)
        coded, made = f"{name}.fp8.{axis}", f"{name}.dequantized.{axis}"
        self._add(coded, value / np.expand_dims(scales, others))
        scale, zero = self._scales(coded, scales)
        self._nodes.append(self._node("DequantizeLinear", [coded, scale, zero], made, axis=axis))
        return made

    def _scales(self, name: str, scales: Any) -> tuple[str, str]:
        """Store scales and zero points, which alone tell QuantizeLinear the type, and return their names."""
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(np.asarray(scales), f"{name}.scale"))
        self._add(f"{name}.zero", np.zeros(np.shape(scales), np.float32))
        return f"{name}.scale", f"{name}.zero"

    def _add(self, name: str, value: np.ndarray) -> None:
        """Store an array in FP8, rounded to the nearest."""
        content = np.clip(value, -_LARGEST, _LARGEST).astype(self._dtype).tobytes()
        kind = self._onnx.TensorProto.FLOAT8E4M3FN
        self._graph.initializer.append(self._onnx.helper.make_tensor(name, kind, value.shape, content, raw=True))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: int) -> Any:
        return self._onnx.helper.make_node(kind, inputs, [output], name=f"{kind} {inputs[0]}", **attributes)
