"""When a service level was kept, and when a backlog has no end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.slo import backlog_grows, kept

LEVELS = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=400), st.integers(0, 20), LEVELS)
def test_a_quantile_is_kept_where_its_value_lies_within_the_limit(responses, limit, q):
    value = np.quantile(responses, q, method="inverted_cdf")
    assert kept(sum(response > limit for response in responses), len(responses), q) == (value <= limit)


def test_of_no_query_nothing_is_kept():
    assert not kept(0, 0, 0.9)
    assert kept(1, 10, 0.9)
    assert not kept(2, 10, 0.9)


def queue(load, seed, count=1000):
    """Due times and responses of a server that is never quicker than 10 ms, at a load, in nanoseconds."""
    due = np.random.default_rng(seed).exponential(1e7 / load, count).cumsum()
    walk = np.concatenate([[0.0], np.cumsum(1e7 - np.diff(due))])
    return due, walk - np.minimum.accumulate(walk) + 1e7


@pytest.mark.parametrize(("load", "least", "most"), [(0.5, 0, 0), (0.8, 0, 1), (0.95, 0, 20), (1.1, 95, 100)])
def test_a_backlog_grows_where_more_arrives_than_is_done(load, least, most):
    assert least <= sum(backlog_grows(*queue(load, seed)) for seed in range(100)) <= most


def test_the_tail_of_a_backlog_that_has_an_end_is_no_growth():
    due, response = queue(0.7, 0)
    stalled = response + np.where((due > due[400]) & (due < due[430]), 3e8, 0)
    assert not backlog_grows(due, stalled)
    assert not backlog_grows(due, np.sort(response))  # slower throughout, by far less than time passes


def test_few_queries_show_no_growth():
    assert not backlog_grows(np.arange(39) * 1e6, np.arange(39) * 1e6)
    assert backlog_grows(np.arange(40) * 1e6, np.arange(40) * 1e6)


def test_queries_that_are_due_at_once_are_no_division_by_zero():
    assert backlog_grows(np.zeros(100), np.arange(100) * 1e6)
