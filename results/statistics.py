"""Statistics derived on read: intervals over launches, quantiles, ratios, the best and its equals, steady states.

The launch is the unit of replication: an interval comes from the spread of launches, never from pooled iterations.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import ruptures
from scipy import special

from harness.statistics import (
    CONFIDENCE,
    integrated_autocorrelation_time,
    minimum_effective_samples,
    order_statistic_interval,
)
from results.row import Interval, Quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TAIL_POINTS = 200
_BINS = 64
_NARROWEST = 4  # samples in a bin: single ones follow each other too closely to tell a step from a run of luck
_SLOWER = math.log(1.03)  # a last level this much above an earlier one is no steady state
_ALIKE = math.log(1.01)  # levels closer than this are one
_PENALTY = 3.0  # times the noise of a bin times log(bins), see ``steady_segment``


@dataclass(frozen=True)
class LogRatio:
    """How much slower the second is than the first, as a ratio, with what its tests need.

    Bounds are ``None`` where either side has too few launches to show a spread.
    """

    estimate: float
    low: float | None
    high: float | None
    standard_error: float | None  # of log(estimate)
    degrees: float  # of freedom; 0 where there is no spread to go by

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Return the two-sided t interval of the ratio; 0.90 is the one that an equivalence test (TOST) asks."""
        if self.standard_error is None:
            return None
        reach = _reach(confidence, self.degrees) * self.standard_error
        return self.estimate * math.exp(-reach), self.estimate * math.exp(reach)

    def p_above(self, ratio: float = 1.0) -> float:
        """Return the one-sided p-value against "the true ratio is at most ``ratio``"; 1 where nothing can be said."""
        return self._p(math.log(self.estimate / ratio))

    def p_below(self, ratio: float = 1.0) -> float:
        """Return the one-sided p-value against "the true ratio is at least ``ratio``"; 1 where nothing can be said."""
        return self._p(-math.log(self.estimate / ratio))

    def _p(self, excess: float) -> float:
        if self.standard_error is None:
            return 1.0
        if self.standard_error == 0:
            return 0.0 if excess > 0 else 1.0
        return float(special.stdtr(self.degrees, -excess / self.standard_error))


def launch_interval(medians_ns: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of launch medians with the t interval on their logarithms.

    One launch gives no bounds. Raises ``ValueError`` for no launch, or for a value that is not positive and finite.
    """
    logs = _logs(medians_ns)
    mean, reach = _student(logs, confidence)
    if reach is None:
        return Interval(math.exp(mean), None, None, len(logs))
    return Interval(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), len(logs))


def rate_interval(rates: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Return the arithmetic mean of rates, one per launch, with its t interval; the lower bound is not below zero.

    One launch gives no bounds. Raises ``ValueError`` for no launch, or for a value that is negative or not finite.
    """
    values = _values(rates)
    if np.any(values < 0):
        raise ValueError("a rate is not negative")
    mean, reach = _student(values, confidence)
    if reach is None:
        return Interval(mean, None, None, len(values))
    return Interval(mean, max(0.0, mean - reach), mean + reach, len(values))


def pooled_quantile(launches: Sequence[np.ndarray], q: float, confidence: float = CONFIDENCE) -> Quantile:
    """Return a quantile of the steady samples of all launches together, only as far as they carry it.

    ``launches``: arrays in order of time. The effective size is the sum over launches of n / τ, τ being that of the
    indicator 1{x > pooled quantile} within the launch; below ``required_samples`` there is no number. The interval is
    of the distribution in these launches: what differs from launch to launch is in ``launch_interval`` alone.
    """
    required = minimum_effective_samples(q, confidence)
    filled = [np.asarray(launch, dtype=np.float64) for launch in launches if len(launch)]
    if not filled:
        return Quantile(q, None, None, None, 0.0, required)
    ordered = np.sort(np.concatenate(filled))
    value = float(np.quantile(ordered, q, method="inverted_cdf"))
    effective = sum(len(launch) / integrated_autocorrelation_time(launch > value) for launch in filled)
    interval = order_statistic_interval(ordered, q, confidence, effective)
    if interval is None:
        return Quantile(q, None, None, None, effective, required)
    return Quantile(q, value, interval[0], interval[1], effective, required)


def welch_log_ratio(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE
) -> LogRatio:
    """Return after / before of launch medians: difference of mean logs, spreads not assumed equal.

    Source of the degrees of freedom: Welch, Biometrika 34, 1947 (Welch-Satterthwaite).
    """
    first, second = _logs(before), _logs(after)
    estimate = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return LogRatio(math.exp(estimate), None, None, None, 0.0)
    parts = np.array([first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)])
    freedom = np.array([len(first) - 1, len(second) - 1])
    total = float(parts.sum())
    # Without any spread the formula is 0 / 0; the interval is a point, whatever the degrees.
    degrees = float(total**2 / (parts**2 / freedom).sum()) if total > 0 else float(freedom.sum())
    return _log_ratio(estimate, math.sqrt(total), degrees, confidence)


