"""Everything that launches need, made once and cached: artifacts, inputs, calibration tensors, reference outputs."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import codec, jobs, process, registry
from harness.artifacts import Exporters, Request, Route, code_of, in_child
from harness.cache import hash_tree
from harness.engine import Calibration
from harness.errors import Unsupported
from harness.runner import Bench
from harness.vocabulary import (
    Artifact,
    EngineFacts,
    Failed,
    Goal,
    Level,
    Precision,
    Skipped,
    Stage,
    digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.artifacts import Workshop
    from harness.engine import Engine
    from harness.survey import Model, Survey
    from harness.tasks.datasets import DataSet
    from harness.vocabulary import Cell

ROTATED_INPUTS = 64
"""Inputs in rotation, where the data set has as many: one input repeated measures the cache."""
MAXIMUM_ROTATED_BYTES = 512 * 1024 * 1024
REFERENCE_BATCHES = 4

T = Artifact | Failed | Skipped
_Bench = Bench | Failed | Skipped


@dataclass(frozen=True)
class Settings:
    """What the suite says about making things."""

    builds: int = 1  # of artifacts that are bound to their device
    export: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by exporter, for every cell
    interpreters: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    timeout_s: float = 600.0  # of a launch; a reference is a short one
    bound_here: bool = True  # whether what is bound to a device is made on this machine


@dataclass(frozen=True)
class Portable:
    """What the launches of a variant need on any machine, and what is left to be built on the one with its device."""

    bench: Bench  # its artifact is whole, or what the steps make that no device is needed for
    route: Route  # what is left to do with it; no steps where it is whole
    builds: tuple[Request, ...]  # what is asked of that route, once for each build
    places: Mapping[str, Path]  # of the user's code, by the name that the task gives it


class Preparer:
    """Makes benches for variants; what several variants share is made once."""

    def __init__(self, survey: Survey, workshop: Workshop, settings: Settings, told: Callable[[str], None]) -> None:
        """Take a survey; ``told`` is called with a word about each thing before it is made."""
        self._survey = survey
        self._workshop = workshop
        self._settings = settings
        self._told = told
        self._here = Exporters(interpreters=settings.interpreters)
        self._exporters = (
            self._here if settings.bound_here else Exporters(interpreters=settings.interpreters, bound_here=False)
        )
        # What failed is not tried again for the next variant: an export may take its full timeout to fail.
        self._artifacts: dict[str, T] = {}
        self._prepared: dict[str, jobs.Inputs | Failed | Skipped] = {}
        self._references: dict[str, Path | Failed | Skipped] = {}

    def bench(self, cell: Cell) -> Bench | Failed | Skipped:
        """Return what the launches of a cell's variant need, or why it cannot be had."""
        trouble, engine = self._survey.models[cell.workload].trouble, self._survey.engines[cell.engine]
        if trouble is None and not isinstance(engine, EngineFacts):
            return engine
        return self._around(cell, self._builds)

    def portable(self, cell: Cell) -> Portable | Failed | Skipped:
        """Return what another machine needs for the launches of a cell's variant; its engine need not be had here."""
        bench = self._around(cell, self._begun)
        if not isinstance(bench, Bench):
            return bench
        model, route = self._survey.models[cell.workload], self._route(cell)
        if not isinstance(route, Route):
            return route
        _, after = route.at_device(model.source.format)
        request = self._request(cell, after, 0)
        if not isinstance(request, Request):
            return request
        builds = tuple(replace(request, build=build) for build in range(self._settings.builds)) if after.steps else ()
        return Portable(bench, after, builds, {name: Path(place) for name, place in model.task_place.items()})

    def _around(self, cell: Cell, made: Callable[[Cell], tuple[Artifact, ...] | Failed | Skipped]) -> _Bench:
        """Return the bench with what ``made`` gives as its builds."""
        model = self._survey.models[cell.workload]
        if model.trouble is not None:
            return model.trouble
        inputs = self._inputs(model, cell.shape)
        if not isinstance(inputs, jobs.Inputs):
            return inputs
        builds = made(cell)
        if not isinstance(builds, tuple):
            return builds
        reference = self._reference(model, cell, inputs)
        if not isinstance(reference, Path):
            return reference
        evaluated = model.selections.evaluate if model.selections else None
        return Bench(
            engine=self._survey.registered[cell.engine].target,
            artifact=builds[0],
            rebuilt=builds[1:],
            inputs=inputs,
            reference=reference,
            items=_items(evaluated.items) if evaluated else (),
            classes={str(key): value for key, value in evaluated.classes.items()} if evaluated else {},
        )

    def _begun(self, cell: Cell) -> tuple[Artifact] | Failed | Skipped:
        """Return the artifact as far as it is made without its device."""
        route = self._route(cell)
        if not isinstance(route, Route):
            return route
        before, _ = route.at_device(self._survey.models[cell.workload].source.format)
        made = self._kept_artifact(cell, before, 0)
        return (made,) if isinstance(made, Artifact) else made

    def _artifact(self, cell: Cell, build: int = 0) -> T:
        """Return the model of a cell's workload as its engine takes it at its precision and settings, all made here."""
        route = self._route(cell, self._here)
        return self._kept_artifact(cell, route, build) if isinstance(route, Route) else route

    def _kept_artifact(self, cell: Cell, route: Route, build: int) -> T:
        export = {name: cell.export[name] for name in route.exporters if name in cell.export}
        about = [cell.workload, codec.encode(route), cell.batch, export, cell.device if route.bound else "", build]
        key = digest(about)
        if key not in self._artifacts:
            self._artifacts[key] = self._made_artifact(cell, route, build)
        return self._artifacts[key]

    def _route(self, cell: Cell, exporters: Exporters | None = None) -> Route | Skipped:
        """Return the way to what a cell loads, as it goes for the launches; that of references is all done here."""
        engine = registry.engine(self._survey.registered[cell.engine].target)
        try:
            formats, precision = wanted(engine, cell.precision, cell.options)
        except Unsupported as error:
            return Skipped(error.message, error.hint)
        source = self._survey.models[cell.workload].source.format
        return (exporters or self._exporters).route(source, formats, precision)

    def _made_artifact(self, cell: Cell, route: Route, build: int) -> T:
        model = self._survey.models[cell.workload]
        request = self._request(cell, route, build)
        if not isinstance(request, Request):
            return request
        again = f", build {build + 1}" if build else ""
        self._told(f"{model.source.reference} → {route.format} {cell.precision.value} for {cell.engine}{again}")
        return self._workshop.ensure(model.artifact, route, request)

    def _request(self, cell: Cell, route: Route, build: int) -> Request | Failed | Skipped:
        """Return what is asked of the steps of a route, with calibration tensors where one of them needs any."""
        calibration = None
        if route.calibrated:
            made = self._calibration(self._survey.models[cell.workload], cell.shape)
            if not isinstance(made, Calibration):
                return made
            calibration = made
        return Request(
            cell.batch, cell.shape, cell.export, calibration, self._settings.seed, device=cell.device, build=build
        )

    def _builds(self, cell: Cell) -> tuple[Artifact, ...] | Failed | Skipped:
        """Return the artifact, and its further builds where it is bound to its device."""
        route = self._route(cell)
        if not isinstance(route, Route):
            return route
        made = []
        for build in range(self._settings.builds if route.bound else 1):
            artifact = self._artifact(cell, build)
            if not isinstance(artifact, Artifact):
                return artifact
            made.append(artifact)
        return tuple(made)

    def _calibration(self, model: Model, shape: tuple[int, ...]) -> Calibration | Failed | Skipped:
        images = model.selections.calibrate if model.selections else None
        if images is None:
            return Skipped("it is calibrated on images, and the workload selects none", "add `calibrate:` to its data")
        made = self._tensors(model, images, shape, "calibration images")
        if not isinstance(made, jobs.Inputs):
            return made
        return Calibration(made.path / "inputs.npy", made.content_hash, made.count)

    def _inputs(self, model: Model, shape: tuple[int, ...]) -> jobs.Inputs | Failed | Skipped:
        images = model.selections.evaluate if model.selections else None
        return self._tensors(model, images, shape, "inputs", rotate=True)

    def _tensors(
        self, model: Model, images: DataSet | None, shape: tuple[int, ...], what: str, *, rotate: bool = False
    ) -> jobs.Inputs | Failed | Skipped:
        one = 4
        for size in shape:
            one *= size
        count = min(ROTATED_INPUTS, max(1, MAXIMUM_ROTATED_BYTES // one))
        items = (images.items[:count] if rotate else images.items) if images else ()
        key = digest(
            {
                "task": dict(model.task),
                "code": _code_of_tasks(),
                "decoder": metadata.version("pillow"),
                "shape": list(shape),
                "images": [item.sha256 for item in items],
                "drawn": None if items else [count, self._settings.seed],
            }
        )
        if key not in self._prepared:
            self._prepared[key] = self._made_tensors(model, items, shape, what, key, count)
        return self._prepared[key]

    def _made_tensors(
        self, model: Model, items: Sequence[Any], shape: tuple[int, ...], what: str, key: str, count: int
    ) -> jobs.Inputs | Failed | Skipped:
        entry = self._workshop.cache.get("inputs", key)
        if entry is None:
            refused: list[Failed | Skipped] = []

            def make(folder: Path) -> Mapping[str, Any]:
                self._told(f"{what} of {model.source.reference}: {len(items) or count} tensors")
                task = {**model.task, **model.task_place}
                job = jobs.PrepareJob(task, shape, _items(items), count, self._settings.seed, folder)
                answer = in_child("prepare", job, jobs.PrepareAnswer, self._workshop, what.replace(" ", "-"))
                if not isinstance(answer, jobs.PrepareAnswer):
                    refused.append(answer)
                    raise _RefusedError
                return {"content_hash": answer.content_hash, "count": answer.count}

            try:
                entry = self._workshop.cache.put("inputs", key, make)
            except _RefusedError:
                return refused[0]
        return jobs.Inputs(entry.content, entry.meta["content_hash"], entry.meta["count"])

    def _reference(self, model: Model, cell: Cell, inputs: jobs.Inputs) -> Path | Failed | Skipped:
        """Return the FP32 outputs of the engine nearest to the source: the shortest route, then by name."""
        key = digest([cell.workload, cell.batch, self._reading(model, cell)])
        if key not in self._references:
            self._references[key] = self._made_reference(model, cell, inputs)
        return self._references[key]

    def _made_reference(self, model: Model, cell: Cell, inputs: jobs.Inputs) -> Path | Failed | Skipped:
        trouble: Failed | Skipped | None = None
        reading = self._reading(model, cell)
        for engine, device in self._nearest(model):
            plain = replace(
                cell, engine=engine, device=device, precision=Precision.FP32, options={}, export=reading, threads=None
            )
            artifact = self._artifact(plain)
            if not isinstance(artifact, Artifact):
                trouble = trouble or artifact
                continue
            made = self._run_reference(engine, device, artifact, inputs, cell.batch)
            if isinstance(made, Path):
                return made
            trouble = trouble or made
        hint = "install an engine that runs it at FP32; `harness doctor` tells which can be had"
        none = Failed(Stage.REFERENCE, "no-reference", "no engine here gives FP32 outputs to verify against", hint)
        return trouble or none

    def _reading(self, model: Model, cell: Cell) -> dict[str, Mapping[str, Any]]:
        """Return what the exporters that read the source are told for a cell: head or signature is theirs to choose.

        What later ones are told, to quantise or to optimise, is not the reference's: it is to be held against it.
        """
        route = self._route(cell)
        through = route.exporters if isinstance(route, Route) else ()
        names = [entry.name for entry in self._exporters.of_source(model.source.format)]
        # What an exporter on the cell's own route is told beside its defaults, the cell says; of others the suite does.
        told = {name: (cell.export if name in through else self._settings.export).get(name) for name in names}
        return {name: options for name, options in told.items() if options}

    def _nearest(self, model: Model) -> Iterable[tuple[str, str]]:
        """Yield engines and devices that execute FP32, those with the shortest route from the source first."""
        found = []
        for name, facts in self._survey.engines.items():
            if not isinstance(facts, EngineFacts):
                continue
            engine = registry.engine(self._survey.registered[name].target)
            try:
                formats, precision = wanted(engine, Precision.FP32, {})
            except Unsupported:
                continue
            route = self._here.route(model.source.format, formats, precision)
            for device in facts.devices:
                support = device.precisions.get(Precision.FP32.value)
                if isinstance(route, Route) and support is not None and support.level is Level.NATIVE:
                    found.append((len(route.steps), name, device.name))
                    break
        return [(name, device) for _, name, device in sorted(found)]

    def _run_reference(
        self, engine: str, device: str, artifact: Artifact, inputs: jobs.Inputs, batch: int
    ) -> Path | Failed | Skipped:
        facts = self._survey.engines[engine]
        version = facts.version if isinstance(facts, EngineFacts) else ""
        target = self._survey.registered[engine].target
        code = code_of(registry.engine(target))
        about = [engine, version, code, device, artifact.content_hash, inputs.content_hash, batch, REFERENCE_BATCHES]
        key = digest({"reference": about})
        entry = self._workshop.cache.get("references", key)
        if entry is None:
            refused: list[Failed | Skipped] = []

            def make(folder: Path) -> Mapping[str, Any]:
                self._told(f"FP32 reference outputs by {engine}")
                session = jobs.SessionSpec(device, Precision.FP32, batch, None, 1, Goal.LATENCY, strict=False)
                job = jobs.ReferenceJob(
                    target,
                    artifact,
                    session,
                    inputs,
                    REFERENCE_BATCHES,
                    folder / "outputs.npz",
                )
                answer = self._in_engine_child(engine, job)
                if not isinstance(answer, jobs.TextAnswer):
                    refused.append(answer)
                    raise _RefusedError
                return {"engine": engine, "version": version}

            try:
                entry = self._workshop.cache.put("references", key, make)
            except _RefusedError:
                return refused[0]
        return entry.content / "outputs.npz"

    def _in_engine_child(self, engine: str, job: jobs.ReferenceJob) -> jobs.TextAnswer | Failed | Skipped:
        place = replace(
            self._workshop,
            timeout_s=min(self._workshop.timeout_s, self._settings.timeout_s),
            interpreter=self._settings.interpreters.get(engine, sys.executable),
            remedy=process.RAISE_TIMEOUT,
        )
        return in_child("reference", job, jobs.TextAnswer, place, engine)


def wanted(engine: Engine, precision: Precision, given: Mapping[str, Any]) -> tuple[tuple[str, ...], Precision]:
    """Return the formats that an engine loads with these settings, best first, and the precision that they hold.

    Raises ``Unsupported`` where the settings fit no artifact at that precision.
    """
    options: Any = codec.decode(engine.options, dict(given))
    return engine.artifact_formats(options), engine.artifact_precision(precision, options)


class _RefusedError(Exception):
    """The child refused; what it said was kept aside."""


def _items(items: Iterable[Any]) -> tuple[jobs.Item, ...]:
    return tuple(jobs.Item(item.path, item.label) for item in items)


@functools.cache
def _code_of_tasks() -> str:
    """Hash the task code: tensors made by other pre-processing must not be found under the same key."""
    hashes = [hash_tree(file)[0] for file in sorted((Path(harness.__file__).parent / "tasks").glob("*.py"))]
    return digest(hashes)
