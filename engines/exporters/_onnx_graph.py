"""An ONNX graph as TensorRT is to read it: checked, every operator named, its work counted, its batch left open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.errors import ExportFailed, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MULTIPLYING = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


def read(onnx: Any, path: Path) -> Any:
    """Return the model without its external data, every node named. Raises ``ExportFailed`` or ``Unsupported``.

    TensorRT's own parser takes an empty or meaningless file for an empty network, and any opset for one it knows.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes
        raise ExportFailed(f"{path.name} cannot be read as ONNX: {error}", "is the file complete?") from error
    if not model.graph.node:
        raise ExportFailed(f"{path.name} holds no operator", "is it an ONNX file, and complete?")
    known = onnx.defs.onnx_opset_version()
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    if opset > known:
        hint = f"export the model at opset {known} or earlier, or install a newer onnx"
        raise Unsupported(f"{path.name} is of opset {opset}, the newest known here is {known}", hint)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights and not all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim):
            shape = [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]
            hint = "export it with static shapes; a batch that varies is the setting `dynamic` of this exporter"
            raise Unsupported(f"the input {value.name!r} has the dynamic shape {shape}", hint)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def work(onnx: Any, model: Any) -> dict[str, tuple[str, int]]:
    """Return type and multiply-accumulates of every node by its name; 0 for what is no Conv, MatMul or Gemm."""
    shapes = _shapes(onnx, model)
    return {node.name: (node.op_type, _macs(node, shapes)) for node in model.graph.node}


def total(work: Mapping[str, tuple[str, int]]) -> int | None:
    """Return the multiply-accumulates of the whole graph; ``None`` where those of some operator are unknown."""
    macs = [count for kind, count in work.values() if kind in _MULTIPLYING]
    return sum(macs) if all(macs) else None


def open_batch(onnx: Any, model: Any, batch: int) -> None:
    """Leave the first side of the model's inputs open, in place, for an optimisation profile.

    A Reshape whose target repeats the batch copies it from its input instead. Whether all outputs follow is seen once
    the graph is parsed, since other operators may fix it too.
    """
    shapes = _shapes(onnx, model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or shapes.get(node.input[0], (0,))[:1] != (batch,):
            continue
        sides = onnx.numpy_helper.to_array(target).copy()
        if len(sides) and sides[0] == batch and sides.all():
            sides[0] = 0  # "as in the input", unless `allowzero` says otherwise
            del node.attribute[:]
            node.input[1] = f"{node.name}.open"
            model.graph.initializer.append(onnx.numpy_helper.from_array(sides, node.input[1]))
    for value in model.graph.input:
        if value.name not in constants:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _shapes(onnx: Any, model: Any) -> dict[str, tuple[int, ...]]:
    """Return the static shape of every tensor where it is known; nothing where the graph's types contradict each other.

    What the file itself says of inner values is left aside: a converter may have left types that hold no longer.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except onnx.shape_inference.InferenceError:  # whether the graph can be built all the same is TensorRT's to say
        return {}
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if all(side.HasField("dim_value") for side in sides):
            found[value.name] = tuple(side.dim_value for side in sides)
    return found


def _macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the multiply-accumulates of a node, 0 where a shape is unknown.

    A convolution multiplies each position of its output, a transposed one each of its input, by the kernels of one
    channel; the last side of a product's left factor is summed over.
    """
    if node.op_type not in _MULTIPLYING:
        return 0
    left, right, output = (shapes.get(name) for name in (node.input[0], node.input[1], node.output[0]))
    if not (left and right and output):
        return 0
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
    return math.prod(output) * left[-2 if transposed else -1]
