"""The runs of a fleet: one for each host, one more for what a host took over, and going on with all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

import harness
from harness import codec, durations, jobs
from harness import host as hosts
from harness.cli import campaign as campaigns
from harness.cli.fleet_campaign import prepared
from harness.errors import HarnessError
from harness.fleet import machines, sharing
from harness.fleet.contract import FleetError, HostLostError, Terms
from harness.fleet.errands import Errand
from harness.prepare import Portable
from harness.presets import PRESETS
from harness.vocabulary import EngineFacts, Failed, Skipped
from results.fleets import Part
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.cli.fleet_campaign import FleetCampaign, Prepared
    from harness.fleet.machines import Machine
    from harness.vocabulary import Cell, Plan
    from results.fleets import FleetRun


@dataclass(frozen=True)
class Making:
    """What it takes to make runs of a fleet."""

    campaign: FleetCampaign
    fleet: FleetRun
    runs: Path  # folder of all runs
    suite_text: str
    command: str
    stores: dict[str, RunStore] = field(default_factory=dict)  # by run; held for writing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write the fleet and its runs. Safe to call twice."""
        for store in self.stores.values():
            store.close()
        self.fleet.close()

    def opened(self) -> Mapping[str, RunStore]:
        """Return the runs of the fleet, held for writing. Raises ``StoreError``."""
        for part in self.fleet.runs:
            store = self.stores.setdefault(part.run_id, RunStore.open(self.runs / part.run_id))
            store.acquire()
        return self.stores

    def begun(self, prepared: Mapping[str, Prepared]) -> list[Errand]:
        """Make a run for every host that has something to measure or to tell; others have no run."""
        errands = []
        for kind in self.campaign.kinds:
            portables = prepared[kind.name]
            names = [machine.name for machine in kind.machines]
            trusted = lambda cell, mine=portables: isinstance(mine.get(cell.variant_id), Portable)  # noqa: E731
            for name, plan in sharing.shares(self.campaign.plans[kind.name], names, trusted).items():
                if plan.cells:
                    errands.append(self.errand(self.create(name, plan), name, plan, portables))
        return errands

    def further(self, left: Errand, host: str, plan: Plan) -> Errand:
        """Make a run on a host for what a lost one left."""
        store = self.create(host, plan, left.store.run_id)
        return self.errand(store, host, plan, left.portables)

    def create(self, host: str, plan: Plan, taken_from: str = "") -> RunStore:
        """Make the folder of a run on a host, and note that it is of the fleet."""
        machine, suite = self.campaign.machine(host), self.campaign.suite
        scene = campaigns.Scene(
            plan=plan,
            host=_fingerprint(machine, self.campaign.base),
            engines=machine.engines,
            telemetry=machine.about.telemetry,
            overhead=self.campaign.overheads.get(host, {"not measured": "the host was measuring"}),
        )
        models = self.campaign.survey.models
        manifest = campaigns.manifest_of(suite, models, scene, suite_text=self.suite_text, command=self.command)
        of = {"id": self.fleet.fleet_id, "host": host, "from": taken_from}
        store = RunStore.create(self.runs, {**manifest, "fleet": of})
        self.stores[store.run_id] = store
        self.fleet.add(Part(store.run_id, host, taken_from))
        return store

    def errand(self, store: RunStore, host: str, plan: Plan, portables: Prepared) -> Errand:
        """Return what a host is to measure for a run."""
        suite = self.campaign.suite
        terms = Terms(
            timeout_s=suite.timeout,
            strict=suite.fallback == "strict",
            warm=suite.cache == "warm",
            loads={},
            limits={planned.cell.cell_id: durations.limits(planned, suite) for planned in plan.cells},
        )
        retries, budget = PRESETS[suite.preset].retries, campaigns.budget_of(suite)
        return Errand(host, store, plan, portables, terms, retries, budget=budget)


def _fingerprint(machine: Machine, base: Path) -> dict[str, Any]:
    """Return a host's fingerprint with the versions of its engines, and the revision of the suite, which is here."""
    told = machine.about.fingerprint
    around = dict(told["environment"])
    around["versions"] = dict(sorted({**around.get("versions", {}), **campaigns.versions_of(machine.engines)}.items()))
    around["revision"] = hosts.environment({}, base)["revision"]
    return {**told, "environment": around, "env_id": hosts.short_id(around)}


def measure_overheads(campaign: FleetCampaign) -> None:
    """Have every host measure what the harness's own loops cost there, for its runs' manifests."""
    found = [(machine, campaign.plans[kind.name]) for kind in campaign.kinds for machine in kind.machines]

    def measured(one: tuple[Machine, Plan]) -> jobs.OverheadAnswer | Failed | Skipped:
        machine, plan = one
        return machine.host.overhead(campaigns.overhead_job(plan), campaign.suite.cpus)

    for (machine, _), answer in zip(found, machines.together(found, measured), strict=True):
        campaign.overheads[machine.name] = campaigns.overhead_facts(answer)


