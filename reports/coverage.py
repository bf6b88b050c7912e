"""What ran and what did not: the matrix, and every reason in words with what to do about it."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.vocabulary import Completed, Failed, Skipped
from reports.model import Coverage, Incident, Matrix, Slot
from reports.text import counted, listed
from reports.verdict import caveats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import Outcome
    from reports.field import Field
    from reports.model import RowName
    from results.row import Row

# A path inside the run folder and nothing else: no scheme, no root, no parent, no query.
_INSIDE = re.compile(r"(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9_][A-Za-z0-9_.@+ =-]*(?:/[A-Za-z0-9_.@+ =-]+)*")


def coverage(fields: Sequence[Field], logs: Mapping[str, str]) -> Coverage:
    """Return the coverage. ``logs`` maps a ``log_key`` to the path of a log, relative to the report."""
    pairs = [pair for field in fields for pair in field]
    return Coverage(
        summary=_summary([row for _, row in pairs]),
        matrices=tuple(_matrix(field) for field in fields),
        incidents=_merged([incident for name, row in pairs for incident in _incidents(name, row, logs)]),
        findings=_merged([finding for name, row in pairs for finding in _findings(name, row)]),
    )


def _summary(rows: Sequence[Row]) -> str:
    if not rows:
        return "The run has no cells."
    words = [tag.text for tag in caveats(rows)]
    return f"{counted(len(rows), 'row')}: {listed(words)}."


def _matrix(field: Field) -> Matrix:
    prefixes = {name.index: f"{name.engine} " for name, _ in field}
    columns = list(dict.fromkeys(_asked(name, prefixes) for name, _ in sorted(field, key=_column_order)))
    slots: dict[str, dict[str, list[Slot]]] = defaultdict(lambda: defaultdict(list))
    for name, row in field:
        slots[name.engine][_asked(name, prefixes)].append(_slot(name, row))
    lines = tuple(
        (engine, tuple(tuple(by_column.get(column, ())) for column in columns))
        for engine, by_column in sorted(slots.items())
    )
    return Matrix(field.workload, tuple(columns), lines)


def _column_order(pair: tuple[RowName, Row]) -> tuple[str, int, str, str]:
    name, row = pair
    rank = {"fp32": "0", "fp16": "1", "bf16": "2", "int8": "3"}
    return name.device, row.cell.batch, rank.get(name.precision, "9"), name.label


def _asked(name: RowName, prefixes: Mapping[int, str]) -> str:
    words = name.label.removeprefix(prefixes[name.index]).split(" #")[0]
    return words if name.device in words.split() else f"{words} {name.device}"


def _slot(name: RowName, row: Row) -> Slot:
    failed = {scenario: outcome for scenario, outcome in row.outcomes.items() if isinstance(outcome, Failed)}
    if failed:
        stages = sorted({outcome.stage.value for outcome in failed.values()})
        whole = len(failed) == len(row.outcomes)
        where = "" if whole else f" ({listed(sorted(failed))})"
        return Slot(name.index, "✗", f"failed at {listed(stages)}{where}", "bad")
    if name.state == "skipped":
        return Slot(name.index, "–", "skipped", "quiet")
    reasons = list(dict.fromkeys(tag.text for tag in name.tags if tag.tone == "bad"))
    if name.state == "set aside":
        return Slot(name.index, "↘", listed(reasons) or "set aside", "bad")
    doubts = list(dict.fromkeys(tag.text for tag in name.tags if tag.tone == "warn"))
    skipped = any(isinstance(outcome, Skipped) for outcome in row.outcomes.values())
    words = ["partly skipped"] if skipped else []
    return Slot(name.index, "✓", ", ".join(["completed", *words, *doubts]), "warn" if doubts else "good")


def _incidents(name: RowName, row: Row, logs: Mapping[str, str]) -> list[Incident]:
    alike: dict[Outcome, list[str]] = defaultdict(list)
    for scenario, outcome in sorted(row.outcomes.items()):
        if not isinstance(outcome, Completed):
            alike[outcome].append(scenario)
    return [_incident(name, row, outcome, scenarios, logs) for outcome, scenarios in alike.items()]


def _incident(name: RowName, row: Row, outcome: Outcome, scenarios: list[str], logs: Mapping[str, str]) -> Incident:
    paths = dict.fromkeys(logs.get(log_key(row.run_id, row.cell_ids.get(scenario, "")), "") for scenario in scenarios)
    state, tone, where, reason, hint = _told(outcome)
    return Incident(
        rows=(name.index,),
        scenarios=", ".join(scenarios),
        state=state,
        tone=tone,
        where=where,
        reason=reason,
        hint=hint,
        logs=tuple(path for path in paths if inside(path)),
    )


def _merged(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    """Return incidents that say the same as one, with all their rows, where the first of them stood."""
    alike: dict[Incident, list[Incident]] = defaultdict(list)
    for incident in incidents:
        alike[replace(incident, rows=(), logs=())].append(incident)
    return tuple(
        replace(
            said,
            rows=tuple(dict.fromkeys(row for incident in same for row in incident.rows)),
            logs=tuple(dict.fromkeys(log for incident in same for log in incident.logs)),
        )
        for said, same in alike.items()
    )


def _told(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """Return state, tone, place, reason and hint of what did not complete."""
    if isinstance(outcome, Failed):
        return "failed", "bad", f"{outcome.stage.value}: {outcome.kind}", outcome.message, outcome.hint
    assert isinstance(outcome, Skipped), "what completed is no incident"
    return "skipped", "quiet", "", outcome.reason, outcome.hint


def log_key(run_id: str, cell_id: str) -> str:
    """Return what the log of a cell is looked up by: the cell, where there is one run alone."""
    return f"{run_id}/{cell_id}" if run_id else cell_id


def inside(path: str) -> bool:
    """Return whether ``path`` can only lead to a file inside the folder of the report."""
    return _INSIDE.fullmatch(path) is not None


def _findings(name: RowName, row: Row) -> list[Incident]:
    pairs = zip(name.tags, row.findings, strict=True)
    return [
        Incident(
            rows=(name.index,),
            scenarios="",
            state=tag.text,
            tone=tag.tone,
            where="left out of the ranking" if finding.unranked else "",
            reason=finding.message,
            hint="",
        )
        for tag, finding in pairs
        if finding.kind != "screening"
    ]
