"""The official LoadGen drives the session: SingleStream, MultiStream, Server or Offline, for speed or for accuracy."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import Unsupported
from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.measure.samples import STEADY, Samples
from harness.scenarios import KINDS
from harness.vocabulary import Stage
from harness.worker import loadgen
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from harness.engine import Stream
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.scenarios import MlPerfSettings
    from harness.worker.scenarios.opened import Opened
    from harness.worker.stage import Stages

SERVER_LOAD = 0.8
"""Share of our closed loop's rate that Server is asked for where the suite names none: at all of it any queue grows."""
OFFLINE_MARGIN = 1.1
"""Over the same rate, for Offline: of too few samples LoadGen's minimum duration is not met."""

_QUEUED = frozenset({"server", "offline"})
_RATE_S = 3.0  # of the closed loop that finds the rate, at most
_COLUMNS = 5  # of a row: issued, start, bound, synced, end


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Return LoadGen's word on one test, and our own times of each of its samples.

    A row of the samples is ``scheduled`` when LoadGen issued its query to us; samples of one batch share the other
    times. Raises ``EngineUnavailable`` without LoadGen, ``Unsupported`` for what its scenario cannot ask.
    """
    lg = loadgen.imported()
    asked: MlPerfSettings = KINDS["mlperf"].configured(job.parameters)
    _check(job, asked)
    opened = opening.opened(job, stages)
    streams = opening.streams_of(job, opened) if asked.mode in _QUEUED else [opened.stream]
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    settings, official = loadgen.official_settings(lg, asked, job.inputs.count)
    shared = Shared(opened.work, opened.task.postprocess, loadgen.answering(lg), job.session.batch)
    answerers = [Answerer(shared, stream) for stream in streams]
    folder = job.samples.parent / "loadgen"
    watch = NoiseWatch()
    with loop.without_collector():
        rate = asked.target_qps or (_rate(job, opened, streams, asked.mode) if asked.mode in _QUEUED else 0.0)
        with _answering(asked.mode, answerers, lambda one: _warm(job, opened, one, len(streams))) as issue:
            fastest_ns = min(int(one.warmup.latencies_ns(0).min(initial=first_ns)) for one in answerers)
            _expect(settings, asked, fastest_ns, job.session.batch, rate)
            stages.enter(Stage.STEADY)
            watch.start()
            logs = loadgen.play(lg, settings, issue, job.inputs.count, folder)
            noise = watch.stop()
    if shared.errors:
        raise shared.errors[0]
    stages.enter(Stage.RECORD)
    samples = Samples.joined([part for index, one in enumerate(answerers) for part in one.samples(index)])
    run = loadgen.run_of(logs, settings, job.inputs.count, official=official)
    timing = opening.timing(opened, first_ns, samples, streams=len(streams), reason="loadgen")
    answer = opening.filed(job, opened, timing, samples, agreement=agreement, noise=noise, loadgen=run)
    return replace(answer, versions={**answer.versions, "mlcommons-loadgen": run.version})


def _check(job: LaunchJob, asked: MlPerfSettings) -> None:
    """Raise ``Unsupported`` where LoadGen would leave a part of what the cell asks without use."""
    streams, batch = job.session.streams, job.session.batch
    if asked.mode not in _QUEUED and streams not in (None, 1):
        message = f"LoadGen's {loadgen.SCENARIOS[asked.mode]} has one query at a time, {streams} streams were asked"
        raise Unsupported(message, "leave `streams` out, or set `mode: server` or `mode: offline`")
    if asked.mode == "single_stream" and batch > 1:
        message = f"a query of LoadGen's SingleStream is one image, a batch of {batch} was asked"
        raise Unsupported(message, "use batch 1, or `mode: multi_stream`, whose queries are batches")


def _expect(settings: Any, asked: MlPerfSettings, fastest_ns: int, batch: int, rate_hz: float) -> None:
    """Set what mlperf.conf leaves to the user: LoadGen makes its queries beforehand, and needs to know how many.

    ``fastest_ns``: of an inference. LoadGen makes twice as many queries as fit in, and ends early, invalid, where they
    run out all the same.
    """
    if asked.mode == "single_stream":
        settings.single_stream_expected_latency_ns = fastest_ns
    elif asked.mode == "multi_stream":
        settings.multi_stream_expected_latency_ns = fastest_ns * math.ceil(asked.samples / batch)
    elif asked.mode == "server":
        settings.server_target_qps = rate_hz
    else:
        settings.offline_expected_qps = rate_hz


def _rate(job: LaunchJob, opened: Opened, streams: Sequence[Stream], mode: str) -> float:
    """Return the samples per second to ask for: a share of what a short closed loop of all streams does."""
    seconds = min(job.limits.minimum_s, _RATE_S)
    done = loop.concurrent(
        streams,
        opened.work,
        opened.task.postprocess,
        lambda stream, columns: opening.warm(job, opened, stream, columns, len(streams)),
        seconds,
    )
    steady = done.samples.steady()
    window_ns = max(int(steady.end_ns.max() - steady.start_ns.min()), 1)
    share = SERVER_LOAD if mode == "server" else OFFLINE_MARGIN
    return share * job.session.batch * len(steady) * 1e9 / window_ns


def _warm(job: LaunchJob, opened: Opened, answerer: Answerer, streams: int) -> None:
    columns = answerer.warmup
    opening.warm(job, opened, answerer.stream, columns, streams)
    columns.warm = columns.filled


@dataclass(frozen=True)
class Shared:
    """What the streams of a test have in common. After the first error samples are answered without inference.

    LoadGen cannot be stopped before its queries are through.
    """

    work: loop.Work
    finish: loop.Finish
    complete: Callable[[Sequence[int]], None]
    batch: int
    errors: list[BaseException] = field(default_factory=list)


class Answerer:
    """One stream that answers samples, as many as a batch holds with one inference, and keeps a row of each."""

    def __init__(self, shared: Shared, stream: Stream) -> None:
        self.stream = stream
        self.warmup = loop.Columns()
        self.batch = shared.batch
        self._shared = shared
        self._rows = array("q")
        tensors, frames = shared.work[0]
        # Where a batch is not full its last rows hold earlier images: shapes are static, and so is the work.
        self._tensors = {name: value.copy() for name, value in tensors.items()}
        self._frames = list(frames)

    def answer(self, ids: Sequence[int], indices: Sequence[int], issued_ns: Sequence[int]) -> None:
        """Infer for up to a batch of samples and tell LoadGen that they are done, whether or not they are."""
        times = None
        if not self._shared.errors:
            try:
                times = self._inferred(indices)
            except BaseException as error:  # noqa: BLE001 - carried to the driver: LoadGen does not survive it
                self._shared.errors.append(error)
        self._shared.complete(ids)
        # Kept only now: LoadGen's clock has stopped for them.
        if times is not None:
            for issued in issued_ns:
                self._rows.append(issued)
                self._rows.extend(times)

    def _inferred(self, indices: Sequence[int]) -> tuple[int, int, int, int]:
        clock = time.perf_counter_ns
        started_ns = clock()
        tensors, frames = self._gathered(indices)
        self.stream.bind(tensors)
        bound_ns = clock()
        self.stream.run()
        self.stream.sync()
        synced_ns = clock()
        self._shared.finish(self.stream.fetch(), frames)
        return started_ns, bound_ns, synced_ns, clock()

    def _gathered(self, indices: Sequence[int]) -> tuple[Any, Any]:
        """Return the tensors and frames of a batch with these samples; each lies in row ``i % batch`` of its own."""
        work, batch = self._shared.work, self.batch
        if batch == 1:
            return work[indices[0]]
        for row, index in enumerate(indices):
            tensors, frames = work[index // batch]
            for name, values in tensors.items():
                self._tensors[name][row] = values[index % batch]
            self._frames[row] = frames[index % batch]
        return self._tensors, self._frames

    def samples(self, stream: int) -> tuple[Samples, Samples]:
        """Return the rows of the warm-up, one per inference, and those of LoadGen's samples."""
        issued, start, bound, synced, end = np.array(self._rows, dtype=np.int64).reshape(-1, _COLUMNS).T
        phase, index = np.full(len(start), STEADY, np.int64), np.full(len(start), stream, np.int64)
        return self.warmup.samples(stream), Samples(phase, index, issued, start, bound, synced, end)


