"""CSV: one row per cell and quantity, with the change where there is one (RFC 4180)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from results.changes import STATUS
from results.formats.amounts import unit_name
from results.formats.figures import Named, figures_of, named, names_of
from results.formats.words import line
from results.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from results.changes import Change, Comparison
    from results.formats.figures import Figure
    from results.snapshot import CellState, Snapshot

_RUN = ("run_id", "created_at", "suite", "preset", "hw_id", "env_id", "harness_version")
_CELL = ("cell", "workload", "engine", "precision", "device", "scenario", "status", "why", "cell_id")
_FIGURE = ("quantity", "kind", "unit", "better", "value", "low", "high", "launches", "noisy_launches")
_CHANGE = (
    *("verdict", "gated", "allowed_until", "before", "after", "effect", "effect_low", "effect_high", "margin"),
    *("adjusted_p", "power", "launches_needed", "message", "before_run_id"),
)


class CommaSeparated:
    """For spreadsheets and data frames: units in a column of their own, empty where nothing was measured."""

    name = "csv"
    suffix = ".csv"
    description = "CSV, one row per cell and quantity, for spreadsheets and data frames"
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return a row per figure, and one per cell that has none."""
        rows = []
        for each in named(snapshot):
            head = _run(snapshot) | _cell(each)
            rows += [head | _figure(figure) for figure in figures_of(each)] or [head]
        return _document((*_RUN, *_CELL, *_FIGURE), rows)

    def of_comparison(self, comparison: Comparison) -> str:
        """Return a row per change and the figure after it; ``effect`` is after / before, of accuracy after - before."""
        names = names_of(comparison.changes)
        identity = comparison.rules.identity
        sides = (comparison.before, comparison.after)
        before, after = ({identity(cell): cell for cell in side.cells} for side in sides)
        rows = []
        for change in comparison.changes:
            row = _run(comparison.after) | {"cell": names[change.key], "before_run_id": comparison.before.run_id}
            row |= _state(names[change.key], after.get(change.key), before.get(change.key), change.quantity)
            rows.append(row | _change(change))
        return _document((*_RUN, *_CELL, *_FIGURE, *_CHANGE), rows)


def _state(name: str, after: CellState | None, before: CellState | None, quantity_name: str) -> dict[str, Any]:
    """Return what a cell is and, where the side after the change measured the quantity, its figure."""
    if after is None:
        return _cell(Named(name, before)) | {"status": None, "why": None} if before is not None else {}
    each = Named(name, after)
    figure = next((found for found in figures_of(each) if found.quantity.name == quantity_name), None)
    return _cell(each) | (_figure(figure) if figure is not None else {})


def _run(snapshot: Snapshot) -> dict[str, Any]:
    return {column: getattr(snapshot, column) for column in _RUN}


def _cell(each: Named) -> dict[str, Any]:
    return {column: getattr(each.cell, column) for column in _CELL[1:]} | {"cell": each.name}


def _figure(figure: Figure) -> dict[str, Any]:
    interval, known = figure.interval, figure.quantity
    return {
        "quantity": known.name,
        "kind": figure.reading.name,
        "unit": unit_name(known),
        "better": known.better.value,
        "value": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "launches": figure.launches,
        "noisy_launches": len(figure.reading.noisy),
    }


def _change(change: Change) -> dict[str, Any]:
    known = None if change.quantity == STATUS else quantity(change.quantity)
    effect = change.effect
    return {
        "quantity": change.quantity,
        **({"unit": unit_name(known), "better": known.better.value} if known else {}),
        "verdict": change.verdict.value,
        "gated": str(change.gated).lower(),
        "allowed_until": change.allowance.until.isoformat() if change.allowance else None,
        **({"effect": effect.estimate, "effect_low": effect.low, "effect_high": effect.high} if effect else {}),
        **{name: getattr(change, name) for name in ("before", "after", "margin", "adjusted_p", "power")},
        "launches_needed": change.launches_needed,
        "message": "; ".join((change.message, *change.notes)),
    }


def _document(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, tuple(columns), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    """Return text that no spreadsheet takes for a formula (OWASP, CSV injection), and anything else as it is."""
    if not isinstance(value, str):
        return value
    flat = line(value, 2000)
    return f"'{flat}" if flat.startswith(("=", "+", "-", "@")) else flat
