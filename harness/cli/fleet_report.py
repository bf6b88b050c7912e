"""What the runs of a fleet show together: the merged page, a summary for each machine, JSON for scripts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.cli.console import say
from results.fleets import BACK, DIFFERING, INTERRUPTED, LOST, MOVED, NOTED, RESUMED, UNMEASURED, FleetRun

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from results.fleets import Happening
    from results.merged import Merged

PAGE = "report.html"
_TOLD = frozenset({LOST, MOVED, UNMEASURED, NOTED, BACK, DIFFERING, INTERRUPTED, RESUMED})
_MOST_NOTES = 40
"""Happenings that have a line of their own; ``fleet.json`` has all."""


def told(together: Merged, fleets: Iterable[FleetRun]) -> Merged:
    """Return runs that were put together with what befell the hosts of their fleets among the notes."""
    notes = tuple(note for found in fleets for note in _notes(found))
    return replace(together, notes=(*notes, *together.notes))


def _notes(found: FleetRun) -> list[str]:
    known = [each for each in found.happenings if each.kind in _TOLD]
    lines = [f"{_when(each)}: {each.text}" for each in known[:_MOST_NOTES]]
    if len(known) > _MOST_NOTES:
        lines.append(f"and {len(known) - _MOST_NOTES} more, in fleet.json of {found.fleet_id}")
    return lines


def _when(happening: Happening) -> str:
    day, _, clock = happening.at.partition("T")
    return f"{day} {clock[:8]} UTC"


def merged_of(found: FleetRun) -> Merged:
    """Return all runs of a fleet as one, with what befell its hosts. Raises ``StoreError``."""
    from results.merged import merged
    from results.sources import load

    return told(merged(load(found.stored())), [found])


def show(found: FleetRun, together: Merged, page: Path) -> None:
    """Print the rows and verdicts of each machine, what befell the hosts, and where the page is."""
    from harness.cli.summary import show_rows

    for machine in together.machines:
        of = [source for source in together.sources if source.machine == machine]
        names = ", ".join(dict.fromkeys(str(source.manifest["fleet"]["host"]) for source in of))
        say(f"{machine}: {names}")
        show_rows([row for row in together.rows if row.machine in {machine, ""}])
        for source in of:
            if source.drift is not None and source.drift.found:
                say(f"drift: {source.drift.message}")
            for damage in source.damage:
                say(f"damaged: {damage}")
        say("")
    for note in _notes(found):
        say(note)
    say(f"report: {page}")


def data(found: FleetRun, together: Merged, page: Path, *, interrupted: bool) -> dict[str, Any]:
    """Return the result of a fleet as JSON-able data."""
    from harness.cli.report import run_data
    from harness.codec import encode
    from results import table

    return {
        "fleet_id": found.fleet_id,
        "folder": str(found.folder),
        "report": str(page),
        "interrupted": interrupted,
        "hosts": dict(found.hosts),
        "happenings": [encode(each) for each in found.happenings],
        "runs": [run_data(source) | {"host": source.manifest["fleet"]["host"]} for source in together.sources],
        "notes": list(together.notes),
        "standings": [encode(standing) for standing in together.standings],
        "rows": table.records(together.rows),
    }
