"""``harness results``: the runs that are kept, listed, shown, asked and named."""

from __future__ import annotations

import csv as comma_separated
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len

from harness import codec
from harness.cli import campaign as campaigns
from harness.cli import results_kept, results_push, results_show
from harness.cli.arguments import Runs
from harness.cli.console import as_json, document, errors, explain, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from results.fleets import FleetRun
    from results.index.asking import IndexedRun
    from results.index.building import Updated
    from results.index.querying import Answer, Value

app = typer.Typer(help="List, show, ask, carry and tidy up the runs that are kept.", no_args_is_help=True)
app.command("bundle")(results_kept.bundle)
app.command("import")(results_kept.import_)
app.command("prune")(results_kept.prune)
app.command("push")(results_push.push)

AnyRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: its id, the beginning of it, a tag, a git ref, or latest.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def indexed(runs: Path, *, anew: bool = False) -> Updated:
    """Return the index of a folder of runs after bringing it up to date, telling of each run that is read."""
    # Imported here: it brings SQLAlchemy and SciPy, and `harness --help` should not wait for them.
    from results.index.building import bring_up_to_date

    return bring_up_to_date(
        runs, anew=anew, told=lambda run_id: errors.print(f"index    {run_id}", markup=False, highlight=False)
    )


@app.command("index")
def index(
    *,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make it anew from every run.")] = False,
    runs: Runs = campaigns.RUNS,
    json: _Json = False,
) -> None:
    """Bring the index up to date: tables over all runs, made from their files.

    Every command that needs it does so by itself. It can be deleted at any time: nothing is lost.
    """
    done = indexed(runs, anew=rebuild)
    if json:
        as_json(
            {
                "index": str(done.place),
                "runs": done.runs,
                "read": list(done.read),
                "dropped": list(done.dropped),
                "unreadable": dict(done.troubles),
            }
        )
        return
    say(f"{done.place}: {counted(done.runs, 'run')}, {len(done.read)} read now, {len(done.dropped)} gone")
    for run_id, trouble in done.troubles.items():
        say(f"{run_id} cannot be read: {trouble}")


@app.command("ls")
def ls(
    *,
    suite: Annotated[str, typer.Option("--suite", metavar="PATTERN", help="Only runs of these suites.")] = "",
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="Only runs that asked for it.")] = "",
    hardware: Annotated[
        str, typer.Option("--hardware", metavar="ID", help="Only this hardware: the beginning of its id.")
    ] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="PATTERN", help="Only runs that are tagged so.")] = "",
    fleet: Annotated[
        str, typer.Option("--fleet", metavar="ID", help="Only runs of this fleet: its id, or the beginning of it.")
    ] = "",
    runs: Runs = campaigns.RUNS,
    json: _Json = False,
) -> int:
    """List the runs, oldest first, with what became of their cells. What could not be read is said below.

    Exit codes: 0 ok, 4 usage, 5 there is no such run.
    """
    done = indexed(runs)
    from results.fleets import FleetRun
    from results.index import asking
    from results.index.database import reading

    of = _fleets([FleetRun.open(fleet, runs)] if fleet else _readable_fleets(runs))
    with reading(done.place) as session:
        found = asking.runs(session, asking.Wanted(suite, engine, hardware, tag))
    found = [run for run in found if run.run_id in of] if fleet else found
    states = {run.run_id: _state(run, runs / run.run_id) for run in found}
    if json:
        blank = {"fleet": "", "host": ""}
        as_json([{**codec.encode(run), "state": states[run.run_id], **of.get(run.run_id, blank)} for run in found])
    elif found:
        _show_runs(found, states)
        _show_fleets(found, of)
    else:
        say(f"no such run among {done.runs} in {runs}")
    return ExitCode.OK if found else ExitCode.NOTHING


def _readable_fleets(runs: Path) -> list[FleetRun]:
    from results.fleets import FleetRun, fleets_in

    found = []
    for folder in fleets_in(runs):
        try:
            found.append(FleetRun.open(str(folder), runs))
        except HarnessError as error:  # its runs are listed nevertheless
            explain(error.message, error.hint)
    return found


def _fleets(found: Iterable[FleetRun]) -> dict[str, dict[str, str]]:
    """Return, by run, the fleet that it is of, and its host there."""
    return {part.run_id: {"fleet": each.fleet_id, "host": part.host} for each in found for part in each.runs}


def _show_fleets(found: Sequence[IndexedRun], of: Mapping[str, Mapping[str, str]]) -> None:
    """Print which of the runs a fleet made together."""
    together: dict[str, list[str]] = {}
    for run in found:
        if run.run_id in of:
            together.setdefault(of[run.run_id]["fleet"], []).append(f"{run.run_id} ({of[run.run_id]['host']})")
    for fleet_id, named in together.items():
        say(f"{fleet_id}: {', '.join(named)}")


