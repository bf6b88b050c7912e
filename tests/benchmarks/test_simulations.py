"""The simulations at a fraction of their size: what they draw, what they count, and that a broken rule fails them."""

import numpy as np
import pytest

from benchmarks import aa_gates, coverage, false_alarms, power, soak_coverage, throttle
from benchmarks.figure import Limit, Verdict
from benchmarks.scripted import completed, scripted
from benchmarks.simulated import LAUNCH_SPREAD, dependent, share
from harness import jobs, runner
from harness.errors import HarnessError
from harness.statistics import StopRule
from results import comparison
from results.comparison import Design, Measure, Side
from results.scenarios import soak
from results.statistics import launch_interval


def told(_):
    """Hear progress and say nothing."""


def by_name(measured):
    return {figure.name: figure for figure in measured.figures}


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_series_depend_as_they_say(rho):
    series = dependent(np.random.default_rng(1), (2000, 300), rho)
    assert series.std(axis=0) == pytest.approx(1, abs=0.1)  # from the first sample on: there is no run-in
    assert series.std() == pytest.approx(1, abs=0.02)
    assert np.mean(series[:, 1:] * series[:, :-1]) == pytest.approx(rho, abs=0.02)


def test_a_share_has_its_exact_interval():
    figure = share("name", 950, 1000, Limit(0.93, 0.97))
    assert figure.value == 0.95
    assert (figure.low, figure.high) == pytest.approx((0.9346, 0.9627), abs=1e-4)
    assert figure.verdict is Verdict.PASS
    assert share("all", 20, 20, Limit(low=0.95)).verdict is Verdict.UNDECIDED


def test_a_simulated_launch_ends_as_a_real_one():
    latencies_ns = np.full(1000, 10e6)
    assert len(coverage.ended(latencies_ns, StopRule(100, 3.0, 30.0, maximum_iterations=1000))) in range(300, 400)
    never_precise = np.resize([5e6, 15e6], 1000)
    assert len(coverage.ended(never_precise, StopRule(100, 1.0, 2.0, maximum_iterations=1000))) == 200


def test_coverage_is_near_95_percent_and_that_of_pooled_iterations_is_not():
    figures = by_name(coverage.measure(told, cells=40))
    assert len(figures) == 6
    for name, figure in figures.items():
        if "pooled" in name:
            assert figure.high < 0.8
        else:
            assert figure.high > 0.95
            assert figure.value > 0.85
            assert figure.limit == coverage.LIMIT


def test_an_interval_that_is_too_narrow_fails(monkeypatch):
    monkeypatch.setattr(coverage, "launch_interval", lambda values: launch_interval(values, 0.5))
    figures = by_name(coverage.measure(told, cells=40))
    assert all(figure.verdict is Verdict.FAIL for name, figure in figures.items() if "pooled" not in name)


def test_the_interval_of_a_soak_covers_and_one_of_independent_seconds_does_not(monkeypatch):
    figures = by_name(soak_coverage.measure(told, series=40))
    assert len(figures) == 6
    assert all(figure.value >= 0.85 and figure.limit == soak_coverage.LIMIT for figure in figures.values())
    monkeypatch.setattr(soak, "dependence", lambda *_: 0.0)
    figures = by_name(soak_coverage.measure(told, series=40))
    assert figures["coverage of a soak of 600 s, rho = 0.8"].verdict is Verdict.FAIL


def test_few_gates_accuse_what_did_not_change():
    figures = by_name(false_alarms.measure(told, gates=25))
    assert len(figures) == 12
    for name, figure in figures.items():
        if name == f"{false_alarms.WIDE_NAME}: cells equivalent":
            assert figure.value < 0.05  # no launch count of a gate tells 3 % from none there
        elif name == f"{false_alarms.WIDE_NAME}: gates with a cell regressed or improved":
            assert figure.value <= 0.2
            assert figure.limit == Limit()
        elif "gates" in name:
            assert figure.value <= 0.1
        else:
            assert figure.value > 0.6


