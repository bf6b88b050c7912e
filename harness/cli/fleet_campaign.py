"""One suite on a fleet: what its hosts can do, the plan of each kind of them, and what their launches need."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from harness import durations, registry
from harness import plan as planning
from harness import survey as surveying
from harness.artifacts import Exporters
from harness.cli import campaign as campaigns
from harness.errors import PlanError
from harness.fleet import machines
from harness.fleet.sending import Packing
from harness.prepare import Portable, Preparer, Settings
from harness.vocabulary import EngineFacts, Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.artifacts import Workshop
    from harness.fleet.contract import Host
    from harness.fleet.machines import Kind, Machine
    from harness.suite import Suite
    from harness.survey import Survey
    from harness.vocabulary import Cell, Plan

Prepared: TypeAlias = "Mapping[str, Portable | Failed | Skipped]"  # by variant id


@dataclass(frozen=True)
class FleetCampaign:
    """A suite with the hosts that were found, and the plan of each kind of them."""

    suite: Suite
    base: Path  # folder that the suite's relative paths start from
    survey: Survey  # of this machine: the models and their data, and the engines that references are made by
    workshop: Workshop
    kinds: tuple[Kind, ...]
    plans: Mapping[str, Plan]  # by the name of the kind
    packing: Packing
    overheads: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by host

    def kind_of(self, host: str) -> Kind | None:
        """Return the kind of a host; ``None`` where it is not there."""
        return next((kind for kind in self.kinds if host in {machine.name for machine in kind.machines}), None)

    def machine(self, host: str) -> Machine:
        """Return a host that is there."""
        return next(machine for kind in self.kinds for machine in kind.machines if machine.name == host)


def check_possible(suite: Suite) -> None:
    """Raise ``PlanError`` for what a suite says and a fleet does not do."""
    engines = registry.registered(registry.ENGINES_GROUP)
    for name in suite.interpreters:
        if name in engines:
            hint = "leave it out here, and start that host with `harness fleet worker --interpreter ENGINE=PYTHON`"
            raise PlanError(f"interpreters: that of the engine {name!r} is each host's own", hint)


def look(
    suite: Suite, base: Path, workshop: Workshop, found: Sequence[Host], told: Callable[[str], None]
) -> FleetCampaign:
    """Survey the models here and the engines on the hosts, and plan for each kind of host.

    Raises ``HarnessError`` for what no plan can be made of, for what no host offers, and for versions that differ.
    """
    check_possible(suite)
    engines = surveying.named_engines(suite)
    for name in engines:
        registry.named(registry.ENGINES_GROUP, name)  # before hosts are asked for what does not exist
    told(f"asking {len(found)} hosts")
    kinds = machines.kinds(machines.ask(found, engines, suite.cpus))
    survey = _with_some_engine(surveying.survey(suite, base, workshop, told), workshop, told)
    plans = {kind.name: _plan(suite, base, survey, kind) for kind in kinds}
    return FleetCampaign(suite, base, survey, workshop, kinds, plans, Packing(workshop))


def _with_some_engine(survey: Survey, workshop: Workshop, told: Callable[[str], None]) -> Survey:
    """Return the survey with every engine of this machine where none of the suite's is here: references need one."""
    if any(isinstance(facts, EngineFacts) for facts in survey.engines.values()):
        return survey
    engines, registered = dict(survey.engines), dict(survey.registered)
    for name, entry in registry.registered(registry.ENGINES_GROUP).items():
        if name not in engines:
            told(f"probing {name} for references")
            facts = surveying.probe(entry, workshop, workshop.interpreter)
            registered[name], engines[name] = entry, surveying.adapted(entry, facts)
    return replace(survey, engines=engines, registered=registered)


def _plan(suite: Suite, base: Path, survey: Survey, kind: Kind) -> Plan:
    return planning.expand(
        campaigns.relevant(suite),
        campaigns.workload_facts(suite, survey.models),
        campaigns.capabilities(kind.engines, survey.registered),
        Exporters(interpreters=surveying.interpreters(suite, base), bound_here=False).route,
        machines=len(kind.machines),
    )


def selected(campaign: FleetCampaign, patterns: Sequence[str]) -> FleetCampaign:
    """Return the part that matches a pattern, of whichever kinds have such cells, if every cell has a host.

    Raises ``PlanError`` for a pattern that matches nothing anywhere, ``FleetError`` for an engine or a device that no
    host offers.
    """
    plans = dict(campaign.plans)
    if patterns:
        for pattern in patterns:
            if not any(_matches(plan, pattern) for plan in campaign.plans.values()):
                planning.matching(next(iter(campaign.plans.values())), pattern)
        for name, plan in campaign.plans.items():
            mine = [pattern for pattern in patterns if _matches(plan, pattern)]
            plans[name] = planning.select(plan, mine) if mine else replace(plan, cells=(), order=())
    cells = [planned.cell for plan in plans.values() for planned in plan.cells]
    machines.check_offered(cells, campaign.kinds)
    return replace(campaign, plans=plans)


def _matches(plan: Plan, pattern: str) -> bool:
    try:
        return bool(planning.matching(plan, pattern))
    except PlanError:
        return False


def prepared(
    campaign: FleetCampaign, cells: Mapping[str, Iterable[Cell]], told: Callable[[str], None]
) -> dict[str, Prepared]:
    """Return, by kind and by variant, what the launches of cells need, made here as far as no device is needed."""
    suite = campaign.suite
    settings = Settings(
        builds=min(suite.builds, durations.launches_of(suite)),
        export=suite.export,
        interpreters=surveying.interpreters(suite, campaign.base),
        seed=suite.seed,
        timeout_s=suite.timeout,
        bound_here=False,
    )
    preparer = Preparer(campaign.survey, campaign.workshop, settings, told)
    made: dict[str, Prepared] = {}
    for kind in campaign.kinds:
        mine: dict[str, Portable | Failed | Skipped] = {}
        for cell in cells.get(kind.name, ()):
            if cell.variant_id not in mine:
                facts = kind.engines[cell.engine]
                mine[cell.variant_id] = preparer.portable(cell) if isinstance(facts, EngineFacts) else facts
        made[kind.name] = mine
    return made
