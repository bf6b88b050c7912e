"""The section on energy: one table per scope, since what a package draws and what a board draws are two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import grouped
from reports.model import Column, Line, Panel, Section, Table, Value
from reports.speed import estimated
from reports.text import clamp, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.driven import Energy


def energy(fields: Sequence[Field]) -> tuple[Section, ...]:
    """Return the section, or nothing where no row says a word on it; where there is no number, the reasons are told."""
    found = [each for field in fields for _, row in field for each in row.energy]
    if not found:
        return ()
    measured = any(each.joules_per_inference for each in found)
    reasons = dict.fromkeys(f"of the {each.scope}: {_reason(each)}" for each in found)
    section = Section(
        id="energy",
        title="Energy",
        short="Energy",
        lead="Joules per inference in the steady phase of the latency launches, by the counter of each scope, what the "
        "machine draws when idle included. Scopes are never compared with each other; brackets are 95 % intervals over "
        "launches.",
        panels=tuple(panel for field in fields for panel in _panels(field)) if measured else (),
        empty=f"No energy was to be had, {'; '.join(clamp(reason, 200) for reason in reasons)}.",
    )
    return (section,)


def _panels(field: Field) -> Iterator[Panel]:
    found = [(name, each) for name, row in field for each in row.energy]
    for pairs in grouped(found, lambda each: each.scope):
        scope = clamp(pairs[0][1].scope, 40)
        told = [(name, each) for name, each in pairs if each.joules_per_inference]
        told.sort(key=lambda pair: pair[1].joules_per_inference.estimate if pair[1].joules_per_inference else 0.0)
        absent: dict[str, list[str]] = {}
        for name, each in pairs:
            if not each.joules_per_inference:
                absent.setdefault(_reason(each), []).append(name.label)
        notes = tuple(
            f"Not to be had for {labels[0] if len(labels) == 1 else counted(len(labels), 'row')}: {clamp(reason, 200)}."
            for reason, labels in absent.items()
        )
        yield Panel(field.workload, (), (_table(field, scope, told),) if told else (), notes, f"By the {scope}")


def _reason(found: Energy) -> str:
    return found.reason or "no reason is told"


def _table(field: Field, scope: str, pairs: Sequence[tuple[RowName, Energy]]) -> Table:
    columns = (
        Column("energy", "J per inference", hint=f"of the {scope}, 95 % interval over launches"),
        Column("power", "W", hint=f"of the {scope}, idle draw included"),
        Column("launches"),
        Column("counter", numeric=False),
    )
    lines = []
    for name, each in pairs:
        joules = each.joules_per_inference
        values = (
            estimated(joules, units.PLAIN) if joules else Value(units.MISSING),
            Value(units.PLAIN.number(each.watts), each.watts),
            Value(str(joules.launches), joules.launches) if joules else Value(units.MISSING),
            Value(each.source, each.source),
        )
        lines.append(Line(name.index, values))
    anchor = "".join(character for character in scope if character.isalnum())
    return Table(f"t-energy-{field.anchor}-{anchor}", f"Energy, {scope}, {field.workload}", columns, tuple(lines))