# --- going on ----------------------------------------------------------------------------------------------------


class Absent:
    """A host that is not there: it is lost whatever it is asked. See ``harness.fleet.contract.Host``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, question: str) -> Callable[..., NoReturn]:
        def lost(*_arguments: object) -> NoReturn:
            raise HostLostError(f"the host {self.name} is not there", "resume once it is back")

        return lost


def reopened(
    making: Making, stores: Mapping[str, RunStore], told: Callable[[str], None]
) -> tuple[list[Errand], dict[str, str]]:
    """Return what is left to do of each run, and the kind of each host, absent ones included.

    Raises ``HarnessError`` where a host, its engines, the model or the data are not what they were.
    """
    fleet, campaign = making.fleet, making.campaign
    kinds = {machine.name: kind.name for kind in campaign.kinds for machine in kind.machines}
    taken: dict[str, set[str]] = {}
    for part in fleet.runs:
        if part.taken_from:
            taken.setdefault(part.taken_from, set()).update(_variants(stores[part.run_id].plan))
    bare = []
    for part in fleet.runs:
        store = stores[part.run_id]
        campaign.overheads.setdefault(part.host, store.manifest.get("overhead", {}))
        if part.host not in kinds:
            kinds[part.host] = _kind_like(campaign, store)
        if campaign.kind_of(part.host) is not None:
            _check_unchanged(campaign, part, store)
        whole = making.errand(store, part.host, store.plan, {})
        errand = whole.without(taken.get(part.run_id, ()))
        if campaign.kind_of(part.host) is not None or errand.order.next(store.records()) is not None:
            bare.append(errand)
    cells: dict[str, list[Cell]] = {}
    for errand in bare:
        if errand.order.next(errand.store.records()) is not None:
            cells.setdefault(kinds[errand.host], []).extend(campaigns.runnable(errand.plan))
    made = prepared(campaign, cells, told)
    return [replace(errand, portables=made.get(kinds[errand.host], {})) for errand in bare], kinds


def _variants(plan: Plan) -> set[str]:
    return {planned.cell.variant_id for planned in plan.cells}


def _kind_like(campaign: FleetCampaign, store: RunStore) -> str:
    """Return the kind of the hosts that measure what a host that is absent measured; a kind of its own if none do."""
    for kind in campaign.kinds:
        if kind.hw_id == store.manifest["host"]["hw_id"] and _changed(kind.engines, store) is None:
            return kind.name
    return f"?{store.manifest['fleet']['host']}"


def _check_unchanged(campaign: FleetCampaign, part: Part, store: RunStore) -> None:
    """Raise ``FleetError`` where launches made now would not belong with those of the run."""
    hint = "run the suite anew"
    machine, kind = campaign.machine(part.host), campaign.kind_of(part.host)
    measured_with = store.manifest.get("harness_version")
    if measured_with != harness.__version__:
        message = f"{_named(store)} was measured with harness {measured_with}, this is {harness.__version__}"
        raise FleetError(message, f"install that version everywhere, or {hint}")
    if machine.about.hw_id != store.manifest["host"]["hw_id"]:
        raise FleetError(f"{part.host} is other hardware than it was", hint)
    changed = _changed(machine.engines, store)
    if changed is not None:
        raise FleetError(f"{part.host} has another {changed} than the run was measured with", hint)
    assert kind is not None, "the host is there"
    now = {planned.cell.cell_id for planned in campaign.plans[kind.name].cells}
    gone = [
        each.cell.label for each in store.plan.cells if each.cell.cell_id not in now and not sharing.is_sentinel(each)
    ]
    if gone:
        hint = "its weights, images or engines are not those of the run any more: run the suite anew"
        raise HarnessError(f"{len(gone)} cells of the run are other cells now, the first {gone[0]}", hint)


def _changed(engines: Mapping[str, EngineFacts | Failed | Skipped], store: RunStore) -> str | None:
    """Return the first engine that is not of the version that a run was measured with."""
    for name, stored in store.manifest["engines"].items():
        found = engines.get(name)
        told = codec.encode(found) if isinstance(found, EngineFacts) else {}
        if "version" in stored and (stored["version"], stored["versions"]) != (
            told.get("version"),
            told.get("versions"),
        ):
            return str(name)
    return None


def _named(store: RunStore) -> str:
    """Return a run with its host, for messages."""
    return f"run {store.run_id} on {store.manifest['fleet']['host']}"
