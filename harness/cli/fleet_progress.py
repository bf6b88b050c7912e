"""How far a run on a fleet is: a bar for each host on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from harness.cli.console import errors
from harness.cli.progress import duration, ending
from harness.fleet.events import Finished, Lost, Moved, Noted, Recovered, Started, Unmeasured
from harness.vocabulary import Completed
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from harness.fleet.events import Event

_LOOK_S = 2.0  # between two sums of what is left: they take longer the longer the plan is


def sentence(event: Event) -> str:
    """Return what befell a host in a sentence; empty for what is told of every launch."""
    if isinstance(event, Lost):
        doing = f" while it measured {event.cell.label}" if event.cell is not None else ""
        return f"{event.host} was lost{doing}: {event.reason}"
    if isinstance(event, Moved):
        rows = counted(event.rows, "row")
        return f"{rows} that {event.lost} did not finish: measured by {event.host} from the start, run {event.run_id}"
    if isinstance(event, Unmeasured):
        return f"{counted(event.rows, 'row')} of {event.host}: not finished, and no other host of its kind is there"
    return event.text if isinstance(event, Noted) else ""


class Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def told(self, word: str) -> None:
        """Say what is being prepared; any thread may call it."""

    def began(self, launches: int, left_s: Callable[[], float]) -> None:
        """Say how many launches there are to be made, and what returns how long they take."""

    def heard(self, event: Event) -> None:
        """Say what happened."""


class _Left:
    """How long a run still takes, asked for now and then."""

    def __init__(self, left_s: Callable[[], float]) -> None:
        self._ask = left_s
        self._at_s = 0.0
        self._told_s = 0.0

    def __str__(self) -> str:
        now_s = time.monotonic()
        if not self._at_s or now_s - self._at_s > _LOOK_S:
            self._at_s, self._told_s = now_s, self._ask()
        return f"{duration(self._told_s)} left"


class Lines(Silent):
    """One line per event, for logs."""

    def __init__(self) -> None:
        self._launches = self._done = 0
        self._left = _Left(lambda: 0.0)

    def told(self, word: str) -> None:
        """Say what is being prepared."""
        _line(f"prepare  {word}")

    def began(self, launches: int, left_s: Callable[[], float]) -> None:
        """Say how many launches there will be."""
        self._launches, self._left = launches, _Left(left_s)

    def heard(self, event: Event) -> None:
        """Say what happened."""
        if isinstance(event, Started):
            self._done += 1
            place = f"[{min(self._done, self._launches)}/{self._launches}]"
            again = f" attempt {event.launch.attempt + 1}" if event.launch.attempt else ""
            _line(f"{place} {event.host}: {event.cell.label} #{event.launch.index}{again} (whole run {self._left})")
        elif isinstance(event, Finished | Recovered):
            held = "held, " if isinstance(event, Recovered) else ""
            _line(f"         {event.host}: {event.record.cell.label}: {held}{ending(event.record)}")
        elif words := sentence(event):
            _line(words)


class Bars(Silent):
    """A bar for the whole run, and a line for each host.

    Redrawn once a second at the most: this machine may be one of those that measure.
    """

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=errors, refresh_per_second=1, transient=True)
        self._whole: TaskID = self._progress.add_task("preparing", total=None, left="")
        self._hosts: dict[str, TaskID] = {}
        self._left = _Left(lambda: 0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def told(self, word: str) -> None:
        """Say what is being prepared."""
        if self._hosts:
            return  # a bar of its own would flicker; what takes long is seen by the time that passes
        self._progress.update(self._whole, description=f"preparing: {_plain(word)}")

    def began(self, launches: int, left_s: Callable[[], float]) -> None:
        """Say how many launches there will be."""
        self._left = _Left(left_s)
        self._progress.update(self._whole, description="whole run", total=launches)

    def heard(self, event: Event) -> None:
        """Say what happened."""
        if isinstance(event, Started):
            words = f"{event.host}: {_plain(event.cell.label)} #{event.launch.index}"
            if event.host not in self._hosts:
                self._hosts[event.host] = self._progress.add_task(words, total=None, left="")
            self._progress.reset(self._hosts[event.host], description=words)
            self._progress.update(self._whole, left=str(self._left))
        elif isinstance(event, Finished | Recovered):
            self._progress.advance(self._whole)
            if not isinstance(event.record.outcome, Completed):
                self._say(f"{event.host}: {event.record.cell.label}: {ending(event.record)}")
        elif words := sentence(event):
            self._say(words)
            if isinstance(event, Lost) and event.host in self._hosts:
                self._progress.remove_task(self._hosts.pop(event.host))

    def _say(self, words: str) -> None:
        self._progress.console.print(words, markup=False, highlight=False)


def reporter(*, quiet: bool) -> Silent:
    """Return bars for a terminal, plain lines for a log, nothing where ``quiet``."""
    if quiet:
        return Silent()
    return Bars() if errors.is_terminal else Lines()


def _line(words: str) -> None:
    errors.print(words, markup=False, highlight=False)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
