"""Words without the folders of this machine: what is published names files, not places."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeVar

from harness.vocabulary import Failed, Skipped

T = TypeVar("T")

# A path ends at the quote that it begins after, else at a space or at the punctuation of the sentence around it.
_QUOTED = re.compile(r"""(["'])(?:~?/|[A-Za-z]:[\\/])(?:[^"'\n]*[\\/])?([^"'\\/\n]*)\1""")
_PLAIN = re.compile(
    r"""(?<![\w./\\~:-])(?:~?/|[A-Za-z]:[\\/])[^\s"'`<>|:;,(){}\[\]]*[\\/]([^\s"'`<>|:;,(){}\[\]\\/]+)"""
)


def unplaced(text: str) -> str:
    """Return a text with each absolute path in it cut to its last part.

    Of a path with spaces and without quotes only what stands before the first space is known to be a path.
    """
    return _PLAIN.sub(r"\1", _QUOTED.sub(r"\1\2\1", text))


def published(outcome: T) -> T:
    """Return what became of something, its words without places; anything but a failure or a skip as it is."""
    if isinstance(outcome, Failed):
        return replace(outcome, message=unplaced(outcome.message), hint=unplaced(outcome.hint))
    if isinstance(outcome, Skipped):
        return replace(outcome, reason=unplaced(outcome.reason), hint=unplaced(outcome.hint))
    return outcome
