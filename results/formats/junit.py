"""JUnit XML: a suite per workload, a case per cell and quantity.

A regression that fails the gate is a failure, a cell that failed an error, what cannot run or be judged skipped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from results.changes import STATUS
from results.comparison import Verdict
from results.formats.amounts import INTERVAL, bounded, effect, margin, sides, unit_name
from results.formats.figures import Named, figures_of, named, named_after, names_of
from results.formats.words import line, published
from results.quantities import quantity
from results.snapshot import COMPLETED, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from results.changes import Change, Comparison
    from results.formats.figures import Figure
    from results.snapshot import Snapshot


@dataclass
class _Case:
    """One test case: in ``cell``, called ``name``; ``result`` is the element of what went wrong, with its text."""

    cell: str
    name: str
    output: list[str] = field(default_factory=list)
    result: str = ""  # failure, error or skipped
    kind: str = ""
    message: str = ""


class JUnit:
    """What Jenkins, GitLab and most others show as tests."""

    name = "junit"
    suffix = ".xml"
    description = "JUnit XML: test results in Jenkins, GitLab, Azure Pipelines, Buildkite, CircleCI"
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return a case per cell for what became of it, and one per quantity with its figures."""
        suites: dict[str, list[_Case]] = defaultdict(list)
        for each in named(snapshot):
            cases = suites[each.cell.workload]
            cases.append(_state(each))
            cases += [_Case(figure.name, figure.quantity.name, _told(figure)) for figure in figures_of(each)]
        return _document(snapshot, suites, _properties(snapshot))

    def of_comparison(self, comparison: Comparison) -> str:
        """Return a case per cell for what became of it, and one per change."""
        after = comparison.after
        identity = comparison.rules.identity
        workloads = {identity(cell): cell.workload for side in (comparison.before, after) for cell in side.cells}
        names = names_of(comparison.changes)
        changes: dict[str, list[Change]] = defaultdict(list)
        for change in comparison.changes:
            changes[change.key].append(change)
        suites: dict[str, list[_Case]] = defaultdict(list)
        for here in named_after(comparison):
            among = changes.pop(identity(here.cell), [])
            of_state = next((change for change in among if change.quantity == STATUS), None)
            suites[here.cell.workload].append(_state(here, of_state))
            suites[here.cell.workload] += _judged(here.name, among)
        for key, among in changes.items():  # of cells that only the other side has
            cases = suites[workloads.get(key, names[key].partition("/")[0])]
            cases += [_of_change(names[key], change) for change in among if change.quantity == STATUS]
            cases += _judged(names[key], among)
        properties = {**_properties(after), "before.run_id": comparison.before.run_id}
        for cause in (*comparison.hardware, *comparison.causes):
            told = ("absent" if side is None else str(side) for side in (cause.before, cause.after))
            properties[f"differs.{cause.place}"] = " → ".join(told)
        return _document(after, suites, properties)


def _state(each: Named, change: Change | None = None) -> _Case:
    """Return the case of what became of a cell, in the light of a change of it where there is one."""
    cell = each.cell
    case = _of_change(each.name, change) if change is not None else _Case(each.name, STATUS)
    if case.kind == "allowed":
        return case
    if cell.status == FAILED:
        case.result, case.kind, case.message = "error", "failed", line(cell.why) or "failed"
        case.output.insert(0, published(cell.why))
    elif cell.status != COMPLETED and not case.result:
        case.result, case.kind, case.message = "skipped", cell.status, line(cell.why) or cell.status
    return case


def _judged(name: str, changes: Iterable[Change]) -> list[_Case]:
    return [_of_change(name, change) for change in changes if change.quantity != STATUS]


def _of_change(name: str, change: Change) -> _Case:
    case = _Case(name, change.quantity, _change_told(change))
    if change.allowance is not None and change.allowed:
        reason = f": {change.allowance.reason}" if change.allowance.reason else ""
        case.result, case.kind = "skipped", "allowed"
        case.message = line(f"allowed until {change.allowance.until.isoformat()}{reason}; {change.message}")
    elif change.verdict is Verdict.REGRESSED and change.gated:
        case.result, case.kind, case.message = "failure", "regressed", line(change.message)
    elif change.verdict is Verdict.INCONCLUSIVE:
        case.result, case.kind, case.message = "skipped", "inconclusive", line(change.message)
    return case


