"""Amounts for people: a unit that suits, three significant digits, a true minus sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results import numbers
from results.numbers import MISSING, decimals, significant
from results.quantities import Rule, quantity

if TYPE_CHECKING:
    from results.changes import Change
    from results.quantities import Quantity
    from results.row import Interval

INTERVAL = "Intervals hold 95 %: over launches, each a fresh process, where their number is given."

_SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")),
    "bytes": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "1/s": ((1.0, "items/s"),),
    "1": ((1.0, ""),),
}


def amount(value: float | None, unit: str, like: float | None = None) -> str:
    """Return ``value`` of a quantity's unit as ``3.21 ms``, in the scale that suits ``like`` where that is given."""
    if value is None:
        return MISSING
    divisor, name = _scale(value if like is None else like, unit)
    shown = significant(value / divisor) if name != "B" else fixed(value, 0)  # there is no part of a byte
    return f"{shown} {name}".rstrip()


def bounded(interval: Interval, unit: str) -> str:
    """Return ``3.21 [3.15, 3.27] ms``, without brackets where there are no bounds."""
    if interval.low is None or interval.high is None:
        return amount(interval.estimate, unit)
    divisor, name = _scale(interval.estimate, unit)
    # Of nothing, the decimals are those of what it may be; there is no part of a byte.
    shown_by = interval.estimate or max(abs(interval.low), abs(interval.high))
    places = 0 if name == "B" else decimals(shown_by / divisor)
    shown = [fixed(value / divisor, places) for value in (interval.estimate, interval.low, interval.high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}] {name}".rstrip()


def sides(change: Change) -> tuple[str, str]:
    """Return both sides of a change in one scale; a dash where a side has none."""
    if change.before is None and change.after is None:
        return MISSING, MISSING
    known = quantity(change.quantity)
    like = change.before if change.before is not None else change.after
    return amount(change.before, known.unit, like), amount(change.after, known.unit, like)


def effect(change: Change) -> str:
    """Return ``+5.9 % [+4.1, +7.7]``, of accuracy ``−0.8 points [−1.2, −0.4]``; a dash where there is none."""
    found = change.effect
    if found is None:
        return MISSING
    points = quantity(change.quantity).rule is Rule.POINTS
    shown = [
        None if value is None else 100 * (value - (not points)) for value in (found.estimate, found.low, found.high)
    ]
    estimate, low, high = (None if value is None else fixed(value, 2 if points else 1, signed=True) for value in shown)
    bounds = f" [{low}, {high}]" if low is not None and high is not None else ""
    return f"{estimate} {'points' if points else '%'}{bounds}"


def margin(change: Change) -> str:
    """Return the margin that a change was judged by, ``3 %`` or ``0.5 points``; empty where there is none."""
    if change.margin is None:
        return ""
    return f"{100 * change.margin:g} {'points' if quantity(change.quantity).rule is Rule.POINTS else '%'}"


def unit_name(known: Quantity) -> str:
    """Return the unit of a quantity as a word that needs no context."""
    return {"1/s": "items/s", "1": "share"}.get(known.unit, known.unit)


def fixed(value: float, places: int, *, signed: bool = False) -> str:
    """Return ``value`` with so many decimals; nothing is 0, without decimals or a sign."""
    return numbers.fixed(value, places, signed=signed) if value else "0"


def _scale(value: float, unit: str) -> tuple[float, str]:
    scales = _SCALES[unit]
    return next((scale for scale in scales if abs(value) >= scale[0] * 0.9995), scales[-1])
