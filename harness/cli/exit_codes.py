"""What the exit codes mean, and which one wins where several hold."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    GATE = 1
    """A gate failed."""
    INTERRUPTED = 2
    """Interrupted; ``harness run --resume`` continues."""
    CELL_FAILED = 3
    """A cell failed, or an internal error."""
    USAGE = 4
    """The command line, the suite or the data is wrong."""
    NOTHING = 5
    """Nothing ran, or there is nothing to compare with."""
    INCONCLUSIVE = 6
    """Inconclusive, with ``--strict``."""


_ORDER = (
    ExitCode.USAGE,
    ExitCode.INTERRUPTED,
    ExitCode.GATE,
    ExitCode.CELL_FAILED,
    ExitCode.INCONCLUSIVE,
    ExitCode.NOTHING,
    ExitCode.OK,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the code that wins: 4 > 2 > 1 > 3 > 6 > 5 > 0."""
    return min(codes, key=_ORDER.index, default=ExitCode.OK)
