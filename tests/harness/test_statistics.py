"""Order-statistic intervals, autocorrelation and the stop rule, against SciPy, theory and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.statistics import (
    StopRule,
    effective_size,
    integrated_autocorrelation_time,
    minimum_effective_samples,
    order_statistic_interval,
    order_statistic_ranks,
    warmed_up,
)


def autoregressive(generator, n, rho):
    noise = generator.standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0]
    for i in range(1, n):
        series[i] = rho * series[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    return series


@pytest.mark.parametrize(("q", "samples"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688), (0.1, 36)])
def test_the_samples_that_a_percentile_takes(q, samples):
    assert minimum_effective_samples(q) == samples
    assert order_statistic_ranks(samples, q) is not None
    assert order_statistic_ranks(samples - 1, q) is None


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5, float("nan")])
def test_what_is_no_quantile_is_refused(q):
    with pytest.raises(ValueError, match="quantile"):
        minimum_effective_samples(q)


@given(
    q=st.floats(0.002, 0.998),
    extra=st.integers(0, 20_000),
    confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_ranks_are_the_tightest_with_both_tails_within_their_share(q, extra, confidence):
    n = minimum_effective_samples(q, confidence) + extra
    low, high = order_statistic_ranks(n, q, confidence)
    tail, slack = (1 - confidence) / 2, 1e-9
    assert 1 <= low < high <= n
    assert stats.binom.cdf(low - 1, n, q) <= tail + slack
    assert stats.binom.cdf(low, n, q) > tail - slack
    assert stats.binom.sf(high - 1, n, q) <= tail + slack
    assert stats.binom.sf(high - 2, n, q) > tail - slack


def test_at_the_smallest_size_the_upper_limit_is_the_largest_sample():
    ordered = np.arange(368.0)
    assert order_statistic_interval(ordered, 0.99)[1] == 367.0


def test_fewer_effective_samples_widen_the_interval_and_in_the_end_leave_none():
    ordered = np.sort(np.random.default_rng(1).standard_normal(5000))
    widths = [np.ptp(order_statistic_interval(ordered, 0.5, effective=size)) for size in (5000, 500, 50)]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert order_statistic_interval(ordered, 0.5, effective=5.9) is None
    assert order_statistic_interval(np.array([]), 0.5) is None


def test_the_interval_of_independent_samples_covers_the_quantile():
    generator = np.random.default_rng(2)
    truth = stats.norm.ppf(0.9)
    covered = 0
    for _ in range(1000):
        low, high = order_statistic_interval(np.sort(generator.standard_normal(200)), 0.9)
        covered += low <= truth <= high
    # At least 95 %, in truth 95 to 97 for the ranks are whole; five standard errors around.
    assert 920 <= covered <= 995


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_tau_of_an_autoregressive_series_is_known(rho):
    generator = np.random.default_rng(3)
    estimates = [integrated_autocorrelation_time(autoregressive(generator, 4000, rho)) for _ in range(10)]
    assert np.mean(estimates) == pytest.approx((1 + rho) / (1 - rho), rel=0.2)


@pytest.mark.parametrize("series", [[], [1.0], [1.0, 2.0, 3.0], [5.0] * 100, [True] * 50, [0.1] * 1000, [-1e12] * 99])
def test_tau_of_a_short_or_constant_series_is_one(series):
    assert integrated_autocorrelation_time(np.array(series)) == 1.0


@given(st.lists(st.floats(-1e9, 1e9), max_size=200))
def test_tau_is_at_least_one_and_finite(values):
    tau = integrated_autocorrelation_time(np.array(values))
    assert 1.0 <= tau < np.inf


def test_tau_does_not_depend_on_scale_or_offset():
    series = autoregressive(np.random.default_rng(4), 1000, 0.5)
    assert integrated_autocorrelation_time(series * 1e9 + 1e10) == pytest.approx(
        integrated_autocorrelation_time(series)
    )


def test_slow_samples_that_come_in_clusters_cost_the_tail_and_not_the_median():
    generator = np.random.default_rng(5)
    samples = generator.standard_normal(5000)
    for start in range(0, 5000, 1000):
        samples[start : start + 50] += 10
    assert effective_size(samples, 0.5) > 5 * effective_size(samples, 0.96)
    assert effective_size(samples, 0.96) < 200
    assert effective_size(np.array([])) == 0.0


@given(iterations=st.integers(0, 10_000_000), minimum=st.integers(1, 1000))
def test_looks_lie_ahead_on_a_geometric_grid(iterations, minimum):
    rule = StopRule(minimum, 1.0, 2.0)
    look = rule.next_look(iterations)
    assert look > iterations
    assert look <= max(rule.maximum_iterations, iterations + 1)
    if minimum <= iterations * 1.25 <= rule.maximum_iterations and iterations >= 4:
        assert look == np.ceil(iterations * 1.25)


def quiet(n, spread=0.01):
    return np.random.default_rng(6).normal(1e6, 1e6 * spread, n)


def test_a_precise_launch_stops_only_after_its_minimum_iterations_and_time():
    rule = StopRule(100, 3.0, 30.0)
    assert rule.should_stop(quiet(99), 5e9) is None
    assert rule.should_stop(quiet(100), 2.9e9) is None
    assert rule.should_stop(quiet(100), 3e9) == "precise"


def test_an_imprecise_launch_goes_on_to_its_limits():
    rule = StopRule(36, 1.0, 10.0, maximum_iterations=1000)
    assert rule.should_stop(quiet(40, spread=0.4), 5e9) is None
    assert rule.should_stop(quiet(40, spread=0.4), 10e9) == "max_time"
    assert rule.should_stop(np.repeat([1e6, 2e6], 500), 5e9) == "max_iterations"


def test_dependence_keeps_a_launch_going_that_would_look_precise():
    generator = np.random.default_rng(7)
    independent = np.exp(0.1 * autoregressive(generator, 400, 0.0)) * 1e6
    dependent = np.exp(0.1 * autoregressive(generator, 400, 0.95)) * 1e6
    rule = StopRule(36, 1.0, 10.0)
    assert rule.should_stop(independent, 5e9) == "precise"
    assert rule.should_stop(dependent, 5e9) is None


def test_a_quantile_that_is_asked_keeps_a_launch_going():
    samples = quiet(200)
    assert StopRule(36, 1.0, 10.0).should_stop(samples, 5e9) == "precise"
    assert StopRule(36, 1.0, 10.0, quantiles=((0.99, 368.0),)).should_stop(samples, 5e9) is None


def test_the_rule_covers_the_median_of_a_dependent_series():
    # A plain +-2 % rule on n, not n / tau, covers about three quarters here.
    generator = np.random.default_rng(8)
    rule = StopRule(36, 0.0, 1e9, maximum_iterations=4000)
    covered = 0
    for _ in range(60):
        samples = np.exp(0.05 * autoregressive(generator, 4000, 0.5))
        n = rule.next_look(0)
        while rule.should_stop(samples[:n], 1.0) is None:
            n = rule.next_look(n)
        low, high = order_statistic_interval(np.sort(samples[:n]), 0.5, effective=effective_size(samples[:n]))
        covered += low <= 1.0 <= high
    assert covered >= 50


def test_warm_up_ends_when_two_windows_agree():
    steady = np.full(10, 100.0)
    assert warmed_up(steady)
    assert not warmed_up(steady[:9])
    assert not warmed_up(steady, minimum_iterations=11)
    assert not warmed_up(np.r_[np.full(5, 120.0), np.full(5, 100.0)])
    assert warmed_up(np.r_[np.full(5, 109.0), np.full(5, 100.0)])
    assert not warmed_up(np.r_[np.full(5, 100.0), np.full(5, 120.0)])
    assert warmed_up(np.r_[np.full(50, 500.0), np.full(50, 100.0)])


def test_more_time_is_for_the_minimum_and_the_quantiles_alone():
    noisy = np.random.default_rng(0).lognormal(16, 0.5, 400)
    usual, extended = StopRule(36, 1.0, 10.0), StopRule(36, 1.0, 10.0, extended_s=60.0)
    assert extended.should_stop(noisy, 10e9) == usual.should_stop(noisy, 10e9) == "max_time"
    few = StopRule(1000, 1.0, 10.0, extended_s=60.0)
    assert few.should_stop(noisy, 10e9) is None
    assert few.should_stop(noisy, 60e9) == "max_time"
