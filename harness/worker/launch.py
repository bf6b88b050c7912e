"""One launch of one cell: load → first → verify → warm up → steady, or the pass that its scenario asks for."""

from __future__ import annotations

import hashlib
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import harness
from harness import proof, statistics
from harness.errors import HarnessError, NotAsAsked
from harness.jobs import LaunchAnswer, LaunchJob
from harness.measure import loop, memory
from harness.measure.noise import NoiseWatch
from harness.measure.verify import Comparison, check_sane
from harness.tasks import catalog
from harness.vocabulary import Memory, NoiseReading, Stage, State, Timing
from harness.worker.opening import Batch, adapter, batches, import_runtime, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.engine import Engine, Session, Stream
    from harness.measure.samples import Samples
    from harness.tasks.task import Task
    from harness.vocabulary import Agreement
    from harness.worker.stage import Stages

_OWN_THREADS = NoiseReading(
    State.UNAVAILABLE, detail="with several streams a process's own threads wait for each other"
)
_BLOCK = 8
"""Iterations between looks at the clock while warming up."""
_MEMORY_BATCHES = 4
"""Inputs kept in memory by the memory pass, so that the data set is not measured as the engine's."""


def launch(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Measure one cell once. Raises ``HarnessError`` subclasses, or whatever the runtime raises."""
    scenarios = {
        "latency": _latency,
        "throughput": _throughput,
        "memory": _memory,
        "prove": _prove,
        "accuracy": _accuracy,
    }
    if job.scenario not in scenarios:
        raise HarnessError(f"no scenario is called {job.scenario!r}", f"there are: {', '.join(scenarios)}")
    return scenarios[job.scenario](job, stages)


@dataclass(frozen=True)
class _Opened:
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
        return [(batch.tensors, batch.frames) for batch in self.inputs]


def _open(job: LaunchJob, stages: Stages, limit: int | None = None) -> _Opened:
    engine = adapter(job.engine)
    task = catalog.create(job.task)
    inputs = batches(job.inputs, job.artifact, job.session.batch, limit)
    import_ns = import_runtime(engine, stages)
    session, stream, load_ns = load(engine, job.artifact, job.session, job.warm or job.samples.parent, stages)
    return _Opened(engine, session, stream, task, inputs, import_ns, load_ns)


def _first(opened: _Opened, stream: Stream, stages: Stages) -> int:
    """Return the duration of the first inference, from bound tensors to fetched outputs, in nanoseconds."""
    stages.enter(Stage.FIRST)
    started_ns = time.perf_counter_ns()
    _infer(stream, opened.inputs[0])
    return time.perf_counter_ns() - started_ns


def _infer(stream: Stream, batch: Batch) -> dict[str, np.ndarray]:
    stream.bind(batch.tensors)
    stream.run()
    stream.sync()
    return stream.fetch()


def _verify(job: LaunchJob, opened: _Opened, stream: Stream, stages: Stages) -> Agreement | None:
    """Compare outputs with the reference's, before anything is timed. Raises ``VerifyFailed``."""
    stages.enter(Stage.VERIFY)
    if job.reference is None:
        check_sane(_infer(stream, opened.inputs[0]), job.artifact.outputs)
        return None
    comparison = Comparison()
    with np.load(job.reference, allow_pickle=False) as archive:
        names: dict[int, list[str]] = {}
        for key in archive.files:
            index, _, name = key.partition("/")
            names.setdefault(int(index), []).append(name)
        for index, outputs_of in sorted(names.items()):
            outputs = _infer(stream, opened.inputs[index])
            check_sane(outputs, job.artifact.outputs)
            comparison.add(outputs, {name: archive[f"{index}/{name}"] for name in outputs_of})
    agreement = comparison.agreement()
    stages.enter(Stage.POSTPROCESS)
    opened.task.postprocess(outputs, opened.inputs[index].frames)
    return agreement


def _warm(job: LaunchJob, opened: _Opened, stream: Stream, columns: loop.Columns) -> None:
    limits = job.limits
    started_ns = time.perf_counter_ns()
    until_ns = started_ns + int(limits.warmup_maximum_s * 1e9)
    while time.perf_counter_ns() < until_ns and columns.filled + _BLOCK < columns.capacity // 4:
        loop.closed_loop(stream, opened.work, opened.task.postprocess, columns, _BLOCK, until_ns)
        elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
        if elapsed_s >= limits.warmup_s and statistics.warmed_up(columns.latencies_ns(0), limits.warmup_iterations):
            return


def _latency(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    opened = _open(job, stages)
    stream = opened.stream
    first_ns = _first(opened, stream, stages)
    agreement = _verify(job, opened, stream, stages)
    columns = loop.Columns()
    with loop.without_collector():
        stages.enter(Stage.WARMUP)
        _warm(job, opened, stream, columns)
        columns.warm = columns.filled
        stages.enter(Stage.STEADY)
        watch = NoiseWatch()
        watch.start()
        reason = _steady(job, opened, stream, columns)
        noise = watch.stop()
    stages.enter(Stage.RECORD)
    samples = columns.samples()
    timing = _timing(opened, first_ns, samples, columns.warm, streams=1, reason=reason)
    opened.session.close()
    digest = _save(samples, job.samples)
    return LaunchAnswer(
        _versions(opened.engine),
        timing=timing,
        samples_sha256=digest,
        samples_rows=len(samples),
        agreement=agreement,
        noise=noise,
    )


def _steady(job: LaunchJob, opened: _Opened, stream: Stream, columns: loop.Columns) -> str:
    """Measure until the stop rule is content, and return its reason."""
    limits = job.limits
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
    work = opened.work
    while True:
        done = columns.filled - columns.warm
        loop.closed_loop(stream, work, opened.task.postprocess, columns, max(1, rule.next_look(done) - done), until_ns)
        if columns.filled == columns.capacity:
            return "max_iterations"
        elapsed_ns = time.perf_counter_ns() - started_ns
        reason = rule.should_stop(columns.latencies_ns(columns.warm), elapsed_ns)
        if reason is not None:
            return reason


def _throughput(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    opened = _open(job, stages)
    count = job.session.streams or opened.session.recommended_streams
    streams = [opened.stream, *(opened.session.stream() for _ in range(count - 1))]
    first_ns = _first(opened, streams[0], stages)
    agreement = _verify(job, opened, streams[0], stages)
    stages.enter(Stage.WARMUP)
    watch = NoiseWatch()

    def begin() -> None:
        stages.enter(Stage.STEADY)
        watch.start()

    seconds = max(job.limits.minimum_s, min(job.limits.maximum_s, job.limits.minimum_iterations * first_ns / 1e9))
    done = loop.concurrent(
        streams,
        opened.work,
        opened.task.postprocess,
        lambda stream, columns: _warm(job, opened, stream, columns),
        seconds,
        begin,
    )
    noise = watch.stop() | {"run_queue_wait": _OWN_THREADS}
    stages.enter(Stage.RECORD)
    timing = _timing(opened, first_ns, done.samples, done.warmup_iterations, streams=count, reason="max_time")
    opened.session.close()
    digest = _save(done.samples, job.samples)
    return LaunchAnswer(
        _versions(opened.engine),
        timing=timing,
        samples_sha256=digest,
        samples_rows=len(done.samples),
        agreement=agreement,
        noise=noise,
    )


def _memory(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    engine = adapter(job.engine)
    task = catalog.create(job.task)
    inputs = batches(job.inputs, job.artifact, job.session.batch, limit=_MEMORY_BATCHES)
    baseline = memory.resident_bytes()
    import_ns = import_runtime(engine, stages)
    imported = memory.resident_bytes()
    session, stream, load_ns = load(engine, job.artifact, job.session, job.warm or job.samples.parent, stages)
    loaded = memory.resident_bytes()
    opened = _Opened(engine, session, stream, task, inputs, import_ns, load_ns)
    first_ns = _first(opened, stream, stages)
    after_first = memory.resident_bytes()
    stages.enter(Stage.STEADY)
    columns = loop.Columns(max(4 * _BLOCK, job.limits.minimum_iterations))
    until_ns = time.perf_counter_ns() + int(job.limits.maximum_s * 1e9)
    loop.closed_loop(stream, opened.work, task.postprocess, columns, columns.capacity, until_ns)
    peak = memory.peak_bytes()
    # Last, since nothing is timed here and what a comparison holds would be measured as the engine's.
    agreement = _verify(job, opened, stream, stages)
    stages.enter(Stage.RECORD)
    timing = _timing(opened, first_ns, columns.samples(), 0, streams=1, reason="max_iterations")
    session.close()
    used = Memory(baseline, imported, loaded, after_first, peak)
    return LaunchAnswer(_versions(engine), timing=timing, memory=used, agreement=agreement)


def _prove(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    opened = _open(job, stages, limit=_MEMORY_BATCHES)
    stream = opened.stream
    first_ns = _first(opened, stream, stages)
    agreement = _verify(job, opened, stream, stages)
    stages.enter(Stage.PROVE)
    execution = opened.session.describe()
    opened.session.close()
    other = proof.differences(execution, job.session.device, job.session.precision) if job.session.strict else ()
    if other:
        hint = "`fallback: allow` measures it all the same, marked as what it is"
        raise NotAsAsked("; ".join(difference.message for difference in other), hint)
    timing = Timing(opened.import_ns, opened.load_ns, first_ns)
    return LaunchAnswer(_versions(opened.engine), timing=timing, execution=execution, agreement=agreement)


def _accuracy(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    # Imported here: it decodes images and computes metrics, which a measured process must not load.
    from harness.worker.accuracy import evaluate

    opened = _open(job, stages, limit=_MEMORY_BATCHES)
    stream = opened.stream
    first_ns = _first(opened, stream, stages)
    agreement = _verify(job, opened, stream, stages)
    stages.enter(Stage.EVALUATE)
    accuracy, digest, rows = evaluate(job, stream, opened.task.for_evaluation())
    opened.session.close()
    return LaunchAnswer(
        _versions(opened.engine),
        timing=Timing(opened.import_ns, opened.load_ns, first_ns),
        samples_sha256=digest,
        samples_rows=rows,
        accuracy=accuracy,
        agreement=agreement,
    )


def _timing(opened: _Opened, first_ns: int, samples: Samples, warmup: int, *, streams: int, reason: str) -> Timing:
    steady = samples.steady()
    window_ns = int(steady.end_ns.max() - steady.start_ns.min()) if len(steady) else 0
    return Timing(opened.import_ns, opened.load_ns, first_ns, warmup, len(steady), window_ns, streams, reason)


def _save(samples: Samples, path: Path) -> str:
    samples.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions(engine: Engine) -> dict[str, str]:
    # Imported here, after all that is measured: it brings the packages for mail, archives and sockets with it.
    from importlib import metadata

    versions = {"harness": harness.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in engine.distributions:
        # A runtime may come as one of several distributions: the probe has told that it is there, and its version.
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
