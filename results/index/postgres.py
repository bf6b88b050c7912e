"""A team's index on PostgreSQL: its address, without the password wherever it is shown, its tables."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import create_engine, func, insert, select
from sqlalchemy.orm import Session

from harness.errors import StoreError
from results.index.models import EDITION, About, Base
from results.index.postgres_errors import translated
from results.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine

INSTALL = "pip install 'inference-harness[postgresql]'"
_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")
_FORM = "write it as postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full"
_ENCODE = f"{_FORM}; in a user or password, '/' is %2F, '@' is %40, ':' is %3A, '?' is %3F and '%' is %25"
_PATIENCE = {
    # A server that went away without a word is given up after two minutes, not after TCP's two hours; nor after its
    # quarter of an hour, where something was sent that nobody answers: no keepalive is sent then.
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
    "fallback_application_name": "harness",
}
"""Parameters of libpq that an address overrides."""
_MAKING = int.from_bytes(b"harness", "big")
"""Key of the advisory lock under which tables are made: CREATE TABLE IF NOT EXISTS fails where two do so at once."""


@dataclass(frozen=True)
class Address:
    """Where a database is. ``shown`` holds no secret; ``parameters``, libpq's, may."""

    shown: str
    parameters: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Database:
    """An index on PostgreSQL that can be written."""

    shown: str
    session: Session


def is_address(text: str) -> bool:
    """Return whether a text is meant as the address of a database, of whatever kind."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text) is not None


def address(url: str) -> Address:
    """Return the address that a URL gives: the form of libpq, with its parameters.

    A password comes from it, from PGPASSWORD or from a password file, as libpq has it. Raises ``StoreError`` without
    a word of the URL, whose wrong part may be a password.
    """
    rest = next((url[len(scheme) :] for scheme in _SCHEMES if url.startswith(scheme)), None)
    if rest is None:
        raise StoreError("this is no address of a PostgreSQL database", _FORM)
    before, _, after = rest.partition("/")
    if before.count("@") > 1 or "@" in after.partition("?")[0]:
        raise StoreError("the address of the database has an '@' too many", _ENCODE)
    driver = _driver()
    try:
        given = driver.conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except (driver.Error, UnicodeError):
        message = "the address of the database cannot be read: a parameter that libpq does not know, or a wrong escape"
        raise StoreError(message, _ENCODE) from None
    if not re.fullmatch(r"[0-9,]*", given.get("port", "")):
        raise StoreError("the port in the address of the database is no number", _ENCODE)
    waiting = {} if "PGCONNECT_TIMEOUT" in os.environ else {"connect_timeout": "10"}
    return Address(_shown(given), {**_PATIENCE, **waiting, **given, "client_encoding": "utf8"})


def _shown(given: Mapping[str, str]) -> str:
    user = f"{quote(given['user'], safe='')}@" if "user" in given else ""
    host, port = given.get("host", ""), given.get("port", "")
    database = quote(given.get("dbname", ""), safe="")
    if host.startswith(("/", "@")):  # a socket
        return f"postgresql://{user}/{database}?host={host}{f'&port={port}' if port else ''}"
    hosts, ports = host.split(","), port.split(",")
    ports = ports if len(ports) == len(hosts) else ports * len(hosts)  # one is meant for every host
    named = (f"[{each}]" if ":" in each else each for each in hosts)
    places = (f"{each}{f':{at}' if at else ''}" for each, at in zip(named, ports, strict=False))
    return f"postgresql://{user}{','.join(places)}/{database}"


def _driver() -> Any:
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "psycopg"
        why = "is not installed" if absent else f"cannot be loaded: {error}"
        raise StoreError(f"psycopg, the driver of PostgreSQL, {why}", INSTALL) from None


@contextlib.contextmanager
def writing(where: Address) -> Iterator[Database]:
    """Yield the index for writing, its tables made by the first who comes.

    Raises ``StoreError`` where it cannot be reached or written, and where it is of another edition or no index.
    """
    with _connected(where) as engine:
        with translated(where.shown):
            with engine.begin() as connection:
                found = _edition(connection, where.shown)
            if found is None:
                _make(engine, where.shown)
        with Session(engine) as session:
            yield Database(where.shown, session)


@contextlib.contextmanager
def reading(where: Address) -> Iterator[Session]:
    """Yield a session that can only read, and sees one state throughout. Raises ``StoreError``."""
    with _connected(where, isolation_level="REPEATABLE READ") as engine, translated(where.shown):
        still = engine.execution_options(postgresql_readonly=True)
        with Session(still) as session:
            if _edition(session.connection(), where.shown) is None:
                raise StoreError(f"{where.shown} holds no index yet", "harness results push URL --all makes it")
            yield session


@contextlib.contextmanager
def _connected(where: Address, isolation_level: str = "READ COMMITTED") -> Iterator[Engine]:
    driver = _driver()
    engine = create_engine(
        "postgresql+psycopg://",
        # Not by SQLAlchemy's URL: libpq's own form takes several hosts, sockets and every parameter. Statements are not
        # prepared, which poolers between here and the server do not all know how to pass on.
        creator=lambda: driver.connect("", prepare_threshold=None, **where.parameters),
        isolation_level=isolation_level,
        hide_parameters=True,
        use_native_hstore=False,
        pool_size=1,
        max_overflow=0,
    )
    try:
        yield engine
    finally:
        engine.dispose()


def _make(engine: Engine, shown: str) -> None:
    """Make the tables, all or none of them, unless another process did meanwhile."""
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(_MAKING)))
        if _edition(connection, shown) is None:
            Base.metadata.create_all(connection)
            connection.execute(insert(About), [{"name": "edition", "value": EDITION}])


def _edition(connection: Connection, shown: str) -> str | None:
    """Return the edition of the index that is there, ``None`` where there is none.

    Raises ``StoreError`` for another edition than this, for tables of something else and for texts in no Unicode.
    """
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        hint = "give a database that is made with ENCODING 'UTF8' TEMPLATE template0"
        raise StoreError(f"{shown} keeps texts as {encoding}, which has no place for every character", hint)
    # No to_regclass: what it remembers of a name that was not there outlasts the wait for who made it.
    there = connection.exec_driver_sql(_THERE, {"names": list(Base.metadata.tables)})
    present = [name for (name,) in there]
    if not present:
        return None
    if len(present) < len(Base.metadata.tables) or connection.exec_driver_sql(_OURS).scalar_one() < 2:
        raise _foreign(shown, present)
    found = connection.scalar(select(About.value).where(About.name == "edition"))
    if found is None:
        raise _foreign(shown, present)
    if found != EDITION:
        raise _other_edition(shown, found)
    return found


_THERE = "SELECT relname FROM pg_class WHERE relname = ANY(%(names)s) AND pg_table_is_visible(oid)"
_OURS = (
    "SELECT count(*) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relname = 'about'"
    " AND pg_table_is_visible(pg_class.oid) AND attname IN ('name', 'value') AND NOT attisdropped"
)


def _foreign(shown: str, present: list[str]) -> StoreError:
    message = f"{shown} has tables of something else: {listed(sorted(present))}"
    return StoreError(message, "give a database of its own: CREATE DATABASE harness")


def _other_edition(shown: str, found: str) -> StoreError:
    message = f"{shown} holds an index of edition {found[:40]}, this harness has edition {EDITION}"
    if _numbers(found) > _numbers(EDITION):
        return StoreError(message, "upgrade the harness: pip install --upgrade inference-harness")
    hint = "make a new database and push every run into it with --all: the run folders hold all that was in this one"
    return StoreError(message, hint)


def _numbers(edition: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", edition)]
