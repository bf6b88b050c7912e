"""Two snapshots compared: which cells answer each other, their fates, and what holds whatever the numbers."""

import re
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from results.changes import STATUS, Allowance, Rules
from results.compared import ComparisonRefused, NothingToCompare, compared
from results.comparison import Design, Verdict
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED, CellState, Reading, Snapshot

REGRESSED, IMPROVED, EQUIVALENT, INCONCLUSIVE = (
    Verdict.REGRESSED,
    Verdict.IMPROVED,
    Verdict.EQUIVALENT,
    Verdict.INCONCLUSIVE,
)
TODAY = date(2026, 12, 1)
WOBBLE = np.exp(0.01 * np.resize([1, -1], 10))
MIRROR = {REGRESSED: IMPROVED, IMPROVED: REGRESSED, EQUIVALENT: EQUIVALENT, INCONCLUSIVE: INCONCLUSIVE}


def run(*cells, **changes):
    fields = {
        "run_id": "01RUN",
        "created_at": "2026-12-01T00:00:00.000+00:00",
        "suite": "ci",
        "preset": "default",
        "hw_id": "hw",
        "env_id": "env",
        "harness_version": "0.1.0",
        "hardware": {"cpu": {"name": "EPYC"}, "memory_gib": 16},
        "environment": {"versions": {"torch": "2.13"}},
        **changes,
    }
    return Snapshot(**fields, cells=tuple(cells))


def launched(values, name="latency", noisy=()):
    return Reading(name, tuple(map(float, values)), tuple(range(len(values))), tuple(noisy))


def cell(number=0, *readings, **changes):
    readings = readings or (launched(100 * WOBBLE),)
    fields = {
        "cell_id": f"{number:064x}",
        "key": f"{number:064x}",
        "label": f"toy/fake/fp32/cpu/b{number}/latency",
        "workload": "toy",
        "engine": "fake",
        "precision": "fp32",
        "device": "cpu",
        "scenario": "latency",
        "status": COMPLETED,
        "readings": readings if changes.get("status", COMPLETED) == COMPLETED else (),
        "planned": 10,
    }
    return CellState(**{**fields, **changes})


def slower(factor=1.1, number=0):
    return cell(number, launched(factor * 100 * WOBBLE))


def verdicts(comparison):
    return {(change.label, change.quantity): change.verdict for change in comparison.changes}


def only(comparison):
    (change,) = comparison.changes
    return change


def test_cells_answer_each_other_by_identity_in_the_order_of_after():
    found = compared(run(cell(0), cell(1), cell(2)), run(slower(1.1, 2), cell(0), cell(3)), today=TODAY)
    assert [change.label for change in found.changes] == [cell(2).label, cell(0).label]
    assert [change.verdict for change in found.changes] == [REGRESSED, EQUIVALENT]
    assert (found.added, found.removed) == ((cell(3).label,), (cell(1).label,))
    assert found.family == 2
    assert (found.hardware, found.causes, found.notes) == ((), (), ())
    assert [change.label for change in found.failing] == [cell(2).label]


def test_arms_answer_each_other_by_key():
    before = run(cell(0, cell_id="a" * 64, label="toy/fake@base/b0"))
    after = run(replace(slower(), cell_id="b" * 64, label="toy/fake@head/b0"))
    with pytest.raises(NothingToCompare):
        compared(before, after)
    change = only(compared(before, after, Rules(design=Design.INTERLEAVED)))
    assert (change.verdict, change.label) == (REGRESSED, "toy/fake@head/b0")
    with pytest.raises(ValueError, match="identity"):
        compared(run(*before.cells, *after.cells), after, Rules(design=Design.INTERLEAVED))


@pytest.mark.parametrize(
    ("before", "after", "verdict", "words"),
    [
        ({}, {"status": FAILED, "why": "steady, crash: signal 11"}, REGRESSED, "it failed: steady, crash: signal 11"),
        ({"status": FAILED, "why": "timeout"}, {}, IMPROVED, "it completes; before it failed: timeout"),
        (
            {},
            {"status": SKIPPED, "why": "not installed"},
            INCONCLUSIVE,
            "was measured before; now skipped: not installed",
        ),
        ({}, {"status": NOT_RUN}, INCONCLUSIVE, "was measured before; now not run"),
        ({"status": SKIPPED, "why": "no"}, {}, INCONCLUSIVE, "is measured; before it was skipped: no"),
        (
            {"status": FAILED, "why": "x"},
            {"status": SKIPPED, "why": "y"},
            INCONCLUSIVE,
            "now skipped: y; before failed: x",
        ),
        ({"status": SKIPPED}, {"status": FAILED}, INCONCLUSIVE, "now failed; before skipped"),
    ],
)
def test_what_became_of_a_cell(before, after, verdict, words):
    change = only(compared(run(cell(**before)), run(cell(**after))))
    assert (change.quantity, change.verdict) == (STATUS, verdict)
    assert words in change.message
    was_lost = after.get("status", COMPLETED) != COMPLETED or verdict is IMPROVED
    assert change.gated is was_lost, "what is measured for the first time leaves no gate open"


