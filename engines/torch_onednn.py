"""What oneDNN, torch's library of CPU kernels, says that it executed: its own log of one run."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "s8": "int8", "u8": "int8", "f8_e4m3": "fp8", "f8_e5m2": "fp8"}


@dataclass(frozen=True)
class Executed:
    """Multiply-accumulates by precision, and every primitive by kind and implementation, reorders of weights too."""

    macs: Mapping[str, int]
    kernels: Mapping[str, int]


def watch(torch: Any, run: Callable[[], None], folder: Path | None) -> Executed:
    """Call ``run`` with oneDNN's log on; empty where torch has no oneDNN.

    The log goes to the process's standard output, which is led into a file in ``folder`` meanwhile.
    """
    mkldnn = torch.backends.mkldnn
    if not mkldnn.is_available():
        return Executed({}, {})
    with tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8", errors="replace") as log:
        with _stdout_into(log.fileno()), mkldnn.verbose(mkldnn.VERBOSE_ON):
            run()
        log.seek(0)
        return parse(log.read())


def parse(log: str) -> Executed:
    """Read the lines ``onednn_verbose,v1,primitive,exec,ENGINE,KIND,KERNEL,USE,MEMORY,...,PROBLEM,MS``.

    https://uxlfoundation.github.io/oneDNN/dev_guide_verbose.html
    """
    macs: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for line in log.splitlines():
        fields = line.split(",")
        if fields[0] != "onednn_verbose" or fields[2:4] != ["primitive", "exec"] or len(fields) < 10:
            continue
        kind, implementation, memory, problem = fields[5], fields[6], fields[8], fields[-2]
        kernels[f"{kind} {implementation}"] += 1
        if kind not in _MACS:
            continue
        precisions = [_WORDS.get(word, word) for word in re.findall(r"\b(?:src|wei)[:_](\w+?):", memory)]
        # A layer is INT8 where both its inputs are: with weights alone in 8 bits the products are in float.
        precision = "int8" if set(precisions) == {"int8"} else next((p for p in precisions if p != "int8"), "unknown")
        macs[precision] += _MACS[kind](problem)
    return Executed(dict(macs), dict(kernels))


def _convolution(problem: str) -> int:
    """``g2mb1_ic8oc16_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1``: channels of all groups."""
    size = _sizes(problem)
    outputs = math.prod(size.get(side, 1) for side in ("mb", "oc", "od", "oh", "ow"))
    return outputs * size["ic"] // size.get("g", 1) * _taps(size)


def _deconvolution(problem: str) -> int:
    size = _sizes(problem)
    inputs = math.prod(size.get(side, 1) for side in ("mb", "ic", "id", "ih", "iw"))
    return inputs * size["oc"] // size.get("g", 1) * _taps(size)


def _inner_product(problem: str) -> int:
    size = _sizes(problem)
    return math.prod(size.get(side, 1) for side in ("mb", "ic", "oc", "id", "ih", "iw"))


def _matmul(problem: str) -> int:
    """``1x8:8x5``, with any number of batch dimensions before."""
    left, right = ([int(side) for side in shape.split("x")] for shape in problem.split(":")[:2])
    return max(math.prod(left[:-2]), math.prod(right[:-2])) * left[-2] * left[-1] * right[-1]


def _sizes(problem: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", problem)}


def _taps(size: Mapping[str, int]) -> int:
    return math.prod(size.get(side, 1) for side in ("kd", "kh", "kw"))


_MACS: Mapping[str, Callable[[str], int]] = {
    "convolution": _convolution,
    "deconvolution": _deconvolution,
    "inner_product": _inner_product,
    "matmul": _matmul,
}


@contextmanager
def _stdout_into(descriptor: int) -> Iterator[None]:
    """Lead what this process's C libraries print to standard output into a file."""
    library = ctypes.CDLL(None)  # C's buffer is not Python's
    sys.stdout.flush()
    library.fflush(None)
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
