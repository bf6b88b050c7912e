"""Runs into a team's index on PostgreSQL: each whole or not at all, and once, however many push at a time.

Nothing but rows is waited for. Whoever pushes a run claims its row of ``runs`` first, and who comes second waits there,
holding nothing yet. Cells, which runs share, are added next and renamed last, both in the order of their ids: of
transactions that wait for each other the one that is further on never waits for the other, so that there is no
deadlock, and a cell that many runs share is held for one statement and the commit alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from results.files import explained
from results.index import models
from results.index.fitting import UnfitError, fit, plain
from results.index.postgres_errors import translated
from results.journal import Journal
from results.store import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Table
    from sqlalchemy.orm import Session

    from results.index.postgres import Database

    _ByRun = type[models.Launch | models.Reading | models.State]

_AT_ONCE = 500  # values of one IN
_PATIENCE = "60s"
"""How long a statement waits for another transaction, and how long the server keeps one whose process went silent."""
_TABLES: Mapping[type[models.Base], Table] = {
    kind: models.Base.metadata.tables[kind.__tablename__] for kind in (models.Run, models.Cell, *models.BY_RUN)
}
_CELLS = _TABLES[models.Cell]


@dataclass(frozen=True)
class _Head:
    """What tells whether another copy of a run says the same."""

    id: int
    run_id: str
    journal: str
    tags: list[str]
    damage: list[str]
    trouble: str
    seen: str

    @property
    def said(self) -> tuple[str, list[str], list[str]]:
        """What everything in the tables is made from: the digest of manifest and journal, tags, what is damaged."""
        return self.journal, plain(self.tags), plain(self.damage)


_HEAD = tuple(_TABLES[models.Run].c[field.name] for field in fields(_Head))


class Outcome(StrEnum):
    """What a push did with a run."""

    PUSHED = "pushed"
    REPLACED = "replaced"  # it grew, or was corrected or tagged, since it was pushed
    SAME = "same"  # nothing was written
    KEPT = "kept"  # the database has more of this run than there is here; nothing was written
    REFUSED = "refused"


@dataclass(frozen=True)
class Pushed:
    """What became of one run; ``why`` and ``hint`` where it was kept or refused."""

    run_id: str
    outcome: Outcome
    why: str = ""
    hint: str = ""


@dataclass(frozen=True)
class _Contents:
    """What the tables hold of one run, its rows still numbered as they are here."""

    run: Mapping[str, Any]
    lines: int  # intact ones of its journal, which only ever grows
    cells: Mapping[int, Mapping[str, Any]]
    rows: Mapping[_ByRun, Sequence[Mapping[str, Any]]]


def push(source: Session, target: Database, folders: Sequence[Path]) -> Iterator[Pushed]:
    """Push runs as ``source``, the index of the folder that they are in, holds them; tell what became of each.

    Each is a transaction of its own. One that cannot be read, or has a value that PostgreSQL has no place for, is
    refused and its neighbours are not. Raises ``StoreError`` where the database fails; what was told of is there then.
    """
    for first in range(0, len(folders), _AT_ONCE):
        some = folders[first : first + _AT_ONCE]
        names = [folder.name for folder in some]
        here = _heads(source, names)
        with translated(target.shown), target.session.begin():
            there = {run_id: head.said for run_id, head in _heads(target.session, names).items()}
        for folder in some:
            head = here.get(folder.name)
            if head is not None and there.get(folder.name) == head.said:
                yield Pushed(folder.name, Outcome.SAME)
            else:
                yield _pushed(source, target, folder, head)


def _heads(session: Session, run_ids: Sequence[str]) -> dict[str, _Head]:
    asked = select(*_HEAD).where(models.Run.run_id.in_(run_ids))
    return {head.run_id: head for head in (_Head(*row) for row in session.execute(asked))}


def _pushed(source: Session, target: Database, folder: Path, head: _Head | None) -> Pushed:
    if head is None:
        hint = f"`harness results import {folder}` takes it in under its own id"
        return Pushed(folder.name, Outcome.REFUSED, "the folder is not named by the id of its run", hint)
    if head.trouble:
        return Pushed(folder.name, Outcome.REFUSED, head.trouble, "restore it from a copy of the run")
    try:
        contents = _contents(source, head, _lines(folder))
        with translated(target.shown), target.session.begin():
            return _written(target.session, contents)
    except UnfitError as error:
        return Pushed(folder.name, Outcome.REFUSED, error.message, error.hint)


def _lines(folder: Path) -> int:
    """Return how many different intact lines a run's journal has. Raises ``StoreError``."""
    journal = Journal(folder / JOURNAL)
    with explained(folder):
        journal.refresh()
    return len({entry.digest for entry in journal.entries})


