"""The graph that OpenVINO executes, read from a compiled model: kinds, precisions and work of its layers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.vocabulary import Unknowable

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
# Types of executed layers that multiply and accumulate.
_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
_PRODUCTS = frozenset({"FullyConnected", "MatMul"})
_STRUCTURE = frozenset({"Const", "Input", "Output"})
_DECLARED = frozenset({"Constant", "Parameter", "Result"})


class Graph:
    """The layers of ``compiled.get_runtime_model()`` that run at every inference.

    Layers that constants alone lead to, such as the reshaped biases of a convolution, ran once while the model was
    compiled. ``read`` is the model as it was loaded, whose operators the layers were made of.
    """

    def __init__(self, executed: Any, read: Any) -> None:
        self._declared = {node.get_friendly_name(): node.get_type_name() for node in read.get_ops()}
        self._layers: list[tuple[str, str, tuple[str, ...], Any]] = []
        fixed: set[str] = set()
        for node in executed.get_ordered_ops():
            info = node.get_rt_info()
            kind, name = info["layerType"].astype(str), node.get_friendly_name()
            before = [value.get_node().get_friendly_name() for value in node.input_values()]
            if kind == "Const" or (before and fixed.issuperset(before)):
                fixed.add(name)
            elif kind not in _STRUCTURE:
                word = info["runtimePrecision"].astype(str)
                parts = info["originalLayersNames"].astype(str).split(",")
                self._layers.append((kind, _WORDS.get(word, word), tuple(parts), node))

    @staticmethod
    def nodes_of(read: Any) -> int:
        """Return the number of operators of a model as loaded, constants not counted."""
        return sum(node.get_type_name() not in _DECLARED for node in read.get_ops())

    @property
    def layers(self) -> int:
        """Number of layers that run at every inference."""
        return len(self._layers)

    def precisions(self) -> dict[str, int]:
        """Count layers by the precision that they compute in."""
        return dict(Counter(precision for _, precision, _, _ in self._layers))

    def operators(self) -> dict[str, int]:
        """Count layers by kind: what they were made of, as ``Convolution+Add+Swish``, or their own type."""
        return dict(Counter(self._kind(kind, parts) for kind, _, parts, _ in self._layers))

    def _kind(self, kind: str, parts: tuple[str, ...]) -> str:
        types = [self._declared[name] for name in parts if self._declared.get(name, "Constant") not in _DECLARED]
        return "+".join(types) if len(types) > 1 else kind

    def work(self) -> Mapping[str, float] | Unknowable:
        """Return the share of the multiply-accumulates by precision."""
        macs: Counter[str] = Counter()
        for kind, precision, _, node in self._layers:
            macs[precision] += _macs(kind, node)
        whole = macs.total()
        if not whole:
            return Unknowable("no executed layer is of a type known to multiply and accumulate")
        return {key: value / whole for key, value in macs.items() if value}


def _macs(kind: str, node: Any) -> int:
    """Return the multiply-accumulates of an executed layer from the shapes of its weight and of what it computes."""
    if kind not in _CONVOLUTIONS | _PRODUCTS:
        return 0
    left, output = ([int(side) for side in port.get_shape()] for port in (node.input(0), node.output(0)))
    if kind in _PRODUCTS:
        inner = left[-1] if len(output) < 2 or left[-2] == output[-2] else left[-2]
        return math.prod(output) * inner
    # (out, in / groups, kernel...), or with the groups in front
    weight = math.prod(map(int, node.input(1).get_shape()))
    # A transposed convolution multiplies each position of its input by the whole kernel of that channel.
    positions, channels = (left, left[1]) if kind == "Deconvolution" else (output, output[1])
    return math.prod(positions) * weight // channels
