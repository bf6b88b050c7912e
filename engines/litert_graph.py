"""The graph that a LiteRT interpreter holds: its operators, which of them a delegate took, and what they compute in."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DELEGATE = "DELEGATE"
_WORDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
_INTEGERS = frozenset({"int8", "uint8"})
# Operators that multiply and accumulate: where the weight stands among the inputs (TensorFlow Lite's schema.fbs).
_WEIGHTED: Mapping[str, int] = {
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
_PRODUCT = "BATCH_MATMUL"
# These multiply too, in ways that the shapes of one node do not tell.
_UNCOUNTED = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "CONV_3D_TRANSPOSE",
        "CUSTOM",
        "IF",
        "LSTM",
        "RNN",
        "STABLEHLO_COMPOSITE",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "WHILE",
    }
)


@dataclass(frozen=True)
class Tensor:
    """One tensor; ``dtype`` is numpy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator as the model names it; -1 among ``inputs`` stands for an operand that was left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    delegated: bool = False


class Graph:
    """Operators and tensors of the main subgraph of an interpreter, ``nodes`` in the order of execution.

    After ``allocate_tensors`` the interpreter lists each partition that a delegate took as one more operator. Its
    inputs are every tensor that the partition reads, constants included, so going backwards from its outputs to them
    meets exactly the operators inside.
    """

    def __init__(self, interpreter: Any) -> None:
        self.tensors = {
            details["index"]: Tensor(details["name"], details["dtype"].__name__, _sides(details["shape"]))
            for details in interpreter.get_tensor_details()
        }
        listed = [
            Node(details["op_name"], _indices(details["inputs"]), _indices(details["outputs"]))
            for details in interpreter._get_ops_details()  # noqa: SLF001 - nothing public tells the operators
        ]
        partitions = [node for node in listed if node.kind == _DELEGATE]
        loaded = [node for node in listed if node.kind != _DELEGATE]
        maker = {output: place for place, node in enumerate(loaded) for output in node.outputs}
        taken = {place for partition in partitions for place in _inside(partition, loaded, maker)}
        self.nodes = [Node(node.kind, node.inputs, node.outputs, place in taken) for place, node in enumerate(loaded)]
        self.maker = {output: self.nodes[place] for output, place in maker.items()}
        self.partitions = len(partitions)

    def operators(self) -> dict[str, int]:
        """Count executed operators by kind; those of a delegate's partition begin with ``XNNPACK``."""
        return dict(Counter(f"XNNPACK {node.kind}" if node.delegated else node.kind for node in self.nodes))

    def nodes_by_precision(self) -> dict[str, int]:
        """Count operators by what they multiply in, or by the type of their first output."""
        return dict(Counter(self._precision(node) for node in self.nodes))

    def macs_by_precision(self) -> dict[str, float]:
        """Return the share of multiply-accumulates by precision; empty where none were counted."""
        macs: Counter[str] = Counter()
        for node in self.nodes:
            macs[self._precision(node)] += self._macs(node)
        whole = macs.total()
        return {precision: count / whole for precision, count in macs.items() if count}

    def flags(self) -> dict[str, str]:
        """Say what the delegate took, which weights met activations quantised at run, and what was not counted."""
        taken = sum(node.delegated for node in self.nodes)
        left = Counter(node.kind for node in self.nodes if not node.delegated)
        flags = {"xnnpack": f"{taken} of {len(self.nodes)} operators in {self.partitions} partitions"}
        if taken and left:
            flags["the runtime's own kernels"] = _counts(left)
        hybrid = Counter(node.kind for node in self.nodes if self._is_dynamic(node))
        if hybrid:
            flags["activations quantised at run"] = _counts(hybrid)
        uncounted = Counter(node.kind for node in self.nodes if node.kind in _UNCOUNTED)
        if uncounted:
            flags["not in the MAC shares"] = _counts(uncounted)
        return flags

    def is_layer(self, node: Node) -> bool:
        """Whether an operator has weights, other than those by which a softmax becomes its expectation."""
        if node.kind not in _WEIGHTED:
            return False
        before = self.maker.get(self._given(node))
        while before is not None and before.kind in {"RESHAPE", "TRANSPOSE"}:
            before = self.maker.get(before.inputs[0])
        return before is None or before.kind != "SOFTMAX"

    def weight(self, node: Node) -> Tensor | None:
        """Return what an operator multiplies its input by; ``None`` where it does not multiply."""
        position = 1 if node.kind == _PRODUCT else _WEIGHTED.get(node.kind)
        return None if position is None else self.tensors.get(node.inputs[position])

    def _given(self, node: Node) -> int:
        return node.inputs[2 if node.kind == "TRANSPOSE_CONV" else 0]

    def _activation(self, node: Node) -> Tensor:
        return self.tensors[self._given(node)]

    def _is_dynamic(self, node: Node) -> bool:
        weight = self.weight(node)
        return weight is not None and weight.dtype in _INTEGERS and self._activation(node).dtype == "float32"

    def _precision(self, node: Node) -> str:
        """Return what an operator multiplies in: the type of its weight, unless activations are wider integers.

        8-bit weights with float32 activations: the kernel quantises the activations to 8 bits first.
        """
        weight = self.weight(node)
        if weight is None:
            output = self.tensors.get(node.outputs[0]) if node.outputs else None
            word = output.dtype if output else "unknown"
        else:
            given = self._activation(node).dtype
            word = weight.dtype if given in _INTEGERS or self._is_dynamic(node) else given
        return _WORDS.get(word, word)

    def _macs(self, node: Node) -> int:
        """Return the multiply-accumulates of an operator from its shapes.

        Weights are (out, ky, kx, in / groups), depthwise (1, ky, kx, out), in 3-D (kz, ky, kx, in, out), (out, in).
        """
        weight = self.weight(node)
        if weight is None:
            return 0
        output, kernel = math.prod(self.tensors[node.outputs[0]].shape), weight.shape
        given = self._activation(node).shape
        if node.kind == "DEPTHWISE_CONV_2D":
            return output * math.prod(kernel[1:3])
        if node.kind == "CONV_3D":
            return output * math.prod(kernel[:-1])
        if node.kind == "TRANSPOSE_CONV":
            return math.prod(given) * math.prod(kernel[:-1])
        if node.kind == _PRODUCT:
            # Where both sides of the left matrix equal the rows of the output, transposing it changes nothing.
            return output * (given[-1] if given[-2] == self.tensors[node.outputs[0]].shape[-2] else given[-2])
        return output * math.prod(kernel[1:])


def _inside(partition: Node, loaded: list[Node], maker: Mapping[int, int]) -> set[int]:
    """Return the places of the operators inside ``partition``."""
    inside: set[int] = set()
    ahead = list(partition.outputs)
    while ahead:
        tensor = ahead.pop()
        place = maker.get(tensor)
        if place is not None and place not in inside and tensor not in partition.inputs:
            inside.add(place)
            ahead += loaded[place].inputs
    return inside


def _indices(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _sides(shape: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in shape)


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def named_tensors(interpreter: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return the indices of the inputs and of the outputs by name: the signature's where there is one.

    A signature's order is the alphabet's, not the model's.
    """
    signatures = interpreter._get_full_signature_list()  # noqa: SLF001 - the public one drops the indices
    for signature in signatures.values():
        found = {role: {name: int(index) for name, index in signature[role].items()} for role in ("inputs", "outputs")}
        return found["inputs"], found["outputs"]
    inputs, outputs = (
        {details["name"]: int(details["index"]) for details in given}
        for given in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    return inputs, outputs
