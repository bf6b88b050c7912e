"""Launch after launch: each in a fresh process, each filed before the next begins."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import durations, jobs, process
from harness.measure.samples import Samples
from harness.places import published
from harness.ports import INTERRUPTED
from harness.scenarios import KINDS
from harness.telemetry.beside import Beside
from harness.telemetry.noise import readings
from harness.vocabulary import (
    Artifact,
    Cell,
    Completed,
    Failed,
    Launch,
    Record,
    SamplesRef,
    Skipped,
    Stage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    from harness.ports import LaunchPolicy, RecordSink, Step
    from harness.telemetry.table import Table


@dataclass(frozen=True)
class Bench:
    """All that the launches of one variant share, ready on disk."""

    engine: str  # module:attribute
    artifact: Artifact
    inputs: jobs.Inputs
    reference: Path | None
    items: tuple[jobs.Item, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    rebuilt: tuple[Artifact, ...] = ()  # further builds of the artifact, where it is built for its device

    def build(self, launch: Launch) -> Artifact:
        """Return the build that a launch takes: they take turns."""
        builds = (self.artifact, *self.rebuilt)
        return builds[launch.index % len(builds)]


@dataclass(frozen=True)
class Setting:
    """What holds for the whole run: where it is, how long a launch may take, when it has measured enough."""

    hw_id: str
    env_id: str
    benches: Mapping[str, Bench | Failed | Skipped]  # by variant id
    limits: Mapping[str, jobs.Limits]  # by cell id
    timeout_s: float
    strict: bool
    interpreters: Mapping[str, str] = field(default_factory=dict)  # by engine name
    warm: bool = False  # keep the runtimes' own caches from launch to launch, by variant
    echo: bool = False  # show what the child prints, as it comes
    task_places: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # by variant: paths of user code
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By environment label, its own ``interpreters``; a label that is not here has the usual ones."""
    machine: Callable[[], AbstractContextManager[tuple[int, ...]]] = lambda: contextlib.nullcontext(())
    """Entered for each launch, which it gives the machine; it yields the descriptors that hold it, for the child."""

    def interpreter(self, cell: Cell) -> str:
        """Return the Python that the launches of a cell run in."""
        return self.environments.get(cell.environment, self.interpreters).get(cell.engine, sys.executable)


SAMPLES = "samples.npz"
"""Name in the scratch folder of what a worker measured."""
WARM = ".warm"
"""Folder of a run for the caches of runtimes, as long as it is measured."""


@dataclass(frozen=True)
class Started:
    """A launch begins."""

    cell: Cell
    launch: Launch


@dataclass(frozen=True)
class Finished:
    """A launch ended, and its record is stored."""

    record: Record


