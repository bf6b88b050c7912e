"""A page of more rows than it can show everywhere: those that lead each workload, and what befell the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from reports.model import Column, Coverage, Incident, Sheet, Value
from reports.text import clamp, counted
from reports.units import MISSING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from reports.field import Field
    from reports.model import Matrix, RowName, Slot, Table, View

WHOLE = 300
"""Rows up to which a page shows every row in every section."""
LEADING = 20
"""Rows of one workload that the table under its verdict shows of a page that is whole."""
FEW = 4
"""Rows of one workload that each section of a larger page shows; fewer where there are many workloads."""
_ALTOGETHER, _LEAST, _WORKLOADS = 12, 2, 24
_NAMED = 6
"""Rows that one entry of the coverage names; it counts the others."""
_STATES = ("completed", "with reservations", "set aside", "failed", "skipped")


def leading(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Return the fields as the sections of a page show them: whole, or of too many rows those that lead each.

    Ranked rows come first, in the order of their ranking; the FP32 baseline is always among them.
    """
    if sum(len(field.rows) for field in fields) <= WHOLE:
        return tuple(fields)
    shown = fields[:_WORKLOADS]
    share = max(_LEAST, min(FEW, _ALTOGETHER // len(shown)))
    return tuple(led(field, share) for field in shown)


def led(field: Field, count: int) -> Field:
    """Return a field with the ``count`` rows that lead it, and its baseline."""
    standing = field.standing
    first = list(dict.fromkeys([*standing.best, *standing.rest, *field.rows]))[:count]
    kept = {*first, field.baseline}

    def among(variants: Sequence[str]) -> tuple[str, ...]:
        return tuple(variant for variant in variants if variant in kept)

    return replace(
        field,
        standing=replace(
            standing,
            best=among(standing.best),
            rest=among(standing.rest),
            frontier=among(standing.frontier),
            excluded=among(standing.excluded),
        ),
        rows={variant: row for variant, row in field.rows.items() if variant in kept},
        names={variant: name for variant, name in field.names.items() if variant in kept},
    )


def remark(view: View) -> str:
    """Return how many rows the sections show, or an empty string where that is all."""
    if len(view.rows) <= WHOLE:
        return ""
    workloads = len(dict.fromkeys(name.workload for name in view.rows))
    shown = len(dict.fromkeys(view.rows[item.row].workload for item in view.particulars))
    few = f" of the first {shown:,} of {workloads:,} workloads" if shown < workloads else ""
    return (
        f"The sections show the {len(view.particulars):,} leading rows{few}, of {len(view.rows):,} in all. "
        "Every row stands in the table under Data, and what did not complete under Coverage."
    )


def shortened(view: View) -> View:
    """Return a view as its page tells it: of more rows than ``WHOLE``, verdicts on those that the sections show."""
    if len(view.rows) <= WHOLE:
        return view
    told = {item.row for item in view.particulars}
    verdicts = tuple(replace(each, table=_among(each.table, told)) if each.table else each for each in view.verdicts)
    return replace(view, verdicts=verdicts, coverage=compact(view.coverage, view.rows))


def _among(table: Table, rows: Collection[int]) -> Table:
    return replace(table, lines=tuple(line for line in table.lines if line.row in rows))


def compact(coverage: Coverage, names: Sequence[RowName]) -> Coverage:
    """Return a coverage that counts where the whole one names every row."""
    if len(names) <= WHOLE:
        return coverage
    return replace(
        coverage,
        matrices=(),
        sheets=tuple((matrix.workload, _counts(matrix, names)) for matrix in coverage.matrices),
        incidents=_gathered(coverage.incidents),
        findings=_gathered(coverage.findings),
    )


def _counts(matrix: Matrix, names: Sequence[RowName]) -> Sheet:
    """Return a matrix as counts: engine and precision down, what became of the rows across."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    first = None
    for engine, cells in matrix.lines:
        for slot in (slot for slots in cells for slot in slots):
            first = slot.row if first is None else min(first, slot.row)
            counts[f"{engine} {names[slot.row].precision} on {names[slot.row].device}"][_state(slot)] += 1
    present = [state for state in _STATES if any(found[state] for found in counts.values())]
    lines = tuple(
        (
            Value(clamp(asked, 80), asked),
            *(
                Value(f"{found[state]:,}", found[state]) if found[state] else Value(MISSING, tone="quiet")
                for state in present
            ),
        )
        for asked, found in sorted(counts.items())
    )
    columns = (Column("asked", numeric=False), *(Column(state) for state in present))
    return Sheet(f"t-coverage-{first}", f"Coverage, {matrix.workload}: rows by what became of them", columns, lines)


def _state(slot: Slot) -> str:
    return {"✗": "failed", "–": "skipped", "↘": "set aside"}.get(
        slot.symbol, "completed" if slot.tone == "good" else "with reservations"
    )


def _gathered(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    """Return one entry for all of a kind at one place: the reason said most often, and how many others there are."""
    alike: dict[tuple[str, str, str], list[Incident]] = defaultdict(list)
    for incident in incidents:
        alike[incident.state, incident.where, incident.tone].append(incident)
    found = []
    for same in alike.values():
        most = max(same, key=lambda incident: len(incident.rows))
        rows = tuple(dict.fromkeys(row for incident in same for row in incident.rows))
        others = len({incident.reason for incident in same}) - 1
        reason = f"{most.reason} ({counted(others, 'other reason')} besides: see the rows)" if others else most.reason
        found.append(replace(most, rows=rows[:_NAMED], more=len(rows[_NAMED:]), reason=reason, logs=most.logs[:_NAMED]))
    return tuple(found)
