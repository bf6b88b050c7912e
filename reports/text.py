"""Text from outside, made safe to show: no control characters, no direction tricks, no ten-kilobyte lines."""

from __future__ import annotations

import re

from results.words import UNSHOWABLE, counted, listed, showable

__all__ = ["clamp", "counted", "inert_json", "listed", "showable"]

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


def inert_json(text: str) -> str:
    """Return the JSON ``text`` with every character that could end or disguise its surroundings as an escape.

    Such characters only ever stand inside strings, so the value stays the same.
    """
    return _MARKUP.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
