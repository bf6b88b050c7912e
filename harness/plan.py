"""From a suite and what can run here to the launches in their order. Pure: no disk, no clock, no process."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from harness import durations, plan_order
from harness.errors import PlanError, Unsupported
from harness.matrix import Asked, combinations
from harness.plan_checks import Names, check_cells, check_suite, checked_options
from harness.plan_order import ACCURACY, LATENCY, MEMORY, PROVE, SENTINEL
from harness.presets import PRESETS, Preset
from harness.scenarios import KINDS
from harness.settings import differing, settings
from harness.vocabulary import (
    Cell,
    EngineFacts,
    Failed,
    Level,
    Plan,
    PlannedCell,
    Precision,
    Scenario,
    Skipped,
    digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.suite_model import Suite
    from harness.vocabulary import DeviceFacts, Format, Source

Wanted = tuple[tuple[str, ...], Precision]
"""Formats that an engine loads, best first, and the precision that they hold."""

CAMERA, END_TO_END = "camera", "end_to_end"


@dataclass(frozen=True)
class WorkloadFacts:
    """What looking at a workload's files gave. ``task`` is the work by name and parameters, without paths."""

    source: Source
    task: Mapping[str, Any]
    shape: tuple[int, ...]
    evaluation_hash: str | None = None
    evaluation_images: int = 0
    labelled: bool = False  # whether the evaluation images carry labels
    calibration_hash: str | None = None
    calibration_images: int = 0
    troubled: bool = False  # its source or data cannot be read; its cells are planned and fail by name


@dataclass(frozen=True)
class Capability:
    """What one engine can do here: the answer of its probe, and what its class declares."""

    facts: EngineFacts | Skipped | Failed  # Failed: its probe crashed; its cells are planned and fail by name
    formats: tuple[Format, ...]
    options: type | None  # its settings, a frozen dataclass; None: its adapter is broken, nothing is known of them
    wanted: Callable[[Precision, Mapping[str, Any]], Wanted] | None = None
    """Precision and settings → what the engine loads then; ``None``: any of ``formats``, at the precision itself."""

    def artifact(self, precision: Precision, options: Mapping[str, Any]) -> Wanted:
        """Return the formats that are loaded with these settings, best first, and the precision they hold."""
        return self.wanted(precision, options) if self.wanted else (self.formats, precision)


class Route(Protocol):
    """A way from a source to what an engine loads; ``harness.artifacts.Route`` is one."""

    @property
    def exporters(self) -> tuple[str, ...]:
        """Names of the exporters that it goes through."""

    @property
    def defaults(self) -> Mapping[str, Mapping[str, Any]]:
        """By exporter, its options with the values that they have when left out."""

    @property
    def calibrated(self) -> bool:
        """Whether some step needs calibration images."""


@dataclass(frozen=True)
class _Verdict:
    """What a combination comes to, whatever its scenario."""

    level: Level = Level.NATIVE
    calibrated: bool = False
    skipped: Skipped | None = None
    route: Route | None = None  # None: nobody looked for one, or there is none


@dataclass
class _Context:
    """What ``expand`` was given, and what it has worked out so far."""

    suite: Suite
    workloads: Mapping[str, WorkloadFacts | Failed | Skipped]
    engines: Mapping[str, Capability]
    find_route: Callable[[Format, tuple[Format, ...], Precision], Route | Skipped]
    options: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # by engine and configuration
    routes: dict[tuple[Format, Wanted], Route | Skipped] = field(default_factory=dict)

    @property
    def preset(self) -> Preset:
        return PRESETS[self.suite.preset]


