"""One suite on one machine: survey, plan, prepare and run put together from the layers below."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import codec, durations, jobs, plan, process, registry, runner
from harness import prepare as preparing
from harness import survey as surveying
from harness.artifacts import Exporters, Workshop, in_child
from harness.cache import Cache, default_root
from harness.cli.console import explain
from harness.errors import HarnessError, PlanError
from harness.host import fingerprint, hardware, short_id
from harness.machine_lock import Turns, lock_file
from harness.places import unplaced
from harness.plan import Capability, WorkloadFacts
from harness.policy import PlannedOrder
from harness.prepare import Preparer, Settings
from harness.presets import PRESETS
from harness.scenarios import KINDS
from harness.suite import Suite
from harness.telemetry import sources as telemetry
from harness.vocabulary import EngineFacts, Failed, Plan, Skipped
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.budget import Budget
    from harness.ports import LaunchPolicy
    from harness.survey import Survey
    from harness.vocabulary import Cell

RUNS = Path("runs")
EXPORT_TIMEOUT_S = 1800.0
_RESUME_FILE = "resume.json"
_OVERHEAD_ITERATIONS = 20_000


@dataclass(frozen=True)
class Campaign:
    """A suite with what was found here and the plan that follows from both."""

    suite: Suite
    base: Path  # folder that the suite's relative paths start from
    survey: Survey
    plan: Plan
    workshop: Workshop


@contextmanager
def opened_workshop(timeout_s: float) -> Iterator[Workshop]:
    """Yield a place for exports whose scratch and logs vanish with the command; the cache stays."""
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        yield Workshop(Cache(default_root(os.environ)), Path(scratch) / "scratch", Path(scratch) / "logs", timeout_s)


def look(suite: Suite, base: Path, workshop: Workshop, told: Callable[[str], None]) -> Campaign:
    """Survey and plan. Raises ``HarnessError`` for what no plan can be made of."""
    refused = process.unusable(suite.cpus) if suite.cpus else None
    if refused is not None:
        raise PlanError(refused, process.CHOOSE_CPUS)
    found = surveying.survey(suite, base, workshop, told)
    workloads = workload_facts(suite, found.models)
    exporters = Exporters(interpreters=surveying.interpreters(suite, base))
    made = plan.expand(relevant(suite), workloads, capabilities(found.engines, found.registered), exporters.route)
    return Campaign(suite, base, found, made, workshop)


def relevant(suite: Suite) -> Suite:
    """Return the suite without what it says of engines that exist and are not asked for, as after ``--set``."""
    named = surveying.named_engines(suite)
    idle = registry.registered(registry.ENGINES_GROUP).keys() - set(named)
    kept = {
        key: {engine: value for engine, value in getattr(suite, key).items() if engine not in idle}
        for key in ("options", "configurations")
    }
    return suite.model_copy(update=kept)


def workload_facts(suite: Suite, models: Mapping[str, surveying.Model]) -> dict[str, WorkloadFacts]:
    """Return what a plan needs to know of each workload."""
    return {name: _facts(suite, name, model) for name, model in models.items()}


def _facts(suite: Suite, name: str, model: surveying.Model) -> WorkloadFacts:
    evaluated = model.selections.evaluate if model.selections else None
    calibrated = model.selections.calibrate if model.selections else None
    return WorkloadFacts(
        source=model.source,
        task=model.task,
        shape=suite.workloads[name].input,
        evaluation_hash=evaluated.content_hash if evaluated else None,
        evaluation_images=len(evaluated.items) if evaluated else 0,
        labelled=evaluated is not None and any(item.label is not None for item in evaluated.items),
        calibration_hash=calibrated.content_hash if calibrated else None,
        calibration_images=len(calibrated.items) if calibrated else 0,
        troubled=model.trouble is not None,
    )


def capabilities(
    engines: Mapping[str, EngineFacts | Skipped | Failed], registered: Mapping[str, registry.Registered]
) -> dict[str, Capability]:
    """Return what engines can do, by what their probes said on whatever machine, and by their adapters here."""
    able = {}
    for name, facts in engines.items():
        if isinstance(facts, Failed):
            # What crashed its own process is not imported into this one.
            able[name] = Capability(facts, (), None)
            continue
        engine = registry.engine(registered[name].target)
        able[name] = Capability(facts, engine.formats, engine.options, functools.partial(preparing.wanted, engine))
    return able


def create(campaign: Campaign, root: Path, *, suite_text: str, command: str) -> RunStore:
    """Make the run folder, with everything in its manifest that later readers need, and nobody's paths in it."""
    manifest = described(campaign, suite_text=suite_text, command=command)
    store = RunStore.create(root, manifest)
    resume = {"suite": campaign.suite.resolved(), "base": str(campaign.base.absolute())}
    keep_for_resume(store, resume)
    return store


