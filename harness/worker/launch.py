"""One launch of one cell, driven as its scenario says."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.scenarios import KINDS

if TYPE_CHECKING:
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.worker.stage import Stages


def launch(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Measure one cell once. Raises ``HarnessError`` subclasses, or whatever the runtime raises."""
    if job.scenario not in KINDS:
        raise HarnessError(f"no scenario is called {job.scenario!r}", f"there are: {', '.join(KINDS)}")
    # Only the one that is driven is imported: the measured process stays small.
    module, _, name = KINDS[job.scenario].driver.partition(":")
    answer: LaunchAnswer = getattr(importlib.import_module(module), name)(job, stages)
    return answer
