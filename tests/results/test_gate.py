"""Gates: what fails, what two looks make of it, and how often launches of one code are accused."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from harness.cli.gate import exit_code
from harness.gating import Gating
from results import gate as gates
from results.changes import STATUS, Allowance, Change, Comparison, Rules
from results.compared import compared
from results.comparison import LOOKS, Verdict
from results.gate import Outcome, is_open, joined, judge, look, rules_of, shadow_alarm_rate
from results.snapshot import COMPLETED, FAILED, SKIPPED, CellState, Reading, Snapshot

TODAY = date(2026, 11, 23)


def cell(name, readings=(), *, status=COMPLETED, scenario="latency"):
    return CellState(
        cell_id=name * 8,
        key=name * 8,
        label=f"net/fake/fp32/cpu/{name}/{scenario}",
        workload="net",
        engine="fake",
        precision="fp32",
        device="cpu",
        scenario=scenario,
        status=status,
        readings=tuple(readings) if status == COMPLETED else (),
        planned=10,
    )


def run(*cells):
    return Snapshot("01RUN", "2026-01-02T03:04:05+00:00", "ci", "default", "hw", "env", "1", {}, {}, cells)


def latency(ratio=1.0, *, launches=10, spread=0.002, seed=1):
    generator = np.random.default_rng(seed)
    values = 2e6 * ratio * np.exp(generator.normal(0, spread, launches))
    return Reading("latency", tuple(values.tolist()), tuple(range(launches)))


def change(verdict, *, quantity="latency", gated=True, allowance=None, power=None, key="a"):
    return Change(key, f"cell {key}", quantity, verdict, "", gated, allowance=allowance, power=power)


def comparison(*changes, rules=None):
    return Comparison(run(), run(), rules or Rules(), changes)


def test_the_rules_of_a_suite():
    said = Gating.model_validate(
        {
            "latency": "4%",
            "accuracy": "1pt",
            "status": True,
            "only": ["net/*"],
            "allow": [{"cells": "a*", "until": "2026-12-01", "rule": "latency", "reason": "known"}],
        }
    )
    assert rules_of(said) == Rules(
        margins={"latency": 0.04, "accuracy": 0.01},
        gated=frozenset({"latency", "accuracy", STATUS}),
        only=("net/*",),
        allowances=(Allowance("a*", date(2026, 12, 1), "latency", "known"),),
    )
    assert rules_of(said, ["b"]).only == ("b",)
    assert rules_of(Gating()) == Rules()


def test_what_fails_a_gate():
    allowance = Allowance("*", TODAY)
    known = change(Verdict.REGRESSED, allowance=allowance)
    fine, open_ = change(Verdict.EQUIVALENT), change(Verdict.INCONCLUSIVE)
    shown = change(Verdict.REGRESSED, gated=False)
    assert judge(comparison(change(Verdict.REGRESSED), fine, open_), today=TODAY).outcome is Outcome.FAILED
    assert judge(comparison(open_, fine, known), today=TODAY).outcome is Outcome.INCONCLUSIVE
    assert judge(comparison(fine, known, shown), today=TODAY).outcome is Outcome.PASSED
    both = Comparison(run(cell("a")), run(cell("a")), Rules(), (shown,))
    assert judge(both, today=TODAY).outcome is Outcome.PASSED  # no cell fails that passed
    without = Rules(gated=frozenset({"latency"}))
    assert judge(comparison(shown, rules=without), today=TODAY).outcome is Outcome.NOTHING
    assert judge(comparison(fine, known, shown), today=TODAY).allowed == (known,)


def test_an_allowance_holds_on_its_last_day_and_is_named_after_it():
    base, head = run(cell("a", [latency()])), run(cell("a", [latency(1.2)]))
    for until, failing in ((TODAY, 0), (date(2026, 11, 22), 1)):
        rules = Rules(allowances=(Allowance("net/*", until),))
        judged = judge(look(base, head, rules, 1, today=TODAY), today=TODAY)
        assert len(judged.failing) == failing
        assert len(judged.allowed) == 1 - failing
        assert len(judged.expired) == failing


def test_the_power_is_that_of_what_is_tested_together():
    changes = [change(Verdict.EQUIVALENT, power=power) for power in (0.99, 0.5, 0.95)]
    changes += [change(Verdict.INCONCLUSIVE), change(Verdict.EQUIVALENT, quantity="load", power=0.1)]
    changes += [change(Verdict.EQUIVALENT, power=0.2, gated=False), change(Verdict.REGRESSED, quantity=STATUS)]
    found = judge(comparison(*changes), today=TODAY).power
    assert (found.least, found.able, found.tests) == (0.0, 2, 4)
    assert found.median == pytest.approx((0.5 + 0.95) / 2)
    assert judge(comparison(change(Verdict.EQUIVALENT, quantity="memory")), today=TODAY).power is None


def test_each_look_has_its_part_of_the_level():
    base, head = run(cell("a", [latency()])), run(cell("a", [latency()]))
    for number, level in enumerate(LOOKS, start=1):
        assert look(base, head, Rules(), number, today=TODAY).rules.level == level
    for number in (0, 3):
        with pytest.raises(ValueError, match="no look"):
            look(base, head, Rules(), number, today=TODAY)


def test_more_launches_are_for_what_they_can_answer_and_not_after_a_regression():
    assert is_open(comparison(change(Verdict.INCONCLUSIVE)))
    assert is_open(comparison(change(Verdict.INCONCLUSIVE, quantity="p99")))
    assert not is_open(comparison(change(Verdict.INCONCLUSIVE, quantity="accuracy")))
    assert not is_open(comparison(change(Verdict.INCONCLUSIVE, quantity="memory")))
    assert not is_open(comparison(change(Verdict.INCONCLUSIVE, quantity=STATUS)))
    assert not is_open(comparison(change(Verdict.INCONCLUSIVE, gated=False)))
    assert not is_open(comparison(change(Verdict.INCONCLUSIVE), change(Verdict.REGRESSED, key="b")))


def test_what_the_first_look_answered_stays():
    first = comparison(
        change(Verdict.EQUIVALENT), change(Verdict.INCONCLUSIVE, key="b"), change(Verdict.IMPROVED, key="c")
    )
    second = comparison(
        change(Verdict.REGRESSED), change(Verdict.REGRESSED, key="b"), change(Verdict.INCONCLUSIVE, key="c")
    )
    both = joined(first, second)
    assert [each.verdict for each in both.changes] == [Verdict.EQUIVALENT, Verdict.REGRESSED, Verdict.IMPROVED]
    assert joined(first, replace(second, changes=second.changes[:1])).changes == first.changes[:1]


def test_a_change_that_ten_launches_leave_open_is_found_by_twenty():
    def wide(ratio, launches):
        """Launches that lie 5 % above and below a median."""
        values = tuple(2e6 * ratio * math.exp(0.05 * (-1) ** index) for index in range(launches))
        return run(cell("a", [Reading("latency", values, tuple(range(launches)))]))

    base = wide(1.0, 20)
    first = look(base, wide(1.05, 10), Rules(), 1, today=TODAY)
    assert is_open(first)
    second = look(base, wide(1.05, 20), Rules(), 2, today=TODAY)
    assert judge(joined(first, second), today=TODAY, looks=2).outcome is Outcome.FAILED


def test_a_cell_that_fails_now_fails_the_gate():
    judged = judge(
        look(run(cell("a", [latency()])), run(cell("a", status=FAILED)), Rules(), 1, today=TODAY), today=TODAY
    )
    assert [each.quantity for each in judged.failing] == [STATUS]


def test_launches_of_one_code_are_seldom_accused():
    base = run(*(cell(name, [latency(spread=0.02, seed=index)]) for index, name in enumerate("abcd")))
    rate = shadow_alarm_rate(base, Rules())
    assert (rate.launches, rate.every, rate.share.of) == (5, True, math.comb(10, 5))
    assert rate.share.estimate <= 0.1
    assert 0 <= rate.share.low <= rate.share.estimate <= rate.share.high <= 1
    drawn = shadow_alarm_rate(base, Rules(), splits=40)
    assert (drawn.share.of, drawn.every) == (40, False)
    assert drawn == shadow_alarm_rate(base, Rules(), splits=40)


def test_a_gate_that_tests_each_cell_at_any_level_is_seen_to_accuse(monkeypatch):
    monkeypatch.setattr("results.comparison.holm", list)
    base = run(*(cell(name, [latency(spread=0.08, seed=index)]) for index, name in enumerate("abcdefgh")))
    assert shadow_alarm_rate(base, replace(Rules(), level=0.2), splits=60).share.low > 0.2


def test_halves_hold_the_same_rounds_of_every_cell_and_nothing_pooled():
    pooled = Reading("p99", (3e6,), low=2.9e6, high=3.1e6)
    memory = Reading("memory", (1.0, 1.0, 1.0), (0, 1, 2), (1,))
    base = run(cell("a", [latency(), pooled]), cell("b", [memory], scenario="memory"))
    part = gates._part(base, {1, 2, 9})
    assert [reading.launches for each in part.cells for reading in each.readings] == [(1, 2, 9), (1, 2)]
    assert part.cells[1].readings[0].noisy == (1,)
    assert gates._part(base, {5}).cells[1].readings == ()


def test_too_few_launches_are_not_split():
    base = run(cell("a", [latency(launches=5)]))
    assert shadow_alarm_rate(base, Rules()) == ("5 launches of one code are too few to be split in two: 6 are needed")


def test_what_is_compared_with_nothing_does_not_pass():
    measured = cell("a", [latency()])
    proof = cell("b", [Reading("size", (100.0,))], scenario="prove")
    skipped = cell("c", status=SKIPPED)
    for base, head in ((run(proof), run(proof, measured)), (run(skipped), run(skipped, measured))):
        assert judge(compared(base, head, today=TODAY), today=TODAY).outcome is Outcome.NOTHING
    assert judge(compared(run(proof), run(proof), today=TODAY), today=TODAY).outcome is Outcome.PASSED
    fates = Rules(gated=frozenset({STATUS}))
    judged = judge(compared(run(proof), run(proof, measured), fates, today=TODAY), today=TODAY)
    assert judged.outcome is Outcome.PASSED


def test_a_cell_that_is_planned_no_more_is_missing_and_fails_only_where_that_is_asked():
    a, b, never = (cell(name, [latency()]) for name in "abc")
    never = replace(never, status=SKIPPED, readings=())
    judged = judge(compared(run(a, b, never), run(a), Rules(), today=TODAY), today=TODAY)
    assert judged.missing == (b.label,)
    assert [exit_code(judged, strict=strict, shadow=False) for strict in (False, True)] == [0, 6]
    selected = judge(compared(run(a, b), run(a), Rules(only=(a.label,)), today=TODAY), today=TODAY)
    assert selected.missing == ()
    assert exit_code(selected, strict=True, shadow=False) == 0
