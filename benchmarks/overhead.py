"""What the measuring loops themselves cost per inference and keep in memory, with an engine that does nothing.

One stream. Time: blocks of iterations of ``harness.measure.loop.closed_loop`` over the null stream, between two
readings of ``perf_counter_ns`` around each block; the median over blocks. Memory: the highest that ``tracemalloc`` sees
during 100,000 iterations less that during 10,000, besides the sample buffer, which is allocated before either.

Other scenarios, without limit: the geometric mean of 15 readings of a third of a second each, as a run takes one for
its report (``harness.worker.overhead``). Of ``server`` and ``camera`` it is the response, from when a query was due.
"""

from __future__ import annotations

import functools
import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.estimate import median
from benchmarks.figure import Figure, Limit, Measured
from harness.errors import EngineUnavailable
from harness.measure.loop import Columns, closed_loop, without_collector
from harness.measure.null import NullStream
from harness.worker.overhead import OF_SCENARIO, throughput
from results.statistics import launch_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measure.loop import Work

TIME_LIMIT = Limit(high=1000)
MEMORY_LIMIT = Limit(high=1024)
_BLOCKS, _ITERATIONS = 4000, 500
_FEW, _MANY = 10_000, 100_000
_STREAMS = (2, 4)
_READINGS, _SECONDS = 15, 0.33
_FOREVER = 2**62
_WORK: Work = [({}, None)] * 64


def measure(told: Callable[[str], None]) -> Measured:
    """Return nanoseconds per iteration, the bytes that ten times the iterations cost, and the other scenarios' time."""
    told(f"{_BLOCKS} blocks of {_ITERATIONS} iterations")
    cost = median(_block_costs_ns())
    grown_bytes = _peak_bytes(_MANY) - _peak_bytes(_FEW)
    figures = [
        Figure("time of an iteration", cost.value, cost.low, cost.high, "ns", TIME_LIMIT, cost.samples),
        Figure("memory grown over 90000 iterations", grown_bytes, None, None, "bytes", MEMORY_LIMIT, 1),
    ]
    notes = []
    readers = {f"throughput, {count} streams": functools.partial(throughput, count) for count in _STREAMS}
    for name, reader in (readers | dict(OF_SCENARIO)).items():
        told(f"{name}: {_READINGS} readings")
        try:
            figures.append(_scenario(name, reader))
        except EngineUnavailable as error:
            notes.append(f"{name} is left out: {error.message}")
    return Measured(tuple(figures), tuple(notes))


def _scenario(name: str, reader: Callable[[float], float]) -> Figure:
    reader(_SECONDS)  # warms up
    cost = launch_interval([reader(_SECONDS) for _ in range(_READINGS)])
    return Figure(f"{name}: per inference", cost.estimate, cost.low, cost.high, "ns", Limit(), cost.launches)


def _block_costs_ns() -> np.ndarray:
    stream, columns = NullStream(), Columns(_ITERATIONS)
    costs = []
    with without_collector():
        for _ in range(_BLOCKS + 1):
            columns.filled = 0
            started_ns = time.perf_counter_ns()
            closed_loop(stream, _WORK, _finish, columns, _ITERATIONS, _FOREVER)
            costs.append((time.perf_counter_ns() - started_ns) / _ITERATIONS)
    return np.asarray(costs[1:])  # the first one warms up


def _peak_bytes(iterations: int) -> int:
    """Return the highest traced memory while ``iterations`` run, above what was held before them."""
    stream, columns = NullStream(), Columns(_MANY)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        closed_loop(stream, _WORK, _finish, columns, iterations, _FOREVER)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""