def _contents(source: Session, head: _Head, lines: int) -> _Contents:
    """Return what the index holds of a run, as both databases hold it. Raises ``UnfitError``."""
    run = _rows(source, models.Run, models.Run.id == head.id)[0]
    # Sizes and times of files mean nothing elsewhere. How far the journal was read tells which copy has more.
    run["seen"] = _seen(lines)
    rows = {kind: _rows(source, kind, kind.run == head.id) for kind in models.BY_RUN}
    wanted = sorted({row["cell"] for some in rows.values() for row in some})
    cells: dict[int, Mapping[str, Any]] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        found = select(models.Cell.id, *_others(models.Cell)).where(
            models.Cell.id.in_(wanted[first : first + _AT_ONCE])
        )
        for number, *values in source.execute(found):
            row = dict(zip((column.name for column in _others(models.Cell)), values, strict=True))
            cells[number] = fit(_CELLS, row)
    return _Contents(run, lines, cells, rows)


def _rows(source: Session, kind: type[models.Base], wanted: Any) -> list[dict[str, Any]]:
    columns = _others(kind)
    asked = select(*columns).where(wanted).order_by(*_TABLES[kind].primary_key.columns)
    names = [column.name for column in columns]
    return [fit(_TABLES[kind], dict(zip(names, row, strict=True))) for row in source.execute(asked)]


def _others(kind: type[models.Base]) -> list[Any]:
    """Return the columns of a table but the number that each database gives its rows."""
    return [column for column in _TABLES[kind].columns if column.name != "id"]


def _written(session: Session, contents: _Contents) -> Pushed:
    """Write one run, or nothing where the database has it so, or has more of it."""
    run_id = contents.run["run_id"]
    patience = ("lock_timeout", "idle_in_transaction_session_timeout")
    session.execute(select(*(func.set_config(name, _PATIENCE, true()) for name in patience)))
    number, stored = _claimed(session, contents.run)
    if stored is not None:
        if stored.said == (contents.run["journal"], contents.run["tags"], contents.run["damage"]):
            return Pushed(run_id, Outcome.SAME)
        more = _lines_seen(stored.seen)
        if more > contents.lines:
            why = f"the database has {more} lines of its journal, here there are {contents.lines}"
            return Pushed(run_id, Outcome.KEPT, why, "a whole copy of it is elsewhere; this one is damaged or older")
        session.execute(update(models.Run).where(models.Run.id == number).values(**contents.run))
        for kind in models.BY_RUN:
            session.execute(delete(kind).where(kind.run == number))
    numbers = _numbers(session, contents.cells)
    for table, rows in contents.rows.items():
        if rows:
            session.execute(insert(table), [{**row, "run": number, "cell": numbers[row["cell"]]} for row in rows])
    _rename(session, contents.cells.values())
    return Pushed(run_id, Outcome.PUSHED if stored is None else Outcome.REPLACED)


def _claimed(session: Session, run: Mapping[str, Any]) -> tuple[int, _Head | None]:
    """Return the row of a run and what it says, held until the end of the transaction; ``None``: it is new."""
    while True:
        entered = upsert(models.Run).values(**run).on_conflict_do_nothing(index_elements=["run_id"])
        number = session.scalar(entered.returning(models.Run.id))
        if number is not None:
            return number, None
        held = session.execute(select(*_HEAD).where(models.Run.run_id == run["run_id"]).with_for_update()).one_or_none()
        if held is not None:  # else it was deleted in between
            return held.id, _Head(*held)


def _numbers(session: Session, cells: Mapping[int, Mapping[str, Any]]) -> dict[int, int]:
    """Return the row of each cell by its number here, after adding those that are new."""
    ids = [cell["cell_id"] for cell in cells.values()]
    known = _known(session, ids)
    new = sorted((cell for cell in cells.values() if cell["cell_id"] not in known), key=lambda cell: cell["cell_id"])
    if new:
        session.execute(upsert(models.Cell).on_conflict_do_nothing(index_elements=["cell_id"]), new)
        known = _known(session, ids)
    return {number: known[cell["cell_id"]] for number, cell in cells.items()}


def _known(session: Session, cell_ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for first in range(0, len(cell_ids), _AT_ONCE):
        some = models.Cell.cell_id.in_(cell_ids[first : first + _AT_ONCE])
        found |= dict(session.execute(select(models.Cell.cell_id, models.Cell.id).where(some)).all())
    return found


def _rename(session: Session, cells: Iterable[Mapping[str, Any]]) -> None:
    """Call the cells as this run does, but those that a newer one named."""
    older = (_CELLS.c.cell_id == bindparam("of"), _CELLS.c.named_by.collate("C") < bindparam("by"))
    renamed = (
        update(_CELLS)
        .where(*older)
        .values(label=bindparam("to"), workload=bindparam("workload_to"), named_by=bindparam("by"))
    )
    names = [
        {"of": cell["cell_id"], "by": cell["named_by"], "to": cell["label"], "workload_to": cell["workload"]}
        for cell in sorted(cells, key=lambda cell: cell["cell_id"])
    ]
    if names:
        session.connection().execute(renamed, names)


def _seen(lines: int) -> str:
    return f"{lines} lines of its journal"


def _lines_seen(seen: str) -> int:
    match = re.match(r"\d+", seen)
    return int(match[0]) if match else 0
