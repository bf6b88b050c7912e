"""Runs in PostgreSQL: what is there is what SQLite holds, once and whole, whoever pushes at the same time."""

import json
import multiprocessing
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from harness.errors import StoreError
from harness.vocabulary import Launch, Precision
from results.index import fitting, models, pushing
from results.index.building import bring_up_to_date
from results.index.database import opened, prepare, reading
from results.index.fitting import plain
from results.index.postgres import address, writing
from results.index.postgres import reading as asking
from results.index.pushing import Outcome, push
from results.store import RunStore, record_id, runs_in
from results.tags import tag

KINDS = (models.Run, models.Cell, *models.BY_RUN)


def contents(session):
    """Return all that an index says, without the numbers that each database gives its rows, and ``seen``."""
    runs = dict(session.execute(select(models.Run.id, models.Run.run_id)).all())
    cells = dict(session.execute(select(models.Cell.id, models.Cell.cell_id)).all())
    found = {}
    for kind in KINDS:
        table = kind.__table__
        rows = [dict(row) for row in session.execute(select(*table.columns)).mappings()]
        for row in rows:
            row.pop("id", None)
            row.pop("seen", None)
            if "run" in row:
                row |= {"run": runs[row["run"]], "cell": cells[row["cell"]]}
        found[table.name] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def here(root):
    with reading(bring_up_to_date(root).place) as session:
        return contents(session)


@pytest.fixture
def where(postgres, database):
    return address(postgres.url(database))


def there(where):
    with asking(where) as session:
        return contents(session)


def pushed(where, root, folders=None):
    """Push runs of a folder; what became of each."""
    with reading(bring_up_to_date(root).place) as source, writing(where) as target:
        return list(push(source, target, list(runs_in(root)) if folders is None else folders))


def outcomes(where, root, folders=None):
    return [one.outcome for one in pushed(where, root, folders)]


@pytest.fixture
def versions(postgres, database):
    """Return a look at every row of every table by which any write shows."""

    def look():
        asked = {kind.__tablename__: f"SELECT ctid::text, xmin::text FROM {kind.__tablename__}" for kind in KINDS}
        return {table: sorted(postgres.asks(sql, database)) for table, sql in asked.items()}

    return look


def grow(folder, factory, recipes, launch=9):
    """Add a launch to a run."""
    with RunStore.open(folder) as store:
        store.started(recipes[0].cell("latency"), Launch(launch))
        store.finished(factory.record_of(store, recipes[0], "latency", Launch(launch), seed=launch))


def damage(folder):
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"torch", b"t0rch", 1)
    path.write_bytes(b"".join(lines))


def test_postgresql_holds_of_each_run_what_sqlite_holds(where, root, factory, recipes):
    first, second = runs_in(root)
    tag(first, "main")
    with RunStore.open(second) as store:
        store.started(store.plan.cells[0].cell, Launch(8))  # and never ended
    damage(first)
    assert pushed(where, root) == [
        pushing.Pushed(first.name, Outcome.PUSHED),
        pushing.Pushed(second.name, Outcome.PUSHED),
    ]
    found = there(where)
    assert found == here(root)
    assert all(len(rows) >= 2 for rows in found.values())
    assert found["runs"][0]["tags"] == ["main"]
    assert found["runs"][0]["damage"]
    assert "unfinished" in {row["outcome"] for row in found["launches"]}


def test_pushing_again_writes_nothing(where, root, versions):
    assert outcomes(where, root) == [Outcome.PUSHED] * 2
    before = versions()
    assert outcomes(where, root) == [Outcome.SAME] * 2
    assert versions() == before
    copy = shutil.copytree(root, root.parent / "copied elsewhere", ignore=shutil.ignore_patterns("index.sqlite"))
    for file in copy.rglob("*.json*"):
        os.utime(file, (1, 1))
    assert outcomes(where, copy) == [Outcome.SAME] * 2
    assert versions() == before


