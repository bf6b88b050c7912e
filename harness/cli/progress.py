"""How far a run is: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from harness.cli.console import errors, explain
from harness.vocabulary import Completed, Failed, Skipped, State

if TYPE_CHECKING:
    from typing import Self

    from harness.vocabulary import Cell, Launch, Record


class Reporter(Protocol):
    """What the run command tells as it goes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def told(self, word: str) -> None:
        """Say what is being prepared."""

    def noted(self, word: str) -> None:
        """Say what the user is to know however quiet the command is: that it waits, and for whom."""

    def began(self, launches: int) -> None:
        """Say how many launches there will be."""

    def started(self, cell: Cell, launch: Launch, expected_s: float, left_s: float) -> None:
        """Say that a launch begins, how long it should take, and how long the whole run still takes."""

    def finished(self, record: Record) -> None:
        """Say how it ended."""


def reporter(*, quiet: bool) -> Reporter:
    """Return bars for a terminal, plain lines for a log, nothing where ``quiet``."""
    if quiet:
        return Silent()
    return Bars() if errors.is_terminal else Lines()


class Silent:
    """Says nothing of how far the run is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def told(self, word: str) -> None: ...

    def noted(self, word: str) -> None:
        explain(word)

    def began(self, launches: int) -> None: ...
    def started(self, cell: Cell, launch: Launch, expected_s: float, left_s: float) -> None: ...
    def finished(self, record: Record) -> None: ...


class Lines(Silent):
    """One line per event, for logs."""

    def __init__(self) -> None:
        self._launches = 0
        self._done = 0

    def told(self, word: str) -> None:
        errors.print(f"prepare  {word}", markup=False, highlight=False)

    def began(self, launches: int) -> None:
        self._launches = launches

    def started(self, cell: Cell, launch: Launch, expected_s: float, left_s: float) -> None:
        self._done += 1
        place = f"[{min(self._done, self._launches)}/{self._launches}]"
        again = f" attempt {launch.attempt + 1}" if launch.attempt else ""
        times = f"about {duration(expected_s)}, whole run {duration(left_s)} left"
        errors.print(f"{place} {cell.label} #{launch.index}{again} ({times})", markup=False, highlight=False)

    def finished(self, record: Record) -> None:
        errors.print(f"         {ending(record)}", markup=False, highlight=False)


class Bars(Silent):
    """Two bars: the launch at hand and the whole run.

    Redrawn once a second at the most: the parent must leave the processor to what is measured.
    """

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=errors, refresh_per_second=1, transient=True)
        self._whole: TaskID = self._progress.add_task("preparing", total=None, left="")
        self._one: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def told(self, word: str) -> None:
        self._progress.update(self._whole, description=f"preparing: {_plain(word)}")

    def began(self, launches: int) -> None:
        self._progress.update(self._whole, description="whole run", total=launches)
        if self._one is None:
            self._one = self._progress.add_task("", total=None, left="")

    def started(self, cell: Cell, launch: Launch, expected_s: float, left_s: float) -> None:
        self._progress.update(self._whole, left=f"{duration(left_s)} left")
        if self._one is not None:
            self._progress.reset(
                self._one, description=f"{_plain(cell.label)} #{launch.index}", left=f"about {duration(expected_s)}"
            )

    def finished(self, record: Record) -> None:
        self._progress.advance(self._whole)
        if not isinstance(record.outcome, Completed):
            self._progress.console.print(f"{record.cell.label}: {ending(record)}", markup=False, highlight=False)


def ending(record: Record) -> str:
    """Return how a launch ended, in a few words."""
    outcome = record.outcome
    seconds = record.duration_ns / 1e9
    if isinstance(outcome, Failed):
        return f"FAILED in {outcome.stage.value} ({outcome.kind}): {outcome.message.splitlines()[0]}"
    if isinstance(outcome, Skipped):
        return f"skipped: {outcome.reason.splitlines()[0]}"
    noisy = [name for name, reading in record.noise.items() if reading.state is State.BAD]
    noise = f", noisy: {', '.join(noisy)}" if noisy else ""
    return f"ok in {seconds:.1f} s{noise}"


def duration(seconds: float) -> str:
    """Return ``45 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Pace:
    """How much longer a run takes than was estimated, learnt from the launches so far."""

    def __init__(self) -> None:
        self._expected_s = 0.0
        self._actual_s = 0.0
        self._started_ns = 0
        self._expecting_s = 0.0

    def started(self, expected_s: float) -> None:
        """Note that a launch begins that was estimated at ``expected_s``."""
        self._started_ns, self._expecting_s = time.monotonic_ns(), expected_s

    def finished(self) -> None:
        """Note that it ended."""
        self._expected_s += self._expecting_s
        self._actual_s += (time.monotonic_ns() - self._started_ns) / 1e9

    def corrected(self, seconds: float) -> float:
        """Return an estimate scaled by what the launches so far took against theirs."""
        # Two launches' worth of trust in the estimate, so that the first one does not swing the figure.
        trust_s = 10.0
        return seconds * (self._actual_s + trust_s) / (self._expected_s + trust_s)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
