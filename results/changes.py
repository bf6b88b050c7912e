"""What a comparison of two snapshots comes to: one ``Change`` per cell and quantity, and what differs around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from results.comparison import LEVEL, Design

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.comparison import Verdict
    from results.row import Interval
    from results.snapshot import CellState, Snapshot

STATUS = "status"
"""The quantity of a change of what became of a cell: it passed and now fails, or the other way about."""


def today() -> date:
    """Return the day that allowances are held against: that of the place where the command is given."""
    return datetime.now().astimezone().date()


@dataclass(frozen=True)
class Allowance:
    """A change that is known and suffered until a day, that day included."""

    cells: str  # a pattern of labels, as ``--only`` takes it
    until: date
    rule: str = ""  # a name of ``RULE_NAMES`` or ``status``; every rule where empty
    reason: str = ""


@dataclass(frozen=True)
class Rules:
    """What counts, and how much of it: the ``gate`` of a suite."""

    margins: Mapping[str, float] = field(
        default_factory=dict
    )  # by name of ``RULE_NAMES``; the quantity's own if absent
    gated: frozenset[str] = frozenset({"latency", "throughput", "memory", "accuracy", STATUS})
    """Names of ``RULE_NAMES``, and ``status``: what can fail a gate. The rest is compared and shown."""
    only: tuple[str, ...] = ()  # patterns of labels; every cell where empty
    allowances: tuple[Allowance, ...] = ()
    level: float = LEVEL
    design: Design = Design.APART

    def identity(self, cell: CellState) -> str:
        """Return what answers a cell on the other side, and what ``Change.key`` holds."""
        return cell.key if self.design is Design.INTERLEAVED else cell.cell_id


@dataclass(frozen=True)
class Change:
    """One quantity of one cell, before and after."""

    key: str
    label: str
    quantity: str  # of ``results.quantities``, or ``STATUS``
    verdict: Verdict
    message: str
    gated: bool = False
    before: float | None = None  # in the quantity's unit
    after: float | None = None
    effect: Interval | None = None  # after / before; of POINTS after - before
    adjusted_p: float | None = None  # over the family
    power: float | None = None  # to find a change of the margin
    launches_needed: int | None = None  # a side, for an answer
    margin: float | None = None
    allowance: Allowance | None = None  # set: this change fails no gate today
    notes: tuple[str, ...] = ()  # such as "3 of 10 launches were noisy and left out"

    @property
    def fails(self) -> bool:
        """Whether it fails a gate: gated, regressed and not allowed."""
        return self.gated and self.verdict == "regressed" and self.allowance is None

    @property
    def allowed(self) -> bool:
        """Whether it is for the worse, and suffered until a day."""
        return self.verdict == "regressed" and self.allowance is not None

    @property
    def open(self) -> bool:
        """Whether it is gated and nothing can be said of it."""
        return self.gated and self.verdict == "inconclusive" and self.allowance is None


@dataclass(frozen=True)
class Difference:
    """One fact that differs between the two sides; of ``hardware``, it forbids comparing."""

    place: str  # versions.onnxruntime, governor, caches.L2
    before: Any
    after: Any


@dataclass(frozen=True)
class Comparison:
    """Two snapshots compared."""

    before: Snapshot
    after: Snapshot
    rules: Rules
    changes: tuple[Change, ...]
    added: tuple[str, ...] = ()  # labels that only ``after`` has
    removed: tuple[str, ...] = ()  # labels that only ``before`` has
    hardware: tuple[Difference, ...] = ()  # empty unless comparing across hardware was asked for
    causes: tuple[Difference, ...] = ()  # differences of environment, the likeliest causes first
    family: int = 0  # how many were tested together
    notes: tuple[str, ...] = ()  # what a reader must know of either side, such as a drift of its machine

    @property
    def failing(self) -> tuple[Change, ...]:
        """What fails a gate."""
        return tuple(change for change in self.changes if change.fails)

    @property
    def open(self) -> tuple[Change, ...]:
        """Gated changes of which nothing can be said."""
        return tuple(change for change in self.changes if change.open)
