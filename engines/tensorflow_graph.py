"""What TensorFlow executed, from the graph that its optimiser and placer made of the model."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from engines.tensorflow_hlo import Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Not work: the function's own arguments and answers, constants, and weights read where they lie.
_PLUMBING = frozenset({"_Arg", "_Retval", "Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_CLOSED = _CALLS | {"XlaLaunch", "XlaLaunchV2", "XlaCallModule"}  # what they hold is not in the graph
_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})
_TRANSPOSED = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})
_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
_WEIGHTED = _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS | {"DepthwiseConv2dNative"}
_LIKELY = re.compile("Conv|MatMul|Einsum")
# "_FusedConv2D"; of oneDNN "_MklNativeFusedConv2D", "_MklNativePadWithConv2D", "_MklNativeConv2DWithBias".
_NAME = re.compile(r"^_?(?:MklNative|Mkl)?(PadWith)?(?:Fused)?(.*?)(WithBias)?$")
_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "qint8": "int8", "quint8": "int8"}


def uses_onednn() -> bool:
    """Return whether TensorFlow may hand operators to oneDNN, as the processor and its environment variable say."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def holds_stablehlo(graph: Any) -> bool:
    """Return whether a ``GraphDef`` holds a module that XLA alone can run."""
    bodies = (graph.node, *(function.node_def for function in graph.library.function))
    return any(node.op == "XlaCallModule" for body in bodies for node in body)


def loaded_operators(graph: Any) -> int:
    """Return the number of operators of a ``GraphDef`` with the functions that it calls, without constants."""
    library = {function.signature.name: function.node_def for function in graph.library.function}

    def count(nodes: Any) -> int:
        total = 0
        for node in nodes:
            if node.op in _CALLS:
                total += count(library[node.attr["f"].func.name])
            else:
                total += node.op not in _PLUMBING
        return total

    return count(graph.node)


def graph_operators(tf: Any, run: Callable[[], Any]) -> list[Operator]:
    """Return what ``run`` executes: its functions after optimisation, fusion and placement.

    Each function is handed out at its first call alone, so ``run`` must call one that never ran.
    """
    from tensorflow.python.eager import context  # tf.summary.trace_export, which is public, needs a file to write to

    context.enable_graph_collection()
    try:
        context.export_run_metadata()  # what was collected before
        run()
        metadata = context.export_run_metadata()
    finally:
        context.disable_graph_collection()
    graphs = (partition for function in metadata.function_graphs for partition in function.partition_graphs)
    return [operator for graph in graphs for operator in _of_graph(tf, graph)]


def _of_graph(tf: Any, graph: Any) -> Iterator[Operator]:
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(_standalone(tf, graph), name="")  # infers shapes, which the optimiser dropped
    for operation in imported.get_operations():
        if operation.type not in _PLUMBING:
            yield _operator(operation)


def _standalone(tf: Any, graph: Any) -> Any:
    """Return the graph of a function as one that can be imported: arguments and weights as placeholders with shapes."""
    made = tf.compat.v1.GraphDef(library=graph.library, versions=graph.versions)
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op == "_Retval":
            continue
        if node.op == "_Arg":
            _placeholder(made, node, node.attr["T"], node.attr["_output_shapes"].list.shape)
        elif node.op == "ReadVariableOp":
            variable = nodes[node.input[0]]
            while variable.op == "Identity":
                variable = nodes[variable.input[0]]
            _placeholder(made, node, node.attr["dtype"], variable.attr["_handle_shapes"].list.shape)
        else:
            made.node.append(node)
    return made


def _placeholder(graph: Any, like: Any, dtype: Any, shapes: Any) -> None:
    node = graph.node.add(name=like.name, op="Placeholder", device=like.device)
    node.attr["dtype"].CopyFrom(dtype)
    if shapes:
        node.attr["shape"].shape.CopyFrom(shapes[0])
    else:
        node.attr["shape"].shape.unknown_rank = True


def _operator(operation: Any) -> Operator:
    ((padded, base, biased),) = _NAME.findall(operation.type)
    attributes = operation.node_def.attr
    fused = [name.decode() for name in attributes["fused_ops"].list.s] if "fused_ops" in attributes else []
    device = re.sub(r".*/device:(\w+):\d+$", r"\1", operation.device).lower() or "cpu"
    dtype = operation.outputs[0].dtype if operation.outputs else None
    # A product counts at the type that it multiplies.
    if base in _WEIGHTED:
        dtype = operation.inputs[1].dtype
    precision = _WORDS.get(dtype.name, dtype.name) if dtype else "none"
    kind = "+".join([*(["Pad"] if padded else []), base, *(["BiasAdd"] if biased else []), *fused])
    if base in _CLOSED:
        return Operator(kind, device, precision, unread=f"what {base} executes is compiled by XLA and not in the graph")
    if base not in _WEIGHTED:
        unread = f"the work of {operation.type} is not counted" if _LIKELY.search(base) else ""
        return Operator(kind, device, precision, unread=unread)
    tensors = (operation.inputs[2] if base in _TRANSPOSED else operation.inputs[0], operation.inputs[1])
    shapes = [tensor.shape for tensor in (*tensors, operation.outputs[0])]
    if not all(shape.is_fully_defined() for shape in shapes):
        return Operator(kind, device, precision, unread=f"the graph does not tell the shapes of {operation.name}")
    return Operator(kind, device, precision, _macs(base, attributes, *(tuple(shape) for shape in shapes)))


def _macs(
    kind: str, attributes: Mapping[str, Any], given: tuple[int, ...], weight: tuple[int, ...], output: tuple[int, ...]
) -> int:
    """Return the multiply-accumulates of an operator; weights are (height, width, in / groups, out)."""
    if kind in _PRODUCTS:
        transposed = attributes["transpose_a"].b or attributes["adj_x"].b
        return math.prod(output) * given[-2 if transposed else -1]
    if kind == "DepthwiseConv2dNative":
        return math.prod(output) * math.prod(weight[:2])
    # A transposed convolution multiplies each position of its input, whose channels are the last of the weight.
    return math.prod(given if kind in _TRANSPOSED else output) * math.prod(weight[:-1])
