"""``harness gate``: measure a suite, or take a stored run, and fail where it is worse than what was accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import campaign as campaigns
from harness.cli.arguments import Only, Preset, Runs, Set, overrides
from harness.cli.baseline import BASELINES, Baselines
from harness.cli.console import explain
from harness.cli.exit_codes import ExitCode, worst
from harness.cli.exports import Exports, parsed, write
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

    from results.gate import Gate


def gate(
    suite_name: Annotated[
        str | None,
        typer.Argument(metavar="SUITE", help="Measure this suite and judge it; absent: judge a stored run."),
    ] = None,
    *,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            metavar="WHICH",
            help="What to compare with: `baseline`, that of the suite on this hardware; the name of another; or a run.",
        ),
    ] = "baseline",
    head: Annotated[
        str | None, typer.Option("--head", metavar="RUN", help="Without SUITE: the stored run to judge, else latest.")
    ] = None,
    only: Only = None,
    assign: Set = None,
    preset: Preset = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, metavar="N", help="Cap for all measuring, instead of the suite's."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Something inconclusive or missing fails (6), and so does a skipped cell (3)."),
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Judge and print, fail nothing, and say how often it accuses no change.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show what is equivalent, too.")] = False,
    runs: Runs = campaigns.RUNS,
    baselines: Baselines = BASELINES,
    export: Exports = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress stays on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Fail where SUITE, or a stored run, is worse than its baseline by what its `gate` says.

    Each timed cell first gets the launches that its `gate` says, ten if nothing.
    Where these leave something open and time allows, every cell gets as many
    again, up to 20 in all, for a second look. What is open still fails nothing
    without --strict.

    Exit codes: 0 ok, 1 a regression, 2 interrupted, 3 a cell failed, 4 usage,
    5 nothing to compare with, 6 inconclusive (--strict).
    """
    if suite_name is not None and head is not None:
        raise HarnessError("give a suite to measure, or --head with a stored run", "for example: harness gate ci.yaml")
    if suite_name is None and (assign or preset or minutes):
        hint = "give the suite too, or judge the stored run as it is"
        raise HarnessError("--set, --preset and --minutes change what is measured", hint)
    exports = parsed(export)
    # Imported here: what judges brings SciPy, and `harness --help` should not wait for it.
    from harness.cli.gate_measuring import Asked, measured
    from harness.cli.gate_sides import NoBaseline
    from harness.cli.gate_text import show, show_json
    from results.changes import today
    from results.compared import ComparisonRefused, NothingToCompare
    from results.named import NoRun

    patterns = tuple(only or ())
    try:
        if suite_name is None:
            judged: Gate | None = _stored(head or "latest", baseline, patterns, baselines, runs)
        else:
            cap_s = None if minutes is None else 60 * minutes
            asked = Asked(suite_name, tuple(overrides(assign, preset)), patterns, baseline, cap_s, baselines, runs)
            judged = measured(asked, today=today(), quiet=quiet)
    except (NoBaseline, NoRun, ComparisonRefused, NothingToCompare) as error:
        explain(error.message, error.hint)
        return ExitCode.NOTHING
    if judged is None:
        return ExitCode.INTERRUPTED
    write(exports, judged.comparison)
    code = exit_code(judged, strict=strict, shadow=shadow)
    if json:
        show_json(judged, code, shadow=shadow)
    else:
        show(judged, code, shadow=shadow, everything=everything)
    return code


def _stored(head: str, baseline: str, only: tuple[str, ...], baselines: Path, runs: Path) -> Gate:
    """Judge a stored run in one look, which has the whole level."""
    from harness.cli.compare import check_patterns
    from harness.cli.gate_sides import Judged, base_of, head_of
    from results.arms import design_of
    from results.changes import today
    from results.compared import compared
    from results.gate import judge, rules_of

    after, gating = head_of(head, runs)
    judged = Judged(after.suite, after.hw_id, after.hardware, f"harness baseline set {after.run_id}")
    base = base_of(baseline, judged, baselines, runs)
    check_patterns((after, base), only)
    rules = replace(rules_of(gating, only), design=design_of(base, after))
    day = today()
    return judge(compared(base, after, rules, today=day), today=day)


def exit_code(judged: Gate, *, strict: bool, shadow: bool) -> ExitCode:
    """Return what a script is told of a gate: the worst of everything that holds; a shadow fails nothing."""
    from results.changes import STATUS
    from results.gate import Outcome
    from results.snapshot import COMPLETED, FAILED, SKIPPED
    from results.snapshots import select

    if shadow:
        return ExitCode.NOTHING if judged.outcome is Outcome.NOTHING else ExitCode.OK
    codes = [ExitCode.OK]
    if judged.failing:
        codes.append(ExitCode.GATE)
    if strict and (judged.open or judged.missing):
        codes.append(ExitCode.INCONCLUSIVE)
    comparison = judged.comparison
    suffered = {change.key for change in judged.allowed if change.quantity == STATUS}
    barred = {FAILED, SKIPPED} if strict else {FAILED}
    cells = select(comparison.after, comparison.rules.only).cells
    if judged.outcome is Outcome.NOTHING or not any(cell.status == COMPLETED for cell in cells):
        codes.append(ExitCode.NOTHING)
    if any(cell.status in barred and comparison.rules.identity(cell) not in suffered for cell in cells):
        codes.append(ExitCode.CELL_FAILED)
    return worst(codes)
