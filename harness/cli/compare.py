"""``harness compare``: what differs between two runs, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import campaign as campaigns
from harness.cli.arguments import Only, Runs
from harness.cli.console import as_json, explain
from harness.cli.exit_codes import ExitCode
from harness.cli.exports import Exports, parsed, write
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.snapshot import Snapshot

_A_RUN = "A run: its folder, its id, a tag, a git ref, latest, latest:REF, a baseline or a bundle."

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

    Exit codes: 0 compared, 4 usage, 5 nothing to compare.
    """
    exports = parsed(export)
    # Imported here: they bring SciPy, and `harness --help` should not wait for it.
    from harness.cli.comparison_table import data, show
    from results.arms import design_of
    from results.changes import Rules
    from results.compared import ComparisonRefused, NothingToCompare, compared
    from results.margins import parse_margins
    from results.named import NoRun, find
    from results.snapshots import select

    margins = parse_margins(margin or ())
    try:
        before, after = (find(name, runs, Path()).snapshot for name in (base, head))
        check_patterns((after, before), only or ())
        before, after = select(before, only or ()), select(after, only or ())
        rules = Rules(margins=margins, design=design_of(before, after))
        comparison = compared(before, after, rules, across_hardware=across_hardware)
    except (NoRun, ComparisonRefused, NothingToCompare) as error:
        explain(error.message, error.hint)
        return ExitCode.NOTHING
    write(exports, comparison)
    if json:
        as_json(data(comparison))
    else:
        show(comparison, everything=everything)
    return ExitCode.OK


def check_patterns(sides: Sequence[Snapshot], patterns: Sequence[str]) -> None:
    """Raise ``HarnessError`` for a pattern that selects no cell of any side."""
    from results.snapshots import select

    for pattern in patterns:
        if not any(select(side, [pattern]).cells for side in sides):
            example = next((cell.label for side in sides for cell in side.cells), "")
            raise HarnessError(f"no cell matches {pattern[:200]!r}", f"cells look like {example}")
