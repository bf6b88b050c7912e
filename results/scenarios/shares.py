"""How many of how many, over launches, with an interval that knows that events of one launch are alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from harness.statistics import CONFIDENCE, integrated_autocorrelation_time
from results.driven import Share

if TYPE_CHECKING:
    from collections.abc import Sequence


def pooled_share(launches: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Share:
    """Return the share of events that came about, over those of all launches together.

    ``launches``: boolean arrays in order of time. Launches are pooled, since in most of them nothing comes about, and a
    mean of such shares bounds nothing. Pooled events are not independent, so that the exact interval is that of their
    effective number: at most the sum over launches of n / τ (bursts), and at most n divided by the design effect,
    which is the variance of the share seen between launches over that of independent events, corrected for the few
    launches that it was seen over. Source of the latter: Korn and Graubard, Survey Methodology 24(2), 1998, 193-201.
    It is never narrower than Clopper and Pearson's of independent events, and that one where launches agree.
    """
    filled = [np.asarray(launch, dtype=bool) for launch in launches if len(launch)]
    counts = np.array([launch.sum() for launch in filled], dtype=np.float64)
    sizes = np.array([len(launch) for launch in filled], dtype=np.float64)
    effective = sum(len(launch) / integrated_autocorrelation_time(launch) for launch in filled)
    if len(filled) > 1:
        effective = min(effective, _between_launches(counts, sizes, confidence))
    return exact_share(int(counts.sum()), int(sizes.sum()), effective, confidence)


def exact_share(count: int, of: int, effective: float | None = None, confidence: float = CONFIDENCE) -> Share:
    """Return ``count`` of ``of`` with the interval of Clopper and Pearson (Biometrika 26, 1934).

    ``effective``: the number of independent events that they are worth, at most ``of``; absent: all. Where nothing came
    about, or everything did, only one bound is open and takes the whole risk: 1 - 0.05^(1/n), just below 3 / n, the
    rule of three (Hanley and Lippman-Hand, JAMA 249, 1983). Of no events the share may be anything.
    """
    if not of:
        return Share(0, 0, 0.0, 1.0)
    size = float(of) if effective is None else min(effective, float(of))
    if count in {0, of}:
        reach = -math.expm1(math.log(1 - confidence) / size)
        return Share(count, of, 1 - reach if count else 0.0, 1.0 if count else reach)
    happened = size * count / of
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, happened, size - happened + 1))
    high = float(stats.beta.ppf(1 - tail, happened + 1, size - happened))
    return Share(count, of, low, high)


def _between_launches(counts: np.ndarray, sizes: np.ndarray, confidence: float) -> float:
    """Return the effective number of events by the spread of launches; infinite where they show none.

    The variance is the linearised one of a ratio of totals over launches; t quantiles replace those of all events.
    """
    launches, total = len(counts), sizes.sum()
    share = counts.sum() / total
    spread = float(((counts - share * sizes) ** 2).sum()) * launches / (launches - 1) / total**2
    if spread <= 0:
        return math.inf
    upper = (1 + confidence) / 2
    correction = float(stats.t.ppf(upper, total - 1) / stats.t.ppf(upper, launches - 1)) ** 2
    return float(share * (1 - share) / spread * correction)
