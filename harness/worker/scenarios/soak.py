"""Full load for long: k streams, each in a closed loop of its own thread, until the time is up."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.measure.samples import Samples
from harness.measure.thinning import ThinningColumns
from harness.scenarios import KINDS
from harness.vocabulary import Stage
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.vocabulary import NoiseReading
    from harness.worker.stage import Stages

ROWS = 1 << 20
"""Rows of all streams together: 32 MiB while driving, enough for 1,700 inferences a second over ten minutes.

Beyond that every other one is let go. Filing copies them twice, in seven columns: 112 MiB at most.
"""


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Drive every stream from a common start for as long as the scenario says, and keep evenly thinned samples.

    ``Timing.steady_iterations`` counts the inferences, with or without a row. Garbage is collected as in service:
    without that, ten minutes of it would be measured as the engine's.
    """
    seconds = KINDS["soak"].configured(job.parameters).seconds
    opened = opening.opened(job, stages)
    streams = opening.streams_of(job, opened)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    watch = NoiseWatch()
    noise: dict[str, NoiseReading] = {}
    columns = [ThinningColumns(ROWS // len(streams)) for _ in streams]

    def prepare(index: int) -> None:
        opening.warm(job, opened, streams[index], columns[index], len(streams))
        columns[index].warm = columns[index].filled

    def begin() -> None:
        gc.collect()
        stages.enter(Stage.STEADY)
        watch.start()

    def last(index: int) -> None:
        until_ns = time.perf_counter_ns() + int(seconds * 1e9)
        inputs = loop.beginning_at(opened.work, index, len(streams))
        columns[index].drive(streams[index], inputs, opened.task.postprocess, until_ns)

    loop.at_once(len(streams), prepare, last, loop.Around(begin, lambda: noise.update(watch.stop())))
    stages.enter(Stage.RECORD)
    samples = _joined(columns)
    timing = opening.timing(opened, first_ns, samples, streams=len(streams), reason="max_time")
    counted = replace(timing, steady_iterations=sum(column.done for column in columns))
    return opening.filed(job, opened, counted, samples, agreement=agreement, noise=noise)


def _joined(columns: list[ThinningColumns]) -> Samples:
    """Return the rows of all streams, each row standing for equally many inferences."""
    every = max(column.every for column in columns)
    for column in columns:
        column.thin(every)
    return Samples.joined([column.samples(index) for index, column in enumerate(columns)])
