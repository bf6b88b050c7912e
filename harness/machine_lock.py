"""One launch at a time on a machine, whoever makes it: ``flock`` on a file that every user's processes share.

What is launched inherits the descriptor. A lock belongs to the open file, not to a process: where a worker is killed,
the lock is held until what it launched has ended too. The file lies in the first folder of ``COMMON`` that everybody
may write to. Where there is none, it lies in the user's own cache, and two users' launches may overlap; so may those
of containers that share no such folder: ``HARNESS_MACHINE_LOCK`` names a file that they do share.

Beside it lies another, the queue. Who waits holds the queue's lock, and nobody takes the machine without having had
that: who has just let go of the machine comes after who waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import stat
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cache import default_root
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COMMON = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 - the file is opened with the care below
_NAME = "inference-harness.lock"
_FIRST_PAUSE_S, _PAUSE_S = 0.01, 1.0  # between looks; who waits must not disturb the launch that it waits for
_NOTE_BYTES = 500


class LockError(HarnessError):
    """This machine cannot be locked: another holds it, or there is no file to do it with."""


class _UnusableError(LockError):
    """There is no file to do it with."""


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


@dataclass
class Turns:
    """The launches of one run among all that are made on this machine: enter a call of it around each.

    A launch waits as long as others measure. That it does is told once, and so is why the machine cannot be locked:
    measuring goes on then, beside whatever else is measured.
    """

    file: Path
    who: str  # for those who wait meanwhile
    told: Callable[[str], None]
    _said: set[str] = field(default_factory=set, init=False)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[tuple[int, ...]]:
        """Yield the descriptors that hold the machine, for a child to inherit."""
        with contextlib.ExitStack() as stack:
            descriptors: tuple[int, ...] = ()
            try:
                holding = stack.enter_context(held(self.file, self.who, patience_s=math.inf, told=self._waits))
                descriptors = (holding,)
            except LockError as error:
                words = f"nothing keeps other runs from measuring at the same time: {error.message}; {error.hint}"
                self._once("unlocked", words)
            yield descriptors

    def _waits(self, holder: str) -> None:
        words = f"waiting: another harness run is measuring on this machine: {holder}"
        self._once("waiting", f"{words} (`fuser -v {self.file}` names its processes)")

    def _once(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.told(words)


@contextlib.contextmanager
def held(
    file: Path, who: str, *, patience_s: float, told: Callable[[str], None] = lambda _holder: None
) -> Iterator[int]:
    """Hold the machine and yield the descriptor that does; a child that inherits it holds the machine as well.

    ``who`` is told to those who wait meanwhile; ``told`` takes whom this waits for, if that takes over a
    second. Raises ``LockError``, which says who has it, after ``patience_s``, and where the file cannot be used.
    """
    until_s = time.monotonic() + patience_s
    with contextlib.ExitStack() as queue:
        # Of containers that share the one file alone each has a queue of its own: who comes next is chance then.
        with contextlib.suppress(_UnusableError):
            place = _locked(file.with_name(f"{file.name}.queue"), until_s, told)
            queue.callback(os.close, place)
            _note(place, _signed(who))
        descriptor = _locked(file, until_s, told)
    try:
        _note(descriptor, _signed(who))
        yield descriptor
    finally:
        # Read only where the lock is still held, then by what was launched.
        _note(descriptor, f"what {who} left running")
        os.close(descriptor)


def _locked(file: Path, until_s: float, told: Callable[[str], None]) -> int:
    pause_s, has_told = _FIRST_PAUSE_S, False
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
        except OSError as error:
            os.close(descriptor)
            hint = "name a file of a local disk by HARNESS_MACHINE_LOCK"
            raise _UnusableError(f"the lock of this machine, {file}, cannot be had: {error.strerror}", hint) from error
        except BaseException:
            os.close(descriptor)
            raise
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            hint = f"wait until it ends; `fuser -v {file}` names the processes that hold it"
            raise LockError(f"this machine is taken by {holder}", hint)
        if pause_s == _PAUSE_S and not has_told:  # no word of what just comes to its end
            told(holder)
            has_told = True
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _PAUSE_S)


def _opened(file: Path) -> int:
    """Return a descriptor of the lock's file, made where it is not there. Raises ``LockError``."""
    # In a folder that everybody writes to, somebody may have put a link, a pipe or another's file in its place.
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = _descriptor(file, flags)
        facts = os.fstat(descriptor)
    except OSError as error:
        hint = "remove what is there, or name another file by HARNESS_MACHINE_LOCK"
        raise _UnusableError(f"the lock of this machine, {file}, cannot be opened: {error.strerror}", hint) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        hint = "remove it: somebody put it there in the place of the lock"
        raise _UnusableError(f"{file} is a link to something or no file at all", hint)
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


def _signed(who: str) -> str:
    return f"{who}, process {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}"


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