@pytest.mark.parametrize("status", [FAILED, SKIPPED, NOT_RUN])
def test_what_is_as_it_was_is_no_change(status):
    same = cell(status=status, why="one reason"), cell(status=status, why="another")
    assert compared(run(same[0]), run(same[1])).changes == ()
    assert compared(run(cell(status=SKIPPED)), run(cell(status=NOT_RUN))).changes == ()


def test_status_is_gated_like_everything_else():
    rules = Rules(gated=frozenset({"latency"}))
    found = compared(run(cell(0)), run(cell(0, status=FAILED)), rules)
    assert (only(found).gated, found.failing) == (False, ())


def test_every_quantity_is_judged_by_its_rule_and_margin():
    before = cell(0, launched(100 * WOBBLE), launched(50 * WOBBLE, "load"), Reading("p99", (10.0,), low=9.9, high=10.1))
    after = cell(0, launched(104 * WOBBLE), launched(60 * WOBBLE, "load"), Reading("p99", (12.0,), low=11.9, high=12.1))
    found = compared(run(before), run(after))
    assert [(c.quantity, c.verdict, c.gated) for c in found.changes] == [
        ("latency", REGRESSED, True),
        ("load", REGRESSED, False),
        ("p99", REGRESSED, False),
    ]
    rules = Rules(margins={"latency": 0.10, "cold_start": 0.5, "tail": 0.5}, gated=frozenset({"tail"}))
    found = compared(run(before), run(after), rules)
    assert [(c.verdict, c.gated, c.margin) for c in found.changes] == [
        (EQUIVALENT, False, 0.10),
        (EQUIVALENT, False, 0.5),
        (EQUIVALENT, True, 0.5),
    ]


def test_gated_cells_are_a_family_of_their_own():
    cells = [cell(number) for number in range(20)]
    changed = [slower(1.02, number) for number in range(20)]
    few = compared(run(*cells), run(*changed), Rules(only=("*/b0/*", cells[1].cell_id[:60] + f"{1:04x}")))
    assert [change.gated for change in few.changes[:3]] == [True, True, False]
    assert few.family == 2
    everyone = compared(run(*cells), run(*changed))
    assert everyone.family == 20
    assert few.changes[0].adjusted_p < everyone.changes[0].adjusted_p
    with pytest.raises(NothingToCompare, match="no cell of both matches 'nothing'"):
        compared(run(*cells), run(*changed), Rules(only=("nothing",)))


def test_a_quantity_that_one_side_lacks_is_told():
    tail = Reading("p99", (10.0,), low=9.9, high=10.1)
    lost = compared(run(cell(0, launched(100 * WOBBLE), tail)), run(cell(0)))
    assert (
        lost.changes[1].message
        == "99th percentile of latency was measured before, and is not now: too few samples carry it"
    )
    new = compared(run(cell(0)), run(cell(0, launched(100 * WOBBLE), tail)), Rules(gated=frozenset({"tail"})))
    assert (new.changes[1].verdict, new.changes[1].gated) == (INCONCLUSIVE, False)


def test_a_rate_that_is_found_no_more_is_a_regression():
    served = cell(0, launched(100 * WOBBLE, "rate"))
    none = replace(served, readings=())
    assert only(compared(run(served), run(none))).verdict is REGRESSED
    assert only(compared(run(none), run(served))).verdict is IMPROVED


def test_launches_that_are_missing_are_told():
    change = only(compared(run(cell(0)), run(cell(0, launched(100 * WOBBLE[:7])))))
    assert change.notes == ("after: 7 of 10 launches",)


def test_findings_of_one_side_are_told():
    before, after = cell(0, findings=("unproven", "noisy")), cell(0, findings=("fell-back", "unproven", "screening"))
    assert only(compared(run(before), run(after))).notes == ("found after alone: fell-back",)


