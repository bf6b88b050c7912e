"""What a reader of a stored benchmark or a JUnit file wants to know beside the samples."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from results.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.vocabulary import Plan
    from results.snapshot import CellState, Reading, Snapshot

_SUFFIXES = {"ns": "_ns", "1/s": "_per_s", "bytes": "_bytes", "1": ""}
_OF_ROW = frozenset({"memory", "size", "accuracy"})
"""What holds for a whole row: beside the latency of one cell it is not another scenario's of the same kind."""


def facts(snapshot: Snapshot, plan: Plan) -> Mapping[str, dict[str, Any]]:
    """Return by cell id the figures of each cell by launch, and in one number each what holds for its row."""
    rows = {planned.cell.cell_id: planned.cell.variant_id for planned in plan.cells}
    found = {}
    for cell in snapshot.cells:
        others = (
            other for other in snapshot.cells if other is not cell and rows.get(other.cell_id) == rows.get(cell.cell_id)
        )
        own = {
            "run": snapshot.run_id,
            "cell_id": cell.cell_id,
            "hw_id": snapshot.hw_id,
            "env_id": snapshot.env_id,
            "findings": list(cell.findings),
        }
        found[cell.cell_id] = own | _own(cell) | _beside(others)
    return found


def _own(cell: CellState) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for reading in cell.readings:
        name = named(reading)
        if not reading.launches:
            told[name] = reading.values[0]
            told |= {f"{name}_{end}": value for end, value in _bounds(reading) if value is not None}
            continue
        told[name] = statistics.median(reading.values)
        told[f"{name}_by_launch"] = list(reading.values)
        if reading.noisy:
            told["noisy_launches"] = list(reading.noisy)
    return told


def _beside(others: Iterable[CellState]) -> dict[str, Any]:
    return {
        named(reading): statistics.median(reading.values)
        for cell in others
        for reading in cell.readings
        if reading.quantity in _OF_ROW
    }


def named(reading: Reading) -> str:
    """Return a name with its unit, such as ``p99_ns`` or ``accuracy_top1``."""
    kind = f"_{reading.name}" if reading.name else ""
    return f"{reading.quantity}{kind}{_SUFFIXES[quantity(reading.quantity).unit]}"


def _bounds(reading: Reading) -> tuple[tuple[str, float | None], ...]:
    return ("low", reading.low), ("high", reading.high)
