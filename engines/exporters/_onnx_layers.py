"""What the quantisers of ONNX share: a graph folded and named, which layers stay in float, images as a reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from engines.exporters import _graph_tail
from engines.exporters._vendor import explained
from harness.errors import ExportFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engines.exporters._calibration import Batches


def folded(source: Path, file: Path, opset: int) -> Any:
    """Write the model as ``file``, at ``opset`` or later, constants folded and every node named, and return it.

    Raises ``ExportFailed``.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with explained(f"{source.name} cannot be read as ONNX", "is the file complete?"):
        model = onnx.load(source)
    if not model.graph.node:
        raise ExportFailed(f"{source.name} holds no operator", "is it an ONNX file, and complete?")
    with explained(f"{source.name} is not valid ONNX", "the message names what ONNX does not define: export anew"):
        onnx.checker.check_model(model)
    onnx.save(_modern(onnx, model, opset), file)
    with explained(f"{source.name} cannot be folded", "does ONNX Runtime run it in float32?"):
        # Shapes are static: no symbolic inference is needed, and no sympy.
        quant_pre_process(file, file, skip_symbolic_shape=True)
    model = onnx.load(file)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # nodes are excluded by name
    onnx.save(model, file)
    return model


def _modern(onnx: Any, model: Any, opset: int) -> Any:
    """Return the model at an opset that can say what is to be written. Raises ``ExportFailed``."""
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    if version >= opset:
        return model
    hint = f"export the model at opset {opset} or later"
    with explained(f"the model of opset {version} cannot be brought to {opset}", hint):
        return onnx.version_converter.convert_version(model, opset)


def reader(base: Any, batches: Batches) -> Any:
    """Return the batches as the ``CalibrationDataReader``, here ``base``, that ONNX Runtime asks for."""

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


def kept(graph: Any, chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the nodes to leave in float, and why; ``chosen`` has op_types, exclude and keep_last."""
    nodes = list(graph.node)
    maker = {output: node for node in nodes for output in node.output if output}
    weights = {tensor.name for tensor in graph.initializer}
    expectations = {node.name for node in nodes if node.op_type in chosen["op_types"] and _weighs_softmax(node, maker)}
    last, _ = _graph_tail.ending(
        nodes,
        reads=lambda node: filter(None, node.input),  # what is left out has an empty name
        gives=lambda node: filter(None, node.output),
        is_layer=lambda node: node.op_type in chosen["op_types"] and node.name not in expectations,
    )
    ends = {node.name for node in last} if chosen["keep_last"] else set()
    found = {}
    for node in nodes:
        if any(re.fullmatch(pattern, node.name) for pattern in chosen["exclude"]):
            found[node.name] = "as asked"
        elif node.op_type in chosen["op_types"] and node.op_type == "MatMul" and not weights.intersection(node.input):
            found[node.name] = "multiplies activations"
        elif node.name in expectations:
            found[node.name] = "weighs a softmax"
        elif node.name in ends:
            found[node.name] = "last layer"
    return found


def _weighs_softmax(node: Any, maker: Mapping[str, Any]) -> bool:
    """Whether a layer is the expectation of a distribution."""
    source = _graph_tail.source_of(
        node, lambda each: maker.get(each.input[0]), lambda each: each.op_type in {"Reshape", "Transpose"}
    )
    return source is not None and source.op_type == "Softmax"


def why(found: Mapping[str, str]) -> tuple[str, ...]:
    """Say what was kept in float, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(found.items()):
        reasons.setdefault(reason, []).append(name)
    return tuple(f"kept in float ({reason}): {', '.join(names)}" for reason, names in reasons.items())
