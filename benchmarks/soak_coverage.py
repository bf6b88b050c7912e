"""How often the interval of a soak's sustained share of its burst holds the truth (simulated).

2,000 series of 60 and of 600 seconds for each rho: items per second whose logarithms follow an AR(1) process of
correlation rho = 0, 0.5, 0.8 from second to second and standard deviation 2 %. Half of them fall to 90 % after 20
seconds, half do not. The figure is the share of intervals that hold the true ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Limit, Measured
from benchmarks.simulated import DEPENDENCES, dependent, share
from results.scenarios.soak import sustained_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = Limit(0.93, 0.97)
SERIES = 2000
LENGTHS_S = (60, 600)
_SPREAD = 0.02
_SLOWER, _AFTER_S = 0.9, 20
_RATE = 100.0
_SEED = 20_261_123


def measure(told: Callable[[str], None], series: int = SERIES) -> Measured:
    """Return the coverage for each length and rho."""
    figures = []
    for seconds in LENGTHS_S:
        for index, rho in enumerate(DEPENDENCES):
            told(f"{seconds} s, rho = {rho:g}: {series} series")
            generator = np.random.default_rng([_SEED, seconds, index])
            held = sum(_holds(generator, seconds, rho, _SLOWER if number % 2 else 1.0) for number in range(series))
            figures.append(share(f"coverage of a soak of {seconds} s, rho = {rho:g}", held, series, LIMIT))
    return Measured(tuple(figures))


def _holds(generator: np.random.Generator, seconds: int, rho: float, ratio: float) -> bool:
    level = np.where(np.arange(seconds) < _AFTER_S, 1.0, ratio)
    found = sustained_ratio(_RATE * level * np.exp(_SPREAD * dependent(generator, (seconds,), rho)))
    return found.low is not None and found.high is not None and found.low <= ratio <= found.high
