"""What every scenario begins and ends with: open, first inference, verification, warm-up, steady loop, filing."""

from __future__ import annotations

import hashlib
import platform
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import harness
from harness import statistics
from harness.jobs import LaunchAnswer
from harness.measure import loop
from harness.measure.samples import WARMUP
from harness.measure.verify import Comparison, check_sane
from harness.tasks import catalog
from harness.vocabulary import Stage, Timing
from harness.worker.opening import Batch, adapter, batches, import_runtime, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.engine import Engine, Session, Stream
    from harness.jobs import LaunchJob, Limits
    from harness.measure.samples import Samples
    from harness.tasks.task import Task
    from harness.vocabulary import Agreement
    from harness.worker.stage import Stages

    Step = Callable[[int, int], None]
    """Run up to so many inferences, ending early after a moment of ``perf_counter_ns``."""

BLOCK = 8
"""Iterations between looks at the clock while warming up."""
FEW_BATCHES = 4
"""Inputs kept in memory where nothing is timed, so that the data set is not measured as the engine's."""


@dataclass(frozen=True)
class Opened:
    """A loaded session with what it took, and what will rotate through it."""

    engine: Engine
    session: Session
    stream: Stream  # opened as part of the load
    task: Task
    inputs: Sequence[Batch]
    import_ns: int
    load_ns: int

    @property
    def work(self) -> loop.Work:
        """Tensors and frames of every batch, in order."""
        return [(batch.tensors, batch.frames) for batch in self.inputs]


def opened(job: LaunchJob, stages: Stages, limit: int | None = None) -> Opened:
    """Return the session of a job, loaded, with at most ``limit`` batches of inputs. Raises ``Unsupported``."""
    engine = adapter(job.engine)
    task = catalog.create(job.task)
    inputs = batches(job.inputs, job.artifact, job.session.batch, limit)
    import_ns = import_runtime(engine, stages)
    session, stream, load_ns = load(engine, job.artifact, job.session, job.warm or job.samples.parent, stages)
    return Opened(engine, session, stream, task, inputs, import_ns, load_ns)


def streams_of(job: LaunchJob, open_: Opened, most: int | None = None) -> list[Stream]:
    """Return as many streams as the job asks for, or as the runtime recommends; the opened one is the first.

    ``most``: of what the runtime recommends, where there is no use for more.
    """
    recommended = open_.session.recommended_streams
    count = job.session.streams or (recommended if most is None else min(recommended, most))
    return [open_.stream, *(open_.session.stream() for _ in range(count - 1))]


def first(open_: Opened, stages: Stages) -> int:
    """Return the duration of the first inference, from bound tensors to fetched outputs, in nanoseconds."""
    stages.enter(Stage.FIRST)
    started_ns = time.perf_counter_ns()
    infer(open_.stream, open_.inputs[0])
    return time.perf_counter_ns() - started_ns


def infer(stream: Stream, batch: Batch) -> dict[str, np.ndarray]:
    """Return the outputs of one inference."""
    stream.bind(batch.tensors)
    stream.run()
    stream.sync()
    return stream.fetch()


def verify(job: LaunchJob, open_: Opened, stages: Stages) -> Agreement | None:
    """Compare outputs with the reference's, before anything is timed. Raises ``VerifyFailed``."""
    stages.enter(Stage.VERIFY)
    if job.reference is None:
        check_sane(infer(open_.stream, open_.inputs[0]), job.artifact.outputs)
        return None
    comparison = Comparison()
    with np.load(job.reference, allow_pickle=False) as archive:
        names: dict[int, list[str]] = {}
        for key in archive.files:
            index, _, name = key.partition("/")
            names.setdefault(int(index), []).append(name)
        for index, outputs_of in sorted(names.items()):
            outputs = infer(open_.stream, open_.inputs[index])
            check_sane(outputs, job.artifact.outputs)
            comparison.add(outputs, {name: archive[f"{index}/{name}"] for name in outputs_of})
    agreement = comparison.agreement()
    stages.enter(Stage.POSTPROCESS)
    open_.task.postprocess(outputs, open_.inputs[index].frames)
    return agreement


