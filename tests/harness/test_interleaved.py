"""One plan of two: nothing dropped, nothing twice, both arms of a pair side by side and first in turn."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.arms import BASE, HEAD
from harness.interleaved import interleaved, key_of, label_of
from harness.vocabulary import Cell, Plan, PlannedCell, Precision, Scenario, Skipped

STAGES = {"prove": 0, "accuracy": 2}
SCENARIOS = ("prove", "latency", "throughput", "memory", "accuracy")


def cell(workload, scenario, source="hash", **parameters):
    kind = Scenario(scenario, parameters)
    return Cell(workload, source, {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, "cpu", kind)


def plan(*planned, seed=0):
    return Plan("suite", "quick", seed, tuple(planned), ())


@st.composite
def two_plans(draw):
    """Two plans that share most of their cells: some are in one alone, some are skipped in one."""
    sides = ([], [])
    for workload in range(draw(st.integers(1, 5))):
        for scenario in draw(st.sets(st.sampled_from(SCENARIOS), min_size=1)):
            replicated = scenario in {"latency", "throughput", "memory"}
            launches = draw(st.integers(1, 7)) if replicated else 1
            here = draw(st.sampled_from([(True, True)] * 6 + [(True, False), (False, True)]))
            for number, side in enumerate(sides):
                if here[number]:
                    one = cell(f"w{workload}", scenario, source=f"hash {workload} {number * draw(st.integers(0, 1))}")
                    skipped = Skipped("cannot") if draw(st.integers(0, 9)) == 0 else None
                    side.append(PlannedCell(one, launches, 1.0, skipped))
    seed = draw(st.integers(0, 5))
    return plan(*sides[0], seed=seed), plan(*sides[1], seed=seed)


def paired(both):
    """Both members of each pair by key, launched ones alone."""
    found = defaultdict(dict)
    for planned in both.cells:
        if planned.skipped is None:
            found[key_of(planned.cell)][planned.cell.environment] = planned
    return found


@given(two_plans())
def test_every_launch_is_there_once_and_nothing_else(plans):
    both = interleaved(*plans)
    slots = Counter((slot.cell_id, slot.index) for slot in both.order)
    wanted = Counter(
        (planned.cell.cell_id, index)
        for planned in both.cells
        if planned.skipped is None
        for index in range(planned.launches)
    )
    assert slots == wanted


@given(two_plans())
def test_no_cell_is_dropped_and_who_is_alone_is_not_launched(plans):
    base, head = plans
    both = interleaved(base, head)
    assert Counter(planned.cell.environment for planned in both.cells) == Counter(
        {BASE: len(base.cells), HEAD: len(head.cells)}
    )
    keys = [{key_of(planned.cell) for planned in side.cells} for side in plans]
    launched = {slot.cell_id for slot in both.order}
    for planned in both.cells:
        if not all(key_of(planned.cell) in side for side in keys):
            assert planned.skipped is not None
            assert planned.cell.cell_id not in launched


@given(two_plans())
def test_each_round_holds_both_arms_of_a_pair_side_by_side(plans):
    both = interleaved(*plans)
    place = {(slot.cell_id, slot.index): number for number, slot in enumerate(both.order)}
    for members in paired(both).values():
        if len(members) < 2:
            continue
        base, head = members[BASE], members[HEAD]
        for index in range(min(base.launches, head.launches)):
            mine, theirs = place[base.cell.cell_id, index], place[head.cell.cell_id, index]
            assert abs(mine - theirs) == 1
            assert both.order[mine].round == both.order[theirs].round


@given(two_plans())
def test_the_arms_are_first_in_turn(plans):
    both = interleaved(*plans)
    place = {(slot.cell_id, slot.index): number for number, slot in enumerate(both.order)}
    for members in paired(both).values():
        if len(members) < 2:
            continue
        base, head = members[BASE], members[HEAD]
        rounds = min(base.launches, head.launches)
        first = [place[base.cell.cell_id, index] < place[head.cell.cell_id, index] for index in range(rounds)]
        assert all(one is not other for one, other in itertools.pairwise(first))


@given(two_plans())
def test_proofs_come_first_and_accuracy_last_and_rounds_in_their_order(plans):
    both = interleaved(*plans)
    scenarios = {planned.cell.cell_id: planned.cell.scenario.name for planned in both.cells}
    stages = [STAGES.get(scenarios[slot.cell_id], 1) for slot in both.order]
    assert stages == sorted(stages)
    rounds = [slot.round for slot in both.order]
    assert rounds == sorted(rounds)


@given(two_plans(), st.randoms(use_true_random=False))
def test_the_order_of_the_keys_does_not_matter_and_the_seed_does(plans, random):
    base, head = plans
    shuffled = []
    for side in plans:
        cells = list(side.cells)
        random.shuffle(cells)
        shuffled.append(replace(side, cells=tuple(cells)))
    assert interleaved(base, head).order == interleaved(*shuffled).order


def test_who_is_first_is_drawn_and_neither_side_is_favoured():
    cells = [PlannedCell(cell(f"w{number}", "latency", f"h{number}"), 1) for number in range(200)]
    both = interleaved(plan(*cells), plan(*cells))
    environments = {planned.cell.cell_id: planned.cell.environment for planned in both.cells}
    first = Counter(environments[slot.cell_id] for slot in both.order[::2])
    assert 60 < first[BASE] < 140


def test_another_seed_is_another_order():
    cells = [PlannedCell(cell(f"w{number}", "latency", f"h{number}"), 3) for number in range(5)]
    one, other = (interleaved(plan(*cells, seed=seed), plan(*cells, seed=seed)) for seed in (1, 2))
    assert one.order != other.order


def test_models_that_differ_are_paired_by_name():
    base, head = cell("w", "latency", "old"), cell("w", "latency", "new")
    both = interleaved(plan(PlannedCell(base, 2)), plan(PlannedCell(head, 2)))
    assert len(both.order) == 4
    assert len({planned.cell.cell_id for planned in both.cells}) == 2


def test_scenarios_that_differ_in_their_settings_are_no_pair():
    slow, fast = cell("w", "server", rate=10), cell("w", "server", rate=20)
    assert label_of(slow) == label_of(fast)
    both = interleaved(plan(PlannedCell(slow, 2)), plan(PlannedCell(fast, 2)))
    assert both.order == ()
    assert {planned.skipped.reason for planned in both.cells} == {"only base has this cell", "only head has this cell"}


def test_no_sentinel_is_launched():
    one = PlannedCell(cell("w", "latency"), 2)
    watch = PlannedCell(cell("w", "sentinel"), 4)
    both = interleaved(plan(one, watch), plan(one, watch))
    assert {planned.cell.scenario.name for planned in both.cells} == {"latency"}