def keep_for_resume(store: RunStore, facts: Mapping[str, Any]) -> None:
    """Keep beside a run what it takes to go on with it on this machine, places and all."""
    (store.folder / _RESUME_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def kept_for_resume(store: RunStore) -> dict[str, Any]:
    """Return what was kept. Raises ``HarnessError`` where it is not there or cannot be read."""
    try:
        return dict(json.loads((store.folder / _RESUME_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _not_here(store, error) from error


def _not_here(store: RunStore, error: Exception) -> HarnessError:
    hint = "a run is resumed on the machine where it began; elsewhere, run its suite anew"
    return HarnessError(f"{store.folder.name} cannot be resumed: {type(error).__name__}: {error}", hint)


@dataclass(frozen=True)
class Scene:
    """What of a run's manifest is of the machine that it is measured on."""

    plan: Plan
    host: Mapping[str, Any]  # as ``harness.host.fingerprint`` has it
    engines: Mapping[str, EngineFacts | Skipped | Failed]
    telemetry: Mapping[str, Any]
    overhead: Mapping[str, float | str]


def described(campaign: Campaign, *, suite_text: str, command: str) -> dict[str, Any]:
    """Return the manifest of a run on this machine."""
    engines = campaign.survey.engines
    # The loop runs where the launches do.
    bound = replace(campaign.workshop, cpus=campaign.suite.cpus)
    overhead = in_child("overhead", overhead_job(campaign.plan), jobs.OverheadAnswer, bound, "null")
    scene = Scene(
        plan=campaign.plan,
        host=fingerprint(versions_of(engines), campaign.base),
        engines=engines,
        telemetry=telemetry.survey(),
        overhead=overhead_facts(overhead),
    )
    return manifest_of(campaign.suite, campaign.survey.models, scene, suite_text=suite_text, command=command)


def manifest_of(
    suite: Suite, models: Mapping[str, surveying.Model], scene: Scene, *, suite_text: str, command: str
) -> dict[str, Any]:
    """Return what later readers of a run need, with nobody's paths in it."""
    return {
        "suite": without_places(suite.resolved()),
        "suite_text": unplaced(suite_text),
        "plan": codec.encode(scene.plan),
        "host": scene.host,
        "engines": {name: codec.encode(facts) for name, facts in scene.engines.items()},
        "workloads": {name: _described(model) for name, model in models.items()},
        "telemetry": scene.telemetry,
        "command": command,
        "overhead": scene.overhead,
        "harness_version": harness.__version__,
    }


def overhead_job(made: Plan) -> jobs.OverheadJob:
    """Ask what the loops of the scenarios that will run cost, and of as many streams as the suite names."""
    cells = runnable(made)
    streams = {cell.streams for cell in cells if cell.streams is not None and cell.streams > 1}
    if any(cell.streams is None and KINDS[cell.scenario.name].streams for cell in cells):
        streams.add(2)  # how many a runtime takes by itself is not known yet
    scenarios = {cell.scenario.name for cell in cells}
    return jobs.OverheadJob(_OVERHEAD_ITERATIONS, tuple(sorted(streams)), tuple(sorted(scenarios)))


def overhead_facts(found: jobs.OverheadAnswer | Failed | Skipped) -> dict[str, float | str]:
    """Return nanoseconds per inference, by number of streams and by scenario; or why they are not known."""
    if not isinstance(found, jobs.OverheadAnswer):
        return {"not measured": found.message if isinstance(found, Failed) else found.reason}
    by_scenario = {f"{name}_ns": value for name, value in found.by_scenario.items()}
    return {"1": found.per_iteration_ns, **found.by_streams, **by_scenario}


def _described(model: surveying.Model) -> dict[str, Any]:
    selections = model.selections
    return {
        "source": model.source.format,
        "reference": Path(model.source.reference).name,
        "content_hash": model.source.content_hash,
        "random_inputs": selections is None,
        "calibration_overlap": selections.overlap if selections else 0,
        "evaluation_images": len(selections.evaluate.items) if selections else 0,
        "calibration_images": len(selections.calibrate.items) if selections and selections.calibrate else 0,
    }


def versions_of(engines: Mapping[str, EngineFacts | Skipped | Failed]) -> dict[str, str]:
    """Return the versions of the harness, of engines and of what they are made of, by distribution."""
    versions = {"harness": harness.__version__}
    for name, facts in engines.items():
        if isinstance(facts, EngineFacts):
            versions |= {name: facts.version, **facts.versions}
    return versions


def without_places(value: Any) -> Any:
    """Return JSON-able data with absolute paths cut to their last part: a report is published, folders are not."""
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    if isinstance(value, str) and re.match(r"^(/|~|[A-Za-z]:[\\/])", value):
        return re.split(r"[\\/]", value)[-1]
    return value


def reopen(store: RunStore, workshop: Workshop, told: Callable[[str], None]) -> Campaign:
    """Return a stored run as it was begun, looked at anew. Raises ``HarnessError`` where its model or data changed."""
    if "ab" in store.manifest:
        hint = f"`harness ab --resume {store.run_id}` goes on with it"
        raise HarnessError(f"{store.run_id} has two sides, which this command does not know how to make again", hint)
    if "fleet" in store.manifest:
        hint = f"`harness run --resume {store.manifest['fleet']['id']} --fleet FILE` goes on with it"
        raise HarnessError(f"{store.run_id} was measured on a host of a fleet", hint)
    saved = kept_for_resume(store)
    try:
        suite, base = Suite.model_validate_json(json.dumps(saved["suite"])), Path(saved["base"])
    except (ValueError, KeyError, TypeError) as error:
        raise _not_here(store, error) from error
    fresh = look(suite, base, workshop, told)
    stored, now = store.plan, {planned.cell.cell_id for planned in fresh.plan.cells}
    changed = [planned.cell.label for planned in stored.cells if planned.cell.cell_id not in now]
    if changed:
        hint = "its weights, images or engines are not those of the run any more: run the suite anew"
        raise HarnessError(f"{len(changed)} cells of the run are other cells now, the first {changed[0]}", hint)
    return replace(fresh, plan=stored)


def check_unchanged(campaign: Campaign, store: RunStore) -> None:
    """Raise ``HarnessError`` where launches made now would not belong with those of the run.

    Another machine or another version of an engine makes no other cell, but one row must not mix the two.
    """
    hint = "run the suite anew"
    measured_with = store.manifest.get("harness_version")
    if measured_with != harness.__version__:
        message = f"{store.run_id} was measured with harness {measured_with}, this is {harness.__version__}"
        raise HarnessError(message, f"install that version, or {hint}")
    if store.manifest["host"]["hw_id"] != short_id(hardware()):
        raise HarnessError(f"{store.run_id} was measured on other hardware than this", hint)
    for name, stored in store.manifest["engines"].items():
        now = campaign.survey.engines.get(name)
        if "version" not in stored:
            continue
        found = codec.encode(now) if isinstance(now, EngineFacts) else {}
        if (stored["version"], stored["versions"]) != (found.get("version"), found.get("versions")):
            there = found.get("version", "not available")
            message = f"{store.run_id} was measured with {name} {stored['version']}, which is {there} now"
            raise HarnessError(message, f"install what it was measured with, or {hint}")


def prepared(campaign: Campaign, cells: Sequence[Cell], told: Callable[[str], None]) -> Mapping[str, Any]:
    """Return a bench, or why there is none, for every variant among ``cells``."""
    settings = Settings(
        # Launch i takes build i: more builds than launches would be made for nothing.
        builds=min(campaign.suite.builds, durations.launches_of(campaign.suite)),
        export=campaign.suite.export,
        interpreters=surveying.interpreters(campaign.suite, campaign.base),
        seed=campaign.suite.seed,
        timeout_s=campaign.suite.timeout,
    )
    preparer = Preparer(campaign.survey, campaign.workshop, settings, told)
    benches: dict[str, Any] = {}
    for cell in cells:
        if cell.variant_id not in benches:
            benches[cell.variant_id] = preparer.bench(cell)
    return benches


def setting(
    campaign: Campaign, store: RunStore, benches: Mapping[str, Any], noted: Callable[[str], None] = explain
) -> runner.Setting:
    """Return what holds for every launch of the run; ``noted`` takes what the user is to know of them, once."""
    host = store.manifest["host"]
    places = {
        planned.cell.variant_id: campaign.survey.models[planned.cell.workload].task_place
        for planned in campaign.plan.cells
    }
    return runner.Setting(
        hw_id=host["hw_id"],
        env_id=host["env_id"],
        benches=benches,
        limits={planned.cell.cell_id: durations.limits(planned, campaign.suite) for planned in campaign.plan.cells},
        timeout_s=campaign.suite.timeout,
        strict=campaign.suite.fallback == "strict",
        warm=campaign.suite.cache == "warm",
        interpreters=surveying.interpreters(campaign.suite, campaign.base),
        task_places=places,
        machine=Turns(lock_file(os.environ), f"a launch of run {store.run_id}", noted),
    )


def order_of(campaign: Campaign, store: RunStore) -> LaunchPolicy:
    """Return the policy for what is left of a run: a launch that began and never ended is tried once more."""
    lost = unfinished(store)
    retries = PRESETS[campaign.suite.preset].retries
    budget = budget_of(campaign.suite)
    if budget is None:
        return PlannedOrder(campaign.plan, noise_retries=retries, unfinished=lost)
    from harness.budget import BudgetedOrder

    return BudgetedOrder(campaign.plan, budget, noise_retries=retries, unfinished=lost)


def budget_of(suite: Suite) -> Budget | None:
    """Return the time that a run has for its launches; ``None`` where it has as much as they take."""
    if suite.budget is None or suite.budget_s is None:
        return None
    # Imported here: it brings scipy, and most runs have no budget.
    from harness.budget import Budget

    return Budget(suite.budget, suite.budget_s, durations.most_launches(suite))


def unfinished(store: RunStore) -> Counter[tuple[str, int]]:
    """Return how many attempts began and never ended, by cell and replicate."""
    return Counter((attempt.cell_id, attempt.launch.index) for attempt in store.attempts() if not attempt.ended)


def keep_logs(workshop: Workshop, store: RunStore) -> None:
    """Put what probes and exports printed beside the logs of the launches: a failure there has no other log."""
    keep_logs_in(workshop, store.folder / "logs")


def keep_logs_in(workshop: Workshop, folder: Path) -> None:
    """Put what probes and exports printed in a folder."""
    with suppress(OSError):  # the records are whole without it
        folder.mkdir(exist_ok=True)
        for log in sorted(workshop.logs.glob("*.log")):
            if log.stat().st_size:
                shutil.copyfile(log, folder / log.name)


def runnable(made: Plan) -> list[Cell]:
    """Return the cells that the plan means to run."""
    return [planned.cell for planned in made.cells if not isinstance(planned.skipped, Skipped)]


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: the child dies, and the run can be resumed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
