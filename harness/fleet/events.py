"""What happens while a fleet measures, as its client tells and keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.vocabulary import Cell, Launch, Record


@dataclass(frozen=True)
class Told:
    """A host is brought something, or builds something."""

    host: str
    word: str


@dataclass(frozen=True)
class Noted:
    """Something that a reader of the results should know: a host was silent, a host is back."""

    text: str


@dataclass(frozen=True)
class Started:
    """A launch begins on a host."""

    host: str
    run_id: str
    cell: Cell
    launch: Launch


@dataclass(frozen=True)
class Finished:
    """A launch ended, and its record is stored here."""

    host: str
    run_id: str
    record: Record


@dataclass(frozen=True)
class Recovered:
    """A record that a host held and that was not here is stored now."""

    host: str
    run_id: str
    record: Record


@dataclass(frozen=True)
class Ended:
    """A host has nothing left to do of a run."""

    host: str
    run_id: str


@dataclass(frozen=True)
class Lost:
    """A host does not answer any more, or refuses to go on: nothing more is asked of it."""

    host: str
    reason: str
    cell: Cell | None  # that it was measuring then


@dataclass(frozen=True)
class Moved:
    """Another host measures what a lost one left."""

    lost: str
    host: str
    run_id: str  # of the new run
    rows: int


@dataclass(frozen=True)
class Unmeasured:
    """Nobody is left who could measure what a lost host left."""

    host: str
    run_id: str
    rows: int


Event = Told | Noted | Started | Finished | Recovered | Ended | Lost | Moved | Unmeasured
