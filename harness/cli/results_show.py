"""``harness results show``: a run in the terminal, or each run of a fleet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from harness import codec
from harness.cli import campaign as campaigns
from harness.cli import results_kept
from harness.cli.arguments import Runs, tell_of_latest
from harness.cli.console import as_json, out, say
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.fleets import FleetRun
    from results.named import Named
    from results.snapshot import CellState


def show(
    run_name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run, or all of a fleet: an id, the beginning of it, a tag, a git ref, or latest."
        ),
    ] = "latest",
    *,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show RUN in small: each cell with its figures and findings, what failed and why, what is damaged."""
    # Imported here: it brings SciPy, and `harness --help` should not wait for it.
    from results.named import find, fleet_of

    fleet = fleet_of(run_name, runs)
    if fleet is not None:
        _show_fleet(fleet, runs, json=json)
        return
    found = find(run_name, runs, Path())
    if found.folder is not None:
        tell_of_latest(run_name, found.folder)
    if json:
        as_json(_data(found))
    else:
        _show_run(found)


def _show_fleet(fleet: FleetRun, runs: Path, *, json: bool) -> None:
    """Show what befell the hosts of a fleet, then each of its runs."""
    from results.named import find  # as above

    found = [(part, find(str(folder), runs, Path())) for part, folder in zip(fleet.runs, fleet.stored(), strict=True)]
    if json:
        as_json(
            {
                "fleet_id": fleet.fleet_id,
                "hosts": dict(fleet.hosts),
                "happenings": [codec.encode(each) for each in fleet.happenings],
                "runs": [{**_data(run), "host": part.host, "taken_from": part.taken_from} for part, run in found],
            }
        )
        return
    say(f"{fleet.fleet_id}: {fleet.named}")
    for each in fleet.happenings:
        say(f"{each.at[:16].replace('T', ' ')} UTC  {_line(each.text)}")
    for part, run in found:
        say("")
        say(f"{part.host}{f', which took over from run {part.taken_from}' if part.taken_from else ''}")
        _show_run(run)


def _damage(found: Named) -> tuple[str, ...]:
    from results.store import RunStore

    return RunStore.open(found.folder).damage if found.folder else ()


def _data(found: Named) -> dict[str, Any]:
    return {**codec.encode(found.snapshot), "damage": list(_damage(found))}


def _show_run(found: Named) -> None:
    from results.formats.figures import figures, named  # as above

    _show_head(found)
    by_cell: dict[str, list[str]] = {}
    for figure in figures(found.snapshot):
        by_cell.setdefault(figure.cell.cell_id, []).append(_figure(figure))
    for each in named(found.snapshot):
        _show_cell(each.name, each.cell, by_cell.get(each.cell.cell_id, []))
    for note in (*found.snapshot.notes, found.snapshot.drift):
        if note:
            say(f"note: {_line(note)}")
    for sentence in results_kept.shortened(_damage(found)):
        say(f"damaged: {_line(sentence)}")


def _show_head(found: Named) -> None:
    small = found.snapshot
    say(f"{small.run_id}  {small.created_at[:16].replace('T', ' ')} UTC  suite {_shown(small.suite)}, {small.preset}")
    tags = f"  tags: {', '.join(small.tags)}" if small.tags else ""
    say(f"hardware {small.hw_id}  environment {small.env_id}  harness {small.harness_version}{tags}")
    counts = Counter(cell.status for cell in small.cells)
    say(f"{counted(len(small.cells), 'cell')}: {_counted(counts)}")


def _show_cell(name: str, cell: CellState, figures: Iterable[str]) -> None:
    status = "" if cell.status == "completed" else f"  {cell.status}{f': {_line(cell.why)}' if cell.why else ''}"
    out.print(Text(f"{name}{status}", style="bold red" if cell.status == "failed" else "bold"))
    for line in figures:
        say(f"  {line}")
    if cell.findings:
        say(f"  findings: {', '.join(cell.findings)}")


def _figure(figure: Any) -> str:
    from results.formats.amounts import bounded

    launches = f", {counted(len(figure.reading.values), 'launch', 'launches')}" if figure.reading.launches else ""
    noisy = f", {len(figure.reading.noisy)} of them noisy" if figure.reading.noisy else ""
    what = f"{figure.quantity.title}{f' ({figure.reading.name})' if figure.reading.name else ''}"
    return f"{what}: {bounded(figure.interval, figure.quantity.unit)}{launches}{noisy}"


def _counted(statuses: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in statuses.items())


def _shown(text: str) -> str:
    from results.formats.words import showable

    return showable(text)


def _line(text: str) -> str:
    from results.formats.words import line

    return line(text)
