"""What ONNX Runtime says was executed: types, shapes, providers and threads of every node of a profiled run."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.vocabulary import Unknowable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WORDS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
# Operators that multiply and accumulate: where the weight stands among the inputs. ONNX's own, then those of
# com.microsoft that the optimiser puts in their place (docs/ContribOperators.md of ONNX Runtime).
_CONVOLUTIONS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "ConvInteger": 1,
    "FusedConv": 1,
    "NhwcConv": 1,
    "NhwcFusedConv": 1,
    "QLinearConv": 3,
}
_PRODUCTS = {
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "FusedGemm": 1,
    "FusedMatMul": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulNBits": 1,
    "QGemm": 3,
    "QLinearMatMul": 3,
}
_RECURRENT = {"LSTM": 1, "GRU": 1, "RNN": 1, "DynamicQuantizeLSTM": 1}
_ATTENTION = {"Attention": 1, "MultiHeadAttention": 1, "QAttention": 1}
_POSITIONS = {**_CONVOLUTIONS, **_PRODUCTS, **_RECURRENT, **_ATTENTION}
# These multiply too, in ways that their shapes alone do not tell.
_UNCOUNTED = frozenset(
    {"DeformConv", "Einsum", "GroupQueryAttention", "MoE", "PackedAttention", "PackedMultiHeadAttention", "QMoE"}
)
_SUFFIX = "_kernel_time"

Shape = tuple[int, ...]


class Profile:
    """The node events of a profile, counted. ``events`` is the parsed JSON file."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        nodes = [event for event in events if event["cat"] == "Node" and "output_type_shape" in event["args"]]
        self._runs = [event["args"] for event in nodes]
        self._names = [str(event.get("name", "")).removesuffix(_SUFFIX) for event in nodes]
        self._macs = [(run, _macs(run)) for run in self._runs if run["op_name"] in _POSITIONS]

    @property
    def nodes(self) -> int:
        """Number of nodes executed."""
        return len(self._runs)

    @property
    def threads(self) -> int:
        """The calling thread and those of the pool beside it."""
        # With one thread there is no pool, and an empty text in place of its statistics.
        pools = [run["thread_scheduling_stats"] or {} for run in self._runs]
        return 1 + max((len(pool.get("sub_threads", {})) for pool in pools), default=0)

    @property
    def working(self) -> frozenset[str]:
        """The providers that ran a node which multiplies and accumulates, as the profile shows it."""
        return frozenset(run["provider"] for run, _ in self._macs)

    def nodes_by_precision(self) -> dict[str, int]:
        """Count nodes by the type of their first output."""
        words = (_tensors(run["output_type_shape"])[0][0] for run in self._runs if run["output_type_shape"])
        return dict(Counter(_WORDS.get(word, word) for word in words))

    def macs_by_precision(self, words: Mapping[str, str] | None = None) -> dict[str, float]:
        """Return the share of multiply-accumulates by the type of the weight, or of the input where they differ.

        ``words``: by provider, what its float32 work is to be called.
        """
        called = words or {}
        parts = [(_precision(run), run["provider"], macs) for run, macs in self._macs]
        return _shares((called.get(where, word) if word == "fp32" else word, macs) for word, where, macs in parts)

    def macs_by_provider(self) -> dict[str, float]:
        """Return the share of multiply-accumulates by execution provider."""
        return _shares((run["provider"], macs) for run, macs in self._macs)

    def macs_by_node(self) -> dict[str, int]:
        """Return the multiply-accumulates of each node that does any, by its name."""
        named = zip(self._names, self._runs, strict=True)
        return {name: _macs(run) for name, run in named if run["op_name"] in _POSITIONS}

    def operators(self, placement: Placement) -> dict[str, int]:
        """Count the executed nodes by kind; a compiled part of the graph by the nodes that it holds."""
        parts = placement.parts()
        kinds: Counter[str] = Counter()
        for run in self._runs:
            if run["provider"] in placement.compiling(self):
                continue
            kinds[run["op_name"]] += 1
        for provider in placement.compiling(self):
            kinds.update(parts[provider])
        return dict(kinds)

    def flags(self) -> dict[str, str]:
        """Name the operators that the shares leave out."""
        left = Counter(run["op_name"] for run in self._runs if run["op_name"] in _UNCOUNTED)
        return {"not in the MAC shares": ", ".join(f"{n} {op}" for op, n in sorted(left.items()))} if left else {}


