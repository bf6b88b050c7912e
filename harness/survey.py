"""What a suite meets here: its engines probed, its sources identified by content, its images found and hashed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import jobs, registry
from harness.artifacts import Exporters, in_child
from harness.cache import hash_tree
from harness.errors import DataError, HarnessError
from harness.places import published
from harness.settings import did_you_mean
from harness.suite_sources import PRETRAINED
from harness.tasks import catalog, datasets
from harness.vocabulary import (
    Artifact,
    EngineFacts,
    Failed,
    Precision,
    Skipped,
    Source,
    Stage,
    digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.artifacts import Workshop
    from harness.suite import Suite
    from harness.suite_sources import Source as SourceModel
    from harness.suite_sources import Workload

PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Model:
    """A workload's source and data as found here; ``trouble`` says what is wrong with either."""

    source: Source
    artifact: Artifact
    task: Mapping[str, Any]  # without the folders of the user's code: a place is no identity
    task_place: Mapping[str, Any] = field(default_factory=dict)
    selections: datasets.Selections | None = None
    trouble: Failed | None = None


@dataclass(frozen=True)
class Survey:
    """Everything that a plan needs to know about this machine and these files."""

    engines: Mapping[str, EngineFacts | Skipped | Failed]
    registered: Mapping[str, registry.Registered]
    models: Mapping[str, Model]


def named_engines(suite: Suite) -> tuple[str, ...]:
    """Return every engine that the suite names, in the order of naming."""
    names = list(suite.matrix.engine)
    for extra in suite.include:
        names += extra.engine or ()
    return tuple(dict.fromkeys(names))


def survey(suite: Suite, base: Path, workshop: Workshop, told: Callable[[str], None]) -> Survey:
    """Look at what the suite names; ``told`` is called with a word about each thing before it is looked at.

    Raises ``HarnessError`` for an engine that nobody offers; everything else that is wrong becomes data.
    """
    exporters = Exporters(interpreters=interpreters(suite, base))
    _check_export(suite, exporters)
    registered = {name: registry.named(registry.ENGINES_GROUP, name) for name in named_engines(suite)}
    for name in {name for entry in suite.exclude for name in entry.engine or ()}:
        registry.named(registry.ENGINES_GROUP, name)
    engines: dict[str, EngineFacts | Skipped | Failed] = {}
    for name, entry in registered.items():
        told(f"probing {name}")
        engines[name] = adapted(entry, probe(entry, workshop, _interpreter(suite, name, base)))
    models = {}
    for name, workload in suite.workloads.items():
        told(f"reading {name}")
        models[name] = _model(name, workload, base, workshop, exporters)
    return Survey(engines, registered, models)


def _check_export(suite: Suite, exporters: Exporters) -> None:
    over = [
        (f"configurations.{engine}.{name}.export", configuration.export)
        for engine, named in suite.configurations.items()
        for name, configuration in named.items()
    ]
    for place, settings in (("export", suite.export), *over):
        for name in settings:
            if name not in exporters.names:
                hint = f"known here: {', '.join(exporters.names)}"
                near = did_you_mean(name, exporters.names)
                raise HarnessError(f"{place}: no exporter is called {name[:80]!r}{near}", hint)
    known = (*registry.registered(registry.ENGINES_GROUP), *exporters.names)
    for name in suite.interpreters:
        if name not in known:
            hint = f"known here: {', '.join(known)}"
            near = did_you_mean(name, known)
            raise HarnessError(f"interpreters: no engine or exporter is called {name[:80]!r}{near}", hint)


def adapted(entry: registry.Registered, facts: EngineFacts | Skipped | Failed) -> EngineFacts | Skipped | Failed:
    """Return the facts, or why the adapter, which its own process could make, cannot be made in this one."""
    if isinstance(facts, Failed):
        return facts
    try:
        registry.engine(entry.target)
    except HarnessError as error:
        return Failed(Stage.PROBE, type(error.__cause__ or error).__name__, error.message, error.hint)
    return facts


def interpreters(suite: Suite, base: Path) -> dict[str, str]:
    """Return the interpreter of each engine that has one of its own, as absolute paths."""
    return {name: _interpreter(suite, name, base) for name in suite.interpreters}


def _interpreter(suite: Suite, engine: str, base: Path) -> str:
    given = suite.interpreters.get(engine)
    # Not resolved: a virtual environment's python is a link, and following it would leave the environment.
    return str((base / Path(given).expanduser()).absolute()) if given else sys.executable


def probe(entry: registry.Registered, workshop: Workshop, interpreter: str) -> EngineFacts | Skipped | Failed:
    """Ask an engine, in a process of its own, what it can execute here."""
    remedy = "find out why it does not start: this limit is fixed"
    place = replace(workshop, timeout_s=PROBE_TIMEOUT_S, interpreter=interpreter, remedy=remedy)
    answer = in_child("probe", jobs.ProbeJob(entry.target), jobs.ProbeAnswer, place, entry.name)
    if not isinstance(answer, jobs.ProbeAnswer):
        return published(answer)
    if answer.harness_version != harness.__version__:
        reason = f"{Path(interpreter).name} has harness {answer.harness_version}, this is {harness.__version__}"
        return Skipped(reason, "install the same version there: pip install --no-deps")
    return answer.facts or published(answer.skipped) or Skipped("the engine said nothing")


