"""What a format is: a run, or a comparison of two, as the text that some tool reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from results.changes import Comparison
    from results.snapshot import Snapshot


@runtime_checkable
class Format(Protocol):
    """One format. The same input gives the same text, to the byte; no text holds a host name or a folder."""

    name: str
    """What ``--export`` and ``--format`` call it."""
    suffix: str
    """Of its files, such as ``.xml``."""
    description: str
    """One line: who reads it."""
    step_file: str
    """An environment variable that names a file to append to, as a CI sets it for a step; empty where none does."""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return a run without a comparison."""

    def of_comparison(self, comparison: Comparison) -> str:
        """Return a comparison. Formats of plain figures hold those of the side after the change."""
