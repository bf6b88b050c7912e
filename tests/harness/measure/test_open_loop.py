"""The open loop: exact in a time that passes only where somebody sleeps or works, sane with real threads."""

import contextlib
import gc
import itertools
import threading
import time
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import Stream
from harness.measure import open_loop as driver
from harness.measure.loop import Around
from harness.measure.open_loop import Arrivals, Batching, open_loop
from harness.measure.samples import DROPPED, STEADY

MS = 1_000_000
ALONE = Batching()


class Clock:
    """In the place of ``time``."""

    def __init__(self):
        self.now_ns = 7 * MS

    def perf_counter_ns(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9)


@contextlib.contextmanager
def scripted(clock):
    """Let a drive take its time from ``clock``, and leave the garbage of a hundred drives alone."""
    quick = mock.patch.object(driver.loop, "without_collector", contextlib.nullcontext)
    with quick, mock.patch.multiple(driver, time=clock, _SPIN_NS=0):
        yield


class Scripted(Stream):
    """Takes its time by ``work``; raises at a run where asked."""

    def __init__(self, work=lambda: None, fail_at=None):
        self.work, self.fail_at = work, fail_at
        self.bound, self.runs, self.threads = [], 0, set()

    def bind(self, inputs):
        self.bound.append(inputs)

    def run(self):
        self.threads.add(threading.get_ident())
        self.runs += 1
        if self.runs == self.fail_at:
            raise RuntimeError("engine broke")
        self.work()

    def fetch(self):
        return {"out": 1}


def arrivals(due_ms, source=None):
    due_ns = np.array([round(due * MS) for due in due_ms], dtype=np.int64)
    return Arrivals(due_ns, np.array(source or [0] * len(due_ms), dtype=np.int64))


def driven(due_ms, service_ms, source=None, batching=ALONE, **how):
    """Drive one stream in scripted time; return what was driven, and the stream."""
    clock = Clock()

    def work():
        clock.now_ns += round(service_ms * MS)

    stream = Scripted(work)
    with scripted(clock):
        done = open_loop([stream], [({}, None)], lambda *_: None, arrivals(due_ms, source), batching, **how)
    return done, stream


def begun_ms(done):
    return [None if start < 0 else (start - done.began_ns) / MS for start in done.samples.start_ns.tolist()]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(0, 150))
def test_one_stream_with_equal_service_waits_as_lindleys_recursion_says(gaps_ms, service_ms):
    due_ms = list(itertools.accumulate(gaps_ms))
    done, _ = driven(due_ms, service_ms)
    expected = [0]
    for gap in gaps_ms[1:]:
        expected.append(max(0, expected[-1] + service_ms - gap))
    waits_ns = done.samples.start_ns - done.samples.scheduled_ns
    assert waits_ns.tolist() == [wait * MS for wait in expected]
    assert (done.samples.end_ns - done.samples.start_ns == service_ms * MS).all()
    assert (done.samples.scheduled_ns - done.began_ns).tolist() == [due * MS for due in due_ms]
    assert done.given_up == 0


def test_a_batch_begins_when_it_is_full_or_its_first_query_has_waited_long_enough():
    due_ms = [0, 1, 2, 3, 10, 11, 40]
    done, stream = driven(due_ms, 1, batching=Batching(4, 5 * MS))
    assert begun_ms(done) == [3, 3, 3, 3, 15, 15, 45]
    assert stream.runs == 3 + driver._SETTLING


def test_without_a_delay_a_batch_takes_what_waits():
    done, _ = driven([0, 1, 2, 3, 30], 10, batching=Batching(4))
    assert begun_ms(done) == [0, 10, 10, 10, 30]


def test_a_query_that_waited_for_the_engine_waits_for_no_batch():
    done, _ = driven([0, 1, 22], 20, batching=Batching(2, 5 * MS))
    assert begun_ms(done) == [1, 1, 27]
    done, _ = driven([0, 6, 28], 20, batching=Batching(2, 5 * MS))
    assert begun_ms(done) == [5, 25, 45]


