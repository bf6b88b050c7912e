"""``harness ab``: two environments or two revisions measured in one run, launches alternating, and compared."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from harness import codec, runner
from harness.arms import BASE, FORMS, HEAD, NothingToCompare
from harness.cli import campaign as campaigns
from harness.cli.ab_found import Request
from harness.cli.ab_model import as_shape
from harness.cli.arguments import Only, Preset, Runs, Set, overrides
from harness.cli.compare import Margins
from harness.cli.console import as_json, errors, explain, say
from harness.cli.exit_codes import ExitCode, worst
from harness.cli.exports import Exports, parsed, write
from harness.cli.progress import reporter
from harness.cli.run import command_line, exit_code, follow
from harness.errors import HarnessError
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.cli.ab_sides import Match
    from harness.cli.exports import Export
    from harness.cli.progress import Reporter
    from results.changes import Rules
    from results.gate import Gate

_SIDE = "A requirement (onnxruntime==1.30.*), a wheel, an interpreter or, with --suite, a git revision."


def ab(
    base: Annotated[str | None, typer.Argument(metavar="BASE", help=_SIDE)] = None,
    head: Annotated[str | None, typer.Argument(metavar="HEAD", help="Another, that is held against BASE.")] = None,
    *,
    base_option: Annotated[str | None, typer.Option("--base", metavar="BASE", help="The same as BASE.")] = None,
    head_option: Annotated[str | None, typer.Option("--head", metavar="HEAD", help="The same as HEAD.")] = None,
    suite_name: Annotated[
        str | None, typer.Option("--suite", metavar="SUITE", help="What to measure: a suite file, or one that ships.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="FILE", help="An ONNX file to time, instead of a suite.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option("--input", metavar="C,H,W", help="With --model: its input's shape, if the file leaves it open."),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option("--precision", metavar="NAME", help="Instead of the suite's. Repeatable.")
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", metavar="NAME", help="Compare this engine alone.")] = None,
    only: Only = None,
    assign: Set = None,
    preset: Preset = None,
    launches: Annotated[
        int | None, typer.Option("--launches", min=2, max=1000, help="Of each cell on each side; 10 by default.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, metavar="N", help="Cap for the launches; 10 by default with --model."),
    ] = None,
    margin: Margins = None,
    gate: Annotated[bool, typer.Option("--gate", help="Fail (1) where HEAD is worse by what `gate:` says.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A skipped cell fails (3); with --gate, something inconclusive does (6).")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Make the environments of requirements anew: newer versions may be out.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run: its id, or latest.")
    ] = None,
    runs: Runs = campaigns.RUNS,
    export: Exports = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is equivalent, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress stays on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Measure BASE and HEAD in one run, their launches alternating, and say what differs.

    "ONNX Runtime 1.30 against 1.31 on my model":
    harness ab 'onnxruntime==1.30.*' 'onnxruntime==1.31.*' --model mine.onnx

    Each round holds both sides of each cell next to each other, so that what
    the machine does meanwhile meets both alike.

    Exit codes: 0 compared, 1 worse (--gate), 2 interrupted, 3 a cell failed,
    4 usage, 5 nothing to compare, 6 inconclusive (--gate --strict).
    """
    exports = parsed(export)
    _check_margins(margin)
    telling = Telling(tuple(margin or ()), gate, strict, exports, everything, json)
    if resume is not None:
        sides = (base, head, base_option, head_option, suite_name, model, shape, precision, engine)
        if any((*sides, only, assign, preset, launches, minutes, refresh)):
            hint = "run it anew with them, or resume without"
            raise HarnessError("what is compared, and how, is kept with the run that is resumed", hint)
        request = None
    else:
        request = Request(
            base=_one("BASE", base, base_option),
            head=_one("HEAD", head, head_option),
            suite=suite_name or "",
            model=model or "",
            shape=as_shape(shape),
            engine=engine or "",
            precisions=tuple(precision or ()) if model else (),
            only=tuple(only or ()),
            overrides=tuple(_overrides(assign, preset, precision or (), model)),
            launches=launches,
            minutes=minutes,
            refresh=refresh,
        )
    try:
        store, interrupted = _measured(request, resume, runs, quiet=quiet)
    except NothingToCompare as error:
        return _nothing(error)
    return _concluded(store, telling, runs, interrupted=interrupted)


@dataclass(frozen=True)
class Telling:
    """What is made of the two sides at the end, and how it is told."""

    margins: tuple[str, ...]
    gate: bool
    strict: bool
    exports: tuple[Export, ...]
    everything: bool
    json: bool


def _one(name: str, given: str | None, option: str | None) -> str:
    """Return a side, which is given in one of two ways. Raises ``HarnessError``."""
    if given is not None and option is not None:
        raise HarnessError(f"{name} is given twice, as an argument and as an option", "leave one of the two out")
    found = given if given is not None else option
    if found is None:
        raise HarnessError(f"{name} is not given", FORMS)
    return found


def _check_margins(margins: Sequence[str] | None) -> None:
    """Raise ``HarnessError`` for a wrong one before anything is measured."""
    from results.margins import parse_margins

    parse_margins(margins or ())


def _overrides(assign: list[str] | None, preset: str | None, precisions: Sequence[str], model: str | None) -> list[str]:
    """Return what is set over the suite; a model's own suite is written with its precisions."""
    asked = [f"matrix.precision=[{', '.join(precisions)}]"] if precisions and not model else []
    return [*asked, *overrides(assign, preset)]