def test_a_run_that_grew_is_replaced_and_no_other(where, root, factory, recipes, postgres, database):
    first, second = runs_in(root)
    pushed(where, root)
    mine = f"SELECT ctid::text, xmin::text FROM readings JOIN runs ON runs.id = run WHERE run_id = '{first.name}'"
    before = postgres.asks(mine.replace("ctid", "readings.ctid").replace("xmin", "readings.xmin"), database)
    grow(second, factory, recipes)
    assert outcomes(where, root) == [Outcome.SAME, Outcome.REPLACED]
    assert there(where) == here(root)
    assert postgres.asks(mine.replace("ctid", "readings.ctid").replace("xmin", "readings.xmin"), database) == before
    tag(first, "release")
    assert outcomes(where, root) == [Outcome.REPLACED, Outcome.SAME]
    assert there(where) == here(root)


def test_a_run_that_was_corrected_is_replaced(where, root):
    run = runs_in(root)[0]
    pushed(where, root)
    with RunStore.open(run) as store:
        wrong = store.records()[0]
        store.finished(replace(wrong, duration_ns=1, supersedes=record_id(wrong)))
    assert outcomes(where, root, [run]) == [Outcome.REPLACED]
    found = there(where)
    assert found == here(root)
    assert 1 in {row["duration_ns"] for row in found["launches"]}


@pytest.mark.parametrize("how", ["older", "damaged"])
def test_a_copy_that_has_less_of_a_run_takes_nothing_away(where, root, factory, recipes, how, versions):
    run = runs_in(root)[1]
    lesser = shutil.copytree(root, root.parent / "lesser")
    grow(run, factory, recipes) if how == "older" else damage(lesser / run.name)
    pushed(where, root)
    before = versions()
    (one,) = pushed(where, lesser, [lesser / run.name])
    assert one.outcome is Outcome.KEPT
    assert "lines of its journal" in one.why
    assert versions() == before
    assert there(where) == here(root)


def test_a_whole_copy_takes_the_place_of_a_lesser_one(where, root):
    run = runs_in(root)[1]
    damaged = shutil.copytree(root, root.parent / "damaged")
    damage(damaged / run.name)
    pushed(where, damaged)
    assert there(where)["runs"][1]["damage"]
    assert outcomes(where, root) == [Outcome.SAME, Outcome.REPLACED]
    assert there(where) == here(root)


def test_what_cannot_be_read_is_refused_and_its_neighbours_are_pushed(where, root):
    first, second = runs_in(root)
    odd = shutil.copytree(second, root / "as a user named it")
    (first / "manifest.json").write_text("{")
    unreadable, misnamed, whole = pushed(where, root, [first, odd, second])
    assert (unreadable.outcome, misnamed.outcome, whole.outcome) == (Outcome.REFUSED, Outcome.REFUSED, Outcome.PUSHED)
    assert "is not JSON" in unreadable.why
    assert "not named by the id" in misnamed.why
    assert unreadable.hint
    assert "results import" in misnamed.hint
    assert [run["run_id"] for run in there(where)["runs"]] == [second.name]


def test_a_cell_is_called_as_the_newest_run_calls_it_whichever_is_pushed_last(where, root):
    places = []
    for number, run in enumerate(runs_in(root)):
        alone = root.parent / f"machine {number}"
        shutil.copytree(run, alone / run.name)
        place = bring_up_to_date(alone).place
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("UPDATE cells SET label = label || ?, workload = ?", (f" of {number}", f"w{number}"))
        places.append((place, [alone / run.name]))
    for order in ((0, 1), (1, 0)):
        for index in order:
            with reading(places[index][0]) as source, writing(where) as target:
                assert next(push(source, target, places[index][1])).outcome is Outcome.PUSHED
            named = {(cell["label"][-5:], cell["workload"]) for cell in there(where)["cells"]}
            if index == order[-1]:
                assert named == {(" of 1", "w1")}
        with writing(where) as target, target.session.begin():
            for kind in (*models.BY_RUN, models.Cell, models.Run):
                target.session.query(kind).delete()


def test_a_pusher_that_dies_leaves_nothing_of_its_run(where, root, monkeypatch):
    first, second = runs_in(root)
    pushed(where, root, [first])
    before = there(where)

    def die(_session, _cells):
        os._exit(7)

    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(pushing, "_rename", die)
        pushed(where, root, [second])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert there(where) == before
    assert outcomes(where, root) == [Outcome.SAME, Outcome.PUSHED]
    assert there(where) == here(root)