def test_no_batch_is_larger_than_it_may_be():
    done, stream = driven([0] * 10, 1, batching=Batching(4))
    assert begun_ms(done) == [0] * 4 + [1] * 4 + [2] * 2
    assert stream.runs == 3 + driver._SETTLING


def test_a_query_gives_way_to_a_later_one_of_its_source_that_is_due():
    done, stream = driven([0, 10, 20, 30], 25, drop_stale=True)
    assert done.samples.phase.tolist() == [STEADY, DROPPED, STEADY, STEADY]
    assert begun_ms(done) == [0, None, 25, 50]
    dropped = done.samples.phase == DROPPED
    for column in ("start_ns", "bound_ns", "synced_ns", "end_ns"):
        assert (getattr(done.samples, column)[dropped] == -1).all()
    assert done.samples.scheduled_ns[1] == done.began_ns + 10 * MS
    assert done.stream.tolist() == [0, -1, 0, 0]
    assert stream.runs == 3 + driver._SETTLING


def test_a_query_gives_way_to_no_other_source():
    done, _ = driven([0, 10, 20, 30], 25, source=[0, 1, 2, 3], drop_stale=True)
    assert begun_ms(done) == [0, 25, 50, 75]
    assert done.samples.stream.tolist() == [0, 1, 2, 3]


def test_stale_queries_fill_no_batch():
    # The cameras 0 and 1 have sent twice when the first batch is done.
    done, _ = driven([0, 10, 10, 20, 20], 30, source=[0, 0, 1, 0, 1], batching=Batching(2), drop_stale=True)
    assert begun_ms(done) == [0, None, None, 30, 30]


def test_the_driving_ends_when_the_oldest_query_waits_too_long():
    done, _ = driven(range(100), 10, give_up_ns=20 * MS)
    # The fourth would begin at 30 ms, 27 ms late; 31 queries are due by then.
    assert begun_ms(done) == [0, 10, 20]
    assert done.given_up == 28


def test_a_backlog_with_an_end_is_worked_off():
    done, _ = driven([0] * 3 + [100], 10, give_up_ns=20 * MS)
    assert begun_ms(done) == [0, 10, 20, 100]
    assert done.given_up == 0


def test_work_rotates_by_batch():
    stream, finished = Scripted(), []
    work = [({"x": index}, f"frames {index}") for index in range(3)]
    open_loop([stream], work, lambda _, frames: finished.append(frames), arrivals([0] * 5))
    assert [inputs["x"] for inputs in stream.bound[driver._SETTLING :]] == [0, 1, 2, 0, 1]
    assert finished[driver._SETTLING :] == [f"frames {index}" for index in (0, 1, 2, 0, 1)]


def test_prepared_queries_are_bound_as_they_are():
    stream, rows = Scripted(), []

    def prepare(row):
        rows.append(row)
        return {"x": row}, (f"frame {row}",)

    finished = []
    open_loop([stream], (), lambda _, frames: finished.append(frames), arrivals([0, 0, 0]), prepare=prepare)
    assert rows == [0, 0, 1, 2]  # the first also settles the thread
    assert [inputs["x"] for inputs in stream.bound[driver._SETTLING :]] == [0, 1, 2]
    assert finished[driver._SETTLING :] == [("frame 0",), ("frame 1",), ("frame 2",)]


def test_prepared_queries_of_a_batch_are_stacked_and_filled_up():
    stream, finished = Scripted(), []

    def prepare(row):
        return {"x": np.full((1, 2), row)}, (f"frame {row}",)

    def finish(_, frames):
        finished.append(frames)

    open_loop([stream], (), finish, arrivals([0, 0, 0, 0]), Batching(3), prepare=prepare)
    given_ = [inputs["x"][:, 0].tolist() for inputs in stream.bound[driver._SETTLING :]]
    assert given_ == [[0, 1, 2], [3, 3, 3]]
    assert finished[-1] == ("frame 3",) * 3


