"""The rows as files to take away: one flat table, as CSV and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reports.model import Downloads
from results import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.row import Row


def downloads(run_id: str, rows: Sequence[Row]) -> Downloads:
    """Return the downloads of a run."""
    compact = json.dumps(table.records(rows), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Downloads(_stem(run_id), table.to_csv(rows), compact)


def _stem(run_id: str) -> str:
    """Return a file name stem that is safe on every system."""
    kept = "".join(letter for letter in run_id if letter.isascii() and (letter.isalnum() or letter in "-_"))
    return f"harness-{kept[:40]}" if kept else "harness-run"