def test_what_the_server_refuses_is_refused_by_name_and_the_rest_is_pushed(where, root, monkeypatch):
    first, second = runs_in(root)
    place = bring_up_to_date(root).place
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("UPDATE runs SET hw_id = ? WHERE run_id = ?", ("h" * 65, first.name))
    with reading(place) as source, writing(where) as target:
        found = list(push(source, target, [first, second]))
        assert [one.outcome for one in found] == [Outcome.REFUSED, Outcome.PUSHED]
        assert "runs.hw_id has 65 characters, 64 fit" in found[0].why
        monkeypatch.setattr(fitting, "_check", lambda _column, _value: None)
        (found,) = push(source, target, [first])
    assert found.outcome is Outcome.REFUSED
    assert "PostgreSQL does not take it: value too long" in found.why
    assert [run["run_id"] for run in there(where)["runs"]] == [second.name]


def test_who_waits_too_long_for_another_pusher_is_told(where, root, monkeypatch):
    run = runs_in(root)[0]
    pushed(where, root, [run])
    tag(run, "main")
    monkeypatch.setattr(pushing, "_PATIENCE", "100ms")
    with writing(where) as other, other.session.begin():
        other.session.execute(select(models.Run.id).with_for_update())
        with pytest.raises(StoreError, match="is held by another process") as caught:
            pushed(where, root, [run])
    assert "push again" in caught.value.hint
    assert outcomes(where, root, [run]) == [Outcome.REPLACED]


def test_a_connection_that_breaks_is_explained_and_what_was_pushed_stays(where, root, postgres, database):
    first, second = runs_in(root)
    with reading(bring_up_to_date(root).place) as source, writing(where) as target:
        steps = push(source, target, [first, second])
        assert next(steps).outcome is Outcome.PUSHED
        ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        postgres.does(ends)
        with pytest.raises(StoreError, match="went away") as caught:
            next(steps)
    assert "push again" in caught.value.hint
    assert outcomes(where, root) == [Outcome.SAME, Outcome.PUSHED]


@pytest.fixture(scope="module")
def many(factory, recipes, tmp_path_factory):
    """A folder of six runs that share cells, four of which have one more."""
    root = tmp_path_factory.mktemp("many") / "runs"
    further = factory.Recipe("lite0", "torch", Precision.FP16, launches=1, scenarios=("memory",))
    for number in range(6):
        factory.write_run(root, (recipes[0], *((further,) if number % 3 else ())))
    return root


