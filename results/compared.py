"""Two snapshots compared: which cells answer each other, what became of them, and what differs around them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.arms import BASE, HEAD
from harness.errors import HarnessError
from harness.plan import fits
from results.changes import STATUS, Change, Comparison, Rules
from results.changes import today as the_present_day
from results.comparison import Design, Verdict
from results.environments import differences
from results.judged import Subject, family_size, judged
from results.quantities import quantity
from results.snapshot import COMPLETED, FAILED, NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from results.changes import Allowance, Difference
    from results.snapshot import CellState, Reading, Snapshot

ACROSS = "compare all the same with --across-hardware, or measure the other side on this machine"
_SELF_EXPLAINED = frozenset({"noisy", "retried", "screening"})
"""Findings that the launches of a change tell anyway."""


class ComparisonRefused(HarnessError):  # noqa: N818 - no error of the program, and named as users read it
    """The two sides are from different machines, and nobody asked for that."""


class NothingToCompare(HarnessError):  # noqa: N818 - as above
    """The two sides have nothing in common."""


def compared(
    before: Snapshot,
    after: Snapshot,
    rules: Rules | None = None,
    *,
    today: date | None = None,
    across_hardware: bool = False,
) -> Comparison:
    """Return what differs between two snapshots, judged by ``rules``; in the order of the plan of ``after``.

    Cells answer each other by ``cell_id``; of interleaved arms by ``key``, which leaves the environment's label out.
    Each reading is judged by the rule of its quantity (see ``results.judged``); what is not gated is judged alike and
    fails nothing. Only what both sides measured is judged; what one side lacks is told. ``today``: the day by which
    allowances are held, by default the present one. Raises ``ComparisonRefused`` for two machines, unless
    ``across_hardware`` is asked, and ``NothingToCompare`` where no cell is in both, or none that the rules select.
    """
    rules = rules or Rules()
    hardware = _hardware(before, after)
    if hardware and not across_hardware:
        listed = ", ".join(f"{each.place} ({each.before} → {each.after})" for each in hardware[:4])
        more = f" and {len(hardware) - 4} more" if len(hardware) > 4 else ""
        raise ComparisonRefused(f"not compared, the hardware differs: {listed}{more}", ACROSS)
    first, second = _by_identity(before, rules), _by_identity(after, rules)
    common = [key for key in second if key in first]
    if not common:
        raise NothingToCompare("nothing to compare: no cell is in both", _why_nothing_common(before, after))
    selected = {key for key in common if _selected(rules, second[key])}
    if not selected:
        patterns = ", ".join(map(repr, rules.only))
        raise NothingToCompare(
            f"nothing to compare: no cell of both matches {patterns}", f"one is {after.cells[0].label}"
        )
    changes = _changes(first, second, common, rules, selected)
    day = today or the_present_day()
    return Comparison(
        before=before,
        after=after,
        rules=rules,
        changes=tuple(_allowed(change, second[change.key], rules.allowances, day) for change in changes),
        added=tuple(cell.label for key, cell in second.items() if key not in first),
        removed=tuple(cell.label for key, cell in first.items() if key not in second),
        hardware=hardware,
        causes=differences(before.environment, after.environment),
        family=family_size(change for change in changes if change.quantity != STATUS),
        notes=tuple(_notes(before, after, rules.design)),
    )


def _changes(
    first: Mapping[str, CellState],
    second: Mapping[str, CellState],
    common: Sequence[str],
    rules: Rules,
    selected: set[str],
) -> list[Change]:
    """Return the changes in the order of ``common``."""
    told: dict[str, list[Change]] = defaultdict(list)
    subjects: list[Subject] = []
    for key in common:
        one, other = first[key], second[key]
        became = _became(key, one, other, gated=STATUS in rules.gated and key in selected)
        if became is not None:
            told[key].append(became)
        if one.status == other.status == COMPLETED:
            for found in _readings(key, one, other, rules, selected):
                if isinstance(found, Subject):
                    subjects.append(found)
                else:
                    told[key].append(found)
    for change in judged(subjects, rules.level, rules.design):
        told[change.key].append(change)
    order = _order(second, first, common)
    return [change for key in common for change in sorted(told[key], key=lambda change: order[change.quantity])]


def _order(second: Mapping[str, CellState], first: Mapping[str, CellState], common: Sequence[str]) -> dict[str, int]:
    """Return the place of each quantity among the changes of a cell; what became of the cell stands before all."""
    names = (reading.quantity for cells in (second, first) for key in common for reading in cells[key].readings)
    return {name: place for place, name in enumerate(dict.fromkeys((STATUS, *names)))}


def _hardware(before: Snapshot, after: Snapshot) -> tuple[Difference, ...]:
    if before.hw_id == after.hw_id:
        return ()
    # A baseline may have been stripped of all but the id.
    return differences(before.hardware, after.hardware) or differences({"hw_id": before.hw_id}, {"hw_id": after.hw_id})


def _by_identity(snapshot: Snapshot, rules: Rules) -> dict[str, CellState]:
    cells = {rules.identity(cell): cell for cell in snapshot.cells}
    if len(cells) < len(snapshot.cells):
        raise ValueError("one side holds two cells of one identity: each arm is a snapshot of its own")
    return cells


def _selected(rules: Rules, cell: CellState) -> bool:
    return not rules.only or any(fits(pattern, cell.label, cell.cell_id) for pattern in rules.only)


def _why_nothing_common(before: Snapshot, after: Snapshot) -> str:
    if not before.cells or not after.cells:
        return "one of them has no cell at all"
    if {cell.label for cell in before.cells} & {cell.label for cell in after.cells}:
        if _side(before) != _side(after):
            return "a side of two answers the other of its own run, or the same side of another: RUN1@head, RUN2@head"
        return "cells of one name differ in what they are: other weights, images or settings make another cell"
    return f"the one has cells like {before.cells[0].label}, the other like {after.cells[0].label}"


def _side(snapshot: Snapshot) -> str:
    """Return which of two interleaved sides a snapshot is, empty where it is of a whole run."""
    run, _, side = snapshot.run_id.rpartition("@")
    return side if run and side in {BASE, HEAD} else ""


def _became(key: str, before: CellState, after: CellState, *, gated: bool) -> Change | None:
    """Return the change of what became of a cell; ``None`` where it is what it was, whatever the reason."""
    was, now = _fate(before), _fate(after)
    if before.status == after.status == COMPLETED:
        return _failing_more(key, before, after, gated=gated)
    if before.status == after.status or not {before.status, after.status} & {COMPLETED, FAILED}:
        return None
    if (before.status, after.status) == (COMPLETED, FAILED):
        verdict, message = Verdict.REGRESSED, f"it {now}; before it completed"
    elif (before.status, after.status) == (FAILED, COMPLETED):
        verdict, message = Verdict.IMPROVED, f"it completes; before it {was}"
    elif before.status == COMPLETED:
        verdict, message = Verdict.INCONCLUSIVE, f"was measured before; now {now}"
    elif after.status == COMPLETED:  # nothing was lost
        verdict, message, gated = Verdict.INCONCLUSIVE, f"is measured; before it was {was}", False
    else:
        verdict, message = Verdict.INCONCLUSIVE, f"now {now}; before {was}"
    return Change(key, after.label, STATUS, verdict, message, gated)


def _failing_more(key: str, before: CellState, after: CellState, *, gated: bool) -> Change | None:
    """Return the change of a cell of whose launches more fail than did; ``None`` where that is not so.

    It completes still, now and then: a regression where most of its launches fail, else no answer.
    """
    shares = [cell.failed / max(cell.planned, cell.failed, 1) for cell in (before, after)]
    if shares[1] <= shares[0]:
        return None
    verdict = Verdict.REGRESSED if shares[0] <= 0.5 < shares[1] else Verdict.INCONCLUSIVE
    counts = f"{after.failed} of {after.planned} launches failed; before {before.failed} of {before.planned}"
    return Change(key, after.label, STATUS, verdict, counts, gated)


def _fate(cell: CellState) -> str:
    if cell.status == FAILED:
        return f"failed: {cell.why}" if cell.why else "failed"
    if cell.status == NOT_RUN:
        return "not run"
    return f"{cell.status}: {cell.why}" if cell.why else cell.status


def _readings(
    key: str, before: CellState, after: CellState, rules: Rules, selected: set[str]
) -> Iterator[Subject | Change]:
    """Yield what is to be judged, and what cannot be, since one side lacks it."""
    first, second = ({reading.quantity: reading for reading in cell.readings} for cell in (before, after))
    notes = tuple(_notes_of(before, after))
    for name in dict.fromkeys((*second, *first)):
        known = quantity(name)
        gated = key in selected and known.rule_name in rules.gated
        margin = rules.margins.get(known.rule_name, known.margin)
        if name in first and name in second:
            kept = (*_launches_missing(first[name], before, second[name], after), *notes)
            yield Subject(key, after.label, known, first[name], second[name], margin, gated, kept)
        else:
            yield _one_sided(Change(key, after.label, name, Verdict.INCONCLUSIVE, "", gated), lost=name in first)


def _one_sided(change: Change, *, lost: bool) -> Change:
    """Return the change of what one side alone measured of a cell that completed on both."""
    known = quantity(change.quantity)
    if known.name == "rate":
        # The search went the same way on both sides: that nothing was found is its result.
        verdict = Verdict.REGRESSED if lost else Verdict.IMPROVED
        message = "no rate keeps the SLO; before one did" if lost else "a rate keeps the SLO; before none did"
        return replace(change, verdict=verdict, message=message)
    few = ": too few samples carry it" if known.rule_name == "tail" else ""
    if lost:
        return replace(change, message=f"{known.title} was measured before, and is not now{few}")
    return replace(change, message=f"{known.title} was not measured before{few}", gated=False)


def _launches_missing(before: Reading, one: CellState, after: Reading, other: CellState) -> Iterator[str]:
    for name, reading, cell in (("before", before, one), ("after", after, other)):
        if 0 < len(reading.launches) < cell.planned:
            yield f"{name}: {len(reading.launches)} of {cell.planned} launches"


def _notes_of(before: CellState, after: CellState) -> Iterator[str]:
    for name, one, other in (("after", after, before), ("before", before, after)):
        alone = [kind for kind in one.findings if kind not in other.findings and kind not in _SELF_EXPLAINED]
        if alone:
            yield f"found {name} alone: {', '.join(alone)}"


def _allowed(change: Change, cell: CellState, allowances: Sequence[Allowance], day: date) -> Change:
    """Return a change that may have to be allowed with the first allowance that holds today."""
    if change.verdict not in {Verdict.REGRESSED, Verdict.INCONCLUSIVE}:
        return change
    rule = STATUS if change.quantity == STATUS else quantity(change.quantity).rule_name
    for allowance in allowances:
        if day <= allowance.until and allowance.rule in {"", rule} and fits(allowance.cells, cell.label, cell.cell_id):
            return replace(change, allowance=allowance)
    return change


def _notes(before: Snapshot, after: Snapshot, design: Design) -> Iterator[str]:
    if before.run_id == after.run_id and before.derived_from == after.derived_from and before.cells == after.cells:
        yield "both are one run"
    if before.preset != after.preset:
        yield f"measured with preset {before.preset} before, {after.preset} after"
    for name, side in (("before", before), ("after", after)):
        if side.drift:
            yield f"{name}: {side.drift}"
        yield from (f"{name}: {note}" for note in side.notes)
    if design is Design.APART:
        labels = {cell.label: cell.cell_id for cell in before.cells}
        others = sum(labels.get(cell.label, cell.cell_id) != cell.cell_id for cell in after.cells)
        if others:
            words = "not compared, since other weights, images or settings bear the same name"
            yield f"{words}: {others} of {len(after.cells)} cells"
