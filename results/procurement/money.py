"""Money for people: as many digits as a price has, with its currency."""

from __future__ import annotations

from results.formats.amounts import fixed
from results.numbers import significant


def money(value: float, currency: str) -> str:
    """Return ``1,480 EUR``, ``12.50 EUR``, ``0.0123 EUR``."""
    shown = significant(value) if 0 < abs(value) < 1 else fixed(value, 2 if abs(value) < 100 else 0)
    return f"{shown} {currency}"
