import json
import multiprocessing
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from harness.errors import StoreError
from harness.vocabulary import Failed, Launch, Precision, Stage
from results.index import building, database, models
from results.index.building import bring_up_to_date
from results.index.database import place_of, reading
from results.snapshots import snapshot
from results.store import RunStore, runs_in
from results.tags import tag


def rows(place, sql):
    with closing(database.read_only(place)) as connection:
        return connection.execute(sql).fetchall()


def everything(place):
    """Return all that an index says, without the numbers of its rows."""
    return {
        "runs": rows(place, "SELECT run_id, suite, hw_id, env_id, tags, damage, trouble, journal FROM runs ORDER BY 1"),
        "cells": rows(place, "SELECT cell_id, key, label, engine, scenario, named_by FROM cells ORDER BY 1"),
        "states": rows(
            place,
            "SELECT run_id, cell_id, status, why, findings, planned FROM states JOIN runs ON runs.id = run"
            " JOIN cells ON cells.id = cell ORDER BY 1, 2",
        ),
        "readings": rows(
            place,
            "SELECT run_id, cell_id, quantity, launch, value, noisy, low, high FROM readings"
            " JOIN runs ON runs.id = run JOIN cells ON cells.id = cell ORDER BY 1, 2, 3, 4, 5",
        ),
        "launches": rows(
            place,
            "SELECT run_id, cell_id, launch, attempt, outcome, stage, launches.kind, message, noisy, duration_ns"
            " FROM launches JOIN runs ON runs.id = run JOIN cells ON cells.id = cell ORDER BY 1, 2, 3, 4",
        ),
    }


def test_the_index_says_what_the_snapshots_and_the_records_say(root):
    done = bring_up_to_date(root)
    assert done.place == root / "index.sqlite"
    assert done.read == tuple(run.name for run in runs_in(root))
    assert (done.runs, done.dropped, done.troubles) == (2, (), {})
    for folder in runs_in(root):
        small = snapshot(RunStore.open(folder))
        (found,) = rows(
            done.place,
            "SELECT created_at, suite, hw_id, env_id, environment, hardware, dirty, revision, journal FROM runs"
            f" WHERE run_id = '{folder.name}'",
        )
        assert found[:4] == (small.created_at, small.suite, small.hw_id, small.env_id)
        assert (json.loads(found[4]), json.loads(found[5])) == (small.environment, small.hardware)
        assert found[6:] == (0, "", small.derived_from)
        stored = rows(
            done.place,
            "SELECT quantity, launch, value, noisy FROM readings JOIN runs ON runs.id = run"
            f" WHERE run_id = '{folder.name}'",
        )
        told = [
            (reading.quantity, launch, value, int(launch in reading.noisy))
            for cell in small.cells
            for reading in cell.readings
            for launch, value in zip(reading.launches or [None], reading.values, strict=True)
        ]
        assert sorted(stored, key=str) == sorted(told, key=str)
        assert {"latency", "load", "first", "memory"} <= {quantity for quantity, *_ in stored}
        outcomes = rows(
            done.place,
            "SELECT outcome, count(*), sum(noisy) FROM launches JOIN runs ON runs.id = run"
            f" WHERE run_id = '{folder.name}' GROUP BY 1 ORDER BY 1",
        )
        assert outcomes == [("completed", 7, 2), ("failed", 2, 0)]  # 3 + 1 retried for noise, 3 of memory
    statuses = rows(done.place, "SELECT DISTINCT status, why FROM states ORDER BY 1")
    assert [status for status, _ in statuses] == ["completed", "failed", "skipped"]
    assert "signal 11" in statuses[1][1]
    assert statuses[2][1] == "no int8 here"


