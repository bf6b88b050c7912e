"""How often a change of +5 % is found in a history of 60 runs, and how often one is said where none is (simulated).

1,000 series of 60 points each, given to ``results.change_points``. The logarithms of the points have a standard
deviation of 2 %; three in a hundred are outliers, slower by an exponential of mean 50 %. With the change, points from
the fiftieth on are slower by 5 %: it counts as found where a change to the worse is placed within three points of it.
Without, any change at all is a false alarm: of independent points, and of points that depend on the ones before as an
AR(1) process of correlation 0.6 does. The same is asked of histories of 200 points, as long as are looked at.

``LEVEL`` and the penalty's bootstrap were chosen on series of other seeds than these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Limit, Measured
from benchmarks.simulated import dependent, share
from results.change_points import change_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from results.change_points import ChangePoint

FOUND, FALSE = Limit(low=0.65), Limit(high=0.05)
SERIES = 1000
POINTS, LONG = 60, 200
CHANGED_AT = 50
DEPENDENCE = 0.6
_STEP = 1.05
_NEAR = 3
_SPREAD = 0.02
_OUTLIERS, _OUTLIER_MEAN = 0.03, 0.5
_LEVEL_NS = 10e6
_SEED = 20_261_207


def measure(told: Callable[[str], None], series: int = SERIES) -> Measured:
    """Return the shares of series with the change that it is found in, and of those without that one is said of."""
    told(f"{series} series of {POINTS} points with +5 % at point {CHANGED_AT}")
    generator = np.random.default_rng([_SEED, 0])
    found = [_nearest(change_points(stepped(generator))) for _ in range(series)]
    near = [change for change in found if change is not None]
    figures = [share(f"+5 % at point {CHANGED_AT} of {POINTS} found", len(near), series, FOUND)]
    flat = ((POINTS, 0.0), (POINTS, DEPENDENCE), (LONG, 0.0), (LONG, DEPENDENCE))
    for index, (points, rho) in enumerate(flat, start=1):
        told(f"{series} series of {points} points without a change, rho = {rho:g}")
        generator = np.random.default_rng([_SEED, index])
        alarms = sum(bool(change_points(history(generator, points, rho))) for _ in range(series))
        figures.append(share(f"a change said of {points} points without one, rho = {rho:g}", alarms, series, FALSE))
    return Measured(tuple(figures), _notes(near))


def history(generator: np.random.Generator, points: int, rho: float) -> np.ndarray:
    """Return (points,) latencies in ns of a cell that does not change."""
    latencies_ns: np.ndarray = _LEVEL_NS * np.exp(_SPREAD * dependent(generator, (points,), rho))
    outliers = np.flatnonzero(generator.random(points) < _OUTLIERS)
    latencies_ns[outliers] *= 1 + generator.exponential(_OUTLIER_MEAN, len(outliers))
    return latencies_ns


def stepped(generator: np.random.Generator) -> np.ndarray:
    """Return (60,) latencies in ns of a cell that becomes 5 % slower."""
    latencies_ns = history(generator, POINTS, 0.0)
    latencies_ns[CHANGED_AT:] *= _STEP
    return latencies_ns


def _nearest(changes: tuple[ChangePoint, ...]) -> ChangePoint | None:
    near = [one for one in changes if one.after > one.before and abs(one.index - CHANGED_AT) <= _NEAR]
    return min(near, key=lambda one: abs(one.index - CHANGED_AT), default=None)


def _notes(near: list[ChangePoint]) -> tuple[str, ...]:
    if not near:
        return ()
    delays = sorted(one.delay for one in near)
    exact = sum(one.index == CHANGED_AT for one in near)
    return (
        f"where it is found, half are seen after {delays[len(delays) // 2]} points of the new level or fewer",
        f"{exact} of {len(near)} are placed at the very point, all within {_NEAR}",
    )
