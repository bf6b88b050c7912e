"""A folder of content-addressed entries, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_META = "entry.json"
_CONTENT = "content"
_ABANDONED_S = 24 * 3600


def default_root(environ: Mapping[str, str]) -> Path:
    """Return the cache folder: ``HARNESS_CACHE``, else the user's cache folder of this platform."""
    return Path(environ.get("HARNESS_CACHE") or platformdirs.user_cache_dir("inference-harness"))


@dataclass(frozen=True)
class Entry:
    """What was kept under a key: the folder of files, and what its maker said of them."""

    kind: str
    key: str
    content: Path
    meta: Mapping[str, Any]
    size_bytes: int
    used_s: float  # seconds since the epoch of the last use
    folder: Path  # all of it


class Cache:
    """Entries by kind and key below ``root``; safe for several processes, since the last step is one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, kind: str, key: str) -> Entry | None:
        """Return the entry, or ``None``; one that cannot be read counts as absent."""
        folder = self._folder(kind, key)
        found = _read(folder)
        if found is not None:
            with suppress(OSError):  # a cache that others filled may be read-only
                os.utime(folder / _META)
        return found

    def put(self, kind: str, key: str, make: Callable[[Path], Mapping[str, Any]]) -> Entry:
        """Have ``make`` fill an empty folder and return JSON-able facts about it, then keep both under the key.

        Whatever ``make`` raises leaves no trace. Raises ``HarnessError`` where the cache cannot be written.
        """
        with self._explained():
            self.root.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".making-", dir=self.root))
            work.chmod(0o755)  # a cache may be shared between users; mkdtemp makes it the owner's alone
        try:
            with self._explained():
                (work / _CONTENT).mkdir()
            meta = make(work / _CONTENT)
            with self._explained():
                self._keep(work, meta, self._folder(kind, key))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        entry = self.get(kind, key)
        if entry is None:
            raise HarnessError(f"{self.root}: the entry {kind}/{key[:12]} vanished", "is something pruning the cache?")
        return entry

    @staticmethod
    def _keep(work: Path, meta: Mapping[str, Any], folder: Path) -> None:
        size = sum(file.stat().st_size for file in (work / _CONTENT).rglob("*") if file.is_file())
        (work / _META).write_text(json.dumps({"meta": meta, "size_bytes": size}), encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            work.rename(folder)
        except OSError:
            # Another process was first, or a broken entry lies there; the first to be whole stays.
            if _read(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
                work.rename(folder)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an ``OSError`` into a ``HarnessError`` that says what to do."""
        try:
            yield
        except OSError as error:
            hint = "free some space there, or set HARNESS_CACHE to a folder that can be written"
            raise HarnessError(f"{self.root}: the cache cannot be written: {error.strerror}", hint) from error

    def entries(self) -> Iterator[Entry]:
        """Yield every readable entry, by kind and key."""
        for meta in sorted(self.root.glob(f"*/*/*/{_META}")):
            entry = _read(meta.parent)
            if entry is not None:
                yield entry

    def prune(self, *, keep_bytes: int, beside: Iterable[Entry] = ()) -> list[Entry]:
        """Remove the least recently used entries until at most ``keep_bytes`` are left; return what was removed.

        ``beside``: what else lies below ``root``, and counts as they do.
        """
        entries = sorted([*self.entries(), *beside], key=lambda entry: entry.used_s)
        total = sum(entry.size_bytes for entry in entries)
        removed = []
        for entry in entries:
            if total <= keep_bytes:
                break
            self._remove(entry.folder)
            total -= entry.size_bytes
            removed.append(entry)
        for leftover in self.root.glob(".making-*"):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(leftover, ignore_errors=True)
        return removed

    def _remove(self, folder: Path) -> None:
        """Take an entry away in one step, then its files: an interrupt must not leave half of one to be found."""
        with suppress(OSError):
            doomed = Path(tempfile.mkdtemp(prefix=".making-", dir=self.root))
            folder.rename(doomed / _CONTENT)
            shutil.rmtree(doomed, ignore_errors=True)

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key


def _read(folder: Path) -> Entry | None:
    """Return the entry in a folder, or ``None`` where it is not whole."""
    try:
        data = json.loads((folder / _META).read_text(encoding="utf-8"))
        used_s = (folder / _META).stat().st_mtime
        kind, content = folder.parent.parent.name, folder / _CONTENT
        return Entry(kind, folder.name, content, data["meta"], data["size_bytes"], used_s, folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hash_tree(path: Path) -> tuple[str, int]:
    """Return the SHA-256 over names and bytes of a file or folder, and its size in bytes."""
    hasher, size = hashlib.sha256(), 0
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        hasher.update(f"{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
                size += len(block)
    return hasher.hexdigest(), size
