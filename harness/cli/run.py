"""``harness run`` and ``harness rerun``: measure what a suite asks for."""

from __future__ import annotations

import math
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import durations, runner, suite
from harness import plan as planning
from harness.cli import campaign as campaigns
from harness.cli.arguments import CellName, Only, Preset, RunName, Runs, Set, one_run, overrides
from harness.cli.console import as_json, errors, say
from harness.cli.exit_codes import ExitCode, worst
from harness.cli.progress import Pace, Reporter, ending, reporter
from harness.errors import HarnessError, SuiteError
from harness.places import unplaced
from harness.ports import INTERRUPTED, Step
from harness.vocabulary import Completed, Failed, Launch, Skipped
from results.fleets import is_fleet
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.artifacts import Workshop
    from harness.cli.campaign import Campaign
    from harness.looks import Looks
    from harness.suite import Suite
    from harness.vocabulary import Cell, Plan, Record


def run(
    suite_name: Annotated[
        str | None,
        typer.Argument(metavar="SUITE", help="A suite file, or the name of one that ships (`harness suite list`)."),
    ] = None,
    *,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run: its id, or latest.")
    ] = None,
    only: Only = None,
    assign: Set = None,
    preset: Preset = None,
    runs: Runs = campaigns.RUNS,
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="FILE", help="Run on the machines of a fleet: see `harness fleet --help`."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A skipped cell counts as a failure.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress stays on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Measure every cell of SUITE and write a report.

    Each launch is a process of its own and is stored before the next begins:
    an interrupted run continues with --resume.

    Exit codes: 0 ok, 2 interrupted, 3 a cell failed, 4 usage, 5 nothing ran.
    """
    if (suite_name is None) == (resume is None):
        raise HarnessError("give a suite, or --resume with a run", "for example: harness run quickstart")
    if resume is not None and (only or assign or preset):
        hint = "run the suite anew with them, or resume without"
        raise HarnessError("--only, --set and --preset change a plan; a resumed run keeps its own", hint)
    if fleet is not None:
        from harness.cli.run_fleet import Asked, run_fleet  # a run of this machine needs nothing of it

        changes = overrides(assign, preset)
        return run_fleet(Asked(suite_name, resume, fleet, only or [], changes, runs, strict, json, quiet))
    if resume is not None and is_fleet(resume):
        raise HarnessError(f"{resume} is of a fleet", f"harness run --resume {resume} --fleet FILE goes on with it")
    with (
        reporter(quiet=quiet) as progress,
        campaigns.termination_as_interrupt(),
        campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop,
    ):
        if resume is not None:
            store = RunStore.open(resume, runs)
            store.acquire()  # before anything is read: another process may be writing this run
            try:
                campaign = campaigns.reopen(store, workshop, progress.told)
                campaigns.check_unchanged(campaign, store)
            except BaseException:
                store.close()
                raise
        else:
            campaign, text = begun(str(suite_name), only or [], overrides(assign, preset), workshop, progress)
            store = campaigns.create(campaign, runs, suite_text=text, command=command_line())
        with store:
            try:
                interrupted = measure(campaign, store, progress)
            finally:
                campaigns.keep_logs(workshop, store)
    return _concluded(store, interrupted=interrupted, strict=strict, json=json)


def begun(
    name: str, only: Sequence[str], overrides: Sequence[str], workshop: Workshop, progress: Reporter
) -> tuple[Campaign, str]:
    """Return a suite looked at and planned, and its text."""
    loaded, base, text = read(name, overrides)
    campaign = campaigns.look(loaded, base, workshop, progress.told)
    if only:
        campaign = replace(campaign, plan=planning.select(campaign.plan, only))
    return campaign, text


def read(name: str, overrides: Sequence[str]) -> tuple[Suite, Path, str]:
    """Return a suite, the folder that its paths start from, and its text."""
    path = suite.find(name)
    loaded = suite.load(path, overrides)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}", "check that it may be read") from error
    return loaded, path.absolute().parent, text


def command_line() -> str:
    """Return the command line as a reader could repeat it: no path of this machine's in it."""
    words = ["harness", *sys.argv[1:]]
    return unplaced(shlex.join(Path(word).name if os.path.isabs(word) else word for word in words))  # noqa: PTH117 - a plain word


def measure(campaign: Campaign, store: RunStore, progress: Reporter, policy: Looks | None = None) -> bool:
    """Prepare and run what is left, as a policy or else the suite says; return whether it was interrupted."""
    try:
        order = policy or campaigns.order_of(campaign, store)
        # A run that is done prepares nothing; any other prepares every cell, since a retry may come to each.
        cells = campaigns.runnable(campaign.plan) if order.next(store.records()) is not None else []
        benches = campaigns.prepared(campaign, cells, progress.told)
        launched = runner.run(order, store, campaigns.setting(campaign, store, benches, progress.noted))
        # A gate makes its plan longer or shorter on the way.
        follow(launched, lambda: policy.plan if policy else campaign.plan, store, progress, campaign.suite.budget_s)
    except KeyboardInterrupt:
        return True
    return False


