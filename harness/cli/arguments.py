"""Arguments and options that several commands share, and which runs the names among them mean."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import explain
from harness.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from results.fleets import FleetRun
    from results.store import RunStore

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its id, the beginning of it, or latest.")]
RunOrFleet = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, or all of a fleet: an id, the beginning of it, or latest.")
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs, of one machine or of many: a folder, an id, that of a fleet, a tag, a git ref. "
        "The latest where none is named.",
        show_default=False,
    ),
]
CellName = Annotated[
    str, typer.Argument(metavar="CELL", help="A cell: its label, a pattern, or the beginning of its id.")
]
SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one that ships (`harness suite list`).")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="PATTERN", help="Only cells whose label matches, for example '*/int8/*'. Repeatable."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a value of the suite, such as matrix.batch=[1,8]. Repeatable."
    ),
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="quick, default or publish, instead of the suite's.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder that runs are kept in.")]


def overrides(assign: list[str] | None, preset: str | None) -> list[str]:
    """Return what --set and --preset say, as ``suite.load`` takes it."""
    return [*(assign or []), *([f"preset={preset}"] if preset else [])]


# --- the runs that are named -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meant:
    """The runs that names mean."""

    folders: tuple[Path, ...]  # in the order of the names; of a fleet all that it has
    fleets: tuple[FleetRun, ...]  # those among the names
    names: int

    @property
    def fleet(self) -> FleetRun | None:
        """The fleet, where nothing but one was named."""
        return self.fleets[0] if len(self.fleets) == self.names == 1 else None


def meant(names: Sequence[str], runs: Path, of: Callable[[str, Path, Path], Path] | None = None) -> Meant:
    """Return the runs that names mean, each a run or all of a fleet; a ``latest`` that is of a fleet is told of.

    ``of``: how a run is looked up, ``results.named.folder_of`` where it is not given. Raises as that does, and
    ``StoreError`` where a run of a fleet is gone.
    """
    # Imported here: it brings SciPy, and `harness --help` should not wait for it.
    from results.named import fleet_of, folder_of

    folders: list[Path] = []
    fleets = []
    for name in names:
        fleet = fleet_of(name, runs)
        if fleet is None:
            folders.append((of or folder_of)(name, runs, Path()))
            tell_of_latest(name, folders[-1])
        else:
            folders += fleet.stored()
            fleets.append(fleet)
    return Meant(tuple(folders), tuple(fleets), len(names))


def one_run(name: str, runs: Path) -> RunStore:
    """Return the run that an id, the beginning of one, a folder or ``latest`` means to what takes one alone.

    Raises ``StoreError`` where there is none, and for a fleet of several, which are named.
    """
    # Not by way of ``results.named``, which brings SciPy: what measures should not wait for it.
    from results.fleets import FleetRun, is_fleet
    from results.store import RunStore

    fleet = FleetRun.find(name, runs) if is_fleet(name) else None
    return RunStore.open(name if fleet is None else fleet.only(), runs)


def tell_of_latest(name: str, run: Path) -> None:
    """Say on the error stream where ``latest`` is one run of several that a fleet made together."""
    from results.fleets import FleetRun, part_of
    from results.named import LATEST

    fleet_id, host = part_of(run) if name == LATEST else ("", "")
    if not fleet_id:
        return
    with suppress(StoreError):  # it cannot be read: what was asked does not need it
        fleet = FleetRun.find(fleet_id, run.parent)
        if fleet is not None and len(fleet.runs) > 1:
            hint = f"{fleet.fleet_id} names them all"
            explain(f"latest is run {run.name}, of {host}: one of {len(fleet.runs)} that a fleet made together", hint)
