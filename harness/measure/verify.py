"""Are these outputs worth timing? Compared with the FP32 reference before a launch is timed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import VerifyFailed
from harness.vocabulary import Agreement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import TensorSpec

MINIMUM_COSINE = 0.5
"""Below it the outputs are nonsense; anything better is for the accuracy pass to judge."""
_SNR_CAP_DB = 200.0
_HINT = "the exported model or this precision is broken; compare its artifact with the FP32 one"


def check_sane(outputs: Mapping[str, np.ndarray], expected: Sequence[TensorSpec]) -> None:
    """Raise ``VerifyFailed`` for a missing output, a wrong shape, a non-finite value or nothing but constants.

    A model that ends behind a suppression may find nothing, or one class alone: integers may be constant, and one
    floating output beside another that is not.
    """
    for spec in expected:
        if spec.name not in outputs:
            raise VerifyFailed(f"output {spec.name!r} is missing; there are {', '.join(outputs) or 'none'}", _HINT)
        value = outputs[spec.name]
        if tuple(value.shape) != tuple(spec.shape):
            raise VerifyFailed(f"output {spec.name!r} has shape {list(value.shape)}, not {list(spec.shape)}", _HINT)
    for name, value in outputs.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            bad = int(value.size - np.isfinite(value).sum())
            raise VerifyFailed(f"output {name!r} has {bad} of {value.size} values that are not finite", _HINT)
    telling = {name: value for name, value in outputs.items() if _may_vary(value)}
    if telling and all(_constant(value) for value in telling.values()):
        found = ", ".join(f"{name!r} ({value.flat[0]})" for name, value in telling.items())
        raise VerifyFailed(f"every output is constant: {found}", _HINT)


def _may_vary(value: np.ndarray) -> bool:
    return bool(np.issubdtype(value.dtype, np.floating) and value.size > 1)


def _constant(value: np.ndarray) -> bool:
    return bool(value.min() == value.max())


class Comparison:
    """Closeness to the reference, gathered over inputs.

    Cosine and signal-to-noise ratio are those of all inputs' values of one output together; ``max_relative`` is
    max|a-b| / max|b| per output, the highest over inputs.
    """

    def __init__(self) -> None:
        self._dot: dict[str, float] = {}
        self._own: dict[str, float] = {}
        self._reference: dict[str, float] = {}
        self._noise: dict[str, float] = {}
        self._relative = 0.0
        self._inputs = 0

    def add(self, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> None:
        """Take in one input's outputs.

        Raises ``VerifyFailed`` where names or shapes differ from the reference's, or what varies there is constant.
        """
        for name, wanted in reference.items():
            if name not in outputs or outputs[name].shape != wanted.shape:
                given = list(outputs[name].shape) if name in outputs else "nothing"
                raise VerifyFailed(f"output {name!r} is {given}, the reference gives {list(wanted.shape)}", _HINT)
            if _may_vary(outputs[name]) and _constant(outputs[name]) and not _constant(wanted):
                constant = outputs[name].flat[0]
                raise VerifyFailed(f"output {name!r} is constant ({constant}), the reference's is not", _HINT)
            a, b = outputs[name].astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
            scale = float(np.abs(b).max(initial=0.0))
            difference = float(np.abs(a - b).max(initial=0.0))
            self._relative = max(self._relative, difference / scale if scale > 0 else (math.inf if difference else 0.0))
            for sums, value in (
                (self._dot, a @ b),
                (self._own, a @ a),
                (self._reference, b @ b),
                (self._noise, (a - b) @ (a - b)),
            ):
                sums[name] = sums.get(name, 0.0) + float(value)
        self._inputs += 1

    def agreement(self) -> Agreement:
        """Return the closeness so far. Raises ``VerifyFailed`` below a cosine of 0.5."""
        cosine = min((self._cosine(name) for name in self._dot), default=1.0)
        snr = min((self._snr_db(name) for name in self._dot), default=_SNR_CAP_DB)
        if cosine < MINIMUM_COSINE:
            message = f"outputs have a cosine of {cosine:.3f} with the FP32 reference (at least {MINIMUM_COSINE} asked)"
            raise VerifyFailed(message, _HINT)
        return Agreement(cosine, min(self._relative, 1e300), snr, self._inputs)

    def _cosine(self, name: str) -> float:
        norm = math.sqrt(self._own[name] * self._reference[name])
        return self._dot[name] / norm if norm > 0 else float(self._own[name] == self._reference[name])

    def _snr_db(self, name: str) -> float:
        if self._noise[name] == 0:
            return _SNR_CAP_DB
        ratio = self._reference[name] / self._noise[name]
        return min(_SNR_CAP_DB, 10 * math.log10(ratio)) if ratio > 0 else -_SNR_CAP_DB