def test_what_is_prepared_belongs_to_the_service():
    clock = Clock()

    def prepare(_):
        clock.now_ns += 4 * MS
        return {}, (None,)

    with scripted(clock):
        done = open_loop([Scripted()], (), lambda *_: None, arrivals([0, 1]), prepare=prepare)
    assert begun_ms(done) == [0, 4]
    assert (done.samples.bound_ns - done.samples.start_ns).tolist() == [4 * MS, 4 * MS]


def test_the_beginning_is_told_once_before_the_start():
    told = []
    streams = [Scripted(), Scripted()]
    done = open_loop(
        streams,
        [({}, None)],
        lambda *_: None,
        arrivals([0, 1]),
        around=Around(lambda: told.append(time.perf_counter_ns())),
    )
    assert len(told) == 1
    assert told[0] <= done.began_ns <= done.samples.start_ns.min()


@pytest.mark.parametrize("count", [1, 3])
def test_every_query_is_answered_once_and_not_before_it_is_due(count):
    streams = [Scripted(lambda: time.sleep(0.001)) for _ in range(count)]
    due = arrivals(np.random.default_rng(0).exponential(0.4, 60).cumsum())
    done = open_loop(streams, [({}, None)] * 4, lambda *_: None, due, Batching(2))
    assert len(done.samples) == 60
    assert (done.samples.phase == STEADY).all()
    assert (done.samples.start_ns >= done.samples.scheduled_ns).all()
    assert (done.samples.end_ns >= done.samples.synced_ns).all()
    for index in range(count):
        starts = np.unique(done.samples.start_ns[done.stream == index])
        ends = np.unique(done.samples.end_ns[done.stream == index])
        assert (starts[1:] >= ends[:-1]).all()
        assert streams[index].runs == len(starts) + driver._SETTLING
    assert all(len(stream.threads) == 1 for stream in streams)


def test_a_single_stream_is_driven_by_the_callers_thread():
    stream = Scripted()
    open_loop([stream], [({}, None)], lambda *_: None, arrivals([0]))
    assert stream.threads == {threading.get_ident()}


def test_garbage_waits():
    seen = []
    open_loop([Scripted()], [({}, None)], lambda *_: seen.append(gc.isenabled()), arrivals([0]))
    assert seen
    assert not any(seen)
    assert gc.isenabled()


def test_nothing_is_driven_where_nothing_is_due():
    stream = Scripted()
    done = open_loop([stream], [({}, None)], lambda *_: None, arrivals([]), drop_stale=True)
    assert (len(done.samples), done.given_up, stream.runs) == (0, 0, 0)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("fail_at", [1, driver._SETTLING + 1])
def test_an_error_of_one_stream_ends_all_and_is_raised(count, fail_at):
    streams = [Scripted(lambda: time.sleep(0.001), fail_at) for _ in range(count)]
    # An hour of queries: nobody waits for the next one when another stream has failed.
    due = arrivals([0] * count + [3_600_000])
    with pytest.raises(RuntimeError, match="engine broke"):
        open_loop(streams, [({}, None)], lambda *_: None, due)


def test_an_error_at_the_beginning_is_raised():
    def begin():
        raise ValueError("no")

    for count in (1, 2):
        with pytest.raises(ValueError, match="no"):
            open_loop([Scripted()] * count, [({}, None)], lambda *_: None, arrivals([0]), around=Around(begin))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_the_follower_is_the_next_of_the_same_source(steps):
    due = list(itertools.accumulate(step for step, _ in steps))
    source = [camera for _, camera in steps]
    expected = [
        next((later for later in range(row + 1, len(source)) if source[later] == source[row]), len(source))
        for row in range(len(source))
    ]
    assert arrivals(due, source).followers().tolist() == expected


def test_arrivals_that_make_no_schedule_are_refused():
    with pytest.raises(ValueError, match="order of due time"):
        arrivals([1, 0])
    with pytest.raises(ValueError, match="2 times are given for 1 sources"):
        arrivals([0, 1], [0])
