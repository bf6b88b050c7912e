"""Every cell has one host, rows that are compared have the same, and no host has much more to do than another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness import plan_order
from harness.fleet import sharing
from harness.vocabulary import Cell, Plan, PlannedCell, Precision, Scenario, Skipped

FP32, INT8, FP16 = Precision.FP32, Precision.INT8, Precision.FP16


def cell(scenario="latency", **other):
    facts = {"engine": "a", "precision": FP32, "device": "cpu", **other}
    return Cell("w", "h", {"name": "raw"}, (3,), scenario=Scenario(scenario), **facts)


def plan_of(*planned, seed=0):
    cells = {each.cell.cell_id: each for each in planned}
    return Plan("suite", "quick", seed, tuple(cells.values()), plan_order.ordered(cells, seed))


def rows(*variants, scenarios=("prove", "latency"), seconds=1.0, launches=1):
    """Return planned cells of variants, each a mapping of what is unlike the usual."""
    return [PlannedCell(cell(scenario, **variant), launches, seconds) for variant in variants for scenario in scenarios]


def trusted(_cell):
    return True


variants = st.fixed_dictionaries(
    {
        "engine": st.sampled_from("abc"),
        "precision": st.sampled_from([FP32, INT8, FP16]),
        "batch": st.integers(1, 3),
        "threads": st.sampled_from([None, 1, 2]),
    }
)
amounts = st.tuples(st.integers(1, 3), st.floats(0.1, 100), st.booleans())


@st.composite
def plans(draw):
    chosen = draw(st.lists(variants, min_size=1, max_size=12, unique_by=lambda each: tuple(each.items())))
    planned = []
    for variant in chosen:
        scenarios = draw(st.sets(st.sampled_from(["latency", "throughput", "accuracy"]), min_size=1))
        for scenario in ["prove", *sorted(scenarios)]:
            launches, seconds, skipped = draw(amounts)
            count = 1 if scenario in {"prove", "accuracy"} else launches
            planned.append(PlannedCell(cell(scenario, **variant), count, seconds, Skipped("no") if skipped else None))
    made = plan_of(*planned, seed=draw(st.integers(0, 5)))
    watch = plan_order.sentinel(made.cells)
    return plan_order.watched(made, watch) if watch else made


hosts = st.sets(st.sampled_from(["oak", "elm", "ash", "fir"]), min_size=1)


@given(plans(), hosts)
def test_every_cell_has_exactly_one_host(plan, names):
    shares = sharing.shares(plan, names, trusted)
    assert shares.keys() == names
    given_to = Counter(
        each.cell.cell_id for part in shares.values() for each in part.cells if not sharing.is_sentinel(each)
    )
    assert given_to == {each.cell.cell_id: 1 for each in plan.cells if not sharing.is_sentinel(each)}
    watching = {
        each.cell.cell_id for part in (plan, *shares.values()) for each in part.cells if sharing.is_sentinel(each)
    }
    slots = [slot for part in shares.values() for slot in part.order if slot.cell_id not in watching]
    assert sorted(slots, key=repr) == sorted((s for s in plan.order if s.cell_id not in watching), key=repr)


@given(plans(), hosts)
def test_a_variant_is_measured_whole_and_in_the_order_of_the_plan(plan, names):
    of_variant = {}
    for name, part in sharing.shares(plan, names, trusted).items():
        for each in part.cells:
            assert of_variant.setdefault(each.cell.variant_id, name) == name
        kept = {each.cell.cell_id for each in part.cells if not sharing.is_sentinel(each)}
        mine = [slot for slot in part.order if slot.cell_id in kept]
        assert mine == [slot for slot in plan.order if slot.cell_id in kept]


@given(plans(), hosts)
def test_no_host_has_more_than_another_by_over_the_longest_unit(plan, names):
    pieces = sharing.units(plan)
    load = {
        name: sum(unit.seconds for unit in each)
        for name, each in sharing.share(pieces, dict.fromkeys(names, 0.0)).items()
    }
    longest = max((unit.seconds for unit in pieces), default=0.0)
    assert max(load.values()) - min(load.values()) <= longest + 1e-9


@given(plans(), hosts)
def test_the_same_question_has_the_same_answer(plan, names):
    assert sharing.shares(plan, names, trusted) == sharing.shares(plan, sorted(names, reverse=True), trusted)


def test_the_longest_come_first_and_go_to_whoever_has_least():
    one, two, three = (sharing.Unit((name,), seconds) for name, seconds in (("x", 5.0), ("y", 4.0), ("z", 3.0)))
    assert sharing.share([three, one, two], {"b": 0.0, "a": 0.0}) == {"a": (one,), "b": (two, three)}
    assert sharing.share([one], {"a": 6.0, "b": 0.5}) == {"a": (), "b": (one,)}


def test_rows_whose_accuracies_are_compared_have_one_host():
    scenarios = ("prove", "latency", "accuracy")
    chosen = [{"batch": 1}, {"batch": 1, "precision": INT8}, {"batch": 2}, {"batch": 2, "precision": FP16}]
    plan = plan_of(*rows(*chosen, {"engine": "b", "precision": INT8}, scenarios=scenarios))
    found = [[(planned.engine, planned.batch) for planned in each] for each in _cells(plan)]
    # That of engine b, which has no FP32 row, is compared with the FP32 row that is likest to it.
    assert found == [[("a", 1), ("a", 1), ("b", 1)], [("a", 2), ("a", 2)]]
    untold = plan_of(*rows(*chosen, scenarios=("prove", "latency")))
    assert all(len(unit.variants) == 1 for unit in sharing.units(untold))


def _cells(plan):
    by_variant = {each.cell.variant_id: each.cell for each in plan.cells}
    return [[by_variant[variant] for variant in unit.variants] for unit in sharing.units(plan)]


def test_the_reference_is_the_one_that_the_results_compare_with():
    from harness.vocabulary import Accuracy
    from results.accuracy import Evaluated, reference_for

    chosen = [
        {"engine": engine, "batch": batch, "device": device}
        for engine in "ab"
        for batch in (1, 2)
        for device in ("cpu", "x")
    ]
    lower = {"engine": "b", "batch": 2, "device": "x", "precision": INT8}
    plan = plan_of(*rows(*chosen, lower, scenarios=("accuracy",)))
    evaluated = [Evaluated(each.cell, "", Accuracy({"m": 1.0}, "m", 1)) for each in plan.cells]
    reference = reference_for(evaluated[-1], evaluated)
    together = next(unit for unit in sharing.units(plan) if evaluated[-1].cell.variant_id in unit.variants)
    assert together.variants == (reference.cell.variant_id, evaluated[-1].cell.variant_id)


def test_skipped_cells_stand_with_their_row_or_with_the_first_host():
    beside = PlannedCell(cell("accuracy", threads=2), 1, 1.0, Skipped("no images"))
    alone = [replace(each, skipped=Skipped("not installed")) for each in rows({"engine": "b"})]
    plan = plan_of(*rows({"threads": 1}, seconds=9.0), *rows({"threads": 2}), beside, *alone)
    shares = sharing.shares(plan, ["elm", "oak"], trusted)
    assert [each.cell.threads for each in shares["elm"].cells if each.skipped is None] == [1, 1]
    assert beside in shares["oak"].cells
    assert all(each in shares["elm"].cells for each in alone)


def test_each_host_has_a_sentinel_of_its_own_that_can_be_trusted():
    plan = plan_of(*rows(*({"threads": n} for n in range(1, 9)), launches=3))
    shares = sharing.shares(plan, ["elm", "oak"], lambda cell: cell.threads != 1)
    for part in shares.values():
        (watch,) = (each for each in part.cells if sharing.is_sentinel(each))
        assert watch.cell.variant_id in {each.cell.variant_id for each in part.cells if not sharing.is_sentinel(each)}
        assert watch.cell.threads != 1


def test_more_hosts_than_rows_leave_some_with_nothing():
    shares = sharing.shares(plan_of(*rows({})), ["ash", "elm", "oak"], trusted)
    assert [bool(part.cells) for part in shares.values()] == [True, False, False]
