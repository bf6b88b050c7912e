"""Burst, sustained rate and the moment between, from series whose truth is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.measure.samples import STEADY, WARMUP, Samples
from results.scenarios.soak import soak

MS = 1_000_000


def launch(*streams, batch=1, done=None):
    """Return a launch whose streams took so many nanoseconds for each inference, one after the other."""
    parts = []
    for stream, given in enumerate(streams):
        took_ns = np.asarray(given, dtype=np.int64)
        end = 10**15 + np.cumsum(took_ns)
        start = end - took_ns
        phase = np.full(len(end), STEADY)
        phase[0] = WARMUP
        parts.append(Samples(phase, np.full(len(end), stream), start, start, start, end, end))
    samples = Samples.joined(parts)
    cell = SimpleNamespace(batch=batch, cell_id="cell", scenario=SimpleNamespace(title="", label="soak"))
    timing = SimpleNamespace(steady_iterations=done or len(samples.steady()))
    return SimpleNamespace(record=SimpleNamespace(cell=cell, timing=timing), samples=samples)


def latencies(seconds, latency_ms, noise=0.02, seed=0):
    """Return latencies that fill so many seconds; ``latency_ms``: a number, or a function of the time in seconds."""
    rng, clock_s, taken = np.random.default_rng(seed), 0.0, []
    at = latency_ms if callable(latency_ms) else lambda _: latency_ms
    while clock_s < seconds:
        taken.append(at(clock_s) * rng.lognormal(0.0, noise))
        clock_s += taken[-1] / 1e3
    return np.array(taken) * MS


def test_a_flat_series_is_no_slower_at_its_end():
    found = soak([launch(latencies(120, 5.0), latencies(120, 5.0, seed=1))])
    assert found.streams == 2
    assert found.burst == pytest.approx(400, rel=0.01)
    assert found.sustained == pytest.approx(400, rel=0.01)
    assert found.ratio.low <= 1 <= found.ratio.high
    assert found.ratio.launches == 1
    assert found.slowed_after_s is None
    assert found.seconds == pytest.approx(119, abs=1.01)


def test_a_throttle_is_found_with_its_moment():
    found = soak([launch(latencies(180, lambda s: 4.0 if s < 60 else 5.0))])
    assert found.burst == pytest.approx(250, rel=0.01)
    assert found.ratio.estimate == pytest.approx(0.8, abs=0.01)
    assert found.ratio.high < 0.85
    assert found.slowed_after_s == pytest.approx(60, abs=2)


def test_a_passing_slowness_is_not_for_good():
    found = soak([launch(latencies(180, lambda s: 6.0 if 60 <= s < 100 else 4.0))])
    assert found.slowed_after_s is None
    assert found.ratio.estimate == pytest.approx(1, abs=0.01)


def test_a_late_throttle_counts_though_the_last_third_holds_both():
    found = soak([launch(latencies(180, lambda s: 4.0 if s < 150 else 5.0))])
    assert found.slowed_after_s == pytest.approx(150, abs=2)


def test_steps_down_begin_with_the_first_of_them():
    found = soak([launch(latencies(180, lambda s: 4.0 + 0.4 * (s >= 40) + 0.4 * (s >= 110)))])
    assert found.slowed_after_s == pytest.approx(40, abs=2)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_flat_series_are_hardly_ever_called_slower(noise):
    rng = np.random.default_rng(7)
    called = 0
    for _ in range(30):
        took = 20 * MS * rng.lognormal(0, noise, 3000)
        called += soak([launch(took)]).slowed_after_s is not None
    assert called <= 1


def test_what_was_thinned_counts_in_full():
    took = latencies(60, 5.0)
    whole, half = launch(took), launch(took)
    rows = np.r_[0, 1 : len(took) : 2]
    thinned = Samples(**{name: getattr(half.samples, name)[rows] for name in Samples.__dataclass_fields__})
    half = SimpleNamespace(record=half.record, samples=thinned)
    assert soak([half]).sustained == pytest.approx(soak([whole]).sustained, rel=0.005)


def test_a_batch_is_as_many_items():
    took = latencies(40, 50.0, noise=0)
    assert soak([launch(took, batch=8)]).burst == pytest.approx(160, rel=0.01)


def test_inferences_longer_than_a_bin_give_no_steps():
    found = soak([launch(np.full(40, 2.5e9))])
    assert {round(rate, 6) for _, rate in found.series} == {0.4}
    assert found.ratio.estimate == pytest.approx(1)


def test_the_series_is_thinned_for_the_page():
    found = soak([launch(np.full(20_000, 50 * MS))])
    times = [time_s for time_s, _ in found.series]
    assert 150 < len(found.series) <= 300
    assert times == sorted(times)
    assert times[-1] <= found.seconds
    assert np.average([rate for _, rate in found.series]) == pytest.approx(20)


def test_a_burst_narrower_than_a_level_is_still_the_burst():
    found = soak([launch(latencies(3000, lambda s: 100.0 if s < 12 else 130.0, noise=0.01))])
    assert found.slowed_after_s == pytest.approx(12, abs=20)
    assert found.slowed_after_s >= 10


def test_a_short_series_has_narrower_bins():
    found = soak([launch(np.full(1000, 5 * MS))])
    assert found.seconds == pytest.approx(5, rel=0.01)
    assert found.ratio.estimate == pytest.approx(1, abs=1e-6)


def test_a_gradual_decline_is_slower_from_when_it_leaves_the_burst():
    found = soak([launch(latencies(180, lambda s: 4.0 * (1 + 0.2 * s / 180)))])
    assert found.ratio.estimate == pytest.approx(0.865, abs=0.01)
    assert found.ratio.high < 0.95
    assert 15 < found.slowed_after_s < 60


def test_the_interval_allows_for_seconds_that_depend_on_each_other():
    """Of 2 % noise with a correlation of 0.8 from second to second; independent seconds would cover 40 %."""
    rng, covered = np.random.default_rng(11), 0
    for _ in range(40):
        noise = np.empty(240)
        noise[0] = rng.normal(0, 0.02)
        for second in range(1, len(noise)):
            noise[second] = 0.8 * noise[second - 1] + rng.normal(0, 0.02 * 0.6)
        rates = 100 * np.exp(noise) * np.where(np.arange(240) < 20, 1.0, 0.9)
        took = np.repeat(1e9 / rates, np.round(rates).astype(int))
        ratio = soak([launch(took)]).ratio
        covered += ratio.low <= 0.9 <= ratio.high
    assert covered >= 35
