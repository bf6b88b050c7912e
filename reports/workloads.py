"""The rows of one workload over all its batches: each batch has a field of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.row import Row


def workloads(fields: Sequence[Field]) -> tuple[tuple[Field, ...], ...]:
    """Return the fields of each workload together, in their order."""
    groups: dict[str, list[Field]] = {}
    for field in fields:
        name = next((row.cell.workload for row in field.rows.values()), field.workload)
        groups.setdefault(name, []).append(field)
    return tuple(tuple(group) for group in groups.values())


def called(name: RowName, row: Row, group: Sequence[Field]) -> str:
    """Return the label of a row among those of every batch."""
    batch = f"b{row.cell.batch}"
    return name.label if len(group) == 1 or batch in name.label.split() else f"{name.label} {batch}"
