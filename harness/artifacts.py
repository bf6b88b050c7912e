"""From a source to an artifact that an engine loads: the shortest route of exporters, each step cached."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness import codec, jobs, process, registry
from harness.cache import Cache, hash_tree
from harness.engine import Calibration, Exporter, ExportSpec
from harness.errors import HarnessError
from harness.settings import differing
from harness.vocabulary import Artifact, Failed, Precision, Skipped, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.vocabulary import Format

_KIND = "artifacts"
_ASK_S = 60.0  # for another environment to say what it holds
_DEEP = 3  # folders of a cache below that of its kind, down to the content of an entry


@dataclass(frozen=True)
class ExportStep:
    """One exporter on a route and the precision asked of it."""

    name: str
    target: str  # module:attribute
    precision: Precision
    calibrated: bool
    versions: Mapping[str, str]
    code: str = ""  # hash of the exporter's own source: a mended exporter must not be answered from an old cache
    bound: bool = False  # what it makes runs only on a machine and device like these
    interpreter: str = ""  # the Python of the exporter's own environment; empty: this one
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of its options


@dataclass(frozen=True)
class Route:
    """The steps from a source format to a format that an engine loads; none where it loads the source itself."""

    steps: tuple[ExportStep, ...]
    format: str

    @property
    def calibrated(self) -> bool:
        """Whether some step needs calibration images."""
        return any(step.calibrated for step in self.steps)

    @property
    def bound(self) -> bool:
        """Whether some step makes what runs only on a machine and device like these, and may be built several times."""
        return any(step.bound for step in self.steps)

    @property
    def exporters(self) -> tuple[str, ...]:
        """The name of each step's exporter."""
        return tuple(step.name for step in self.steps)

    @property
    def defaults(self) -> dict[str, Mapping[str, Any]]:
        """The options of each step's exporter with the values that they have when left out."""
        return {step.name: step.defaults for step in self.steps}

    def at_device(self, source: Format) -> tuple[Route, Route]:
        """Return the way from a source up to the first step that is bound, and the way on: none where no step is."""
        first = next((place for place, step in enumerate(self.steps) if step.bound), len(self.steps))
        middle = registry.exporter(self.steps[first - 1].target).target if first else source
        return Route(self.steps[:first], middle), Route(self.steps[first:], self.format)


@dataclass(frozen=True)
class Request:
    """What is asked of every step of a route."""

    batch: int
    shape: tuple[int, ...]
    options: Mapping[str, Mapping[str, Any]]  # by exporter name
    calibration: Calibration | None = None
    seed: int = 0
    device: str = "cpu"
    build: int = 0


