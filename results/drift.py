"""Whether the machine drifted during a run: the launches of the sentinel, one after the other."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

from results.launches import histories
from results.row import Interval
from results.statistics import welch_log_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.launches import CellHistory
    from results.store import RunStore

LEVEL = 0.01
"""Of each of the two tests: of 100 steady machines one or two are said to drift."""
MARGIN = 0.01
"""A smaller change is none, however certain: it moves no ranking."""
FEWEST = 4
"""Launches below which a step cannot be told from two outliers."""
POWER, TOLD = 0.8, 0.05
"""That no drift is shown is said only where a step of that size half-way would be found that often."""
_SIDE = 2  # launches on either side of a step: one alone is an outlier
_DRAWS = 19_999
_MOST = 10.0  # as a share: a larger step is not told apart
_SEED = 20_250_101
_ALIKE = 1e-9  # logarithms closer than this are equal but for rounding


@dataclass(frozen=True)
class Drift:
    """What the sentinel says of the machine."""

    found: bool
    message: str
    ratio: Interval | None  # its latency over the last third of its launches against the first; None: below two
    points: tuple[tuple[float, float], ...]  # (seconds since the first, launch median in ns)
    label: str = ""  # of the sentinel's cell
    p_trend: float = 1.0  # two-sided; 1 where there are too few launches
    p_step: float = 1.0
    resolved: float | None = None
    """The smallest step half-way that these launches show with a power of 80 %, as a share; ``None``: too few."""

    @property
    def telling(self) -> bool:
        """Whether a drift was found, or one of 5 % would have been."""
        return self.found or (self.resolved is not None and self.resolved <= TOLD)


@dataclass(frozen=True)
class _Test:
    """One way of drifting: how likely it is by chance, and how far it went, as a difference of logarithms."""

    p: float
    change: float
    words: str

    @property
    def holds(self) -> bool:
        return self.p < LEVEL and abs(self.change) >= math.log1p(MARGIN)


_NONE = _Test(1.0, 0.0, "")


def drift(points: Sequence[tuple[float, float]], label: str = "") -> Drift:
    """Return whether launch medians drift beyond their own spread.

    ``points``: (seconds, launch median in ns), in any order. Two tests on the logarithms, each at 1 % two-sided: a
    trend (the t test of the slope on time) and a step (the largest two-sample t over the splits, see ``_step``); what
    either finds counts where it comes to 1 % or more. That nothing is found says something only where a step of 5 %
    would have been, which few launches, or such that scatter, do not show. Raises ``ValueError`` for a median that is
    not positive.
    """
    ordered = sorted(points)
    begin_s = ordered[0][0] if ordered else 0.0
    shown = tuple((seconds - begin_s, float(median_ns)) for seconds, median_ns in ordered)
    medians_ns = np.array([median_ns for _, median_ns in shown])
    if np.any(~np.isfinite(medians_ns)) or np.any(medians_ns <= 0):
        raise ValueError("a duration is positive")
    if len(shown) < FEWEST:
        message = f"{len(shown)} launches of the sentinel are too few to tell a drift: {FEWEST} are needed"
        return Drift(found=False, message=message, ratio=_thirds(medians_ns), points=shown, label=label)
    seconds, logs = np.array([seconds for seconds, _ in shown]), np.log(medians_ns)
    still = float(np.ptp(logs)) < _ALIKE
    trend, step = (_NONE, _NONE) if still else (_trend(seconds, logs), _step(seconds, logs))
    resolved = _resolved(len(logs), 0.0 if still else float(logs.std(ddof=1)))
    ratio = _thirds(medians_ns)
    holding = [test for test in (trend, step) if test.holds]
    if holding:
        surest = min(holding, key=lambda test: test.p)
        message = f"the machine drifted: the sentinel became {surest.words}, p = {surest.p:.2g}"
    else:
        message = _unfound(len(shown), shown[-1][0], ratio, resolved)
    return Drift(bool(holding), message, ratio, shown, label, trend.p, step.p, resolved)


def _unfound(launches: int, seconds: float, ratio: Interval | None, resolved: float) -> str:
    over = f"{launches} launches of the sentinel over {_time(seconds)}"
    often = f"half-way would be found {POWER:.0%} of the time"
    if resolved <= TOLD:
        return f"no drift shown in {over}: {_change(ratio)}; a step of {max(resolved, MARGIN):.1%} {often}"
    least = f"{resolved:.0%}" if resolved < _MOST else f"more than {_MOST:.0%}"
    return f"whether the machine drifted cannot be told by {over}: {_change(ratio)}; only a step of {least} {often}"


def drift_of(store: RunStore, known: Sequence[CellHistory] | None = None) -> Drift | None:
    """Return what the sentinel of a run says; ``None`` where its plan has none.

    ``known``: the histories of the run, where the caller has them already.
    """
    told = histories(store) if known is None else known
    history = next((one for one in told if one.planned.cell.scenario.name == "sentinel"), None)
    if history is None:
        return None
    points = [
        (
            datetime.fromisoformat(launch.record.started_at).timestamp(),
            max(float(np.median(launch.samples.host_to_host_ns)), 1.0),
        )
        for launch in history.measured
    ]
    return drift(points, history.planned.cell.label)


def _trend(seconds: np.ndarray, logs: np.ndarray) -> _Test:
    """Return the t test of the slope; the change is the fitted one from the first launch to the last."""
    spread = seconds - seconds.mean()
    if not spread.any():
        return _NONE
    slope = float(spread @ logs) / float(spread @ spread)
    residuals = logs - logs.mean() - slope * spread
    freedom = len(logs) - 2
    error = math.sqrt(float(residuals @ residuals) / freedom / float(spread @ spread))
    change = slope * float(seconds[-1] - seconds[0])
    p = 2 * float(stats.t.sf(abs(slope) / error, freedom)) if error > 0 else float(slope == 0)
    return _Test(p, change, f"{_faster_or_slower(change)} over {_time(seconds[-1] - seconds[0])}")


def _step(seconds: np.ndarray, logs: np.ndarray) -> _Test:
    """Return the likelihood-ratio test of a step between two levels of one spread, at the split that shows it best.

    Source: Worsley, On the Likelihood Ratio Test for a Shift in Location of Normal Populations, Journal of the American
    Statistical Association 74(366), 1979. Its null distribution depends on the number of launches alone and is drawn,
    seeded; permuting so few launches could not go below 1 % (2 / C(8, 4) = 3 % with eight).
    """
    statistics = _split_t(logs[np.newaxis])[0]
    best = int(np.argmax(statistics))
    split = best + _SIDE
    change = float(logs[split:].mean() - logs[:split].mean())
    null = _null(len(logs))
    above = len(null) - int(np.searchsorted(null, statistics[best], side="left"))
    p = (1 + above) / (1 + len(null))
    return _Test(p, change, f"{_faster_or_slower(change)} after {_time(seconds[split])}")


def _split_t(series: np.ndarray) -> np.ndarray:
    """Return |t| of the two sides of each split; ``series``: (draws, n) → (draws, n - 2 * _SIDE + 1)."""
    n = series.shape[1]
    left = np.arange(_SIDE, n - _SIDE + 1)
    centred = series - series.mean(axis=1, keepdims=True)
    sums = np.cumsum(centred, axis=1)[:, left - 1]
    between = sums**2 * n / (left * (n - left))
    within = np.maximum((centred**2).sum(axis=1, keepdims=True) - between, 0.0)
    # Levels without any spread are told apart for certain.
    ratio = np.divide(between, within, out=np.full_like(between, np.inf), where=within > 0)
    return np.asarray(np.sqrt(ratio * (n - 2)))


@functools.lru_cache(maxsize=64)
def _null(n: int) -> np.ndarray:
    """Return the largest |t| over the splits of ``n`` launches of a steady machine, many times, ascending."""
    drawn = np.random.default_rng((_SEED, n)).standard_normal((_DRAWS, n))
    return np.sort(_split_t(drawn).max(axis=1))


def _resolved(launches: int, spread: float) -> float:
    """Return the smallest step half-way that so many launches show with a power of 80 %, as a share.

    ``spread``: standard deviation of their logarithms. By the largest t over the splits, of which the one half-way is
    taken: t with a non-central distribution, its critical value that of all of them.
    """
    half = launches // 2
    logarithm = _shift(launches) * spread * math.sqrt(launches / (half * (launches - half)))
    return math.expm1(min(logarithm, math.log1p(_MOST)))


@functools.lru_cache(maxsize=64)
def _shift(launches: int) -> float:
    """Return how many standard errors a step must be to be found that often."""
    critical = float(np.quantile(_null(launches), 1 - LEVEL))
    missed = functools.partial(stats.nct.cdf, critical, launches - 2)
    return float(optimize.brentq(lambda shift: missed(shift) - (1 - POWER), 0.0, 4 * critical))


def _thirds(medians_ns: np.ndarray) -> Interval | None:
    """Return the last third of the launches against the first, two where there are few, Welch on the logarithms."""
    n = len(medians_ns)
    if n < 2:
        return None
    third = max(2 if n >= FEWEST else 1, n // 3)  # one launch shows no spread
    ratio = welch_log_ratio(medians_ns[:third], medians_ns[-third:])
    return Interval(ratio.estimate, ratio.low, ratio.high, n)


def _faster_or_slower(change: float) -> str:
    return f"{abs(math.expm1(change)):.1%} {'slower' if change > 0 else 'faster'}"


def _change(ratio: Interval | None) -> str:
    if ratio is None or ratio.low is None or ratio.high is None:
        return "too few to say how much it moved"
    return (
        f"{ratio.estimate - 1:+.1%} [{ratio.low - 1:+.1%}, {ratio.high - 1:+.1%}] from its first launches to its last"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
