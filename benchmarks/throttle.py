"""How often a launch that slows by 15 % is called unsteady, and how often one that does not is (simulated).

2,000 series with a step of +15 % and 2,000 without for each rho, given to ``results.statistics.steady_segment``. Each
has 100 to 10,000 latencies (log-uniform). Their logarithms follow an AR(1) process of correlation rho = 0, 0.5, 0.8 and
standard deviation 2 %; one in a hundred is an outlier, slower by an exponential of mean 50 %. The step lies anywhere
between a tenth and nine tenths of the series: a level that holds for less is not told from a spell of noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Limit, Measured
from benchmarks.simulated import DEPENDENCES, dependent, share
from results.statistics import steady_segment

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND, FALSE = Limit(low=0.99), Limit(high=0.01)
SERIES = 2000
_STEP = 1.15
_SHORTEST, _LONGEST = 100, 10_000
_SPREAD = 0.02
_OUTLIERS, _OUTLIER_MEAN = 0.01, 0.5
_MEDIAN_NS = 10e6
_SEED = 20_261_124


def measure(told: Callable[[str], None], series: int = SERIES) -> Measured:
    """Return the shares of series that are flagged, with the step and flat."""
    figures = []
    for index, rho in enumerate(DEPENDENCES):
        told(f"rho = {rho:g}: {series} series with a step, {series} flat")
        generator = np.random.default_rng([_SEED, index])
        flagged = sum(steady_segment(_stepped(generator, rho))[1] for _ in range(series))
        figures.append(share(f"flagged with a step of +15 %, rho = {rho:g}", flagged, series, FOUND))
        flagged = sum(steady_segment(_flat(generator, rho))[1] for _ in range(series))
        figures.append(share(f"flagged though flat, rho = {rho:g}", flagged, series, FALSE))
    return Measured(tuple(figures))


def _flat(generator: np.random.Generator, rho: float) -> np.ndarray:
    count = round(float(np.exp(generator.uniform(np.log(_SHORTEST), np.log(_LONGEST)))))
    latencies_ns: np.ndarray = _MEDIAN_NS * np.exp(_SPREAD * dependent(generator, (count,), rho))
    outliers = np.flatnonzero(generator.random(count) < _OUTLIERS)
    latencies_ns[outliers] *= 1 + generator.exponential(_OUTLIER_MEAN, len(outliers))
    return latencies_ns


def _stepped(generator: np.random.Generator, rho: float) -> np.ndarray:
    latencies_ns = _flat(generator, rho)
    latencies_ns[round(len(latencies_ns) * generator.uniform(0.1, 0.9)) :] *= _STEP
    return latencies_ns