def test_only_what_changed_is_read_and_what_is_gone_is_dropped(root):
    first, second = runs_in(root)
    bring_up_to_date(root)
    assert bring_up_to_date(root).read == ()
    with RunStore.open(second) as store:
        store.started(store.plan.cells[0].cell, Launch(9))
    done = bring_up_to_date(root)
    assert done.read == (second.name,)
    assert rows(done.place, "SELECT launch, duration_ns FROM launches WHERE outcome = 'unfinished'") == [(9, None)]
    tag(first, "main")
    assert bring_up_to_date(root).read == (first.name,)
    assert rows(done.place, "SELECT tags FROM runs ORDER BY run_id") == [('["main"]',), ("[]",)]
    shutil.rmtree(first)
    done = bring_up_to_date(root)
    assert (done.runs, done.read, done.dropped) == (1, (), (first.name,))
    counts = [rows(done.place, f"SELECT count(DISTINCT run) FROM {table}") for table in ("states", "readings")]
    assert counts == [[(1,)], [(1,)]]
    shutil.rmtree(second)
    assert bring_up_to_date(root).runs == 0
    for table in ("runs", "cells", "states", "readings", "launches"):
        assert rows(done.place, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_what_grew_step_by_step_is_what_is_made_at_once(root, tmp_path):
    first, second = runs_in(root)
    aside = second.rename(tmp_path / second.name)
    place = bring_up_to_date(root).place
    aside.rename(second)
    tag(second, "main")
    bring_up_to_date(root)
    grown = everything(place)
    assert {named_by for *_, named_by in grown["cells"]} == {second.name}
    bring_up_to_date(root, anew=True)
    assert everything(place) == grown
    assert first.is_dir()


def test_a_run_that_is_being_written_is_taken_as_far_as_it_is(root, factory, recipes):
    with RunStore.create(root, factory.manifest_of(recipes)) as store:
        done = bring_up_to_date(root)
        assert rows(done.place, "SELECT count(*) FROM states WHERE status = 'not run'") == [(3,)]
        cell = store.plan.cells[0].cell
        store.started(cell, Launch(0))
        store.finished(factory.record_of(store, recipes[0], "latency", Launch(0), seed=1))
        assert bring_up_to_date(root).read == (store.run_id,)
        assert rows(done.place, "SELECT count(*) FROM states WHERE status = 'not run'") == [(2,)]


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        ("{", "is not JSON"),
        ('{"schema": 99}', "newer harness"),
        ('{"schema": 1}', "no readable plan"),
        ("[]", "schema"),
    ],
)
def test_a_run_that_cannot_be_read_is_entered_with_the_reason_and_its_neighbours_stand(root, manifest, word):
    first, second = runs_in(root)
    (first / "manifest.json").write_text(manifest)
    done = bring_up_to_date(root)
    assert word in done.troubles[first.name]
    assert bring_up_to_date(root).troubles.keys() == {first.name}
    assert rows(done.place, "SELECT DISTINCT run_id FROM readings JOIN runs ON runs.id = run") == [(second.name,)]


def test_a_copy_of_a_run_under_another_id_is_no_run(root):
    first, second = runs_in(root)
    copy = f"{second.name[:-4]}ZZZZ"
    shutil.copytree(first, root / copy)
    done = bring_up_to_date(root)
    assert done.troubles == {copy: f"the folder {copy} holds the run {first.name}"}
    assert rows(done.place, "SELECT count(DISTINCT run) FROM readings") == [(2,)]


def test_damage_is_in_the_index(root):
    first, second = runs_in(root)
    path = first / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"torch", b"t0rch", 1)
    path.write_bytes(b"".join(lines))
    done = bring_up_to_date(root)
    found = dict(rows(done.place, "SELECT run_id, damage FROM runs"))
    assert "records.jsonl:2" in json.loads(found[first.name])[0]
    assert json.loads(found[second.name]) == []


