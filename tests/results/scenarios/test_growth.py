"""Whether memory grows: leaks of every kind are found, levels and steps of an allocator are not called one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from results.scenarios.growth import growth

MIB, PAGE = 1 << 20, 4096
COUNTS = np.arange(10, 1001, 10)


def record(levels, counts=COUNTS):
    readings = tuple(zip((int(n) for n in counts), (int(level) for level in levels), strict=True))
    return SimpleNamespace(memory=SimpleNamespace(growth=readings))


def flat(rng, sigma=40_000):
    """A resident set that wanders by pages, and comes back."""
    return 300 * MIB + np.round(rng.normal(0, sigma, len(COUNTS)) / PAGE) * PAGE


def launches(count, slope=0.0, seed=3):
    rng = np.random.default_rng(seed)
    return [record(flat(rng) + slope * COUNTS) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_leak_is_found_with_its_size(count):
    found = growth(launches(count, slope=4096))
    assert found.leaks
    assert found.bytes_per_inference.estimate == pytest.approx(4096, rel=0.05)
    assert found.bytes_per_inference.low <= 4096 <= found.bytes_per_inference.high
    assert found.bytes_per_inference.launches == count
    assert found.inferences == 1000


@pytest.mark.parametrize("count", [1, 3])
def test_a_flat_series_is_no_leak(count):
    found = growth(launches(count))
    assert not found.leaks
    assert found.bytes_per_inference.low < 0 < found.bytes_per_inference.high


def test_a_small_growth_is_shown_and_is_no_leak():
    found = growth(launches(3, slope=400))
    assert found.bytes_per_inference.low > 0
    assert not found.leaks, "400 bytes an inference are 0.4 MiB in a thousand"


def test_what_fills_at_first_is_left_out():
    settling = 300 * MIB + 64 * MIB * (1 - np.exp(-COUNTS / 15))
    assert not growth([record(settling)]).leaks


@pytest.mark.parametrize("at", [150, 300, 500, 550, 700, 900])
@pytest.mark.parametrize("step", [PAGE, 16 * PAGE, 4 * MIB, 64 * MIB])
@pytest.mark.parametrize("count", [1, 2])
def test_a_step_of_the_allocator_is_no_leak(at, step, count):
    rng = np.random.default_rng(at)
    assert not growth([record(flat(rng) + step * (at <= COUNTS)) for _ in range(count)]).leaks


@pytest.mark.parametrize("step", [PAGE, 8 * PAGE])
def test_pages_taken_now_and_then_are_no_leak(step):
    rng = np.random.default_rng(5)
    steps = np.cumsum(rng.random(len(COUNTS)) < 0.2) * step
    assert not growth([record(300 * MIB + steps)]).leaks


def test_a_leak_by_whole_arenas_is_a_leak():
    found = growth([record(300 * MIB + COUNTS * 3000 // (256 * 1024) * (256 * 1024))])
    assert found.leaks
    assert found.bytes_per_inference.estimate == pytest.approx(3000, rel=0.1)


def test_one_launch_that_stepped_does_not_speak_for_all():
    rng = np.random.default_rng(9)
    stepped = record(flat(rng) + 30 * MIB * (COUNTS >= 560))
    assert not growth([stepped, record(flat(rng)), record(flat(rng))]).leaks


def test_the_estimate_lies_in_its_interval():
    rng = np.random.default_rng(13)
    for seed in range(30):
        wandering = 300 * MIB + np.cumsum(rng.normal(0, 20_000, len(COUNTS)))
        slope = growth([record(wandering)] * (1 + seed % 3)).bytes_per_inference
        assert slope.low <= slope.estimate <= slope.high


def test_a_wandering_level_is_seldom_called_a_leak():
    """A random walk has no slope; least squares with independent errors calls nearly every second one a leak."""
    rng = np.random.default_rng(17)
    called = sum(growth([record(300 * MIB + np.cumsum(rng.normal(0, MIB / 4, 100)))]).leaks for _ in range(200))
    assert called <= 12


def test_what_nobody_watched_says_nothing():
    assert growth([]) is None
    assert growth([SimpleNamespace(memory=None), record([], [])]) is None
    assert growth([record(flat(np.random.default_rng(0))[:12], COUNTS[:12])]) is None, "too few readings"
