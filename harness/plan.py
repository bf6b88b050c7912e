"""From a suite and what can run here to the launches in their order. Pure: no disk, no clock, no process."""

from __future__ import annotations

import difflib
import fnmatch
import math
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import PlanError, Unsupported
from harness.jobs import Limits
from harness.matrix import DEFAULT, Asked, combinations
from harness.presets import PRESETS, Preset
from harness.settings import SettingError, settings
from harness.statistics import minimum_effective_samples
from harness.suite_model import ACCURACY, LATENCY, MEMORY, PROVE, THROUGHPUT
from harness.vocabulary import Cell, Failed, Level, Plan, PlannedCell, Precision, Scenario, Skipped, Slot, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.suite_model import Suite
    from harness.vocabulary import DeviceFacts, EngineFacts, Format, Source

Wanted = tuple[tuple[str, ...], Precision]
"""Formats that an engine loads, best first, and the precision that they hold."""

_TIMED = frozenset({LATENCY, THROUGHPUT})

# Rough, for the first guess of a run's duration alone; ``seconds_left`` replaces them by what launches took.
_START_S = 4.0  # a fresh process, imports, load, first inference
_PROVE_S = 6.0
_IMAGE_S = 0.2


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
    def calibrated(self) -> bool:
        """Whether some step needs calibration images."""


@dataclass(frozen=True)
class _Verdict:
    """What a combination comes to, whatever its scenario."""

    level: Level = Level.NATIVE
    calibrated: bool = False
    skipped: Skipped | None = None
    exporters: tuple[str, ...] | None = None  # of the route; None: nobody looked for one


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
) -> Plan:
    """Return every cell that the suite asks for, and the order of launches of those that can run.

    What cannot run is kept with ``skipped``; only ``exclude`` drops cells. Beside the timed cells of a variant stands
    one ``prove`` cell. No FP32 cell is added for accuracy to be compared with: a report pairs a row with the FP32 row
    of its engine, else with that of the reference engine, else says that there is none. Identical cells are one.
    Raises ``PlanError`` for an unknown engine, wrong engine settings, an empty matrix, over 100,000 cells, or a
    percentile that no launch of this length can carry.
    """
    context = _Context(suite, workloads, engines, find_route)
    _check_engines(context)
    _check_configurations(suite)
    context.options = _checked_options(suite, engines)
    percentiles = tuple(suite.percentiles or context.preset.percentiles)
    _check_percentiles(suite, context.preset, percentiles)
    planned: dict[str, PlannedCell] = {}
    devices = {name: _devices(engine) for name, engine in engines.items()}
    for asked in combinations(suite, devices):
        verdict = _judge(context, asked)
        # Streams are of throughput alone: the other scenarios would measure one thing several times.
        single = replace(asked, streams=None)
        exact = asked if asked.scenario == THROUGHPUT else single
        for one in (replace(single, scenario=PROVE), exact) if asked.scenario in _TIMED else (exact,):
            cell = _cell(context, one, verdict)
            planned.setdefault(cell.cell_id, _planned(context, cell, verdict, percentiles))
    if not planned:
        raise PlanError("the matrix is empty: nothing is left to measure", "see `exclude` in the suite")
    _check_distinct(suite, planned.values())
    _check_different(suite, planned.values())
    cells = tuple(planned.values())
    return Plan(suite.name or "", suite.preset, suite.seed, cells, _order(planned, suite.seed))


def _check_distinct(suite: Suite, planned: Iterable[PlannedCell]) -> None:
    """Raise ``PlanError`` where a workload's cells are all another's: its name would vanish from the report."""
    named = {entry.cell.workload for entry in planned}
    asked = set(suite.matrix.workload or suite.workloads)
    asked.update(name for entry in suite.include for name in entry.workload or ())
    hidden = sorted(asked - named)
    if hidden and not suite.exclude:
        others = ", ".join(sorted(named))
        message = f"the workload {hidden[0]} is one of {others} under another name: the same model, task and data"
        raise PlanError(message, "take one of the two out")


