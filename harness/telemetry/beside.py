"""The sampling process as the run sees it: started once, asked for a row before and after each launch."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.process import environment
from harness.system import ROOT
from harness.telemetry.sources import survey
from harness.telemetry.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

ROWS = ".telemetry.jsonl"
"""Scratch file of a run, gone at its end."""
LOG = "logs/telemetry.log"
"""What the process said where it broke; absent otherwise."""
_PATIENCE_S = 10.0  # a driver may hang; the measurement goes on without


class Beside:
    """Sampling beside the launches of a run; nothing of it fails a launch.

    ``absent``: source → why it is not sampled. Where nothing can be, no process is started. ``trouble``: why there are
    no rows where there are sensors; empty while all is well.
    """

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self._rows = folder / ROWS
        self._log = folder / LOG
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._header = b""
        self._offset = 0
        self.absent: Mapping[str, str] = {}
        self.trouble = ""

    def __enter__(self) -> Self:
        found = survey(self._root)
        self.absent = found["absent"]
        if found["columns"]:
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, t: TracebackType | None) -> None:
        self._end()

    @property
    def sampling(self) -> bool:
        """Whether a process is at it."""
        return self._process is not None

    def begin(self) -> None:
        """Take a row: a launch begins. Blocks until it is written."""
        if self._process is None:
            return
        try:
            if self._header:
                self._offset = self._rows.stat().st_size
                self._ask()
            elif self._ask():
                with self._rows.open("rb") as file:
                    self._header = file.readline()
                self._offset = len(self._header)
        except OSError as error:
            self._give_up(f"wrote rows that cannot be read: {error.strerror}")

    def end(self) -> Table | None:
        """Take a row and return those since ``begin``; ``None`` where there is nothing to read."""
        if not self._header or not self._ask():
            return None
        try:
            with self._rows.open("rb") as file:
                file.seek(self._offset)
                return Table.of_lines(self._header, file.read().splitlines())
        except (OSError, ValueError, LookupError, TypeError, HarnessError):
            # A full disk cuts a row short: what follows cannot be trusted either.
            self._give_up("wrote a row that is cut short")
            return None

    def _start(self) -> None:
        command = [sys.executable, "-m", "harness.telemetry", str(self._rows.absolute()), str(self._root)]
        try:
            self._rows.unlink(missing_ok=True)  # of a run that was killed
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._rows.parent,
                    env=environment(os.environ, 1),
                    start_new_session=True,  # an interrupt of the terminal is the parent's to handle
                    bufsize=0,
                )
        except OSError as error:
            self._give_up(f"cannot be started: {error.strerror}")

    def _ask(self) -> bool:
        """Have a row written now. One that does not come ends the sampling."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return False
        answer = select.poll()
        answer.register(process.stdout, select.POLLIN)
        why = f"ended by itself, see {LOG}"
        with contextlib.suppress(OSError):
            os.write(process.stdin.fileno(), b"\n")
            if not answer.poll(_PATIENCE_S * 1e3):
                why = f"did not answer within {_PATIENCE_S:g} s"
            elif os.read(process.stdout.fileno(), 64):
                return True
        self._give_up(why)
        return False

    def _give_up(self, why: str) -> None:
        """Go on without samples."""
        self.trouble = f"the process that reads the sensors {why}"
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        self._header = b""
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()
        self._rows.unlink(missing_ok=True)
