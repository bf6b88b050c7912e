"""How surely n launches a side answer a comparison, and how many it would take; from the spread of launches alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Callable

POWER = 0.90
"""What counts as being able to answer."""
MOST = 1000
"""Launches a side beyond which no number is named."""

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_SHARES, _WEIGHTS = (_POINTS + 1) / 2, _WEIGHTS / 2  # of (0, 1)


@dataclass(frozen=True)
class Spread:
    """Variances of the logarithms of launches: one of each side, or that of the differences where rounds are paired."""

    variances: tuple[float, ...]

    def error(self, launches: int) -> float:
        """Return the standard error of the mean difference with so many launches a side."""
        return math.sqrt(math.fsum(self.variances) / launches)

    def degrees(self, launches: int) -> float:
        """Return the degrees of freedom of that error: Welch, Biometrika 34, 1947, with sides of equal size."""
        squares = math.fsum(variance**2 for variance in self.variances)
        if squares == 0:
            return float(len(self.variances) * (launches - 1))
        return (launches - 1) * math.fsum(self.variances) ** 2 / squares


def detection(effect: float, error: float, degrees: float, level: float) -> float:
    """Return the chance that a one-sided t test of "no change" at ``level`` finds the true log ratio ``effect``.

    P(T > t) of the noncentral t distribution (Johnson and Welch, Biometrika 31, 1940). Exact for pairs and for sides of
    equal spread.
    """
    if error == 0:
        return float(effect > 0)
    missed = float(special.nctdtr(degrees, effect / error, _critical(level, degrees)))
    return 1.0 if math.isnan(missed) else 1.0 - missed  # SciPy gives NaN for some of what is 0 to a double's precision


def equivalence(margin: float, error: float, degrees: float, level: float) -> float:
    """Return the chance that two one-sided tests at ``level`` put "no change at all" inside ±``margin``, log ratios.

    The normal probability given the estimated spread, over the distribution of that: chi over root degrees. Sources:
    Owen, Biometrika 52, 1965; Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    if error == 0:
        return float(margin > 0)
    relative_spreads = np.sqrt(2 * special.gammaincinv(degrees / 2, _SHARES) / degrees)
    reach = margin / error - _critical(level, degrees) * relative_spreads
    return float(_WEIGHTS @ np.maximum(2 * special.ndtr(reach) - 1, 0))


def launches_needed(spread: Spread, margin: float, detecting: float, equating: float) -> int | None:
    """Return the launches a side with which both answers come with ``POWER``, or ``None`` where ``MOST`` would not do.

    The answers: a true change of ``margin``, a log ratio, is found at the level ``detecting``; no change at all is
    shown to be inside the margin at the level ``equating``.
    """
    found = _fewest(lambda n: detection(margin, spread.error(n), spread.degrees(n), detecting), 2)
    if found is None:
        return None
    return _fewest(lambda n: equivalence(margin, spread.error(n), spread.degrees(n), equating), found)


def _fewest(power: Callable[[int], float], least: int) -> int | None:
    """Return the fewest launches, from ``least`` to ``MOST``, whose power suffices; it grows with them."""
    too_few, enough = least - 1, least
    while power(enough) < POWER:
        if enough == MOST:
            return None
        too_few, enough = enough, min(2 * enough, MOST)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if power(middle) >= POWER else (middle, enough)
    return enough


def _critical(level: float, degrees: float) -> float:
    return float(-special.stdtrit(degrees, level))