@contextlib.contextmanager
def _answering(mode: str, answerers: Sequence[Answerer], warm: Callable[[Answerer], None]) -> Iterator[loadgen.Issue]:
    """Yield what takes LoadGen's queries, its streams warm: in LoadGen's own thread, or in one per stream."""
    if mode in _QUEUED:
        with Pool(answerers).serving(warm) as issue:
            yield issue
    else:
        warm(answerers[0])
        yield at_once(answerers[0])


def at_once(answerer: Answerer) -> loadgen.Issue:
    """Return an ``issue`` that answers the whole query before it returns, a batch after the other."""
    batch = answerer.batch
    clock = time.perf_counter_ns

    def issue(ids: list[int], indices: list[int]) -> None:
        issued_ns = clock()
        for first in range(0, len(ids), batch):
            some = ids[first : first + batch]
            answerer.answer(some, indices[first : first + batch], [issued_ns] * len(some))

    return issue


_Taken = tuple[list[int], list[int], list[int]]
"""Response ids, sample indices, and when each was issued."""


class Pool:
    """A thread per stream, each of which takes what LoadGen has issued so far, up to a batch, and waits for no more."""

    def __init__(self, answerers: Sequence[Answerer]) -> None:
        self._answerers = answerers
        self._batch = answerers[0].batch
        self._waiting: queue.SimpleQueue[_Taken | None] = queue.SimpleQueue()
        self._ready = threading.Barrier(len(answerers) + 1)
        self._warming = threading.Lock()
        self._errors: list[BaseException] = []

    @contextlib.contextmanager
    def serving(self, warm: Callable[[Answerer], None]) -> Iterator[loadgen.Issue]:
        """Yield an ``issue`` that only queues, each stream warmed alone in its thread. Raises what that raises."""
        threads = [threading.Thread(target=self._serve, args=(one, warm), daemon=True) for one in self._answerers]
        for thread in threads:
            thread.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            self._ready.wait()
        for error in self._errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        try:
            yield self._issue
        finally:
            for _ in threads:
                self._waiting.put(None)
            for thread in threads:
                thread.join()

    def _issue(self, ids: list[int], indices: list[int]) -> None:
        issued_ns = time.perf_counter_ns()
        for first in range(0, len(ids), self._batch):
            some = ids[first : first + self._batch]
            self._waiting.put((some, indices[first : first + self._batch], [issued_ns] * len(some)))

    def _serve(self, answerer: Answerer, warm: Callable[[Answerer], None]) -> None:
        try:
            with self._warming:
                warm(answerer)
            self._ready.wait()
        except BaseException as error:  # noqa: BLE001 - carried to the driver's thread
            self._errors.append(error)
            self._ready.abort()
            return
        while (taken := self._waiting.get()) is not None:
            answerer.answer(*self._filled(taken))

    def _filled(self, taken: _Taken) -> _Taken:
        """Return what was taken with what waits besides: a query of Server is one sample, one of Offline is in batches.

        So there is never too much for a batch.
        """
        while len(taken[0]) < self._batch:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._waiting.put(None)
                break
            for column, added in zip(taken, more, strict=False):
                column.extend(added)
        return taken
