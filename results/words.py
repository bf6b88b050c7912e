"""Words that pages, formats and terminals share: honest text, lists and counts as English says them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""C0 and C1 controls but tab and newline, direction marks and overrides, lone surrogates, non-characters.

None has a visible form, some reorder what stands around them (CVE-2021-42574), and XML 1.0 (section 2.2) has no place
for several.
"""


def showable(text: str) -> str:
    """Return ``text`` with every character that has no honest visible form written as its code point, ``‹U+202E›``."""
    return UNSHOWABLE.sub(lambda match: f"‹U+{ord(match.group()):04X}›", text.replace("\r\n", "\n"))


def listed(items: Sequence[str]) -> str:
    """Return items as English lists them: ``a``, ``a and b``, ``a, b and c``."""
    return "".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 cell`` or ``2 cells``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
