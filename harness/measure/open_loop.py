"""The open loop: queries are due by a schedule drawn beforehand, whether or not those before them are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.measure import loop
from harness.measure.loop import UNWATCHED, Around
from harness.measure.samples import DROPPED, STEADY, Samples

if TYPE_CHECKING:
    from harness.engine import Stream

Prepare = Callable[[int], tuple[Mapping[str, np.ndarray], Sequence[Any]]]
"""From the row of a query to the tensors of its one item and the item's frame, in a sequence."""

_SPIN_NS = 100_000
"""Before a query is due the clock is watched for this long, and slept until then.

Linux wakes a sleeper 50 µs late by design (``timer_slack_ns``, prctl(2)), virtual machines later still. Watching takes
a processor from the engine, and the lock of the interpreter from streams that have just finished, while it lasts: more
of it would hide lateness by causing it. What is left shows in ``start - scheduled`` and counts in the response.
"""
_SLICE_S = 0.1
"""The longest sleep: how soon an error of another stream is noticed."""
_SETTLING = 2
"""Inferences of a stream in its own thread before the start: runtimes keep pools, and allocate them, per thread."""


@dataclass(frozen=True)
class Arrivals:
    """When each query is due. Raises ``ValueError`` where times do not ascend, or the columns differ in length."""

    due_ns: np.ndarray  # (n,) int64 ascending, from the start
    source: np.ndarray  # (n,) int64: the camera of each; zeros where there is one source

    def __post_init__(self) -> None:
        if len(self.due_ns) != len(self.source):
            raise ValueError(f"{len(self.due_ns)} times are given for {len(self.source)} sources")
        if np.any(np.diff(self.due_ns) < 0):
            raise ValueError("queries are given in order of due time")

    def __len__(self) -> int:
        return len(self.due_ns)

    def followers(self) -> np.ndarray:
        """Return (n,) for each query the row of the next one from the same source; n where there is none."""
        order = np.argsort(self.source, kind="stable")
        following = np.full(len(self), len(self), dtype=np.int64)
        same = self.source[order[1:]] == self.source[order[:-1]]
        following[order[:-1][same]] = order[1:][same]
        return following


@dataclass(frozen=True)
class Batching:
    """What of the queue goes through one inference.

    A batch begins when it is full or, where that is sooner, ``max_delay_ns`` after its first query was due: at once if
    that has passed. Shapes are static: what is missing is filled up, and costs what it would cost if asked.
    """

    size: int = 1  # queries of one inference at most
    max_delay_ns: int = 0  # how long the first query of a batch may wait for others


@dataclass(frozen=True)
class Open:
    """What was driven."""

    samples: Samples
    """One row per query in order of due time: ``STEADY``, or ``DROPPED`` with later times of -1.

    ``stream`` is the query's source. Queries of one batch share ``start`` to ``end``. Where the work is prepared,
    ``start`` → ``bound`` is that and ``bind``.
    """
    given_up: int  # queries that were due and not begun when the driving was ended early; they have no row
    began_ns: int  # ``perf_counter_ns`` of the start; due times of the rows are absolute (began_ns + due)
    stream: np.ndarray  # (rows,) int64: index of the stream that did each; -1 where it was dropped


def open_loop(  # noqa: PLR0913 - what is driven comes first; how, by keyword, with a default each
    streams: Sequence[Stream],
    work: loop.Work,
    finish: loop.Finish,
    arrivals: Arrivals,
    batching: Batching = Batching(),
    *,
    drop_stale: bool = False,
    give_up_ns: int | None = None,
    prepare: Prepare | None = None,
    around: Around = UNWATCHED,
) -> Open:
    """Have the streams answer every query, each from a thread of its own; where there is one, from the caller's.

    The i-th batch is ``work[i % len(work)]``; with ``prepare``, what that returns for each of its queries, stacked.
    ``drop_stale``: a query gives way where a later one of its source is due when it would be taken. ``give_up_ns``: the
    driving ends when the oldest query waits longer. The first error of any stream is raised here. Garbage is not
    collected meanwhile.

    Idle streams take turns to wait for what is next (leader/followers: Schmidt et al., Pattern-Oriented Software
    Architecture 2, 2000), so no thread hands queries over. No omission is coordinated: due times are fixed beforehand.
    """
    queue = _Queue(arrivals, batching, give_up_ns, drop_stale=drop_stale)
    service = _Service(queue, work, finish, batching.size, prepare)

    def settle(index: int) -> None:
        if len(arrivals):
            service.settle(streams[index])

    def start() -> None:
        around.begin()
        queue.open(time.perf_counter_ns())

    def serve(index: int) -> None:
        try:
            service.serve(streams[index], index)
        finally:
            # Nothing is left to take, or it failed and the others need not go on.
            queue.stop()

    with loop.without_collector():
        if len(streams) == 1:
            settle(0)
            start()
            serve(0)
            around.end()
        else:
            loop.at_once(len(streams), settle, serve, Around(start, around.end))
    return service.done(arrivals)


