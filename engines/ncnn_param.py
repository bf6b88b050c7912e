"""ncnn's ``.param`` text: the layers of a network as they are loaded, and the work that each is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Layers that compute nothing: the input, constants, and the fan-out of a tensor.
IDLE = frozenset({"Input", "MemoryData", "Split"})
# Key of an activation that is part of the layer, and its kinds (ncnn's operators.md, fused activation types).
_ACTIVATION = 9
_ACTIVATIONS = {"1": "ReLU", "2": "LeakyReLU", "3": "Clip", "4": "Sigmoid", "5": "Mish", "6": "HardSwish"}
# Key of the number of weights (same source).
_WEIGHTS = {
    "Convolution": 6,
    "ConvolutionDepthWise": 6,
    "Convolution1D": 6,
    "Deconvolution": 6,
    "DeconvolutionDepthWise": 6,
    "InnerProduct": 2,
}
# Layers that multiply and accumulate in ways that are not counted here.
UNCOUNTED = frozenset({"Gemm", "MultiHeadAttention", "SDPA", "RNN", "LSTM", "GRU", "Einsum", "Convolution3D"})


@dataclass(frozen=True)
class Layer:
    """One line of the file: its kind, the blobs it reads and writes, and its parameters by number."""

    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    parameters: Mapping[int, str]

    @property
    def operator(self) -> str:
        """The kind, with the activation that it ends with: ``Convolution+ReLU``."""
        fused = _ACTIVATIONS.get(self.parameters.get(_ACTIVATION, "")) if self.kind in _WEIGHTS else None
        return f"{self.kind}+{fused}" if fused else self.kind

    def macs(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """Return the multiply-accumulates, given the shapes of the blobs: (c, d, h, w), (c, h, w), (h, w) or (w,)."""
        if self.kind == "MatMul":
            left, right = shapes[self.bottoms[0]], shapes[self.bottoms[1]]
            columns = right[-2] if self.parameters.get(0) == "1" else right[-1]
            return math.prod(left) * columns
        if self.kind not in _WEIGHTS:
            return 0
        weights = int(self.parameters[_WEIGHTS[self.kind]])
        if self.kind == "InnerProduct":
            return weights * math.prod(shapes[self.tops[0]][:-1])
        # A transposed convolution multiplies each position of its input by the whole kernel of that channel.
        positions = shapes[self.bottoms[0] if self.kind.startswith("Deconvolution") else self.tops[0]][1:]
        return weights * math.prod(positions)


def read(path: Path) -> list[Layer]:
    """Return the layers in order. Raises ``ValueError`` where the text is not ncnn's."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < 2 or lines[0].strip() != "7767517":
        raise ValueError("it does not begin with ncnn's number 7767517")
    layers = [_layer(line.split()) for line in lines[2:] if line.strip()]
    expected = int(lines[1].split()[0])
    if len(layers) != expected:
        raise ValueError(f"it holds {len(layers)} of its {expected} layers")
    return layers


def _layer(words: Sequence[str]) -> Layer:
    kind, _, reads, writes = words[:4]
    first, last = 4 + int(reads), 4 + int(reads) + int(writes)
    parameters = {}
    for word in words[last:]:
        key, _, value = word.partition("=")
        parameters[int(key)] = value
    return Layer(kind, tuple(words[4:first]), tuple(words[first:last]), parameters)
