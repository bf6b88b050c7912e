"""Text from outside, made safe to show: no control characters, no direction tricks, no ten-kilobyte lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from results.words import UNSHOWABLE, counted, listed, showable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NAMED", "clamp", "counted", "inert_json", "listed", "showable", "who"]

NAMED = 4
"""Rows of a tie that a sentence names one by one; many equals are a table's business."""

_MARKUP = re.compile(f"[<>&]|{UNSHOWABLE.pattern}")
_SPACE = re.compile(r"\s+")


def clamp(text: str, limit: int) -> str:
    """Return ``text`` on one line of at most ``limit`` characters, cut in its middle where it is longer."""
    line = _SPACE.sub(" ", showable(text)).strip()
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    tail = limit - 1 - head
    return f"{line[:head].rstrip()}…{line[-tail:].lstrip()}"


def who(labels: Sequence[str]) -> str:
    """Return the rows that a sentence is about: their names, or of more than ``NAMED`` how many they are."""
    return listed(labels) if len(labels) <= NAMED else f"{len(labels)} rows"


def inert_json(text: str) -> str:
    """Return the JSON ``text`` with every character that could end or disguise its surroundings as an escape.

    Such characters only ever stand inside strings, so the value stays the same.
    """
    return _MARKUP.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
