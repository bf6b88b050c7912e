"""What the two sides of an A/B comparison are, before they are looked at: two environments, or two revisions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import arms, environments, registry, revisions, suite
from harness import survey as surveying
from harness.arms import Kind, NothingToCompare
from harness.cli import ab_model
from harness.errors import HarnessError
from harness.suite_model import Excluded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.arms import Arm
    from harness.artifacts import Workshop
    from harness.engine import Engine
    from harness.environments import Installed
    from harness.suite import Suite


@dataclass(frozen=True)
class Request:
    """What is compared, on what, for how long; kept with the run, so that it can be resumed."""

    base: str
    head: str
    suite: str = ""  # a file, or the name of one that ships
    model: str = ""  # an ONNX file, where there is no suite
    shape: tuple[int, ...] = ()  # of the model's input
    engine: str = ""
    precisions: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    launches: int | None = None
    minutes: float | None = None
    refresh: bool = False


@dataclass(frozen=True)
class Found:
    """One side: a suite, the folder that its paths start from, and what its environment is."""

    arm: Arm
    suite: Suite
    folder: Path
    text: str  # of the suite
    engines: tuple[str, ...]  # that are compared
    environment: Mapping[str, Any] = field(default_factory=dict)
    again: str = ""  # how the same side is written when the run is resumed


@dataclass(frozen=True)
class Around:
    """What sides are found with."""

    engines: Mapping[str, Engine]  # every one whose adapter can be made
    workshop: Workshop
    told: Callable[[str], None]


def of_environments(request: Request, base: Arm, head: Arm, around: Around) -> tuple[Found, Found]:
    """Return two environments, with one suite for both; those of requirements are made.

    Raises ``HarnessError``, of which ``NothingToCompare`` where two requirements came to the same.
    """
    pair = (base, head)
    engine = _engine(request, pair, around.engines)
    loaded, folder, text = _loaded(request, engine, around.workshop)
    compared = (engine,) if engine else surveying.named_engines(loaded)
    narrowed = _narrowed(loaded, engine) if engine else loaded
    held = _held(request, pair, engine, around)
    _check_different(pair, held)
    names = (*compared, *_bound_exporters(around.engines, compared))
    found = []
    for arm, mine, other in zip(pair, held, reversed(held), strict=True):
        interpreters = {**narrowed.interpreters, **dict.fromkeys(names, mine.interpreter)}
        own = narrowed.model_copy(update={"interpreters": interpreters})
        differing = {name: version for name, version in mine.versions.items() if other.versions.get(name) != version}
        environment = {"python": mine.python, "versions": differing}
        again = " ".join(arm.requirements) or arm.interpreter
        found.append(Found(arm, own, folder, text, compared, environment, again))
    return found[0], found[1]


@contextmanager
def of_revisions(request: Request, base: Arm, head: Arm) -> Iterator[tuple[Found, Found]]:
    """Yield two revisions of the suite's repository, checked out as long as this lasts, each with its own suite.

    Raises ``HarnessError``, of which ``NothingToCompare`` where both are one commit under two names.
    """
    if not request.suite:
        message = f"{base.said} and {head.said} are neither requirements nor interpreters"
        raise HarnessError(f"{message}, and without a suite there is no repository", arms.FORMS)
    path = suite.find(request.suite).resolve()
    repository = revisions.repository_of(path.parent).resolve()
    place = path.relative_to(repository)
    commits = tuple(revisions.resolved(repository, arm.written) for arm in (base, head))
    if commits[0] == commits[1] and base.written != head.written:
        hint = "the same revision given twice measures how much two equal sides differ here"
        raise NothingToCompare(f"{base.written} and {head.written} are one commit: nothing to compare", hint)
    with revisions.checked_out(repository, commits) as folders:
        found = []
        for arm, commit, folder in zip((base, head), commits, folders, strict=True):
            file = folder / place
            if not file.is_file():
                raise HarnessError(f"{arm.said} has no {place}", "both revisions need the suite")
            loaded = suite.load(file, request.overrides)
            if request.engine:
                registry.named(registry.ENGINES_GROUP, request.engine)
                loaded = _narrowed(loaded, request.engine)
            environment = {"revision": {"sha": commit, "dirty": False}}
            text, engines = file.read_text(encoding="utf-8"), surveying.named_engines(loaded)
            found.append(Found(arm, loaded, file.parent, text, engines, environment, commit))
        yield found[0], found[1]


def _engine(request: Request, pair: tuple[Arm, Arm], engines: Mapping[str, Engine]) -> str:
    """Return the engine that is compared; empty for two interpreters, each with every engine of the suite."""
    if request.engine:
        registry.named(registry.ENGINES_GROUP, request.engine)
        return request.engine
    brought = {arms.engine_of(arm, engines): arm for arm in pair if arm.kind is Kind.REQUIREMENT}
    if len(brought) > 1:
        words = " and ".join(f"{arm.said} brings {name}" for name, arm in brought.items())
        raise HarnessError(f"{words}: these are two engines", "`harness run` compares engines, in one suite")
    if not brought and request.model:
        raise HarnessError("two interpreters do not say which engine is compared", "name it: --engine onnxruntime")
    return next(iter(brought), "")


def _loaded(request: Request, engine: str, workshop: Workshop) -> tuple[Suite, Path, str]:
    """Return the suite, the folder that its paths start from, and its text."""
    if request.suite:
        path = suite.find(request.suite)
        return suite.load(path, request.overrides), path.absolute().parent, path.read_text(encoding="utf-8")
    model = Path(request.model).expanduser()
    text = ab_model.suite_text(model, engine, request.precisions, request.shape)
    workshop.scratch.mkdir(parents=True, exist_ok=True)
    file = workshop.scratch / "model.yaml"
    file.write_text(text, encoding="utf-8")
    return suite.load(file, request.overrides), Path.cwd(), text


def _narrowed(loaded: Suite, engine: str) -> Suite:
    """Return a suite with the cells of one engine alone. Raises ``HarnessError`` where it has none."""
    named = surveying.named_engines(loaded)
    if engine not in named:
        hint = f"--set 'matrix.engine=[{engine}]' puts it in the others' place"
        raise HarnessError(f"the suite measures {', '.join(named)}, nothing of it with {engine}", hint)
    others = tuple(name for name in named if name != engine)
    if not others:
        return loaded
    if engine not in loaded.matrix.engine:  # some entry of ``include`` names it, which takes the rest from the matrix
        return loaded.model_copy(update={"exclude": (*loaded.exclude, Excluded(engine=others))})
    include = [
        entry if entry.engine is None else entry.model_copy(update={"engine": (engine,)})
        for entry in loaded.include
        if entry.engine is None or engine in entry.engine
    ]
    matrix = loaded.matrix.model_copy(update={"engine": (engine,)})
    return loaded.model_copy(update={"matrix": matrix, "include": tuple(include)})


def _held(request: Request, pair: tuple[Arm, Arm], engine: str, around: Around) -> tuple[Installed, Installed]:
    """Return what each side's environment holds, made where it is one of requirements."""
    found: dict[str, Installed] = {}
    for arm in pair:
        if arm.written in found:
            continue
        if arm.kind is Kind.INTERPRETER:
            found[arm.written] = environments.installed(arm.interpreter)
            continue
        target = registry.named(registry.ENGINES_GROUP, engine).target
        also = arms.companions(arm, registry.engine(target))
        wanted = environments.Wanted((*arm.requirements, *also), packages=environments.packages_of([target]))
        root = around.workshop.cache.root / environments.FOLDER
        try:
            found[arm.written] = environments.environment(wanted, root, around.told, refresh=request.refresh)
        except HarnessError as error:
            raise HarnessError(f"{arm.name}: {error.message}", error.hint) from error
    return found[pair[0].written], found[pair[1].written]


