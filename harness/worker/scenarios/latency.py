"""One stream in a closed loop: load → first → verify → warm up → steady."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.vocabulary import Stage
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.worker.stage import Stages


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Measure one inference after the other until the stop rule is content."""
    opened = opening.opened(job, stages)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    columns = loop.Columns()
    with loop.without_collector():
        stages.enter(Stage.WARMUP)
        opening.warm(job, opened, opened.stream, columns)
        columns.warm = columns.filled
        stages.enter(Stage.STEADY)
        watch = NoiseWatch()
        watch.start()
        reason = opening.steady(job.limits, columns, opening.stepping(opened, opened.stream, columns))
        noise = watch.stop()
    stages.enter(Stage.RECORD)
    samples = columns.samples()
    timing = opening.timing(opened, first_ns, samples, streams=1, reason=reason)
    return opening.filed(job, opened, timing, samples, agreement=agreement, noise=noise)