def expand(
    suite: Suite,
    workloads: Mapping[str, WorkloadFacts | Failed | Skipped],
    engines: Mapping[str, Capability],
    find_route: Callable[[Format, tuple[Format, ...], Precision], Route | Skipped],
    machines: int = 1,
) -> Plan:
    """Return every cell that the suite asks for, and the order of launches of those that can run.

    What cannot run is kept with ``skipped``; only ``exclude`` drops cells. Beside the timed cells of a variant stands
    one ``prove`` cell. Where there are launches enough one latency cell is run again and again between them, as the
    ``sentinel``. No FP32 cell is added for accuracy to be compared with: a report pairs a row with the FP32 row of its
    engine, else with that of the reference engine, else says that there is none. Identical cells are one. Raises
    ``PlanError`` for an unknown engine, wrong engine settings, an empty matrix, over 100,000 cells, a percentile or an
    SLO that no launch of this length can carry, or a budget that does not hold one launch of each cell: ``machines``
    of one kind share them, and each has the budget.
    """
    context = _Context(suite, workloads, engines, find_route)
    percentiles = tuple(suite.percentiles or context.preset.percentiles)
    check_suite(suite, engines, percentiles)
    context.options = checked_options(suite, {name: engine.options for name, engine in engines.items()})
    planned: dict[str, PlannedCell] = {}
    names = Names()
    devices = {name: _devices(engine) for name, engine in engines.items()}
    for asked in combinations(suite, devices):
        verdict = _judge(context, asked)
        kind, _ = suite.scenario(asked.scenario)
        # With one stream a scenario would measure one thing several times.
        single = replace(asked, streams=None)
        exact = asked if kind.streams else single
        for one in (replace(single, scenario=PROVE), exact) if kind.timed else (exact,):
            cell = _cell(context, one, verdict)
            kept = planned.setdefault(cell.cell_id, _planned(context, cell, verdict, percentiles))
            names.note(one, kept.cell)
    check_cells(suite, planned.values(), names, machines)
    order = plan_order.ordered(planned, suite.seed)
    plan = Plan(suite.name or "", suite.preset, suite.seed, tuple(planned.values()), order)
    watch = plan_order.sentinel(entry for entry in plan.cells if _is_known(context, entry.cell))
    return plan_order.watched(plan, watch) if watch else plan


def select(plan: Plan, patterns: Sequence[str]) -> Plan:
    """Return the part of a plan whose labels match a pattern, or whose id begins with one, in the same order.

    ``*`` in a pattern matches ``/`` too. The ``prove`` cell of a timed cell comes along, since its row needs it; the
    sentinel where its row is timed and enough launches are left to watch over, or where a pattern ends with its name.
    Raises ``PlanError`` for a pattern that matches nothing, with the nearest labels.
    """
    chosen: set[str] = set()
    timed: set[str] = set()
    for pattern in patterns:
        found = matching(plan, pattern)
        chosen.update(cell.cell_id for cell in found)
        timed.update(cell.variant_id for cell in found if KINDS[cell.scenario.name].timed)
    chosen.update(
        planned.cell.cell_id
        for planned in plan.cells
        if planned.cell.scenario.name == PROVE and planned.cell.variant_id in timed
    )
    part = replace(
        plan,
        cells=tuple(planned for planned in plan.cells if planned.cell.cell_id in chosen),
        order=tuple(slot for slot in plan.order if slot.cell_id in chosen),
    )
    watch = next((planned for planned in plan.cells if planned.cell.scenario.name == SENTINEL), None)
    if watch is None or watch.cell.cell_id in chosen or watch.cell.variant_id not in timed:
        return part
    return plan_order.watched(part, watch)


def matching(plan: Plan, pattern: str) -> list[Cell]:
    """Return the cells whose label matches a pattern, or whose id begins with it (six characters or more).

    Raises ``PlanError`` with the nearest labels where there is none.
    """
    found = [planned.cell for planned in plan.cells if _matches(planned.cell, pattern)]
    if not found:
        labels = [planned.cell.label for planned in plan.cells]
        near = difflib.get_close_matches(pattern[:200], labels, n=3, cutoff=0.3) or labels[:3]
        raise PlanError(f"no cell matches {pattern[:200]!r}", f"cells look like {', '.join(near)}")
    return found


def fits(pattern: str, label: str, cell_id: str) -> bool:
    """Return whether a label matches a pattern, or an id begins with it (six characters or more)."""
    return (len(pattern) >= 6 and cell_id.startswith(pattern)) or fnmatch.fnmatchcase(label, pattern)


