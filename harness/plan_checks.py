"""What a suite asks for and no plan can give: each refused by name, with what to do about it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.durations import START_S, certain_launches, iterations, launches_of, warmup_maximum_s
from harness.errors import PlanError
from harness.matrix import DEFAULT
from harness.presets import PRESETS
from harness.scenarios import CameraSettings, ServerSettings
from harness.settings import SettingError, did_you_mean, settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.matrix import Asked
    from harness.suite_model import Suite
    from harness.vocabulary import Cell, PlannedCell


@dataclass
class Names:
    """Under which names the cells stand that were asked for by a name: of equal cells the first gives it."""

    workloads: dict[str, set[str]] = field(default_factory=dict)
    configurations: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # by engine and configuration

    def note(self, asked: Asked, kept: Cell) -> None:
        """Note which cell stands for what was asked."""
        self.workloads.setdefault(asked.workload, set()).add(kept.workload)
        self.configurations.setdefault((asked.engine, asked.configuration), set()).add(kept.configuration)


def check_suite(suite: Suite, engines: Collection[str], percentiles: Sequence[float]) -> None:
    """Raise ``PlanError`` for what is wrong whatever the cells: names, percentiles, durations."""
    _check_engines(suite, engines)
    _check_configurations(suite)
    _check_scenarios(suite)
    _check_percentiles(suite, percentiles)
    _check_queries(suite)
    _check_frames(suite)
    _check_durations(suite)


def check_cells(suite: Suite, planned: Collection[PlannedCell], names: Names, machines: int = 1) -> None:
    """Raise ``PlanError`` for what shows only in the cells: none at all, names that vanish, a budget too short.

    ``machines``: how many share the cells, each of which has the budget.
    """
    if not planned:
        raise PlanError("the matrix is empty: nothing is left to measure", "see `exclude` in the suite")
    _check_distinct(names)
    _check_different(names)
    _check_budget(suite, planned, machines)


def checked_options(suite: Suite, kinds: Mapping[str, type | None]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by engine and configuration, what differs from its defaults: writing one out makes no other cell.

    ``kinds``: by engine, the dataclass of its settings, ``None`` where nothing is known of them. Raises ``PlanError``
    for a setting that the engine does not have or refuses.
    """
    checked = {}
    for engine in {*suite.options, *suite.configurations}:
        common = suite.options.get(engine, {})
        checked[engine, DEFAULT] = _different(kinds[engine], common, f"options.{engine}")
        for name, configuration in suite.configurations.get(engine, {}).items():
            given, place = {**common, **configuration.options}, f"configurations.{engine}.{name}.options"
            checked[engine, name] = _different(kinds[engine], given, place)
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


def _check_engines(suite: Suite, engines: Collection[str]) -> None:
    named = {*suite.matrix.engine, *(name for entry in suite.include for name in entry.engine or ())}
    checked = (("matrix", sorted(named)), ("options", suite.options), ("configurations", suite.configurations))
    for where, names in checked:
        for name in names:
            if name not in engines:
                known = ", ".join(sorted(engines)) or "none"
                message = f"{where}: no engine is called {name[:80]!r}{did_you_mean(name, engines)}"
                raise PlanError(message, f"known here: {known}")


def _check_configurations(suite: Suite) -> None:
    known = {name for named in suite.configurations.values() for name in named} | {DEFAULT}
    for engine, named in suite.configurations.items():
        if DEFAULT in named:
            hint = "give it another name; what holds for every cell of an engine stands under `options`"
            raise PlanError(f"configurations.{engine}: {DEFAULT!r} is what the engine is without any", hint)
    asked = {name for entry in (*suite.include, *suite.exclude) for name in entry.configuration or ()}
    for name in sorted((asked | set(suite.matrix.configuration or ())) - known):
        message = f"no configuration is called {name!r}{did_you_mean(name, known)}"
        raise PlanError(message, f"there are: {', '.join(sorted(known))}")


def _scenarios(suite: Suite) -> list[str]:
    """Return the names of the scenarios that are asked for."""
    return sorted({*suite.matrix.scenario, *(name for entry in suite.include for name in entry.scenario or ())})


def _check_scenarios(suite: Suite) -> None:
    """Raise ``PlanError`` for two names of one scenario: the cells of the second would vanish."""
    seen: dict[str, str] = {}
    for name in _scenarios(suite):
        kind, given = suite.scenario(name)
        first = seen.setdefault(f"{kind.name} {sorted(given.items())}", name)
        if first != name:
            message = f"the scenarios {first} and {name} are one: the same kind with the same settings"
            raise PlanError(message, "take one of the two out of the matrix, or set what tells them apart")


