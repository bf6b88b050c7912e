"""Intervals over launches, quantiles, ratios, the best and its equals, steady states."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from results import statistics
from results.statistics import (
    holm,
    launch_interval,
    not_worse_than_best,
    paired_log_ratio,
    pooled_quantile,
    rate_interval,
    steady_segment,
    thin_tail,
    welch_log_ratio,
)

durations = st.lists(st.floats(1e2, 1e12), min_size=2, max_size=12)


def test_a_launch_interval_is_the_t_interval_of_the_logs():
    medians = [1.0e6, 1.1e6, 0.9e6]
    interval = launch_interval(medians)
    expected = stats.t.interval(0.95, 2, loc=np.mean(np.log(medians)), scale=stats.sem(np.log(medians)))
    assert (math.log(interval.low), math.log(interval.high)) == pytest.approx(expected)
    assert interval.estimate == pytest.approx(stats.gmean(medians))
    assert interval.launches == 3


def test_one_launch_has_no_bounds():
    assert launch_interval([5.0]).estimate == pytest.approx(5.0)
    assert (launch_interval([5.0]).low, launch_interval([5.0]).high) == (None, None)
    assert (rate_interval([5.0]).low, rate_interval([5.0]).high) == (None, None)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0, 2.0], [float("nan")], [float("inf"), 1.0]])
def test_durations_that_are_none_are_refused(values):
    with pytest.raises(ValueError):
        launch_interval(values)


@given(durations, st.floats(1e-3, 1e3))
def test_an_interval_holds_its_estimate_and_scales_with_the_unit(values, unit):
    plain, scaled = launch_interval(values), launch_interval([value * unit for value in values])
    assert plain.low <= plain.estimate * (1 + 1e-12)
    assert plain.estimate <= plain.high * (1 + 1e-12)
    assert scaled.estimate == pytest.approx(plain.estimate * unit)
    assert min(values) * (1 - 1e-9) <= plain.estimate <= max(values) * (1 + 1e-9)


def test_intervals_cover_where_launches_differ_and_pooled_iterations_would_not():
    generator = np.random.default_rng(1)
    covered = pooled_covered = 0
    for _ in range(1000):
        effects = generator.normal(0, 0.02, (5, 1))
        samples = np.exp(effects + generator.normal(0, 0.03, (5, 100)))
        interval = launch_interval(np.median(samples, axis=1))
        covered += interval.low <= 1.0 <= interval.high
        pooled = rate_interval(samples.ravel())
        pooled_covered += pooled.low <= 1.0 <= pooled.high
    assert 915 <= covered <= 985
    assert pooled_covered < 600


def test_a_rate_is_not_negative():
    assert rate_interval([0.1, 5.0]).low == 0.0
    with pytest.raises(ValueError, match="negative"):
        rate_interval([-1.0])


def test_a_quantile_is_printed_only_as_far_as_the_samples_carry_it():
    generator = np.random.default_rng(2)
    launches = [generator.exponential(1e6, 100) for _ in range(3)]
    p90, p99 = pooled_quantile(launches, 0.9), pooled_quantile(launches, 0.99)
    assert p90.low_ns <= p90.value_ns <= p90.high_ns
    assert p90.value_ns == pytest.approx(2.3e6, rel=0.3)
    assert (p99.value_ns, p99.low_ns, p99.high_ns) == (None, None, None)
    assert (p99.required_samples, p99.effective_samples < 368) == (368, True)


def test_dependent_samples_count_for_less():
    generator = np.random.default_rng(3)
    independent = [generator.exponential(1e6, 200) for _ in range(2)]
    dependent = [np.repeat(generator.exponential(1e6, 20), 10) for _ in range(2)]
    assert pooled_quantile(independent, 0.9).effective_samples > 250
    assert pooled_quantile(dependent, 0.9).effective_samples < 120


def test_no_samples_give_no_quantile():
    assert pooled_quantile([], 0.5).value_ns is None
    assert pooled_quantile([np.array([]), np.array([1.0])], 0.5).effective_samples == 1.0


def test_welch_on_logs_agrees_with_scipy():
    generator = np.random.default_rng(4)
    before, after = np.exp(generator.normal(0, 0.02, 5)), np.exp(generator.normal(0.05, 0.06, 9))
    expected = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
    ratio = welch_log_ratio(before, after)
    interval = expected.confidence_interval(0.95)
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx((interval.low, interval.high))
    assert 2 * min(ratio.p_above(), ratio.p_below()) == pytest.approx(expected.pvalue)


def test_welch_gives_few_false_alarms_where_pooled_iterations_give_many():
    generator = np.random.default_rng(5)
    alarms = sum(
        welch_log_ratio(np.exp(generator.normal(0, 0.02, 5)), np.exp(generator.normal(0, 0.02, 5))).p_above() < 0.05
        for _ in range(1000)
    )
    assert 15 <= alarms <= 85


def test_pairs_cancel_the_drift_of_a_round():
    drift = dict(enumerate([1.0, 1.4, 0.8, 1.2, 1.1]))
    slower = {key: value * 1.05 * (1 + 0.001 * key) for key, value in drift.items()}
    paired = paired_log_ratio(drift, slower)
    unpaired = welch_log_ratio(list(drift.values()), list(slower.values()))
    assert paired.low > 1.04
    assert paired.high < 1.06
    assert unpaired.low < 1.0
    assert paired.p_above() < 0.001 < unpaired.p_above()


def test_only_common_rounds_are_paired():
    ratio = paired_log_ratio({0: 1.0, 1: 1.0, 7: 50.0}, {0: 2.0, 1: 2.0, 8: 90.0})
    assert ratio.estimate == pytest.approx(2.0)
    with pytest.raises(ValueError, match="round"):
        paired_log_ratio({0: 1.0}, {1: 1.0})


def test_too_few_launches_say_nothing():
    for ratio in (welch_log_ratio([1.0], [2.0, 2.1]), paired_log_ratio({0: 1.0}, {0: 2.0})):
        assert (ratio.low, ratio.high, ratio.p_above(), ratio.interval(0.9)) == (None, None, 1.0, None)


def test_launches_without_any_spread_are_told_apart_for_certain():
    assert welch_log_ratio([1.0, 1.0], [2.0, 2.0]).p_above() == 0.0
    assert welch_log_ratio([1.0, 1.0], [1.0, 1.0]).p_above() == 1.0


def test_p_values_are_against_the_margin_that_is_named():
    ratio = welch_log_ratio(np.exp([0, 0.01, -0.01, 0.0]), np.exp([0.10, 0.11, 0.09, 0.10]))
    assert ratio.p_above(1.0) < ratio.p_above(1.03) < 0.05 < ratio.p_above(1.12)
    low, high = ratio.interval(0.90)
    assert ratio.low < low < ratio.estimate < high < ratio.high
    assert ratio.p_above(low) == pytest.approx(0.05)
    assert ratio.p_below(high) == pytest.approx(0.05)


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]


def test_the_best_and_its_equals():
    drift = np.array([1.0, 1.3, 0.9, 1.1, 1.2, 0.8])
    wobble = np.array([1.01, 0.99, 1.01, 0.99, 1.01, 0.995])
    columns = {"slow": 1.2 * drift * wobble, "fast": drift, "equal": drift * wobble, "slower": 1.05 * drift / wobble}
    medians = {name: dict(enumerate(values)) for name, values in columns.items()}
    assert not_worse_than_best(medians) == ("fast", "equal")
    assert not_worse_than_best({}) == ()
    assert not_worse_than_best({"only": {0: 1.0}}) == ("only",)


def test_what_shares_no_rounds_with_the_best_is_held_against_it_without_pairs():
    apart = {"a": {0: 1.0, 1: 1.01, 2: 1.02}, "b": {3: 9.0, 4: 9.1, 5: 9.2}, "c": {6: 1.01, 7: 1.02, 8: 1.0}}
    assert not_worse_than_best(apart) == ("a", "c")
    assert not_worse_than_best({"a": {0: 1.0, 1: 1.0}, "b": {2: 9.0}}) == ("a", "b"), "one launch shows no spread"


def test_equals_of_the_best_are_rarely_left_out():
    generator = np.random.default_rng(7)
    left_out = sum(
        len(not_worse_than_best({n: dict(enumerate(np.exp(generator.normal(0, 0.02, 5)))) for n in "abcd"})) < 4
        for _ in range(200)
    )
    # The best is chosen by the same data, which costs some of the nominal 5 %.
    assert left_out <= 40


def noisy(n, seed, spread=0.02):
    return 1e6 * np.exp(np.random.default_rng(seed).normal(0, spread, n))


@pytest.mark.parametrize("n", [20, 36, 100, 500, 5000, 20_000])
def test_a_steady_launch_is_one_level(n):
    assert sum(steady_segment(noisy(n, seed)) == (0, False) for seed in range(20)) >= 18


@pytest.mark.parametrize("n", [100, 500, 5000])
def test_what_precedes_the_last_level_is_cut(n):
    latencies = noisy(n, 1)
    latencies[: n // 5] *= 1.5
    start, unsteady = steady_segment(latencies)
    assert abs(start - n // 5) <= max(8, n // 30)
    assert not unsteady


@pytest.mark.parametrize("n", [100, 500, 5000])
def test_a_launch_that_ends_slower_is_unsteady(n):
    latencies = noisy(n, 2)
    latencies[2 * n // 3 :] *= 1.10
    start, unsteady = steady_segment(latencies)
    assert unsteady
    assert abs(start - 2 * n // 3) <= max(8, n // 30)


@pytest.mark.parametrize("spread", [0.0005, 0.003])
def test_a_slow_drift_is_unsteady(spread):
    latencies = noisy(1000, 5, spread=spread) * np.exp(np.linspace(0, 0.05, 1000))  # its steps are below 1 % each
    start, unsteady = steady_segment(latencies)
    assert unsteady
    assert start > 300


def test_a_launch_that_ends_a_little_slower_is_not():
    latencies = noisy(5000, 3, spread=0.005)
    latencies[3000:] *= 1.02
    start, unsteady = steady_segment(latencies)
    assert abs(start - 3000) <= 160
    assert not unsteady


def test_spikes_are_no_levels():
    latencies = noisy(2000, 4)
    latencies[::37] *= 20
    assert steady_segment(latencies) == (0, False)


@pytest.mark.parametrize("latencies", [np.array([]), np.ones(5), np.full(1000, 7), np.zeros(100)])
def test_degenerate_launches_are_one_level(latencies):
    assert steady_segment(latencies) == (0, False)


@given(st.lists(st.integers(0, 10**12), max_size=150))
def test_the_last_level_begins_inside_the_launch(latencies):
    start, unsteady = steady_segment(np.array(latencies, dtype=np.int64))
    assert 0 <= start <= max(0, len(latencies) - 1)
    assert not (unsteady and start == 0)


@given(st.lists(st.integers(1, 1000), max_size=600))
def test_a_tail_is_short_ascending_and_ends_at_what_the_sample_carries(samples):
    tail = thin_tail(np.array(samples))
    values, shares = [value for value, _ in tail], [share for _, share in tail]
    assert len(tail) <= 200
    assert values == sorted(set(values))
    assert shares == sorted(set(shares), reverse=True)
    assert all(1 / len(samples) - 1e-12 <= share < 1 for share in shares)
    for value, share in tail:
        assert share == pytest.approx(np.mean(np.array(samples) > value))


def test_a_tail_keeps_its_end():
    tail = thin_tail(np.arange(1, 10_001))
    assert tail[-1] == (9999.0, pytest.approx(1e-4))
    assert tail[0] == (1.0, pytest.approx(0.9999))
    assert thin_tail(np.array([3.0])) == ()


def wandering(n, seed, rho):
    innovations = np.random.default_rng(seed).standard_normal(n)
    innovations[1:] *= math.sqrt(1 - rho**2)
    return 1e6 * np.exp(0.02 * lfilter([1.0], [1.0, -rho], innovations))


def test_a_launch_whose_latencies_depend_on_each_other_is_seldom_unsteady():
    assert sum(steady_segment(wandering(150, seed, rho=0.8))[1] for seed in range(200)) <= 4


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_dependence_is_seen_through_steps_and_outliers(rho):
    latencies = wandering(20_000, 3, rho)
    latencies[5000:] *= 1.5
    latencies[::100] *= 3
    assert statistics._dependence(np.log(latencies)) == pytest.approx(rho, abs=0.1)


@pytest.mark.parametrize(("rho", "width"), [(0.5, 4), (0.8, 4), (0.8, 20)])
def test_what_neighbouring_bins_hide_is_that_of_an_autoregressive_series(rho, width):
    bins = np.log(wandering(2_000_000, 4, rho)).reshape(-1, width).mean(axis=1)
    neighbours = np.diff(bins).std() / math.sqrt(2)
    levels = bins[: len(bins) // 50 * 50].reshape(-1, 50).mean(axis=1).std() * math.sqrt(50)
    assert statistics._hidden(rho, width) == pytest.approx(levels / neighbours, rel=0.06)


def test_independent_bins_hide_nothing():
    assert statistics._hidden(0.0, 7) == pytest.approx(1.0)