def test_a_gate_without_adjustment_would_accuse(monkeypatch):
    monkeypatch.setattr(comparison, "holm", list)
    monkeypatch.setattr(false_alarms, "LAUNCH_SPREAD", 0.05)
    figures = by_name(false_alarms.measure(told, gates=25))
    assert figures["apart: gates with a cell regressed"].low > 0.05


def test_a_family_changes_where_it_is_told_to():
    family = false_alarms.family(np.random.default_rng(2), 2000, {3: 1.05})
    ratios = [
        np.mean(np.log(list(after.launches.values()))) - np.mean(np.log(list(before.launches.values())))
        for before, after in family.values()
    ]
    assert np.argmax(ratios) == 3
    assert ratios[3] == pytest.approx(np.log(1.05), abs=0.003)
    assert np.std(np.log(list(family["cell 0"][0].launches.values()))) == pytest.approx(LAUNCH_SPREAD, rel=0.1)


def test_a_slower_cell_is_found_simulated_and_through_the_runner(monkeypatch):
    monkeypatch.setattr(power, "LAUNCHES", 3)
    monkeypatch.setattr(power, "_RATIO", 2.0)
    figures = by_name(power.measure(told, gates=10, real_gates=1))
    assert figures["apart: +5 % found"].value == 1.0
    assert figures["interleaved: +5 % found"].value == 1.0
    real = figures["fake engine, real launches: +5 % found"]
    assert (real.samples, real.limit) == (1, Limit())


def test_a_cell_that_did_not_change_is_not_found(monkeypatch):
    monkeypatch.setattr(power, "_RATIO", 1.0)
    assert power._found(np.random.default_rng(3), Design.APART, 30) == 0


def test_a_step_is_flagged_and_a_flat_series_is_not():
    figures = by_name(throttle.measure(told, series=40))
    for name, figure in figures.items():
        assert figure.value >= 0.9 if "step" in name else figure.value <= 0.1


def test_a_step_lies_inside_the_series(monkeypatch):
    monkeypatch.setattr(throttle, "_SPREAD", 1e-6)
    monkeypatch.setattr(throttle, "_OUTLIERS", 0.0)
    generator = np.random.default_rng(4)
    for _ in range(20):
        series = throttle._stepped(generator, 0.5)
        assert 100 <= len(series) <= 10_000
        assert 0.08 <= np.mean(series > 11e6) <= 0.92


def test_gates_of_one_run_pair_neighbouring_launches():
    count = 2 * aa_gates.LAUNCHES * aa_gates.GATES
    cells = {
        "latency": Side({index: 1.0 + index for index in range(count)}),
        "rate": Side({index: 1.0 + index for index in range(count)}, Measure.THROUGHPUT),
    }
    families = aa_gates.gates(cells)
    assert len(families) == aa_gates.GATES
    seen = set()
    first = []
    for family in families:
        before, after = family["latency"]
        assert family["rate"][0].launches == before.launches
        for pair in range(aa_gates.LAUNCHES):
            assert abs(before.launches[pair] - after.launches[pair]) == 1
            seen |= {before.launches[pair], after.launches[pair]}
            first.append(before.launches[pair] < after.launches[pair])
    assert seen == {1.0 + index for index in range(count)}
    assert 5 < sum(first) < 25  # who is before is drawn
    notes = list(aa_gates._notes(1, comparison.compare(families[0], design=Design.INTERLEAVED)))
    assert all(note.startswith("gate 1, ") for note in notes)


def test_a_scripted_launch_that_fails_is_told():
    rest = """
matrix: {engine: fake, precision: fp32, device: cpu, scenario: [latency]}
options: {fake: {fault: raise}}
launches: 1
"""
    limits = jobs.Limits(minimum_iterations=1, minimum_s=0.0, maximum_s=0.0, warmup_s=0.0)
    with scripted(rest, limits) as run:
        records = [event.record for event in run.events if isinstance(event, runner.Finished)]
    with pytest.raises(HarnessError, match="did not complete"):
        completed(records[-1])