def _matches(cell: Cell, pattern: str) -> bool:
    if cell.scenario.name == SENTINEL and not pattern.endswith(SENTINEL):
        # It is the plan's own: a pattern that is wide enough for it does not mean it.
        return len(pattern) >= 6 and cell.cell_id.startswith(pattern)
    return fits(pattern, cell.label, cell.cell_id)


def _is_known(context: _Context, cell: Cell) -> bool:
    """Whether a cell can be trusted to run: its engine and its workload were found whole."""
    workload = context.workloads[cell.workload]
    whole = isinstance(workload, WorkloadFacts) and not workload.troubled
    return whole and isinstance(context.engines[cell.engine].facts, EngineFacts)


def _devices(engine: Capability) -> tuple[str, ...]:
    """Return the devices that ``auto`` stands for."""
    if isinstance(engine.facts, Skipped | Failed):
        return ()
    return tuple(device.name for device in engine.facts.devices if not device.on_request)


def _judge(context: _Context, asked: Asked) -> _Verdict:
    workload, engine = context.workloads.get(asked.workload), context.engines[asked.engine]
    if workload is None:
        raise PlanError(f"nothing is known of the workload {asked.workload!r}", "it is defined under `workloads`")
    if isinstance(workload, Failed):
        return _Verdict(skipped=Skipped(f"{workload.stage.value}: {workload.message}", workload.hint))
    if isinstance(workload, Skipped):
        return _Verdict(skipped=workload)
    if isinstance(engine.facts, Skipped):
        return _Verdict(skipped=engine.facts)
    if isinstance(engine.facts, Failed):
        return _Verdict()
    device = next((device for device in engine.facts.devices if device.name == asked.device), None)
    if device is None:
        there = ", ".join(device.name for device in engine.facts.devices)
        reason = f"{asked.engine} has no device {asked.device} here" if there else f"{asked.engine} has no device here"
        return _Verdict(skipped=Skipped(reason, f"it has {there}" if there else ""))
    return _judge_precision(context, asked, workload, device)


def _judge_precision(context: _Context, asked: Asked, workload: WorkloadFacts, device: DeviceFacts) -> _Verdict:
    support = device.precisions.get(asked.precision.value)
    if support is None or support.level is Level.UNSUPPORTED:
        reason = support.reason if support is not None and support.reason else "unsupported"
        return _Verdict(skipped=Skipped(f"{asked.engine} {asked.precision} on {asked.device}: {reason}"))
    options = context.options.get((asked.engine, asked.configuration), {})
    try:
        wanted = context.engines[asked.engine].artifact(asked.precision, options)
    except Unsupported as error:
        return _Verdict(support.level, skipped=Skipped(error.message, error.hint))
    key = (workload.source.format, wanted)
    if key not in context.routes:
        context.routes[key] = context.find_route(key[0], *wanted)
    route = context.routes[key]
    if isinstance(route, Skipped):
        return _Verdict(support.level, skipped=route)
    if route.calibrated and not workload.calibration_images and not workload.troubled:
        missing = Skipped(
            f"{asked.precision} is calibrated, and the workload {asked.workload} names no calibration images",
            f"give workloads.{asked.workload}.data.calibrate, such as '0:64'",
        )
        return _Verdict(support.level, calibrated=True, skipped=missing, route=route)
    return _Verdict(support.level, route.calibrated, route=route)


def _cell(context: _Context, asked: Asked, verdict: _Verdict) -> Cell:
    workload = context.workloads[asked.workload]
    facts = workload if isinstance(workload, WorkloadFacts) else None
    said = context.suite.workloads[asked.workload]
    return Cell(
        workload=asked.workload,
        # What could not be identified still has to be told apart from the others.
        source_hash=facts.source.content_hash if facts else digest(said.model_dump(mode="json")),
        task=facts.task if facts else said.task,
        shape=facts.shape if facts else said.input,
        engine=asked.engine,
        precision=asked.precision,
        device=asked.device,
        scenario=_scenario(context.suite, asked.scenario),
        export=_export(context.suite, asked, verdict.route),
        configuration=asked.configuration,
        batch=asked.batch,
        threads=asked.threads,
        streams=asked.streams,
        options=context.options.get((asked.engine, asked.configuration), {}),
        evaluation_hash=facts.evaluation_hash if facts else None,
        calibration_hash=facts.calibration_hash if facts and verdict.calibrated else None,
    )


