"""What PostgreSQL and libpq raise, in one sentence each with what to do; nothing of a statement is repeated."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from harness.errors import StoreError
from results.index.fitting import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def translated(shown: str) -> Iterator[None]:
    """Turn what the database raises into a ``StoreError`` that says what to do, an ``UnfitError`` for a value.

    Of the statement and its values nothing is repeated, of the address what ``shown`` has.
    """
    try:
        yield
    except DBAPIError as error:
        raise _explained(shown, error) from error


_KEPT = "the runs are whole here, and those that were pushed there; push again"
_GRANT = (
    "ask who owns it for GRANT USAGE, CREATE ON SCHEMA public, GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES and"
    " GRANT USAGE ON ALL SEQUENCES IN SCHEMA public"
)
_BY_STATE = {
    "25006": ("is read-only", "a standby? name the primary, for example with ?target_session_attrs=read-write"),
    "42501": ("gives no permission", _GRANT),
    "53100": ("has no space left", "its disk is full: free some there, then push again"),
    "55P03": ("is held by another process", "wait until that has ended, then push again"),
    "57014": ("cancelled the statement", "push again, or raise its statement_timeout"),
}
_AT_CONNECTING = (
    (r"database .* does not exist", "make it: createdb NAME, or name another in the address"),
    (
        r"password|authentication|role .* does not exist",
        "check the user, and the password: PGPASSWORD, a password file (~/.pgpass), or in the address",
    ),
    (
        r"no pg_hba.conf entry",
        "the server lets nobody in like this: ask who runs it, or try ?sslmode=require",
    ),
    (r"SSL|certificate", "check sslmode and sslrootcert in the address"),
    (r"too many (connections|clients)|connection slots", "push again when others have ended"),
    (r"permission denied for database", "ask who owns it for GRANT CONNECT ON DATABASE"),
    (r"translate host name|resolve|not known", "check the name of the host in the address"),
)
"""What the words of libpq mean where no connection came about: for that it tells no SQLSTATE."""
_NO_ENTRY = frozenset({"53300", "57P03"})  # too many connections, starting up or shutting down


def _explained(shown: str, error: DBAPIError) -> StoreError:
    told: Any = error.orig
    state = getattr(told, "sqlstate", None) or ""
    said = getattr(getattr(told, "diag", None), "message_primary", None) or _first_line(str(told))
    if state in _BY_STATE:
        what, hint = _BY_STATE[state]
        return StoreError(f"{shown} {what}: {said}", hint)
    if state[:2] in {"22", "54"}:
        return UnfitError(f"PostgreSQL does not take it: {said}", "the others are not touched by it")
    if error.connection_invalidated:
        return StoreError(f"{shown} went away: {said}", _KEPT)
    if not state or state in _NO_ENTRY or state[:2] in {"28", "3D"}:
        hints = (hint for words, hint in _AT_CONNECTING if re.search(words, said))
        usual = "does it run there, on that port, and may it be reached from here?"
        return StoreError(f"{shown} cannot be reached: {said}", next(hints, usual))
    return StoreError(f"{shown}: {said}", _KEPT)


def _first_line(text: str) -> str:
    """Return what libpq says of the last server that it tried, without what precedes the reason."""
    line = next(iter(text.splitlines()), "no reason is told")
    return line.removeprefix("connection failed: ")
