"""The protocols through which the runner speaks to what it must not know: where records go, and what to run next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.vocabulary import Cell, Failed, Launch, Record, Skipped


INTERRUPTED = "interrupted"
"""Kind of failure of a launch that the user ended, not the engine: a resume makes it again."""


class RecordSink(Protocol):
    """Where a run is written; what ``finished`` has returned from is never lost."""

    @property
    def run_id(self) -> str:
        """The ULID of the run."""

    @property
    def folder(self) -> Path:
        """The run folder; paths in records are relative to it."""

    def started(self, cell: Cell, launch: Launch) -> None:
        """Note durably that this launch attempt begins."""

    def finished(self, record: Record) -> None:
        """Store the terminal record of a launch attempt durably."""

    def records(self) -> Sequence[Record]:
        """Return every terminal record so far, oldest first, corrections applied."""


@dataclass(frozen=True)
class Step:
    """A launch to make, or, with ``settled``, one whose outcome is known without making it."""

    cell: Cell
    launch: Launch
    settled: Failed | Skipped | None = None


class LaunchPolicy(Protocol):
    """What to run next; asked before each launch, told nothing but the records."""

    def next(self, records: Sequence[Record]) -> Step | None:
        """Return what comes next, or ``None`` when the plan is done."""