def _check_different(suite: Suite, planned: Iterable[PlannedCell]) -> None:
    """Raise ``PlanError`` where every cell of a configuration is the default's: it would vanish from the report."""
    made = {(entry.cell.engine, entry.cell.configuration) for entry in planned}
    engines = {engine for engine, _ in made}
    for engine, named in suite.configurations.items():
        same = [name for name in named if (engine, name) not in made]
        if same and engine in engines and suite.matrix.configuration is None and not suite.exclude:
            message = f"configurations.{engine}.{same[0]} changes nothing in any cell that is asked for"
            raise PlanError(message, "its settings are the default's, or of exporters that no route goes through")


def select(plan: Plan, patterns: Sequence[str]) -> Plan:
    """Return the part of a plan whose labels match a pattern, or whose id begins with one, in the same order.

    ``*`` in a pattern matches ``/`` too. The ``prove`` cell of a timed cell comes along, since its row needs it.
    Raises ``PlanError`` for a pattern that matches nothing, with the nearest labels.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = matching(plan, pattern)
        timed = {cell.variant_id for cell in found if cell.scenario.name in _TIMED}
        chosen.update(cell.cell_id for cell in found)
        chosen.update(
            planned.cell.cell_id
            for planned in plan.cells
            if planned.cell.scenario.name == PROVE and planned.cell.variant_id in timed
        )
    return replace(
        plan,
        cells=tuple(planned for planned in plan.cells if planned.cell.cell_id in chosen),
        order=tuple(slot for slot in plan.order if slot.cell_id in chosen),
    )


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


def limits(planned: PlannedCell, suite: Suite) -> Limits:
    """Return when a launch of a cell has measured enough, long enough for the percentiles it must print.

    Samples of all launches count together; a quarter more than for independent samples is taken. For percentiles that
    the suite names the launch may take all the time there is: warm-up and measurement share, one to four, what the
    timeout leaves after the start of a process. For the preset's own it stays within the preset's time.
    """
    preset = PRESETS[suite.preset]
    spare_s = suite.timeout - _START_S
    iterations = max((_iterations(percentile, planned.launches) for percentile in planned.percentiles), default=0)
    return Limits(
        minimum_iterations=max(preset.minimum_iterations, iterations),
        minimum_s=preset.minimum_s,
        maximum_s=max(preset.minimum_s, min(preset.maximum_s, 0.8 * spare_s)),
        extended_s=0.8 * spare_s if suite.percentiles else 0.0,
        relative_half_width=preset.relative_half_width,
        warmup_iterations=preset.warmup_iterations,
        warmup_s=preset.warmup_s,
        warmup_maximum_s=max(preset.warmup_s, min(preset.warmup_maximum_s, 0.2 * spare_s)),
        quantiles=tuple(
            (percentile / 100, minimum_effective_samples(percentile / 100) / planned.launches)
            for percentile in planned.percentiles
        ),
    )


def _iterations(percentile: float, launches: int) -> int:
    return math.ceil(1.25 * minimum_effective_samples(percentile / 100) / launches)


def seconds_total(plan: Plan) -> float:
    """Return the estimated duration of the whole plan."""
    return seconds_left(plan, {})


def seconds_left(plan: Plan, done: Mapping[tuple[str, int], float]) -> float:
    """Return the estimated duration of the launches that are not in ``done``: (cell_id, index) → seconds it took.

    A cell that has run takes what it took on average; another what was estimated, scaled by how well the estimates of
    its scenario did so far: that proofs are quick says nothing of the launches that measure.
    """
    known = {planned.cell.cell_id: planned for planned in plan.cells}
    taken: dict[str, list[float]] = defaultdict(list)
    actual: dict[str, float] = defaultdict(float)
    expected: dict[str, float] = defaultdict(float)
    for (cell_id, _), seconds in done.items():
        if cell_id in known:
            scenario = known[cell_id].cell.scenario.name
            taken[cell_id].append(seconds)
            actual[scenario] += seconds
            expected[scenario] += known[cell_id].seconds

    def estimate(cell_id: str) -> float:
        if taken.get(cell_id):
            return math.fsum(taken[cell_id]) / len(taken[cell_id])
        scenario = known[cell_id].cell.scenario.name
        scale = actual[scenario] / expected[scenario] if expected[scenario] > 0 else 1.0
        return known[cell_id].seconds * scale

    return math.fsum(estimate(slot.cell_id) for slot in plan.order if (slot.cell_id, slot.index) not in done)


def _check_engines(context: _Context) -> None:
    suite = context.suite
    named = {*suite.matrix.engine, *(name for entry in suite.include for name in entry.engine or ())}
    checked = (("matrix", sorted(named)), ("options", suite.options), ("configurations", suite.configurations))
    for where, names in checked:
        for name in names:
            if name not in context.engines:
                near = difflib.get_close_matches(name[:80], context.engines, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                known = ", ".join(sorted(context.engines)) or "none"
                raise PlanError(f"{where}: no engine is called {name[:80]!r}{meant}", f"known here: {known}")


def _check_configurations(suite: Suite) -> None:
    known = {name for named in suite.configurations.values() for name in named} | {DEFAULT}
    for engine, named in suite.configurations.items():
        if DEFAULT in named:
            hint = "give it another name; what holds for every cell of an engine stands under `options`"
            raise PlanError(f"configurations.{engine}: {DEFAULT!r} is what the engine is without any", hint)
    asked = {name for entry in (*suite.include, *suite.exclude) for name in entry.configuration or ()}
    for name in sorted((asked | set(suite.matrix.configuration or ())) - known):
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"no configuration is called {name!r}{meant}", f"there are: {', '.join(sorted(known))}")


def _checked_options(suite: Suite, engines: Mapping[str, Capability]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by engine and configuration, what differs from its defaults: writing one out makes no other cell."""
    checked = {}
    for engine in {*suite.options, *suite.configurations}:
        common = suite.options.get(engine, {})
        checked[engine, DEFAULT] = _different(engines[engine].options, common, f"options.{engine}")
        for name, configuration in suite.configurations.get(engine, {}).items():
            given, place = {**common, **configuration.options}, f"configurations.{engine}.{name}.options"
            checked[engine, name] = _different(engines[engine].options, given, place)
    return checked


