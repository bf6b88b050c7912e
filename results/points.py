"""One point of a history: what one run said of one quantity of one cell."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - one way to write annotations in what is stored
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """One run. Points of a series are of one cell, one quantity and one hardware, oldest first."""

    run_id: str
    created_at: str  # ISO 8601, UTC
    values: tuple[float, ...]  # by launch or one of all, in the quantity's unit
    noisy: int  # launches among them that a detector flagged
    env_id: str
    revision: str  # git SHA of the suite's repository, empty where there is none; ends in "+" where it was dirty
    environment: Mapping[str, Any]  # of the run, as ``harness.host.environment`` told
    by_launch: bool = True  # False: of all launches together there is one value, as of a percentile or a size
