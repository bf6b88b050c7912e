"""SQL over the index by whoever asks, with no way to write: a connection that cannot, and a guard that will not."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import StoreError
from results.index.database import current, read_only

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS, SECONDS = 1000, 30.0
"""How much an answer may be, and how long it may take, unless said otherwise."""
_VALUE_BYTES = 16 << 20  # of one text or blob
_HEAP_BYTES = 512 << 20
_ANSWER_BYTES = 256 << 20  # of all that is answered: SQLite's own bound does not see what was taken from it
_ROW_BYTES, _FIELD_BYTES = 64, 64  # that a row and each value in it take besides
_STEPS = 10_000  # of SQLite's virtual machine between two looks at the clock

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_DESCRIBES = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Pragmas that say what there is, and set nothing."""
_REFUSED_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})

Value = str | int | float | bytes | None


@dataclass(frozen=True)
class Answer:
    """The rows of a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    more: bool  # whether there were more than were asked for


def query(place: Path, sql: str, *, rows: int = ROWS, seconds: float = SECONDS) -> Answer:
    """Return what one SELECT says, at most ``rows`` of it. Raises ``StoreError`` for SQL that is wrong, slow or writes.

    The file is opened for reading alone; besides, every action of the statement but reading is refused as it is
    prepared: writing, ATTACH, transactions, extensions, and pragmas that set something.
    """
    if not current(place):
        raise StoreError(f"{place} is no index of this harness", "make it anew: harness results index --rebuild")
    with contextlib.closing(read_only(place)) as connection, _explained(connection, sql, seconds):
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA hard_heap_limit = {_HEAP_BYTES}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_allowed)
        until = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise StoreError("this SQL asks for nothing", "begin it with SELECT or WITH")
        columns = tuple(column[0] for column in cursor.description)
        found = _taken(cursor, rows)
        more = next(cursor, None) is not None
    return Answer(columns, found, more)


def _taken(rows: Iterator[tuple[Value, ...]], most: int) -> tuple[tuple[Value, ...], ...]:
    """Return the first rows of an answer. Raises ``StoreError`` where they are more than there is memory for."""
    taken: list[tuple[Value, ...]] = []
    room = _ANSWER_BYTES
    for row in itertools.islice(rows, min(most, sys.maxsize)):
        room -= _ROW_BYTES + sum(_FIELD_BYTES + (len(v) if isinstance(v, str | bytes) else 0) for v in row)
        if room < 0:
            message = f"the answer has more than {_ANSWER_BYTES >> 20} MiB after {len(taken):,} rows"
            raise StoreError(message, "ask for less, for example with LIMIT or fewer columns")
        taken.append(row)
    return tuple(taken)


def _allowed(action: int, first: str | None, second: str | None, _database: str | None, _view: str | None) -> int:
    if action in _READS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() not in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK  # what SQLite asks when it sets up json_each and the like; it lets no UPDATE do that
    if action == sqlite3.SQLITE_PRAGMA and str(first).lower() in _DESCRIBES:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


@contextlib.contextmanager
def _explained(connection: sqlite3.Connection, sql: str, seconds: float) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        message, hint = _words(error, connection, seconds)
        raise StoreError(message, hint) from error
    except (ValueError, OverflowError, MemoryError) as error:  # a NUL or a lone surrogate in it; far too much of it
        said = str(error) or type(error).__name__
        raise StoreError(f"the SQL cannot be read: {said}", f"it has {len(sql)} characters") from error


def _words(error: sqlite3.Error, connection: sqlite3.Connection, seconds: float) -> tuple[str, str]:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY} or "not authorized" in str(error):
        return f"a query may only read: {error}", "use SELECT; the index is derived, and runs change by runs alone"
    if code == sqlite3.SQLITE_INTERRUPT:
        return f"the query took longer than {seconds:g} s", "ask for less, or give it more time with --seconds"
    if code in {sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_TOOBIG}:
        return f"the query needs too much memory: {error}", "ask for less, for example with LIMIT"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return f"the index is damaged: {error}", "make it anew: harness results index --rebuild"
    if "one statement" in str(error):
        return "only one statement at a time is answered", "give the others by themselves"
    return f"SQL: {error}", f"the tables are {', '.join(_tables(connection))}"


def _tables(connection: sqlite3.Connection) -> list[str]:
    with contextlib.suppress(sqlite3.Error):
        connection.set_authorizer(None)
        asked = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        return [name for (name,) in connection.execute(asked)]
    return []