def warm(job: LaunchJob, open_: Opened, stream: Stream, columns: loop.Columns, streams: int = 1) -> None:
    """Run until two windows agree, no shorter and no longer than the limits say of so many streams together."""
    warm_up(shared(job.limits, streams), columns, stepping(open_, stream, columns))


def shared(limits: Limits, streams: int) -> Limits:
    """Return the limits of each of several streams that are warmed up one after the other: they share the time."""
    each_s = limits.warmup_maximum_s / streams
    return replace(limits, warmup_s=min(limits.warmup_s, each_s), warmup_maximum_s=each_s)


def stepping(open_: Opened, stream: Stream, columns: loop.Columns) -> Step:
    """Return the step that runs inferences of prepared tensors."""
    work, finish = open_.work, open_.task.postprocess
    return lambda count, until_ns: loop.closed_loop(stream, work, finish, columns, count, until_ns)


def warm_up(limits: Limits, columns: loop.Columns, step: Step) -> None:
    """Call ``step``, which fills ``columns``, until two windows agree, no shorter and no longer than the limits say."""
    started_ns = time.perf_counter_ns()
    until_ns = started_ns + int(limits.warmup_maximum_s * 1e9)
    while time.perf_counter_ns() < until_ns and columns.filled + BLOCK < columns.capacity // 4:
        step(BLOCK, until_ns)
        elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
        if elapsed_s >= limits.warmup_s and statistics.warmed_up(columns.latencies_ns(0), limits.warmup_iterations):
            return


def steady(limits: Limits, columns: loop.Columns, step: Step) -> str:
    """Call ``step``, which fills ``columns``, until the stop rule is content, and return its reason."""
    rule = statistics.StopRule(
        limits.minimum_iterations,
        limits.minimum_s,
        limits.maximum_s,
        limits.relative_half_width,
        maximum_iterations=columns.capacity - columns.warm,
        quantiles=limits.quantiles,
        extended_s=limits.extended_s,
    )
    started_ns = time.perf_counter_ns()
    until_ns = started_ns + int(max(limits.maximum_s, limits.extended_s) * 1e9)
    while True:
        done = columns.filled - columns.warm
        step(max(1, rule.next_look(done) - done), until_ns)
        if columns.filled == columns.capacity:
            return "max_iterations"
        elapsed_ns = time.perf_counter_ns() - started_ns
        reason = rule.should_stop(columns.latencies_ns(columns.warm), elapsed_ns)
        if reason is not None:
            return reason


def timing(open_: Opened, first_ns: int, samples: Samples, *, streams: int, reason: str) -> Timing:
    """Return the phases of a launch whose raw samples are ``samples``."""
    steady = samples.steady()
    window_ns = int(steady.end_ns.max() - steady.start_ns.min()) if len(steady) else 0
    median_ns = int(np.median(steady.response_ns)) if len(steady) else 0
    warmup = int(np.count_nonzero(samples.phase == WARMUP))
    return Timing(open_.import_ns, open_.load_ns, first_ns, warmup, len(steady), window_ns, streams, reason, median_ns)


def filed(job: LaunchJob, open_: Opened, timing: Timing, samples: Samples, **more: Any) -> LaunchAnswer:
    """Close the session and return the answer of a launch with raw samples; ``more`` are its other fields."""
    open_.session.close()
    digest = save(samples, job.samples)
    return LaunchAnswer(versions(open_.engine), timing=timing, samples_sha256=digest, samples_rows=len(samples), **more)


def save(samples: Samples, path: Path) -> str:
    """Write the samples and return the SHA-256 of the file."""
    samples.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(engine: Engine) -> dict[str, str]:
    """Return what was loaded, by distribution."""
    # Imported here, after all that is measured: it brings the packages for mail, archives and sockets with it.
    from importlib import metadata

    found = {"harness": harness.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in (*engine.distributions, *engine.alternatives):
        # A runtime may come as one of several distributions: the probe has told that it is there, and its version.
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