def at_once(tasks):
    """Run functions in processes that begin together; return what each returned."""
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(len(tasks)), context.Queue()

    def work(task):
        start.wait()
        try:
            told.put(task())
        except BaseException as error:
            told.put(repr(error))
            raise

    processes = [context.Process(target=work, args=(task,)) for task in tasks]
    for process in processes:
        process.start()
    found = [told.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0, found
    return found


def test_eight_pushers_at_once_push_every_run_once(where, many, tmp_path, postgres, database):
    root = shutil.copytree(many, tmp_path / "runs")
    expected = here(root)
    place, runs = root / "index.sqlite", list(runs_in(root))

    def pusher(turn):
        def push_all():
            mine = runs[turn % 6 :] + runs[: turn % 6] if turn % 2 else runs[::-1]
            with reading(place) as source, writing(where) as target:
                return [(one.run_id, one.outcome) for one in push(source, target, mine)]

        return push_all

    found = at_once([pusher(turn) for turn in range(8)])
    told = Counter(one for each in found for one in each)
    assert {run_id: told[run_id, Outcome.PUSHED] for run_id, _ in told} == {run.name: 1 for run in runs}
    assert {run_id: told[run_id, Outcome.SAME] for run_id, _ in told} == {run.name: 7 for run in runs}
    assert there(where) == expected
    assert postgres.asks("SELECT count(*) FROM about", database) == [(1,)]
    assert postgres.asks(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'", "postgres") == [(0,)]


def test_pushers_that_name_the_same_cells_in_any_order_never_lock_each_other_out(where, tmp_path, postgres, database):
    cells, runs, place = 40, 16, tmp_path / "index.sqlite"
    engine = opened(place)
    prepare(engine)
    blank = dict.fromkeys(("key", "label", "workload", "engine", "precision", "device", "scenario", "named_by"), "0")
    facts = {column.name: "" for column in models.Run.__table__.columns if column.name != "id"}
    lists = {"dirty": False, "tags": [], "damage": [], "environment": {}, "hardware": {}}
    with Session(engine) as session, session.begin():
        session.execute(insert(models.Cell), [{**blank, "cell_id": f"{n:064x}"} for n in range(cells)])
        for number in range(1, runs + 1):
            session.execute(insert(models.Run), [{**facts, **lists, "run_id": f"{number:026d}"}])
            states = {"run": number, "status": "completed", "why": "", "findings": [], "planned": 1}
            session.execute(insert(models.State), [{**states, "cell": n} for n in range(1, cells + 1)])
    engine.dispose()
    folders = [tmp_path / f"{number:026d}" for number in range(1, runs + 1)]
    read = pushing._contents

    def pusher(turn):
        def contents(*arguments):
            """Return what an index holds that saw this run last, and its cells in an order of its own."""
            found = read(*arguments)
            named = {number: {**cell, "named_by": found.run["run_id"]} for number, cell in found.cells.items()}
            return replace(found, cells=dict(reversed(named.items())) if turn % 2 else named)

        def push_some():
            pushing._contents = contents  # in this process alone
            with reading(place) as source, writing(where) as target:
                return [one.outcome for one in push(source, target, folders[turn % 4 :: 4])]

        return push_some

    with writing(where):
        pass
    slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'"
    each = "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON cells FOR EACH ROW EXECUTE FUNCTION slow()"
    postgres.does(slow, each, database=database)  # so that they meet
    found = at_once([pusher(turn) for turn in range(8)])
    assert Counter(outcome for each in found for outcome in each) == {Outcome.PUSHED: runs, Outcome.SAME: runs}
    assert postgres.asks("SELECT count(*), count(DISTINCT cell) FROM states", database) == [(cells * runs, cells)]
    assert postgres.asks("SELECT DISTINCT named_by FROM cells", database) == [(folders[-1].name,)]
    assert postgres.asks(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'", "postgres") == [(0,)]


def test_copies_of_runs_that_grow_are_pushed_at_once_and_the_longest_stay(where, many, tmp_path, factory, recipes):
    copies = []
    for age in range(2):
        root = shutil.copytree(copies[-1] if copies else many, tmp_path / f"day {age}" / "runs")
        for run in runs_in(root)[age:]:
            grow(run, factory, recipes, launch=20 + age)
        bring_up_to_date(root)
        copies.append(root)

    def pusher(turn):
        def push_all():
            root = copies[turn % 2]
            runs = list(runs_in(root))
            with reading(root / "index.sqlite") as source, writing(where) as target:
                return [one.outcome for one in push(source, target, runs if turn < 4 else runs[::-1])]

        return push_all

    found = at_once([pusher(turn) for turn in range(8)])
    told = Counter(outcome for each in found for outcome in each)
    assert told[Outcome.PUSHED] == 6
    assert told[Outcome.REFUSED] == 0
    assert sum(told.values()) == 48
    assert there(where) == here(copies[-1])


ODD = st.sampled_from("\0\u202e\ufeff\uffff")
ANY_TEXT = st.text(st.characters(exclude_categories=[]) | ODD | st.sampled_from("\ud800\udfff"), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
DATA = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | ODD, max_size=70)
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**31 - 1, 2**31, -(2**31), -(2**31) - 1])
FLOATS = st.floats(allow_nan=False)
"""SQLite makes NULL of NaN, which the tables refuse: none ever comes so far."""
TYPES = {
    "JSON": (DATA, DATA),
    "boolean": (st.booleans(), st.booleans()),
    "float": (FLOATS, FLOATS),
    "integer": (WHOLE, st.integers(-(2**31), 2**31 - 1)),
    "big_integer": (WHOLE, WHOLE),
    "text": (TEXTS, TEXTS),
}
"""What SQLite takes into a column, and of that what PostgreSQL has a place for."""


def values_of(column, *, fitting):
    kind = column.type
    if column.foreign_keys or column.name in {"id", "run_id", "cell_id", "trouble"}:
        return None
    if kind.__visit_name__ == "string":
        # A character that no text of PostgreSQL holds takes eight.
        values = st.text(st.characters(exclude_categories=["Cs"]) | ODD, max_size=kind.length // 8 if fitting else 70)
    else:
        values = TYPES[kind.__visit_name__][fitting]
    return st.none() | values if column.nullable else values


def rows_of(*, fitting):
    """Return a strategy for a row of each table, without its keys."""
    found = []
    for kind in KINDS:
        drawn = {column.name: values_of(column, fitting=fitting) for column in kind.__table__.columns}
        found.append(st.fixed_dictionaries({name: values for name, values in drawn.items() if values is not None}))
    return st.tuples(*found)


@pytest.fixture(scope="module")
def shared(postgres, tmp_path_factory):
    """A database and an index of SQLite's, empty but for what each example adds."""
    place = tmp_path_factory.mktemp("drawn") / "index.sqlite"
    engine = opened(place)
    prepare(engine)
    with postgres.database("drawn") as name, writing(address(postgres.url(name))) as target:
        yield engine, place, target
    engine.dispose()


def has_place(column, value):
    """Return whether PostgreSQL has a place for a value, as its manual says of the types."""
    kind = column.type
    if isinstance(value, str) and kind.__visit_name__ == "string":
        return len(plain(value)) <= kind.length
    if kind.__visit_name__ == "integer" and value is not None:
        return -(2**31) <= value < 2**31
    return True


def is_held(column, value):
    """Return what PostgreSQL holds of a value of SQLite's: floats as they are, infinite ones too."""
    return value if column.type.__visit_name__ == "float" else plain(value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=rows_of(fitting=True) | rows_of(fitting=False))
def test_whatever_sqlite_took_postgresql_holds_alike_or_the_run_is_refused(shared, drawn):
    engine, place, target = shared
    with Session(engine) as session, session.begin():
        number = session.scalar(select(func.count()).select_from(models.Run)) + 1
        run_id, cell_id = f"{number:026d}", f"{number:064x}"
        keys = {models.Run: {"run_id": run_id, "trouble": ""}, models.Cell: {"cell_id": cell_id}}
        keys |= {kind: {"run": number, "cell": number} for kind in models.BY_RUN}
        for kind, row in zip(KINDS, drawn, strict=True):
            session.execute(insert(kind), [{**row, **keys[kind]}])
    with reading(place) as source:
        (one,) = push(source, target, [place.parent / run_id])
    with target.session.begin():
        run = target.session.scalar(select(models.Run.id).where(models.Run.run_id == run_id))
        cell = target.session.scalar(select(models.Cell.id).where(models.Cell.cell_id == cell_id))
        told = zip(KINDS, drawn, strict=True)
        if not all(has_place(kind.__table__.c[name], value) for kind, row in told for name, value in row.items()):
            assert (one.outcome, bool(one.why), run, cell) == (Outcome.REFUSED, True, None, None)
            return
        assert (one.outcome, one.why) == (Outcome.PUSHED, "")
        for kind, row in zip(KINDS, drawn, strict=True):
            by_run = {each: each.run == run for each in models.BY_RUN}
            own = {models.Run: models.Run.id == run, models.Cell: models.Cell.id == cell, **by_run}[kind]
            columns = kind.__table__.c
            held = select(*(columns[name] for name in row)).where(own)
            (stored,) = target.session.execute(held).mappings()
            expected = {name: is_held(columns[name], value) for name, value in row.items() if name != "seen"}
            assert {name: stored[name] for name in expected} == expected


def test_another_user_pushes_with_what_the_page_says_to_grant(where, root, postgres, database):
    first, second = runs_in(root)
    pushed(where, root, [first])
    page = (Path(__file__).parents[3] / "docs" / "results.md").read_text(encoding="utf-8")
    grants = [line for line in page.splitlines() if line.startswith("GRANT ") and line.endswith("TO pushers;")]
    postgres.does("CREATE ROLE pushers LOGIN", *grants, database=database)
    try:
        guest = address(postgres.url(database, "pushers"))
        tag(first, "main")
        assert outcomes(guest, root, [first, second]) == [Outcome.REPLACED, Outcome.PUSHED]
        assert there(where) == here(root)
    finally:
        postgres.does("DROP OWNED BY pushers", "DROP ROLE pushers", database=database)
