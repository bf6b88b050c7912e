"""What an ExecuTorch program holds: the kernels it calls, and the XNNPACK graphs that it delegates to."""

from __future__ import annotations

import json
import math
import re
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORDS = {
    "xnn_datatype_fp32": "fp32",
    "xnn_datatype_fp16": "fp16",
    "xnn_datatype_bf16": "bf16",
    "xnn_datatype_qint8": "int8",
    "xnn_datatype_quint8": "int8",
    "xnn_datatype_qcint8": "int8",
    "xnn_datatype_qdint8": "int8",
}
# ExecuTorch's own kernels that multiply and accumulate: they run what XNNPACK was not given, and are not counted.
UNCOUNTED = frozenset({"aten::convolution", "aten::addmm", "aten::mm", "aten::bmm", "aten::linear"})


@dataclass(frozen=True)
class Node:
    """One operator: its kind, the precision of what it reads, its multiply-accumulates, and whether XNNPACK has it."""

    kind: str
    precision: str
    macs: int = 0
    delegated: bool = False


def nodes(path: Path, scratch: Path | None) -> tuple[int, list[Node]]:
    """Return how many parts of the program XNNPACK runs, and every operator of it. Needs ExecuTorch's exporter."""
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall, KernelCall

    program = deserialize_pte_binary(path.read_bytes()).program
    plan = program.execution_plan[0]
    found: list[Node] = []
    parts = 0
    for instruction in (each.instr_args for chain in plan.chains for each in chain.instructions):
        if isinstance(instruction, DelegateCall):
            parts += 1
            delegate = plan.delegates[instruction.delegate_index]
            data = program.backend_delegate_data[delegate.processed.index].data
            found += _delegated(_graph(data, scratch)) if delegate.id == "XnnpackBackend" else [Node(delegate.id, "?")]
        elif isinstance(instruction, KernelCall):
            value = plan.values[instruction.args[0]].val
            kind = getattr(getattr(value, "scalar_type", None), "name", "FLOAT")
            word = {"FLOAT": "fp32", "HALF": "fp16", "BFLOAT16": "bf16"}.get(kind, kind.lower())
            found.append(Node(plan.operators[instruction.op_index].name, word))
    return parts, found


def _graph(data: bytes, scratch: Path | None) -> Mapping[str, Any]:
    """Return the delegate's flatbuffer as JSON, by the flatc that ExecuTorch brings along."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    header = XNNHeader.from_bytes(data[: XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    schema = resources.files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs").read_bytes()
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(schema)
        (folder / "graph.bin").write_bytes(data[start : start + header.flatbuffer_size])
        _flatc_decompile(name, str(folder / "schema.fbs"), str(folder / "graph.bin"), ["--raw-binary"])
        text = (folder / "graph.json").read_text(encoding="utf-8")
    # flatc writes the limits of what is not clamped as inf, which is neither JSON nor Python's word for it.
    graph: Mapping[str, Any] = json.loads(re.sub(r": (-?)inf\b", r": \1Infinity", text))
    return graph


def _delegated(graph: Mapping[str, Any]) -> Iterator[Node]:
    values = {}
    for each in graph["xvalues"]:
        value = each["xvalue_union"]
        value = value.get("tensor_value", value)
        values[value["id_out"]] = value
    for each in graph["xnodes"]:
        kind, node = each["xnode_union_type"].removeprefix("XNN"), each["xnode_union"]
        source = values[node["input1_id" if "input1_id" in node else "input_id"]]
        precision = _WORDS.get(source["datatype"], source["datatype"])
        limits = (each.get("output_min_max") or {}).values()
        fused = "+Clamp" if any(math.isfinite(float(limit)) for limit in limits) else ""
        yield Node(f"{kind}{fused}", precision, _macs(kind, node, source, values), delegated=True)


def _macs(kind: str, node: Mapping[str, Any], source: Mapping[str, Any], values: Mapping[int, Any]) -> int:
    """Return the multiply-accumulates of a node of XNNPACK, whose images are (N, H, W, C)."""
    output = int(math.prod(values[node["output_id"]].get("dims", ())))
    if kind in {"Conv2d", "DepthwiseConv2d"}:
        return output * int(node["kernel_height"] * node["kernel_width"] * node["group_input_channels"])
    if kind == "ConvTranspose2d":
        kernel = node["kernel_height"] * node["kernel_width"] * node["group_output_channels"]
        return int(math.prod(source["dims"])) * int(kernel)
    if kind in {"FullyConnected", "BatchMatrixMultiply"}:
        return output * int(source["dims"][-1])
    return 0