def _check_percentiles(suite: Suite, percentiles: Sequence[float]) -> None:
    preset, launches = PRESETS[suite.preset], certain_launches(suite) if suite.percentiles else launches_of(suite)
    for percentile in percentiles:
        each = iterations(percentile, launches)
        if each > preset.maximum_iterations:
            raise PlanError(
                f"p{percentile:g} takes {each:,} iterations in each of {launches} launches, "
                f"the limit is {preset.maximum_iterations:,}",
                "ask for a lower percentile, or for more launches",
            )
    if preset.minimum_s + START_S > suite.timeout:
        raise PlanError(
            f"a launch of the preset {suite.preset} measures for {preset.minimum_s:g} s, the timeout is "
            f"{suite.timeout:g} s",
            "raise the timeout, or take a shorter preset",
        )


def _check_queries(suite: Suite) -> None:
    """Raise ``PlanError`` where a server's queries cannot carry the percentile of its SLO: each launch judges it."""
    for name in _scenarios(suite):
        kind, given = suite.scenario(name)
        server = kind.configured(given)
        if not isinstance(server, ServerSettings) or server.rate is None:
            continue
        needed = iterations(server.slo_percentile, 1)
        if server.rate * server.seconds < needed:
            raise PlanError(
                f"{name}: {server.rate:g} queries/s for {server.seconds:g} s are {server.rate * server.seconds:,.0f}, "
                f"p{server.slo_percentile:g} takes {needed:,}",
                f"give `scenarios.{name}.seconds: {math.ceil(needed / server.rate)}`, or a lower `slo_percentile`",
            )


def _check_frames(suite: Suite) -> None:
    """Raise ``PlanError`` where a camera's frames cannot carry a percentile that the suite names."""
    for name in _scenarios(suite):
        kind, given = suite.scenario(name)
        camera = kind.configured(given)
        if not isinstance(camera, CameraSettings):
            continue
        launches, per_second = certain_launches(suite), camera.cameras * camera.fps
        for percentile in suite.percentiles or ():
            needed = iterations(percentile, launches)
            if per_second * camera.seconds < needed:
                raise PlanError(
                    f"{name}: {per_second:g} frames/s for {camera.seconds:g} s are {per_second * camera.seconds:,.0f}, "
                    f"p{percentile:g} takes {needed:,} in each of {launches} launches",
                    f"give `scenarios.{name}.seconds: {math.ceil(needed / per_second)}`, or ask for a lower percentile",
                )


def _check_durations(suite: Suite) -> None:
    """Raise ``PlanError`` where a scenario lasts longer than a launch may."""
    for name in _scenarios(suite):
        kind, given = suite.scenario(name)
        if kind.lasting is None:
            continue
        lasts_s = kind.lasting(kind.configured(given)) + warmup_maximum_s(suite) + START_S
        if lasts_s > suite.timeout:
            message = f"a launch of {name} may take {lasts_s:g} s, the timeout is {suite.timeout:g} s"
            raise PlanError(message, f"raise `timeout`, or shorten `scenarios.{name}`")


def _check_distinct(names: Names) -> None:
    """Raise ``PlanError`` where a workload's cells are all another's: its name would vanish from the report."""
    for name, kept in sorted(names.workloads.items()):
        if name not in kept:
            others = ", ".join(sorted(kept))
            message = f"the workload {name} is one of {others} under another name: the same model, task and data"
            raise PlanError(message, "take one of the two out")


def _check_different(names: Names) -> None:
    """Raise ``PlanError`` where all cells of a configuration are another's: its name would vanish from the report."""
    for (engine, name), kept in names.configurations.items():
        if name in kept:
            continue
        equal = sorted({name, *kept})
        if len(kept) > 1:
            others = " or ".join(sorted(kept))
            message = f"configurations.{engine}: {name} has no cell of its own, each is one of {others}"
            raise PlanError(message, "take it out, or set what tells it apart")
        if DEFAULT in equal:
            equal.remove(DEFAULT)
            message = f"configurations.{engine}.{equal[0]} changes nothing in any cell that is asked for"
            raise PlanError(message, "its settings are the default's, or of exporters that no route goes through")
        message = f"configurations.{engine}: {' and '.join(equal)} are one in every cell that is asked for"
        raise PlanError(message, "take one of the two out, or set what tells them apart")


def _check_budget(suite: Suite, planned: Iterable[PlannedCell], machines: int) -> None:
    """Raise ``PlanError`` where the budget does not hold one launch of each cell that can run."""
    if suite.budget_s is None:
        return
    needed: dict[str, float] = defaultdict(float)
    for entry in planned:
        if entry.skipped is None:
            needed[entry.cell.scenario.label] += entry.seconds
    total_s = math.fsum(needed.values())
    if total_s > machines * suite.budget_s:
        parts = " + ".join(f"{math.ceil(seconds)} s of {name}" for name, seconds in needed.items())
        shared = f", shared by {machines} machines" if machines > 1 else ""
        raise PlanError(
            f"the budget {suite.budget} is shorter than one launch of each cell: {parts} = {math.ceil(total_s)} s"
            + shared,
            "raise `budget`, or take cells out",
        )
