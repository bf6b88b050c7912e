"""Columns of a drive of any length: never full, evenly thinned, and every inference counted."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from harness.engine import Stream
from harness.measure import loop
from harness.measure.thinning import ThinningColumns


class Counted(Stream):
    """Notes the inputs that it was given."""

    def __init__(self):
        self.given = []

    def bind(self, inputs):
        self.given.append(inputs["x"])

    def run(self):
        pass

    def fetch(self):
        return {}


@pytest.fixture
def ticking(monkeypatch):
    """A clock that moves by one at each look: an inference takes four of them."""
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter_ns=lambda: next(ticks)))


def driven(capacity, inferences, warm=0, inputs=3):
    stream, columns = Counted(), ThinningColumns(capacity)
    work = [({"x": index}, None) for index in range(inputs)]
    if warm:
        loop.closed_loop(stream, work, lambda *_: None, columns, warm, 2**62)
        columns.warm = columns.filled
        stream.given.clear()
    columns.drive(stream, work, lambda *_: None, 4 * (warm + inferences) - 1)
    return stream, columns


@pytest.mark.parametrize("capacity", [8, 13, 16, 64, 100])
@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("inferences", [1, 7, 64, 1000])
def test_rows_are_bounded_even_and_every_inference_is_counted(ticking, capacity, warm, inferences):
    _, columns = driven(capacity, inferences, warm)
    samples = columns.samples()
    steady = samples.steady()
    assert columns.done == inferences
    assert columns.filled <= capacity
    assert len(samples) - len(steady) == warm, "the warm-up is not thinned"
    assert np.array_equal(steady.start_ns, 4 * warm + 4 * columns.every * np.arange(len(steady)))
    assert len(steady) == -(-inferences // columns.every), "each row stands for as many"
    assert (columns.every == 1) == (inferences + warm <= capacity or inferences == 1)


def test_half_the_room_is_in_use_after_thinning(ticking):
    _, columns = driven(64, 10_000)
    assert columns.every & (columns.every - 1) == 0, "a power of two"
    assert columns.filled >= 64 // 4


def test_inputs_rotate_through_all_of_it(ticking):
    stream, _ = driven(16, 500, inputs=3)
    assert stream.given == [index % 3 for index in range(500)]


def test_streams_of_other_speeds_are_brought_to_one_measure(ticking):
    _, columns = driven(16, 40)
    rows, every = columns.filled, columns.every
    columns.thin(4 * every)
    assert columns.every == 4 * every
    assert columns.filled == -(-rows // 4)
    columns.thin(every)
    assert columns.every == 4 * every, "what was let go does not come back"


def test_an_error_of_the_engine_is_the_callers(ticking):
    class Broken(Counted):
        def run(self):
            raise RuntimeError("engine broke")

    with pytest.raises(RuntimeError, match="engine broke"):
        ThinningColumns(16).drive(Broken(), [({"x": 0}, None)], lambda *_: None, 100)