def _different(kind: type | None, given: Mapping[str, Any], place: str) -> dict[str, Any]:
    if kind is None:
        return dict(given)
    try:
        full, defaults = settings(kind, given), settings(kind, {})
    except SettingError as error:
        key = f".{error.key}" if error.key else ""
        raise PlanError(f"{place}{key}: {error.message}", error.hint) from error
    return {key: value for key, value in full.items() if value != defaults[key]}


def _check_percentiles(suite: Suite, preset: Preset, percentiles: Sequence[float]) -> None:
    launches = suite.launches or preset.launches
    for percentile in percentiles:
        each = _iterations(percentile, launches)
        if each > preset.maximum_iterations:
            raise PlanError(
                f"p{percentile:g} takes {each:,} iterations in each of {launches} launches, "
                f"the limit is {preset.maximum_iterations:,}",
                "ask for a lower percentile, or for more launches",
            )
    if preset.minimum_s + _START_S > suite.timeout:
        raise PlanError(
            f"a launch of the preset {suite.preset} measures for {preset.minimum_s:g} s, the timeout is "
            f"{suite.timeout:g} s",
            "raise the timeout, or take a shorter preset",
        )


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
        return _Verdict(support.level, calibrated=True, skipped=missing, exporters=route.exporters)
    return _Verdict(support.level, route.calibrated, exporters=route.exporters)


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
        scenario=Scenario(asked.scenario, _parameters(context.suite)),
        export=_export(context.suite, asked, verdict.exporters),
        configuration=asked.configuration,
        batch=asked.batch,
        threads=asked.threads,
        streams=asked.streams,
        options=context.options.get((asked.engine, asked.configuration), {}),
        evaluation_hash=facts.evaluation_hash if facts else None,
        calibration_hash=facts.calibration_hash if facts and verdict.calibrated else None,
    )


