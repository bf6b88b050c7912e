"""Two programs that take turns on a machine: while one runs the other is stopped, so that both meet the same noise."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import side
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Program:
    """Python to be called in a folder, and who it is in an error."""

    who: str
    arguments: Sequence[str]
    folder: Path
    threads: int | None


def taken(programs: Sequence[Program], turn_s: float, timeout_s: float) -> None:
    """Run programs to their ends, ``turn_s`` seconds each in their order, all of its process group or nothing of it.

    The turns of one that has ended pass idle: over any whole number of rounds each has its equal share of the time,
    whenever it began to measure. Raises ``HarnessError`` with the last words of one that fails, or where all of them
    have not ended within ``timeout_s``.
    """
    started = []
    try:
        for program in programs:
            started.append(_started(program))
            _signal(started[-1], signal.SIGSTOP)
        until = time.monotonic() + timeout_s
        while any(each.poll() is None for each in started):
            for each in started:
                _signal(each, signal.SIGCONT)
                time.sleep(turn_s)
                _signal(each, signal.SIGSTOP)
            if time.monotonic() > until:
                left = [program.who for program, each in zip(programs, started, strict=True) if each.poll() is None]
                message = f"{' and '.join(left)}: no end within {timeout_s:g} s"
                raise HarnessError(message, "measure again when the machine does less besides")
    finally:
        for each in started:
            _signal(each, signal.SIGKILL)
            each.wait()
    for program, each in zip(programs, started, strict=True):
        side.check(program.who, each.returncode, _words(program))


def _started(program: Program) -> subprocess.Popen[bytes]:
    with _said(program).open("wb") as said:
        return subprocess.Popen(
            side.command(program.arguments),
            cwd=program.folder,
            env=side.surroundings(program.threads),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
            os.killpg(child.pid, number)


def _said(program: Program) -> Path:
    return program.folder / "said.log"


def _words(program: Program) -> str:
    return _said(program).read_text(encoding="utf-8", errors="replace")
