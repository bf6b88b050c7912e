"""k streams at once, each in a closed loop of its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.jobs import LaunchAnswer
from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.vocabulary import NoiseReading, Stage, State
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchJob
    from harness.worker.stage import Stages

OWN_THREADS = NoiseReading(State.UNAVAILABLE, detail="with several streams a process's own threads wait for each other")


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Drive every stream from a common start for as long as the preset says."""
    opened = opening.opened(job, stages)
    streams = opening.streams_of(job, opened)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    watch = NoiseWatch()

    def begin() -> None:
        stages.enter(Stage.STEADY)
        watch.start()

    seconds = max(job.limits.minimum_s, min(job.limits.maximum_s, job.limits.minimum_iterations * first_ns / 1e9))
    done = loop.concurrent(
        streams,
        opened.work,
        opened.task.postprocess,
        lambda stream, columns: opening.warm(job, opened, stream, columns),
        seconds,
        begin,
    )
    noise = watch.stop() | {"run_queue_wait": OWN_THREADS}
    stages.enter(Stage.RECORD)
    reason = "max_iterations" if done.full else "max_time"
    opened.session.close()
    return LaunchAnswer(
        opening.versions(opened.engine),
        timing=opening.timing(opened, first_ns, done.samples, streams=len(streams), reason=reason),
        samples_sha256=opening.save(done.samples, job.samples),
        samples_rows=len(done.samples),
        agreement=agreement,
        noise=noise,
    )
