"""Who writes a run: one process at a time, by ``flock`` on the run's folder, which ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from harness.errors import StoreError
from results.files import explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOKS, _LOOK_S = 5, 0.02  # a look at whether a run is being written holds it for an instant


def hold(folder: Path) -> int | None:
    """Return a descriptor that holds a run for writing until it is closed; ``None`` where another process has it.

    Raises ``OSError``.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    for look in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if look < _LOOKS - 1:
                time.sleep(_LOOK_S)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor
    os.close(descriptor)
    return None


@contextlib.contextmanager
def at_rest(folder: Path) -> Iterator[bool]:
    """Yield whether nobody writes a run; where that is so, nobody can begin to until the end. Raises ``StoreError``."""
    with explained(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def is_written(folder: Path) -> bool:
    """Return whether a process holds a run for writing now. Raises ``StoreError``."""
    with at_rest(folder) as quiet:
        return not quiet


def busy(run_id: str) -> StoreError:
    """Return the error of who wants a run that another process writes."""
    hint = "wait until it ends, or stop it, then resume"
    return StoreError(f"run {run_id} is being written by another process", hint)
