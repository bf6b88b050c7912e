"""What the simulations share: latencies that depend on the ones before, and shares as figures with exact intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter
from scipy.stats import binomtest

from benchmarks.figure import Figure

if TYPE_CHECKING:
    from benchmarks.figure import Limit

DEPENDENCES = (0.0, 0.5, 0.8)
"""Correlation rho of the logarithms of neighbouring latencies within a launch."""
LAUNCH_SPREAD = 0.02
"""Standard deviation of the logarithm of a launch's median: what processes of one cell differ by."""


def dependent(generator: np.random.Generator, shape: tuple[int, ...], rho: float) -> np.ndarray:
    """Return stationary AR(1) series along the last axis, of mean 0 and standard deviation 1."""
    innovations = generator.standard_normal(shape)
    innovations[..., 1:] *= math.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], innovations, axis=-1))


def share(name: str, count: int, of: int, limit: Limit) -> Figure:
    """Return ``count`` of ``of`` as a figure with its exact 95 % interval (Clopper, Pearson: Biometrika 26, 1934)."""
    interval = binomtest(count, of).proportion_ci(0.95, method="exact")
    return Figure(name, count / of, float(interval.low), float(interval.high), "", limit, of)
