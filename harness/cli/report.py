"""``harness report``: one HTML file from a stored run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import campaign as campaigns
from harness.cli.arguments import RunName, Runs
from harness.cli.console import as_json, say
from harness.errors import HarnessError
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.steadiness import Steadiness
    from results.row import Row


def report(
    run_name: RunName = "latest",
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")] = None,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead.")] = False,
) -> None:
    """Render the report of RUN as one self-contained HTML file, from its records alone."""
    # Imported here: they bring matplotlib, pandas and SciPy, and `harness --help` should not wait for them.
    from harness.cli.summary import summary_data
    from results.rows import rows as derive

    store = RunStore.open(run_name, runs)
    derived = derive(store)
    if json:
        as_json(summary_data(store, derived))
        return
    say(str(write_report(store, derived, output or store.folder / "report.html")))


def _steadiness(store: RunStore) -> Steadiness:
    """Return whether the machine drifted, and the spread of every latency cell that has two launches."""
    from reports.steadiness import Steadiness  # as above
    from results.drift import drift_of
    from results.launches import histories
    from results.variance import split_of

    timed = [history.measured for history in histories(store) if history.planned.cell.scenario.name == "latency"]
    return Steadiness(drift_of(store), [split_of(launches) for launches in timed if len(launches) > 1])


def write_report(store: RunStore, derived: Sequence[Row], page: Path) -> Path:
    """Write the page whole or not at all, and return its path. Raises ``HarnessError`` where it cannot be written."""
    from reports import html, view  # as above
    from results.rank import standings

    logs = {}
    for record in store.records():
        if record.log:
            logs[record.cell_id] = os.path.relpath(store.folder / record.log, page.parent)
    made = view.build(
        store.manifest,
        derived,
        standings(derived),
        records=len(store.records()),
        logs=logs,
        steadiness=_steadiness(store),
    )
    text = html.render(made)
    temporary = page.with_name(f".{page.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(page)
    except OSError as error:
        raise HarnessError(f"{page} cannot be written: {error.strerror}", "give another file with -o") from error
    return page