def follow(
    launched: Iterable[runner.Started | runner.Finished],
    plan_now: Callable[[], Plan],
    store: RunStore,
    progress: Reporter,
    cap_s: float | None = None,
) -> None:
    """Let the launches be made and tell of each; ``cap_s``: the time that all of them have."""
    plan = plan_now()
    progress.began(len(plan.order))
    pace = Pace()
    estimates = {planned.cell.cell_id: planned.seconds for planned in plan.cells}
    done: dict[tuple[str, int], float] = {
        (record.cell_id, record.launch.index): record.duration_ns / 1e9 for record in store.records()
    }
    for event in launched:
        if isinstance(event, runner.Started):
            expected_s = pace.corrected(estimates[event.cell.cell_id])
            left_s = durations.seconds_left(plan_now(), done)
            if cap_s is not None:
                spent_s = math.fsum(record.duration_ns for record in store.records()) / 1e9
                left_s = max(0.0, cap_s - spent_s)
            pace.started(estimates[event.cell.cell_id])
            progress.started(event.cell, event.launch, expected_s, left_s)
        else:
            pace.finished()
            done[event.record.cell_id, event.record.launch.index] = event.record.duration_ns / 1e9
            progress.finished(event.record)


def _concluded(store: RunStore, *, interrupted: bool, strict: bool, json: bool) -> int:
    # Imported at the end: what draws and what fits takes seconds to load, and no measuring needs it.
    from harness.cli.report import write_report
    from harness.cli.summary import show, summary_data
    from results.rows import rows as derive

    derived = derive(store)
    page = write_report(store, derived, store.folder / "report.html")
    if json:
        as_json({**summary_data(store, derived), "report": str(page), "interrupted": interrupted})
    else:
        show(store, derived, page)
    if interrupted:
        errors.print(f"interrupted; continue with: harness run --resume {store.run_id}", markup=False, highlight=False)
    return exit_code(store, interrupted=interrupted, strict=strict)


def exit_code(store: RunStore, *, interrupted: bool, strict: bool) -> ExitCode:
    """Return what a script is told of a run: the worst of everything that holds."""
    last: dict[tuple[str, int], Record] = {}
    for record in store.records():
        last[record.cell_id, record.launch.index] = record
    # An interrupted launch is one that was not made; that the run was interrupted now is said by ``interrupted``.
    outcomes = [
        record.outcome
        for record in last.values()
        if not (isinstance(record.outcome, Failed) and record.outcome.kind == INTERRUPTED)
    ]
    codes = [ExitCode.OK]
    if interrupted:
        codes.append(ExitCode.INTERRUPTED)
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        codes.append(ExitCode.CELL_FAILED)
    skipped = any(isinstance(outcome, Skipped) for outcome in outcomes) or any(
        planned.skipped is not None for planned in store.plan.cells
    )
    if strict and skipped:
        codes.append(ExitCode.CELL_FAILED)
    if not interrupted and not any(isinstance(outcome, Completed) for outcome in outcomes):
        codes.append(ExitCode.NOTHING)
    return worst(codes)


def rerun(
    run_name: RunName,
    cell_name: CellName,
    *,
    runs: Runs = campaigns.RUNS,
) -> int:
    """Repeat one cell of a run in the foreground, showing all that its process prints, and store the result."""
    with campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop, campaigns.termination_as_interrupt():
        store = one_run(run_name, runs)
        cell = one_cell(store, cell_name)
        with store:
            store.acquire()
            campaign = campaigns.reopen(store, workshop, _note)
            campaigns.check_unchanged(campaign, store)
            benches = campaigns.prepared(campaign, [cell], _note)
            tried = [attempt.launch for attempt in store.attempts() if attempt.cell_id == cell.cell_id]
            first = [item for item in tried if item.index == 0]
            attempt = max((item.attempt + 1 for item in first), default=0)
            # Of the same round and seed, so that what is drawn for it is what was drawn for the run.
            launch = Launch(0, attempt, max((item.round for item in first), default=0), store.plan.seed)
            setting = replace(campaigns.setting(campaign, store, benches), echo=True)
            record = None
            for event in runner.run(_Once(Step(cell, launch), len(store.records())), store, setting):
                if isinstance(event, runner.Finished):
                    record = event.record
            campaigns.keep_logs(workshop, store)
    if record is None:
        raise HarnessError(f"{cell.label} gave no record", "this is a defect of the harness")
    say(f"{cell.label} #{launch.index} attempt {launch.attempt + 1}: {ending(record)}")
    say(f"log: {store.folder / record.log}" if record.log else f"no launch was made; logs: {store.folder / 'logs'}")
    return ExitCode.CELL_FAILED if isinstance(record.outcome, Failed) else ExitCode.OK


class _Once:
    """The policy of a single launch."""

    def __init__(self, step: Step, records: int) -> None:
        self._step, self._records = step, records

    def next(self, records: Sequence[Record]) -> Step | None:
        return self._step if len(records) == self._records else None


def one_cell(store: RunStore, pattern: str) -> Cell:
    """Return the one cell of a run that a pattern means. Raises ``HarnessError`` naming the choices."""
    exact = [planned for planned in store.plan.cells if planned.cell.label == pattern]
    if len(exact) == 1:
        return exact[0].cell
    found = [planned.cell for planned in planning.select(store.plan, [pattern]).cells]
    # A selection brings the proofs of timed cells along; they are meant only where nothing else is.
    chosen = [cell for cell in found if cell.scenario.name != "prove"] or found
    if len(chosen) != 1:
        labels = ", ".join(cell.label for cell in chosen[:6])
        raise HarnessError(f"{pattern!r} means {len(chosen)} cells", f"name one of: {labels}")
    return chosen[0]


def _note(word: str) -> None:
    errors.print(f"prepare  {word}", markup=False, highlight=False)
