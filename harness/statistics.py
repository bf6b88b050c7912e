"""What the measuring process must know to end a launch: order-statistic intervals, autocorrelation, stopping.

numpy and the standard library alone; comparison of launches lives in ``results.statistics``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Of every two-sided interval, unless it says otherwise."""
_AMPLE = 1.25


def minimum_effective_samples(q: float, confidence: float = CONFIDENCE) -> int:
    """Return how many independent samples a two-sided interval of the quantile ``q`` takes at least.

    It exists when neither all samples below nor all samples above the quantile is likelier than (1 - confidence) / 2:
    36 for p90, 72 for p95, 368 for p99, 3,688 for p99.9. Raises ``ValueError`` unless 0 < q < 1.
    """
    _check(q, confidence)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(q, 1 - q)))


def ample_samples(q: float) -> float:
    """Return how many samples are taken for the quantile ``q``: a quarter more than if they were independent."""
    return _AMPLE * minimum_effective_samples(q)


def order_statistic_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the 1-based ranks (low, high) between which the quantile ``q`` lies, or ``None`` where n is too small.

    The number of samples at or below the quantile is binomial (n, q); each tail holds at most (1 - confidence) / 2.
    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    _check(q, confidence)
    if n < minimum_effective_samples(q, confidence):
        return None
    first, mass = _binomial(n, q)
    tail = (1 - confidence) / 2
    # P(K <= low - 1) <= tail and P(K >= high) <= tail.
    below = np.cumsum(mass)
    above = np.cumsum(mass[::-1])[::-1]
    low = first + int(np.searchsorted(below, tail, side="right"))
    high = first + int(np.count_nonzero(above > tail))
    return max(low, 1), min(high, n)


def order_statistic_interval(
    ordered: np.ndarray, q: float, confidence: float = CONFIDENCE, effective: float | None = None
) -> tuple[float, float] | None:
    """Return the distribution-free interval of the quantile ``q``, or ``None`` where the sample cannot carry it.

    ``ordered``: (n,) ascending. ``effective``: its effective size where samples depend on each other; the ranks are
    then those of that size, spread over the whole sample. At the smallest size the upper limit is the largest sample.
    """
    n = len(ordered)
    size = n if effective is None else min(n, math.floor(effective))
    ranks = order_statistic_ranks(size, q, confidence) if size > 0 else None
    if ranks is None:
        return None
    low = math.floor(ranks[0] * n / size)
    high = math.ceil(ranks[1] * n / size)
    return float(ordered[max(low, 1) - 1]), float(ordered[min(high, n) - 1])


def integrated_autocorrelation_time(series: np.ndarray) -> float:
    """Return τ >= 1: how many samples of ``series``, (n,), are worth one independent sample.

    τ = 1 + 2 Σ r(k), cut by Geyer's initial monotone sequence: sums of adjacent pairs of autocorrelations are taken
    while positive and made non-increasing. Source: Geyer, Practical Markov Chain Monte Carlo, Statistical Science 7(4),
    1992, section 3.3. A constant or very short series gives 1; negative dependence is not credited.
    """
    n = len(series)
    if n < 4:
        return 1.0
    centred = np.asarray(series, dtype=np.float64)
    centred = centred - centred.mean()
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n]
    # Rounding leaves a constant series with a variance just above nothing.
    if covariance[0] <= n * 1e-20 * max(1.0, float(np.max(np.abs(series))) ** 2):
        return 1.0
    correlation = covariance / covariance[0]
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    positive = pairs[: negative[0]] if len(negative) else pairs
    return float(max(1.0, 2 * np.minimum.accumulate(positive).sum() - 1)) if len(positive) else 1.0


def effective_size(samples: np.ndarray, q: float = 0.5) -> float:
    """Return n / τ, where τ is that of the indicator 1{x <= quantile q}: what the sample is worth at that quantile.

    ``samples``: (n,) in order of time. Slow samples that come in clusters cost p99 far more than the median.
    """
    if len(samples) == 0:
        return 0.0
    return len(samples) / integrated_autocorrelation_time(samples <= np.quantile(samples, q, method="inverted_cdf"))


