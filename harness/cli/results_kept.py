"""``harness results bundle|import|prune``: runs that leave, arrive or go."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import codec
from harness.cli import campaign as campaigns
from harness.cli.arguments import RunOrFleet, Runs, meant
from harness.cli.console import as_json, explain, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.fleets import FleetRun
    from results.pruning import Candidate
    from results.store import RunStore

_AGE = re.compile(r"(\d{1,5})\s*([hdw])")
_SHOWN = 5  # sentences of what is damaged in one run
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def bundle(
    run_name: RunOrFleet,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to make, by default ID.run.zip; of a fleet the folder."
        ),
    ] = None,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make one file of RUN, for another machine: `harness results import` takes it in, each part checked by hash.

    It holds what was measured, and no folder of this machine. How to resume, tags and reports stay here.

    Of a fleet each run is a file.
    """
    from results import bundle as bundles
    from results.store import RunStore

    named = meant([run_name], runs)
    stores = [RunStore.open(folder) for folder in named.folders]
    folder = Path()
    if named.fleet is not None and output is not None:
        folder, output = output, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarnessError(f"{folder} cannot be made: {error.strerror}", "-o of a fleet is a folder") from error
    done = []
    for store in stores:
        path = output or folder / f"{store.run_id}{bundles.SUFFIX}"
        done.append(_bundled(store, path, files=len(bundles.write(store, path))))
        if not json:
            _show_bundle(done[-1])
    if json:
        as_json(done[0] if named.fleet is None else {"fleet_id": named.fleet.fleet_id, "bundles": done})


def _bundled(store: RunStore, path: Path, *, files: int) -> dict[str, Any]:
    size = path.stat().st_size
    return {"bundle": str(path), "run_id": store.run_id, "bytes": size, "files": files, "damage": list(store.damage)}


def _show_bundle(made: Mapping[str, Any]) -> None:
    say(f"{made['bundle']}: run {made['run_id']}, {made['files']} files, {made['bytes'] / 1e6:.1f} MB")
    for sentence in shortened(made["damage"]):
        say(f"damaged, here as there: {sentence}")


def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Bundles, run folders, or folders of them."),
    ],
    *,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Take runs in that were made elsewhere, each checked by hash, whole or not at all.

    The same run twice is fine. One that differs from the run of its id that is here is refused.

    Exit codes: 0 all are here, 4 one was refused.
    """
    from results.importing import sources, take_in

    brought, refused = [], []
    for source in [source for path in paths for source in sources(path)]:
        try:
            brought.append(take_in(source, runs))
        except HarnessError as error:  # its neighbours may be whole
            refused.append((source, error))
    if json:
        told = [{"source": str(source), "why": why.message, "hint": why.hint} for source, why in refused]
        as_json({"imported": [codec.encode(run) for run in brought], "refused": told})
    else:
        for run in brought:
            say(f"{run.run_id}: {'imported' if run.new else 'is here already, the same'}, from {run.source}")
            for sentence in shortened(run.damage):
                say(f"  damaged, as it was there: {sentence}")
    for _, why in refused:
        explain(f"refused: {why.message}", why.hint)
    return ExitCode.USAGE if refused else ExitCode.OK


def prune(
    *,
    older: Annotated[
        str | None, typer.Option("--older", metavar="AGE", help="Runs older than this: 36h, 90d or 12w.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=0, help="All but the N newest; with --older: of those.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
    baselines: Annotated[
        Path, typer.Option("--baselines", metavar="DIR", help="Folder of baselines, whose runs stay.")
    ] = Path("baselines"),
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove old runs, whole. Those that are tagged, that a baseline is of, or that are being written stay.

    The runs of a fleet go together, and its own folder with them.

    Without --yes nothing is removed.
    """
    from results.baselines import baselines_in
    from results.fleets import FleetRun, fleets_in
    from results.pruning import Limits, candidates, emptied, kept_together, remove

    if older is None and keep is None:
        raise HarnessError("say which runs are old", "--older 90d, --keep 20, or both")
    if not runs.is_dir():
        raise HarnessError(f"there is no folder {runs}", "name the folder with --runs")
    leaned_on = {found.run_id: f"the baseline {path} is of it" for path, found in baselines_in(baselines)}
    limits = Limits(_age(older) if older is not None else None, keep)
    fleets = [FleetRun.open(str(folder), runs) for folder in fleets_in(runs)]
    found = kept_together(candidates(runs, limits, datetime.now(UTC), leaned_on), fleets)
    going = [each for each in found if not each.kept]
    empty = emptied(fleets, {each.run_id for each in going})
    removing = yes and not dry_run
    if removing:
        for each in going:
            remove(each.folder)
        for fleet in empty:
            remove(fleet.folder)
    if json:
        facts = {"removed" if removing else "would_remove": _facts(going), "kept": _facts(found, kept=True)}
        as_json({**facts, "fleets": [fleet.fleet_id for fleet in empty]})
    else:
        _show(found, going, empty, removing=removing)
    if going and not (yes or dry_run):
        raise HarnessError(f"nothing was removed: {counted(len(going), 'run')} would go", "repeat with --yes")


def shortened(damage: Sequence[str]) -> list[str]:
    """Return the first sentences of what is damaged in a run, and how many more there are: a terminal has an end."""
    more = len(damage) - _SHOWN
    return [*damage[:_SHOWN], *([f"and {more:,} more: --json lists them all"] if more > 0 else [])]


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise HarnessError(f"--older {text!r} is no age", "write it as 36h, 90d or 12w")
    return int(match[1]) * _UNITS[match[2]]


def _facts(found: Sequence[Candidate], *, kept: bool = False) -> list[dict[str, str | int]]:
    return [
        {
            "run_id": each.run_id,
            "created_at": each.created_at,
            "bytes": each.size_bytes,
            **({"why": each.kept} if kept else {}),
        }
        for each in found
        if bool(each.kept) == kept
    ]


def _show(found: Sequence[Candidate], going: Sequence[Candidate], empty: Sequence[FleetRun], *, removing: bool) -> None:
    for each in found:
        made = each.created_at[:16].replace("T", " ") or "?"
        word = f"stays: {each.kept}" if each.kept else "removed" if removing else "would go"
        say(f"{each.run_id}  {made}  {each.size_bytes / 1e6:8.1f} MB  {word}")
    for fleet in empty:
        say(f"{fleet.fleet_id}  {'removed' if removing else 'would go'}: its runs are gone")
    size = sum(each.size_bytes for each in going) / 1e6
    say(f"{'removed' if removing else 'to remove:'} {counted(len(going), 'run')}, {size:.1f} MB")
