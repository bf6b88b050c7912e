"""The way of an image and its parts, over launches."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.measure.samples import Samples
from results.scenarios.end_to_end import end_to_end


def launch(totals, index=0, scale=1.0):
    """A launch whose images take these nanoseconds: half decoding, a tenth each bind and finish, the rest the run."""
    total = (np.asarray(totals, dtype=np.float64) * scale).astype(np.int64)
    end = np.cumsum(total)
    begin = end - total
    start, bound, synced = begin + total // 2, begin + 6 * total // 10, begin + 9 * total // 10
    steady = np.ones_like(total)
    samples = Samples(steady, np.zeros_like(total), begin, start, bound, synced, end)
    return SimpleNamespace(samples=samples, record=SimpleNamespace(launch=SimpleNamespace(index=index)))


TOTALS = 1_000_000 * (1 + np.arange(400) % 7)


def test_the_parts_are_those_of_the_columns():
    seen = end_to_end([launch(TOTALS)], (50.0,))
    assert seen.total.estimate == pytest.approx(np.median(TOTALS))
    assert seen.preparation.estimate == pytest.approx(np.median(TOTALS) / 2)
    assert seen.inference.estimate == pytest.approx(0.4 * np.median(TOTALS))
    assert seen.finish.estimate == pytest.approx(0.1 * np.median(TOTALS))
    assert (seen.iterations, seen.launch_indices) == (400, (0,))
    assert seen.total.low is None


def test_intervals_are_over_launches():
    seen = end_to_end([launch(TOTALS, index, scale) for index, scale in ((0, 1.0), (3, 1.1), (4, 0.9))], (50.0, 99.0))
    assert seen.total.low < seen.total.estimate < seen.total.high
    assert seen.launch_indices == (0, 3, 4)
    assert seen.launch_medians_ns == pytest.approx([4e6, 4.4e6, 3.6e6])
    assert [quantile.q for quantile in seen.quantiles] == [0.5, 0.99]
    assert seen.iterations == 1200


def test_a_percentile_that_is_not_carried_has_no_number():
    seen = end_to_end([launch(TOTALS[:40])], (50.0, 99.0))
    assert seen.quantiles[0].value_ns is not None
    assert seen.quantiles[1].value_ns is None


def test_the_usual_percentiles_are_tried_where_none_is_asked_for():
    assert [quantile.q for quantile in end_to_end([launch(TOTALS)], ()).quantiles] == [0.5, 0.9, 0.95, 0.99]


def test_a_part_in_which_no_time_passed_is_no_error():
    seen = end_to_end([launch([0, 0, 0])], (50.0,))
    assert seen.finish.estimate == 1.0
