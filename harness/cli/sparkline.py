"""A series of values as one line of text, and what its terminal can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-:=+*#"
_NARROWEST = 0.05  # share of the value that the height spans at least, or a quiet series would look like a storm
_PLAIN = {"–": "-", "−": "-", "—": "-", "→": "->", "×": "x", "µ": "u", "≥": ">=", "≤": "<=", "·": "-", "\u00a0": " "}


@dataclass(frozen=True)
class Line:
    """A drawn series, and marks below it. ``low`` and ``high`` are the values at its foot and its head."""

    drawn: str
    marks: str
    low: float
    high: float


def line(values: Sequence[float], marks: Mapping[int, str], width: int, ramp: str = BLOCKS) -> Line:
    """Return finite values as a line of at most ``width`` columns; of several in a column their median is drawn.

    ``marks``: index of a value → the letter below its column; of several the one that comes last in the mapping.
    What lies outside the middle nine tenths by more than their span again is drawn at the edge: one outlier would
    flatten the rest. Raises ``ValueError`` for no values, or for less than a column.
    """
    if not values or width < 1:
        raise ValueError("a line needs values and a column")
    columns = min(width, len(values))
    column_of = [index * columns // len(values) for index in range(len(values))]
    heights: list[list[float]] = [[] for _ in range(columns)]
    for index, column in enumerate(column_of):
        heights[column].append(values[index])
    shown = [median(inside) for inside in heights]
    low, high = _limits(shown)
    below = [" "] * columns
    for index, mark in marks.items():
        below[column_of[index]] = mark
    return Line("".join(_step(value, low, high, ramp) for value in shown), "".join(below).rstrip(), low, high)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    aside = max(len(ordered) // 20, 1) if len(ordered) >= 8 else 0
    inner_low, inner_high = ordered[aside], ordered[-1 - aside]
    span = inner_high - inner_low
    low, high = max(ordered[0], inner_low - span), min(ordered[-1], inner_high + span)
    middle = (low + high) / 2
    least = _NARROWEST * abs(middle)
    return (low, high) if high - low >= least else (middle - least / 2, middle + least / 2)


def _step(value: float, low: float, high: float, ramp: str) -> str:
    if high <= low:
        return ramp[len(ramp) // 2]
    share = (value - low) / (high - low)
    return ramp[min(max(math.floor(share * len(ramp)), 0), len(ramp) - 1)]


def carries(encoding: str | None, text: Iterable[str] = BLOCKS) -> bool:
    """Return whether a stream of this encoding can print the text."""
    try:
        "".join(text).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain(text: str, encoding: str | None) -> str:
    """Return the text as a stream of this encoding can print it: typography by its nearest, the rest escaped."""
    if carries(encoding, text):
        return text
    return "".join(_PLAIN.get(letter, letter) for letter in text).encode("ascii", "backslashreplace").decode("ascii")
