"""What XLA executed, from the text of the HLO that it compiled."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_WORDS = {"f32": "fp32", "f16": "fp16", "s8": "int8", "u8": "int8"}  # bf16 is its own
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .* )?\{$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = "
    r"(?:(?P<dtype>\w+)\[(?P<shape>[\d,]*)\]\S*|\(.*?\)) "
    r"(?P<opcode>[a-z][\w\-]*)\((?P<operands>[^)]*)\)(?P<rest>.*)$"
)
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
# Neither computes nor moves anything.
_IDLE = frozenset({"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "iota"})
_LIBRARY = re.compile(r"conv|gemm|matmul|dot", re.IGNORECASE)


class Operator(NamedTuple):
    """An executed operator. ``unread``: why its multiply-accumulates cannot be told, where they cannot."""

    kind: str
    device: str
    precision: str
    macs: int = 0
    unread: str = ""


class _Instruction(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    opcode: str
    operands: tuple[str, ...]
    rest: str


def compiled_operators(hlo: str, device: str) -> list[Operator]:
    """Return the instructions of the entry computation of optimised HLO text, a fusion with what it holds.

    Bodies of loops count once. ``device`` is where the whole of it runs. Raises ``ValueError`` for another text.
    """
    entry, computations = _parse(hlo)
    known = {each.name: each for instructions in computations.values() for each in instructions}

    def expand(name: str) -> Iterator[Operator]:
        for instruction in computations[name]:
            called = _CALLED.search(instruction.rest)
            if instruction.opcode == "call" and called:  # a computation that runs on several threads
                yield from expand(called[1])
            elif instruction.opcode == "fusion" and called:
                held = [_single(each, known, device) for each in computations[called[1]] if each.opcode not in _IDLE]
                yield _fused(held, _word(instruction.dtype), device)
            elif instruction.opcode not in _IDLE:
                yield _single(instruction, known, device)

    return list(expand(entry))


def _fused(held: list[Operator], precision: str, device: str) -> Operator:
    """Return one operator for all that a fusion holds, at the precision of its products where it has any."""
    kinds = dict.fromkeys(each.kind for each in held if each.kind != "broadcast")
    heaviest = max(held, key=lambda each: each.macs, default=None)
    if heaviest and heaviest.macs:
        precision = heaviest.precision
    unread = next((each.unread for each in held if each.unread), "")
    return Operator("+".join(kinds) or "broadcast", device, precision, sum(each.macs for each in held), unread)


def _parse(hlo: str) -> tuple[str, dict[str, list[_Instruction]]]:
    """Return the name of the entry computation and every computation's instructions. Raises ``ValueError``."""
    entry = ""
    computations: dict[str, list[_Instruction]] = {}
    held: list[_Instruction] = []
    for line in hlo.splitlines():
        opened = _COMPUTATION.match(line)
        if opened:
            held = computations[opened[2]] = []
            entry = opened[2] if opened[1] else entry
        elif found := _INSTRUCTION.match(line):
            shape = tuple(int(side) for side in (found["shape"] or "").split(",") if side)
            operands = tuple(re.findall(r"%([\w.\-]+)", found["operands"]))
            held.append(
                _Instruction(found["name"], found["dtype"] or "", shape, found["opcode"], operands, found["rest"])
            )
    if not entry:
        raise ValueError("the HLO has no entry computation")
    return entry, computations


def _single(instruction: _Instruction, known: Mapping[str, _Instruction], device: str) -> Operator:
    opcode, rest = instruction.opcode, instruction.rest
    precision = _word(instruction.dtype)
    if opcode in {"convolution", "dot"}:
        left, right = (known[name] for name in instruction.operands[:2])
        counted = _convolution_macs if opcode == "convolution" else _dot_macs
        return Operator(opcode, device, _word(right.dtype), counted(instruction, left, right))
    if opcode == "custom-call":
        target = re.search(r'custom_call_target="([^"]*)"', rest)
        kind = f"custom-call {target[1]}" if target else opcode
        unread = (
            f"XLA hands work to {target[1]}, which does not tell its size"
            if target and _LIBRARY.search(target[1])
            else ""
        )
        return Operator(kind, device, precision, unread=unread)
    return Operator(opcode, device, precision)


def _convolution_macs(output: _Instruction, _left: _Instruction, kernel: _Instruction) -> int:
    labels = re.search(r"dim_labels=\w+_(\w+)->", output.rest)
    out = kernel.shape[labels[1].index("o")] if labels else 1
    # Zeros put between the inputs of a transposed convolution are not multiplied by anything that counts.
    dilated = re.search(r"lhs_dilate=([\dx]+)", output.rest)
    zeros = math.prod(map(int, dilated[1].split("x"))) if dilated else 1
    return math.prod(output.shape) * math.prod(kernel.shape) // out // zeros


def _dot_macs(output: _Instruction, left: _Instruction, _right: _Instruction) -> int:
    axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", output.rest)
    return math.prod(output.shape) * math.prod(left.shape[int(axis)] for axis in _numbers(axes))


def _numbers(found: re.Match[str] | None) -> Iterable[str]:
    return found[1].split(",") if found and found[1] else ()


def _word(dtype: str) -> str:
    return _WORDS.get(dtype, dtype or "none")
