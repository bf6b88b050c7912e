"""k streams at once, each in a closed loop of its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.vocabulary import Stage
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.vocabulary import NoiseReading
    from harness.worker.stage import Stages


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Drive every stream from a common start for as long as the preset says."""
    opened = opening.opened(job, stages)
    streams = opening.streams_of(job, opened)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    watch = NoiseWatch()
    noise: dict[str, NoiseReading] = {}

    def begin() -> None:
        stages.enter(Stage.STEADY)
        watch.start()

    seconds = max(job.limits.minimum_s, min(job.limits.maximum_s, job.limits.minimum_iterations * first_ns / 1e9))
    done = loop.concurrent(
        streams,
        opened.work,
        opened.task.postprocess,
        lambda stream, columns: opening.warm(job, opened, stream, columns, len(streams)),
        seconds,
        loop.Around(begin, lambda: noise.update(watch.stop())),
    )
    stages.enter(Stage.RECORD)
    reason = "max_iterations" if done.full else "max_time"
    timing = opening.timing(opened, first_ns, done.samples, streams=len(streams), reason=reason)
    return opening.filed(job, opened, timing, done.samples, agreement=agreement, noise=noise)
