"""An append-only file of checksummed JSON lines: ``sha256[:16] SPACE json``, durable once ``append`` returns.

A last line without its newline was never acknowledged (the writer died or the disk filled), so it is dropped; any
other line that does not match its checksum is reported in ``damage`` and the rest stays readable.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.vocabulary import canonical_json
from results.files import FULL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGITS = 16
_MARKS = (
    re.compile(rb'"(started|finished)":'),
    re.compile(rb'"launch":\{[^{}]*"index":(\d{1,9})\b'),
    re.compile(rb'"cell_id":"([0-9a-f]{64})"'),
)


@dataclass(frozen=True)
class Entry:
    """One intact line: ``digest`` names its content, ``number`` is that of its line, ``place`` counts intact ones."""

    number: int
    place: int
    digest: str
    payload: dict[str, Any]


def content_id(payload: Mapping[str, Any]) -> str:
    """Return the 16 hex digits that a line with this payload begins with."""
    return _checksum(canonical_json(payload).encode())


def format_line(payload: Mapping[str, Any]) -> bytes:
    """Return the line of a payload, newline included. Raises ``ValueError`` on NaN, ``TypeError`` on no JSON form."""
    text = canonical_json(payload).encode()
    return b"%s %s\n" % (_checksum(text).encode(), text)


def parse_line(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return digest and payload of one line without its newline, or ``None`` where the line is not intact."""
    digest, space, text = line[:_DIGITS], line[_DIGITS : _DIGITS + 1], line[_DIGITS + 1 :]
    if space != b" " or digest != _checksum(text).encode():
        return None
    try:
        payload = json.loads(text)
    except ValueError:  # the checksum fits what was never a line of ours
        return None
    return (digest.decode(), payload) if isinstance(payload, dict) else None


class Journal:
    """The lines of one file. Reading needs no lock; ``append`` is for the one process that holds the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: list[Entry] = []
        self._damage: list[str] = []
        self._consumed = 0  # bytes, always at the beginning of a line
        self._lines = 0
        self._tail = b""

    @property
    def entries(self) -> list[Entry]:
        """Every intact line, oldest first, as of the last ``refresh``."""
        return self._entries

    def refresh(self) -> None:
        """Read what was added since the last call. Raises ``OSError``."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._consumed)
                added = file.read()
        except FileNotFoundError:
            added = b""
        *lines, self._tail = added.split(b"\n")
        for line in lines:
            self._lines += 1
            self._consumed += len(line) + 1
            self._take(line)

    @property
    def damage(self) -> tuple[str, ...]:
        """What could not be read, one sentence each, as of the last ``refresh``."""
        if not self._tail:
            return tuple(self._damage)
        torn = f"{self._path.name}:{self._lines + 1}: unfinished line dropped; it was never acknowledged"
        return (*self._damage, torn)

    def append(self, payload: Mapping[str, Any]) -> None:
        """Write one line with one ``write`` and return when it is on the disk.

        Whatever fails, the file is cut back to its former length, so that a later line cannot join a fragment.
        Raises ``OSError``, and ``ValueError`` or ``TypeError`` for a payload that has no JSON form.
        """
        line = format_line(payload)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            length = os.fstat(descriptor).st_size
            try:
                _write_and_sync(descriptor, line)
            except BaseException:
                os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)

    def repair(self) -> None:
        """Cut off an unfinished last line before the first append of a new writer. Raises ``OSError``."""
        self.refresh()
        if self._tail:
            with self._path.open("r+b") as file:
                file.truncate(self._consumed)
                os.fsync(file.fileno())
            self._tail = b""

    def _take(self, line: bytes) -> None:
        parsed = parse_line(line)
        if parsed is None:
            told = f"{self._path.name}:{self._lines}: line does not match its checksum and was left out"
            self._damage.append(told + _surmised(line))
        else:
            self._entries.append(Entry(self._lines, len(self._entries) + 1, *parsed))


def _write_and_sync(descriptor: int, line: bytes) -> None:
    try:
        written, number = os.write(descriptor, line), errno.ENOSPC  # a short write on a regular file is a full disk
    except OSError as error:
        if error.errno not in FULL:
            raise
        written, number = 0, error.errno
    if written != len(line):
        raise OSError(number, f"{len(line) - written} of {len(line)} bytes of a line found no room")
    os.fsync(descriptor)


def _surmised(line: bytes) -> str:
    """Return what a broken line probably told, where enough of it can still be read."""
    kind, index, cell_id = (mark.search(line) for mark in _MARKS)
    if kind is None or index is None or cell_id is None:
        return ""
    what = "start" if kind[1] == b"started" else "end"
    return f"; it was the {what} of launch {index[1].decode()} of cell {cell_id[1].decode()[:12]}"


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGITS]