def _scenario(suite: Suite, name: str) -> Scenario:
    """Return a scenario with what differs from its defaults, and what else changes the work done.

    Nothing is said where all is as usual: a setting that is added here renames no cell.
    """
    kind, given = suite.scenario(name)
    usual = settings(kind.settings, {}) if name in suite.scenarios else given
    parameters = {key: value for key, value in given.items() if value != usual[key]}
    if suite.cache != "cold":
        parameters["cache"] = suite.cache
    if suite.fallback != "allow":
        parameters["fallback"] = suite.fallback
    if suite.cpus is not None:
        parameters["cpus"] = list(suite.cpus)
    return Scenario(kind.name, parameters, "" if name == kind.name else name)


def _export(suite: Suite, asked: Asked, route: Route | None) -> dict[str, dict[str, Any]]:
    """Return what the exporters on a cell's route are told beside their defaults: what others are told changes nothing.

    Where the route is not known, as of an engine that is not installed, all that the configuration says is kept:
    its rows are not the default's.
    """
    named = suite.configurations.get(asked.engine, {}).get(asked.configuration)
    over = named.export if named else {}
    through = over if route is None else route.exporters
    defaults = route.defaults if route else {}
    merged = {name: {**suite.export.get(name, {}), **over.get(name, {})} for name in through}
    told = {name: differing(options, defaults.get(name, {})) for name, options in merged.items()}
    return {name: options for name, options in told.items() if options}


def _planned(context: _Context, cell: Cell, verdict: _Verdict, percentiles: tuple[float, ...]) -> PlannedCell:
    kind, suite = KINDS[cell.scenario.name], context.suite
    skipped = verdict.skipped or _without_threads(cell)
    images, workload = 0, context.workloads[cell.workload]
    if isinstance(workload, WorkloadFacts) and not workload.troubled:
        if kind.name == ACCURACY:
            images = workload.evaluation_images
            skipped = skipped or _without_labels(cell.workload, workload)
        elif _decodes(cell) and not workload.evaluation_images:
            skipped = skipped or _without_images(cell.workload)
    launches = durations.launches_of(suite) if kind.replicated else 1
    if kind.name == MEMORY:
        launches = min(launches, context.preset.memory_launches)
    seconds = durations.guessed_s(cell, suite, images)
    if kind.name != ACCURACY:  # which may take what its images take
        seconds = min(seconds, suite.timeout)
    if kind.name == CAMERA:
        percentiles = tuple(suite.percentiles or ())  # how many frames there are, its settings say
    printed = percentiles if kind.name in {LATENCY, END_TO_END, CAMERA} else ()
    return PlannedCell(cell, launches, seconds, skipped, verdict.level, printed)


def _decodes(cell: Cell) -> bool:
    """Whether a cell works on encoded images, which drawn inputs are not."""
    return cell.scenario.name == END_TO_END or bool(cell.scenario.parameters.get("decode"))


def _without_images(name: str) -> Skipped:
    return Skipped(f"the workload {name} names no images to decode", f"give workloads.{name}.data")


def _without_threads(cell: Cell) -> Skipped | None:
    if cell.streams is None or cell.threads is None or cell.streams <= cell.threads:
        return None
    # Runtimes round the quotient up, each in its own way: the row would not be what it says.
    reason = f"{cell.streams} streams cannot share {cell.threads} threads"
    return Skipped(reason, "give at least as many threads as streams")


def _without_labels(name: str, workload: WorkloadFacts) -> Skipped | None:
    if not workload.evaluation_images:
        return Skipped(f"the workload {name} names no images to evaluate on", f"give workloads.{name}.data")
    if not workload.labelled:
        return Skipped(f"the images of the workload {name} carry no labels", f"give workloads.{name}.data.label")
    return None