def run(policy: LaunchPolicy, sink: RecordSink, setting: Setting) -> Generator[Started | Finished, None, None]:
    """Make launches until the policy has no more, yielding each beginning and each stored end.

    A ``KeyboardInterrupt`` ends the child first and is stored as such, so that a resume makes that launch again. The
    sink must be this process's alone: what a killed one left behind is removed. The machine's sensors are
    sampled beside the launches, where there are any to read.
    """
    for leftover in sink.folder.glob(".*-*-*-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with Beside(sink.folder.absolute()) as sensors:
        while (step := policy.next(sink.records())) is not None:
            # The wait for a turn is no part of a launch: it has not begun, and a resume knows nothing of it.
            with _turn(step, setting) as descriptors:
                sink.started(step.cell, step.launch)
                yield Started(step.cell, step.launch)
                record = _launch(step, _Place(sink, setting, sensors, descriptors))
                sink.finished(record)
            if isinstance(record.outcome, Failed) and record.outcome.kind == INTERRUPTED:
                raise KeyboardInterrupt
            yield Finished(record)
    shutil.rmtree(sink.folder / WARM, ignore_errors=True)


@dataclass(frozen=True)
class _Place:
    """Where a launch is made."""

    sink: RecordSink
    setting: Setting
    sensors: Beside
    descriptors: tuple[int, ...]  # of this process, which the child inherits


def _turn(step: Step, setting: Setting) -> AbstractContextManager[tuple[int, ...]]:
    """Return what gives a launch the machine; nothing is waited for where nothing is executed."""
    bench = setting.benches.get(step.cell.variant_id)
    return setting.machine() if step.settled is None and isinstance(bench, Bench) else contextlib.nullcontext(())


def _launch(step: Step, place: _Place) -> Record:
    sink, setting = place.sink, place.setting
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    started_ns = time.monotonic_ns()
    blank = Record(
        run_id=sink.run_id,
        cell=step.cell,
        launch=step.launch,
        outcome=Completed(),
        hw_id=setting.hw_id,
        env_id=setting.env_id,
        started_at=started_at,
        duration_ns=0,
        cell_id=step.cell.cell_id,
        variant_id=step.cell.variant_id,
    )
    bench = setting.benches.get(step.cell.variant_id)
    if step.settled is not None:
        return replace(blank, outcome=step.settled)
    if bench is None:
        return replace(blank, outcome=Failed(Stage.PREPARE, "not-prepared", "nothing was prepared for this cell"))
    if not isinstance(bench, Bench):
        return replace(blank, outcome=published(bench))
    measured = _measured(blank, bench, place)
    return replace(measured, outcome=published(measured.outcome), duration_ns=time.monotonic_ns() - started_ns)


def launch_name(cell: Cell, launch: Launch) -> str:
    """Return the stem of a launch's files: unique in a run, safe in a file name."""
    return f"{cell.cell_id[:16]}-{launch.index}-{launch.attempt}"


def _measured(blank: Record, bench: Bench, place: _Place) -> Record:
    cell, sink, setting = blank.cell, place.sink, place.setting
    name = launch_name(cell, blank.launch)
    log = Path("logs") / f"{name}.log"
    artifact = bench.build(blank.launch)
    record = replace(
        blank,
        # Known by its hash; where it lies in this user's cache is nobody else's business.
        artifact=replace(artifact, path=Path(artifact.path.name)),
        inputs_hash=bench.inputs.content_hash,
        inputs_count=bench.inputs.count,
        log=log.as_posix(),
    )
    # The child works in its scratch folder, so no path that it is given may be relative to ours.
    folder = sink.folder.absolute()
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    except OSError as error:
        return replace(record, outcome=_not_kept("no folder for the launch", error), log="")
    try:
        job = launch_job(cell, replace(bench, artifact=artifact), setting, scratch / SAMPLES)
        job = replace(job, seed=(blank.launch.seed, blank.launch.index))
        if setting.warm:
            # The proof, which is not timed, comes first and fills it. The artifact belongs to what is cached.
            warm = folder / WARM / cell.variant_id[:16] / artifact.content_hash[:16]
            warm.mkdir(parents=True, exist_ok=True)
            job = replace(job, warm=warm)
        child = process.Child(
            scratch=scratch,
            log=folder / log,
            timeout_s=_timeout_s(cell, bench, setting, sink),
            interpreter=setting.interpreter(cell),
            threads=cell.threads,
            echo=setting.echo,
            cpus=cpus(cell),
            descriptors=place.descriptors,
        )
        place.sensors.begin()
        answer = process.call("launch", job, child, jobs.LaunchAnswer)
        table = place.sensors.end()
        if not isinstance(answer, jobs.LaunchAnswer):
            return replace(record, outcome=answer)
        if table is None:
            sampled = replace(record, unsampled=place.sensors.trouble)
        else:
            sampled = _sampled(record, table, scratch, folder, name)
        return _filed(sampled, answer, scratch / SAMPLES, folder, name)
    except KeyboardInterrupt:
        stage, hint = process.reached(scratch), "`harness run --resume` makes this launch again"
        return replace(record, outcome=Failed(stage, INTERRUPTED, "the run was interrupted in this launch", hint))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _timeout_s(cell: Cell, bench: Bench, setting: Setting, sink: RecordSink) -> float:
    """Return how long a launch may take: what the suite says, or what its images take by what was measured.

    How many images are evaluated is not this cell's doing, nor is how slow an engine is at its precision.
    """
    if cell.scenario.name != "accuracy":
        return setting.timeout_s
    medians_ns = [
        record.timing.median_ns
        for record in sink.records()
        if record.variant_id == cell.variant_id
        and record.cell.scenario.name == "latency"
        and isinstance(record.outcome, Completed)
        and record.timing is not None
    ]
    inference_s = max(medians_ns, default=0) / 1e9
    return max(setting.timeout_s, durations.evaluation_s(len(bench.items), cell.batch, inference_s))


def launch_job(cell: Cell, bench: Bench, setting: Setting, samples: Path) -> jobs.LaunchJob:
    """Return what the worker is asked for one launch of ``cell``."""
    scenario = cell.scenario.name
    kind = KINDS[scenario]
    return jobs.LaunchJob(
        engine=bench.engine,
        artifact=bench.artifact,
        session=jobs.SessionSpec(
            device=cell.device,
            precision=cell.precision,
            batch=cell.batch,
            threads=cell.threads,
            streams=cell.streams if kind.streams else 1,
            goal=kind.goal(kind.configured(cell.scenario.parameters)),
            strict=setting.strict,
            options=cell.options,
        ),
        scenario=scenario,
        parameters=cell.scenario.parameters,
        task={**cell.task, **setting.task_places.get(cell.variant_id, {})},
        inputs=bench.inputs,
        reference=bench.reference,
        limits=setting.limits[cell.cell_id],
        samples=samples,
        items=bench.items if kind.images else (),
        classes=bench.classes if scenario == "accuracy" else {},
        shape=cell.shape,
    )


def cpus(cell: Cell) -> tuple[int, ...] | None:
    """Return the processors that the launches of a cell are kept on; ``None``: any."""
    asked = cell.scenario.parameters.get("cpus")
    return tuple(asked) if asked else None


def _sampled(record: Record, table: Table, scratch: Path, folder: Path, name: str) -> Record:
    """Return the record with what the sensors said, and what that says of the GPU; or why it is not kept."""
    made, kept = scratch / "telemetry.npz", Path("telemetry") / f"{name}.npz"
    cell = record.cell
    # A launch that times nothing is not made again for noise.
    noise = readings(table, cell.device, _steady_ns(scratch / SAMPLES)) if KINDS[cell.scenario.name].timed else {}
    try:
        sha256 = table.save(made)
        (folder / kept).parent.mkdir(exist_ok=True)
        _keep(made, folder / kept)
    except OSError as error:
        why = f"what the sensors said cannot be kept: {error.strerror}"
        return replace(record, unsampled=why, noise=noise)
    return replace(record, telemetry=SamplesRef(kept.as_posix(), sha256, len(table)), noise=noise)


def _steady_ns(samples: Path) -> tuple[int, int] | None:
    """Return when the steady phase began and ended; ``None`` where the launch left no raw samples."""
    try:
        steady = Samples.load(samples).steady()
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return (int(steady.start_ns.min()), int(steady.end_ns.max())) if len(steady) else None


def _filed(record: Record, answer: jobs.LaunchAnswer, made: Path, folder: Path, name: str) -> Record:
    reference = None
    if answer.samples_sha256:
        kept = Path("samples") / f"{name}.npz"
        try:
            _keep(made, folder / kept)
        except OSError as error:
            return replace(record, outcome=_not_kept("samples not kept", error))
        reference = SamplesRef(kept.as_posix(), answer.samples_sha256, answer.samples_rows)
    accuracy = answer.accuracy
    if accuracy is not None:
        accuracy = replace(accuracy, per_image=reference)
    return replace(
        record,
        versions=answer.versions,
        timing=answer.timing,
        samples=reference if accuracy is None else None,
        memory=answer.memory,
        accuracy=accuracy,
        agreement=answer.agreement,
        execution=answer.execution,
        noise={**answer.noise, **record.noise},
        trials=answer.trials,
        loadgen=answer.loadgen,
    )


def _not_kept(what: str, error: OSError) -> Failed:
    hint = "free some space or mend the permissions, then `harness rerun RUN CELL`"
    return Failed(Stage.RECORD, type(error).__name__, f"{what}: {error.strerror or error}", hint)


def _keep(made: Path, kept: Path) -> None:
    """Move a file into the run folder so that it is there, whole, before the record that names it."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(kept)
    with contextlib.suppress(OSError):
        descriptor = os.open(kept.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
