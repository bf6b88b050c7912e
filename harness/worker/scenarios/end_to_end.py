"""From an encoded image in memory to the task's final output, one batch after the other on one stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.vocabulary import Stage
from harness.worker import encoded
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.worker.stage import Stages


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Decode, pre-process, infer and post-process until the stop rule is content with the time of all of it.

    In the samples ``scheduled`` is when decoding began and ``start`` when pre-processing had ended. This process holds
    an image decoder besides the engine. Raises ``DataError`` where there is no image.
    """
    opened = opening.opened(job, stages, limit=opening.FEW_BATCHES)
    images = encoded.Encoded.read(job, opened.task)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    columns = encoded.Columns()
    step = images.stepping(opened.stream, columns)
    with loop.without_collector():
        stages.enter(Stage.WARMUP)
        opening.warm_up(job.limits, columns, step)
        columns.warm = columns.filled
        stages.enter(Stage.STEADY)
        watch = NoiseWatch()
        watch.start()
        reason = opening.steady(job.limits, columns, step)
        noise = watch.stop()
    stages.enter(Stage.RECORD)
    samples = columns.samples()
    timing = opening.timing(opened, first_ns, samples, streams=1, reason=reason)
    return opening.filed(job, opened, timing, samples, agreement=agreement, noise=noise)