def _state(run: IndexedRun, folder: Path) -> str:
    """Return whether a run is running, unreadable, unfinished or complete."""
    from results.locks import is_written
    from results.snapshot import NOT_RUN

    if run.trouble:
        return "unreadable"
    if folder.is_dir() and is_written(folder):
        return "running"
    return "unfinished" if run.cells.get(NOT_RUN) else "complete"


def _show_runs(found: Sequence[IndexedRun], states: dict[str, str]) -> None:
    heads = ("run", "made (UTC)", "suite", "cells", "hardware", "state", "tags")
    rows = [
        (
            run.run_id,
            run.created_at[:16].replace("T", " "),
            run.suite,
            _counted(run.cells),
            run.hw_id,
            states[run.run_id],
            ", ".join(run.tags),
        )
        for run in found
    ]
    _print_table(heads, rows)
    for run in found:
        if run.trouble:
            say(f"{run.run_id} cannot be read: {_line(run.trouble)}")
        for damage in results_kept.shortened(run.damage):
            say(f"{run.run_id} is damaged: {_line(damage)}")


def _counted(statuses: dict[str, int] | Any) -> str:
    return ", ".join(f"{count} {status}" for status, count in statuses.items())


app.command("show")(results_show.show)


@app.command("query")
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT.")],
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows at most.")] = 1000,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Time at most.")] = 30.0,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    runs: Runs = campaigns.RUNS,
    json: _Json = False,
) -> None:
    """Answer SQL over all runs. It can only read.

    Tables: runs, cells, states, readings, launches.

    `run` and `cell` of the last three are the `id` of the first two.

    `SELECT * FROM pragma_table_info('readings')` says what is in one.
    """
    if json and csv:
        raise HarnessError("--json and --csv are two forms of the same", "give one of them")
    done = indexed(runs)
    from results.index import querying

    answer = querying.query(done.place, sql, rows=limit, seconds=seconds)
    if json:
        rows = [[_json_value(value) for value in row] for row in answer.rows]
        as_json({"columns": list(answer.columns), "rows": rows, "more": answer.more})
    elif csv:
        text = io.StringIO(newline="")
        writer = comma_separated.writer(text, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([[_json_value(value) for value in row] for row in answer.rows])
        document(text.getvalue())
    else:
        _show_answer(answer)
    if answer.more:
        errors.print(f"the first {limit} rows; --limit gives more", markup=False, highlight=False)


def _json_value(value: Value) -> str | int | float | None:
    """Return a value in a form that JSON has: blobs as hexadecimal digits, what is no number as a word."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _show_answer(answer: Answer) -> None:
    numeric = [
        bool(column) and all(isinstance(value, int | float | None) for value in column)
        for column in zip(*answer.rows, strict=True)
    ]
    rows = [["" if value is None else str(_json_value(value)) for value in row] for row in answer.rows]
    _print_table(answer.columns, rows, numeric)
    say(counted(len(answer.rows), "row"))


@app.command("tag")
def tag(
    run_name: AnyRun,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name: a letter, then letters, digits, '.', '_', '-'.")],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the name from the run instead.")] = False,
    runs: Runs = campaigns.RUNS,
    json: _Json = False,
) -> None:
    """Give RUN a name, by which every command knows it. One run has a name at a time: the last that it was given to."""
    from results.named import folder_of
    from results.tags import tag as give
    from results.tags import tags_of, untag

    folder = folder_of(run_name, runs, Path())
    if remove:
        if not untag(folder, name):
            raise HarnessError(f"run {folder.name} has no tag {name!r}", _tags_hint(tags_of(folder)))
        moved = None
    else:
        moved = give(folder, name)
    if json:
        tags = list(tags_of(folder))
        as_json({"run_id": folder.name, "tags": tags, "taken_from": moved.name if moved else None})
        return
    words = f"no longer {name}" if remove else name
    say(f"{folder.name}: {words}{f', which was {moved.name} before' if moved else ''}")


def _tags_hint(tags: Sequence[str]) -> str:
    return f"its tags are {', '.join(tags)}" if tags else "it has none"


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> None:
    """Print columns side by side, none of them cut: a line that the terminal is too narrow for goes on in the next."""
    lines = [[_shown(text).replace("\n", " ") for text in line] for line in (heads, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    sides = right or [False] * len(widths)
    for line in lines:
        cells = [
            " " * (width - cell_len(text)) + text if side else text + " " * (width - cell_len(text))
            for text, width, side in zip(line, widths, sides, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _shown(text: str) -> str:
    from results.formats.words import showable

    return showable(text)


def _line(text: str) -> str:
    from results.formats.words import line

    return line(text)
