"""What is made of the frames of a camera cell, held against counting by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.measure.samples import DROPPED, STEADY, WARMUP, Samples
from harness.vocabulary import Scenario
from results.scenarios.camera import camera

MS = 1_000_000
EPOCH = 10**15


def launch(frames, index=0, streams=1, **parameters):
    """A launch of (camera, due_ms, response_ms or None where dropped)."""
    rows = [(STEADY if response is not None else DROPPED, camera, due, response) for camera, due, response in frames]
    rows.append((WARMUP, 0, -500.0, 90_000.0))  # no frame, however slow it was
    phase = np.array([row[0] for row in rows])
    stream = np.array([row[1] for row in rows])
    due = np.array([EPOCH + round(row[2] * MS) for row in rows])
    end = np.array([-1 if row[3] is None else EPOCH + round((row[2] + row[3]) * MS) for row in rows])
    start = np.where(end < 0, -1, due)
    cell = SimpleNamespace(scenario=Scenario("camera", {"fps": 10.0, **parameters}, "line"))
    timing = SimpleNamespace(streams=streams)
    record = SimpleNamespace(cell=cell, cell_id="id", timing=timing, launch=SimpleNamespace(index=index))
    samples = Samples(phase, stream, due, start, start, end, end)
    return SimpleNamespace(samples=samples, record=record, unsteady=False)


def steadily(responses, camera=0, first=0.0):
    return [(camera, first + 100.0 * number, response) for number, response in enumerate(responses)]


def test_a_late_frame_and_a_dropped_one_are_both_missed():
    seen = camera([launch(steadily([10.0, 60.0, None, 20.0]), deadline_ms=50.0)])
    assert (seen.missed.count, seen.missed.of, seen.dropped) == (2, 4, 1)
    assert seen.verdict == "misses"
    assert seen.worst_lateness_ns == 10 * MS
    assert seen.response.estimate == pytest.approx(20 * MS)
    assert (seen.title, seen.deadline_ms, seen.streams, seen.launches) == ("line", 50.0, 1, 1)


def test_the_deadline_itself_is_in_time():
    seen = camera([launch(steadily([50.0] * 4), deadline_ms=50.0)])
    assert (seen.missed.count, seen.worst_lateness_ns, seen.verdict) == (0, 0.0, "holds")


def test_without_a_deadline_it_is_the_next_frame():
    seen = camera([launch(steadily([99.0, 100.0, 101.0, 10.0]))])
    assert (seen.deadline_ms, seen.missed.count, seen.overruns) == (100.0, 1, 1)


def test_an_overrun_reaches_into_its_own_cameras_next_frame_alone():
    # Two cameras, half an interval apart: 60 ms reaches over the other's frame, which is no overrun.
    frames = steadily([60.0, 110.0, 60.0], 0) + steadily([60.0, None, 120.0], 1, 50.0)
    seen = camera([launch(frames, cameras=2, deadline_ms=1000.0, drop="never")])
    assert seen.overruns == 3  # 110 ms, the dropped one, and the last of the second camera
    assert seen.missed.count == 1


def test_no_miss_is_bounded_by_three_over_all_frames():
    seen = camera([launch(steadily([10.0] * 300), index) for index in range(3)])
    assert seen.verdict == "holds"
    assert 2.9 / 900 < seen.missed.high <= 3 / 900
    assert seen.launch_misses == (0.0, 0.0, 0.0)


def test_launches_that_differ_show_and_widen():
    good, bad = steadily([10.0] * 300), steadily([200.0 if number % 10 == 0 else 10.0 for number in range(300)])
    seen = camera([launch(good, 0), launch(good, 1), launch(bad, 2)])
    assert seen.launch_misses == pytest.approx((0.0, 0.0, 0.1))
    assert seen.missed.estimate == pytest.approx(1 / 30)
    assert seen.missed.high > 0.1


def test_one_launch_gives_a_median_without_bounds():
    seen = camera([launch(steadily([10.0, 20.0, 30.0]))])
    assert (seen.response.low, seen.response.high, seen.response.launches) == (None, None, 1)
    assert seen.response.estimate == pytest.approx(20 * MS)


def test_nothing_was_done_at_all():
    seen = camera([launch(steadily([None] * 40)), launch(steadily([None] * 40), 1)])
    assert seen.response is None
    assert (seen.missed.count, seen.missed.of, seen.dropped, seen.overruns) == (80, 80, 80, 80)
    assert seen.worst_lateness_ns == 0
    assert seen.verdict == "misses"
    assert all(quantile.value_ns is None for quantile in seen.quantiles)


def test_a_launch_without_frames_holds_nothing():
    seen = camera([launch([])])
    assert (seen.missed.of, seen.launch_misses, seen.verdict) == (0, (0.0,), "misses")


def test_the_last_percentile_is_told_only_where_frames_carry_it():
    generator = np.random.default_rng(3)

    def quantiles(count):
        frames = [launch(steadily(generator.uniform(5, 15, count).tolist()), index) for index in range(5)]
        return {quantile.q: quantile.value_ns for quantile in camera(frames).quantiles}

    few, many = quantiles(100), quantiles(1500)
    assert list(few) == [0.5, 0.9, 0.99, 0.999]
    assert few[0.99] is not None
    assert few[0.999] is None
    assert many[0.999] == pytest.approx(15 * MS, rel=0.01)


def test_each_q_is_of_the_frames_that_were_worked_on():
    frames = steadily([10.0] * 60 + [None] * 60)
    seen = camera([launch(frames)])
    assert seen.quantiles[1].value_ns == 10 * MS
    assert seen.missed.count == 60


@st.composite
def fates(draw):
    """A launch of a few cameras, in any order of rows: (camera, due_ms, response_ms or None)."""
    count = draw(st.integers(1, 4))
    frames = draw(st.integers(1, 12))
    rows = [
        (camera, 100.0 * number + 7.0 * camera, draw(st.none() | st.integers(0, 400).map(float)))
        for number in range(frames)
        for camera in range(count)
    ]
    return draw(st.permutations(rows)), count


@hypothesis_settings(max_examples=40)
@given(st.lists(fates(), min_size=1, max_size=3), st.sampled_from([None, 30.0, 100.0, 250.0]))
def test_it_is_what_counting_gives(launches, deadline_ms):
    deadline = deadline_ms or 100.0
    parameters = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
    seen = camera([launch(rows, index, **parameters) for index, (rows, _) in enumerate(launches)])
    missed = dropped = overruns = total = 0
    worst = 0.0
    for rows, _ in launches:
        for source, due, response in rows:
            total += 1
            following = [other for own, other, _ in rows if own == source and other > due]
            until = min(following) - due if following else 100.0
            if response is None:
                missed, dropped, overruns = missed + 1, dropped + 1, overruns + 1
            else:
                missed += response > deadline
                overruns += response > until
                worst = max(worst, response - deadline)
    assert (seen.missed.count, seen.missed.of) == (missed, total)
    assert (seen.dropped, seen.overruns) == (dropped, overruns)
    assert seen.worst_lateness_ns == worst * MS
    assert seen.verdict == ("misses" if missed else "holds")
    done = [response for rows, _ in launches for _, _, response in rows if response is not None]
    assert (seen.response is None) == (not done)
