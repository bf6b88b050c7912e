"""The other process of a benchmark that compares two loops: asked and answering by a file, as launches are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness import codec, process
from harness.errors import HarnessError
from harness.jobs import SessionSpec
from harness.vocabulary import Goal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Cell

T = TypeVar("T")
_ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 300.0


class Asked(Protocol):
    """A job: a dataclass that says, among others, how the model is to be loaded."""

    @property
    def session(self) -> SessionSpec:
        """How the model is to be loaded."""


def session_of(cell: Cell) -> SessionSpec:
    """Return how the model of a cell is loaded for one stream at its quickest."""
    return SessionSpec(
        cell.device, cell.precision, cell.batch, cell.threads, 1, Goal.LATENCY, strict=False, options=cell.options
    )


def answered(module: str, job: Asked, kind: type[T], who: str, timeout_s: float = _TIMEOUT_S) -> T:
    """Return the answer that ``python -m module FOLDER`` leaves there to the job in it. Raises ``HarnessError``."""
    with tempfile.TemporaryDirectory(prefix="side-") as name:
        folder = Path(name)
        run(who, asked(module, job, folder), folder, job.session.threads, timeout_s)
        return answer(kind, folder)


def asked(module: str, job: Asked, folder: Path) -> list[str]:
    """Leave a job in ``folder``, and return how Python is called to do it there."""
    (folder / "job.json").write_text(json.dumps(codec.encode(job)), encoding="utf-8")
    return ["-m", module, str(folder)]


def answer(kind: type[T], folder: Path) -> T:
    """Return the answer that was left in ``folder``."""
    return codec.decode(kind, json.loads((folder / "answer.json").read_text(encoding="utf-8")))


def run(who: str, arguments: Sequence[str], folder: Path, threads: int | None, timeout_s: float = _TIMEOUT_S) -> None:
    """Run Python to its end in ``folder``, as launches are run. Raises ``HarnessError`` with its last words."""
    ended = subprocess.run(
        command(arguments),
        cwd=folder,
        env=surroundings(threads),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    check(who, ended.returncode, ended.stderr.strip() or ended.stdout.strip())


def command(arguments: Sequence[str]) -> list[str]:
    """Return how this Python is called."""
    return [sys.executable, *arguments]


def surroundings(threads: int | None) -> dict[str, str]:
    """Return the environment variables of launches, with the benchmarks to be found."""
    return process.environment(os.environ, threads) | {"PYTHONPATH": str(_ROOT)}


def check(who: str, status: int, said: str) -> None:
    """Raise ``HarnessError`` with the last words of a program whose exit status is not 0."""
    if status:
        words = said.strip().splitlines()
        raise HarnessError(f"{who}: {words[-1] if words else f'exited {status}'}")
