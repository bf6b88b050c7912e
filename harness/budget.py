"""What to run next where time is limited: screening first, then the timed cell whose interval is widest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from harness.durations import expected
from harness.plan_order import ACCURACY, MEMORY, PROVE, SENTINEL, SENTINEL_EVERY, SENTINELS
from harness.policy import Past, Rules
from harness.ports import Step
from harness.presets import SCREENING_LAUNCHES
from harness.scenarios import KINDS
from harness.statistics import CONFIDENCE
from harness.vocabulary import Completed, Failed, Skipped, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.vocabulary import Plan, PlannedCell, Record

_SERVER, _THROUGHPUT = "server", "throughput"


@dataclass(frozen=True)
class Budget:
    """Time for the launches of a run."""

    text: str  # as the suite says it: 30m
    seconds: float
    launches: int  # of one cell, at most


class BudgetedOrder:
    """Spend a budget by half-widths, never by verdicts; resume where records leave off.

    Proofs come first, then two launches of each timed cell in the plan's order with the memory launches among them,
    then accuracy; what is left goes, launch by launch, to the timed cell with the widest interval relative to its
    value. A launch is begun only where what it should take fits, the first launches of accuracy and memory cells still
    kept free. The sentinel runs first, after each tenth launch or third of the time, and last. Cells that were never
    begun are settled as skipped at the end. Stopping where a verdict looks good would double the false alarms; a
    half-width says nothing of which side is ahead.

    The clock is the sum of the records' durations: exporting is not in it, nor is an attempt that left no record.
    """

    def __init__(
        self, plan: Plan, budget: Budget, *, noise_retries: int, unfinished: Mapping[tuple[str, int], int]
    ) -> None:
        """Take what ``PlannedOrder`` takes, and the budget."""
        self._plan = plan
        self._budget = budget
        self._rules = Rules(plan, noise_retries, unfinished)
        self._cells = {planned.cell.cell_id: planned for planned in plan.cells if planned.skipped is None}
        self._watch = next((key for key, planned in self._cells.items() if _name(planned) == SENTINEL), None)
        self._proofs = [slot for slot in plan.order if self._name_of(slot) == PROVE]
        self._screening = [slot for slot in plan.order if self._is_screening(slot)]
        self._untimed = [key for key, planned in self._cells.items() if _name(planned) in {ACCURACY, MEMORY}]
        self._replicated = [key for key, planned in self._cells.items() if _is_replicated(planned)]
        self._every = max(1, min(SENTINEL_EVERY, self._most_launches() // (SENTINELS[0] - 1)))

    def next(self, records: Sequence[Record]) -> Step | None:
        """Return what comes next, or ``None`` when the budget is spent or every cell has its most launches."""
        now = _Now(self._plan, Past(records), records)
        return self._again(now) or self._launch(now) or self._closing(now) or self._settled(now)

    def _again(self, now: _Now) -> Step | None:
        """Return the retry of the launch before."""
        if not now.past.records:
            return None
        last = now.past.records[-1]
        planned = self._cells.get(last.cell_id)
        if planned is None:
            return None
        kept_s = 0.0 if _name(planned) == PROVE else self._reserved_s(now)
        return self._fitting(Slot(last.cell_id, last.launch.index, last.launch.round), now, kept_s)

    def _launch(self, now: _Now) -> Step | None:
        for slots, kept_s in self._stages(now):
            for slot in slots:
                step = self._fitting(slot, now, kept_s)
                if step is not None:
                    is_watched = step.settled is None and self._name_of(slot) not in {PROVE, ACCURACY}
                    return (self._watching(now) if is_watched else None) or step
        return None

    def _stages(self, now: _Now) -> Iterator[tuple[Sequence[Slot], float]]:
        """Yield the places in the order of their importance, each stage with the seconds it must leave for others."""
        yield self._proofs, 0.0
        closing_s = now.expected_s(self._watch) if self._watch else 0.0
        yield self._screening, closing_s + self._reserved_s(now)
        yield self._widest(now), closing_s

    def _reserved_s(self, now: _Now) -> float:
        """Return what the first launches of the cells that are not timed should take, where they are still to come."""
        steps = {key: self._rules.step(Slot(key, 0, 0), now.past) for key in self._untimed}
        return math.fsum(now.expected_s(key) for key, step in steps.items() if step and step.settled is None)

    def _widest(self, now: _Now) -> list[Slot]:
        """Return the next replicate of each timed cell that may have one, the widest interval first."""
        found = []
        for key in self._replicated:
            completed, failed = now.completed(key), now.failed(key)
            if not completed or failed > len(completed):
                continue  # it never works, or too seldom to be worth the time
            width = half_width([value for record in completed if (value := _value(record)) > 0])
            index = len({record.launch.index for record in now.past.by_cell[key]})
            told = math.isfinite(width) or len(completed) < SCREENING_LAUNCHES
            if index < self._budget.launches and told:
                found.append((-width, index, key))
        return [Slot(key, index, index) for _, index, key in sorted(found)]

    def _most_launches(self) -> int:
        """Return how many timed and memory launches there are, however much time there is."""
        return sum(
            self._budget.launches if _is_replicated(planned) else planned.launches
            for planned in self._cells.values()
            if _name(planned) not in {PROVE, ACCURACY, SENTINEL}
        )

    def _watching(self, now: _Now) -> Step | None:
        """Return a launch of the sentinel where one is due before the next of another cell."""
        if self._watch is None:
            return None
        runs, since, since_s = now.watched(self._watch)
        late = since >= self._every or since_s >= self._budget.seconds / (SENTINELS[0] - 1)
        due = runs == 0 or (late and since > 0 and runs < SENTINELS[1] - 1)
        return self._fitting(Slot(self._watch, runs, now.round), now, self._reserved_s(now)) if due else None

    def _closing(self, now: _Now) -> Step | None:
        """Return the last launch of the sentinel, where anything was timed since the one before."""
        if self._watch is None:
            return None
        runs, since, _ = now.watched(self._watch)
        return self._fitting(Slot(self._watch, runs, now.round), now, kept_s=0.0) if runs and since else None

    def _settled(self, now: _Now) -> Step | None:
        """Return why a cell was never begun, for the first that is without a word."""
        for key, planned in self._cells.items():
            if not now.past.by_cell[key]:
                why = Skipped(f"not run: the budget of {self._budget.text} was spent", "raise `budget`")
                return Step(planned.cell, self._rules.launch(Slot(key, 0, 0), now.past), why)
        return None

    def _fitting(self, slot: Slot, now: _Now, kept_s: float) -> Step | None:
        """Return the step at a place where what it should take, and what is kept for others, fits the budget."""
        step = self._rules.step(slot, now.past)
        if step is None or step.settled is not None:
            return step
        own_s = now.expected_s(slot.cell_id)
        if slot.cell_id in self._untimed and slot.index == 0:
            kept_s -= own_s  # it is what the time is kept for
        return step if now.spent_s + own_s + max(kept_s, 0.0) <= self._budget.seconds else None

    def _is_screening(self, slot: Slot) -> bool:
        name = self._name_of(slot)
        if name in {PROVE, SENTINEL}:
            return False
        return not KINDS[name].timed or slot.index < SCREENING_LAUNCHES

    def _name_of(self, slot: Slot) -> str:
        return _name(self._cells[slot.cell_id])


class _Now:
    """How far a run is."""

    def __init__(self, plan: Plan, past: Past, records: Sequence[Record]) -> None:
        self.past = past
        self.spent_s = math.fsum(record.duration_ns for record in records) / 1e9
        self.round = max((record.launch.round for record in past.records), default=0)
        taken = {
            (record.cell_id, record.launch.index): record.duration_ns / 1e9
            for record in past.records
            if isinstance(record.outcome, Completed)
        }
        self.expected_s: Callable[[str], float] = expected(plan, taken)

    def completed(self, cell_id: str) -> list[Record]:
        """Return the attempt that counts of each launch that did what was asked."""
        by_index = {
            record.launch.index: record
            for record in self.past.by_cell[cell_id]
            if isinstance(record.outcome, Completed)
        }
        return list(by_index.values())

    def failed(self, cell_id: str) -> int:
        """Return how many attempts failed."""
        return sum(isinstance(record.outcome, Failed) for record in self.past.by_cell[cell_id])

    def watched(self, sentinel: str) -> tuple[int, int, float]:
        """Return how many launches the sentinel had, how many others there were since its last, and for how long."""
        since, since_ns = 0, 0
        for record in reversed(self.past.records):
            if record.cell_id == sentinel:
                break
            since += record.cell.scenario.name not in {PROVE, ACCURACY} and not isinstance(record.outcome, Skipped)
            since_ns += record.duration_ns
        return len({record.launch.index for record in self.past.by_cell[sentinel]}), since, since_ns / 1e9


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the t interval on the logarithms of positive values; infinite for fewer than two."""
    if len(values) < 2:
        return math.inf
    logs = np.log(np.asarray(values, dtype=np.float64))
    reach = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2))
    return reach * float(logs.std(ddof=1)) / math.sqrt(len(logs))


def _value(record: Record) -> float:
    """Return what a launch found: its rate where that is what it measures, else its median; 0 where it has neither."""
    timing, scenario = record.timing, record.cell.scenario
    if timing is None:
        return 0.0
    if scenario.name == _SERVER and KINDS[_SERVER].configured(scenario.parameters).rate is None:
        return max((trial.rate_hz for trial in record.trials if trial.kept), default=0.0)
    if scenario.name == _THROUGHPUT:
        return timing.steady_iterations / timing.steady_ns if timing.steady_ns > 0 else 0.0
    return float(timing.median_ns)


def _is_replicated(planned: PlannedCell) -> bool:
    kind = KINDS[_name(planned)]
    return kind.timed and kind.replicated


def _name(planned: PlannedCell) -> str:
    return planned.cell.scenario.name
