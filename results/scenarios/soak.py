"""What one long stretch of full load says: the speed of its first seconds, what is left of it, and since when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import ruptures
from scipy import stats

from harness.statistics import CONFIDENCE
from results.driven import Soak
from results.level_noise import around, dependence, misfits, variance_of_mean
from results.row import Interval
from results.statistics import MedianCost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.measure.samples import Samples
    from harness.vocabulary import Record
    from results.launches import Measured

BURST_S = 10.0
SUSTAINED = 1 / 3
"""Share of the series, at its end, whose rate is the sustained one."""
SLOWED = 0.97
"""A rate below this share of the burst's is a slower one."""
_BINS = 30  # at least: a series shorter than as many seconds has narrower bins
_LEVEL_BINS = 200
_ALIKE = math.log(1.01)  # levels closer than this are one
_PENALTY = 3.0  # as in ``results.statistics.steady_segment``
_AROUND = 4  # bins by which a step may lie beside its place: they were looked at in groups
_POINTS = 300
_NOTHING = 1e-9  # items per second, where a clock stands still


@dataclass(frozen=True)
class _Series:
    """Items per second in bins of equal width."""

    rates: np.ndarray
    width_s: float

    @property
    def burst(self) -> np.ndarray:
        return self.rates[: max(2, min(round(BURST_S / self.width_s), len(self.rates) // 3))]

    @property
    def sustained(self) -> np.ndarray:
        return self.rates[-math.floor(len(self.rates) * SUSTAINED) :]


@dataclass(frozen=True)
class _Levels:
    """Where each level of the rate begins, and the logarithm of its middle."""

    starts: list[int]  # bins
    middles: list[float]


@dataclass(frozen=True)
class _Noise:
    """How the logarithm of the rate of one bin varies around its level: as AR(1) noise.

    Neighbouring seconds depend on each other. Ten seconds alone could not tell how much, so that what the whole series
    says is taken for every part of it.
    """

    variance: float
    dependence: float  # correlation of neighbours
    degrees: float  # of freedom of the variance

    def reach(self, *sizes: int) -> float:
        """Return the half-width of the interval of a difference between means over so many bins, logarithms."""
        variance = self.variance * sum(variance_of_mean(size, self.dependence) for size in sizes)
        return float(stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees)) * math.sqrt(variance)


def soak(launches: Sequence[Measured]) -> Soak:
    """Return what the last of at least one launch says.

    An inference counts evenly over its cycle, from its start to that of the stream's next, so that few long ones give
    no steps. Both ends of the series are cut to when all streams were at work.
    """
    record, samples = launches[-1].record, launches[-1].samples.steady()
    streams = [np.flatnonzero(samples.stream == stream) for stream in np.unique(samples.stream)]
    series = _series(record, samples, streams)
    levels = _levels(series)
    noise = _noise(series, levels)
    return Soak(
        cell_id=record.cell.cell_id,
        title=record.cell.scenario.title,
        streams=len(streams),
        seconds=len(series.rates) * series.width_s,
        burst=float(series.burst.mean()),
        sustained=float(series.sustained.mean()),
        ratio=_ratio(series, noise),
        slowed_after_s=_slowed_after(series, levels, noise),
        series=_thinned(series),
    )


def _series(record: Record, samples: Samples, streams: Sequence[np.ndarray]) -> _Series:
    begin_ns = max(int(samples.start_ns[rows[0]]) for rows in streams)
    end_ns = min(int(samples.end_ns[rows[-1]]) for rows in streams)
    if end_ns <= begin_ns:  # streams that were never at work together
        begin_ns, end_ns = int(samples.start_ns.min()), int(samples.end_ns.max())
    seconds = (end_ns - begin_ns) / 1e9
    count = max(_BINS, math.floor(seconds))
    width_s = min(1.0, seconds / count)
    edges_ns = width_s * 1e9 * np.arange(count + 1)
    done = np.zeros(count + 1)
    for rows in streams:
        turns_ns = np.append(samples.start_ns[rows], samples.end_ns[rows[-1]]) - begin_ns
        done += np.interp(edges_ns, turns_ns, np.arange(len(turns_ns)))
    # Of a long soak only every so manieth inference has a row: see ``harness.measure.thinning``.
    inferences = record.timing.steady_iterations if record.timing is not None else 0
    weight = max(inferences, len(samples)) / len(samples)
    return _Series(record.cell.batch * weight * np.diff(done) / width_s, width_s)


def _levels(series: _Series) -> _Levels:
    """Return the levels of the rate: PELT with the L1 cost (Killick et al., JASA 107, 2012; ruptures) on logarithms.

    The penalty is in units of the noise of a bin, read from the differences of neighbours, which steps hardly move.
    """
    group = math.ceil(len(series.rates) / _LEVEL_BINS)
    logs = np.log(np.maximum(_grouped(series.rates, group, np.median), _NOTHING))
    noise = float(np.median(np.abs(np.diff(logs)))) / math.sqrt(2)
    penalty = _PENALTY * max(noise, _ALIKE / 4) * math.log(len(logs))
    ends = ruptures.Pelt(custom_cost=MedianCost(logs.tolist()), jump=1).fit(logs).predict(pen=penalty)
    starts = [0, *ends[:-1]]
    middles = [float(np.median(logs[start:end])) for start, end in zip(starts, ends, strict=True)]
    return _Levels([start * group for start in starts], middles)


def _noise(series: _Series, levels: _Levels) -> _Noise:
    """Return the noise around the levels, or around a steady decline.

    Means of levels take their part of it off. A series of n is worth n (1 - rho^2) / (1 + rho^2) independent points for
    its variance (Bayley, Hammersley, Supplement to the Journal of the Royal Statistical Society 8, 1946).
    """
    logs = np.log(np.maximum(series.rates, _NOTHING))
    price = _PENALTY * math.log(len(logs))
    steps = _steps(logs, levels, price)
    residuals = around(logs, steps)
    straight = _straightened(logs)
    by_steps, by_trend = (
        float(misfits(logs, [steps])[0]) + price * len(steps),
        float(misfits(straight, [()])[0]) + price,
    )
    if by_trend < by_steps:
        residuals, steps = straight, [len(logs) // 2]  # a slope is one more parameter, as a step is
    rho = dependence(residuals, len(steps) + 1)
    lengths = [end - start for start, end in pairwise((0, *steps, len(logs)))]
    taken = sum(length * variance_of_mean(length, rho) for length in lengths)
    worth = len(logs) * (1 - rho**2) / (1 + rho**2)
    return _Noise(float((residuals**2).sum()) / max(1.0, len(logs) - taken), rho, max(1.0, worth - len(lengths)))


def _straightened(logs: np.ndarray) -> np.ndarray:
    """Return what is left of a series without the line through it."""
    times = np.arange(len(logs)) - (len(logs) - 1) / 2
    return np.asarray(logs - logs.mean() - times * float(times @ logs) / float(times @ times))


def _steps(logs: np.ndarray, levels: _Levels, price: float) -> list[int]:
    """Return where levels begin that dependent noise does not explain, in order.

    Those within a slowdown of the first of them are one, and differ by noise. Of the others each must make the series
    likelier, by more than its price, as AR(1) noise around levels: such noise wanders by itself. It is looked for near
    the place where it was found, since next to it nothing is gained.
    """
    left, first = [], levels.middles[0]
    for start, middle in zip(levels.starts, levels.middles, strict=True):
        if abs(middle - first) > -math.log(SLOWED):
            left.append(start)
            first = middle
    near = range(-_AROUND, _AROUND + 1)
    places = sorted({step + off for step in left for off in near if 0 < step + off < len(logs)})
    kept: list[int] = []
    misfit = float(misfits(logs, [kept])[0])
    while places:
        found = misfits(logs, [sorted((*kept, place)) for place in places])
        best = int(np.argmin(found))
        if misfit - found[best] < price:
            break
        misfit, chosen = float(found[best]), places[best]
        kept = sorted((*kept, chosen))
        places = [place for place in places if abs(place - chosen) > _AROUND]
    return kept


def sustained_ratio(rates: np.ndarray, width_s: float = 1.0) -> Interval:
    """Return sustained / burst of items per second in bins of equal width, (n,), with its interval over time."""
    series = _Series(rates, width_s)
    return _ratio(series, _noise(series, _levels(series)))


def _ratio(series: _Series, noise: _Noise) -> Interval:
    """Return sustained / burst with its interval over time."""
    ratio = float(series.sustained.mean() / series.burst.mean())
    reach = noise.reach(len(series.burst), len(series.sustained))
    return Interval(ratio, ratio * math.exp(-reach), ratio * math.exp(reach), 1)


def _slowed_after(series: _Series, levels: _Levels, noise: _Noise) -> float | None:
    """Return when the levels begin that all lie below ``SLOWED`` of the burst, to the end.

    What is left must be shown to be slower than the burst, too: a burst that was fast by luck convicts nobody.
    """
    burst = float(series.burst.mean())
    slow = len(levels.starts)
    while slow and levels.middles[slow - 1] < math.log(SLOWED * burst):
        slow -= 1
    if slow == len(levels.starts):
        return None
    begin = levels.starts[slow]
    left = series.rates[begin:]
    if math.log(float(left.mean()) / burst) + noise.reach(len(series.burst), len(left)) >= 0:
        return None
    # Bins wider than the burst cannot tell it from what follows.
    return float(max(begin, len(series.burst)) * series.width_s)


def _grouped(rates: np.ndarray, group: int, summary: Callable[..., np.ndarray]) -> np.ndarray:
    """Return one value per ``group`` of bins; the last holds what is left over, too."""
    count = max(1, len(rates) // group)
    whole = (count - 1) * group
    parts = summary(rates[:whole].reshape(count - 1, group), axis=1)
    return np.append(parts, summary(rates[whole:]))


def _thinned(series: _Series) -> tuple[tuple[float, float], ...]:
    group = math.ceil(len(series.rates) / _POINTS)
    middles = (np.arange(len(series.rates)) + 0.5) * series.width_s
    times, rates = _grouped(middles, group, np.mean), _grouped(series.rates, group, np.mean)
    return tuple((float(time_s), float(rate)) for time_s, rate in zip(times, rates, strict=True))
