"""Text from outside, made safe to show: no control characters, no direction tricks, no ten-kilobyte lines."""

from __future__ import annotations

import re

# C0 and C1 controls but tab and newline, direction marks and overrides, lone surrogates, non-characters: none has a
# visible form, some reorder what stands around them (CVE-2021-42574), and XML 1.0 has no place for several.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_MARKUP = re.compile(f"[<>&]|{_UNSHOWABLE.pattern}")
_SPACE = re.compile(r"\s+")


def showable(text: str) -> str:
    """Return ``text`` with every character that has no honest visible form written as its code point, ``‹U+202E›``."""
    return _UNSHOWABLE.sub(lambda match: f"‹U+{ord(match.group()):04X}›", text.replace("\r\n", "\n"))


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


def listed(items: list[str]) -> str:
    """Return items as English lists them: ``a``, ``a and b``, ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 cell`` or ``2 cells``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
