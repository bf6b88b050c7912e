"""Medians of pairs: what drifts cancels, intervals cover, dependence widens them."""

import numpy as np
import pytest

from benchmarks.estimate import median, paired_difference, paired_ratio
from harness.errors import HarnessError


def drifting(generator, n):
    """Latencies whose level wanders by tens of percent, with bursts, as on a shared machine."""
    level = 8e6 * np.exp(np.cumsum(generator.normal(0, 0.01, n)))
    bursts = np.where(generator.random(n) < 0.05, generator.uniform(1.5, 4, n), 1.0)
    return level, bursts


def test_a_known_ratio_is_found_through_drift():
    generator = np.random.default_rng(1)
    level, bursts = drifting(generator, 1000)
    under = level * generator.normal(1, 0.01, 1000)
    over = 1.05 * level * bursts * generator.normal(1, 0.01, 1000)
    ratio = paired_ratio(over, under)
    assert ratio.low < 1.05 < ratio.high
    assert ratio.value == pytest.approx(1.05, abs=0.005)
    assert 1.04 < ratio.low < ratio.high < 1.06
    assert ratio.samples == 1000


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        level, bursts = drifting(generator, 100)
        ratio = paired_ratio(
            level * bursts * generator.lognormal(0, 0.05, 100), level * generator.lognormal(0, 0.05, 100)
        )
        covered += ratio.low <= 1.0 <= ratio.high
    # The bursts are on one side alone and move the median by less than the interval's width.
    assert covered >= 0.9 * 400


def test_readings_that_follow_each_other_widen_the_interval():
    generator = np.random.default_rng(3)
    independent = generator.normal(1, 0.01, 2000)
    wandering = np.repeat(independent[:100], 20)
    narrow, wide = median(independent), median(wandering)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_difference_is_of_pairs():
    base = np.linspace(100, 300, 50)
    added = paired_difference(base + 40 + np.tile([-1.0, 1.0], 25), base)
    assert added.low <= 40 <= added.high
    assert added.high - added.low <= 2


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_readings_are_refused(n):
    with pytest.raises(HarnessError, match="no 95 % interval"):
        median(np.arange(n, dtype=np.float64))
