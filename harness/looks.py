"""What a gate runs next: whole rounds as long as time lasts, and a longer plan where the first look asks for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.durations import expected
from harness.plan_order import ACCURACY, PROVE
from harness.vocabulary import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.ports import LaunchPolicy, Step
    from harness.vocabulary import Plan, Record, Slot


class Looks:
    """Follow a plan to its end, ask once whether there is a longer one, and follow that.

    The time is a cap: a round is begun only where it should end in time, proof and accuracy launches still kept free.
    Rounds are left out whole, so that every cell has the same number of launches, whatever it showed.
    """

    def __init__(
        self,
        plan: Plan,
        follow: Callable[[Plan], LaunchPolicy],
        longer: Callable[[], Plan | None],
        seconds_left: Callable[[], float],
    ) -> None:
        """Take the plan, the policy that follows one, and what is asked at its end."""
        self.plan = plan
        """The plan that is followed now."""
        self._follow = follow
        self._longer: Callable[[], Plan | None] | None = longer
        self._seconds_left = seconds_left
        self._policy = follow(plan)
        self._round = 0
        self._names = {each.cell.cell_id: each.cell.scenario.name for each in plan.cells}
        self.cut: int | None = None
        """How many rounds there were time for, where it was fewer than planned."""

    def next(self, records: Sequence[Record]) -> Step | None:
        """Return what comes next, or ``None`` where neither the plan nor a longer one has more."""
        while True:
            step = self._policy.next(records)
            if step is None:
                longer = self._longer() if self._longer is not None and self.cut is None else None
                self._longer = None
                if longer is None:
                    return None
                self.plan = longer
                self._policy = self._follow(longer)
            elif self._begins_round(step) and not self._has_time(step.launch.round, records):
                self.cut = step.launch.round
                self.plan = replace(
                    self.plan, order=tuple(slot for slot in self.plan.order if not self._is_late(slot, self.cut))
                )
                self._policy = self._follow(self.plan)
            else:
                self._round = max(self._round, step.launch.round)
                return step

    def _begins_round(self, step: Step) -> bool:
        return step.launch.round > self._round and self._names[step.cell.cell_id] not in {PROVE, ACCURACY}

    def _has_time(self, number: int, records: Sequence[Record]) -> bool:
        return _seconds(self.plan, records, self._is_due(number)) <= self._seconds_left()

    def _is_due(self, number: int) -> Callable[[Slot], bool]:
        """Return whether a place belongs to a round, or has to be kept free for after it."""
        return lambda slot: slot.round == number or self._names[slot.cell_id] in {PROVE, ACCURACY}

    def _is_late(self, slot: Slot, number: int) -> bool:
        return slot.round >= number and self._names[slot.cell_id] not in {PROVE, ACCURACY}


def seconds_more(longer: Plan, records: Sequence[Record]) -> float:
    """Return what the launches of a longer plan that are still to come should take, by those that were made."""
    return _seconds(longer, records, lambda _: True)


def _seconds(plan: Plan, records: Sequence[Record], is_due: Callable[[Slot], bool]) -> float:
    """Return what the places that are due should take, those left out that were tried and those of cells that fail."""
    tried = {(record.cell_id, record.launch.index): record.duration_ns / 1e9 for record in records}
    works = {record.cell_id for record in records if isinstance(record.outcome, Completed)}
    fails = {record.cell_id for record in records} - works
    estimate = expected(plan, tried)
    return math.fsum(
        estimate(slot.cell_id)
        for slot in plan.order
        if is_due(slot) and (slot.cell_id, slot.index) not in tried and slot.cell_id not in fails
    )