def warmed_up(samples_ns: np.ndarray, minimum_iterations: int = 10, agreement: float = 0.10) -> bool:
    """Return whether the medians of the last two windows agree within ``agreement`` after ``minimum_iterations``.

    ``samples_ns``: (n,) latencies since the first. A window is a quarter of them, at least five. The minimum duration
    (0.5 s) and the cap are the caller's, who has the clock.
    """
    window = max(5, len(samples_ns) // 4)
    if len(samples_ns) < max(minimum_iterations, 2 * window):
        return False
    before = float(np.median(samples_ns[-2 * window : -window]))
    last = float(np.median(samples_ns[-window:]))
    return abs(last - before) <= agreement * min(before, last)


@dataclass(frozen=True)
class StopRule:
    """When a launch has measured enough. It only ends a launch: the published interval is over launches.

    Checking at every sample would stop on luck; looks lie on a geometric grid instead (see ``next_look``).
    """

    minimum_iterations: int
    minimum_s: float
    maximum_s: float
    relative_half_width: float = 0.02  # of the median's interval
    maximum_iterations: int = 200_000
    quantiles: tuple[tuple[float, float], ...] = ()  # (q, effective samples of it that this launch must bring)
    extended_s: float = 0.0  # how long it may go on, beyond ``maximum_s``, for its minimum and its quantiles alone
    growth: float = 1.25

    def next_look(self, iterations: int) -> int:
        """Return the number of iterations at which to ask ``should_stop`` again; always more than ``iterations``."""
        following = max(self.minimum_iterations, math.ceil(iterations * self.growth), iterations + 1)
        return max(min(following, self.maximum_iterations), iterations + 1)

    def should_stop(self, samples_ns: np.ndarray, elapsed_ns: float) -> str | None:
        """Return ``precise``, ``max_time``, ``max_iterations``, or ``None`` to go on.

        ``samples_ns``: (n,) steady latencies in order of time. ``precise``: at least the minimum iterations and time,
        the half-width of the median's interval on n / τ effective samples within ``relative_half_width`` of the
        median, and every asked quantile carried.
        """
        carried = len(samples_ns) >= self.minimum_iterations and self._carries_quantiles(samples_ns)
        if carried and elapsed_ns >= self.minimum_s * 1e9 and self._precise(samples_ns):
            return "precise"
        if elapsed_ns >= self.maximum_s * 1e9 and (carried or elapsed_ns >= self.extended_s * 1e9):
            return "max_time"
        return "max_iterations" if len(samples_ns) >= self.maximum_iterations else None

    def _carries_quantiles(self, samples_ns: np.ndarray) -> bool:
        return all(effective_size(samples_ns, q) >= required for q, required in self.quantiles)

    def _precise(self, samples_ns: np.ndarray) -> bool:
        interval = order_statistic_interval(np.sort(samples_ns), 0.5, effective=effective_size(samples_ns))
        if interval is None:
            return False
        half_width = (interval[1] - interval[0]) / 2
        return half_width <= self.relative_half_width * float(np.median(samples_ns))


def _check(q: float, confidence: float) -> None:
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not {q}")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")


def _binomial(n: int, q: float) -> tuple[int, np.ndarray]:
    """Return the probabilities of binomial (n, q) around its mode, and the count that the first one belongs to.

    What lies beyond 12 standard deviations (and 60 counts) weighs less than 1e-15 and is left out.
    """
    mode = min(n, math.floor((n + 1) * q))
    reach = math.ceil(12 * math.sqrt(n * q * (1 - q))) + 60
    first, last = max(0, mode - reach), min(n, mode + reach)
    counts = np.arange(first, last, dtype=np.float64)
    # log p(k + 1) - log p(k)
    steps = np.log((n - counts) / (counts + 1)) + math.log(q / (1 - q))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    mass = np.exp(logs - logs.max())
    return first, mass / mass.sum()
