"""Changes of level: seldom where there are none, found at their place where there are, whatever the unit."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from results.change_points import FEWEST, SHORTEST, change_points, segmentation, winsorised

NOISE = 0.02


def noise(seed, n, rho=0.0):
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(n + 100) * math.sqrt(1 - rho**2)
    return np.exp(NOISE * lfilter([1.0], [1.0, -rho], drawn)[100:])


def steps(*levels):
    return np.concatenate([np.full(count, value) for count, value in levels])


def indices(found):
    return [change.index for change in found]


@pytest.mark.parametrize("rho", [0.0, 0.6])
@pytest.mark.parametrize("n", [20, 60])
def test_a_series_without_a_change_is_seldom_said_to_have_one(rho, n):
    alarms = sum(bool(change_points(noise([seed, n], n, rho))) for seed in range(50))
    assert alarms <= 6  # of 50 at 5 %: 2.5, and two standard deviations


def test_a_step_in_noise_is_found_near_its_place():
    found = [change_points(steps((50, 1.0), (10, 1.05)) * noise(seed, 60)) for seed in range(20)]
    near = [changes for changes in found if any(abs(change.index - 50) <= 3 for change in changes)]
    assert len(near) >= 14
    for changes in near:
        change = min(changes, key=lambda change: abs(change.index - 50))
        assert change.ratio.estimate == pytest.approx(1.05, abs=0.03)
        assert change.after / change.before == pytest.approx(change.ratio.estimate)
        assert change.ratio.low < change.ratio.estimate < change.ratio.high
        assert SHORTEST <= change.delay <= 13
        assert 0 < change.p <= 0.05


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(12, 60),
    st.floats(0.2, 0.8),
    st.floats(1.5, 20.0),
    st.booleans(),
)
def test_a_big_step_is_found_at_its_place(seed, n, share, factor, down):
    place = round(n * share)
    assume(place >= 5 and n - place >= 5)
    after = 1 / factor if down else factor
    found = change_points(steps((place, 1.0), (n - place, after)) * noise(seed, n))
    assert place in indices(found)
    change = found[indices(found).index(place)]
    assert change.ratio.estimate == pytest.approx(after, rel=0.06)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.floats(1e-12, 1e12))
def test_the_unit_changes_nothing(seed, n, scale):
    series = noise(seed, n) * np.where(np.arange(n) >= n // 2, 1.2, 1.0)
    plain, scaled = segmentation(series), segmentation(series * scale)
    assert indices(plain.changes) == indices(scaled.changes)
    for one, other in zip(plain.changes, scaled.changes, strict=True):
        assert other.after == pytest.approx(scale * one.after)
        assert other.ratio.estimate == pytest.approx(one.ratio.estimate)
        assert other.ratio.low == pytest.approx(one.ratio.low)
        assert (other.delay, other.p) == (one.delay, one.p)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 1e12), max_size=60))
def test_every_figure_is_finite_and_levels_cover_the_series(values):
    found = segmentation(values)
    assert [level.start for level in found.levels] == ([0, *indices(found.changes)] if values else [])
    assert [level.end for level in found.levels] == ([*indices(found.changes), len(values)] if values else [])
    for change in found.changes:
        figures = [change.before, change.after, change.ratio.estimate, change.ratio.low, change.ratio.high, change.p]
        assert all(map(math.isfinite, figures))
        assert min(change.before / change.after, change.after / change.before) <= 1 / 1.03 + 1e-9
        assert SHORTEST <= change.delay <= len(values)
    for level in found.levels:
        assert math.isfinite(level.value.estimate)
        assert (level.value.low is None) == (len(values) == 1)


@pytest.mark.parametrize("n", [0, 1, 2, FEWEST - 1, FEWEST, 60])
def test_a_constant_series_has_no_change(n):
    found = segmentation([3.0] * n)
    assert found.changes == ()
    assert len(found.levels) == min(n, 1)


def test_a_step_between_constants_is_certain():
    (change,) = change_points(steps((20, 100.0), (10, 110.0)))
    assert (change.index, change.delay) == (20, SHORTEST)
    assert (change.before, change.after) == pytest.approx((100.0, 110.0))
    assert change.ratio.low == pytest.approx(1.1)


def test_a_change_below_the_smallest_is_none_however_certain():
    series = steps((30, 1.0), (30, 1.02)) * noise(1, 60) ** 0.05
    assert change_points(series) == ()
    assert indices(change_points(series, minimum_share=0.01)) == [30]


def test_several_changes_are_found_up_and_down():
    found = change_points(steps((40, 1.0), (30, 1.2), (50, 1.0), (30, 0.8)) * noise(3, 150))
    assert indices(found) == pytest.approx([40, 70, 120], abs=1)
    assert [round(change.ratio.estimate, 1) for change in found] == [1.2, 0.8, 0.8]


@pytest.mark.parametrize("place", [0, 7, 30, 58, 59])
def test_outliers_are_no_change(place):
    series = noise(5, 60)
    series[place : place + 2] *= 3
    assert change_points(series) == ()


def test_outliers_do_not_move_the_levels():
    series = steps((30, 1.0), (30, 1.1)) * noise(6, 60)
    series[[5, 20, 41, 55]] *= 4
    (change,) = change_points(series)
    assert change.index == pytest.approx(30, abs=1)
    assert change.ratio.estimate == pytest.approx(1.1, abs=0.02)


def test_winsorising_keeps_a_step_and_draws_in_an_outlier():
    series = np.log(steps((30, 1.0), (30, 2.0)) * noise(7, 60))
    series[10] += 5.0
    drawn_in = winsorised(series)
    assert drawn_in[10] < 0.15
    assert np.abs(np.delete(drawn_in - series, 10)).max() < 0.03


def test_the_same_series_is_always_told_the_same():
    series = steps((50, 1.0), (10, 1.05)) * noise(8, 60)
    assert segmentation(series) == segmentation(series)


def test_a_known_change_sets_a_level_and_keeps_the_spread():
    series = steps((40, 1.0), (30, 1.2)) * noise(9, 70)
    (free,) = change_points(series)
    (known,) = change_points(series, known=[free.index])
    assert (known.index, known.known, free.known) == (free.index, free.index, None)
    assert known.ratio == free.ratio
    further = np.concatenate([series, 1.2 * 1.15 * noise(10, 20)])
    found = change_points(further, known=[free.index])
    assert [(change.known, abs(change.index - place) <= 1) for change, place in zip(found, (40, 70), strict=True)] == [
        (free.index, True),
        (None, True),
    ]


def test_a_known_change_makes_few_false_alarms_after_it():
    alarms = 0
    for seed in range(20):
        found = change_points(steps((30, 1.0), (30, 1.1)) * noise([seed, 1], 60), known=[30])
        alarms += any(change.known is None for change in found)
    assert alarms <= 3


@pytest.mark.parametrize("off", [-3, -1, 2, 3])
def test_a_known_change_is_placed_where_it_fits_best(off):
    (change,) = change_points(steps((40, 1.0), (30, 1.2)) * noise(12, 70), known=[40 + off])
    assert (change.index, change.known) == (40, 40 + off)


def test_known_changes_keep_their_order_and_their_distance():
    series = steps((40, 1.0), (30, 1.2)) * noise(13, 70)
    found = change_points(series, known=[38, 40, 42, 66, 69])
    places = [change.index for change in found]
    assert [change.known for change in found] == [38, 40, 42, 66, 69]
    assert places == sorted(set(places))
    assert all(0 < place < 70 for place in places)


def test_a_known_change_in_few_points_is_described():
    (change,) = change_points([1.0, 1.0, 2.0, 2.0], known=[2, 0, 9])
    assert (change.index, change.known, change.p) == (2, 2, 1.0)
    assert change.ratio.estimate == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_values_are_positive_and_finite(wrong):
    with pytest.raises(ValueError, match="positive"):
        change_points([1.0] * 20 + [wrong])