class Exporters:
    """Every exporter that is registered here, with what it lacks."""

    def __init__(
        self,
        registered: Iterable[registry.Registered] | None = None,
        interpreters: Mapping[str, str] = MappingProxyType({}),
        *,
        bound_here: bool = True,
    ) -> None:
        """``interpreters``: the Python of each exporter that lives in another environment, by name.

        Not ``bound_here``: from the first step on that is bound to a device, another machine does the rest; what that
        takes is looked for there, by ``here``.
        """
        self._interpreters = interpreters
        self._bound_here = bound_here
        offered = registry.registered(registry.EXPORTERS_GROUP).values() if registered is None else registered
        self._known: list[tuple[registry.Registered, Exporter]] = []
        self.broken: dict[str, str] = {}
        for entry in offered:
            try:
                self._known.append((entry, registry.exporter(entry.target)))
            except HarnessError as error:
                self.broken[entry.name] = error.message

    @property
    def names(self) -> tuple[str, ...]:
        """Every exporter that is registered, those that are broken too."""
        return tuple(sorted({entry.name for entry, _ in self._known} | self.broken.keys()))

    def place(self, name: str, workshop: Workshop) -> Workshop:
        """Return the workshop with the Python of the exporter's own environment, where it has one."""
        interpreter = self._interpreters.get(name)
        return replace(workshop, interpreter=interpreter) if interpreter else workshop

    def of_source(self, source: Format) -> tuple[registry.Registered, ...]:
        """Return the exporters that read a format."""
        return tuple(entry for entry, exporter in self._known if exporter.source == source)

    def begins(self, source: Format) -> bool:
        """Whether a route may begin at a format: some exporter reads it and none makes it.

        What an exporter makes has a boundary of named inputs beside its file, which a user's file does not bring.
        """
        made = {exporter.target for _, exporter in self._known}
        return source not in made and any(exporter.source == source for _, exporter in self._known)

    def overrides(self, name: str, method: str) -> bool:
        """Whether an exporter has a way of its own to ``identify`` or ``fetch`` a source."""
        found = next(exporter for entry, exporter in self._known if entry.name == name)
        return getattr(type(found), method) is not getattr(Exporter, method)

    def route(self, source: Format, formats: Sequence[Format], precision: Precision) -> Route | Skipped:
        """Return the shortest route to the best of ``formats`` at ``precision``, or why there is none.

        The precision changes once, from FP32; steps after that carry it over. Of routes of one length that in the
        engine's best format wins.
        """
        best: Route | None = None
        missing: Skipped | None = None
        for wanted in formats:
            found, lack = self._search(source, wanted, precision)
            missing = missing or lack
            if found is not None and (best is None or len(found.steps) < len(best.steps)):
                best = found
        if best is not None:
            return best
        if missing is not None:
            return missing
        targets = " or ".join(formats)
        reason = f"no exporter leads from {source} to {targets} at {precision.value}"
        others = [each.value for each in Precision if any(self._search(source, wanted, each)[0] for wanted in formats)]
        hint = f"there is one at {', '.join(others)}" if others else "give the model in another form, such as ONNX"
        return Skipped(reason, hint)

    def here(self, route: Route) -> Route | Skipped:
        """Return a route that another machine found with the versions, code and interpreters that its steps have here.

        They are part of what an artifact is known by: one that was built by another version is no answer.
        """
        known = {entry.name: (entry, exporter) for entry, exporter in self._known}
        steps = []
        for step in route.steps:
            if step.name not in known:
                reason = self.broken.get(step.name, f"no exporter is called {step.name!r} here")
                return Skipped(reason, "install the distribution that offers it")
            entry, exporter = known[step.name]
            interpreter = self._interpreters.get(entry.name, "")
            versions, absent = _versions(exporter, interpreter)
            if absent:
                return _lacking(entry.name, exporter, absent)
            code = code_of(exporter)
            steps.append(replace(step, target=entry.target, versions=versions, code=code, interpreter=interpreter))
        return Route(tuple(steps), route.format)

    def _search(self, source: Format, wanted: Format, precision: Precision) -> tuple[Route | None, Skipped | None]:
        start, goal = (source, Precision.FP32), (wanted, precision)
        queue: deque[tuple[tuple[Format, Precision], tuple[ExportStep, ...]]] = deque([(start, ())])
        seen = {start}
        lack: Skipped | None = None
        while queue:
            (format_, reached), steps = queue.popleft()
            if (format_, reached) == goal:
                return Route(steps, wanted), None
            for entry, exporter in self._known:
                if exporter.source != format_:
                    continue
                changes = reached is Precision.FP32
                for given in sorted(exporter.precisions if changes else exporter.keeps & {reached}):
                    node = (exporter.target, given)
                    if node in seen or given not in (Precision.FP32, precision):
                        continue
                    interpreter = self._interpreters.get(entry.name, "")
                    there = not self._bound_here and (exporter.bound or any(step.bound for step in steps))
                    versions, absent = ({}, "") if there else _versions(exporter, interpreter)
                    if absent:
                        lack = lack or _lacking(entry.name, exporter, absent)
                        continue
                    seen.add(node)
                    step = ExportStep(
                        entry.name,
                        entry.target,
                        given,
                        changes and given in exporter.calibrated,
                        versions,
                        code_of(exporter),
                        exporter.bound,
                        interpreter,
                        codec.encode(exporter.defaults),
                    )
                    queue.append((node, (*steps, step)))
        return None, lack