def _measured(request: Request | None, resume: str | None, runs: Path, *, quiet: bool) -> tuple[RunStore, bool]:
    """Return the run, measured as far as it came, and whether it was interrupted."""
    # Imported here: they bring what plans and measures, and `harness --help` should not wait for it.
    from harness.cli import ab_sides
    from results.arms import AB

    with (
        reporter(quiet=quiet) as progress,
        campaigns.termination_as_interrupt(),
        campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop,
        ExitStack() as stack,
    ):
        if request is None:
            store = RunStore.open(str(resume), runs)
            store.acquire()  # before anything is read: another process may be writing this run
            stack.callback(store.close)
            match = stack.enter_context(ab_sides.opened(_kept(store), workshop, progress.told))
            match = _as_begun(match, store)
        else:
            match = stack.enter_context(ab_sides.opened(request, workshop, progress.told))
            facts = {side.arm.name: side.facts for side in match.sides}
            manifest = campaigns.described(match.campaign, suite_text=match.suite_text, command=command_line())
            store = RunStore.create(runs, {**manifest, AB: facts})
            stack.callback(store.close)
            campaigns.keep_for_resume(store, {AB: codec.encode(match.again)})
        try:
            interrupted = _launched(match, store, progress)
        finally:
            campaigns.keep_logs(workshop, store)
    return store, interrupted


def _kept(store: RunStore) -> Request:
    """Return what a run compares. Raises ``HarnessError`` for one of another command."""
    from results.arms import AB, is_of_two

    if not is_of_two(store):
        hint = f"`harness run --resume {store.run_id}` goes on with it"
        raise HarnessError(f"{store.run_id} has one side alone", hint)
    return codec.decode(Request, campaigns.kept_for_resume(store).get(AB))


def _as_begun(match: Match, store: RunStore) -> Match:
    """Return a match with the plan of its run. Raises ``HarnessError`` where the sides are others now."""
    campaigns.check_unchanged(match.campaign, store)
    now = {planned.cell.cell_id for planned in match.campaign.plan.cells}
    changed = [planned.cell.label for planned in store.plan.cells if planned.cell.cell_id not in now]
    if changed:
        hint = "its weights, its suite or its engines are not those of the run any more: run it anew"
        raise HarnessError(f"{len(changed)} cells of the run are other cells now, the first {changed[0]}", hint)
    return replace(match, campaign=replace(match.campaign, plan=store.plan))


def _launched(match: Match, store: RunStore, progress: Reporter) -> bool:
    """Prepare and measure what is left; return whether it was interrupted."""
    from harness.cli import ab_sides

    try:
        policy = ab_sides.policy(match, store)
        if policy.next(store.records()) is None:
            return False
        benches = ab_sides.prepared(match, progress.told)
        launched = runner.run(policy, store, ab_sides.setting(match, store, benches))
        follow(launched, lambda: match.campaign.plan, store, progress, match.cap_s)
    except KeyboardInterrupt:
        return True
    return False


def _concluded(store: RunStore, telling: Telling, runs: Path, *, interrupted: bool) -> int:
    """Compare the two sides, tell what differs, and return the exit code."""
    # Imported at the end: what draws and what tests takes seconds to load, and no measuring needs it.
    from harness.cli.gate import exit_code as gate_code
    from harness.cli.report import write_report
    from results.arms import notes, sides
    from results.changes import today
    from results.compared import NothingToCompare as NothingCommon
    from results.compared import compared
    from results.gate import judge
    from results.rows import rows as derive

    page = write_report(store, derive(store), store.folder / "report.html")
    codes = [exit_code(store, interrupted=interrupted, strict=telling.strict)]
    (base, head), day = sides(store), today()
    try:
        comparison = compared(base, head, _rules(store, telling.margins, runs), today=day)
    except NothingCommon as error:
        codes.append(_nothing(error))
    else:
        comparison = replace(comparison, notes=(*comparison.notes, *notes(store)))
        judged = judge(comparison, today=day)
        if telling.gate:
            codes.append(gate_code(judged, strict=telling.strict, shadow=False))
        write(telling.exports, comparison)
        _tell(store, judged, telling, page=page, code=worst(codes), interrupted=interrupted)
    if interrupted:
        errors.print(f"interrupted; continue with: harness ab --resume {store.run_id}", markup=False, highlight=False)
    return worst(codes)


def _rules(store: RunStore, margins: Sequence[str], runs: Path) -> Rules:
    """Return the rules of head's suite, with the margins that are given over them."""
    from harness.cli.gate_sides import head_of
    from results.comparison import Design
    from results.gate import rules_of
    from results.margins import parse_margins

    rules = rules_of(head_of(str(store.folder), runs)[1])
    return replace(rules, margins={**rules.margins, **parse_margins(margins)}, design=Design.INTERLEAVED)


def _tell(store: RunStore, judged: Gate, telling: Telling, *, page: Path, code: ExitCode, interrupted: bool) -> None:
    from harness.cli.comparison_table import data, show
    from harness.cli.gate_text import show as show_gate
    from results.arms import AB

    told = store.manifest[AB]
    if telling.json:
        as_json(
            {
                "run_id": store.run_id,
                "folder": str(store.folder),
                "report": str(page),
                "interrupted": interrupted,
                "sides": told,
                "outcome": judged.outcome.value if telling.gate else None,
                "exit_code": int(code),
                "comparison": data(judged.comparison),
            }
        )
        return
    for name in (BASE, HEAD):
        say(f"{name}: {told[name]['written']}")
    if telling.gate:
        show_gate(judged, code, shadow=False, everything=telling.everything)
    else:
        show(judged.comparison, everything=telling.everything)
    say(f"report: {page}")


def _nothing(error: HarnessError) -> ExitCode:
    explain(error.message, error.hint)
    return ExitCode.NOTHING
