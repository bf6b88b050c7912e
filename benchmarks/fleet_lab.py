"""A fleet of processes of this machine, over TLS on loopback, begun by the commands that users have."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TIMEOUT_S = 120.0
_LISTENS, _REGISTERED = "the scheduler listens at ", "is registered at"


@dataclass(frozen=True)
class _Begun:
    """A process that writes to a log."""

    child: subprocess.Popen[bytes]
    log: Path

    def said(self, word: str) -> str:
        """Return what it said once ``word`` is among it. Raises ``HarnessError``."""
        until = time.monotonic() + _TIMEOUT_S
        while word not in (text := self.log.read_text(encoding="utf-8", errors="replace")):
            if self.child.poll() is not None or time.monotonic() > until:
                raise HarnessError(f"{self.log.stem} does not start: {text[-500:]}", "begin it by itself to see why")
            time.sleep(0.05)
        return text


@contextmanager
def lab(folder: Path, hosts: Sequence[str]) -> Iterator[Path]:
    """Yield the fleet file of hosts that wait for work; they offer the fake engine alone, and end with the context.

    Each has a lock of its own: they stand for machines, and launch beside each other.
    """
    begun: list[_Begun] = []
    named = [word for name in hosts for word in ("--host", name)]
    _done(folder, "init", "lab", "--scheduler", "127.0.0.1", *named)
    try:
        begun.append(_begun(folder, "scheduler", "--tls", "lab/scheduler", "--host", "127.0.0.1", "--port", "0"))
        address = begun[0].said(_LISTENS).partition(_LISTENS)[2].split()[0]
        for name in hosts:
            tls, state = f"lab/hosts/{name}", f"state-{name}"
            words = (address, "--tls", tls, "--name", name, "--state", state, "--engine", "fake")
            begun.append(_begun(folder, "worker", *words, lock=folder / f"{name}.lock"))
        for each in begun[1:]:
            each.said(_REGISTERED)
        file = folder / "lab" / "fleet.yaml"
        lines = file.read_text(encoding="utf-8").splitlines()
        said = [f"scheduler: {address}" if line.startswith("scheduler:") else line for line in lines]
        file.write_text("\n".join(said) + "\n", encoding="utf-8")
        yield file
    finally:
        for each in reversed(begun):
            each.child.terminate()
        for each in begun:
            each.child.wait(_TIMEOUT_S)


def _words(*words: str) -> list[str]:
    return [sys.executable, "-m", "harness", "fleet", *words]


def _done(folder: Path, *words: str) -> None:
    done = subprocess.run(_words(*words), cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise HarnessError(f"harness fleet {words[0]}: {done.stderr[-500:]}", "run it by itself to see why")


def _begun(folder: Path, *words: str, lock: Path | None = None) -> _Begun:
    own = {"HARNESS_MACHINE_LOCK": str(lock)} if lock else {}
    log = folder / f"{lock.stem if lock else words[0]}.log"
    with log.open("wb") as file:
        child = subprocess.Popen(
            _words(*words),
            cwd=folder,
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Begun(child, log)
