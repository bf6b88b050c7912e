"""Power by the noncentral t distribution, and the launches that it takes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.resolution import MOST, POWER, Spread, detection, equivalence, launches_needed


@pytest.mark.parametrize("degrees", [1.0, 2.0, 4.0, 9.0, 18.0, 23.7, 400.0])
@pytest.mark.parametrize("level", [0.05, 0.0025])
def test_detection_is_the_noncentral_t(degrees, level):
    for ncp in (0.0, 0.5, 2.0, 4.0, 8.0):
        expected = stats.nct.sf(stats.t.isf(level, degrees), degrees, ncp)
        assert detection(ncp * 0.01, 0.01, degrees, level) == pytest.approx(expected, abs=1e-9)


def test_without_a_change_detection_is_the_level():
    assert detection(0.0, 0.01, 18, 0.05) == pytest.approx(0.05, abs=1e-4)


def test_both_agree_with_simulation():
    generator = np.random.default_rng(1)
    launches, spread, margin = 10, 0.02, math.log1p(0.03)
    changed, same = (generator.normal(shift, spread, (20_000, launches)) for shift in (margin, 0.0))
    others = generator.normal(0, spread, (20_000, launches))
    degrees, error = 18.0, spread * math.sqrt(2 / launches)
    found = stats.ttest_ind(changed, others, axis=1).pvalue / 2 < 0.0025
    assert detection(margin, error, degrees, 0.0025) == pytest.approx(found.mean(), abs=0.015)
    tested = stats.ttest_ind(same, others, axis=1).confidence_interval(0.90)
    inside = (tested.low > -margin) & (tested.high < margin)
    assert equivalence(margin, error, degrees, 0.05) == pytest.approx(inside.mean(), abs=0.015)


def test_no_spread_answers_for_certain():
    assert detection(0.03, 0.0, 1, 0.05) == equivalence(0.03, 0.0, 1, 0.05) == 1.0
    assert launches_needed(Spread((0.0, 0.0)), 0.03, 0.05, 0.05) == 2


def test_degrees_are_welchs():
    assert Spread((4.0, 4.0)).degrees(10) == pytest.approx(18)
    assert Spread((4.0, 0.0)).degrees(10) == pytest.approx(9)
    assert Spread((4.0,)).degrees(10) == pytest.approx(9)
    assert Spread((4.0, 4.0)).error(8) == pytest.approx(1.0)


@given(st.floats(0.001, 0.3), st.integers(1, 2), st.sampled_from([0.05, 0.01, 0.05 / 20]))
def test_the_launches_needed_are_the_fewest(sd, sides, level):
    spread, margin = Spread((sd**2,) * sides), math.log1p(0.03)

    def power(launches):
        error, degrees = spread.error(launches), spread.degrees(launches)
        return min(detection(margin, error, degrees, level), equivalence(margin, error, degrees, 0.05))

    needed = launches_needed(spread, margin, level, 0.05)
    if needed is None:
        assert power(MOST) < POWER
    else:
        assert power(needed) >= POWER
        assert needed == 2 or power(needed - 1) < POWER
