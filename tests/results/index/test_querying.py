import sqlite3

import pytest

from harness.errors import StoreError
from results.index import database, querying
from results.index.building import bring_up_to_date
from results.index.querying import query


@pytest.fixture(scope="module")
def place(written_runs, tmp_path_factory):
    return bring_up_to_date(written_runs, tmp_path_factory.mktemp("place") / "odd name %?#" / "index.sqlite").place


def test_an_answer_has_columns_and_rows(place):
    answer = query(place, "SELECT status, count(*) AS n FROM states GROUP BY status ORDER BY status")
    assert answer.columns == ("status", "n")
    assert answer.rows == (("completed", 4), ("failed", 2), ("skipped", 2))
    assert not answer.more


def test_an_answer_has_no_more_rows_than_asked(place):
    answer = query(place, "SELECT id FROM readings ORDER BY id", rows=3)
    assert (answer.rows, answer.more) == (((1,), (2,), (3,)), True)
    assert not query(place, "SELECT 1 UNION SELECT 2", rows=2).more


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name, type FROM pragma_table_info('runs')",
        "PRAGMA table_info(runs)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
        "SELECT value FROM json_each('[1, 2]')",
        "SELECT json_extract(environment, '$.kernel') FROM runs",
        "EXPLAIN QUERY PLAN SELECT * FROM runs",
        "SELECT avg(value) OVER (PARTITION BY cell ORDER BY run) FROM readings;",
    ],
)
def test_what_reads_is_answered(place, sql):
    assert query(place, sql).rows


WRITES = [
    "INSERT INTO about VALUES ('a', 'b')",
    "UPDATE runs SET suite = 'x'",
    "DELETE FROM readings",
    "DROP TABLE runs",
    "ALTER TABLE runs ADD COLUMN x",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x (y)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE TRIGGER x AFTER INSERT ON runs BEGIN SELECT 1; END",
    "REPLACE INTO about VALUES ('edition', '9')",
    "WITH x AS (SELECT 1) DELETE FROM runs",
    "ATTACH 'other.sqlite' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.sqlite'",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "SAVEPOINT x",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = WAL",
    "PRAGMA writable_schema = ON",
    "PRAGMA user_version = 3",
    "SELECT load_extension('x.so')",
    "SELECT * FROM runs WHERE load_extension('x')",
    "CREATE VIRTUAL TABLE x USING fts5(y)",
]


@pytest.mark.parametrize("sql", WRITES)
def test_what_does_more_than_read_is_refused_and_changes_nothing(place, sql, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = place.read_bytes()
    with pytest.raises(StoreError, match=r"may only read|no such function|asks for nothing") as caught:
        query(place, sql)
    assert caught.value.hint
    assert place.read_bytes() == before
    assert list(tmp_path.iterdir()) == []
    assert [file.name for file in place.parent.iterdir()] == ["index.sqlite"]


def test_the_file_cannot_be_written_even_without_the_guard(place, monkeypatch):
    monkeypatch.setattr(querying, "_allowed", lambda *_: sqlite3.SQLITE_OK)
    for sql in ("INSERT INTO about VALUES ('a', 'b')", "DROP TABLE runs"):
        with pytest.raises(StoreError, match="may only read"):
            query(place, sql)


@pytest.mark.parametrize(
    ("sql", "words", "hint"),
    [
        ("SELECT FROM", "SQL: near", "the tables are about, cells, launches, readings, runs, states"),
        ("SELECT absent FROM runs", "no such column: absent", "the tables are"),
        ("SELECT * FROM nowhere", "no such table: nowhere", "the tables are"),
        ("SELECT 1; SELECT 2", "only one statement", "by themselves"),
        ("SELECT 1; DROP TABLE runs", "only one statement", "by themselves"),
        ("", "asks for nothing", "SELECT"),
        ("-- nothing", "asks for nothing", "SELECT"),
        ("SELECT '\0'", "SQL", ""),
        ("SELECT '\ud800'", "SQL", ""),
        ("SELECT zeroblob(1000000000)", "too much memory", "ask for less"),
        ("UPDATE sqlite_master SET sql = 0", "may not be modified", "the tables are"),
        ("DELETE FROM sqlite_master", "may not be modified|may only read", ""),
        ("SELECT ?", "SQL: Incorrect number of bindings", "the tables are"),
    ],
)
def test_wrong_sql_is_explained(place, sql, words, hint):
    with pytest.raises(StoreError, match=words) as caught:
        query(place, sql)
    assert hint in caught.value.hint


def test_an_answer_that_memory_has_no_room_for_is_refused(place, monkeypatch):
    monkeypatch.setattr(querying, "_ANSWER_BYTES", 1 << 20)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000)"
    for value in ("randomblob(20000)", "hex(randomblob(10000))", "i"):
        with pytest.raises(StoreError, match="the answer has more than 1 MiB after") as caught:
            query(place, f"{numbers} SELECT {value} FROM n", rows=10**30)
        assert "LIMIT" in caught.value.hint
    assert len(query(place, f"{numbers} SELECT i FROM n", rows=5000).rows) == 5000


def test_a_query_without_end_is_stopped(place):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StoreError, match=r"took longer than 0.2 s") as caught:
        query(place, endless, seconds=0.2)
    assert "--seconds" in caught.value.hint


def test_a_file_that_is_no_index_is_refused(tmp_path):
    for data in (None, b"", b"no database at all" * 100):
        place = tmp_path / "index.sqlite"
        if data is not None:
            place.write_bytes(data)
        with pytest.raises(StoreError, match="is no index") as caught:
            query(place, "SELECT 1")
        assert "--rebuild" in caught.value.hint


def test_the_index_can_be_read_while_it_is_filled(place):
    with database.filling(place) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE about SET value = value")
        assert query(place, "SELECT count(*) FROM runs").rows == ((2,),)
