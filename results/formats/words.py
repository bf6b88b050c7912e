"""Text from outside, made safe to publish: nothing invisible, no folders of whoever measured, no endless lines."""

from __future__ import annotations

import functools

from harness.places import unplaced
from results.words import counted, listed, showable

__all__ = ["counted", "line", "listed", "published", "showable"]


def published(text: str) -> str:
    """Return ``text`` showable, and without the folders of absolute paths, which name users and machines."""
    return unplaced(showable(text).replace("file://", ""))


@functools.lru_cache(maxsize=4096)  # ids and names of engines are in every row
def line(text: str, limit: int = 300) -> str:
    """Return ``text`` as it is published, on one line of at most ``limit`` characters."""
    flat = " ".join(published(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1].rstrip()}…"