@pytest.mark.parametrize(
    ("allowance", "holds"),
    [
        (Allowance("*", TODAY), True),
        (Allowance("*/b0/*", date(2027, 1, 1), "latency"), True),
        (Allowance("*", date(2026, 11, 30)), False),
        (Allowance("*/b1/*", TODAY), False),
        (Allowance("*", TODAY, "memory"), False),
        (Allowance("*", TODAY, "status"), False),
        (Allowance("0" * 12, TODAY), True),
    ],
)
def test_an_allowance_holds_until_its_day(allowance, holds):
    found = compared(run(cell(0)), run(slower()), Rules(allowances=(allowance,)), today=TODAY)
    assert only(found).verdict is REGRESSED
    assert (only(found).allowance is allowance) is holds
    assert bool(found.failing) is not holds


def test_the_first_allowance_that_holds_is_the_one():
    allowances = (Allowance("*", date(2020, 1, 1)), Allowance("*", TODAY, reason="one"), Allowance("*", TODAY))
    found = compared(
        run(cell(0), cell(1)), run(cell(0, status=FAILED), cell(1)), Rules(allowances=allowances), today=TODAY
    )
    assert found.changes[0].allowance.reason == "one"
    assert found.changes[1].allowance is None, "what is equivalent needs none"


def test_two_machines_are_refused_by_what_differs():
    other = run(cell(0), hw_id="other", hardware={"cpu": {"name": "Xeon"}, "memory_gib": 32})
    with pytest.raises(ComparisonRefused, match=r"cpu\.name \(EPYC → Xeon\), memory_gib \(16 → 32\)") as caught:
        compared(run(cell(0)), other)
    assert "--across-hardware" in caught.value.hint
    found = compared(run(cell(0)), other, across_hardware=True)
    assert [each.place for each in found.hardware] == ["cpu.name", "memory_gib"]
    assert only(found).verdict is EQUIVALENT
    with pytest.raises(ComparisonRefused, match=r"hw_id \(hw → other\)"):
        compared(run(cell(0), hardware={}), run(cell(0), hw_id="other", hardware={}))


def test_differences_of_the_environment_are_the_likely_causes():
    after = run(cell(0), environment={"versions": {"torch": "2.14"}, "governor": "powersave"})
    (first, second) = compared(run(cell(0)), after).causes
    assert (first.place, first.before, first.after) == ("versions.torch", "2.13", "2.14")
    assert second.place == "governor"


def test_nothing_in_common_says_why():
    with pytest.raises(NothingToCompare, match="no cell is in both") as caught:
        compared(run(cell(0)), run(cell(1)))
    assert caught.value.hint == f"the one has cells like {cell(0).label}, the other like {cell(1).label}"
    retrained = cell(0, cell_id="f" * 64)
    with pytest.raises(NothingToCompare) as caught:
        compared(run(cell(0)), run(retrained))
    assert "weights" in caught.value.hint
    with pytest.raises(NothingToCompare) as caught:
        compared(run(), run(cell(0)))
    assert "no cell at all" in caught.value.hint


@pytest.mark.parametrize(("before", "after"), [("01A@base", "01B@head"), ("01A", "01B@head"), ("01A@head", "01B@base")])
def test_sides_of_two_runs_that_do_not_answer_each_other_say_which_do(before, after):
    """Their cells share the label: what tells them apart is the environment."""
    with pytest.raises(NothingToCompare, match="no cell is in both") as caught:
        compared(run(cell(0, label="a"), run_id=before), run(cell(1, label="a"), run_id=after))
    assert "the same side of another: RUN1@head, RUN2@head" in caught.value.hint
    both = compared(run(cell(0, label="a"), run_id="01A@head"), run(cell(0, label="a"), run_id="01B@head"))
    assert both.changes


def test_a_reader_is_told_of_drift_presets_and_retrained_models():
    before = run(cell(0), cell(1), drift="the machine drifted: slower", preset="quick")
    after = run(cell(0), cell(1, cell_id="f" * 64), run_id="02RUN", notes=("2 cells left out",))
    assert compared(before, after).notes == (
        "measured with preset quick before, default after",
        "before: the machine drifted: slower",
        "after: 2 cells left out",
        "not compared, since other weights, images or settings bear the same name: 1 of 2 cells",
    )
    assert compared(before, before).notes[0] == "both are one run"


values = st.lists(st.floats(0.9, 1.1), min_size=1, max_size=7)


@st.composite
def readings(draw, name):
    if name in {"p99", "misses"}:
        low, middle, high = sorted(draw(st.tuples(*[st.floats(0.0, 1.0)] * 3)))
        return Reading(name, (middle,), low=low, high=high)
    if name == "accuracy":
        return Reading(name, (draw(st.floats(0, 1)),), name=draw(st.sampled_from(["top1", "map"])))
    found = draw(values)
    return launched(found, name, noisy=draw(st.sets(st.integers(0, len(found) - 1))))


