"""A budget: never overrun, spent where intervals are widest, and every cell that got nothing told so."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness import plan_order
from harness.budget import Budget, BudgetedOrder, half_width
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
    Stage,
    State,
    Timing,
    Trial,
)

NOISY = {"steal": NoiseReading(State.BAD, 0.5, 0.05)}
SECONDS = {
    "prove": 6.0,
    "server": 10.0,
    "latency": 10.0,
    "throughput": 10.0,
    "sentinel": 10.0,
    "memory": 10.0,
    "accuracy": 30.0,
}
LAUNCHES = {"latency": 5, "throughput": 5, "server": 5, "memory": 3}


def cell(engine, scenario, parameters=None):
    return Cell("w", "h", {"name": "raw"}, (3,), engine, Precision.FP32, "cpu", Scenario(scenario, parameters or {}))


def plan_of(engines=("a", "b"), scenarios=("prove", "latency"), *, watched=False, parameters=None):
    cells = [
        PlannedCell(cell(engine, name, parameters), LAUNCHES.get(name, 1), SECONDS[name])
        for engine in engines
        for name in scenarios
    ]
    keyed = {planned.cell.cell_id: planned for planned in cells}
    plan = Plan("suite", "default", 0, tuple(cells), plan_order.ordered(keyed, 0))
    return plan_order.watched(plan, plan_order.sentinel(cells)) if watched else plan


class Machine:
    """Answers steps: each launch takes what ``took`` says, and finds what ``medians`` says of its engine."""

    def __init__(self, medians=None, took=None, noisy=frozenset(), failing=None):
        self.medians, self.took = medians or {}, took or SECONDS
        self.noisy, self.failing = noisy, failing or {}

    def record(self, step, outcome=None):
        name, engine, index = step.cell.scenario.name, step.cell.engine, step.launch.index
        outcome = step.settled or outcome or self.failing.get((engine, name), Completed())
        medians = self.medians.get(engine, (100, 101))
        value = medians[index % len(medians)]
        timing = Timing(0, 0, 0, steady_iterations=1000 * value, steady_ns=10**9, median_ns=10**6 * value)
        return Record(
            "r",
            step.cell,
            step.launch,
            outcome,
            "hw",
            "env",
            "t",
            0 if step.settled else int(1e9 * self.took[name]),
            cell_id=step.cell.cell_id,
            timing=timing,
            noise=NOISY if name != "prove" and (engine, index, step.launch.attempt) in self.noisy else {},
        )

    def play(self, order, records=()):
        """Run a policy to its end; return the records."""
        records = list(records)
        while (step := order.next(records)) is not None:
            records.append(self.record(step))
            assert len(records) < 500, "the policy does not end"
        return records


def budgeted(plan, seconds, launches=20, retries=0, unfinished=None):
    return BudgetedOrder(
        plan, Budget(f"{seconds:g}s", seconds, launches), noise_retries=retries, unfinished=unfinished or {}
    )


def said(records):
    return [(record.cell.engine, record.cell.scenario.name, record.launch.index) for record in records]


def spent(records):
    return sum(record.duration_ns for record in records) / 1e9


def launches_by_engine(records, scenario="latency"):
    made = [record for record in records if record.cell.scenario.name == scenario and record.duration_ns]
    return Counter(record.cell.engine for record in made)


def test_proofs_then_two_launches_of_each_then_the_widest():
    wide, narrow = (100, 140, 90, 120), (100, 101, 99, 100)
    records = Machine({"a": narrow, "b": wide}).play(budgeted(plan_of(), 6 + 6 + 100))
    names = said(records)
    assert {name for _, name, _ in names[:2]} == {"prove"}
    assert sorted(names[2:6]) == [(engine, "latency", index) for engine in "ab" for index in (0, 1)]
    assert launches_by_engine(records) == {"a": 2, "b": 8}
    assert spent(records) == 112


def test_it_ends_where_every_cell_has_its_most_launches():
    records = Machine().play(budgeted(plan_of(), 1e6, launches=7))
    assert launches_by_engine(records) == {"a": 7, "b": 7}
    indices = [index for engine, name, index in said(records) if (engine, name) == ("a", "latency")]
    assert indices == list(range(7))


def test_throughput_is_judged_by_its_rate():
    machine = Machine({"a": (100, 101), "b": (100, 140)})
    records = machine.play(budgeted(plan_of(scenarios=("prove", "throughput")), 12 + 70))
    assert launches_by_engine(records, "throughput") == {"a": 2, "b": 5}


def test_a_search_is_judged_by_the_rate_that_it_found():
    """Its responses are as long as the SLO allows, whatever the rate: they say nothing of how sure that is."""
    rates = {"a": (100, 101), "b": (100, 140)}

    class Server(Machine):
        def record(self, step, outcome=None):
            made = super().record(step, outcome)
            found = rates[step.cell.engine][step.launch.index % 2]
            tried = ((found, True), (2 * found, False), (0.5 * found, True))
            trials = tuple(Trial(rate, 10.0, 100, 0, 100, kept) for rate, kept in tried)
            return replace(made, trials=trials)

    machine = Server({"a": (100, 140), "b": (100, 101)})
    records = machine.play(budgeted(plan_of(scenarios=("prove", "server")), 12 + 70))
    assert launches_by_engine(records, "server") == {"a": 2, "b": 5}


def test_a_search_that_finds_no_rate_gets_the_screening_alone():
    class Server(Machine):
        def record(self, step, outcome=None):
            return replace(super().record(step, outcome), trials=(Trial(10.0, 10.0, 100, 0, 100, kept=False),))

    machine = Server()
    records = machine.play(budgeted(plan_of(engines=("a",), scenarios=("prove", "server")), 200))
    assert launches_by_engine(records, "server") == {"a": 2}


def test_a_given_rate_is_judged_by_the_responses_to_it():
    machine = Machine({"a": (100, 101), "b": (100, 140)})
    plan = plan_of(scenarios=("prove", "server"), parameters={"rate": 20.0})
    records = machine.play(budgeted(plan, 12 + 70))
    assert launches_by_engine(records, "server") == {"a": 2, "b": 5}


def test_what_a_launch_took_counts_and_not_what_was_thought():
    slow = {**SECONDS, "latency": 25.0}
    records = Machine(took=slow).play(budgeted(plan_of(), 12 + 100))
    # Where 25 s are known to be needed and are not left, no launch is begun.
    assert sum(launches_by_engine(records).values()) == 4
    assert spent(records) <= 112


def test_accuracy_and_memory_are_kept_free_before_anything_is_timed():
    plan = plan_of(scenarios=("prove", "latency", "memory", "accuracy"))
    records = Machine().play(budgeted(plan, 12 + 20 + 60 + 25))
    done = Counter(record.cell.scenario.name for record in records if record.duration_ns)
    assert done["accuracy"] == 2
    assert done["memory"] >= 2
    assert done["latency"] >= 2
    assert spent(records) <= 117


def test_what_was_never_begun_says_so():
    plan = plan_of(engines=("a", "b", "c"))
    records = Machine(took={**SECONDS, "prove": 20.0}).play(budgeted(plan, 65))
    settled = [record for record in records if isinstance(record.outcome, Skipped)]
    assert settled
    assert {record.outcome.reason for record in settled} == {"not run: the budget of 65s was spent"}
    assert {record.cell_id for record in records} == {planned.cell.cell_id for planned in plan.cells}
    assert budgeted(plan, 65).next(records) is None


def test_what_the_plan_skips_is_not_settled_again():
    plan = plan_of()
    skipped = replace(plan.cells[0], skipped=Skipped("not installed"))
    order = tuple(slot for slot in plan.order if slot.cell_id != skipped.cell.cell_id)
    records = Machine().play(budgeted(replace(plan, cells=(skipped, *plan.cells[1:]), order=order), 1))
    assert skipped.cell.cell_id not in {record.cell_id for record in records}
    assert len(records) == 3


def test_a_proof_that_fails_settles_its_variant_and_costs_no_more():
    crash = Failed(Stage.LOAD, "crash", "killed by SIGSEGV")
    records = Machine(failing={("a", "prove"): crash}).play(budgeted(plan_of(), 300, launches=5))
    mine = [record for record in records if record.cell.engine == "a"]
    assert [record.cell.scenario.name for record in mine] == ["prove", "prove", "latency"]
    assert isinstance(mine[-1].outcome, Skipped)
    assert launches_by_engine(records) == {"b": 5}


def test_what_fails_more_often_than_not_gets_no_more():
    timeout = Failed(Stage.STEADY, "timeout", "no end")
    order, machine, records = budgeted(plan_of(), 1e6, launches=9), Machine(), []
    while (step := order.next(records)) is not None:
        bad = step.cell.engine == "a" and step.launch.index > 0
        records.append(machine.record(step, timeout if bad else None))
    assert launches_by_engine(records) == {"a": 3, "b": 9}


def test_a_noisy_launch_is_retried_at_once_where_it_fits():
    noisy = {("a", 0, 0), ("b", 3, 0)}
    records = Machine(noisy=noisy).play(budgeted(plan_of(), 1e6, launches=4, retries=1))
    for engine, index, _ in noisy:
        at = [
            place
            for place, record in enumerate(records)
            if (record.cell.engine, record.cell.scenario.name, record.launch.index) == (engine, "latency", index)
        ]
        assert len(at) == 2
        assert at[1] == at[0] + 1
    tight = Machine(noisy={("a", 0, 0), ("b", 0, 0)}).play(budgeted(plan_of(), 12 + 19, retries=1))
    assert sum(launches_by_engine(tight).values()) == 1


def test_the_sentinel_runs_first_now_and_then_and_last():
    plan = plan_of(engines=("a", "b", "c", "d"), watched=True)
    records = Machine().play(budgeted(plan, 24 + 10 * 60))
    names = [name for _, name, _ in said(records) if name != "prove"]
    assert (names[0], names[-1]) == ("sentinel", "sentinel")
    at = [place for place, name in enumerate(names) if name == "sentinel"]
    assert all(after - before <= 11 for before, after in itertools.pairwise(at))
    assert 4 <= len(at) <= 12
    assert [record.launch.index for record in records if record.cell.scenario.name == "sentinel"] == list(
        range(len(at))
    )
    assert spent(records) <= 624


@pytest.mark.parametrize("seconds", [12 + 150, 12 + 200, 12 + 1000, 1e6])
def test_the_sentinel_runs_often_enough_to_tell_a_drift(seconds):
    records = Machine().play(budgeted(plan_of(watched=True), seconds, launches=8))
    assert sum(launches_by_engine(records, "sentinel").values()) >= plan_order.SENTINELS[0]


def test_the_sentinel_is_run_no_more_often_than_tells_anything():
    plan = plan_of(engines=("a", "b", "c", "d"), watched=True)
    records = Machine().play(budgeted(plan, 1e6, launches=60))
    assert sum(launches_by_engine(records, "sentinel").values()) == 12
    assert sum(launches_by_engine(records).values()) == 240


def test_a_launch_that_the_user_ended_is_made_again_and_its_time_is_spent():
    plan = plan_of()
    first = budgeted(plan, 12 + 45).next([])
    ended = Machine().record(first, Failed(Stage.LOAD, INTERRUPTED, "the run was interrupted in this launch"))
    records = Machine().play(budgeted(plan, 12 + 45), [ended])
    assert (records[1].cell_id, records[1].launch.attempt) == (first.cell.cell_id, 1)
    assert sum(launches_by_engine(records).values()) == 3
    assert spent(records) <= 57


def test_a_launch_that_took_the_run_down_twice_is_settled_as_failed():
    plan = plan_of(engines=("a",))
    lost = {(cell("a", "latency").cell_id, 3): 2}
    records = Machine().play(budgeted(plan, 1e6, launches=6, unfinished=lost))
    assert [record.outcome.kind for record in records if isinstance(record.outcome, Failed)] == ["crashed"]
    assert launches_by_engine(records) == {"a": 5}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_resuming_anywhere_gives_the_same_launches_and_never_overruns(data):
    scenarios = data.draw(
        st.sampled_from([("prove", "latency"), ("prove", "latency", "throughput", "memory", "accuracy")])
    )
    plan = plan_of(("a", "b", "c"), scenarios, watched=data.draw(st.booleans()))
    value = st.integers(90, 130)
    machine = Machine(
        {engine: data.draw(st.lists(value, min_size=1, max_size=5)) for engine in "abc"},
        noisy=data.draw(st.frozensets(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.just(0)))),
    )
    seconds = data.draw(st.floats(1, 1500))

    def order():
        return budgeted(plan, seconds, launches=8, retries=1)

    records = machine.play(order())
    assert spent(records) <= seconds
    cut = data.draw(st.integers(0, len(records)))
    assert machine.play(order(), records[:cut]) == records
    assert {record.cell_id for record in records} == {planned.cell.cell_id for planned in plan.cells}
    attempts = [(record.cell_id, record.launch.index, record.launch.attempt) for record in records]
    assert len(set(attempts)) == len(attempts)


@given(st.lists(st.floats(1e-3, 1e9), min_size=2, max_size=12))
def test_a_half_width_is_that_of_the_t_interval_of_the_logarithms(values):
    logs = [math.log(value) for value in values]
    spread = stats.sem(logs)
    expected = stats.t.ppf(0.975, len(logs) - 1) * spread
    assert half_width(values) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("values", [[], [5.0]])
def test_fewer_than_two_launches_have_no_interval(values):
    assert half_width(values) == math.inf
