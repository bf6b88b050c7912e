"""Where a series of values moves to another level, and stays there: found, sized and placed, with few false alarms.

The series is taken as levels with noise around them whose neighbours depend on each other. Each split must explain more
than chance explains in series of the same noise without any change, so a history that wanders by itself alarms as
rarely as one that does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import ruptures
from scipy import special

from harness.statistics import CONFIDENCE
from results.level_noise import around, dependence, like, means, misfits, variance_of_mean
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.01
"""Chance that a series without a change is said to have one, before the smallest change lowers it further."""
MINIMUM_SHARE = 0.03
"""A smaller change is none, however certain."""
SHORTEST = 4
"""Points of a level: fewer are outliers."""
FEWEST = 10
"""Points below which nothing is searched for."""

_MOST = 6  # changes that one search finds
_DRAWS = 299
_REACH = 3  # points to either side that an outlier is judged by, fewer to one side at the ends
_OUTLYING = 3.5  # standard deviations
_TO_DEVIATION = 1.4826  # of a normal distribution: its standard deviation over its median absolute deviation
_COUNTS = np.arange(1, _MOST + 1)


@dataclass(frozen=True)
class ChangePoint:
    """A move from one level to the next."""

    index: int  # of the first point of the new level
    before: float  # the levels, in the unit of the values
    after: float
    ratio: Interval  # after / before; its ``launches`` are the points of the shorter of the two levels
    delay: int  # points of the new level after which it was seen
    p: float  # chance that a series without a change shows as much; 1 / 300 at least, 1 where none was searched for
    known: int | None = None  # the index that someone told it at


@dataclass(frozen=True)
class Level:
    """A stretch of points that do not differ but for their noise."""

    start: int
    end: int  # the first that is not of it
    value: Interval  # its ``launches`` are its points


@dataclass(frozen=True)
class Segmentation:
    """A series in levels, and the changes between them."""

    levels: tuple[Level, ...]
    changes: tuple[ChangePoint, ...]


def change_points(
    values: Sequence[float] | np.ndarray,
    *,
    minimum_share: float = MINIMUM_SHARE,
    level: float = LEVEL,
    seed: int = 0,
    known: Sequence[int] = (),
) -> tuple[ChangePoint, ...]:
    """Return the changes of ``segmentation``, oldest first."""
    return segmentation(values, minimum_share=minimum_share, level=level, seed=seed, known=known).changes


def segmentation(
    values: Sequence[float] | np.ndarray,
    *,
    minimum_share: float = MINIMUM_SHARE,
    level: float = LEVEL,
    seed: int = 0,
    known: Sequence[int] = (),
) -> Segmentation:
    """Return the levels of a series in order of time, and the changes between them.

    Of the logarithms, outliers drawn in (``winsorised``). For each number of splits, those of least squares (KernelCPD
    of ruptures: Truong, Oudre, Vayatis, Signal Processing 167, 2020) are valued by the gain in likelihood of AR(1)
    noise around their levels. The penalty per split is what the largest gain per split exceeds with probability
    ``level`` in series drawn from this one's own noise, and at least that of BIC. A change that remains moves the level
    by ``minimum_share`` or more, and is worth the penalty by itself. The intervals are t intervals by the long-run
    variance of the noise, which all levels share.

    ``known``: first indices of levels that someone has told of: the levels around them are set apart and the spread is
    kept, so that the search is for further changes. Each is placed where it fits best within three points. Fewer than
    ``FEWEST`` points are searched for none. Raises ``ValueError`` for a value that is not positive and finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if np.any(~np.isfinite(given)) or np.any(given <= 0):
        raise ValueError("a series of positive, finite values has levels")
    if not len(given):
        return Segmentation((), ())
    logs = np.log(given)
    centre = float(np.median(logs))
    series = winsorised(logs - centre)
    told = _placed(series, sorted({index for index in known if 0 < index < len(given)}))
    asked = _Asked(series, told, math.log1p(minimum_share))
    found = _search(asked, level, seed) if len(given) >= FEWEST else _Found(list(told))
    return _described(asked, found, _kept(asked, found), centre)


