"""The address of a team's index, its tables, and what is said where something is wrong: never a password."""

import logging
import os
import socket
import sys
import threading
import traceback

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from harness.errors import StoreError
from results.index import postgres as door
from results.index.models import EDITION, Base, Run
from results.index.postgres import address, reading, writing
from results.index.postgres_errors import translated

SECRET = "Tr0ub4dor"
psycopg = pytest.importorskip("psycopg")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path):
    """Take away what libpq would read beside the address."""
    for name in ("PGPASSWORD", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGCONNECT_TIMEOUT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))


def open_and_close(url):
    with writing(address(url)):
        pass


def refusal(url, act=open_and_close):
    """Return what a user is told, after making sure that the password is nowhere in it."""
    with pytest.raises(StoreError) as caught:
        act(url)
    assert caught.value.hint
    whole = "".join(traceback.format_exception(caught.value))
    assert SECRET not in whole
    assert len(caught.value.message.splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann@db.example/runs", "postgresql://ann@db.example/runs"),
        ("postgres://ann:Tr0ub4dor@db.example:5433/runs", "postgresql://ann@db.example:5433/runs"),
        ("postgresql+psycopg://ann:Tr0ub4dor@db/runs?sslmode=verify-full", "postgresql://ann@db/runs"),
        ("postgresql://db/runs?user=ann&password=Tr0ub4dor", "postgresql://ann@db/runs"),
        ("postgresql://ann:a%2FTr0ub4dor%40b@db/runs", "postgresql://ann@db/runs"),
        ("postgresql://a%40b:Tr0ub4dor@db/ru%2Fns", "postgresql://a%40b@db/ru%2Fns"),
        ("postgresql://h1:1,h2:2/runs?target_session_attrs=read-write", "postgresql://h1:1,h2:2/runs"),
        (
            "postgresql://ann@/runs?host=/run/postgresql&sslpassword=Tr0ub4dor",
            "postgresql://ann@/runs?host=/run/postgresql",
        ),
        ("postgresql:///runs?host=/tmp&port=5433", "postgresql:///runs?host=/tmp&port=5433"),
        ("postgresql://h1,h2:5433/runs", "postgresql://h1,h2:5433/runs"),
        ("postgresql://h1,h2/runs?port=5433", "postgresql://h1:5433,h2:5433/runs"),
        ("postgresql://[::1]:5433/runs", "postgresql://[::1]:5433/runs"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_of_an_address_everything_but_the_secret_is_shown(url, shown):
    where = address(url)
    assert where.shown == shown
    assert SECRET not in repr(where)


@pytest.mark.parametrize(
    "url",
    [
        "Tr0ub4dor",
        "mysql://ann:Tr0ub4dor@db/runs",
        "postgresql+psycopg2://ann:Tr0ub4dor@db/runs",
        "host=db password=Tr0ub4dor",
        "postgresql://ann:a@Tr0ub4dor@db/runs",
        "postgresql://ann:a/Tr0ub4dor@db/runs",
        "postgresql://ann:1/Tr0ub4dor@db/runs",
        "postgresql://ann:Tr0ub4dor/x?y@db/runs",
        "postgresql://ann:Tr0ub4dor%ZZ@db/runs",
        "postgresql://ann:Tr0ub4dor@[::1/runs",
        "postgresql://ann:Tr0ub4dor@db/runs?sslmod=require",
        "postgresql://ann:Tr0ub4dor@db/runs?sslmode",
        "postgresql://ann:Tr0ub4dor%00@db/runs",
        "postgresql://ann:Tr0ub4dor\0@db/runs",
        "postgresql://ann:Tr0ub4dor\ud800@db/runs",
        "postgresql://ann@db:Tr0ub4dor/runs",
    ],
)
def test_an_address_that_is_none_is_refused_without_a_word_of_it(url):
    told = refusal(url, address)
    assert "postgresql://USER@HOST" in told
    assert "ann:" not in told
    assert "db" not in told


@pytest.mark.parametrize("broken", ["absent", "without libpq"])
def test_where_the_driver_is_absent_the_command_that_installs_it_is_told(monkeypatch, tmp_path, broken):
    loaded = [name for name in sys.modules if name.partition(".")[0] == "psycopg"]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    if broken == "absent":
        monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    else:
        (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
        monkeypatch.syspath_prepend(tmp_path)
    told = refusal("postgresql://ann:Tr0ub4dor@db/runs", address)
    assert "pip install 'inference-harness[postgresql]'" in told
    assert ("is not installed" if broken == "absent" else "no pq wrapper") in told


class Absent:
    """A finder of modules that finds no psycopg."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name=name)


def test_the_first_who_comes_makes_the_tables_and_says_of_which_edition_they_are(postgres, database):
    waiting, troubles = threading.Barrier(4), []

    def come():
        try:
            waiting.wait()
            open_and_close(postgres.url(database))
        except BaseException as error:  # noqa: BLE001 - told in the main thread
            troubles.append(error)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert postgres.asks("SELECT * FROM about", database) == [("edition", EDITION)]
    found = postgres.asks(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace", database
    )
    assert {name for (name,) in found} == set(Base.metadata.tables)


def test_tables_are_made_whole_or_not_at_all(postgres, database, monkeypatch):
    monkeypatch.setattr(door, "EDITION", "e\0")
    refusal(postgres.url(database))
    assert postgres.asks("SELECT to_regclass('runs'), to_regclass('about')", database) == [(None, None)]
    monkeypatch.undo()
    open_and_close(postgres.url(database))


def test_parameters_of_libpq_are_passed_on(postgres, database, monkeypatch):
    def told(url, name):
        with writing(address(url)) as target, target.session.begin():
            return target.session.connection().exec_driver_sql(f"SHOW {name}").scalar_one()

    url = postgres.url(database)
    assert told(url, "application_name") == "harness"
    assert told(f"{url}&application_name=nightly", "application_name") == "nightly"
    assert told(f"{url}&options=-cstatement_timeout%3D7s", "statement_timeout") == "7s"
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    assert told(url, "client_encoding") == "UTF8"
    assert "connect_timeout" in address(url).parameters
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert "connect_timeout" not in address(url).parameters
    assert "does not support SSL" in refusal(f"{postgres.by_port(database)}?sslmode=require")
    assert "sslmode" in refusal(f"{url}&sslmode=sometimes")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no limit for what is unanswered")
def test_a_server_that_went_silent_is_given_up_after_two_minutes(postgres, database):
    with writing(address(postgres.by_port(database))) as target, target.session.begin():
        connection = target.session.connection().connection.dbapi_connection
        with socket.socket(fileno=os.dup(connection.fileno())) as opened:
            options = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            unanswered_ms, idle_s, interval_s, count = (opened.getsockopt(socket.IPPROTO_TCP, each) for each in options)
    assert unanswered_ms == 120_000
    assert idle_s + interval_s * count == 120


def test_a_schema_may_hold_the_index(postgres, database):
    url = postgres.url(database)
    postgres.does("CREATE SCHEMA bench", "CREATE TABLE public.other (id int)", database=database)
    open_and_close(f"{url}&options=-csearch_path%3Dbench")
    assert postgres.asks("SELECT to_regclass('bench.runs')::text, to_regclass('public.runs')", database) == [
        ("bench.runs", None)
    ]


def test_the_server_s_own_isolation_is_not_relied_on(postgres, database):
    postgres.does(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    with writing(address(postgres.url(database))) as target, target.session.begin():
        shown = target.session.connection().exec_driver_sql("SHOW transaction_isolation").scalar_one()
    assert shown == "read committed"


@pytest.fixture
def role(postgres, database):
    """A user with a password, who may connect and no more."""
    postgres.does(f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
    yield "guest"
    postgres.does("DROP OWNED BY guest CASCADE", "DROP ROLE guest", database=database)


@pytest.mark.parametrize("source", ["address", "environment", "file"])
def test_a_password_comes_from_where_libpq_takes_it(postgres, database, role, source, monkeypatch, tmp_path):
    postgres.does(f"GRANT CREATE ON SCHEMA public TO {role}", database=database)
    if source == "environment":
        monkeypatch.setenv("PGPASSWORD", SECRET)
    elif source == "file":
        file = tmp_path / "pgpass"
        file.write_text(f"127.0.0.1:{postgres.port}:*:{role}:{SECRET}\n")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
    open_and_close(postgres.by_port(database, SECRET if source == "address" else None, role))


def test_no_log_holds_the_password(postgres, database, role, caplog):
    for name in ("psycopg", "sqlalchemy"):
        caplog.set_level(logging.DEBUG, name)
    postgres.does(f"GRANT CREATE ON SCHEMA public TO {role}", database=database)
    open_and_close(postgres.by_port(database, SECRET, role))
    refusal(postgres.by_port(database, f"not{SECRET}", role))
    assert caplog.records
    assert SECRET not in caplog.text


def test_what_keeps_a_user_out_is_told(postgres, database, role, monkeypatch):
    wrong = postgres.by_port(database, f"not{SECRET}", role)
    told = refusal(wrong)
    assert f"postgresql://guest@127.0.0.1:{postgres.port}/{database} cannot be reached: " in told
    assert "password authentication failed" in told
    assert "PGPASSWORD" in told
    assert "no password supplied" in refusal(postgres.by_port(database, None, role))
    assert "PGPASSWORD" in refusal(postgres.by_port(database, None, role))
    monkeypatch.setenv("PGPASSWORD", f"not{SECRET}")
    assert "password authentication failed" in refusal(postgres.by_port(database, None, role))
    told = refusal(postgres.by_port("absent", SECRET, role))
    assert 'database "absent" does not exist' in told
    assert "createdb" in told
    assert 'role "nobody" does not exist' in refusal(postgres.url(database, "nobody"))


def test_a_server_that_is_not_there_is_told(tmp_path):
    told = refusal("postgresql://ann:Tr0ub4dor@127.0.0.1:1/runs")
    assert "postgresql://ann@127.0.0.1:1/runs cannot be reached: " in told
    assert "Connection refused" in told
    assert "does it run there" in told
    assert "No such file or directory" in refusal(f"postgresql:///runs?host={tmp_path}&password=Tr0ub4dor")
    many = refusal("postgresql://ann:Tr0ub4dor@127.0.0.1:1,127.0.0.2:1/runs")
    assert "Connection refused" in many


def test_a_server_that_never_answers_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://ann:Tr0ub4dor@127.0.0.1:{silent.getsockname()[1]}/runs?connect_timeout=2"
        assert "timeout" in refusal(url)


def test_who_may_not_write_is_told_what_to_ask_for(postgres, database, role):
    url = postgres.by_port(database, SECRET, role)
    told = refusal(url)
    assert "gives no permission: permission denied for schema public" in told
    assert "GRANT" in told
    open_and_close(postgres.url(database))
    assert "permission denied for table about" in refusal(url)
    postgres.does(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database=database)
    with reading(address(url)) as session:
        assert session.execute(select(Run)).all() == []
    with writing(address(url)) as target, target.session.begin():
        assert target.session.execute(select(Run)).all() == []


def test_a_database_that_is_read_only_is_told(postgres, database):
    postgres.does(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    told = refusal(postgres.url(database))
    assert "is read-only: cannot execute CREATE TABLE in a read-only transaction" in told
    assert "target_session_attrs" in told
    assert postgres.asks("SELECT to_regclass('runs')", database) == [(None,)]


@pytest.mark.parametrize(
    ("edition", "hint"), [("0.1", "make a new database"), ("1.999", "upgrade the harness"), ("2.1", "upgrade")]
)
def test_an_index_of_another_edition_is_refused_by_name(postgres, database, edition, hint):
    open_and_close(postgres.url(database))
    postgres.does(f"UPDATE about SET value = '{edition}'", database=database)
    for act in (open_and_close, open_to_read):
        told = refusal(postgres.url(database), act)
        assert f"holds an index of edition {edition}, this harness has edition {EDITION}" in told
        assert hint in told


def open_to_read(url):
    with reading(address(url)):
        pass


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE runs (id int)",
        "CREATE TABLE about (name text)",
        "DROP TABLE readings",
        "DELETE FROM about",
        "ALTER TABLE about DROP COLUMN value",
    ],
)
def test_tables_of_something_else_are_left_alone(postgres, database, statement):
    if not statement.startswith("CREATE"):
        open_and_close(postgres.url(database))
    postgres.does(statement, database=database)
    asked = "SELECT relname, relnatts FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = postgres.asks(asked, database)
    for act in (open_and_close, open_to_read):
        told = refusal(postgres.url(database), act)
        assert "has tables of something else: about" in told or "something else: runs" in told
        assert "CREATE DATABASE" in told
    assert postgres.asks(asked, database) == before


def test_a_database_without_unicode_is_refused(postgres):
    with postgres.database("latin", "ENCODING 'LATIN1' LOCALE 'C'") as name:
        told = refusal(postgres.url(name))
    assert "keeps texts as LATIN1" in told
    assert "ENCODING 'UTF8'" in told


def test_an_index_that_is_not_there_yet_is_not_made_by_reading(postgres, database):
    told = refusal(postgres.url(database), open_to_read)
    assert "holds no index yet" in told
    assert "results push" in told
    assert postgres.asks("SELECT to_regclass('runs')", database) == [(None,)]


def test_a_session_that_reads_cannot_write(postgres, database):
    open_and_close(postgres.url(database))

    def write(url):
        with reading(address(url)) as session:
            session.execute(delete(Run))

    assert "is read-only" in refusal(postgres.url(database), write)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (psycopg.errors.DiskFull, "has no space left"),
        (psycopg.errors.QueryCanceled, "cancelled the statement"),
        (psycopg.errors.CannotConnectNow, "cannot be reached"),
        (psycopg.errors.InternalError_, "push again"),
    ],
)
def test_what_a_server_says_is_told_without_the_values(kind, words):
    def fail(_url):
        with translated("postgresql://db/runs"):
            raise OperationalError("INSERT", {"value": SECRET}, kind("as it said"), hide_parameters=True)

    told = refusal("", fail)
    assert "as it said" in told
    assert words in told
