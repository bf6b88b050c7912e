"""Questions to the index, each read in small parts: a series of points, the cells, the runs."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from harness.plan import fits
from harness.plan_order import SENTINEL
from results.index.models import Cell, Launch, Reading, Run, State
from results.points import Point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

_AT_ONCE = 500  # values of one IN, and rows held of a long answer


@dataclass(frozen=True)
class IndexedCell:
    """One cell of the index."""

    cell_id: str
    key: str  # the identity without the environment's label
    label: str
    workload: str
    engine: str
    precision: str
    device: str
    scenario: str


@dataclass(frozen=True)
class IndexedRun:
    """One run of the index, in a line."""

    run_id: str
    created_at: str
    suite: str
    preset: str
    hw_id: str
    env_id: str
    revision: str  # ends in "+" where files were changed beside it
    tags: tuple[str, ...]
    engines: tuple[str, ...]
    cells: Mapping[str, int]  # status → how many
    launches: int
    damage: tuple[str, ...]
    trouble: str


def series(session: Session, cell: str, quantity: str, hw_id: str, last: int = 200) -> list[Point]:
    """Return the ``last`` newest points of one quantity of one cell on one hardware, oldest first.

    ``cell`` is a ``cell_id``, or the ``key`` that cells of several environments share; each of them gives points of
    its own then. Runs come in the order in which they were made, whatever the clock said.
    """
    exact = session.scalars(select(Cell.id).where(Cell.cell_id == cell)).all()
    meant = exact or session.scalars(select(Cell.id).where(Cell.key == cell)).all()
    asked = (Reading.cell.in_(meant), Reading.quantity == quantity)
    newest = (
        select(Run.id, Run.run_id, Run.created_at, Run.env_id, Run.revision, Run.dirty, Run.environment)
        .where(Run.hw_id == hw_id, Run.id.in_(select(Reading.run).where(*asked)))
        .order_by(Run.run_id.desc())
        .limit(last)
    )
    runs = session.execute(newest).all()[::-1]
    values: dict[tuple[int, int], list[float]] = defaultdict(list)
    noisy: dict[tuple[int, int], int] = defaultdict(int)
    by_launch = set()
    for first in range(0, len(runs), _AT_ONCE):
        some = Reading.run.in_([run.id for run in runs[first : first + _AT_ONCE]])
        columns = select(Reading.run, Reading.cell, Reading.value, Reading.noisy, Reading.launch).where(*asked, some)
        for run, of, value, flagged, launch in session.execute(
            columns.order_by(Reading.run, Reading.launch, Reading.id)
        ):
            values[run, of].append(value)
            noisy[run, of] += flagged
            if launch is not None:
                by_launch.add((run, of))
    return [
        Point(
            run_id=run.run_id,
            created_at=run.created_at,
            values=tuple(values[run.id, of]),
            noisy=noisy[run.id, of],
            env_id=run.env_id,
            revision=_revision(run.revision, dirty=run.dirty),
            environment=run.environment,
            by_launch=(run.id, of) in by_launch,
        )
        for run in runs
        for of in meant
        if (run.id, of) in values
    ]


def cells(session: Session, pattern: str = "*") -> Iterator[IndexedCell]:
    """Yield the cells that a pattern of labels means, or the beginning of an id (six characters or more), by label.

    ``*`` matches ``/`` too. The sentinel is meant only by a pattern that ends with its name.
    """
    columns = (Cell.cell_id, Cell.key, Cell.label, Cell.workload, Cell.engine, Cell.precision, Cell.device)
    asked = select(*columns, Cell.scenario).order_by(Cell.label, Cell.cell_id)
    for row in session.execute(asked.execution_options(yield_per=_AT_ONCE)):
        cell = IndexedCell(*row)
        meant = cell.scenario != SENTINEL or pattern.endswith(SENTINEL)
        if fits(pattern, cell.label, cell.cell_id) and (meant or cell.cell_id.startswith(pattern)):
            yield cell


def quantities(session: Session, cell_id: str) -> dict[str, dict[str, int]]:
    """Return what is known of a cell: hardware → quantity → number of runs."""
    asked = (
        select(Run.hw_id, Reading.quantity, func.count(Reading.run.distinct()))
        .join(Run, Run.id == Reading.run)
        .join(Cell, Cell.id == Reading.cell)
        .where(Cell.cell_id == cell_id)
        .group_by(Run.hw_id, Reading.quantity)
        .order_by(Run.hw_id, Reading.quantity)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for hw_id, quantity, count in session.execute(asked):
        found[hw_id][quantity] = count
    return dict(found)


@dataclass(frozen=True)
class Wanted:
    """Which runs are asked for; an empty field asks for all."""

    suite: str = ""  # a pattern
    engine: str = ""
    hw_id: str = ""  # the beginning of one
    tag: str = ""  # a pattern


def runs(session: Session, wanted: Wanted = Wanted()) -> list[IndexedRun]:
    """Return the runs that are asked for, oldest first."""
    counts = _counts(session)
    engines = _engines(session)
    launches = dict(session.execute(select(Launch.run, func.count()).group_by(Launch.run)).all())
    lines = []
    columns = (Run.id, Run.run_id, Run.created_at, Run.suite, Run.preset, Run.hw_id, Run.env_id, Run.revision)
    asked = select(*columns, Run.dirty, Run.tags, Run.damage, Run.trouble).order_by(Run.run_id)
    for row in session.execute(asked.execution_options(yield_per=_AT_ONCE)):
        line = IndexedRun(
            run_id=row.run_id,
            created_at=row.created_at,
            suite=row.suite,
            preset=row.preset,
            hw_id=row.hw_id,
            env_id=row.env_id,
            revision=_revision(row.revision, dirty=row.dirty),
            tags=tuple(row.tags),
            engines=tuple(engines.get(row.id, ())),
            cells=counts.get(row.id, {}),
            launches=launches.get(row.id, 0),
            damage=tuple(row.damage),
            trouble=row.trouble,
        )
        if _is_wanted(line, wanted):
            lines.append(line)
    return lines


def _is_wanted(line: IndexedRun, wanted: Wanted) -> bool:
    return (
        (not wanted.suite or fnmatch.fnmatchcase(line.suite, wanted.suite))
        and (not wanted.engine or wanted.engine in line.engines)
        and line.hw_id.startswith(wanted.hw_id)
        and (not wanted.tag or any(fnmatch.fnmatchcase(tag, wanted.tag) for tag in line.tags))
    )


def _counts(session: Session) -> Mapping[int, Mapping[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(dict)
    asked = select(State.run, State.status, func.count()).group_by(State.run, State.status).order_by(State.status)
    for run, status, count in session.execute(asked):
        found[run][status] = count
    return found


def _engines(session: Session) -> Mapping[int, Sequence[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    asked = select(State.run, Cell.engine).join(Cell, Cell.id == State.cell).distinct().order_by(Cell.engine)
    for run, engine in session.execute(asked):
        found[run].append(engine)
    return found


def _revision(sha: str, *, dirty: bool) -> str:
    return f"{sha}+" if sha and dirty else sha
