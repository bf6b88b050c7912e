"""What was executed, read back from the runtime; never timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import proof
from harness.errors import NotAsAsked
from harness.jobs import LaunchAnswer
from harness.vocabulary import Stage, Timing
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchJob
    from harness.worker.stage import Stages


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Return the session's ``Execution``. Raises ``NotAsAsked`` where the suite is strict and it ran otherwise."""
    opened = opening.opened(job, stages, limit=opening.FEW_BATCHES)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.PROVE)
    execution = opened.session.describe()
    opened.session.close()
    other = proof.differences(execution, job.session.device, job.session.precision) if job.session.strict else ()
    if other:
        hint = "`fallback: allow` measures it all the same, marked as what it is"
        raise NotAsAsked("; ".join(difference.message for difference in other), hint)
    timing = Timing(opened.import_ns, opened.load_ns, first_ns)
    return LaunchAnswer(opening.versions(opened.engine), timing=timing, execution=execution, agreement=agreement)
