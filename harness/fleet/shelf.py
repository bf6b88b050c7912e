"""The files that a host holds: each kept once, checked before it is called whole, made into parcels.

What comes over the wire is trusted in nothing: every file is checked by its SHA-256, every parcel by its content hash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cache import hash_tree
from harness.fleet.contract import Chunk, FleetError, Parcel
from harness.fleet.parcels import CHUNK_BYTES, SHA256, Files, check, check_name, is_lone, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ABANDONED_S, _UNUSED_S = 24 * 3600, 30 * 24 * 3600
_CONTENT = "content"  # as an entry of a cache has it: what is known by its folder's name keeps that name
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass
class _Arriving:
    """A file of which some is here. ``ranges`` holds what came, disjoint and sorted; ``file`` is where it lies."""

    size: int
    ranges: list[tuple[int, int]] = field(default_factory=list)
    file: Path | None = None

    def add(self, start: int, end: int) -> None:
        merged: list[tuple[int, int]] = []
        for one in sorted([*self.ranges, (start, end)]):
            if merged and one[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], one[1]))
            else:
                merged.append(one)
        self.ranges = merged

    def has(self, start: int, end: int) -> bool:
        return start == end or any(first <= start and end <= last for first, last in self.ranges)


class Shelf:
    """Files by their SHA-256 and parcels by their content hash, below one folder; safe for several processes.

    A file is kept once: those of a parcel are hard links to it where the file system has links, else copies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arriving: dict[str, _Arriving] = {}
        self._turn = threading.Lock()
        self.tidy()

    def lacks(self, parcels: Sequence[Parcel]) -> tuple[str, ...]:
        """Return the SHA-256 of each file of these parcels that is not whole here, once, in their order.

        Only a file that was asked about is taken by ``put``. Raises ``FleetError`` for a parcel that is none.
        """
        lacking: dict[str, None] = {}
        for parcel in parcels:
            check(parcel)
            if self.has(parcel.content_hash):
                continue
            for _, size, sha256 in parcel.files:
                if not self._is_whole(sha256, size):
                    lacking[sha256] = None
        return tuple(lacking)

    def put(self, chunk: Chunk) -> None:
        """Take a piece of a file: in any order, as often as one likes; what is whole is checked and kept.

        A file whose SHA-256 is another is dropped: it is lacking still. So is a piece of a file that ``lacks`` did not
        name since this process began. Raises ``FleetError`` for a piece that is none, and where there is no room.
        """
        start, end = chunk.offset, chunk.offset + len(chunk.data)
        if not SHA256.fullmatch(chunk.sha256) or len(chunk.data) > CHUNK_BYTES or start < 0:
            raise FleetError("a piece of a file that is none", "are both sides of the same version?")
        with self._turn:
            arriving = self._arriving.get(chunk.sha256)
            if arriving is None:
                return
            if end > arriving.size:
                message = f"a piece that ends at byte {end} of a file of {arriving.size}"
                raise FleetError(message, "are both sides of the same version?")
            if not arriving.has(start, end):
                try:
                    self._write(arriving, start, chunk.data)
                except OSError as error:
                    self._drop(chunk.sha256)
                    raise self._not_written(error) from error
        self._is_whole(chunk.sha256, arriving.size)

    def assemble(self, parcel: Parcel) -> None:
        """Make a parcel of files that are here; one that is there already stays.

        Raises ``FleetError`` where a file is lacking, where they are not what the content hash says, or for want of
        room.
        """
        check(parcel)
        if self._asked_for(parcel.content_hash):
            return
        lacking = self.lacks([parcel])
        if lacking:
            name = next(name for name, _, sha256 in parcel.files if sha256 == lacking[0])
            message = f"{len(lacking)} files of the parcel {parcel.content_hash[:12]} are lacking, the first {name!r}"
            raise FleetError(message, "send them again")
        with self._making() as work:
            made = work / _CONTENT
            if not is_lone(parcel):
                made.mkdir()
            for name, _, sha256 in parcel.files:
                target = made / name if name else made
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(self._file(sha256), target)
            try:
                self._keep(made, parcel.content_hash)
            except FleetError:
                self._remove_broken(parcel)
                raise

    def _remove_broken(self, parcel: Parcel) -> None:
        """Take away what a disk has let rot, so that it is lacking from now on. Raises ``OSError``."""
        for _, _, sha256 in parcel.files:
            if _sha256(self._file(sha256)) != sha256:
                self._file(sha256).unlink()

    def take(self, files: Files, content_hash: str) -> None:
        """Keep a file or folder of this machine's as a parcel. Raises ``FleetError`` where it is not of that hash."""
        if self._asked_for(content_hash):
            return
        with self._making() as work:
            made, sources = work / _CONTENT, named(files)
            for name, source in sources.items():
                target = made / name if name else made
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(source, target)
                _sync(target)
            if not sources:
                made.mkdir()
            self._keep(made, content_hash)

    def tidy(self) -> None:
        """Remove what nobody asked for in thirty days, and what was left half made a day ago."""
        now_s = time.time()
        for pattern, age_s in (("parcels/*/*", _UNUSED_S), ("files/*/*", _UNUSED_S), (".*", _ABANDONED_S)):
            for path in self._folder.glob(pattern):
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    shared = stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1  # with a parcel that is wanted
                    if now_s - facts.st_mtime > age_s and not shared:
                        self._remove(path)
        for names in self._folder.glob("named/*"):
            if not self.has(names.name):
                shutil.rmtree(names, ignore_errors=True)

    def _remove(self, path: Path) -> None:
        """Take something away in one step, then its files: half a parcel must not be found. Raises ``OSError``."""
        if not path.is_dir():
            path.unlink()
            return
        doomed = Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))
        path.rename(doomed / path.name)
        shutil.rmtree(doomed)

    def _asked_for(self, content_hash: str) -> bool:
        """Whether a parcel is here; it is not old from now on."""
        if not self.has(content_hash):
            return False
        with contextlib.suppress(OSError):
            os.utime(self._parcel(content_hash).parent)
        return True

    def has(self, content_hash: str) -> bool:
        """Whether a parcel is here, whole."""
        return bool(SHA256.fullmatch(content_hash)) and self._parcel(content_hash).exists()

    def path_of(self, content_hash: str, relative: Path = Path()) -> Path:
        """Return where a parcel lies, or what is at ``relative`` in it.

        A single name that it does not hold is the name that the parcel as a whole is to have, see ``entry``. Raises
        ``FleetError`` where it is not here.
        """
        if not self.has(content_hash):
            raise FleetError(f"the parcel {content_hash[:12]} is not here", "send it again")
        held = self._parcel(content_hash)
        if not relative.parts:
            return held
        check_name(relative.as_posix(), lone=False)
        if held.is_dir() and (held / relative).exists():
            return held / relative
        if len(relative.parts) > 1:
            raise FleetError(f"the parcel {content_hash[:12]} holds no {relative}", "send it again")
        return held if relative.name == held.name else self._called(held, relative.name)

    def referred(self, reference: str) -> Path:
        """Return the path of ``HASH`` or ``HASH/FILE``. Raises ``FleetError``."""
        content_hash, _, relative = reference.partition("/")
        return self.path_of(content_hash, Path(relative))

    def _called(self, held: Path, name: str) -> Path:
        """Return a parcel under a name of its own: some read the kind of a file from its name."""
        target = self._folder / "named" / held.parent.name / name
        if not target.exists():
            with self._making() as work:
                if held.is_dir():
                    (work / name).symlink_to(held)
                else:
                    _link(held, work / name)
                target.parent.mkdir(parents=True, exist_ok=True)
                (work / name).replace(target)
        return target

    def _is_whole(self, sha256: str, size: int) -> bool:
        """Whether a file is here, checked and under its name; one that is not is expected from now on."""
        with self._turn:
            if self._file(sha256).is_file():
                self._drop(sha256)
                return True
            arriving = self._arriving.get(sha256)
            if arriving is None or arriving.size != size:
                self._drop(sha256)
                arriving = self._arriving[sha256] = _Arriving(size)
            if not arriving.has(0, size):
                return False
            try:
                return self._finished(sha256, arriving)
            except OSError as error:
                self._drop(sha256)
                raise self._not_written(error) from error

    def _finished(self, sha256: str, arriving: _Arriving) -> bool:
        """Check a file that came to its end, and keep it. Raises ``OSError``."""
        if arriving.file is None:
            self._write(arriving, 0, b"")
        file = arriving.file
        if file is None or _sha256(file) != sha256:
            self._drop(sha256)
            self._arriving[sha256] = _Arriving(arriving.size)
            return False
        file.chmod(0o444)
        target = self._file(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sync(file)
        file.rename(target)
        _sync(target.parent)
        del self._arriving[sha256]
        return True

    def _write(self, arriving: _Arriving, start: int, data: bytes) -> None:
        """Write a piece where it belongs. Raises ``OSError``, also for want of room."""
        if arriving.file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".arriving-", dir=self._folder)
            os.close(descriptor)
            arriving.file = Path(name)
        with arriving.file.open("r+b", buffering=0) as file:
            if os.pwrite(file.fileno(), data, start) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        arriving.add(start, start + len(data))

    def _drop(self, sha256: str) -> None:
        dropped = self._arriving.pop(sha256, None)
        if dropped is not None and dropped.file is not None:
            dropped.file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _making(self) -> Iterator[Path]:
        """Yield a folder on the same disk that vanishes. ``OSError`` becomes a ``FleetError``."""
        work = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))
            yield work
        except OSError as error:
            raise self._not_written(error) from error
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)

    def _keep(self, made: Path, content_hash: str) -> None:
        """Put a parcel that was made under its hash. Raises ``FleetError`` where it is another, ``OSError``."""
        found = hash_tree(made)[0]
        if found != content_hash:
            message = f"the files of the parcel {content_hash[:12]} make {found[:12]}"
            raise FleetError(message, "its list was changed on the way: send it again")
        target = self._parcel(content_hash).parent
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in [made.parent, made, *made.rglob("*")]:
            if folder.is_dir():
                _sync(folder)
        try:
            made.parent.rename(target)
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
        _sync(target.parent)

    def _not_written(self, error: OSError) -> FleetError:
        if error.errno in _FULL:
            return FleetError(f"no space left for parcels in {self._folder}", "free some on that host, then go on")
        hint = "check that folder and its permissions on that host"
        return FleetError(f"{self._folder}: parcels cannot be written: {error.strerror or error}", hint)

    def _file(self, sha256: str) -> Path:
        return self._folder / "files" / sha256[:2] / sha256

    def _parcel(self, content_hash: str) -> Path:
        return self._folder / "parcels" / content_hash[:2] / content_hash / _CONTENT


def _link(source: Path, target: Path) -> None:
    """Let a file be at another place too, by a link where that can be made, else by a copy. Raises ``OSError``."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _FULL:
            raise
        # Another disk, a file system without links, or too many of them.
        shutil.copyfile(source, target)
        _sync(target)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power cut. Raises ``OSError``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
