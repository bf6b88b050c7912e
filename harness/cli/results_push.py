"""``harness results push``: runs go into a team's index on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import codec
from harness.cli import campaign as campaigns
from harness.cli.arguments import Runs, meant
from harness.cli.console import as_json, explain, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.index.postgres import Database
    from results.index.pushing import Pushed

_FORM = "harness results push postgresql://USER@HOST/DATABASE RUN"


def push(
    database: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="postgresql://USER@HOST:PORT/DATABASE, with any parameter of libpq, such as ?sslmode=verify-full.",
        ),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Runs: their ids, the beginnings of them, those of fleets, tags, git refs, or latest.",
        ),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every run of the folder.")] = False,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Put runs into a team's index on PostgreSQL, which the first push makes; `harness history show --index` reads it.

    A run that is there already is left alone; one that grew or was corrected since is replaced, whole or not at all.
    Any number of machines may push at once. The password is best in PGPASSWORD or a password file: others can see the
    command line.

    Exit codes: 0 all are there, 4 one was refused, 5 there is no run.
    """
    from results.index import postgres

    where = postgres.address(database)
    folders = _folders(names or [], runs, every=every)
    done = []
    with postgres.writing(where) as target:
        for one in _pushed(target, folders):
            done.append(one)
            if not json:
                _show(one)
    if json:
        as_json({"database": where.shown, "runs": [codec.encode(one) for one in done]})
    else:
        counts = Counter(one.outcome.value for one in done)
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
        say(f"{where.shown}: {counted(len(done), 'run')}{f', {told}' if told else ''}")
    if not done:
        return ExitCode.NOTHING
    return ExitCode.USAGE if any(one.outcome == "refused" for one in done) else ExitCode.OK


def _folders(names: Sequence[str], runs: Path, *, every: bool) -> list[Path]:
    """Return the folders of the runs that are meant, each once. Raises ``HarnessError``."""
    from results.index.postgres import is_address
    from results.store import runs_in

    if any(is_address(name) for name in names):  # not to be repeated: a password may be in it
        raise HarnessError("the address of the database comes first, and once", _FORM)
    if bool(names) == every:
        raise HarnessError("say which runs to push", f"{_FORM}, or --all for every one in {runs}")
    if every and not runs.is_dir():
        raise HarnessError(f"there is no folder {runs}", "name the folder with --runs")
    if every:
        return list(runs_in(runs))
    return list(dict.fromkeys(folder.absolute() for folder in meant(names, runs).folders))


def _pushed(target: Database, folders: Sequence[Path]) -> Iterator[Pushed]:
    """Push the runs of each folder of runs from its index."""
    from harness.cli.results import indexed
    from results.index.database import reading
    from results.index.pushing import push

    for root in dict.fromkeys(folder.parent for folder in folders):
        with reading(indexed(root).place) as source:
            yield from push(source, target, [folder for folder in folders if folder.parent == root])


def _show(one: Pushed) -> None:
    if one.outcome == "refused":
        explain(f"{one.run_id} refused: {one.why}", one.hint)
    elif one.outcome != "same":
        say(f"{one.run_id}: {one.outcome}{f': {one.why}' if one.why else ''}")
