"""The timed loops: one stream in a closed loop, or k streams at once. Nothing else happens inside them."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engine import Stream
from harness.measure.samples import STEADY, WARMUP, Samples

Work = Sequence[tuple[Mapping[str, np.ndarray], Any]]
"""What rotates through a loop: the tensors of one batch, and what ``finish`` must know about them (its frames)."""

Finish = Callable[[Mapping[str, np.ndarray], Any], object]
"""From raw outputs to the task's final output."""

MAXIMUM_ROWS = 200_000
"""Rows preallocated per stream: 6.4 MB; a launch that fills them stops with ``max_iterations``."""


class Columns:
    """Four preallocated columns of nanoseconds, their pages already touched; rows are filled in order."""

    def __init__(self, capacity: int = MAXIMUM_ROWS) -> None:
        self._data = np.full((4, capacity), -1, dtype=np.int64)
        # Assigning through a memoryview costs a third of assigning through numpy.
        self.start, self.bound, self.synced, self.end = (row.data for row in self._data)
        self.capacity = capacity
        self.filled = 0
        self.warm = 0  # the first rows that belong to the warm-up

    def latencies_ns(self, first: int) -> np.ndarray:
        """Return host→host latencies of the rows from ``first`` on."""
        return self._data[3, first : self.filled] - self._data[0, first : self.filled]

    def samples(self, stream: int = 0) -> Samples:
        """Return the filled rows; in a closed loop an inference is scheduled when it starts."""
        start, bound, synced, end = (row[: self.filled].copy() for row in self._data)
        phase = np.full(self.filled, STEADY, dtype=np.int64)
        phase[: self.warm] = WARMUP
        return Samples(phase, np.full(self.filled, stream, dtype=np.int64), start.copy(), start, bound, synced, end)


def closed_loop(stream: Stream, work: Work, finish: Finish, columns: Columns, count: int, until_ns: int) -> None:
    """Run up to ``count`` inferences one after the other, ending early after ``until_ns`` of ``perf_counter_ns``.

    At least one is run where a row is free. Inputs rotate with the row number.
    """
    clock = time.perf_counter_ns
    bind, run, sync, fetch = stream.bind, stream.run, stream.sync, stream.fetch
    waits = type(stream).sync is not Stream.sync  # the contract's own returns at once: not calling it is the same
    start, bound, synced, end = columns.start, columns.bound, columns.synced, columns.end
    size = len(work)
    first = columns.filled
    last = min(first + count, columns.capacity)
    inputs = itertools.islice(itertools.cycle(work), first % size, None)
    row = first - 1
    # A range zipped with a cycle steps in C: counting and indexing in Python would add a tenth to the loop's cost.
    for row, (tensors, frames) in zip(range(first, last), inputs, strict=False):
        started_ns = clock()
        bind(tensors)
        bound_ns = clock()
        run()
        if waits:
            sync()
        synced_ns = clock()
        finish(fetch(), frames)
        ended_ns = clock()
        start[row] = started_ns
        bound[row] = bound_ns
        synced[row] = synced_ns
        end[row] = ended_ns
        if ended_ns >= until_ns:
            break
    columns.filled = row + 1


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Collect garbage now, and not again before the block ends: a collection would be timed as the engine's."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Around:
    """What is called once when every stream is ready and none has begun, and once when all are done and live still.

    A detector of noise that reads by thread would not see one that has ended.
    """

    begin: Callable[[], None] = _nothing
    end: Callable[[], None] = _nothing


UNWATCHED = Around()


def at_once(
    count: int, prepare: Callable[[int], None], drive: Callable[[int], None], around: Around = UNWATCHED
) -> None:
    """Call ``drive(index)`` in ``count`` threads at once, after a common start.

    ``prepare(index)`` comes before it, in the same thread since runtimes keep pools per thread, one after the other.
    The first error of any thread is raised here.
    """
    started, ended = threading.Barrier(count, around.begin), threading.Barrier(count, around.end)
    preparing = threading.Lock()
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            with preparing:
                prepare(index)
            started.wait()
            drive(index)
            ended.wait()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            errors.append(error)
            started.abort()
            ended.abort()

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(count)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # there is no memory for the stack of one more: those that wait for it must not wait for ever
        started.abort()
        raise
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error


def beginning_at(work: Work, index: int, count: int) -> Work:
    """Return the inputs of stream ``index`` of ``count``: each begins at another one, as independent callers would."""
    offset = (index * len(work)) // count
    return [*work[offset:], *work[:offset]]


@dataclass(frozen=True)
class Concurrent:
    """What k streams did at once."""

    samples: Samples
    warmup_iterations: int
    full: bool = False  # a stream had no row left, and ended before its time


def concurrent(
    streams: Sequence[Stream],
    work: Work,
    finish: Finish,
    warm: Callable[[Stream, Columns], None],
    seconds: float,
    around: Around = UNWATCHED,
) -> Concurrent:
    """Drive each stream from a thread of its own for ``seconds`` after a common start.

    Each stream is warmed alone before; see ``at_once`` for errors.
    """
    columns = [Columns() for _ in streams]

    def prepare(index: int) -> None:
        warm(streams[index], columns[index])
        columns[index].warm = columns[index].filled

    def drive(index: int) -> None:
        until_ns = time.perf_counter_ns() + int(seconds * 1e9)
        rotated = beginning_at(work, index, len(streams))
        closed_loop(streams[index], rotated, finish, columns[index], MAXIMUM_ROWS, until_ns)

    with without_collector():
        at_once(len(streams), prepare, drive, around)
    parts = [column.samples(index) for index, column in enumerate(columns)]
    return Concurrent(
        Samples.joined(parts),
        sum(column.warm for column in columns),
        full=any(column.filled == column.capacity for column in columns),
    )
