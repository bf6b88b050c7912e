"""The file that holds the index: where it lies, who may fill it, when it is made anew."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import NullPool, create_engine, event, insert, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from harness.cache import default_root
from harness.errors import StoreError
from results.files import explained
from results.index.models import EDITION, About, Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

NAME = "index.sqlite"
_PATIENCE_S = 60.0  # how long a statement waits for another process that is at the file
_BESIDE = ("", "-journal", "-wal", "-shm")  # what SQLite keeps beside a file belongs to that file alone


def place_of(runs: Path) -> Path:
    """Return where the index of a folder of runs lies: in it, or in the user's cache where it cannot be written."""
    inside = runs / NAME
    if _writable(runs) and (not inside.exists() or _writable(inside)):
        return inside
    name = hashlib.sha256(os.fsencode(runs.resolve())).hexdigest()[:16]
    return default_root(os.environ) / "indexes" / f"{name}.sqlite"


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


@contextlib.contextmanager
def filling(place: Path, *, anew: bool = False) -> Iterator[Engine]:
    """Yield the index for writing, as the only process that does; made anew where it is absent, old or broken.

    One that can be read is made ``anew`` beside itself, and stands until the new one is whole. Waits for another
    process that fills it. Raises ``StoreError`` where it cannot be written.
    """
    with explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(place.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with translated(place):
            _roll_back(place)
            readable = current(place)
            written = place.with_name(f".{place.name}.new") if anew and readable else place
            if anew or not readable:
                remove(written)
            engine = opened(written)
            try:
                prepare(engine)
                yield engine
            finally:
                engine.dispose()
            if written != place:
                _put(written, place)
    finally:
        os.close(lock)


@contextlib.contextmanager
def reading(place: Path) -> Iterator[Session]:
    """Yield a session that can only read. Raises ``StoreError`` where there is no index of this edition."""
    if not current(place):
        raise StoreError(f"{place} is no index of this harness", "make it anew: harness results index --rebuild")
    engine = create_engine("sqlite://", creator=lambda: read_only(place), poolclass=NullPool)
    try:
        with translated(place), Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def read_only(place: Path) -> sqlite3.Connection:
    """Return a connection of the standard library that cannot write. Raises ``sqlite3.Error``."""
    return sqlite3.connect(f"file:{quote(str(place.absolute()))}?mode=ro", uri=True, timeout=_PATIENCE_S)


def _roll_back(place: Path) -> None:
    """Undo what a process that was killed had begun: who may only read cannot do so, and would take it for broken."""
    if place.is_file() and Path(f"{place}-journal").exists():
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(place)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def opened(place: Path) -> Engine:
    """Return an engine that writes the file; a power cut may cost the last run, which is then read again."""

    def tune(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")  # KiB

    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(place, timeout=_PATIENCE_S),
        poolclass=NullPool,
    )
    event.listen(engine, "connect", tune)
    return engine


def prepare(engine: Engine) -> None:
    """Make the tables where they are absent, and say of which edition they are."""
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        if session.scalar(select(About.value).where(About.name == "edition")) is None:
            session.execute(insert(About), [{"name": "edition", "value": EDITION}])


def current(place: Path) -> bool:
    """Return whether an index of this edition lies there; what is none, or cannot be read as one, is not."""
    if not place.is_file():
        return False
    try:
        with contextlib.closing(read_only(place)) as connection:
            found = connection.execute("SELECT value FROM about WHERE name = 'edition'").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StoreError(f"{place}: {error}", "another process holds it: try again when that has ended") from error
        return False
    return bool(found == (EDITION,))


def remove(place: Path) -> None:
    """Delete the index with what SQLite keeps beside it. Nothing is lost by it. Raises ``StoreError``."""
    with explained(place):
        for ending in reversed(_BESIDE):  # a journal that outlives its file would be played into the next
            Path(f"{place}{ending}").unlink(missing_ok=True)


def _put(written: Path, place: Path) -> None:
    """Put a whole index in the place of another, which whoever reads it now keeps reading."""
    with explained(place):
        for ending in _BESIDE[1:]:  # of the other one: it would be played into this one
            Path(f"{place}{ending}").unlink(missing_ok=True)
        written.replace(place)


class DamagedIndexError(StoreError):
    """The file is no database, or one that was damaged: to be made anew."""


@contextlib.contextmanager
def translated(place: Path) -> Iterator[None]:
    """Turn what the database raises into a ``StoreError`` that says what to do, a ``DamagedIndexError`` if broken."""
    try:
        yield
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DamagedIndexError(f"{place} is damaged: {error.orig}", "harness results index --rebuild") from error
        if code == sqlite3.SQLITE_FULL:
            hint = "free some; the runs are whole without it"
            raise StoreError(f"no space left to write {place}", hint) from error
        raise StoreError(f"{place}: {error.orig}", "harness results index --rebuild makes it anew") from error
