"""What two databases hold alike: where SQLite takes a value that PostgreSQL does not, it is made fit, or refused."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BigInteger, Integer, String

from harness.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Column, Table

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL, which no text of PostgreSQL holds, and lone surrogates, which UTF-8 has no bytes for."""
_HINT = "no run that the harness measured holds such a value: was it changed by hand?"


class UnfitError(StoreError):
    """A run holds a value that the database has no place for."""


def storable(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with texts that both databases hold; ``row`` may lack columns of the table.

    In texts, also those inside JSON, NUL and lone surrogates become ``‹U+0000›``, as wherever texts are shown; in JSON
    what is no number becomes a word.
    """
    return {
        name: plain(value) if isinstance(value, str) or isinstance(table.c[name].type, JSON) else value
        for name, value in row.items()
    }


def fit(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``storable`` does, after looking at the bounds of the columns, which SQLite does not.

    Raises ``UnfitError`` for a text longer than its column, and for an integer beyond it.
    """
    fitting = storable(table, row)
    for name, value in fitting.items():
        _check(table.c[name], value)
    return fitting


def plain(value: Any) -> Any:
    """Return JSON-able data with texts and numbers that both databases hold."""
    if isinstance(value, str):
        return _UNSTORABLE.sub(lambda match: f"‹U+{ord(match.group()):04X}›", value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _check(column: Column[Any], value: Any) -> None:
    if isinstance(value, str) and isinstance(column.type, String):
        most = column.type.length
        if most is not None and len(value) > most:
            raise UnfitError(f"{column.table.name}.{column.name} has {len(value)} characters, {most} fit", _HINT)
    elif isinstance(value, int) and isinstance(column.type, Integer):
        bits = 63 if isinstance(column.type, BigInteger) else 31
        if not -(1 << bits) <= value < 1 << bits:
            raise UnfitError(f"{column.table.name}.{column.name} is an integer of more than {bits} bits", _HINT)
