"""One launch at a time on a machine, whoever makes it: ``flock`` on a file that every user's processes share.

What is launched inherits the descriptor. A lock belongs to the open file, not to a process: where a worker is killed,
the lock is held until what it launched has ended too. The file lies in the first folder of ``COMMON`` that everybody
may write to. Where there is none, it lies in the user's own cache, and two users' launches may overlap; so may those
of containers that share no such folder: ``HARNESS_MACHINE_LOCK`` names a file that they do share.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cache import default_root
from harness.fleet.contract import FleetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMON = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 - the file is opened with the care below
_NAME = "inference-harness.lock"
_FIRST_PAUSE_S, _PAUSE_S = 0.01, 1.0  # between looks; who waits must not disturb the launch that it waits for
_NOTE_BYTES = 500


def lock_file(environ: Mapping[str, str]) -> Path:
    """Return the file that launches on this machine lock."""
    given = environ.get("HARNESS_MACHINE_LOCK")
    if given:
        return Path(given)
    for folder in COMMON:
        with contextlib.suppress(OSError):
            mode = folder.stat().st_mode
            # Not whether this user may write there: all users must come to the same answer.
            if stat.S_ISDIR(mode) and mode & stat.S_IWOTH:
                return folder / _NAME
    return default_root(environ) / _NAME


@contextlib.contextmanager
def held(file: Path, who: str, *, patience_s: float) -> Iterator[int]:
    """Hold the machine and yield the descriptor that does; a child that inherits it holds the machine as well.

    ``who`` is told to those who wait meanwhile. Raises ``FleetError``, which says who has it, after ``patience_s``, and
    where the file cannot be used.
    """
    descriptor = _locked(file, time.monotonic() + patience_s)
    try:
        _note(descriptor, f"{who}, process {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}")
        yield descriptor
    finally:
        # Read only where the lock is still held, then by what was launched.
        _note(descriptor, f"what {who} left running")
        os.close(descriptor)


def _locked(file: Path, until_s: float) -> int:
    pause_s = _FIRST_PAUSE_S
    while True:
        descriptor = _opened(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, file):
                return descriptor
            os.close(descriptor)  # it was removed, as such folders are tidied: the lock is another file now
            continue
        except BlockingIOError:
            holder = _noted(descriptor)
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            hint = f"wait until it ends; `fuser -v {file}` names the processes that hold it"
            raise FleetError(f"this machine is taken by {holder}", hint)
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _PAUSE_S)


def _opened(file: Path) -> int:
    """Return a descriptor of the lock's file, made where it is not there. Raises ``FleetError``."""
    # In a folder that everybody writes to, somebody may have put a link, a pipe or another's file in its place.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = _descriptor(file, flags)
        facts = os.fstat(descriptor)
    except OSError as error:
        hint = "remove what is there, or name another file by HARNESS_MACHINE_LOCK"
        raise FleetError(f"the lock of this machine, {file}, cannot be opened: {error.strerror}", hint) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        hint = "remove it: somebody put it there in the place of the lock"
        raise FleetError(f"{file} is a link to something or no file at all", hint)
    return descriptor


def _descriptor(file: Path, flags: int) -> int:
    # First without O_CREAT: Linux's fs.protected_regular refuses it on another user's file in such a folder.
    try:
        return os.open(file, flags | os.O_RDWR)
    except PermissionError:
        return os.open(file, flags | os.O_RDONLY)  # enough to lock; only a note cannot be left
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(file, flags | os.O_RDONLY)  # another process was first
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o666)  # whatever the umask: for all users
    return descriptor


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False


def _note(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # the disk is full, or the file is another's: the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode()[:_NOTE_BYTES], 0)


def _noted(descriptor: int) -> str:
    try:
        text = os.pread(descriptor, _NOTE_BYTES, 0).decode(errors="replace")
    except OSError:
        text = ""
    # Anybody may have written it.
    return "".join(c for c in text if c.isprintable()) or "another process"
