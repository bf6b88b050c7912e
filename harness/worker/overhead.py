"""What the harness's own loop costs per iteration, on this machine, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.jobs import OverheadAnswer
from harness.measure.loop import Columns, closed_loop, without_collector
from harness.measure.null import NullStream
from harness.vocabulary import Stage

if TYPE_CHECKING:
    from harness.jobs import OverheadJob
    from harness.measure.loop import Work
    from harness.worker.stage import Stages

_FOREVER = 2**62


def overhead(job: OverheadJob, stages: Stages) -> OverheadAnswer:
    """Return the median time from one iteration's start to the next one's with the null stream."""
    stages.enter(Stage.STEADY)
    columns = Columns(2 * job.iterations)
    work: Work = [({}, None)] * 64
    with without_collector():
        for _ in range(2):  # the first half warms up
            closed_loop(NullStream(), work, lambda _outputs, _frames: None, columns, job.iterations, _FOREVER)
    starts = columns.samples().start_ns[job.iterations :]
    return OverheadAnswer(float(np.median(np.diff(starts))))