def paired_log_ratio(
    before: Mapping[int, float], after: Mapping[int, float], confidence: float = CONFIDENCE
) -> LogRatio:
    """Return after / before of launch medians by round, over the rounds that both have: drift of a round cancels.

    Raises ``ValueError`` where they share no round.
    """
    rounds = sorted(before.keys() & after.keys())
    if not rounds:
        raise ValueError("no round in common: use welch_log_ratio")
    differences = _logs([after[key] for key in rounds]) - _logs([before[key] for key in rounds])
    estimate = float(differences.mean())
    if len(differences) < 2:
        return LogRatio(math.exp(estimate), None, None, None, 0.0)
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return _log_ratio(estimate, error, len(differences) - 1, confidence)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted so that the chance of any false alarm in the family stays below the level.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def not_worse_than_best(medians_ns: Mapping[str, Mapping[int, float]], level: float = 0.05) -> tuple[str, ...]:
    """Return the keys that no test tells from the fastest, fastest first.

    ``medians_ns``: key → round → launch median. Each is compared with the one of the lowest geometric mean, one-sided,
    Holm-adjusted: paired by round where they share two, else by Welch's test. What shares fewer than two rounds with
    the best and has fewer than two launches stays in: nothing shows it slower.
    """
    means = {key: float(_logs(list(values.values())).mean()) for key, values in medians_ns.items()}
    ranked = sorted(means, key=lambda key: (means[key], key))
    if not ranked:
        return ()
    best, others = ranked[0], ranked[1:]
    p_values = [_p_slower(medians_ns[best], medians_ns[key]) for key in others]
    kept = [key for key, p in zip(others, holm(p_values), strict=True) if p >= level]
    return (best, *kept)


def steady_segment(latencies_ns: np.ndarray) -> tuple[int, bool]:
    """Return the index at which the last level begins, and whether it is over 3 % slower than an earlier level.

    ``latencies_ns``: (n,) in order of time. PELT with the L1 cost (Killick et al., JASA 107, 2012; ruptures) on the
    medians of at most 64 bins of log latency. The penalty is in units of the noise of one bin, read from the
    differences of neighbours, which a few steps hardly move, and raised by what these hide where samples depend on each
    other. Levels within 1 % are one. Fewer than 20 samples are one level.
    """
    n = len(latencies_ns)
    if n < 20:
        return 0, False
    width = max(_NARROWEST, math.ceil(n / _BINS))
    count = n // width
    # What does not fill a bin goes to the first one, where nothing is steady yet.
    offset = n - count * width
    logs = np.log(np.maximum(np.asarray(latencies_ns, dtype=np.float64), 1.0))
    binned = np.median(logs[offset:].reshape(count, width), axis=1)
    noise = float(np.median(np.abs(np.diff(binned)))) / math.sqrt(2) * _hidden(_dependence(logs), width)
    penalty = _PENALTY * max(noise, _ALIKE / 4) * math.log(count)
    ends = ruptures.Pelt(custom_cost=MedianCost(binned.tolist()), jump=1).fit(binned).predict(pen=penalty)
    starts = [0, *ends[:-1]]
    levels = [float(np.median(binned[start:end])) for start, end in zip(starts, ends, strict=True)]
    # Held against the last level itself: held against its neighbour, a slow drift would pass as one level.
    while len(starts) > 1 and abs(levels[-1] - levels[len(starts) - 2]) < _ALIKE:
        del starts[-1]
    start = offset + starts[-1] * width if starts[-1] else 0
    return start, any(levels[-1] - level > _SLOWER for level in levels[:-1])


