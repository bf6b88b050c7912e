"""What comes next: never twice what completed, never five times what crashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.policy import PlannedOrder
from harness.ports import INTERRUPTED
from harness.vocabulary import (
    Cell,
    Completed,
    Failed,
    NoiseReading,
    Plan,
    PlannedCell,
    Precision,
    Record,
    Scenario,
    Skipped,
    Slot,
    Stage,
    State,
)

NOISY = {"steal": NoiseReading(State.BAD, 0.5, 0.05)}


def cell(engine, scenario):
    return Cell("w", "h", {"name": "raw"}, (3,), engine, Precision.FP32, "cpu", Scenario(scenario))


def plan_of(*planned, rounds=2):
    order = [
        Slot(item.cell.cell_id, index, index) for index in range(rounds) for item in planned if index < item.launches
    ]
    return Plan("suite", "quick", 0, tuple(planned), tuple(order))


def record(step, outcome=None, noise=None):
    return Record(
        "r",
        step.cell,
        step.launch,
        outcome or Completed(),
        "hw",
        "env",
        "t",
        1,
        cell_id=step.cell.cell_id,
        noise=noise or {},
    )


def play(policy, answer, limit=200):
    """Run a policy to its end, answering each step; return the steps and the records."""
    steps, records = [], []
    while (step := policy.next(records)) is not None:
        steps.append(step)
        records.append(record(step, step.settled) if step.settled else answer(step))
        assert len(steps) < limit, "the policy does not end"
    return steps, records


LATENCY = PlannedCell(cell("a", "latency"), 2)
PROVE = PlannedCell(cell("a", "prove"), 1)


def test_every_launch_is_made_once():
    steps, _ = play(PlannedOrder(plan_of(PROVE, LATENCY), noise_retries=1, unfinished={}), record)
    assert [(step.cell.scenario.name, step.launch.index) for step in steps] == [
        ("prove", 0),
        ("latency", 0),
        ("latency", 1),
    ]


def test_a_noisy_launch_is_retried_as_often_as_allowed():
    steps, _ = play(
        PlannedOrder(plan_of(LATENCY), noise_retries=1, unfinished={}), lambda step: record(step, noise=NOISY)
    )
    assert [(step.launch.index, step.launch.attempt) for step in steps] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_quiet_retry_is_enough():
    steps, _ = play(
        PlannedOrder(plan_of(LATENCY), noise_retries=3, unfinished={}),
        lambda step: record(step, noise=NOISY if step.launch.attempt == 0 else None),
    )
    assert len(steps) == 4


def test_a_crash_is_not_repeated_for_every_replicate():
    failed = Failed(Stage.STEADY, "timeout", "no end")
    steps, _ = play(PlannedOrder(plan_of(LATENCY), noise_retries=1, unfinished={}), lambda step: record(step, failed))
    assert len(steps) == 1


def test_a_failed_proof_is_retried_once_and_settles_its_variant():
    def answer(step):
        return record(step, Failed(Stage.LOAD, "crash", "killed by SIGSEGV in stage load"))

    steps, records = play(PlannedOrder(plan_of(PROVE, LATENCY), noise_retries=0, unfinished={}), answer)
    assert [step.cell.scenario.name for step in steps] == ["prove", "prove", "latency"]
    assert isinstance(records[-1].outcome, Skipped)
    assert "SIGSEGV" in records[-1].outcome.reason


def test_a_proof_that_fails_in_describing_only_costs_the_proof():
    other = PlannedCell(cell("b", "latency"), 1)
    failed = Failed(Stage.PROVE, "ValueError", "nonsense")
    steps, records = play(
        PlannedOrder(plan_of(PROVE, LATENCY, other), noise_retries=0, unfinished={}),
        lambda step: record(step, failed if step.cell.scenario.name == "prove" else None),
    )
    assert sum(isinstance(item.outcome, Completed) for item in records) == 3
    assert len(steps) == 4


def test_what_the_plan_skips_is_not_run():
    skipped = PlannedCell(cell("b", "latency"), 2, skipped=Skipped("not installed"))
    steps, _ = play(PlannedOrder(plan_of(skipped, LATENCY), noise_retries=0, unfinished={}), record)
    assert {step.cell.engine for step in steps} == {"a"}


@pytest.mark.parametrize(("lost", "settled"), [(1, False), (2, True)])
def test_a_launch_that_took_the_run_down_is_tried_once_more(lost, settled):
    policy = PlannedOrder(plan_of(LATENCY), noise_retries=0, unfinished={(LATENCY.cell.cell_id, 0): lost})
    step = policy.next([])
    assert (step.settled is not None) == settled
    if not settled:
        assert step.launch.attempt == lost


@settings(deadline=None)
@given(st.data())
def test_resuming_anywhere_gives_the_same_launches(data):
    noisy = data.draw(st.sets(st.tuples(st.integers(0, 1), st.integers(0, 1))))

    def answer(step):
        return record(step, noise=NOISY if (step.launch.index, step.launch.attempt) in noisy else None)

    plan = plan_of(PROVE, LATENCY)
    steps, records = play(PlannedOrder(plan, noise_retries=1, unfinished={}), answer)
    cut = data.draw(st.integers(0, len(records)))
    resumed = PlannedOrder(plan, noise_retries=1, unfinished={})
    rest, so_far = [], list(records[:cut])
    while (step := resumed.next(so_far)) is not None:
        rest.append(step)
        so_far.append(answer(step))
    assert steps[:cut] + rest == steps


def test_a_launch_that_the_user_interrupts_again_and_again_is_never_a_crash():
    interrupted = Failed(Stage.LOAD, INTERRUPTED, "the run was interrupted in this launch")
    policy = PlannedOrder(plan_of(LATENCY), noise_retries=0, unfinished={})
    records = []
    for attempt in range(5):
        step = policy.next(records)
        assert step.settled is None
        assert step.launch.attempt == attempt
        records.append(record(step, interrupted))


def test_attempts_that_left_no_record_are_counted_with_those_that_did():
    interrupted = Failed(Stage.LOAD, INTERRUPTED, "the run was interrupted in this launch")
    policy = PlannedOrder(plan_of(LATENCY), noise_retries=0, unfinished={(LATENCY.cell.cell_id, 0): 1})
    first = policy.next([])
    assert policy.next([record(first, interrupted)]).launch.attempt == 2


def test_a_noisy_launch_whose_retry_took_the_run_down_is_not_retried_for_ever():
    lost = {(LATENCY.cell.cell_id, 0): 1}
    first = PlannedOrder(plan_of(LATENCY), noise_retries=1, unfinished={}).next([])
    policy = PlannedOrder(plan_of(LATENCY), noise_retries=1, unfinished=lost)
    assert policy.next([record(first, noise=NOISY)]).launch.index == 1


@pytest.mark.parametrize("stage", [Stage.PROBE, Stage.EXPORT, Stage.REFERENCE])
def test_a_crash_before_any_launch_is_not_tried_again(stage):
    failed = Failed(stage, "crash", "killed by SIGABRT")
    steps, _ = play(
        PlannedOrder(plan_of(PROVE, LATENCY), noise_retries=0, unfinished={}), lambda step: record(step, failed)
    )
    assert [step.cell.scenario.name for step in steps] == ["prove", "latency"]


def test_a_proof_that_took_the_run_down_twice_settles_its_variant():
    policy = PlannedOrder(plan_of(PROVE, LATENCY), noise_retries=0, unfinished={(PROVE.cell.cell_id, 0): 2})
    crashed = policy.next([])
    assert crashed.settled.kind == "crashed"
    told = policy.next([record(crashed, crashed.settled)])
    assert isinstance(told.settled, Skipped)


@settings(deadline=None)
@given(st.data())
def test_a_policy_that_was_asked_before_says_what_a_fresh_one_would(data):
    outcomes = (
        Completed(),
        Skipped("no such kernel"),
        Failed(Stage.LOAD, "crash", "killed by SIGSEGV"),
        Failed(Stage.LOAD, INTERRUPTED, "the run was interrupted in this launch"),
    )
    drawn = st.tuples(st.sampled_from(outcomes), st.sampled_from((None, NOISY)))
    plan = plan_of(PROVE, LATENCY, PlannedCell(cell("b", "latency"), 2))
    lost = {(LATENCY.cell.cell_id, 1): data.draw(st.integers(0, 2))}
    asked = PlannedOrder(plan, noise_retries=1, unfinished=lost)
    records = []
    for _ in range(data.draw(st.integers(0, 12))):
        step = asked.next(records)
        assert step == PlannedOrder(plan, noise_retries=1, unfinished=lost).next(records)
        if step is None:
            break
        records.append(record(step, step.settled) if step.settled else record(step, *data.draw(drawn)))
        if data.draw(st.integers(0, 4)) == 0:  # a correction of what was taken in already
            at = data.draw(st.integers(0, len(records) - 1))
            records[at] = record(step, *data.draw(drawn))
    assert asked.next([]) == PlannedOrder(plan, noise_retries=1, unfinished=lost).next([])
