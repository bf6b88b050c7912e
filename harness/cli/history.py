"""``harness history``: how a cell went over its runs, where its level changed, and what changed there."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness.cli import campaign as campaigns
from harness.cli.arguments import CellName, Runs
from harness.cli.console import as_json, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from results.histories import Asked
    from results.history import History, Shift, Spot

_NEAR = 3  # points that a date may lie beside the change it means


class _ShowsByDefault(TyperGroup):
    """``harness history CELL`` is ``harness history show CELL``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["show", *args])


app = typer.Typer(
    cls=_ShowsByDefault, help="How cells went over their runs, and where their levels changed.", no_args_is_help=False
)

_Quantity = Annotated[
    str | None,
    typer.Option(
        "--quantity",
        metavar="NAME",
        help="latency, throughput, memory, p99, …; else what the cell is measured for.",
    ),
]
_Hardware = Annotated[
    str, typer.Option("--hardware", metavar="ID", help="Only this hardware: the beginning of its id.")
]
_Last = Annotated[int, typer.Option("--last", metavar="N", min=1, help="Runs to look back.")]
_File = Annotated[
    Path,
    typer.Option("--acknowledged", metavar="FILE", help="File of acknowledged changes; it belongs beside the suite."),
]
_Index = Annotated[
    str,
    typer.Option(
        "--index",
        metavar="URL",
        help="Ask a team's index instead, postgresql://USER@HOST/DATABASE: see `results push`.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PLACE = Path("baselines") / "acknowledged.json"


@app.command("show")
def show(
    cell: Annotated[
        str | None, typer.Argument(metavar="CELL", help="A cell: its label, a pattern, or the beginning of its id.")
    ] = None,
    *,
    quantity: _Quantity = None,
    hardware: _Hardware = "",
    last: _Last = 200,
    acknowledged: _File = _PLACE,
    runs: Runs = campaigns.RUNS,
    index: _Index = "",
    fail_on_change: Annotated[
        int | None,
        typer.Option(
            "--fail-on-change", metavar="N", min=1, help="Exit with 1 for a change to the worse within the last N runs."
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    json: _Json = False,
) -> int:
    """Show how CELL went over its runs: a line, its level, each change with what changed in the environment there.

    Without CELL: every cell whose level changed and that nobody has acknowledged, worst first.
    `harness history ack CELL --at RUN` acknowledges a change: the level after it is the one to hold.

    Exit codes: 0 shown, 1 a change to the worse within `--fail-on-change`, 4 usage, 5 no history.
    """
    from harness.cli import history_text
    from results import acknowledged as acknowledgements

    if json and csv:
        raise HarnessError("--json and --csv are two forms of the same", "give one of them")
    asked = _asked(cell, quantity, hardware, last)
    found = _found(asked, runs, index, acknowledgements.read(acknowledged))
    if cell is not None and not found:
        raise _none_such(asked, runs, index)
    listed = found if cell is not None else sorted((one for one in found if one.open), key=lambda one: -one.worst)
    if csv:
        history_text.print_csv(found if cell is not None else listed)
    elif json:
        as_json(history_text.as_data(listed, of=len(found)))
    elif cell is not None:
        for one in listed:
            history_text.print_history(one)
    else:
        history_text.print_overview(listed, of=len(found))
    if not found:
        return ExitCode.NOTHING
    recent = [shift for one in found for shift in one.open if shift.worse and shift.age <= (fail_on_change or 0)]
    return ExitCode.GATE if recent else ExitCode.OK


@app.command("ack")
def ack(
    cell: CellName,
    *,
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="RUN|DATE",
            help="The first run of the new level, the beginning of its id, its fleet, or its date.",
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it is as it should be.")] = "",
    quantity: _Quantity = None,
    hardware: _Hardware = "",
    last: _Last = 200,
    acknowledged: _File = _PLACE,
    runs: Runs = campaigns.RUNS,
    index: _Index = "",
    json: _Json = False,
) -> None:
    """Take a change of CELL as it is: it alarms no more, and further changes are looked for around its new level.

    Only the date and the reason are kept. Commit the file, so that everyone's history knows.
    """
    from harness import codec
    from harness.cli import history_text
    from results import acknowledged as acknowledgements

    held = acknowledgements.read(acknowledged)
    asked = _asked(cell, quantity, hardware, last)
    found = _found(asked, runs, index, held)
    if not found:
        raise _none_such(asked, runs, index)
    run_ids = _run_ids(at, runs)
    taken = [(one, shift) for one in found if (shift := _at(one, at, run_ids)) is not None]
    if not taken:
        raise _no_change(found, at, run_ids)
    today = datetime.now(UTC).date().isoformat()
    further = [
        acknowledgements.Acknowledgement(
            cell_id=one.cell_id,
            label=one.label,
            quantity=one.quantity.name,
            hw_id=one.hw_id,
            run_id=shift.run_id,
            created_at=shift.created_at,
            acknowledged_on=today,
            reason=reason,
        )
        for one, shift in taken
    ]
    acknowledgements.write(acknowledged, acknowledgements.added(held, further))
    if json:
        as_json([codec.encode(one) for one in further])
        return
    for one, shift in taken:
        say(history_text.acknowledged(one, shift))
    say(f"kept in {acknowledged}")


def _asked(cell: str | None, quantity: str | None, hardware: str, last: int) -> Asked:
    from results import quantities
    from results.histories import Asked

    if quantity is not None:
        try:
            quantities.quantity(quantity)
        except KeyError:
            known = ", ".join(quantities.QUANTITIES)
            raise HarnessError(f"--quantity {quantity!r} is none", f"one of {known}, or a percentile: p99") from None
    return Asked("*" if cell is None else cell, quantity or "", hardware, last)


@contextmanager
def _asking(runs: Path, index: str) -> Iterator[Session]:
    """Yield the index that is asked: of a folder of runs, or a team's."""
    from harness.cli.results import indexed
    from results.index import database, postgres

    asked = postgres.reading(postgres.address(index)) if index else database.reading(indexed(runs).place)
    with asked as session:
        yield session


def _found(asked: Asked, runs: Path, index: str, held: Any) -> list[History]:
    from results.histories import histories

    with _asking(runs, index) as session:
        return list(histories(session, asked, held))


def _none_such(asked: Asked, runs: Path, index: str) -> HarnessError:
    """Say why nothing is there: no such cell, or no such quantity or hardware of it."""
    import difflib

    from results.index.asking import cells, quantities

    with _asking(runs, index) as session:
        meant = list(cells(session, asked.cells))
        if not meant:
            labels = sorted({cell.label for cell in cells(session)})
            near = difflib.get_close_matches(asked.cells[:200], labels, n=3, cutoff=0.3) or labels[:3]
            hint = f"cells look like {', '.join(near)}" if near else "there is no run yet: harness run SUITE"
            return HarnessError(f"no cell matches {asked.cells[:200]!r}", hint)
        known = quantities(session, meant[0].cell_id)
    there = "; ".join(f"{hw_id}: {', '.join(names)}" for hw_id, names in known.items()) or "nothing completed yet"
    wanted = " on ".join(filter(None, (asked.quantity or "nothing", asked.hardware)))
    return HarnessError(f"{meant[0].label} has no history of {wanted}", f"there is {there}")


def _run_ids(at: str, runs: Path) -> tuple[str, ...]:
    """Return the beginnings of the ids of runs that ``--at`` may mean: of a fleet's name those of its runs."""
    from results.fleets import FleetRun, is_fleet

    fleet = FleetRun.find(at, runs) if is_fleet(at) else None
    return (at,) if fleet is None else tuple(part.run_id for part in fleet.runs)


def _at(one: History, at: str, run_ids: tuple[str, ...]) -> Shift | None:
    """Return the change that a run or a date means: the one that begins there, else the nearest within 3 runs.

    ``run_ids``: of what ids one has to begin with. Raises ``HarnessError`` where ``at`` begins the ids of several runs.
    """
    meant = [index for index, spot in enumerate(one.spots) if spot.run_id.startswith(run_ids)]
    if len(meant) > 1 and run_ids == (at,):
        raise HarnessError(f"{at!r} begins the ids of {len(meant)} runs of {one.label}", "give more of the id")
    target = meant[0] if meant else None
    date = _date(at)
    if target is None and date is not None:
        target = next((index for index, spot in enumerate(one.spots) if _made(spot) >= date), None)
    if target is None:
        return None
    near = [shift for shift in one.shifts if abs(shift.index - target) <= _NEAR]
    return min(near, key=lambda shift: abs(shift.index - target), default=None)


def _date(text: str) -> datetime | None:
    """Return what a date means, in UTC where it says no other; ``None`` for a text that is none."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _made(spot: Spot) -> datetime:
    """Return when a run was made; one that does not say was made before any date."""
    return _date(spot.created_at) or datetime.min.replace(tzinfo=UTC)


def _no_change(found: list[History], at: str, run_ids: tuple[str, ...]) -> HarnessError:
    there = [f"{shift.created_at[:10]} ({shift.run_id})" for one in found for shift in one.shifts]
    known = any(spot.run_id.startswith(run_ids) for one in found for spot in one.spots)
    message = f"{found[0].label} has no change at {at!r}"
    if not known and _date(at) is None:
        message = f"{at!r} is no run of {found[0].label}, and no date"
    hint = f"changes are at {', '.join(there[:5])}" if there else "its level never changed"
    return HarnessError(message, hint)
