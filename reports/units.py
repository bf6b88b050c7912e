"""Numbers as readers want them: three significant digits, one unit in a column, a true minus sign."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.numbers import MISSING, decimals, fixed, significant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.driven import Share
    from results.row import Interval

__all__ = [
    "MISSING",
    "PLAIN",
    "Scale",
    "change_in_points",
    "decimals",
    "duration",
    "durations",
    "fixed",
    "percent",
    "ratio",
    "signed",
    "significant",
    "sizes",
]


@dataclass(frozen=True)
class Scale:
    """A unit, and how many base units make one of it."""

    unit: str
    divisor: float

    def number(self, value: float | None) -> str:
        """Return ``value`` (base units) in this unit with three significant digits, without the unit's name."""
        return MISSING if value is None else significant(value / self.divisor)

    def quantity(self, value: float | None) -> str:
        """Return ``value`` with the unit's name."""
        return MISSING if value is None else f"{self.number(value)}\u00a0{self.unit}"

    def count(self, value: float | None) -> float | None:
        """Return how many of this unit ``value`` is."""
        return None if value is None else value / self.divisor

    def ends(self, interval: Interval) -> tuple[float, float] | None:
        """Return the bounds of an interval in this unit, where it has both."""
        low, high = self.count(interval.low), self.count(interval.high)
        return None if low is None or high is None else (low, high)

    def bounds(self, interval: Interval | None) -> str:
        """Return ``[low, high]`` with the decimals of the estimate, or an empty string where there are no bounds."""
        ends = self.ends(interval) if interval else None
        if interval is None or ends is None:
            return ""
        places = decimals(interval.estimate / self.divisor)
        return f"[{fixed(ends[0], places)}, {fixed(ends[1], places)}]"


_DURATIONS = (Scale("ns", 1.0), Scale("µs", 1e3), Scale("ms", 1e6), Scale("s", 1e9))
_SIZES = (Scale("B", 1.0), Scale("KiB", 2.0**10), Scale("MiB", 2.0**20), Scale("GiB", 2.0**30))
PLAIN = Scale("", 1.0)


def durations(values_ns: Iterable[float | None]) -> Scale:
    """Return the unit for a column of durations: the largest in which their geometric mean is at least 1."""
    return _best(_DURATIONS, values_ns)


def sizes(values_bytes: Iterable[float | None]) -> Scale:
    """Return the binary unit for a column of sizes, chosen as ``durations`` does."""
    return _best(_SIZES, values_bytes)


def duration(value_ns: float | None) -> str:
    """Return one duration in the unit that suits it best."""
    return durations([value_ns]).quantity(value_ns)


def ratio(interval: Interval | None) -> str:
    """Return ``2.91× [2.80, 3.02]``, without bounds where there are none."""
    if interval is None:
        return MISSING
    bounds = PLAIN.bounds(interval)
    return f"{significant(interval.estimate)}×" + (f" {bounds}" if bounds else "")


def change_in_points(estimate: float, low: float, high: float) -> tuple[str, str]:
    """Return a change of a metric in points with its sign, and its interval: ``("−4.1", "[−6.0, −2.3]")``."""
    places = 1 if max(abs(estimate), abs(low), abs(high)) >= 0.01 else 2
    shown = [fixed(value * 100, places, signed=True) for value in (estimate, low, high)]
    return shown[0], f"[{shown[1]}, {shown[2]}]"


def percent(share: Share) -> tuple[str, str]:
    """Return a share in percent and its interval, ``("0.12", "[0.05, 0.21]")``; one-sided where it is none or all.

    Only nothing reads 0 and only all reads 100: what is left to the nearer end keeps two significant digits.
    """
    value, low, high = (100 * part for part in (share.estimate, share.low, share.high))
    if share.count == 0:
        return "0", f"≤ {significant(high)}"
    if share.count == share.of:
        return "100", f"≥ {fixed(low, decimals(100 - low, 2))}"
    places = max(decimals(value), decimals(100 - value, 2))
    return fixed(value, places), f"[{fixed(low, places)}, {fixed(high, places)}]"


def signed(interval: Interval, scale: Scale) -> tuple[str, str]:
    """Return a difference with its sign, and its bounds with theirs, all with the decimals of the widest."""
    known = [value / scale.divisor for value in (interval.estimate, interval.low, interval.high) if value is not None]
    places = decimals(max(known, key=abs))
    shown = [fixed(value, places, signed=True) for value in known]
    return shown[0], f"[{shown[1]}, {shown[2]}]" if len(shown) == 3 else ""


def _best(scales: tuple[Scale, ...], values: Iterable[float | None]) -> Scale:
    known = [value for value in values if value is not None and value > 0 and math.isfinite(value)]
    if not known:
        return scales[-2]
    typical = math.exp(sum(math.log(value) for value in known) / len(known))
    fitting = [scale for scale in scales if typical >= scale.divisor * 0.9995]
    return fitting[-1] if fitting else scales[0]
