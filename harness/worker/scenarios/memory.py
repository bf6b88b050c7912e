"""The memory of the process by phase, and whether it grows, in a pass of its own: nothing is timed here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.jobs import LaunchAnswer
from harness.measure import loop, memory
from harness.tasks import catalog
from harness.vocabulary import Memory, Stage
from harness.worker.opening import adapter, batches, import_runtime, load
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchJob
    from harness.worker.scenarios.opened import Opened
    from harness.worker.stage import Stages

READINGS = 100
"""Of the resident set while its growth is watched, at least: one about every hundredth of the inferences."""


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Read the resident set after each phase, the kernel's high-water mark after the last, then watch for growth."""
    engine = adapter(job.engine)
    task = catalog.create(job.task)
    inputs = batches(job.inputs, job.artifact, job.session.batch, limit=opening.FEW_BATCHES)
    baseline = memory.resident_bytes()
    import_ns = import_runtime(engine, stages)
    imported = memory.resident_bytes()
    session, stream, load_ns = load(engine, job.artifact, job.session, job.warm or job.samples.parent, stages)
    loaded = memory.resident_bytes()
    opened = opening.Opened(engine, session, stream, task, inputs, import_ns, load_ns)
    first_ns = opening.first(opened, stages)
    after_first = memory.resident_bytes()
    stages.enter(Stage.STEADY)
    columns = loop.Columns(max(4 * opening.BLOCK, job.limits.minimum_iterations))
    started_ns = time.perf_counter_ns()
    until_ns = started_ns + int(job.limits.maximum_s * 1e9)
    loop.closed_loop(stream, opened.work, task.postprocess, columns, columns.capacity, until_ns)
    peak = memory.peak_bytes()
    growth = _growth(job, opened, started_ns)
    # Last, since nothing is timed here and what a comparison holds would be measured as the engine's.
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.RECORD)
    timing = opening.timing(opened, first_ns, columns.samples(), streams=1, reason="max_iterations")
    session.close()
    used = Memory(baseline, imported, loaded, after_first, peak, growth)
    return LaunchAnswer(opening.versions(engine), timing=timing, memory=used, agreement=agreement)


def _growth(job: LaunchJob, opened: Opened, started_ns: int) -> tuple[tuple[int, int], ...]:
    """Return the resident set as (inferences, bytes) while up to ``growth_iterations`` more are run.

    What the time of the phase does not hold is left out, so that no launch is killed for a slow model.
    """
    limits, wanted = job.limits, job.limits.growth_iterations
    until_ns = started_ns + int(max(limits.maximum_s, limits.extended_s) * 1e9)
    columns = loop.Columns(max(1, wanted // READINGS))
    readings: list[tuple[int, int]] = []
    done = 0
    while done < wanted and time.perf_counter_ns() < until_ns:
        # The rows are not kept, and each reading follows upon the same inputs.
        columns.filled = 0
        loop.closed_loop(opened.stream, opened.work, opened.task.postprocess, columns, wanted - done, until_ns)
        done += columns.filled
        readings.append((done, memory.resident_bytes()))
    return tuple(readings)
