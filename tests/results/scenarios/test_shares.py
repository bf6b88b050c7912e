"""Shares with their intervals: exact ends, launches that differ, bursts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.scenarios.shares import exact_share, pooled_share


@pytest.mark.parametrize("n", [30, 900, 6636, 100_000])
def test_no_miss_in_n_is_bounded_by_three_over_n(n):
    share = exact_share(0, n)
    assert (share.low, share.estimate) == (0.0, 0.0)
    assert 2.8 / n < share.high <= 3 / n
    assert (1 - share.high) ** n == pytest.approx(0.05)


def test_where_all_missed_the_other_bound_is_open():
    share = exact_share(50, 50)
    assert (share.high, share.estimate) == (1.0, 1.0)
    assert share.low**50 == pytest.approx(0.05)


def test_a_textbook_interval():
    # R: binom.test(5, 20)
    share = exact_share(5, 20)
    assert (share.low, share.high) == pytest.approx((0.08657147, 0.49104587), abs=1e-6)


@given(st.integers(2, 5000).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))))
def test_each_bound_leaves_its_tail(pair):
    count, of = pair
    share = exact_share(count, of)
    assert 0 < share.low < share.estimate < share.high < 1
    assert stats.binom.sf(count - 1, of, share.low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(count, of, share.high) == pytest.approx(0.025, rel=1e-6)


@given(st.lists(st.lists(st.booleans(), max_size=40), min_size=1, max_size=8))
def test_pooling_never_narrows(launches):
    arrays = [np.array(launch, dtype=bool) for launch in launches]
    pooled = pooled_share(arrays)
    count, of = sum(map(sum, launches)), sum(map(len, launches))
    assert (pooled.count, pooled.of) == (count, of)
    assert 0 <= pooled.low <= pooled.estimate <= pooled.high <= 1 or not of
    alone = exact_share(count, of)
    assert pooled.low <= alone.low + 1e-9
    assert pooled.high >= alone.high - 1e-9


def test_nothing_to_judge_says_nothing():
    share = pooled_share([np.zeros(0, dtype=bool)])
    assert (share.of, share.low, share.high) == (0, 0.0, 1.0)


def rare(count, of):
    """Misses as far apart as they can be."""
    launch = np.zeros(of, dtype=bool)
    launch[:: of // count][:count] = True
    return launch


def test_launches_that_agree_are_one_sample():
    pooled = pooled_share([rare(5, 200)] * 4)
    assert (pooled.low, pooled.high) == pytest.approx((exact_share(20, 800).low, exact_share(20, 800).high))


def test_launches_that_differ_widen_the_interval():
    pooled = pooled_share([rare(1, 200), rare(1, 200), rare(1, 200), rare(17, 200)])
    alone = exact_share(20, 800)
    assert pooled.high > 2 * alone.high


def test_a_burst_says_less_than_as_many_single_misses():
    burst = np.zeros(900, dtype=bool)
    burst[300:330] = True
    assert pooled_share([burst]).high > 1.5 * pooled_share([rare(30, 900)]).high


def test_the_interval_covers_where_launches_differ():
    """Five launches whose own shares spread widely: the exact interval of their pool is too narrow."""
    generator = np.random.default_rng(7)
    truth, covered, naive = 0.10, 0, 0
    trials = 400
    for _ in range(trials):
        shares = generator.beta(truth * 30, (1 - truth) * 30, size=5)
        launches = [generator.random(300) < share for share in shares]
        pooled = pooled_share(launches)
        alone = exact_share(pooled.count, pooled.of)
        covered += pooled.low <= truth <= pooled.high
        naive += alone.low <= truth <= alone.high
    assert covered >= 0.93 * trials
    assert naive <= 0.75 * trials


def test_a_few_events_of_launches_that_differ_bound_nothing():
    launches = [np.ones(300, dtype=bool), np.zeros(300, dtype=bool)]
    pooled = pooled_share(launches)
    assert pooled.low < 0.01
    assert pooled.high > 0.99
    assert math.isfinite(pooled.low)
