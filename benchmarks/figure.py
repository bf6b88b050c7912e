"""A measured figure: its value, its interval, the limit that it must keep, and whether it does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Whether a figure keeps its limit."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    """The interval reaches over the limit: a longer measurement, or a quieter machine, may tell."""
    NONE = "–"
    """It has no limit: it describes a machine."""


@dataclass(frozen=True)
class Limit:
    """The range that a figure must lie in, ends included; ``None`` leaves that end open."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return "–"
        if self.low is None:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high is None else f"{self.low:g} – {self.high:g}"

    def holds(self, value: float) -> bool:
        """Return whether ``value`` lies in the range."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Figure:
    """One row of a benchmark's table. ``low`` and ``high`` bound the 95 % interval; ``None``: nothing random in it."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    limit: Limit
    samples: int
    """Independent readings that the value comes from: pairs, blocks or images."""

    @property
    def verdict(self) -> Verdict:
        """``pass`` where the whole interval keeps the limit, ``fail`` where none of it does, ``–`` without a limit."""
        if self.limit == Limit():
            return Verdict.NONE
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if self.limit.holds(low) and self.limit.holds(high):
            return Verdict.PASS
        above = self.limit.high is not None and low > self.limit.high
        below = self.limit.low is not None and high < self.limit.low
        return Verdict.FAIL if above or below else Verdict.UNDECIDED

    def as_data(self) -> dict[str, Any]:
        """Return the figure as JSON-able data, its verdict included."""
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True)
class Measured:
    """What a benchmark gives: its figures, and what a reader of them must know."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def table(figures: tuple[Figure, ...]) -> str:
    """Return the figures as aligned plain text: figure, value, low, high, limit, verdict."""
    head = ("figure", "value", "low", "high", "limit", "verdict")
    rows: list[tuple[str, ...]] = [head]
    for figure in figures:
        unit = f" {figure.unit}" if figure.unit else ""
        bounds = ("–" if bound is None else _shown(bound) for bound in (figure.low, figure.high))
        limit = f"{figure.limit}{unit}" if figure.limit != Limit() else str(figure.limit)
        rows.append((figure.name, _shown(figure.value) + unit, *bounds, limit, figure.verdict.value))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _shown(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
