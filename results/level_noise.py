"""Levels of a series and the noise around them, whose neighbours depend on each other: AR(1)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_DEPENDENT = 0.95
"""The largest correlation that is taken for noise: beyond it a series has no level."""
_RUN_IN = 100  # points, so that the first one that is given depends on others as the last one does
_RESOLUTION = 1e-4  # standard deviation that any noise has at least: below it no two values differ


def means(series: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Return the mean of each level of a series, (n,); ``starts``: first indices of the levels after the first."""
    return np.asarray(np.add.reduceat(series, [0, *starts]) / _lengths(series, starts))


def around(series: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Return the residuals of a series, (n,), around the means of its levels."""
    return np.asarray(series - np.repeat(means(series, starts), _lengths(series, starts)))


def misfits(series: np.ndarray, ways: Sequence[Sequence[int]]) -> np.ndarray:
    """Return -2 log likelihood of a series for each of some ways to split it into levels, but for a constant.

    AR(1) noise, its correlation and spread at their best for each.
    """
    residuals = np.stack([around(series, starts) for starts in ways])
    rho = np.clip(_correlation(residuals), 0.0, MOST_DEPENDENT)
    innovations = residuals[:, 1:] - rho[:, np.newaxis] * residuals[:, :-1]
    squares = np.einsum("ij,ij->i", innovations, innovations) + (1 - rho**2) * residuals[:, 0] ** 2
    return np.asarray(len(series) * np.log(squares / len(series) + _RESOLUTION**2))


def dependence(residuals: np.ndarray, levels: int) -> float:
    """Return the correlation of neighbours, 0 to 0.95, without what taking off the means of ``levels`` cost it.

    The bias of one mean is -(1 + 3 rho) / n to first order; source: Kendall, Note on Bias in the Estimation of
    Autocorrelation, Biometrika 41, 1954. Each further mean is taken to cost as much.
    """
    found = float(_correlation(residuals[np.newaxis])[0])
    return min(max(found + levels * (1 + 3 * found) / len(residuals), 0.0), MOST_DEPENDENT)


def like(residuals: np.ndarray, rho: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return ``count`` series of AR(1) noise of correlation ``rho``, (count, n), of the innovations of ``residuals``.

    Source: Kreiss, Paparoditis, Bootstrap Methods for Dependent Data, Journal of the Korean Statistical Society 40,
    2011, section 3.
    """
    own = np.clip(_correlation(residuals[np.newaxis])[0], 0.0, MOST_DEPENDENT)
    innovations = residuals[1:] - own * residuals[:-1]
    chosen = generator.choice(innovations - innovations.mean(), size=(count, len(residuals) + _RUN_IN))
    return np.asarray(lfilter([1.0], [1.0, -rho], chosen, axis=-1))[:, _RUN_IN:]


def variance_of_mean(count: int, rho: float) -> float:
    """Return the variance of the mean of ``count`` points of AR(1) noise, in units of the variance of one."""
    shared = 2 * rho * (1 - rho**count) / (count * (1 - rho) ** 2)
    return ((1 + rho) / (1 - rho) - shared) / count


def _lengths(series: np.ndarray, starts: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise((0, *starts, len(series)))]


def _correlation(residuals: np.ndarray) -> np.ndarray:
    """Return the correlation of neighbours in each row; 0 where nothing varies."""
    earlier, later = residuals[:, :-1], residuals[:, 1:]
    scale = np.einsum("ij,ij->i", earlier, earlier)
    together = np.einsum("ij,ij->i", earlier, later)
    return np.asarray(np.divide(together, scale, out=np.zeros_like(scale), where=scale > 0))
