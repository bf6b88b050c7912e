"""What ONNX Runtime's profile of one run says was executed: types, shapes, providers and threads of every node."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

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
    "QGemm": 3,
    "QLinearMatMul": 3,
}
# These multiply too, in ways that their shapes alone do not tell.
_UNCOUNTED = frozenset(
    {"Attention", "Einsum", "GRU", "GroupQueryAttention", "LSTM", "MatMulNBits", "MultiHeadAttention", "QAttention"}
)

Shape = tuple[int, ...]


class Profile:
    """The node events of a profile, counted. ``events`` is the parsed JSON file."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        runs = [event["args"] for event in events if event["cat"] == "Node" and "op_name" in event["args"]]
        self._runs = [run for run in runs if "output_type_shape" in run]
        self._macs = [(run, _macs(run)) for run in self._runs if run["op_name"] in _CONVOLUTIONS | _PRODUCTS]

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

    def nodes_by_precision(self) -> dict[str, int]:
        """Count nodes by the type of their first output."""
        words = (_tensors(run["output_type_shape"])[0][0] for run in self._runs if run["output_type_shape"])
        return dict(Counter(_WORDS.get(word, word) for word in words))

    def macs_by_precision(self) -> dict[str, float]:
        """Return the share of multiply-accumulates by the type of the weight, or of the input where they differ."""
        return _shares((_precision(run), macs) for run, macs in self._macs)

    def macs_by_provider(self) -> dict[str, float]:
        """Return the share of multiply-accumulates by execution provider."""
        return _shares((run["provider"], macs) for run, macs in self._macs)

    def flags(self) -> dict[str, str]:
        """Name the operators that the shares leave out."""
        left = Counter(run["op_name"] for run in self._runs if run["op_name"] in _UNCOUNTED)
        return {"not in the MAC shares": ", ".join(f"{n} {op}" for op, n in sorted(left.items()))} if left else {}


def _tensors(described: Iterable[Mapping[str, list[int]]]) -> list[tuple[str, Shape]]:
    return [(word, tuple(shape)) for entry in described for word, shape in entry.items()]


def _precision(run: Mapping[str, Any]) -> str:
    """Return the precision of a MAC node: that of its weight, which the kernel multiplies by."""
    position = {**_CONVOLUTIONS, **_PRODUCTS}[run["op_name"]]
    word = _tensors(run["input_type_shape"])[position][0]
    return _WORDS.get(word, word)


def _macs(run: Mapping[str, Any]) -> int:
    """Return the multiply-accumulates of one node from its shapes."""
    operator, inputs = run["op_name"], _tensors(run["input_type_shape"])
    output = _tensors(run["output_type_shape"])[0][1]
    if operator in _CONVOLUTIONS:
        weight = inputs[_CONVOLUTIONS[operator]][1]  # (out, in / groups, kernel...), or (in, out / groups, kernel...)
        positions = inputs[0][1] if operator == "ConvTranspose" else output
        return math.prod(positions) * math.prod(weight[1:])
    left = inputs[0][1]
    if len(left) < 2 or len(output) < 2:
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
