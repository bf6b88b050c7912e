"""Numbers for people, wherever they are shown: significant digits, thousands separated, a true minus sign."""

from __future__ import annotations

import math

MISSING = "—"


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` rounded to ``digits`` significant digits, never in scientific form; whole digits are kept."""
    return fixed(value, decimals(value, digits))


def decimals(value: float, digits: int = 3) -> int:
    """Return how many decimals give ``value`` that many significant digits."""
    if value == 0 or not math.isfinite(value):
        return 0
    exponent = int(f"{abs(value):.{digits - 1}e}".split("e")[1])
    return max(0, digits - 1 - exponent)


def fixed(value: float, places: int, *, signed: bool = False) -> str:
    """Return ``value`` with ``places`` decimals, thousands separated, with a true minus and no negative zero."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else MISSING
    text = f"{value:{'+' if signed else ''},.{places}f}"
    if not text.strip("+-0.,"):
        return text.lstrip("+-")
    return text.replace("-", "−")
