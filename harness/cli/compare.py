"""``harness compare``: what differs between two runs, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import campaign as campaigns
from harness.cli.arguments import Only, Runs
from harness.cli.compare_sides import paired, side
from harness.cli.console import as_json, explain, say
from harness.cli.exit_codes import ExitCode
from harness.cli.exports import Exports, parsed, write
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.cli.compare_sides import Pairs
    from results.changes import Comparison
    from results.snapshot import Snapshot

_A_RUN = "A run, or all of a fleet: its folder, its id, a tag, a git ref, latest, latest:REF, a baseline or a bundle."

Margins = Annotated[
    list[str] | None,
    typer.Option(
        "--margin", metavar="RULE=VALUE", help="The change that counts: latency=5%, accuracy=0.5pt. Repeatable."
    ),
]


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help=_A_RUN)],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="Another, that is held against BASE.")] = "latest",
    *,
    only: Only = None,
    margin: Margins = None,
    across_hardware: Annotated[
        bool, typer.Option("--across-hardware", help="Compare runs of two machines, and say how these differ.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show what is equivalent, too.")] = False,
    runs: Runs = campaigns.RUNS,
    export: Exports = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Say what of HEAD differs from BASE, cell by cell: regressed, improved, equivalent or inconclusive.

    Latency and throughput are tested over launches, all cells together;
    other quantities by rules of their own. Nothing fails: `harness gate` does.
    What a fleet measured on one hardware is held against what the other side has of it.

    Exit codes: 0 compared, 4 usage, 5 nothing to compare.
    """
    exports = parsed(export)
    # Imported here: they bring SciPy, and `harness --help` should not wait for it.
    from harness.cli.comparison_table import data
    from results.compared import ComparisonRefused, NothingToCompare
    from results.margins import parse_margins
    from results.named import NoRun

    margins = parse_margins(margin or ())
    try:
        before, after = side(base, runs), side(head, runs)
        check_patterns((*after.snapshots, *before.snapshots), only or ())
        found = paired(before, after, across_hardware=across_hardware)
        if exports and len(found.pairs) > 1:
            message = f"--export writes one comparison, and here are {len(found.pairs)}: {', '.join(found.machines)}"
            raise HarnessError(message, "--json has all of them; or name the runs of one machine")
        done = _compared(found, only or (), margins, across_hardware=across_hardware)
    except (NoRun, ComparisonRefused, NothingToCompare) as error:
        explain(error.message, error.hint)
        return ExitCode.NOTHING
    for comparison in done.values():  # one, where anything is exported
        write(exports, comparison)
    if not json:
        _show(found, done, everything=everything)
    elif before.fleet is None and after.fleet is None:
        as_json(data(next(iter(done.values()))))
    else:
        as_json(
            {
                "comparisons": [{"machine": machine, **data(each)} for machine, each in done.items()],
                "only_before": [found.label(each) for each in found.only_before],
                "only_after": [found.label(each) for each in found.only_after],
            }
        )
    return ExitCode.OK


def _compared(
    found: Pairs, only: Sequence[str], margins: Mapping[str, float], *, across_hardware: bool
) -> dict[str, Comparison]:
    """Return the comparison of each pair by its machine; where several are asked for, what has no answer is told.

    Raises as ``results.compared.compared`` does, ``NothingToCompare`` where no pair has anything in common.
    """
    from results.arms import design_of
    from results.changes import Rules
    from results.compared import NothingToCompare, compared
    from results.snapshots import select

    done, refused = {}, []
    for machine, pair in zip(found.machines, found.pairs, strict=True):
        before, after = (select(each, only) for each in pair)
        rules = Rules(margins=margins, design=design_of(before, after))
        try:
            done[machine] = compared(before, after, rules, across_hardware=across_hardware)
        except NothingToCompare as error:
            refused.append((machine, error))
    if not done:
        raise refused[0][1]
    for machine, why in refused:
        explain(f"{machine}: {why.message}", why.hint)
    return done


def _show(found: Pairs, done: Mapping[str, Comparison], *, everything: bool) -> None:
    from harness.cli.comparison_table import show

    for place, (machine, comparison) in enumerate(done.items()):
        if place:
            say("")
        if len(found.pairs) > 1:
            say(f"machine {machine}")
        show(comparison, everything=everything)
    for word, sides in (("before", found.only_before), ("after", found.only_after)):
        for each in sides:
            say(f"only {word}, and not compared: {found.label(each)}")


def check_patterns(sides: Sequence[Snapshot], patterns: Sequence[str]) -> None:
    """Raise ``HarnessError`` for a pattern that selects no cell of any side."""
    from results.snapshots import select

    for pattern in patterns:
        if not any(select(side, [pattern]).cells for side in sides):
            example = next((cell.label for side in sides for cell in side.cells), "")
            raise HarnessError(f"no cell matches {pattern[:200]!r}", f"cells look like {example}")