def thin_tail(samples: np.ndarray, points: int = _TAIL_POINTS) -> tuple[tuple[float, float], ...]:
    """Return up to ``points`` (latency, share of samples above it), latency ascending, spaced evenly in log share.

    The last share is one sample's, 1 / n, or more where the largest values tie: the sample says nothing beyond.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    if n < 2:
        return ()
    above = np.unique(np.round(np.geomspace(1, n - 1, min(points, n - 1))).astype(np.int64))[::-1]
    values = np.unique(ordered[n - 1 - above])
    shares = (n - np.searchsorted(ordered, values, side="right")) / n
    return tuple((float(value), float(share)) for value, share in zip(values, shares, strict=True) if share > 0)


def _dependence(values: np.ndarray) -> float:
    """Return the correlation of neighbours as of an AR(1) process, from 0 to 0.8, whatever steps there are.

    Differences over two places vary 1 + rho times as much as those over one: level and spread cancel, and the trimmed
    means leave out a tenth, which steps and outliers are in.
    """
    near, far = (np.sort(np.abs(values[lag:] - values[:-lag])) for lag in (1, 2))
    one, two = (float(distances[: int(0.9 * len(distances))].mean()) for distances in (near, far))
    return min(max((two / one) ** 2 - 1, 0.0), 0.8) if one > 0 else 0.0


def _hidden(rho: float, width: int) -> float:
    """Return by how much a level's noise exceeds what neighbouring bins of ``width`` samples of AR(1) differ by.

    The ratio of two standard deviations of a bin's mean: of the long run, (1 + rho) / ((1 - rho) width), and of what
    two neighbours do not share, from the covariances rho^k; in units of the process's own.
    """
    long_run = (1 + rho) / (1 - rho) / width
    shared = (1 - rho**width) / (1 - rho) / width
    own = long_run - 2 * rho / (1 - rho) / width * shared
    return math.sqrt(long_run / (own - rho * shared**2))


class MedianCost(ruptures.base.BaseCost):  # type: ignore[misc]  # ruptures has no type information
    """Sum of absolute deviations from the median of each segment, worked out once for all segments."""

    model = "l1"
    min_size = 2

    def __init__(self, levels: Sequence[float]) -> None:
        self.signal = np.asarray(levels).reshape(-1, 1)
        self._costs = [_costs_from(levels[start:]) for start in range(len(levels))]

    def fit(self, signal: np.ndarray) -> MedianCost:
        """Do nothing: the levels were given at the start."""
        del signal
        return self

    def error(self, start: int, end: int) -> float:
        """Return the cost of the segment [start, end)."""
        return self._costs[start][end - start - 1]


def _costs_from(levels: Sequence[float]) -> list[float]:
    """Return the cost of every prefix of ``levels``: one more adds how far it lies from the medians so far."""
    ordered: list[float] = []
    costs, cost = [], 0.0
    for level in levels:
        count = len(ordered)
        if count:
            cost += max(ordered[(count - 1) // 2] - level, level - ordered[count // 2], 0.0)
        bisect.insort(ordered, level)
        costs.append(cost)
    return costs


def _p_slower(best: Mapping[int, float], other: Mapping[int, float]) -> float:
    if len(best.keys() & other.keys()) < 2:  # of different runs, as ``rank.launch_ratio`` has it
        return welch_log_ratio(list(best.values()), list(other.values())).p_above()
    return paired_log_ratio(best, other).p_above()


def _log_ratio(estimate: float, error: float, degrees: float, confidence: float) -> LogRatio:
    reach = _reach(confidence, degrees) * error
    return LogRatio(math.exp(estimate), math.exp(estimate - reach), math.exp(estimate + reach), error, degrees)


def _student(values: np.ndarray, confidence: float) -> tuple[float, float | None]:
    if len(values) < 2:
        return float(values.mean()), None
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), _reach(confidence, len(values) - 1) * error


def _reach(confidence: float, degrees: float) -> float:
    """Return how many standard errors a two-sided t interval reaches to either side."""
    return float(special.stdtrit(degrees, (1 + confidence) / 2))


def _values(given: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(given, dtype=np.float64)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(f"at least one launch with a finite value is needed, not {values.tolist()}")
    return values


def _logs(given: Sequence[float] | np.ndarray) -> np.ndarray:
    values = _values(given)
    if np.any(values <= 0):
        raise ValueError("a duration is positive")
    logs: np.ndarray = np.log(values)
    return logs