def winsorised(series: np.ndarray) -> np.ndarray:
    """Return (n,) values with outliers drawn in to 3.5 standard deviations from the median of the seven around them.

    A step stays where four points or more are of its level: they are the most of the seven.
    Source: Hampel's rule, Davies, Gather, Journal of the American Statistical Association 88, 1993.
    """
    width = min(2 * _REACH + 1, len(series))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(series, width), axis=1)
    smooth = medians[np.clip(np.arange(len(series)) - _REACH, 0, len(medians) - 1)]
    reach = _OUTLYING * _TO_DEVIATION * float(np.median(np.abs(series - smooth)))
    return np.asarray(np.clip(series, smooth - reach, smooth + reach))


@dataclass(frozen=True)
class _Asked:
    """What to search in."""

    series: np.ndarray
    told: dict[int, int]  # starts of levels that are known → where they were told to be
    smallest: float  # difference of levels


@dataclass(frozen=True)
class _Found:
    """What was found, and what chance finds in the same noise."""

    starts: list[int]  # of levels, those told among them
    penalty: float = math.inf  # per split
    drawn: np.ndarray | None = None  # the largest gain per split of each series without a change, ascending

    def p(self, gain: float) -> float:
        """Return how often chance gains as much."""
        if self.drawn is None:
            return 1.0
        above = len(self.drawn) - int(np.searchsorted(self.drawn, gain, side="left"))
        return (1 + above) / (1 + len(self.drawn))


def _placed(series: np.ndarray, told: list[int]) -> dict[int, int]:
    """Return the starts of levels, each where it fits best near the index it was told at → that index.

    A level that was told of when it had few points is placed again as more come. None comes nearer to its neighbours,
    or to an end, than a level is long.
    """
    placed: dict[int, int] = {}
    before = 0
    for index, after in pairwise([*told, len(series)]):
        near = range(max(index - SHORTEST + 1, before + SHORTEST), min(index + SHORTEST, after - SHORTEST + 1))
        worth = {
            place: (_left_over(series[before:after], place - before), abs(place - index)) for place in (index, *near)
        }
        best = min(worth, key=worth.__getitem__)
        placed[best] = index
        before = best
    return placed


def _left_over(part: np.ndarray, place: int) -> float:
    """Return the squares around two levels, rounded so that equals are equal."""
    return round(float(np.sum(around(part, [place]) ** 2)), 9)