def _parameters(suite: Suite) -> dict[str, Any]:
    """Return what changes the work done and has no place of its own in a cell; nothing where all is as usual."""
    parameters: dict[str, Any] = {}
    if suite.cache != "cold":
        parameters["cache"] = suite.cache
    if suite.fallback != "allow":
        parameters["fallback"] = suite.fallback
    return parameters


def _export(suite: Suite, asked: Asked, exporters: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """Return the settings of the exporters on a cell's route: what others are told changes nothing of it.

    Where the route is not known, as of an engine that is not installed, all that the configuration says is kept:
    its rows are not the default's.
    """
    named = suite.configurations.get(asked.engine, {}).get(asked.configuration)
    over = named.export if named else {}
    through = over if exporters is None else exporters
    merged = {name: {**suite.export.get(name, {}), **over.get(name, {})} for name in through}
    return {name: options for name, options in merged.items() if options}


def _planned(context: _Context, cell: Cell, verdict: _Verdict, percentiles: tuple[float, ...]) -> PlannedCell:
    scenario, preset = cell.scenario.name, context.preset
    workload = context.workloads[cell.workload]
    skipped, images = verdict.skipped or _without_threads(cell), 0
    if scenario == ACCURACY and isinstance(workload, WorkloadFacts) and not workload.troubled:
        images = workload.evaluation_images
        skipped = skipped or _without_labels(cell.workload, workload)
    launches = 1
    if scenario in _TIMED:
        launches = context.suite.launches or preset.launches
    elif scenario == MEMORY:
        launches = min(preset.memory_launches, context.suite.launches or preset.memory_launches)
    steady_s = preset.minimum_s + preset.warmup_s if scenario in {*_TIMED, MEMORY} else _IMAGE_S * images
    seconds = _PROVE_S if scenario == PROVE else _START_S + steady_s
    printed = percentiles if scenario == LATENCY else ()
    return PlannedCell(cell, launches, min(seconds, context.suite.timeout), skipped, verdict.level, printed)


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


def _order(cells: Mapping[str, PlannedCell], seed: int) -> tuple[Slot, ...]:
    """Return the launches: proofs first, where failing is cheap; timed and memory launches round by round; accuracy.

    In each round a cell runs once, at a place drawn from the seed, so that drift of the machine hits all alike.
    """
    proofs: list[tuple[str, int]] = []
    timed: list[tuple[str, int]] = []
    accuracies: list[tuple[str, int]] = []
    # By identity, so that the order of the suite's keys does not matter.
    for cell_id, planned in sorted(cells.items()):
        if planned.skipped is None:
            name = planned.cell.scenario.name
            (proofs if name == PROVE else accuracies if name == ACCURACY else timed).append((cell_id, planned.launches))
    rounds = max((launches for _, launches in timed), default=1)
    slots = _round([cell_id for cell_id, _ in proofs], 0, 0, f"{seed}/prove")
    for number in range(rounds):
        slots += _round(
            [cell_id for cell_id, launches in timed if launches > number], number, number, f"{seed}/{number}"
        )
    slots += _round([cell_id for cell_id, _ in accuracies], 0, rounds - 1, f"{seed}/accuracy")
    return tuple(slots)


def _round(cell_ids: list[str], index: int, number: int, seed: str) -> list[Slot]:
    # A text seed goes through SHA-512: the same order in every process.
    random.Random(seed).shuffle(cell_ids)  # noqa: S311 - no secret
    return [Slot(cell_id, index, number) for cell_id in cell_ids]


def _matches(cell: Cell, pattern: str) -> bool:
    return fnmatch.fnmatchcase(cell.label, pattern) or (len(pattern) >= 6 and cell.cell_id.startswith(pattern))
