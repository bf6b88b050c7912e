"""What a report said of its rows, read back from the page or the JSON that was handed out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ROWS = re.compile(r'<script type="application/json" id="rows">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Published:
    """The rows of a report by variant id, with the columns of ``results.table``; ``name`` is that of its file."""

    name: str
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def published(path: Path) -> Published:
    """Read a report: an HTML page, its JSON download, or what ``--json`` printed. Raises ``DataError``."""
    hint = "give a report of this run: its page, its JSON download, or what `harness report --json` printed"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint) from error
    inside = _ROWS.search(text)
    try:
        data = json.loads(inside[1] if inside else text, parse_constant=_refuse)
    except ValueError as error:
        raise DataError(f"{path} holds no rows of a report: {error}", hint) from error
    lines = data.get("rows") if isinstance(data, dict) else data
    if not isinstance(lines, list) or not all(isinstance(line, dict) and "variant_id" in line for line in lines):
        raise DataError(f"{path} holds no rows of a report", hint)
    return Published(path.name, {str(line["variant_id"]): line for line in lines})


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
