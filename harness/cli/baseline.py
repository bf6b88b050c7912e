"""``harness baseline``: what a gate holds a suite to, set from a run, one small file per kind of hardware."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from harness.cli import campaign as campaigns
from harness.cli.arguments import Runs
from harness.cli.console import as_json, explain, out, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.baselines import Accepted, Saved
    from results.snapshot import Snapshot

app = typer.Typer(help="Set, list or show what a gate compares with.", no_args_is_help=True)

BASELINES = Path("baselines")
Baselines = Annotated[Path, typer.Option("--baselines", metavar="DIR", help="Folder that baselines are kept in.")]
_UNQUIET = "`harness doctor` says how quiet this machine is; a run with --set launches=10 has more to choose from"


@app.command("set")
def set_(
    run_name: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its id, the beginning of it, a tag, or latest.")
    ] = "latest",
    *,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Keep it under a name of its own, not the suite's.")
    ] = "",
    runs: Runs = campaigns.RUNS,
    baselines: Baselines = BASELINES,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Make RUN the baseline of its suite on its hardware.

    Noisy launches are left out. A cell that keeps fewer than five quiet ones,
    that failed, was throttled or fell back is refused, with the reason.

    Exit codes: 0 ok, 4 usage, 5 no cell of the run can be a baseline.
    """
    # Imported here: they bring SciPy, and `harness --help` should not wait for it.
    from results.arms import is_of_two
    from results.baselines import accepted, save
    from results.named import find
    from results.store import RunStore

    named = find(run_name, runs, Path())
    if named.folder is not None and is_of_two(RunStore.open(named.folder)):
        message = f"{named.snapshot.run_id} interleaved two sides, whose cells no other run has"
        raise HarnessError(message, "make the baseline of a run of the suite: harness run SUITE --set launches=10")
    run = named.snapshot
    made = accepted(run)
    if made.is_empty:
        if json:
            as_json({"path": None, **_facts_of(made)})
        else:
            _show_refused(made)
        explain(f"no cell of {run.run_id} can be a baseline", _UNQUIET)
        return ExitCode.NOTHING
    saved = save(baselines, made.snapshot, name)
    if json:
        replaced = saved.replaced and {"run_id": saved.replaced.run_id, "cells": len(saved.replaced.cells)}
        as_json({"path": str(saved.path), "replaced": replaced, **_facts_of(made)})
        return ExitCode.OK
    _show_refused(made)
    _show_saved(made, saved)
    return ExitCode.OK


@app.command("list")
def list_(
    *,
    baselines: Baselines = BASELINES,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the baselines there are: one line for each file."""
    from results.baselines import baselines_in

    found = baselines_in(baselines)
    if json:
        as_json([{"path": str(path), **_head(each)} for path, each in found])
        return
    if not found:
        say(f"no baseline in {baselines}: `harness baseline set RUN` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("baseline", "suite", "hardware", "cells", "run", "age"):
        table.add_column(head, overflow="fold")
    for path, each in found:
        words = (str(path), each.suite, _machine(each), str(len(each.cells)), each.run_id, age(each))
        table.add_row(*map(Text, words))
    out.print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A baseline file, or the name of a suite or baseline.")],
    *,
    baselines: Baselines = BASELINES,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the baselines of NAME hold: each cell with its interval, their age, what they were measured with."""
    from results.snapshot_files import to_json

    found = _named(name, baselines)
    if json:
        import json as codec

        as_json([{"path": str(path), "baseline": codec.loads(to_json(each))} for path, each in found])
        return
    for path, each in found:
        _show(path, each)


def _named(name: str, root: Path) -> Sequence[tuple[Path, Snapshot]]:
    from results.baselines import baselines_in
    from results.snapshot_files import read

    if Path(name).is_file():
        return [(Path(name), read(Path(name)))]
    found = [(path, each) for path, each in baselines_in(root) if name in {each.suite, path.parent.name, path.stem}]
    if not found:
        raise HarnessError(f"no baseline {name!r} in {root}", "`harness baseline list` shows those there are")
    return found


def age(snapshot: Snapshot, now: datetime | None = None) -> str:
    """Return how old a snapshot is: ``of today``, ``1 day old``, ``40 days old``."""
    try:
        made = datetime.fromisoformat(snapshot.created_at)
    except ValueError:
        return "of unknown age"
    days = ((now or datetime.now(UTC)) - (made if made.tzinfo else made.replace(tzinfo=UTC))).days
    return "of today" if days < 1 else "1 day old" if days == 1 else f"{days} days old"


def _head(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "suite": snapshot.suite,
        "hw_id": snapshot.hw_id,
        "env_id": snapshot.env_id,
        "run_id": snapshot.run_id,
        "created_at": snapshot.created_at,
        "cells": len(snapshot.cells),
        "notes": list(snapshot.notes),
    }


def _facts_of(made: Accepted) -> dict[str, Any]:
    return {**_head(made.snapshot), "refused": [{"cell": each.label, "why": each.why} for each in made.refused]}


def _machine(snapshot: Snapshot) -> str:
    cpu = snapshot.hardware.get("cpu")
    model = cpu.get("name") if isinstance(cpu, dict) else None
    return str(model or snapshot.hw_id)


def _show_refused(made: Accepted) -> None:
    for each in made.refused:
        say(f"refused  {each.label}: {each.why}")


def _show_saved(made: Accepted, saved: Saved) -> None:
    baseline = made.snapshot
    refused = {f"{each.label}: refused: {each.why}" for each in made.refused}
    for note in baseline.notes:
        if note not in refused:
            say(f"note     {note}")
    kinds = Counter(reading.quantity for cell in baseline.cells for reading in cell.readings)
    say(f"{saved.path}: {len(baseline.cells)} cells of {baseline.run_id} ({_listed(kinds)})")
    if saved.replaced is not None:
        old = saved.replaced
        say(f"it replaces {len(old.cells)} cells of {old.run_id}, {age(old)}")


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in kinds.items())


def _show(path: Path, snapshot: Snapshot) -> None:
    from results.formats.amounts import bounded
    from results.formats.figures import figures

    say(f"{path}: {snapshot.suite} on {_machine(snapshot)} ({snapshot.hw_id})")
    say(f"run {snapshot.run_id}, {age(snapshot)}, environment {snapshot.env_id}: {_versions(snapshot)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("cell", "quantity", "value", "launches"):
        table.add_column(head, overflow="fold")
    for figure in figures(snapshot):
        value = bounded(figure.interval, figure.quantity.unit)
        table.add_row(*map(Text, (figure.name, figure.quantity.title, value, str(len(figure.reading.values)))))
    out.print(table)
    for note in snapshot.notes:
        say(f"note: {note}")


def _versions(snapshot: Snapshot) -> str:
    versions = snapshot.environment.get("versions")
    if not isinstance(versions, dict):
        return "versions unknown"
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