class _Queue:
    """The schedule, and what of it has been taken; shared by all streams."""

    def __init__(self, arrivals: Arrivals, batching: Batching, give_up_ns: int | None, *, drop_stale: bool) -> None:
        self._from_start_ns = arrivals.due_ns
        self._followers = arrivals.followers().data if drop_stale else None
        self._count = len(arrivals)
        self._batching = batching
        self._patience_ns = give_up_ns
        self._lock = threading.Lock()
        self._next = 0
        self._batches = 0
        self._stopped = False
        self.dropped = np.zeros(self._count, dtype=bool)
        self.began_ns = 0
        self.given_up = 0

    def open(self, began_ns: int) -> None:
        """Let the schedule begin."""
        self.began_ns = began_ns
        self._due = np.ascontiguousarray(self._from_start_ns + began_ns, dtype=np.int64).data

    def stop(self) -> None:
        """Let nobody take anything more."""
        self._stopped = True

    def take(self) -> tuple[int, list[int]]:
        """Return the number and the rows of the next batch when it is to begin; no rows when there is none."""
        with self._lock:
            rows = self._collected()
            number = self._batches
            self._batches += 1
            return number, rows

    def _collected(self) -> list[int]:
        rows: list[int] = []
        now_ns = closes_ns = 0
        while self._next < self._count and len(rows) < self._batching.size:
            row = self._next
            due_ns: int = self._due[row]
            if rows and due_ns > max(now_ns, closes_ns):
                break
            now_ns = self._wait(due_ns)
            if self._stopped:
                return []
            if self._stale(row, now_ns):
                self.dropped[row] = True
            else:
                if not rows:
                    if self._is_late(due_ns, now_ns):
                        return []
                    closes_ns = due_ns + self._batching.max_delay_ns
                rows.append(row)
            self._next += 1
        # What is due later is not known yet: a batch that is not full waits, even where none will come.
        if rows and len(rows) < self._batching.size:
            self._wait(closes_ns)
        return rows

    def _stale(self, row: int, now_ns: int) -> bool:
        if self._followers is None:
            return False
        following = self._followers[row]
        return following < self._count and self._due[following] <= now_ns

    def _is_late(self, due_ns: int, now_ns: int) -> bool:
        """Whether the oldest query has waited for too long; it is then the last word of this queue."""
        if self._patience_ns is None or now_ns - due_ns <= self._patience_ns:
            return False
        self.given_up = int(np.searchsorted(self._from_start_ns, now_ns - self.began_ns, side="right")) - self._next
        self._stopped = True
        return True

    def _wait(self, until_ns: int) -> int:
        """Return the time when ``until_ns`` has come, or when the queue was stopped."""
        clock = time.perf_counter_ns
        while (left_ns := until_ns - (now_ns := clock())) > 0 and not self._stopped:
            if left_ns > _SPIN_NS:
                time.sleep(min((left_ns - _SPIN_NS) / 1e9, _SLICE_S))
        return now_ns


class _Service:
    """What a stream does with a batch, and the columns that it is noted in."""

    def __init__(self, queue: _Queue, work: loop.Work, finish: loop.Finish, size: int, prepare: Prepare | None) -> None:
        self._queue = queue
        self._work = work
        self._finish = finish
        self._size = size
        self._prepare = prepare
        # Every page is touched now; assigning through a memoryview costs a third of assigning through numpy.
        self._columns = np.full((5, len(queue.dropped)), -1, dtype=np.int64)
        self._views = tuple(column.data for column in self._columns)

    def settle(self, stream: Stream) -> None:
        """Make the first inferences of a thread, which are not noted."""
        tensors, frames = self._given(0, [0])
        for _ in range(_SETTLING):
            stream.bind(tensors)
            stream.run()
            stream.sync()
            self._finish(stream.fetch(), frames)

    def serve(self, stream: Stream, index: int) -> None:
        """Take batches and note the times of each until there is none."""
        clock = time.perf_counter_ns
        finish, given, take = self._finish, self._given, self._queue.take
        bind, run, sync, fetch = stream.bind, stream.run, stream.sync, stream.fetch
        start, bound, synced, end, by = self._views
        while True:
            number, rows = take()
            if not rows:
                return
            started_ns = clock()
            tensors, frames = given(number, rows)
            bind(tensors)
            bound_ns = clock()
            run()
            sync()
            synced_ns = clock()
            finish(fetch(), frames)
            ended_ns = clock()
            for row in rows:
                start[row] = started_ns
                bound[row] = bound_ns
                synced[row] = synced_ns
                end[row] = ended_ns
                by[row] = index

    def _given(self, number: int, rows: Sequence[int]) -> tuple[Mapping[str, np.ndarray], Any]:
        if self._prepare is None:
            return self._work[number % len(self._work)]
        prepared = [self._prepare(row) for row in rows]
        if self._size == 1:
            return prepared[0]
        prepared += prepared[-1:] * (self._size - len(prepared))
        names = prepared[0][0]
        tensors = {name: np.concatenate([tensors[name] for tensors, _ in prepared]) for name in names}
        return tensors, tuple(frame for _, frames in prepared for frame in frames)

    def done(self, arrivals: Arrivals) -> Open:
        """Return what is noted, without what was never taken."""
        start, bound, synced, end, by = self._columns
        dropped = self._queue.dropped
        rows = np.flatnonzero((by >= 0) | dropped)
        samples = Samples(
            phase=np.where(dropped[rows], DROPPED, STEADY),
            stream=np.asarray(arrivals.source[rows], dtype=np.int64),
            scheduled_ns=arrivals.due_ns[rows] + self._queue.began_ns,
            start_ns=start[rows],
            bound_ns=bound[rows],
            synced_ns=synced[rows],
            end_ns=end[rows],
        )
        return Open(samples, self._queue.given_up, self._queue.began_ns, by[rows])