def _lacking(name: str, exporter: Exporter, absent: str) -> Skipped:
    reason = f"the exporter {name} needs {absent}, which is not installed"
    return Skipped(reason, exporter.install or f"pip install {absent}")


def _versions(exporter: Exporter, interpreter: str) -> tuple[dict[str, str], str]:
    """Return the versions of an exporter's distributions, or the first that is not installed."""
    found = _installed(interpreter, tuple(exporter.distributions))
    absent = next((name for name in exporter.distributions if name not in found), "")
    return ({}, absent) if absent else (found, "")


@functools.cache
def _installed(interpreter: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those distributions that an environment holds; none where it cannot be asked."""
    if not interpreter:
        return {name: version for name in names if (version := _version(name))}
    program = (
        "import json, sys\nfrom importlib import metadata\n"
        "held = {d.name.lower().replace('_', '-'): d.version for d in metadata.distributions()}\n"
        "print(json.dumps({n: held[n.lower().replace('_', '-')] for n in sys.argv[1:] "
        "if n.lower().replace('_', '-') in held}))"
    )
    try:
        command = [interpreter, "-c", program, *names]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASK_S)
        return dict(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def code_of(adapter: object) -> str:
    """Return the hash of an adapter's module and of what it imports from its own top-level package.

    A base class in another module counts as well. Empty where the source cannot be read.
    """
    sources: dict[str, str] = {}
    for kind in type(adapter).__mro__:
        if kind.__module__.partition(".")[0] not in {"builtins", "abc", "harness"}:
            _gather(kind.__module__, sources)
    return digest(sources) if sources else ""


def _gather(name: str, sources: dict[str, str]) -> None:
    """Add the source of a module and of its neighbours, by name; a module is looked up, not imported."""
    try:
        spec = importlib.util.find_spec(name)
        if name in sources or spec is None or spec.origin is None:
            return
        sources[name] = Path(spec.origin).read_text(encoding="utf-8")
        tree = ast.parse(sources[name])
    except (ImportError, OSError, SyntaxError, ValueError):
        return
    package = spec.name if spec.submodule_search_locations else spec.parent or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(module, package) if node.level else module
            found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for each in found:
            if each.partition(".")[0] == name.partition(".")[0]:
                _gather(each, sources)


@dataclass(frozen=True)
class Workshop:
    """Where things are made by children: the cache, folders for scratch and logs, how long one may take, in what."""

    cache: Cache
    scratch: Path
    logs: Path
    timeout_s: float
    interpreter: str = sys.executable
    remedy: str = "make the model or the data smaller: this limit is fixed"  # what helps against the timeout
    cpus: tuple[int, ...] | None = None  # the processors that children are kept on; ``None``: any
    bindings: dict[tuple[str, str], Mapping[str, str] | Failed | Skipped] = field(default_factory=dict)
    """What each bound exporter said of a device, asked once."""

    def ensure(self, source: Artifact, route: Route, request: Request) -> Artifact | Failed | Skipped:
        """Return the artifact at the end of the route, from the cache or made now, or why it cannot be had."""
        artifact = source
        for step in route.steps:
            made = self._step(artifact, step, request)
            if not isinstance(made, Artifact):
                return made
            artifact = made
        return artifact

    def root(self, artifact: Artifact) -> Path:
        """Return the file or folder of all that an artifact is made of: more than what the engine is pointed at."""
        made = self.cache.root / _KIND
        if not artifact.path.is_relative_to(made):
            return artifact.path
        return made.joinpath(*artifact.path.relative_to(made).parts[:_DEEP])

    def _step(self, source: Artifact, step: ExportStep, request: Request) -> Artifact | Failed | Skipped:
        calibration = request.calibration if step.calibrated else None
        spec = ExportSpec(
            precision=step.precision,
            batch=request.batch,
            shape=request.shape,
            calibration=calibration,
            options=differing(request.options.get(step.name, {}), step.defaults),
            seed=request.seed,
            device=request.device if step.bound else "cpu",
            build=request.build if step.bound else 0,
        )
        binding = self._binding(step, request.device) if step.bound else None
        if isinstance(binding, Failed | Skipped):
            return binding
        key = digest(
            {
                **(
                    {"binding": dict(binding), "device": spec.device, "build": spec.build}
                    if binding is not None
                    else {}
                ),
                "form": sorted(each.name for each in fields(Artifact)),  # an entry of another version is no answer
                "input": source.content_hash,
                "boundary": codec.encode((source.format, source.inputs, source.outputs)),
                "exporter": step.name,
                "code": step.code,
                "versions": dict(step.versions),
                "precision": step.precision.value,
                "batch": spec.batch,
                "shape": list(spec.shape),
                "calibration": calibration.content_hash if calibration else None,
                "options": dict(spec.options),
                "seed": spec.seed if calibration else 0,
            }
        )
        entry = self.cache.get(_KIND, key)
        if entry is None:
            failure: list[Failed | Skipped] = []
            try:
                entry = self.cache.put(_KIND, key, lambda folder: self._make(source, step, spec, folder, failure))
            except _NotMadeError:
                return failure[0]
        artifact = codec.decode(Artifact, entry.meta["artifact"])
        return replace(artifact, path=entry.content / artifact.path)

    def _binding(self, step: ExportStep, device: str) -> Mapping[str, str] | Failed | Skipped:
        asked = (step.target, device)
        if asked not in self.bindings:
            job = jobs.BindingJob(step.target, device)
            answer = in_child("binding", job, jobs.BindingAnswer, self._of(step), step.name)
            self.bindings[asked] = answer.facts if isinstance(answer, jobs.BindingAnswer) else _named(answer, step.name)
        return self.bindings[asked]

    def _make(
        self, source: Artifact, step: ExportStep, spec: ExportSpec, folder: Path, failure: list[Failed | Skipped]
    ) -> Mapping[str, Any]:
        started_ns = time.monotonic_ns()
        job = jobs.ExportJob(step.target, source, spec, folder)
        answer = in_child("export", job, jobs.ExportAnswer, self._of(step), step.name)
        if not isinstance(answer, jobs.ExportAnswer):
            failure.append(_named(answer, step.name))
            raise _NotMadeError
        # All of the folder: the entry may be one file of several, as OpenVINO's graph is without its weights.
        content_hash, size = hash_tree(folder)
        artifact = Artifact(
            format=self._target(step),
            precision=step.precision,
            path=Path(answer.entry),
            content_hash=content_hash,
            size_bytes=size,
            inputs=answer.inputs,
            outputs=answer.outputs,
            exporter=step.name,
            versions={**source.versions, **answer.versions},
            route=(*source.route, step.name),
            notes=(*source.notes, *answer.notes),
            export_ns=source.export_ns + time.monotonic_ns() - started_ns,
        )
        return {"artifact": codec.encode(artifact)}

    def _of(self, step: ExportStep) -> Workshop:
        return replace(self, interpreter=step.interpreter) if step.interpreter else self

    @staticmethod
    def _target(step: ExportStep) -> str:
        return registry.exporter(step.target).target


class _NotMadeError(Exception):
    """The child refused; what it said was kept aside."""


def _named(answer: Failed | Skipped, name: str) -> Failed | Skipped:
    if isinstance(answer, Failed):
        return replace(answer, message=f"{name}: {answer.message}")
    return replace(answer, reason=f"{name}: {answer.reason}")


def in_child(
    kind: str, job: object, answer: type[process.Answer], workshop: Workshop, label: str
) -> process.Answer | Failed | Skipped:
    """Have a worker do ``job`` in a scratch folder that is removed afterwards; ``label`` is part of its log's name."""
    workshop.scratch.mkdir(parents=True, exist_ok=True)
    workshop.logs.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=workshop.scratch))
    log = workshop.logs / f"{kind}-{label}.log"
    try:
        child = process.Child(
            scratch, log, workshop.timeout_s, workshop.interpreter, remedy=workshop.remedy, cpus=workshop.cpus
        )
        return process.call(kind, job, child, answer)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
