"""Whether the memory of a process grows with every inference: a slope, with an interval that allows for steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from harness.statistics import CONFIDENCE
from results.driven import Growth
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Record

SETTLING = 0.1
"""Share of the inferences, at the beginning, that is left out.

Buffers that are first touched after the warm-up, arenas of new threads and caches of shapes fill within the first
inferences of a state and then stay: they are a level, and no growth.
"""
LEAK_BYTES = 1 << 20
"""Over 1,000 inferences: less takes over a day at ten inferences a second to fill a gigabyte."""
_FEWEST = 20  # readings: fewer tell a step from a slope by luck alone
_STRETCHES = 9
_LAUNCHES = 3  # from which their spread is the better witness


def growth(records: Sequence[Record]) -> Growth | None:
    """Return the slope of the resident set over inferences; ``None`` where no launch watched it for long enough.

    The slope of a launch is Theil and Sen's, the median over all pairs of readings (Sen, JASA 63, 1968). Allocators
    give memory back and take it in steps; a step of any height moves a least-squares line, and leaves this slope alone
    unless it stands in the very middle.

    With three launches or more the interval is Student's over their slopes. With fewer it is Student's over the slopes
    from stretch to stretch of the series. It is not that of Sen or of least squares: both take readings for
    independent, while a resident set is where it was plus what came, and would be far too narrow. Increments of such a
    series depend on each other little, and a single step stands out among them as the spread that it is.
    """
    watched = [record.memory.growth for record in records if record.memory is not None and record.memory.growth]
    series = [settled for readings in watched if len(settled := _settled(readings)) >= _FEWEST]
    if not series:
        return None
    slopes = [float(stats.theilslopes(each[:, 1], each[:, 0]).slope) for each in series]
    estimate = float(np.mean(slopes))
    spread = slopes if len(slopes) >= _LAUNCHES else [step for each in series for step in _steps(each)]
    middle, reach = float(np.mean(spread)), _reach(spread)
    # Over stretches the middle is the mean of steps, which one great step moves and the estimate does not follow.
    slope = Interval(estimate, min(estimate, middle - reach), max(estimate, middle + reach), len(slopes))
    return Growth(
        inferences=min(int(each[-1, 0]) for each in series),
        bytes_per_inference=slope,
        leaks=min(estimate, middle - reach) > 0 and estimate * 1000 > LEAK_BYTES,
    )


def _settled(readings: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return (inferences, bytes) as an array (n, 2) of those after the settling."""
    series = np.asarray(readings, dtype=np.float64)
    settled: np.ndarray = series[series[:, 0] > SETTLING * series[-1, 0]]
    return settled


def _steps(series: np.ndarray) -> list[float]:
    """Return the slope from each stretch to the next, between their medians."""
    middles = np.array([np.median(part, axis=0) for part in np.array_split(series, _STRETCHES)])
    inferences, levels = np.diff(middles, axis=0).T
    return [float(slope) for slope in levels / inferences]


def _reach(values: Sequence[float]) -> float:
    """Return the half-width of Student's interval of the mean."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
