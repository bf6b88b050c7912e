"""The operators of an ``.mnn`` file and which of its tensors are quantised, read and changed in the file itself.

The file is one FlatBuffers table (github.com/alibaba/MNN, schema/default/MNN.fbs); the numbers of fields and operators
are that schema's. MNN's own converter writes it as JSON and reads that back, with scales rounded to six decimals.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.exporters import _graph_tail

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_TENSORS, _OPERATORS = 1, 3  # of Net: extraTensorDescribe, oplists
_INPUTS, _NAME, _OUTPUTS, _TYPE = 0, 3, 4, 5  # of Op
_INDEX, _QUANTISED = 1, 4  # of TensorDescribe: index, quantInfo
LAYERS = {12: "Convolution", 13: "ConvolutionDepthwise", 17: "Deconvolution", 18: "DeconvolutionDepthwise"}
"""Types of operators with weights of their own; products of matrices become convolutions when a model is converted."""
CONCAT, _SOFTMAX = 10, 85
_MOVING = frozenset({46, 73, 100, 129})  # Permute, Reshape, Transpose, ConvertTensor
_GIVEN = frozenset({11, 34})  # Const, Input


@dataclass(frozen=True)
class Operator:
    """One of the graph, in the order of execution. Tensors are numbers."""

    kind: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers (its documentation, "FlatBuffer internals") at ``place``."""

    data: bytes
    place: int

    def _field(self, number: int) -> int:
        """Return where a field lies; 0: it has its default."""
        fields = self.place - _signed(self.data, self.place)
        slot = 4 + 2 * number
        offset = _short(self.data, fields + slot) if slot < _short(self.data, fields) else 0
        return self.place + offset if offset else 0

    def has(self, number: int) -> bool:
        return bool(self._field(number))

    def integer(self, number: int) -> int:
        at = self._field(number)
        return _signed(self.data, at) if at else 0

    def vector(self, number: int) -> tuple[int, int]:
        """Return where the elements of a vector begin, and how many there are."""
        at = self._field(number)
        if not at:
            return 0, 0
        start = at + _unsigned(self.data, at)
        return start + 4, _unsigned(self.data, start)

    def integers(self, number: int) -> tuple[int, ...]:
        start, count = self.vector(number)
        return struct.unpack_from(f"<{count}i", self.data, start)

    def text(self, number: int) -> str:
        start, count = self.vector(number)
        return self.data[start : start + count].decode(errors="replace")

    def tables(self, number: int) -> list[_Table]:
        start, count = self.vector(number)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, place + _unsigned(self.data, place)) for place in places]


def operators(data: bytes) -> list[Operator]:
    """Return the operators of a file."""
    return [
        Operator(each.integer(_TYPE), each.text(_NAME), each.integers(_INPUTS), each.integers(_OUTPUTS))
        for each in _root(data).tables(_OPERATORS)
    ]


def quantised(data: bytes) -> set[int]:
    """Return the tensors that have a scale."""
    return {each.integer(_INDEX) for each in _root(data).tables(_TENSORS) if each.has(_QUANTISED)}


def in_float(data: bytes, tensors: Collection[int]) -> bytes:
    """Return the file without the scales of these tensors: MNN then computes them in float.

    Their entries are taken out of the list of tensors, and the others move up in it; nothing else moves.
    """
    changed = bytearray(data)
    start, count = _root(data).vector(_TENSORS)
    free = start
    for place in range(start, start + 4 * count, 4):
        target = place + _unsigned(data, place)
        entry = _Table(data, target)
        if not (entry.has(_QUANTISED) and entry.integer(_INDEX) in tensors):
            struct.pack_into("<I", changed, free, target - free)
            free += 4
    if count:
        struct.pack_into("<I", changed, start - 4, (free - start) // 4)
    return bytes(changed)


def ending(graph: Sequence[Operator]) -> tuple[list[Operator], list[Operator]]:
    """Return the last layers with weights, which lead to no other, and the operators that come after all of them."""
    maker = _makers(graph)
    last, after = _graph_tail.ending(
        graph,
        reads=lambda each: each.inputs,
        gives=lambda each: each.outputs,
        is_layer=lambda each: _is_layer(each, maker),
    )
    return last, [each for each in after if each.kind not in _GIVEN]


def layers(graph: Sequence[Operator]) -> list[Operator]:
    """Return the layers with weights of a graph, in order."""
    maker = _makers(graph)
    return [each for each in graph if _is_layer(each, maker)]


def _makers(graph: Sequence[Operator]) -> dict[int, Operator]:
    return {tensor: each for each in graph for tensor in each.outputs}


def _is_layer(operator: Operator, maker: dict[int, Operator]) -> bool:
    """Whether it has weights and is not the expectation of a softmax."""
    if operator.kind not in LAYERS:
        return False
    source = _graph_tail.source_of(operator, lambda each: _before(each, maker), lambda each: each.kind in _MOVING)
    return source is None or source.kind != _SOFTMAX


def _before(operator: Operator, maker: dict[int, Operator]) -> Operator | None:
    return maker.get(operator.inputs[0]) if operator.inputs else None


def _root(data: bytes) -> _Table:
    return _Table(data, _unsigned(data, 0))


def _short(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def _signed(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", data, at)[0])


def _unsigned(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
