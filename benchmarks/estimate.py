"""Medians of paired readings with their 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError
from harness.statistics import effective_size, order_statistic_interval


@dataclass(frozen=True)
class Estimate:
    """A median, and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float
    samples: int


def median(readings: np.ndarray) -> Estimate:
    """Return the median of (n,) readings in order of time, with its distribution-free interval (a sign test's).

    Ranks are those of n / τ independent readings, so that readings which follow each other do not narrow it. Raises
    ``HarnessError`` where they carry no interval: at least 6 independent readings are needed.
    """
    interval = None
    if len(readings):
        interval = order_statistic_interval(np.sort(readings), 0.5, effective=effective_size(readings))
    if interval is None:
        message = f"{len(readings)} readings, which depend on each other, carry no 95 % interval of their median"
        raise HarnessError(message, "measure again when the machine does less besides")
    return Estimate(float(np.median(readings)), *interval, len(readings))


def paired_ratio(over: np.ndarray, under: np.ndarray) -> Estimate:
    """Return the median of ``over[i] / under[i]``: what drifts from pair to pair cancels. Raises as ``median``."""
    return median(np.asarray(over, dtype=np.float64) / np.asarray(under, dtype=np.float64))


def paired_difference(more: np.ndarray, less: np.ndarray) -> Estimate:
    """Return the median of ``more[i] - less[i]``. Raises as ``median``."""
    return median(np.asarray(more, dtype=np.float64) - np.asarray(less, dtype=np.float64))
