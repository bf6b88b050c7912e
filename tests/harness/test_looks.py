"""A longer plan, and what a gate runs next: whole rounds while there is time, and more of all or of none."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.looks import Looks, seconds_more
from harness.plan_order import SENTINEL, lengthened, ordered, sentinel, watched
from harness.policy import PlannedOrder
from harness.vocabulary import (
    Cell,
    Completed,
    Failed,
    Plan,
    PlannedCell,
    Precision,
    Record,
    Scenario,
    Skipped,
    Stage,
)

CRASH = Failed(Stage.STEADY, "crash", "it crashed")


def cell(scenario, batch=1):
    return Cell(
        workload="toy",
        source_hash="s" * 64,
        task={"name": "raw"},
        shape=(3, 8, 8),
        engine="fake",
        precision=Precision.FP32,
        device="cpu",
        scenario=Scenario(scenario),
        batch=batch,
    )


def plan_of(launches, *, batches=(1, 2, 3), watch=True, scenarios=("latency", "throughput")):
    cells = [PlannedCell(cell("prove", batch), 1, 10.0) for batch in batches]
    cells += [PlannedCell(cell(name, batch), launches, 10.0) for name in scenarios for batch in batches]
    cells += [PlannedCell(cell("memory"), min(launches, 3), 10.0), PlannedCell(cell("accuracy"), 1, 10.0)]
    cells.append(PlannedCell(cell("latency", 99), launches, 10.0, Skipped("not here")))
    made = {each.cell.cell_id: each for each in cells}
    plan = Plan("toy", "default", 7, tuple(cells), ordered(made, 7))
    return watched(plan, sentinel(cells)) if watch else plan


def name_of(plan):
    return {each.cell.cell_id: each.cell.scenario.name for each in plan.cells}


@pytest.mark.parametrize("watch", [True, False])
@given(first=st.integers(3, 12), more=st.integers(1, 12), batches=st.integers(1, 4))
def test_a_longer_plan_goes_on_as_one_of_so_many_launches_from_the_start(watch, first, more, batches):
    short = plan_of(first, batches=range(1, batches + 1), watch=watch)
    longer, whole = lengthened(short, first + more), plan_of(first + more, batches=range(1, batches + 1), watch=False)
    names = name_of(short)
    assert longer.order[: len(short.order)] == short.order
    assert len(set(longer.order)) == len(longer.order)
    added = [slot for slot in longer.order[len(short.order) :] if names[slot.cell_id] != SENTINEL]
    wanted = [slot for slot in whole.order if slot.round >= first and names[slot.cell_id] in {"latency", "throughput"}]
    assert added == wanted
    made = Counter(slot.cell_id for slot in longer.order)
    assert all(made[each.cell.cell_id] == (0 if each.skipped else each.launches) for each in longer.cells)


def test_the_sentinel_watches_on_to_the_end():
    short = plan_of(10)
    longer = lengthened(short, 20)
    names = name_of(short)
    added = longer.order[len(short.order) :]
    assert names[added[-1].cell_id] == SENTINEL
    indices = [slot.index for slot in longer.order if names[slot.cell_id] == SENTINEL]
    assert indices == list(range(len(indices)))
    assert len(indices) > sum(names[slot.cell_id] == SENTINEL for slot in short.order)


def test_a_plan_that_is_as_long_stays_as_it_is():
    assert lengthened(plan_of(10), 10) == plan_of(10)
    assert lengthened(plan_of(10), 4) == plan_of(10)


class Play:
    """Launches that are made by a policy, each of which takes ten seconds."""

    def __init__(self, plan, *, longer=None, cap_s=1e9, failing=()):
        self.records, self.asked, self.cap_s = [], 0, cap_s
        self.longer, self.failing = longer, failing
        self.looks = Looks(plan, self.follow, self.ask, self.left)
        while (step := self.looks.next(self.records)) is not None:
            outcome = CRASH if step.cell.batch in failing else step.settled or Completed()
            record = Record(
                "run", step.cell, step.launch, outcome, "hw", "env", "", 10_000_000_000, cell_id=step.cell.cell_id
            )
            self.records.append(record)

    def follow(self, plan):
        return PlannedOrder(plan, noise_retries=0, unfinished={})

    def ask(self):
        self.asked += 1
        return self.longer

    def left(self):
        return self.cap_s - 10 * len(self.records)

    def counts(self, scenario):
        return Counter(r.cell.batch for r in self.records if r.cell.scenario.name == scenario)


def test_a_plan_is_followed_and_a_longer_one_is_asked_for_once():
    plan = plan_of(4)
    once = Play(plan)
    assert (once.asked, once.looks.cut) == (1, None)
    assert [(r.cell_id, r.launch.index) for r in once.records] == [(s.cell_id, s.index) for s in plan.order]
    twice = Play(plan, longer=lengthened(plan, 8))
    assert twice.asked == 1
    assert set(twice.counts("latency").values()) == {8}
    assert twice.looks.plan == lengthened(plan, 8)


@given(cap_s=st.floats(0, 900), launches=st.integers(3, 10))
def test_time_leaves_out_whole_rounds_and_keeps_accuracy(cap_s, launches):
    made = Play(plan_of(launches), longer=lengthened(plan_of(launches), 2 * launches), cap_s=cap_s)
    counts = made.counts("latency") + made.counts("throughput")
    rounds = {count // 2 for count in counts.values()}
    assert len(rounds) == 1
    assert made.counts("accuracy") == {1: 1}
    (done,) = rounds
    assert 1 <= done <= 2 * launches
    assert done == (made.looks.cut or 2 * launches)
    if done > 1:
        assert 10 * len(made.records) <= cap_s + 1e-6


def test_no_longer_plan_is_asked_for_where_the_time_was_up():
    made = Play(plan_of(10), longer=lengthened(plan_of(10), 20), cap_s=300)
    assert made.asked == 0
    assert 1 <= made.looks.cut < 10


def test_what_is_still_to_come_counts_no_cell_that_never_works():
    plan = plan_of(4, watch=False)
    made = Play(plan, failing={2})
    longer = lengthened(plan, 6)
    assert seconds_more(longer, made.records) == pytest.approx(10 * 2 * 2 * 2)  # rounds, scenarios, batches that work
    assert seconds_more(plan, made.records) == 0
    assert seconds_more(replace(plan, cells=longer.cells, order=longer.order), made.records) > 0
