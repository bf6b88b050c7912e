"""Remarks on a whole run: whether the machine drifted, and where the spread of a latency comes from."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import units
from reports.model import Tag
from reports.text import clamp, counted, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.drift import Drift
    from results.variance import Split

_PARTS = (("build", "build to build"), ("launch", "launch to launch"), ("iteration", "iteration to iteration"))


@dataclass(frozen=True)
class Steadiness:
    """What is known of it: by the sentinel of the run, and by the timed cells."""

    drift: Drift | None = None
    splits: Sequence[Split] = ()


def notes(steadiness: Steadiness) -> tuple[Tag, ...]:
    """Return the remarks, each a word with its sentence; none where nothing is known."""
    found = []
    if steadiness.drift is not None:
        tone = "warn" if steadiness.drift.found else "plain"
        found.append(Tag("drift" if steadiness.drift.found else "sentinel", tone, _sentence(steadiness.drift.message)))
    spread = _spread(steadiness.splits)
    if spread:
        found.append(Tag("spread", "plain", spread))
    return tuple(found)


def _spread(splits: Sequence[Split]) -> str:
    parts = []
    for name, words in _PARTS:
        known = [deviation for split in splits if (deviation := getattr(split, name)) is not None]
        if known:
            parts.append(f"{units.significant(100 * statistics.median(known), 2)}\u00a0% from {words}")
    if not parts:
        return ""
    cells = counted(len(splits), "latency cell")
    middle = ", the middle one of each" if len(splits) > 1 else ""
    return f"Latency varies by {listed(parts)}: standard deviations over {cells}{middle}."


def _sentence(message: str) -> str:
    words = clamp(message, 300)
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith(".") else ".")
