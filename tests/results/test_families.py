"""Many pairs at once are what the pure function says of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.families import welch_log_ratios
from results.statistics import welch_log_ratio

side = st.lists(st.floats(0.5, 2e9), min_size=1, max_size=12)


@given(st.lists(st.tuples(side, side), min_size=1, max_size=6))
def test_each_pair_is_welchs(pairs):
    for (before, after), (ratio, variances) in zip(pairs, welch_log_ratios(pairs), strict=True):
        expected = welch_log_ratio(before, after)
        assert ratio.estimate == pytest.approx(expected.estimate, rel=1e-12)
        assert (ratio.standard_error is None) == (expected.standard_error is None)
        if ratio.standard_error is not None:
            assert ratio.standard_error == pytest.approx(expected.standard_error, rel=1e-9, abs=1e-12)
            if expected.standard_error > 1e-9:  # below it is rounding
                assert ratio.degrees == pytest.approx(expected.degrees, rel=1e-6)
                assert (ratio.low, ratio.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
        assert len(variances) == 2


@given(st.lists(st.tuples(side, side), min_size=1, max_size=6))
def test_a_pair_is_the_same_in_any_company(pairs):
    together = welch_log_ratios(pairs)
    assert together == [welch_log_ratios([pair])[0] for pair in pairs]


def test_no_pair_is_no_answer():
    assert welch_log_ratios([]) == []


def test_what_does_not_vary_is_a_point():
    ((ratio, variances),) = welch_log_ratios([([1.0, 1.0], [2.0, 2.0, 2.0])])
    assert (ratio.low, ratio.estimate, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert (ratio.degrees, variances) == (3.0, (0.0, 0.0))


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0, 1.0], [float("nan")], [float("inf"), 1.0]])
def test_what_no_launch_can_give_is_refused(bad):
    for pair in (([1.0, 1.0], bad), (bad, [1.0])):
        with pytest.raises(ValueError):
            welch_log_ratios([([1.0], [1.0]), pair])
