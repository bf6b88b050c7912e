"""What the harness's own loops cost per inference, on this machine, now: those of each scenario around the null stream.

In a closed loop that is the time from the start of one iteration to that of the next. In an open one it is the response
of a query: from when it was due, so that what the generator of the arrivals is late by is in it.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import EngineUnavailable
from harness.jobs import OverheadAnswer
from harness.measure.loop import Columns, closed_loop, concurrent, without_collector
from harness.measure.null import NullStream
from harness.measure.open_loop import Arrivals, Batching, open_loop
from harness.measure.thinning import ThinningColumns
from harness.scenarios import CameraSettings, MlPerfSettings
from harness.tasks import catalog
from harness.vocabulary import Stage, TensorSpec
from harness.worker import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from harness.jobs import OverheadJob
    from harness.measure.loop import Work
    from harness.worker.stage import Stages

_FOREVER = 2**62
_WORK: Work = [({}, ())] * 64
_SERVER_HZ = 500.0
_CAMERAS, _FPS = 8, 30.0
_SEED = 0


def overhead(job: OverheadJob, stages: Stages) -> OverheadAnswer:
    """Return nanoseconds per inference of one stream, of several, and of the scenarios that are asked.

    What has no loop of its own, and ``mlperf`` where LoadGen is not installed, is left out.
    """
    stages.enter(Stage.STEADY)
    per_iteration_ns = latency(job.iterations)
    by_scenario = {}
    for name in job.scenarios:
        if name in OF_SCENARIO:
            with suppress(EngineUnavailable):
                by_scenario[name] = OF_SCENARIO[name](job.seconds)
    by_streams = {str(count): throughput(count, job.seconds) for count in job.streams}
    return OverheadAnswer(per_iteration_ns, by_streams, by_scenario)


def latency(iterations: int) -> float:
    """Return the median time from one iteration's start to the next one's, one stream."""
    columns = Columns(2 * iterations)
    with without_collector():
        for _ in range(2):  # the first half warms up
            closed_loop(NullStream(), _WORK, _finish, columns, iterations, _FOREVER)
    starts = columns.samples().start_ns[iterations:]
    return float(np.median(np.diff(starts)))


def throughput(streams: int, seconds: float) -> float:
    """Return the mean time of an iteration of one of ``streams``: what the interpreter's lock costs comes in stalls."""
    done = concurrent([NullStream() for _ in range(streams)], _WORK, _finish, _no_warm_up, seconds)
    taken_ns = 0
    for stream in range(streams):
        rows = done.samples.stream == stream
        taken_ns += int(done.samples.end_ns[rows].max() - done.samples.start_ns[rows].min())
    return taken_ns / len(done.samples)


def end_to_end(seconds: float) -> float:
    """Return the median time from one iteration's start to the next one's, decoding nothing."""
    images = _NoImages((), catalog.create({"name": "raw"}), (), TensorSpec("", "float32", ()), 1)
    columns = encoded.Columns()
    with without_collector():
        images.stepping(NullStream(), columns)(columns.capacity, _until_ns(seconds))
    return float(np.median(np.diff(columns.samples().scheduled_ns)))


def server(seconds: float) -> float:
    """Return the median response to queries that arrive at random."""
    count = max(2, round(seconds * _SERVER_HZ))
    due_ns = np.cumsum(np.random.default_rng(_SEED).exponential(1e9 / _SERVER_HZ, count)).astype(np.int64)
    return _response(Arrivals(due_ns, np.zeros(count, dtype=np.int64)))


def camera(seconds: float) -> float:
    """Return the median response to the frames of cameras that take turns."""
    from harness.worker.scenarios.camera import due

    return _response(due(CameraSettings(cameras=_CAMERAS, fps=_FPS, seconds=max(seconds, 2 / _FPS))))


def soak(seconds: float) -> float:
    """Return the mean time of an iteration, what thinning takes included."""
    columns = ThinningColumns(1 << 14)
    started_ns = time.perf_counter_ns()
    columns.drive(NullStream(), _WORK, _finish, _until_ns(seconds))
    return (time.perf_counter_ns() - started_ns) / columns.done


def mlperf(seconds: float) -> float:
    """Return the median time from one SingleStream query of LoadGen to the next. Raises ``EngineUnavailable``."""
    from harness.worker import loadgen
    from harness.worker.scenarios.mlperf import Answerer, Shared, at_once

    lg = loadgen.imported()
    settings, _ = loadgen.official_settings(lg, MlPerfSettings(seconds=seconds, queries=1), len(_WORK))
    settings.single_stream_expected_latency_ns = 10_000
    answerer = Answerer(Shared(_WORK, _finish, loadgen.answering(lg), 1), NullStream())
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder, without_collector():
        loadgen.play(lg, settings, at_once(answerer), len(_WORK), Path(folder) / "logs")
    return float(np.median(np.diff(answerer.samples(0)[1].start_ns)))


OF_SCENARIO: Mapping[str, Callable[[float], float]] = {
    "end_to_end": end_to_end,
    "server": server,
    "camera": camera,
    "soak": soak,
    "mlperf": mlperf,
}
"""Scenario, of those with a loop that is neither one stream's nor k streams', → seconds → nanoseconds per inference."""


def _response(arrivals: Arrivals) -> float:
    done = open_loop([NullStream()], _WORK, _finish, arrivals, Batching())
    return float(np.median(done.samples.response_ns))


def _until_ns(seconds: float) -> int:
    return time.perf_counter_ns() + int(seconds * 1e9)


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""


def _no_warm_up(stream: object, columns: object) -> None:
    """Stand for a stream that is warm from the start."""


class _NoImages(encoded.Encoded):
    """Images that are decoded already."""

    def prepare(self, index: int) -> tuple[Mapping[str, np.ndarray], tuple[Any, ...]]:  # noqa: ARG002 - all are one
        return {}, ()