def _search(asked: _Asked, level: float, seed: int) -> _Found:
    """Return the splits that are worth their penalty."""
    series, told, n = asked.series, list(asked.told), len(asked.series)
    most = min(_MOST, n // SHORTEST - 1)
    counts = _COUNTS[:most]
    candidates = _candidates(series, told, most)
    gains = _gains(series, told, candidates)
    floor = 2 * math.log(n)  # of BIC: a change has a place and a level
    if not told and np.all(gains <= floor * counts):
        return _Found(told)  # the penalty is no less: nothing needs to be drawn
    worth = gains - floor * counts
    richest = candidates[int(np.argmax(worth))] if worth.max() > 0 else told
    rho = dependence(around(series, told), len(told) + 1)
    draws = like(around(series, richest), rho, _DRAWS, np.random.default_rng([seed, n]))
    # The series and its draws are alike without a change: it is among the highest level (draws + 1) of all by chance.
    higher = math.floor(level * (_DRAWS + 1))
    drawn: list[float] = []
    reached = 0
    for draw in draws:
        drawn.append(float(np.max(_gains(draw, told, _candidates(draw, told, most)) / counts)))
        reached += int(drawn[-1] >= np.max(gains / counts))
        if reached >= higher and not told:
            return _Found(told)  # whatever else is drawn, the penalty is more than any split is worth
    ordered = np.sort(drawn)
    penalty = max(floor, float(ordered[-higher])) if higher else math.inf
    worth = gains - penalty * counts
    return _Found(candidates[int(np.argmax(worth))] if worth.max() > 0 else told, penalty, ordered)


def _candidates(series: np.ndarray, told: list[int], most: int) -> list[list[int]]:
    """Return, for 1 to ``most`` further splits, the starts of levels after the first: those told and those of it."""
    detector = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(around(series, told))
    detector.predict(n_bkps=most)
    return [
        sorted({*told, *(end for end in ends[:-1] if all(abs(end - index) >= SHORTEST for index in told))})
        for ends in detector.segmentations_dict.values()
    ]


def _gains(series: np.ndarray, told: list[int], candidates: list[list[int]]) -> np.ndarray:
    without, *split = misfits(series, [told, *candidates])
    return np.asarray(without - np.array(split))


def _gain(series: np.ndarray, starts: list[int], start: int) -> float:
    """Return what one of the splits gains beside the others."""
    without, split = misfits(series, [[other for other in starts if other != start], starts])
    return float(without - split)


def _kept(asked: _Asked, found: _Found) -> list[int]:
    """Return the starts of levels without changes that are too small, or not worth the penalty by themselves."""
    starts = list(found.starts)
    while True:
        moves = np.abs(np.diff(means(asked.series, starts)))
        gains = [(_gain(asked.series, starts, start), start, move) for start, move in zip(starts, moves, strict=True)]
        failing = [
            (gain, start)
            for gain, start, move in gains
            if start not in asked.told and (move < asked.smallest or gain < found.penalty)
        ]
        if not failing:
            return starts
        starts.remove(min(failing)[1])


def _described(asked: _Asked, found: _Found, starts: list[int], centre: float) -> Segmentation:
    """Return levels and changes with their intervals."""
    n, bounds, values = len(asked.series), [0, *starts, len(asked.series)], means(asked.series, starts)
    residuals = around(asked.series, starts)
    rho = dependence(residuals, len(values))
    freedom = n - len(values)
    # n points that depend on each other tell the spread as well as fewer that do not.
    reach = float(special.stdtrit(max(1.0, freedom * (1 - rho) / (1 + rho)), (1 + CONFIDENCE) / 2))
    variance = float(residuals @ residuals) / freedom if freedom else math.inf
    variances = [variance * variance_of_mean(end - start, rho) for start, end in pairwise(bounds)]
    levels = tuple(
        Level(start, end, _interval(centre + float(value), reach * math.sqrt(variances[place]), end - start))
        for place, ((start, end), value) in enumerate(zip(pairwise(bounds), values, strict=True))
    )
    changes = tuple(
        ChangePoint(
            index=start,
            before=levels[place].value.estimate,
            after=levels[place + 1].value.estimate,
            ratio=_interval(
                float(values[place + 1] - values[place]),
                reach * math.sqrt(variances[place] + variances[place + 1]),
                min(start - bounds[place], bounds[place + 2] - start),
            ),
            delay=_delay(asked, found.penalty, starts[: place + 1], bounds[place + 2]),
            p=found.p(_gain(asked.series, starts, start)),
            known=asked.told.get(start),
        )
        for place, start in enumerate(starts)
    )
    return Segmentation(levels, changes)


def _delay(asked: _Asked, penalty: float, starts: list[int], end: int) -> int:
    """Return how many points of the last of the levels had to come before it was worth the penalty; at most all."""
    for count in range(SHORTEST, end - starts[-1]):
        seen = asked.series[: starts[-1] + count]
        before, after = means(seen, starts)[-2:]
        if abs(after - before) >= asked.smallest and _gain(seen, starts, starts[-1]) >= penalty:
            return count
    return end - starts[-1]


def _interval(log: float, half: float, points: int) -> Interval:
    if not math.isfinite(half):
        return Interval(math.exp(log), None, None, points)
    return Interval(math.exp(log), math.exp(log - half), math.exp(log + half), points)
