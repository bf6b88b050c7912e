"""Records of every schema version, read as those of the newest: one step for each version, taken as they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.codec import CodecError, decode
from harness.errors import StoreError
from harness.vocabulary import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a record's JSON at a schema version to that of the next; empty, since version 1 is the first."""


def record_of(data: dict[str, Any], folder: Path) -> Record:
    """Return a record from its stored JSON; ``folder``: of its run, for the message.

    Raises ``CodecError`` for what is no record, ``StoreError`` for one that a newer harness wrote.
    """
    schema = data.get("schema", SCHEMA_VERSION)
    if type(schema) is not int:
        raise CodecError(f"record.schema: {schema!r} is no version")
    refuse_newer(schema, folder)
    unknown = next((version for version in range(schema, SCHEMA_VERSION) if version not in MIGRATIONS), None)
    if unknown is not None:
        raise CodecError(f"record.schema: {unknown} was never a version")
    for version in range(schema, SCHEMA_VERSION):
        data = MIGRATIONS[version](data)
    record = decode(Record, data, "record")
    if record.cell_id:
        return record
    return replace(record, cell_id=record.cell.cell_id, variant_id=record.cell.variant_id)


def refuse_newer(schema: int, folder: Path) -> None:
    """Raise ``StoreError`` for a schema that only a newer harness reads."""
    if schema > SCHEMA_VERSION:
        message = f"{folder} was written by a newer harness: schema {schema}, this one reads up to {SCHEMA_VERSION}"
        raise StoreError(message, "upgrade the harness: pip install --upgrade inference-harness")
