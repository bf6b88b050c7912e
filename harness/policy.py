"""What to run next: the plan's order, one retry for noise or a crash, and no repetition of what fails for certain."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from harness.plan_order import PROVE
from harness.ports import INTERRUPTED, Step
from harness.vocabulary import Completed, Failed, Launch, Skipped, Slot, Stage, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import Plan, PlannedCell, Record

_DOOMED = frozenset({Stage.IMPORT, Stage.LOAD, Stage.FIRST, Stage.VERIFY, Stage.POSTPROCESS})
"""Stages of the ``prove`` launch that every other launch of the same variant passes through as well."""

_BEFOREHAND = frozenset({Stage.IDENTIFY, Stage.PROBE, Stage.EXPORT, Stage.PREPARE, Stage.REFERENCE})
"""Stages that no launch passes through: what failed there is not asked again."""
_CRASHED = "crashed"


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
        self._rules = Rules(plan, noise_retries, unfinished)
        self._past = Past(())
        self._known: tuple[Record, ...] = ()  # what ``_past`` was made of
        self._place = 0  # in the order; what stands before it is done, and further records do not undo that

    def next(self, records: Sequence[Record]) -> Step | None:
        """Return what comes next, or ``None`` when the plan is done."""
        self._take(records)
        while self._place < len(self._plan.order):
            step = self._rules.step(self._plan.order[self._place], self._past)
            if step is not None:
                return step
            self._place += 1
        return None

    def left(self, records: Sequence[Record]) -> tuple[Step, ...]:
        """Return everything that is still to be done by what is known now, in the order of the plan."""
        self._take(records)
        steps = (self._rules.step(slot, self._past) for slot in self._plan.order[self._place :])
        return tuple(step for step in steps if step is not None)

    def _take(self, records: Sequence[Record]) -> None:
        """Take in what is new: looking at all of them before each launch would cost the square of their number."""
        known = len(self._known)
        if tuple(records[:known]) != self._known:  # a correction, or another run's
            self._past, self._place, known = Past(()), 0, 0
        for record in records[known:]:
            self._past.add(record)
        self._known = tuple(records)


class Past:
    """What became of a run's launches so far, without those that the user ended.

    An interruption is the user's doing, not the engine's: as if it had not been tried, but for the attempt's number.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        """Take every record of the run, oldest first."""
        self.by_slot: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.by_cell: dict[str, list[Record]] = defaultdict(list)
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.records: list[Record] = []
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take one more record, the newest."""
        self.attempts[record.cell_id, record.launch.index] += 1
        if isinstance(record.outcome, Failed) and record.outcome.kind == INTERRUPTED:
            return
        self.by_slot[record.cell_id, record.launch.index].append(record)
        self.by_cell[record.cell_id].append(record)
        self.records.append(record)


class Rules:
    """When a place in the order is done, tried again, or settled without a launch."""

    def __init__(self, plan: Plan, noise_retries: int, unfinished: Mapping[tuple[str, int], int]) -> None:
        """Take what ``PlannedOrder`` takes."""
        self._seed = plan.seed
        self._planned = {planned.cell.cell_id: planned for planned in plan.cells}
        self._variants = {cell_id: planned.cell.variant_id for cell_id, planned in self._planned.items()}
        self._proofs = {
            self._variants[cell_id]: cell_id
            for cell_id, planned in self._planned.items()
            if planned.cell.scenario.name == PROVE
        }
        self._noise_retries = noise_retries
        self._unfinished = unfinished

    def launch(self, slot: Slot, past: Past) -> Launch:
        """Return the next attempt at a place in the order."""
        key = (slot.cell_id, slot.index)
        return Launch(slot.index, past.attempts[key] + self._unfinished.get(key, 0), slot.round, self._seed)

    def step(self, slot: Slot, past: Past) -> Step | None:
        """Return what is to be done at a place in the order, ``None`` where it is done."""
        planned = self._planned[slot.cell_id]
        if planned.skipped is not None:
            return None
        cell, launch = planned.cell, self.launch(slot, past)
        tried, lost = past.by_slot[slot.cell_id, slot.index], self._unfinished.get((slot.cell_id, slot.index), 0)
        if any(isinstance(record.outcome, Skipped) for record in tried):
            return None
        completed = [record for record in tried if isinstance(record.outcome, Completed)]
        if completed:
            again = len(tried) + lost <= self._noise_retries and all(_noisy(record) for record in completed)
            return Step(cell, launch) if again else None
        if tried:
            may_retry = cell.scenario.name == PROVE and len(tried) == 1 and _is_crash(tried[0])
            return Step(cell, launch) if may_retry else None
        if lost > 1:
            message = f"the run was ended {lost} times during this launch, without a record"
            hint = "an engine that takes the machine down is measured with `harness rerun`"
            return Step(cell, launch, Failed(Stage.STEADY, _CRASHED, message, hint))
        others = past.by_cell[slot.cell_id]
        if others and not any(isinstance(record.outcome, Completed) for record in others):
            return None
        return Step(cell, launch, self._doom(planned, past))

    def _doom(self, planned: PlannedCell, past: Past) -> Skipped | None:
        if planned.cell.scenario.name == PROVE:
            return None
        proof = self._proofs.get(self._variants[planned.cell.cell_id], "")
        proofs = past.by_cell[proof]
        last = proofs[-1].outcome if proofs else None
        if isinstance(last, Failed) and (last.stage in _DOOMED or last.kind == _CRASHED):
            return Skipped(f"its prove launch failed: {last.message}", last.hint)
        return last if isinstance(last, Skipped) else None


def _noisy(record: Record) -> bool:
    return any(reading.state is State.BAD for reading in record.noise.values())


def _is_crash(record: Record) -> bool:
    outcome = record.outcome
    return isinstance(outcome, Failed) and outcome.kind == "crash" and outcome.stage not in _BEFOREHAND
