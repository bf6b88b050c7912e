"""The timed loops: what is recorded, in which order, and that nothing grows."""

import threading
import time

import numpy as np
import pytest

from harness.engine import Stream
from harness.measure.loop import Around, Columns, closed_loop, concurrent
from harness.measure.samples import STEADY, WARMUP, Samples

FOREVER = 2**62


class Scripted(Stream):
    """Notes its calls; raises at a call number where asked."""

    def __init__(self, fail_at=None):
        self.calls, self.threads, self.runs, self.fail_at = [], set(), 0, fail_at

    def bind(self, inputs):
        self.calls.append(("bind", inputs))

    def run(self):
        self.threads.add(threading.get_ident())
        self.runs += 1
        if self.runs == self.fail_at:
            raise RuntimeError("engine broke")
        self.calls.append("run")

    def sync(self):
        self.calls.append("sync")

    def fetch(self):
        self.calls.append("fetch")
        return {"out": 1}


def work(size):
    return [({"x": index}, f"frames {index}") for index in range(size)]


def test_inputs_rotate_and_every_inference_is_finished():
    finished = []
    stream, columns = Scripted(), Columns(10)
    closed_loop(stream, work(3), lambda outputs, frames: finished.append((outputs, frames)), columns, 5, FOREVER)
    assert [call[1]["x"] for call in stream.calls if call[0] == "bind"] == [0, 1, 2, 0, 1]
    assert stream.calls[1:4] == ["run", "sync", "fetch"]
    assert finished[4] == ({"out": 1}, "frames 1")
    assert columns.filled == 5


def test_times_of_a_row_are_in_order_and_rows_do_not_overlap():
    columns = Columns(50)
    closed_loop(Scripted(), work(2), lambda *_: None, columns, 50, FOREVER)
    samples = columns.samples()
    for before, after in (("start_ns", "bound_ns"), ("bound_ns", "synced_ns"), ("synced_ns", "end_ns")):
        assert (getattr(samples, before) <= getattr(samples, after)).all()
    assert (samples.start_ns[1:] >= samples.end_ns[:-1]).all()
    assert (samples.host_to_host_ns >= samples.compute_ns).all()


def test_the_deadline_ends_the_loop_after_the_inference_at_hand():
    columns = Columns(1000)
    closed_loop(Scripted(), work(1), lambda *_: time.sleep(0.002), columns, 1000, time.perf_counter_ns() + 1)
    assert columns.filled == 1


def test_no_more_rows_are_written_than_there_are():
    columns = Columns(4)
    closed_loop(Scripted(), work(1), lambda *_: None, columns, 100, FOREVER)
    closed_loop(Scripted(), work(1), lambda *_: None, columns, 100, FOREVER)
    assert columns.filled == 4


def test_warm_up_and_steady_rows_are_told_apart():
    columns = Columns(8)
    closed_loop(Scripted(), work(1), lambda *_: None, columns, 8, FOREVER)
    columns.warm = 3
    samples = columns.samples()
    assert samples.phase.tolist() == [WARMUP] * 3 + [STEADY] * 5
    assert len(samples.steady()) == 5


def test_samples_survive_the_disk(tmp_path):
    columns = Columns(8)
    closed_loop(Scripted(), work(1), lambda *_: None, columns, 8, FOREVER)
    columns.samples(stream=3).save(tmp_path / "samples.npz")
    again = Samples.load(tmp_path / "samples.npz")
    assert again.stream.tolist() == [3] * 8
    assert (again.end_ns == columns.samples().end_ns).all()
    assert again.end_ns.dtype == np.int64


def warm(stream, columns):
    closed_loop(stream, work(4), lambda *_: None, columns, 2, FOREVER)


def test_streams_run_in_threads_of_their_own_after_a_warm_up():
    streams = [Scripted(), Scripted(), Scripted()]
    done = concurrent(streams, work(6), lambda *_: time.sleep(0.001), warm, 0.05)
    assert len({next(iter(stream.threads)) for stream in streams}) == 3
    assert all(len(stream.threads) == 1 for stream in streams)
    assert done.warmup_iterations == 6
    assert set(done.samples.stream.tolist()) == {0, 1, 2}
    steady = done.samples.steady()
    assert steady.start_ns.min() > done.samples.end_ns[done.samples.phase == WARMUP].max()


def test_the_beginning_and_the_end_are_told_once_while_every_thread_lives():
    told, alive = [], []
    before = threading.active_count()
    around = Around(
        lambda: told.append(time.perf_counter_ns()),
        lambda: (told.append(time.perf_counter_ns()), alive.append(threading.active_count())),
    )
    streams = [Scripted(), Scripted()]
    done = concurrent(streams, work(6), lambda *_: None, warm, 0.01, around)
    assert len(told) == 2
    assert alive == [before + 2]
    assert done.samples.end_ns.max() <= told[1]
    assert done.samples.end_ns[done.samples.phase == WARMUP].max() <= told[0] <= done.samples.steady().start_ns.min()


def test_each_stream_begins_at_another_input():
    streams = [Scripted(), Scripted()]
    concurrent(streams, work(6), lambda *_: time.sleep(0.001), lambda *_: None, 0.01)
    firsts = [next(call[1]["x"] for call in stream.calls if call[0] == "bind") for stream in streams]
    assert firsts == [0, 3]


@pytest.mark.parametrize("fail_at", [1, 4])
def test_an_error_of_one_stream_ends_all_and_is_raised(fail_at):
    streams = [Scripted(), Scripted(fail_at=fail_at)]
    with pytest.raises(RuntimeError, match="engine broke"):
        concurrent(streams, work(2), lambda *_: time.sleep(0.001), warm, 0.05)


def test_streams_that_wait_for_one_that_cannot_be_started_are_let_go(monkeypatch):
    """As where there is no memory for the stack of one more thread."""
    start, begun = threading.Thread.start, []

    def started(thread):
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        concurrent([Scripted(), Scripted(), Scripted()], work(2), lambda *_: None, warm, 0.05)
    for thread in begun:
        thread.join(20)
    assert not any(thread.is_alive() for thread in begun)
