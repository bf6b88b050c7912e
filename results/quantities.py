"""What a launch or a cell can be compared by: unit, direction, and which rule judges a change of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ALIKE = 0.01
"""Shares closer than this are alike where one of them may be 0, and no ratio exists: one frame in a hundred."""


class Better(StrEnum):
    """Which way is better."""

    SMALLER = "smaller"
    LARGER = "larger"


class Rule(StrEnum):
    """How a change of a quantity is judged."""

    FAMILY = "family"  # by launches, tested together with every other of the family (Holm)
    ALONE = "alone"  # by launches, each by itself
    BOUNDS = "bounds"  # by the interval of each side: only what lies apart by the margin counts
    EXTENT = "extent"  # nearly the same in every launch: by the margin, beyond what one side's launches differ by
    POINTS = "points"  # on the same images: the difference itself, in points


@dataclass(frozen=True)
class Quantity:
    """One quantity. ``margin``: the change that counts where a suite says nothing, a share; of ``POINTS`` a difference.

    Several quantities share the ``rule_name`` that a suite's ``gate`` knows them by.
    """

    name: str
    unit: str  # ns, 1/s, bytes or 1
    better: Better
    rule: Rule
    margin: float
    title: str
    rule_name: str

    @property
    def is_share(self) -> bool:
        """Whether it is a share, which may be nothing: of that there is no ratio, so its levels differ by points."""
        return self.unit == "1"

    @property
    def step(self) -> float:
        """The smallest change of level: the margin, of shares that are judged by ratios ``ALIKE``."""
        return ALIKE if self.is_share and self.rule is not Rule.POINTS else self.margin


_TAIL = re.compile(r"p(\d{1,2}(?:\.\d+)?)")

_QUANTITIES = (
    Quantity("latency", "ns", Better.SMALLER, Rule.FAMILY, 0.03, "median latency", "latency"),
    Quantity("throughput", "1/s", Better.LARGER, Rule.FAMILY, 0.03, "throughput", "throughput"),
    Quantity("load", "ns", Better.SMALLER, Rule.ALONE, 0.10, "load time", "cold_start"),
    Quantity("first", "ns", Better.SMALLER, Rule.ALONE, 0.10, "first inference", "cold_start"),
    Quantity("rate", "1/s", Better.LARGER, Rule.ALONE, 0.05, "rate within the SLO", "rate"),
    Quantity("sustained", "1/s", Better.LARGER, Rule.ALONE, 0.05, "sustained throughput", "sustained"),
    Quantity("misses", "1", Better.SMALLER, Rule.BOUNDS, 0.10, "deadline misses", "misses"),
    Quantity("memory", "bytes", Better.SMALLER, Rule.EXTENT, 0.05, "peak memory", "memory"),
    Quantity("size", "bytes", Better.SMALLER, Rule.EXTENT, 0.05, "size of the artifact", "size"),
    Quantity("accuracy", "1", Better.LARGER, Rule.POINTS, 0.005, "accuracy", "accuracy"),
)
QUANTITIES = {quantity.name: quantity for quantity in _QUANTITIES}
"""Every quantity with a name of its own; a percentile of latency is another, named ``p99`` or ``p99.9``."""

RULE_NAMES = tuple(dict.fromkeys((*(quantity.rule_name for quantity in _QUANTITIES), "tail")))
"""What a suite's ``gate`` may set a margin of."""


def quantity(name: str) -> Quantity:
    """Return the quantity of a name. Raises ``KeyError`` for one that is none."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    tail = _TAIL.fullmatch(name)
    if tail is None:
        raise KeyError(name)
    return Quantity(name, "ns", Better.SMALLER, Rule.BOUNDS, 0.10, f"{tail[1]}th percentile of latency", "tail")
