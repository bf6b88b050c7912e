"""``harness run SUITE --fleet FILE``: one suite on many machines, one run on each, one page of them all."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import harness
from harness.cache import default_root
from harness.cli import campaign as campaigns
from harness.cli import fleet_campaign, fleet_progress, fleet_report
from harness.cli.console import as_json, errors
from harness.cli.exit_codes import ExitCode, worst
from harness.cli.fleet_progress import sentence
from harness.cli.fleet_runs import Absent, Making, measure_overheads, reopened
from harness.cli.run import command_line, exit_code, read
from harness.errors import HarnessError
from harness.fleet import config, machines
from harness.fleet.contract import UnreachableError
from harness.fleet.dispatch import Crew, Dispatch
from harness.fleet.events import Lost, Moved, Noted, Unmeasured
from harness.suite import Suite
from results.fleets import BACK, DIFFERING, INTERRUPTED, LOST, MOVED, NOTED, RESUMED, UNMEASURED, FleetRun
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.artifacts import Workshop
    from harness.cli.fleet_campaign import FleetCampaign
    from harness.cli.fleet_progress import Silent
    from harness.fleet.config import FleetFile
    from harness.fleet.contract import Fleet, Host
    from harness.fleet.errands import Errand
    from harness.fleet.events import Event

_RESUME_FILE = "resume.json"
_KINDS = {Lost: LOST, Moved: MOVED, Unmeasured: UNMEASURED, Noted: NOTED}


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    suite: str | None
    resume: str | None
    fleet: Path
    only: Sequence[str]
    overrides: Sequence[str]
    runs: Path
    strict: bool
    json: bool
    quiet: bool


class _Words:
    """Where whoever connects the hosts says that one is silent or back: to the run, once there is one."""

    def __init__(self, progress: Silent) -> None:
        self._progress = progress
        self.dispatch: Dispatch | None = None

    def __call__(self, word: str) -> None:
        if self.dispatch is None:
            self._progress.told(word)
        else:
            self.dispatch.noted(word)


@dataclass(frozen=True)
class _Run:
    """A run of a fleet, ready to be measured."""

    making: Making
    errands: Sequence[Errand]
    kinds: Mapping[str, str]  # of every host, by name; absent ones too


@dataclass
class _Outcome:
    """How the measuring ended."""

    interrupted: bool = False
    unmeasured: bool = False


def run_fleet(asked: Asked) -> int:
    """Measure a suite on a fleet, or go on with it; return the exit code.

    Raises ``HarnessError`` for what is refused before anything runs: an engine or a device that no host offers,
    versions that differ, a suite that a fleet cannot do.
    """
    said = config.load(asked.fleet)
    with (
        fleet_progress.reporter(quiet=asked.quiet) as progress,
        campaigns.termination_as_interrupt(),
        campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop,
    ):
        words = _Words(progress)
        # A lock on the fleet's folder is held to the end of this block; those of its runs as long.
        with closing(opened(said, words)) as fleet:
            if asked.resume is not None:
                run = _resumed(asked, FleetRun.open(asked.resume, asked.runs), fleet, workshop, progress)
            else:
                run = _begun(asked, fleet, workshop, progress)
            with run.making:
                try:
                    outcome = _measured(run, progress, words)
                finally:
                    campaigns.keep_logs_in(workshop, run.making.fleet.folder / "logs")
    return _concluded(asked, run, outcome)


def opened(said: FleetFile, words: _Words) -> Fleet:
    """Return the hosts of a fleet file, connected. Raises ``HarnessError``."""
    if said.local:
        from harness.fleet.hosting import Hosting, Kit
        from harness.fleet.local import NAME, LocalFleet

        root = default_root(os.environ)
        return LocalFleet(Hosting(NAME, root / "fleet", RunStore, Kit(cache=root)))
    config.check_installed()
    from harness.fleet.dask_fleet import DaskFleet

    return DaskFleet(said, words)


# --- beginning ---------------------------------------------------------------------------------------------------


def _begun(asked: Asked, fleet: Fleet, workshop: Workshop, progress: Silent) -> _Run:
    loaded, base, text = read(str(asked.suite), asked.overrides)
    campaign = fleet_campaign.look(loaded, base, workshop, fleet.hosts(), progress.told)
    campaign = fleet_campaign.selected(campaign, asked.only)
    cells = {name: campaigns.runnable(plan) for name, plan in campaign.plans.items()}
    prepared = fleet_campaign.prepared(campaign, cells, progress.told)
    progress.told("measuring what the harness costs on each host")
    measure_overheads(campaign)
    found = FleetRun.create(
        asked.runs,
        suite=loaded.name or "",
        command=command_line(),
        harness_version=harness.__version__,
        hosts={machine.name: machine.about.hw_id for kind in campaign.kinds for machine in kind.machines},
    )
    making = Making(campaign, found, asked.runs, text, command_line())
    try:
        resume = {"suite": loaded.resolved(), "base": str(base), "text": text}
        (found.folder / _RESUME_FILE).write_text(json.dumps(resume, indent=1), encoding="utf-8")
        for words in machines.differing(campaign.kinds):
            found.happened(DIFFERING, words)
        return _Run(making, making.begun(prepared), _kinds(campaign))
    except BaseException:
        making.close()
        raise


def _kinds(campaign: FleetCampaign) -> dict[str, str]:
    return {machine.name: kind.name for kind in campaign.kinds for machine in kind.machines}


def _resumed(asked: Asked, found: FleetRun, fleet: Fleet, workshop: Workshop, progress: Silent) -> _Run:
    found.acquire()  # before anything is read: another process may be writing it
    making = None
    try:
        loaded, base, text = _kept(found)
        found.adopt()
        campaign = fleet_campaign.look(loaded, base, workshop, fleet.hosts(), progress.told)
        making = Making(campaign, found, asked.runs, text, command_line())
        stores = making.opened()
        errands, kinds = reopened(making, stores, progress.told)
    except BaseException:
        (making or found).close()
        raise
    found.happened(RESUMED, "the run was resumed")
    there = _kinds(campaign)
    last = {each.host: each.kind for each in found.happenings if each.kind in {LOST, BACK}}
    for host, kind in last.items():
        if kind == LOST and host in there:
            found.happened(BACK, f"{host} is back", host=host)
    return _Run(making, errands, kinds)


def _kept(found: FleetRun) -> tuple[Suite, Path, str]:
    try:
        saved: dict[str, Any] = json.loads((found.folder / _RESUME_FILE).read_text(encoding="utf-8"))
        return Suite.model_validate_json(json.dumps(saved["suite"])), Path(saved["base"]), str(saved["text"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "a run is resumed on the machine where it began; elsewhere, run its suite anew"
        message = f"{found.fleet_id} cannot be resumed: {type(error).__name__}: {error}"
        raise HarnessError(message, hint) from error


# --- measuring ---------------------------------------------------------------------------------------------------


def _measured(run: _Run, progress: Silent, words: _Words) -> _Outcome:
    """Have all hosts measure what is theirs; keep what befalls them."""
    making, outcome = run.making, _Outcome()
    campaign, found = making.campaign, making.fleet
    busy = {errand.host for errand in run.errands}
    kinds = {name: kind for name, kind in run.kinds.items() if kind in {run.kinds[host] for host in busy}}
    hosts: dict[str, Host] = {
        name: campaign.machine(name).host if campaign.kind_of(name) else cast("Host", Absent(name)) for name in kinds
    }
    try:
        if hosts:
            crew = Crew(
                hosts, kinds, campaign.packing, making.further, lambda host, word: progress.told(f"{host}: {word}")
            )
            words.dispatch = dispatch = Dispatch(crew, run.errands, found.blamed())
            certain = sum(len(errand.certain()) for errand in run.errands)
            progress.began(certain, lambda: max((dispatch.left_s(host) for host in hosts), default=0.0))
            with closing(dispatch.run()) as events:
                for event in events:
                    _keep(found, event)
                    progress.heard(event)
                    outcome.unmeasured |= isinstance(event, Unmeasured)
    except (KeyboardInterrupt, UnreachableError) as end:
        outcome.interrupted = True
        why = f": {end.message}" if isinstance(end, UnreachableError) else ""
        found.happened(INTERRUPTED, f"the run was interrupted{why}")
    finally:
        words.dispatch = None
    return outcome


def _keep(found: FleetRun, event: Event) -> None:
    """Keep what a reader of the results should know; launches are in the runs."""
    kind = _KINDS.get(type(event))
    if kind is None:
        return
    cell = event.cell.cell_id if isinstance(event, Lost) and event.cell is not None else ""
    host = event.host if isinstance(event, Lost | Moved | Unmeasured) else ""
    found.happened(kind, sentence(event), host=host, cell_id=cell)


def _concluded(asked: Asked, run: _Run, outcome: _Outcome) -> int:
    # Imported at the end: what draws and what fits takes seconds to load, and no measuring needs it.
    from harness.cli.report import write_page

    found = run.making.fleet
    together = fleet_report.merged_of(found)
    page = write_page(together, found.folder / fleet_report.PAGE)
    if asked.json:
        as_json(fleet_report.data(found, together, page, interrupted=outcome.interrupted))
    else:
        fleet_report.show(found, together, page)
    unfinished = outcome.interrupted or outcome.unmeasured
    if unfinished:
        how = "interrupted" if outcome.interrupted else "not finished"
        command = f"harness run --resume {found.fleet_id} --fleet {asked.fleet}"
        errors.print(f"{how}; continue with: {command}", markup=False, highlight=False)
    stores = [RunStore.open(folder) for folder in found.folders]
    codes = [exit_code(store, interrupted=False, strict=asked.strict) for store in stores]
    # A host that gave nothing is nothing only where no other gave anything.
    told: list[ExitCode] = [code for code in codes if code is not ExitCode.NOTHING]
    told = told or [ExitCode.NOTHING]
    return worst([*told, ExitCode.INTERRUPTED] if unfinished else told)
