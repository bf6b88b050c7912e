"""Filling the index: the runs that are new or changed are read, those that are gone are dropped."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.orm import Session

from harness import vocabulary
from harness.errors import HarnessError, StoreError
from results.files import explained
from results.index import models
from results.index.database import DamagedIndexError, filling, place_of
from results.index.fitting import storable
from results.quantities import Rule, quantity
from results.snapshots import identity_key, is_noisy, snapshot
from results.store import RunStore, runs_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from results.snapshot import Snapshot
    from results.store import Attempt

_DERIVED = frozenset({"snapshot.json", "report.html", "resume.json"})
"""Files of a run folder that say nothing which is not in the others."""
_AT_ONCE = 500  # values of one IN: databases bound them


@dataclass(frozen=True)
class Updated:
    """What a look at the folder of runs changed."""

    place: Path
    runs: int  # that are in the index now
    read: tuple[str, ...]  # those that were new or had changed
    dropped: tuple[str, ...]  # those that are gone
    troubles: Mapping[str, str]  # run → why nothing of it can be read


@dataclass(frozen=True)
class _Contents:
    """What the tables take of one run."""

    small: Snapshot
    records: Sequence[vocabulary.Record]
    lost: Sequence[Attempt]  # begun, and without a record
    planned: Mapping[str, vocabulary.Cell]
    damage: tuple[str, ...]


def bring_up_to_date(
    runs: Path, place: Path | None = None, *, anew: bool = False, told: Callable[[str], None] = lambda _: None
) -> Updated:
    """Make the index say what the folder of runs says, reading only what changed since; ``anew``: reading all.

    ``place``: its file, by default where ``place_of`` says. ``told`` hears the id of each run before it is read. A run
    that is being written is taken as far as it is. Raises ``StoreError`` where the index cannot be written.
    """
    if not runs.is_dir():
        raise StoreError(f"there is no folder {runs}", "run a suite first, or name the folder with --runs")
    place = place or place_of(runs)
    try:
        return _filled(runs, place, told, anew=anew)
    except DamagedIndexError:
        return _filled(runs, place, told, anew=True)


def _filled(runs: Path, place: Path, told: Callable[[str], None], *, anew: bool) -> Updated:
    with filling(place, anew=anew) as engine, Session(engine) as session:
        known = dict(session.execute(select(models.Run.run_id, models.Run.seen)).all())
        found = {folder.name: folder for folder in runs_in(runs)}
        gone = tuple(sorted(known.keys() - found.keys()))
        for run_id in gone:
            _drop(session, run_id)
        session.commit()
        read = []
        for run_id, folder in found.items():
            now = _seen(folder)  # before the run is read: what is added meanwhile is read the next time
            if known.get(run_id) == now:
                continue
            told(run_id)
            _drop(session, run_id)
            _enter(session, folder, now)
            session.commit()
            read.append(run_id)
        if gone or read:
            _forget_cells(session)
            session.commit()
        troubled = session.execute(select(models.Run.run_id, models.Run.trouble).where(models.Run.trouble != ""))
        return Updated(place, len(found), tuple(read), gone, dict(troubled.all()))


def _seen(folder: Path) -> str:
    """Return the sizes and times of the files that the index is made from."""
    with explained(folder):
        files = sorted(file for file in folder.iterdir() if file.is_file())
        stats = {file.name: file.stat() for file in files if file.name[0] != "." and file.name not in _DERIVED}
    return " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats.items())


def _drop(session: Session, run_id: str) -> None:
    number = session.scalar(select(models.Run.id).where(models.Run.run_id == run_id))
    if number is None:
        return
    for table in models.BY_RUN:
        session.execute(delete(table).where(table.run == number))
    session.execute(delete(models.Run).where(models.Run.id == number))


def _forget_cells(session: Session) -> None:
    """Delete cells that no run has any more."""
    for_cell = [~exists().where(table.cell == models.Cell.id) for table in models.BY_RUN]
    session.execute(delete(models.Cell).where(*for_cell))


def _enter(session: Session, folder: Path, seen: str) -> None:
    """Put one run into the tables; one that cannot be read is entered with the reason, and its neighbours stand."""
    try:
        contents = _read(folder)
    except HarnessError as error:
        session.add(_unreadable(folder, seen, error.message))
        return
    except (LookupError, TypeError, ValueError) as error:  # a manifest that is JSON and yet none of ours
        session.add(_unreadable(folder, seen, f"not a run of the harness: {type(error).__name__}: {error}"))
        return
    run = _run(contents, seen)
    session.add(run)
    session.flush()
    numbers = _numbers(session, contents)
    for table, rows in (
        (models.State, _states(contents, run.id, numbers)),
        (models.Reading, _readings(contents, run.id, numbers)),
        (models.Launch, _launches(contents, run.id, numbers)),
    ):
        made = [storable(models.Base.metadata.tables[table.__tablename__], row) for row in rows]
        if made:
            session.execute(insert(table), made)


def _read(folder: Path) -> _Contents:
    store = RunStore.open(folder)
    if store.run_id != folder.name:
        raise StoreError(f"the folder {folder.name} holds the run {store.run_id}")
    small, records = snapshot(store), store.records()
    lost = [attempt for attempt in store.attempts() if not attempt.ended]
    planned = {planned.cell.cell_id: planned.cell for planned in store.plan.cells}
    planned |= {record.cell_id: record.cell for record in records}
    return _Contents(small, records, lost, planned, store.damage)


def _unreadable(folder: Path, seen: str, why: str) -> models.Run:
    words = ("created_at", "suite", "preset", "hw_id", "env_id", "revision", "harness_version", "drift", "journal")
    return _stored(
        run_id=folder.name,
        **dict.fromkeys(words, ""),
        dirty=False,
        tags=[],
        environment={},
        hardware={},
        damage=[],
        trouble=why,
        seen=seen,
    )


def _run(contents: _Contents, seen: str) -> models.Run:
    small = contents.small
    revision = small.environment.get("revision")
    told = revision if isinstance(revision, dict) else {}  # a text where the suite lies in no repository
    return _stored(
        run_id=small.run_id,
        created_at=small.created_at,
        suite=small.suite,
        preset=small.preset,
        hw_id=small.hw_id,
        env_id=small.env_id,
        revision=str(told.get("sha", "")),
        dirty=bool(told.get("dirty", False)),
        harness_version=small.harness_version,
        tags=list(small.tags),
        environment=dict(small.environment),
        hardware=dict(small.hardware),
        drift=small.drift,
        damage=list(contents.damage),
        trouble="",
        journal=small.derived_from,
        seen=seen,
    )


def _stored(**values: Any) -> models.Run:
    return models.Run(**storable(models.Base.metadata.tables["runs"], values))


def _numbers(session: Session, contents: _Contents) -> dict[str, int]:
    """Return the row of each cell of a run by ``cell_id``, after adding the new ones and naming all as the newest."""
    rows = _cells(contents)
    known = _known(session, rows)
    new = [row for cell_id, row in rows.items() if cell_id not in known]
    if new:
        session.execute(insert(models.Cell), new)
    renamed = [
        {"id": number, "label": rows[cell_id]["label"], "workload": rows[cell_id]["workload"], "named_by": run_id}
        for cell_id, (number, named_by) in known.items()
        if (run_id := contents.small.run_id) > named_by
    ]
    if renamed:
        session.execute(update(models.Cell), renamed)
    return {cell_id: number for cell_id, (number, _) in (_known(session, rows) if new else known).items()}


def _known(session: Session, cell_ids: Iterable[str]) -> dict[str, tuple[int, str]]:
    wanted, found = list(cell_ids), {}
    for first in range(0, len(wanted), _AT_ONCE):
        some = models.Cell.cell_id.in_(wanted[first : first + _AT_ONCE])
        for cell_id, number, named_by in session.execute(
            select(models.Cell.cell_id, models.Cell.id, models.Cell.named_by).where(some)
        ):
            found[cell_id] = (number, named_by)
    return found


def _cells(contents: _Contents) -> dict[str, dict[str, Any]]:
    """Return a row for each cell that a run planned, measured or compares."""
    run_id = contents.small.run_id
    rows = {
        cell_id: {
            "cell_id": cell_id,
            "key": identity_key(cell),
            "label": cell.label,
            "workload": cell.workload,
            "engine": cell.engine,
            "precision": cell.precision.value,
            "device": cell.device,
            "scenario": cell.scenario.name,
            "named_by": run_id,
        }
        for cell_id, cell in contents.planned.items()
    }
    shown = ("cell_id", "key", "label", "workload", "engine", "precision", "device", "scenario")
    for state in contents.small.cells:
        rows[state.cell_id] = {**{name: getattr(state, name) for name in shown}, "named_by": run_id}
    table = models.Base.metadata.tables["cells"]
    return {cell_id: storable(table, row) for cell_id, row in rows.items()}


def _states(contents: _Contents, run: int, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for state in contents.small.cells:
        yield {
            "run": run,
            "cell": numbers[state.cell_id],
            "status": state.status,
            "why": state.why,
            "findings": list(state.findings),
            "planned": state.planned,
        }


def _readings(contents: _Contents, run: int, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    spoiled = _mostly_noisy(contents.records)
    for state in contents.small.cells:
        for reading in state.readings:
            launches = reading.launches or (None,) * len(reading.values)
            # What is counted over all launches together is as noisy as most of them; accuracy and size have no clock.
            pooled = state.cell_id in spoiled and quantity(reading.quantity).rule is Rule.BOUNDS
            for launch, value in zip(launches, reading.values, strict=True):
                yield {
                    "run": run,
                    "cell": numbers[state.cell_id],
                    "quantity": reading.quantity,
                    "launch": launch,
                    "value": value,
                    "noisy": pooled if launch is None else launch in reading.noisy,
                    "low": reading.low,
                    "high": reading.high,
                    "name": reading.name,
                }


def _mostly_noisy(records: Iterable[vocabulary.Record]) -> set[str]:
    """Return the ids of the cells of which more than half of the launches were flagged, the last attempt of each."""
    flagged: dict[str, dict[int, bool]] = defaultdict(dict)
    for record in records:
        if isinstance(record.outcome, vocabulary.Completed):
            flagged[record.cell_id][record.launch.index] = is_noisy(record)
    return {cell_id for cell_id, launches in flagged.items() if 2 * sum(launches.values()) > len(launches)}


def _launches(contents: _Contents, run: int, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for record in contents.records:
        outcome = record.outcome
        failed = outcome if isinstance(outcome, vocabulary.Failed) else None
        skipped = outcome.reason if isinstance(outcome, vocabulary.Skipped) else ""
        yield {
            "run": run,
            "cell": numbers[record.cell_id],
            "launch": record.launch.index,
            "attempt": record.launch.attempt,
            "outcome": type(outcome).__name__.lower(),
            "stage": failed.stage.value if failed else "",
            "kind": failed.kind if failed else "",
            "message": failed.message if failed else skipped,
            "started_at": record.started_at,
            "duration_ns": record.duration_ns,
            "noisy": is_noisy(record),
        }
    blank = {"outcome": "unfinished", "stage": "", "kind": "", "message": "", "duration_ns": None, "noisy": False}
    for attempt in contents.lost:
        if attempt.cell_id in numbers:
            yield {
                "run": run,
                "cell": numbers[attempt.cell_id],
                "launch": attempt.launch.index,
                "attempt": attempt.launch.attempt,
                "started_at": attempt.started_at,
                **blank,
            }