def _told(figure: Figure) -> list[str]:
    interval, reading = figure.interval, figure.reading
    what = f"{figure.quantity.title}{f' ({reading.name})' if reading.name else ''}"
    told = [f"{what}: {bounded(interval, figure.quantity.unit)}"]
    told += [INTERVAL] if interval.low is not None else []
    told += [f"launches: {figure.launches}"] if figure.launches else []
    told += [f"noisy launches: {len(reading.noisy)}"] if reading.noisy else []
    exact = ", ".join(f"{part} {value!r}" for part, value in _exact(figure) if value is not None)
    return [*told, f"exact: {exact} {unit_name(figure.quantity)}"]


def _exact(figure: Figure) -> tuple[tuple[str, float | None], ...]:
    found = figure.interval
    return ("estimate", found.estimate), ("low", found.low), ("high", found.high)


def _change_told(change: Change) -> list[str]:
    told = [f"verdict: {change.verdict.value}{'' if change.gated else ' (not gated)'}", published(change.message)]
    if change.quantity != STATUS:
        before, after = sides(change)
        told += [f"{quantity(change.quantity).title}: {before} → {after}", f"change: {effect(change)}"]
        told += [INTERVAL] if change.effect is not None and change.effect.low is not None else []
    told += [f"margin: {margin(change)}"] if margin(change) else []
    told += [f"adjusted p: {change.adjusted_p:.4g}"] if change.adjusted_p is not None else []
    told += [f"power to find the margin: {change.power:.0%}"] if change.power is not None else []
    return [*told, *map(published, change.notes)]


def _properties(snapshot: Snapshot) -> dict[str, str]:
    return {
        "suite": snapshot.suite,
        "preset": snapshot.preset,
        "run_id": snapshot.run_id,
        "hw_id": snapshot.hw_id,
        "env_id": snapshot.env_id,
        "harness_version": snapshot.harness_version,
        **({"drift": snapshot.drift} if snapshot.drift else {}),
    }


def _document(snapshot: Snapshot, suites: Mapping[str, Sequence[_Case]], properties: Mapping[str, str]) -> str:
    """Return the XML. Its fields are those that both schemas of Jenkins have (junit-4 of dtkit, junit-10 of xunit)."""
    cases = [case for each in suites.values() for case in each]
    counts = {"tests": str(len(cases)), "failures": _count(cases, "failure"), "errors": _count(cases, "error")}
    root = ET.Element("testsuites", {"name": line(snapshot.suite), **counts})
    for index, (workload, among) in enumerate(suites.items()):
        attributes = {
            "name": line(workload),
            "id": str(index),
            "tests": str(len(among)),
            "failures": _count(among, "failure"),
            "errors": _count(among, "error"),
            "skipped": _count(among, "skipped"),
            "timestamp": snapshot.created_at[:19],  # ISO 8601 in UTC, to the second: more, and some refuse it
        }
        suite = ET.SubElement(root, "testsuite", attributes)
        held = ET.SubElement(suite, "properties")
        for key, value in properties.items():
            ET.SubElement(held, "property", {"name": line(key), "value": line(value)})
        for case in among:
            _append(suite, case)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _append(suite: ET.Element, case: _Case) -> None:
    element = ET.SubElement(suite, "testcase", {"classname": line(case.cell), "name": case.name})
    if case.result:
        result = ET.SubElement(element, case.result, {"type": case.kind, "message": case.message})
        # GitLab shows the text of what went wrong, Jenkins the attribute and the text.
        result.text = "\n".join(dict.fromkeys((case.message, *case.output)))
    elif case.output:
        ET.SubElement(element, "system-out").text = "\n".join(case.output)


def _count(cases: Sequence[_Case], result: str) -> str:
    return str(sum(case.result == result for case in cases))