NAMES = ("latency", "throughput", "load", "rate", "memory", "p99", "misses", "accuracy")


@st.composite
def cells(draw, number):
    status = draw(st.sampled_from([COMPLETED] * 4 + [FAILED, SKIPPED, NOT_RUN]))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    made = tuple(draw(readings(name)) for name in names) if status == COMPLETED else ()
    return replace(cell(number, status=status), readings=made)


@st.composite
def snapshots(draw):
    others = draw(st.lists(st.integers(1, 4), unique=True, max_size=3))
    return run(*[draw(cells(number)) for number in [0, *others]])


def off_the_edge(change):
    """Say whether rounding cannot move the verdict, as far as a change tells."""
    edges = [1.0] if change.adjusted_p is None else [change.adjusted_p - 0.05]
    if change.effect is not None and change.quantity != "accuracy":
        edges += [abs(np.log(change.effect.estimate)) - np.log1p(change.margin)]
    if change.effect is not None and change.quantity == "accuracy":
        edges += [abs(change.effect.estimate) - change.margin]
    return all(abs(edge) > 1e-7 for edge in edges)


@given(snapshots(), snapshots(), st.sampled_from(Design))
def test_swapping_the_sides_mirrors_the_verdicts(before, after, design):
    rules = Rules(design=design)
    forth, back = compared(before, after, rules), compared(after, before, rules)
    assume(all(map(off_the_edge, (*forth.changes, *back.changes))))
    mirrored = {(c.key, c.quantity): MIRROR[c.verdict] for c in back.changes}
    assert {(c.key, c.quantity): c.verdict for c in forth.changes} == mirrored
    assert (forth.added, forth.removed) == (back.removed, back.added)
    assert len(mirrored) == len(forth.changes)


@given(snapshots(), snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_cells_changes_nothing(before, after, shuffler):
    def shuffled(snapshot):
        return replace(snapshot, cells=tuple(shuffler.sample(snapshot.cells, len(snapshot.cells))))

    one, other = compared(before, after), compared(shuffled(before), shuffled(after))
    by_key = {(c.key, c.quantity): c for c in other.changes}
    assert {(c.key, c.quantity): c for c in one.changes} == by_key
    assert (one.family, set(one.added), set(one.removed)) == (other.family, set(other.added), set(other.removed))


@given(snapshots(), st.sampled_from(Design))
def test_what_is_the_same_never_changed(snapshot, design):
    found = compared(snapshot, snapshot, Rules(design=design))
    assert {change.verdict for change in found.changes} <= {EQUIVALENT, INCONCLUSIVE}
    assert found.failing == ()


@given(snapshots(), snapshots())
def test_every_change_is_told_in_one_line(before, after):
    for change in compared(before, after).changes:
        assert change.message
        assert "\n" not in change.message
        assert not re.search(r"\b(nan|inf)\b", change.message)  # "first inference" is no number


def test_a_large_comparison_is_that_of_its_cells():
    """Every figure of a family is what the pure function gives of its members."""
    before = [cell(n, launched(100 * np.exp(0.02 * np.random.default_rng(n).standard_normal(10)))) for n in range(60)]
    after = [
        cell(n, launched(101 * np.exp(0.02 * np.random.default_rng(n + 99).standard_normal(10)))) for n in range(60)
    ]
    found = compared(run(*before), run(*after))
    from results.comparison import Side, compare

    family = {
        one.cell_id: tuple(Side(dict(enumerate(each.readings[0].values))) for each in (one, other))
        for one, other in zip(before, after, strict=True)
    }
    for change in found.changes:
        expected = compare(family)[change.key]
        assert change.verdict is expected.verdict
        assert change.effect == expected.effect
        assert (change.adjusted_p, change.power) == (expected.adjusted_p, expected.power)
        needed = expected.launches_needed if change.verdict is INCONCLUSIVE else None
        assert change.launches_needed == needed


@pytest.mark.parametrize(
    ("before", "after", "verdict"), [(0, 0, None), (3, 3, None), (3, 2, None), (0, 3, INCONCLUSIVE), (0, 6, REGRESSED)]
)
def test_a_cell_of_whose_launches_more_fail_than_did_is_no_pass(before, after, verdict):
    one, other = (cell(0, launched(100 * WOBBLE[failed:]), failed=failed) for failed in (before, after))
    told = [c for c in compared(run(one), run(other), today=TODAY).changes if c.quantity == STATUS]
    assert [(c.verdict, c.gated) for c in told] == ([] if verdict is None else [(verdict, True)])
    if verdict is not None:
        assert told[0].message == f"{after} of 10 launches failed; before 0 of 10"
