"""The statistics that pytest-benchmark stores with each benchmark, as its ``Stats`` class defines them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def stored(data: Sequence[float]) -> dict[str, Any]:
    """Return the fields of ``pytest_benchmark.stats.Stats`` for rounds of ``data``, seconds, at least one.

    Quartiles are medians of the halves where the number of rounds is even, and the mean of Tukey's and Moore and
    McCabe's where it is odd (methods 2 and 3 of Wikipedia's "Quartile", which that class names).
    """
    ordered = sorted(data)
    mean, deviation = statistics.mean(data), statistics.stdev(data) if len(data) > 1 else 0
    q1, q3 = _quartiles(ordered)
    iqr, total = q3 - q1, sum(data)
    low, high = q1 - 1.5 * iqr, q3 + 1.5 * iqr
    far = sum(not mean - deviation <= value <= mean + deviation for value in data)
    outside = sum(not low <= value <= high for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": next(value for value in ordered if value >= low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= high),
        "ops": len(data) / total if total else 0,
        "total": total,
        "data": list(data),
        "iterations": 1,
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    half, quarter = count // 2, count // 4
    if count % 2 == 0:
        return statistics.median(ordered[:half]), statistics.median(ordered[half:])
    if count % 4 == 1:
        low, high = (quarter - 1, quarter), (3 * quarter, 3 * quarter + 1)
        return _between(ordered, low, 0.25), _between(ordered, high, 0.75)
    low, high = (quarter, quarter + 1), (3 * quarter + 1, 3 * quarter + 2)
    return _between(ordered, low, 0.75), _between(ordered, high, 0.25)


def _between(ordered: Sequence[float], places: tuple[int, int], share: float) -> float:
    return share * ordered[places[0]] + (1 - share) * ordered[places[1]]
