"""Every evaluation image through the artifact that is timed; this process is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.jobs import LaunchAnswer
from harness.vocabulary import Stage, Timing
from harness.worker.accuracy import evaluate
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchJob
    from harness.worker.stage import Stages


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Return the task's metrics and the facts of each image."""
    opened = opening.opened(job, stages, limit=opening.FEW_BATCHES)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.EVALUATE)
    accuracy, digest, rows = evaluate(job, opened.stream, opened.task.for_evaluation())
    opened.session.close()
    return LaunchAnswer(
        opening.versions(opened.engine),
        timing=Timing(opened.import_ns, opened.load_ns, first_ns),
        samples_sha256=digest,
        samples_rows=rows,
        accuracy=accuracy,
        agreement=agreement,
    )