@pytest.mark.parametrize("how", ["absent", "empty", "text", "cut", "older", "foreign"])
def test_an_index_that_is_none_is_made_anew(root, how):
    place = bring_up_to_date(root).place
    before, data = everything(place), place.read_bytes()
    if how == "absent":
        place.unlink()
    elif how in {"empty", "text", "cut"}:
        place.write_bytes({"empty": b"", "text": b"no database", "cut": data[: len(data) // 2]}[how])
    elif how == "older":
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("UPDATE about SET value = '0.1'")
            connection.execute("ALTER TABLE runs DROP COLUMN drift")
    else:
        place.unlink()
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("CREATE TABLE about (name TEXT)")
    (root / "index.sqlite-journal").write_bytes(b"of another file")
    bring_up_to_date(root)
    assert everything(place) == before
    assert sorted(file.name for file in root.iterdir()) == sorted(
        ["index.sqlite", *(run.name for run in runs_in(root))]
    )


def _index(root, start, told):
    start.wait()
    told.put(bring_up_to_date(root).read)


def test_processes_that_index_at_once_take_turns(root):
    context = multiprocessing.get_context("fork")
    start, told = context.Event(), context.Queue()
    processes = [context.Process(target=_index, args=(root, start, told)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    read = sorted(told.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert read == [(), (), tuple(run.name for run in runs_in(root))]
    assert rows(root / "index.sqlite", "SELECT count(*) FROM runs") == [(2,)]
    assert rows(root / "index.sqlite", "PRAGMA integrity_check") == [("ok",)]


def test_a_process_that_dies_while_it_fills_leaves_whole_runs(root, monkeypatch):
    enter, entered = building._enter, []

    def die_at_the_second(session, folder, seen):
        enter(session, folder, seen)
        entered.append(folder.name)
        if len(entered) == 2:
            os._exit(7)

    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(building, "_enter", die_at_the_second)
        bring_up_to_date(root)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    first, second = (run.name for run in runs_in(root))
    assert rows(root / "index.sqlite", "SELECT run_id FROM runs") == [(first,)]
    assert bring_up_to_date(root).read == (second,)


def test_what_a_killed_process_had_begun_is_undone(root):
    place = bring_up_to_date(root).place
    before = everything(place)
    pid = os.fork()
    if pid == 0:
        with database.filling(place) as engine, engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA cache_size = 1")  # so that it is in the file before it is committed
            connection.exec_driver_sql("UPDATE runs SET suite = hex(zeroblob(500000))")
            connection.exec_driver_sql("DELETE FROM readings")
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert (root / "index.sqlite-journal").stat().st_size > 0
    assert bring_up_to_date(root).read == ()
    assert everything(place) == before


def test_an_index_is_read_while_it_is_made_anew(root):
    place = bring_up_to_date(root).place
    counted = []

    def count(_run_id):
        with reading(place) as session:
            counted.append(session.scalar(select(func.count()).select_from(models.Run)))

    with reading(place) as session:
        assert session.scalar(select(func.count()).select_from(models.Run)) == 2
        assert len(bring_up_to_date(root, anew=True, told=count).read) == 2
        assert session.scalar(select(func.count()).select_from(models.Run)) == 2
    count("")
    assert counted == [2, 2, 2]
    assert sorted(file.name for file in root.glob("*index*")) + sorted(f.name for f in root.glob(".*")) == [place.name]


def test_an_index_that_could_not_be_made_anew_stands(root):
    place = bring_up_to_date(root).place
    before = place.read_bytes()

    def fail(_run_id):
        raise StoreError("no room")

    with pytest.raises(StoreError, match="no room"):
        bring_up_to_date(root, anew=True, told=fail)
    assert place.read_bytes() == before
    assert len(bring_up_to_date(root, anew=True).read) == 2
    assert [file for file in root.iterdir() if not file.is_dir()] == [place]


def test_no_folder_of_runs_is_explained(tmp_path):
    with pytest.raises(StoreError, match="there is no folder"):
        bring_up_to_date(tmp_path / "nowhere")
    (tmp_path / "runs").mkdir()
    assert bring_up_to_date(tmp_path / "runs").runs == 0


def test_where_the_runs_cannot_be_written_the_index_lies_in_the_cache(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(database, "_writable", lambda path: path != root)
    place = place_of(root)
    assert place.is_relative_to(tmp_path / "cache" / "indexes")
    assert place != place_of(root / "other")
    assert bring_up_to_date(root).place == place
    assert not (root / "index.sqlite").exists()
    assert bring_up_to_date(root).read == ()


def test_an_index_without_room_says_so(root):
    def crowd():
        with database.filling(place_of(root)) as engine, engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 20")
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000) AS hole")

    with pytest.raises(StoreError, match="no space left to write") as caught:
        crowd()
    assert "the runs are whole" in caught.value.hint


def test_reading_an_index_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(StoreError, match="is no index"), database.reading(tmp_path / "index.sqlite"):
        pass


def test_a_reading_session_cannot_write(root):
    def write():
        with database.reading(bring_up_to_date(root).place) as session:
            session.add(models.About(name="x", value="y"))
            session.commit()

    with pytest.raises(StoreError, match="readonly"):
        write()


def test_every_table_can_be_made_on_postgresql():
    dialect = postgresql.dialect()
    made = [str(CreateTable(table).compile(dialect=dialect)) for table in models.Base.metadata.sorted_tables]
    made += [
        str(CreateIndex(index).compile(dialect=dialect))
        for table in models.Base.metadata.sorted_tables
        for index in table.indexes
    ]
    assert sum("BIGSERIAL NOT NULL" in text for text in made) == 4
    assert not [text for text in made if "DATETIME" in text]


@pytest.mark.parametrize(("noisy", "flagged"), [((0, 1, 2), 1), ((0,), 0)])
def test_a_percentile_is_as_noisy_as_most_of_the_launches_that_it_is_of(factory, tmp_path, noisy, flagged):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, noisy_launches=noisy, scenarios=("latency", "prove"))
    factory.write_run(tmp_path, (recipe,))
    place = bring_up_to_date(tmp_path).place
    found = rows(place, "SELECT quantity, noisy FROM readings WHERE launch IS NULL")
    assert {noisy for quantity, noisy in found if quantity.startswith("p")} == {flagged}
    assert {noisy for quantity, noisy in found if quantity == "size"} == {0}


def test_a_text_that_no_database_holds_is_made_one_that_each_does(factory, tmp_path):
    crash = Failed(Stage.STEADY, "crash", "it said \ud800, then \0", "")
    factory.write_run(tmp_path, (factory.Recipe("lite0", "torch", Precision.FP32, failure=crash, launches=1),))
    place = bring_up_to_date(tmp_path).place
    told = "it said ‹U+D800›, then ‹U+0000›"
    assert {message for (message,) in rows(place, "SELECT message FROM launches")} == {told}
    assert all(told in why for (why,) in rows(place, "SELECT why FROM states"))
