"""Rates of streams that do not end together."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.measure.samples import Samples
from results.measures import throughput


def launch(*streams, batch=1):
    """A launch whose streams made these (start, end) rows, in nanoseconds."""
    rows = [(index, start, end) for index, stream in enumerate(streams) for start, end in stream]
    stream, start, end = np.array(sorted(rows, key=lambda row: row[1]), dtype=np.int64).T
    samples = Samples(np.ones_like(start), stream, start, start, start, end, end)
    record = SimpleNamespace(cell=SimpleNamespace(batch=batch), timing=None, launch=SimpleNamespace(index=0))
    return SimpleNamespace(samples=samples, record=record)


def rate(*streams, batch=1):
    return throughput([launch(*streams, batch=batch)]).items_per_s.estimate


def test_one_stream_counts_whole():
    assert rate([(0, 100), (100, 200), (300, 400)], batch=4) == pytest.approx(4 * 3 / 400e-9)


def test_waiting_for_the_last_stream_costs_nothing():
    every_100 = [(start, start + 100) for start in range(0, 500, 100)]
    every_70 = [(start, start + 70) for start in range(0, 560, 70)]
    assert rate(every_100, every_70) == pytest.approx(1 / 100e-9 + 1 / 70e-9)


def test_what_was_in_flight_where_the_last_level_begins_is_no_loss():
    # The second stream's inference that was under way at 0 belongs to the level before.
    assert rate([(0, 100), (100, 200)], [(60, 160), (160, 260)]) == pytest.approx(2 / 100e-9)


def test_streams_that_never_met_are_counted_over_the_whole_time():
    assert rate([(0, 100)], [(100, 200)]) == pytest.approx(2 / 200e-9)


def test_a_clock_that_saw_no_time_pass_is_no_division_by_zero():
    assert np.isfinite(rate([(5, 5)]))


def test_the_latency_under_load_is_of_one_batch_whatever_the_rate():
    both = [launch([(0, 100), (100, 200)], [(0, 100), (100, 200)], batch=4)] * 3
    found = throughput(both)
    assert found.latency.estimate == pytest.approx(100)
    assert found.latency.launches == 3
    # In a closed loop streams x batch items are always under way (Little, Operations Research 9, 1961).
    assert 2 * 4 / found.items_per_s.estimate * 1e9 == pytest.approx(found.latency.estimate)
