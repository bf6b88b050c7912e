"""Frames that arrive by the clock from n cameras, each with a deadline; between them the engine idles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.measure.open_loop import Arrivals, Batching, Open, open_loop
from harness.measure.samples import DROPPED, Samples
from harness.scenarios import KINDS
from harness.vocabulary import Stage
from harness.worker import encoded
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.engine import Stream
    from harness.jobs import LaunchAnswer, LaunchJob, Limits
    from harness.scenarios import CameraSettings
    from harness.vocabulary import NoiseReading
    from harness.worker.scenarios.opened import Opened
    from harness.worker.stage import Stages

_SEED = 0
"""Of random phases: they are drawn once, and are the same for every engine in every launch."""


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Offer the frames of all cameras when each is due, and note when each was done, or that it was dropped.

    Streams are as many as the suite says; else as the runtime recommends, but no more than cameras. A batch takes the
    frames that wait, and does not wait for more. Where nothing is dropped, an engine that falls behind by as long as
    all frames take to arrive is not waited for. Raises ``DataError`` where there is no image to decode.
    """
    settings: CameraSettings = KINDS["camera"].configured(job.parameters)
    opened = opening.opened(job, stages, limit=opening.FEW_BATCHES if settings.decode else None)
    images = encoded.Encoded.read(job, opened.task) if settings.decode else None
    streams = opening.streams_of(job, opened, most=settings.cameras)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    with loop.without_collector():
        limits = opening.shared(job.limits, len(streams))
        warm = [_warmed(limits, opened, stream, images) for stream in streams]
    watch = NoiseWatch()
    noise: dict[str, NoiseReading] = {}

    def begin() -> None:
        stages.enter(Stage.STEADY)
        watch.start()

    arrivals = due(settings)
    done = open_loop(
        streams,
        opened.work,
        opened.task.postprocess,
        arrivals,
        Batching(job.session.batch),
        drop_stale=settings.drop == "stale",
        give_up_ns=max(settings.deadline_ns, int(settings.seconds * 1e9)),
        prepare=images.item if images else None,
        around=loop.Around(begin, lambda: noise.update(watch.stop())),
    )
    stages.enter(Stage.RECORD)
    reason = "backlog" if done.given_up else "max_time"
    warmed = [columns.samples(index) for index, columns in enumerate(warm)]
    samples = Samples.joined([*warmed, done.samples, _given_up(arrivals, done)])
    timing = opening.timing(opened, first_ns, samples, streams=len(streams), reason=reason)
    return opening.filed(job, opened, timing, samples, agreement=agreement, noise=noise)


def due(settings: CameraSettings) -> Arrivals:
    """Return when each frame is due: whole frame intervals after its camera's first, which the phase says.

    ``staggered``: camera c of n begins c / n of an interval late, so that frames are evenly spread. ``synchronous``:
    all begin at once. ``random``: each begins at a moment of the interval that is drawn, as cameras without a common
    trigger do. Frames that are due together are in order of camera.
    """
    # A product such as 0.29 x 100 lies just below the whole number that was meant.
    frames = math.floor(settings.seconds * settings.fps + 1e-6)
    moments = np.arange(frames)[:, np.newaxis] + _offsets(settings)
    due_ns = np.rint(moments * (1e9 / settings.fps)).astype(np.int64).ravel()
    order = np.argsort(due_ns, kind="stable")
    return Arrivals(due_ns[order], np.tile(np.arange(settings.cameras), frames)[order])


def _offsets(settings: CameraSettings) -> np.ndarray:
    """Return (cameras,) when each camera begins, as a share of a frame interval."""
    if settings.phase == "staggered":
        return np.arange(settings.cameras) / settings.cameras
    if settings.phase == "random":
        return np.random.default_rng(_SEED).random(settings.cameras)
    return np.zeros(settings.cameras)


def _given_up(arrivals: Arrivals, done: Open) -> Samples:
    """Return the rows of the frames that were due and never begun, which follow those that were."""
    rows = slice(len(done.samples), len(done.samples) + done.given_up)
    due_ns = arrivals.due_ns[rows] + done.began_ns
    never = np.full(len(due_ns), -1, dtype=np.int64)
    return Samples(np.full_like(never, DROPPED), arrivals.source[rows], due_ns, never, never, never, never)


def _warmed(limits: Limits, opened: Opened, stream: Stream, images: encoded.Encoded | None) -> loop.Columns:
    """Return the rows of a stream's warm-up, decoding included where frames come encoded."""
    if images is None:
        columns = loop.Columns()
        opening.warm_up(limits, columns, opening.stepping(opened, stream, columns))
    else:
        columns = encoded.Columns()
        opening.warm_up(limits, columns, images.stepping(stream, columns))
    columns.warm = columns.filled
    return columns