def _check_different(pair: tuple[Arm, Arm], held: tuple[Installed, Installed]) -> None:
    """Raise ``NothingToCompare`` where two requirements came to the same; the same one twice is meant so."""
    base, head = pair
    if base.kind is not Kind.REQUIREMENT or head.kind is not Kind.REQUIREMENT or base.requirements == head.requirements:
        return
    if any(each.endswith(".whl") or "@" in each for arm in pair for each in arm.requirements):
        return  # builds of one version may differ
    if held[0].versions == held[1].versions:
        what = ", ".join(f"{name} {held[1].versions.get(name, '')}".strip() for name in head.distributions)
        hint = "the same requirement given twice measures how much two equal sides differ here"
        raise NothingToCompare(f"{base.written} and {head.written} are both {what}: nothing to compare", hint)


def _bound_exporters(engines: Mapping[str, Engine], compared: Sequence[str]) -> Iterator[str]:
    """Yield the exporters whose artifacts a side has to build for itself: its own version alone loads them."""
    formats = {each for name in compared if name in engines for each in engines[name].formats}
    for name, entry in registry.registered(registry.EXPORTERS_GROUP).items():
        try:
            exporter = registry.exporter(entry.target)
        except HarnessError:
            continue
        if exporter.bound and exporter.target in formats:
            yield name