class Placement:
    """Which provider took which nodes, before each went on with them: ``get_provider_graph_assignment_info()``."""

    def __init__(self, subgraphs: Iterable[Any]) -> None:
        self._parts = [
            (str(part.ep_name), [(str(node.op_type), str(node.name)) for node in part.get_nodes()])
            for part in subgraphs
        ]

    def nodes(self) -> dict[str, int]:
        """Count nodes by provider."""
        counts: Counter[str] = Counter()
        for provider, nodes in self._parts:
            counts[provider] += len(nodes)
        return dict(counts)

    def compiling(self, profile: Profile) -> frozenset[str]:
        """Return the providers that took nodes which multiply, of which the profile shows none by itself."""
        took = {where for where, nodes in self._parts if any(kind in _POSITIONS for kind, _ in nodes)}
        return frozenset(took - profile.working)

    def parts(self) -> dict[str, Counter[str]]:
        """Count by provider the parts of the graph that it took, each named by the kinds of node in it."""
        found: dict[str, Counter[str]] = {}
        for provider, nodes in self._parts:
            found.setdefault(provider, Counter())[_kinds(kind for kind, _ in nodes)] += 1
        return found

    def shares(self, macs: Mapping[str, int]) -> dict[str, float] | Unknowable:
        """Return the share of multiply-accumulates by provider, ``macs`` being those of each node by name."""
        multiplying = [(where, name) for where, nodes in self._parts for kind, name in nodes if kind in _POSITIONS]
        strangers = sorted({name or "(no name)" for _, name in multiplying} - macs.keys())
        if strangers:
            return Unknowable(f"the work of {strangers[0]} and {len(strangers) - 1} more nodes was not seen elsewhere")
        return _shares((where, macs[name]) for where, name in multiplying)


def _kinds(kinds: Iterable[str]) -> str:
    """Return a compiled part's name: the kinds of its nodes, each with its number where there are several."""
    counts = Counter(kinds)
    return "+".join(kind if number == 1 else f"{number}×{kind}" for kind, number in counts.items())


def _tensors(described: Iterable[Mapping[str, list[int]]]) -> list[tuple[str, Shape]]:
    return [(word, tuple(shape)) for entry in described for word, shape in entry.items()]


def _precision(run: Mapping[str, Any]) -> str:
    """Return the precision of a MAC node: that of its weight, which the kernel multiplies by."""
    if run["op_name"] == "MatMulNBits":  # its weights are packed into bytes, and unpacked in the kernel
        return "packed bits"
    word = _tensors(run["input_type_shape"])[_POSITIONS[run["op_name"]]][0]
    return _WORDS.get(word, word)


def _macs(run: Mapping[str, Any]) -> int:
    """Return the multiply-accumulates of one node from its shapes."""
    operator, inputs = run["op_name"], _tensors(run["input_type_shape"])
    output = _tensors(run["output_type_shape"])[0][1]
    weight = inputs[_POSITIONS[operator]][1]
    if operator in _CONVOLUTIONS:  # weight: (out, in / groups, kernel...), or (in, out / groups, kernel...)
        positions = inputs[0][1] if operator == "ConvTranspose" else output
        return math.prod(positions) * math.prod(weight[1:])
    if operator in _RECURRENT:  # (steps, batch, in), then weights and recurrent weights by direction
        return math.prod(inputs[0][1][:2]) * (math.prod(weight) + math.prod(inputs[2][1]))
    if operator in _ATTENTION:
        return _attention(inputs[0][1], weight, output)
    return _product(operator, inputs[0][1], output)


def _attention(query: Shape, second: Shape, output: Shape) -> int:
    """Return the work of an attention without a cache: the products with keys and values, and the projection before.

    com.microsoft's own projects first, by a second input (in, out) of rank 2; elsewhere it holds the keys.
    """
    projected = math.prod(query[:2]) * math.prod(second) if len(second) == 2 else 0
    keys = query[1] if projected else second[-2]
    queries = math.prod(output) if projected else math.prod(query)
    return projected + keys * (queries + math.prod(output))


def _product(operator: str, left: Shape, output: Shape) -> int:
    if len(left) < 2 or len(output) < 2 or operator == "MatMulNBits":
        return math.prod(output) * left[-1]
    # Where both sides of the left matrix equal the rows of the output, transposing it changes nothing.
    inner = left[-1] if left[-2] == output[-2] else left[-2]
    return math.prod(output) * inner


def _shares(parts: Iterable[tuple[str, int]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for key, macs in parts:
        total[key] += macs
    whole = total.total()
    return {key: macs / whole for key, macs in total.items()} if whole else {}
