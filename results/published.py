"""What a report said of its rows, read back from the page or the JSON that was handed out."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from results.merged import apart
from results.page_tables import page_tables
from results.words import showable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from results.page_tables import Seen

_ROWS = re.compile(r'<script type="application/json" id="rows">(.*?)</script>', re.DOTALL)
_COMPRESSED = re.compile(r'<script type="application/zlib" id="rows" data-encoding="base64">(.*?)</script>', re.DOTALL)
_MOST = 1 << 28
"""Bytes that compressed rows may come to: far more than any run has, and no danger to a machine."""


@dataclass(frozen=True)
class Published:
    """The rows of a report by variant id, with the columns of ``results.table``; ``name`` is that of its file."""

    name: str
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seen: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)
    """What the tables of a page show of each row, by variant id; nothing of what is no page."""
    others: Mapping[str, int] = field(default_factory=dict)
    """How many rows it has of each other run; see ``of_run``."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Which run's row stands on the page in place of this one's, by variant id; see ``of_run``."""

    def of_run(self, run_id: str, machine_id: str) -> Published:
        """Return what it says of one run, under the ids that rows have there; a row that names no run is of it."""
        mine: dict[str, str] = {}
        others: Counter[str] = Counter()
        instead: dict[str, str] = {}
        for shown, line in self.rows.items():
            run, (own, machine) = str(line.get("run_id") or ""), apart(shown)
            here = machine_id.startswith(machine)
            if run not in {"", run_id}:
                others[run] += 1
                instead |= {own: run} if here else {}
            else:
                # What cannot be its row keeps its name, and is none of the run's.
                mine[own if run and here and own not in mine else shown] = shown
        return replace(
            self,
            rows={variant: {**self.rows[shown], "variant_id": variant} for variant, shown in mine.items()},
            seen={variant: self.seen[shown] for variant, shown in mine.items() if shown in self.seen},
            others=dict(sorted(others.items())),
            instead=instead,
        )


def published(path: Path) -> Published:
    """Read a report: an HTML page, its JSON download, or what ``--json`` printed.

    Raises ``DataError`` for what is none, and for one that has several rows of one id.
    """
    hint = "give a report of this run: its page, its JSON download, or what `harness report --json` printed"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint) from error
    inside, compressed = _ROWS.search(text), _COMPRESSED.search(text)
    try:
        plain = _expanded(compressed[1]) if compressed else inside[1] if inside else text
        data = json.loads(plain, parse_constant=_refuse)
    except ValueError as error:
        raise DataError(f"{path} holds no rows of a report: {error}", hint) from error
    lines = _lines(data)
    if lines is None:
        raise DataError(f"{path} holds no rows of a report", hint)
    variants = [str(line["variant_id"]) for line in lines]
    twice = next((variant for variant, count in Counter(variants).items() if count > 1), None)
    if twice is not None:
        message = f"{path} has several rows with the id {showable(twice[:64])}"
        raise DataError(message, "it was changed since it was made: make it anew with `harness report`")
    tables = page_tables(text) if inside or compressed else {}
    seen = {variants[row]: cells for row, cells in tables.items() if row < len(variants)}
    return Published(path.name, dict(zip(variants, lines, strict=True)), seen)


def _expanded(text: str) -> str:
    """Return what base64 of zlib holds. Raises ``ValueError`` where it is something else, or too much to be rows."""
    expanding = zlib.decompressobj()
    try:
        found = expanding.decompress(base64.b64decode(text, validate=True), _MOST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not expanding.eof or expanding.unused_data:
        raise ValueError(f"compressed rows of {len(text):,} characters are cut off, or hold more than {_MOST:,} bytes")
    return found.decode("utf-8")


def _lines(data: Any) -> list[dict[str, Any]] | None:
    """Return rows as objects, from a list of them, from lists under common columns, or from columns by their names.

    ``None`` where it is none of these.
    """
    rows = data.get("rows") if isinstance(data, dict) else data
    columns = data.get("columns") if isinstance(data, dict) else None
    if isinstance(columns, dict):
        if not all(isinstance(values, list) and len(values) == data.get("size") for values in columns.values()):
            return None
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    elif isinstance(columns, list) and isinstance(rows, list):
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            return None
        rows = [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "variant_id" in row for row in rows):
        return None
    return rows


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
