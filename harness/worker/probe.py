"""Ask an engine what it can execute here, in a process that a broken library may take down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness.errors import EngineUnavailable
from harness.jobs import ProbeAnswer
from harness.vocabulary import Skipped, Stage
from harness.worker.opening import adapter

if TYPE_CHECKING:
    from harness.jobs import ProbeJob
    from harness.worker.stage import Stages


def probe(job: ProbeJob, stages: Stages) -> ProbeAnswer:
    """Return the engine's facts, or that it is not to be had and how to get it."""
    stages.enter(Stage.PROBE)
    try:
        return ProbeAnswer(facts=adapter(job.engine).probe(), harness_version=harness.__version__)
    except EngineUnavailable as error:
        return ProbeAnswer(skipped=Skipped(error.message, error.hint), harness_version=harness.__version__)
