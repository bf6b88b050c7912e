"""What to run next: the plan's order, one retry for noise or a crash, and no repetition of what fails for certain."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.ports import INTERRUPTED, Step
from harness.vocabulary import Completed, Failed, Launch, Skipped, Stage, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import Plan, PlannedCell, Record

_DOOMED = frozenset({Stage.IMPORT, Stage.LOAD, Stage.FIRST, Stage.VERIFY, Stage.POSTPROCESS})
"""Stages of the ``prove`` launch that every other launch of the same variant passes through as well."""

_BEFOREHAND = frozenset({Stage.IDENTIFY, Stage.PROBE, Stage.EXPORT, Stage.PREPARE, Stage.REFERENCE})
"""Stages that no launch passes through: what failed there is not asked again."""
_CRASHED = "crashed"


@dataclass(frozen=True)
class _Past:
    """What became of one replicate so far."""

    tried: list[Record]  # without those that the user interrupted
    lost: int  # attempts that began and never ended


class PlannedOrder:
    """Follow the plan; resume where records leave off.

    A replicate is done when an attempt of it completed and was quiet, or when its retries are spent. After a cell has
    failed without ever completing, its further replicates are left out: a crash or a timeout is not repeated five
    times. A variant whose ``prove`` launch failed twice on the way to the first verified inference is settled as
    skipped in its other scenarios, with the reason.
    """

    def __init__(self, plan: Plan, *, noise_retries: int, unfinished: Mapping[tuple[str, int], int]) -> None:
        """Take the plan; ``unfinished`` holds, by cell and replicate, how many attempts began and never ended."""
        self._plan = plan
        self._planned = {planned.cell.cell_id: planned for planned in plan.cells}
        self._noise_retries = noise_retries
        self._unfinished = unfinished

    def next(self, records: Sequence[Record]) -> Step | None:
        """Return what comes next, or ``None`` when the plan is done."""
        by_slot: dict[tuple[str, int], list[Record]] = defaultdict(list)
        by_cell: dict[str, list[Record]] = defaultdict(list)
        attempts: Counter[tuple[str, int]] = Counter()
        for record in records:
            attempts[record.cell_id, record.launch.index] += 1
            if isinstance(record.outcome, Failed) and record.outcome.kind == INTERRUPTED:
                continue  # the user's doing, not the engine's: as if it had not been tried
            by_slot[record.cell_id, record.launch.index].append(record)
            by_cell[record.cell_id].append(record)
        for slot in self._plan.order:
            planned = self._planned[slot.cell_id]
            if planned.skipped is not None:
                continue
            tried = by_slot[slot.cell_id, slot.index]
            lost = self._unfinished.get((slot.cell_id, slot.index), 0)
            attempt = attempts[slot.cell_id, slot.index] + lost
            launch = Launch(slot.index, attempt, slot.round, self._plan.seed)
            step = self._step(planned, launch, _Past(tried, lost), by_cell)
            if step is not None:
                return step
        return None

    def _step(
        self, planned: PlannedCell, launch: Launch, past: _Past, by_cell: Mapping[str, list[Record]]
    ) -> Step | None:
        cell, tried, lost = planned.cell, past.tried, past.lost
        if any(isinstance(record.outcome, Skipped) for record in tried):
            return None
        completed = [record for record in tried if isinstance(record.outcome, Completed)]
        if completed:
            again = len(tried) + lost <= self._noise_retries and all(_noisy(record) for record in completed)
            return Step(cell, launch) if again else None
        if tried:
            may_retry = cell.scenario.name == "prove" and len(tried) == 1 and _is_crash(tried[0])
            return Step(cell, launch) if may_retry else None
        if lost > 1:
            message = f"the run was ended {lost} times during this launch, without a record"
            hint = "an engine that takes the machine down is measured with `harness rerun`"
            return Step(cell, launch, Failed(Stage.STEADY, _CRASHED, message, hint))
        others = by_cell.get(cell.cell_id, [])
        if others and not any(isinstance(record.outcome, Completed) for record in others):
            return None
        doom = self._doom(planned, by_cell)
        return Step(cell, launch, doom)

    def _doom(self, planned: PlannedCell, by_cell: Mapping[str, list[Record]]) -> Skipped | None:
        if planned.cell.scenario.name == "prove":
            return None
        variant = planned.cell.variant_id
        for other in self._plan.cells:
            if other.cell.scenario.name != "prove" or other.cell.variant_id != variant:
                continue
            proofs = by_cell.get(other.cell.cell_id, [])
            if not proofs:
                return None
            last = proofs[-1].outcome
            if isinstance(last, Failed) and (last.stage in _DOOMED or last.kind == _CRASHED):
                return Skipped(f"its prove launch failed: {last.message}", last.hint)
            if isinstance(last, Skipped):
                return last
        return None


def _noisy(record: Record) -> bool:
    return any(reading.state is State.BAD for reading in record.noise.values())


def _is_crash(record: Record) -> bool:
    outcome = record.outcome
    return isinstance(outcome, Failed) and outcome.kind == "crash" and outcome.stage not in _BEFOREHAND