def _model(name: str, workload: Workload, base: Path, workshop: Workshop, exporters: Exporters) -> Model:
    task = {key: value for key, value in workload.task.items() if key != "path"}
    place = {"path": str((base / workload.task["path"]).absolute())} if workload.task.get("path") else {}
    unknown = Source(workload.source.kind, workload.source.reference, digest({"unidentified": name}))
    artifact = Artifact(unknown.format, Precision.FP32, Path(), unknown.content_hash, 0)
    trouble = None
    try:
        task = catalog.identified(workload.task, base)
        _check_trust(workload.source)
        if not exporters.begins(workload.source.kind):
            hint = "an ONNX file is given as `onnx: FILE`, a torch module as `torch: module:factory`"
            raise DataError(f"no route begins at a file of the format {workload.source.kind}", hint)
        path = _locate(name, workload.source, base, workshop, exporters)
        content_hash = _identify(workload.source, path, workshop, exporters)
        size = hash_tree(path)[1] if workload.source.description() is None else 0
        artifact = Artifact(workload.source.kind, Precision.FP32, path, content_hash, size)
        unknown = Source(workload.source.kind, workload.source.reference, content_hash)
    except (HarnessError, OSError) as error:
        trouble = _trouble(Stage.IDENTIFY, error, workload.source.reference)
    selections = None
    try:
        form = catalog.labels(workload.task)
        selections = datasets.resolve(workload.data.spec(), base, form) if workload.data else None
    except (HarnessError, OSError, ValueError) as error:
        trouble = trouble or _trouble(Stage.PREPARE, error, f"the data of {name}")
    return Model(unknown, artifact, task, place, selections, trouble)


def _trouble(stage: Stage, error: Exception, what: str) -> Failed:
    if isinstance(error, HarnessError):
        return published(Failed(stage, type(error).__name__, error.message, error.hint))
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    hint = "check the file and its permissions"
    return published(Failed(stage, type(error).__name__, f"{what} cannot be read: {message}", hint))


def _check_trust(source: SourceModel) -> None:
    if source.pickled and not source.trust:
        hint = "add `trust: true` to the source if you know where the file comes from"
        raise DataError(f"{source.reference} is a pickle, which runs code when it is opened", hint)


def _locate(name: str, source: SourceModel, base: Path, workshop: Workshop, exporters: Exporters) -> Path:
    description = source.description()
    if description is not None:
        folder = workshop.scratch / "sources"
        folder.mkdir(parents=True, exist_ok=True)
        if "path" in description:
            description["path"] = [str((base / place).absolute()) for place in description["path"]]
        if description["weights"] and description["weights"] != PRETRAINED:
            description["weights"] = str((base / description["weights"]).absolute())
        file = folder / f"{name}.json"
        file.write_text(json.dumps(description, sort_keys=True), encoding="utf-8")
        return file
    path = base / Path(source.reference).expanduser()
    if path.exists():
        return path.absolute()
    return _fetched(source, workshop, exporters)


def _fetched(source: SourceModel, workshop: Workshop, exporters: Exporters) -> Path:
    """Have the vendor's own download bring the source into the cache."""
    key = digest({"format": source.kind, "reference": source.reference})
    entry = workshop.cache.get("sources", key)
    if entry is None:

        def make(folder: Path) -> Mapping[str, Any]:
            for exporter in exporters.of_source(source.kind):
                if not exporters.overrides(exporter.name, "fetch"):
                    continue
                job = jobs.FetchJob(exporter.target, source.reference, folder)
                place = exporters.place(exporter.name, workshop)
                answer = in_child("fetch", job, jobs.TextAnswer, place, exporter.name)
                if isinstance(answer, jobs.TextAnswer) and answer.text:
                    return {"file": str(Path(answer.text).relative_to(folder))}
                if isinstance(answer, Failed):
                    raise DataError(answer.message, answer.hint)
                if isinstance(answer, Skipped):
                    raise DataError(answer.reason, answer.hint)
            hint = "check the path in the suite; relative ones are looked for beside the suite, then where you are"
            raise DataError(f"{source.reference} does not exist", hint)

        entry = workshop.cache.put("sources", key, make)
    return entry.content / str(entry.meta["file"])


def _identify(source: SourceModel, path: Path, workshop: Workshop, exporters: Exporters) -> str:
    for exporter in exporters.of_source(source.kind):
        if not exporters.overrides(exporter.name, "identify"):
            continue
        job = jobs.IdentifyJob(exporter.target, path)
        place = exporters.place(exporter.name, workshop)
        answer = in_child("identify", job, jobs.TextAnswer, place, exporter.name)
        if isinstance(answer, jobs.TextAnswer) and answer.text:
            return answer.text
        if isinstance(answer, Failed):
            raise DataError(f"{source.reference}: {answer.message}", answer.hint)
        if isinstance(answer, Skipped):
            raise DataError(f"{source.reference}: {answer.reason}", answer.hint)
    return hash_tree(path)[0]
