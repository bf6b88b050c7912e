"""Durable files: whole or not at all, and every ``OSError`` explained to the user."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from harness.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no room left."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power cut.

    Raises ``OSError``, which says how many bytes found no room where that is why.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(error.errno, f"{len(data)} bytes found no room", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``StoreError`` that says what to do; ``where`` stands in for an unnamed path."""
    try:
        yield
    except OSError as error:
        message, hint = _words(error, error.filename or where)
        raise StoreError(message, hint) from error


def _words(error: OSError, path: object) -> tuple[str, str]:
    if error.errno in FULL:
        missing = f": {error.strerror}" if error.strerror != os.strerror(error.errno or 0) else ""
        return f"no space left to write {path}{missing}", "free some, then resume the run; nothing stored is lost"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"no permission for {path}", "change its owner or mode, or give another folder"
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        return f"a file stands where a folder is needed: {path}", "remove the file, or give another folder"
    if error.errno == errno.ENOENT:
        return f"{path} does not exist", "was the run folder moved or deleted?"
    return f"{path}: {error.strerror or error}", "check the disk, then resume the run"
