"""A PostgreSQL server of Debian's packages, in a temporary folder, for as long as tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "harness", "a very / secret @ word : % ?"
_STARTING_S = 60
_TRIES = 5  # of ports: another process may take one before the server does
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60", "shared_buffers=32MB")


@dataclass(frozen=True)
class Server:
    """A server with one superuser; its socket lets everyone in, its port asks for the password."""

    folder: Path
    port: int

    def url(self, database: str, user: str = USER) -> str:
        """Return an address by the socket, without a password."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def by_port(self, database: str, password: str | None = PASSWORD, user: str = USER) -> str:
        """Return an address by the port."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, name: str, options: str = "") -> Iterator[str]:
        """Make an empty database, and drop it again."""
        self.does(f'CREATE DATABASE "{name}" TEMPLATE template0 {options}')
        try:
            yield name
        finally:
            self.does(f'DROP DATABASE "{name}" WITH (FORCE)')

    def does(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements, each by itself."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def asks(self, sql: str, database: str) -> list[tuple]:
        """Return the rows of a query."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(sql).fetchall()


@contextmanager
def running():
    """Yield a server. Skips, with the reason, where none is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    # Beside pytest's own folder, which the user that the server runs as could not enter.
    folder = Path(tempfile.mkdtemp(prefix="harness-pg-"))
    try:
        owner = _owner()
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        _initialise(programs, folder, owner)
        process, port = _started(programs, folder, owner)
        try:
            yield Server(folder, port)
        finally:
            process.send_signal(2)  # SIGINT: a fast shutdown, which does not wait for clients
            process.wait(timeout=_STARTING_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Return the folder of the newest server's programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def _owner() -> dict[str, object]:
    """Return who the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("no user that a PostgreSQL server could run as")


def _initialise(programs: Path, folder: Path, owner: dict[str, object]) -> None:
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o644)
    access = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--username={USER}", f"--pwfile={secret}")
    texts = ("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    command = [programs / "initdb", "--pgdata", folder / "data", *access, *texts]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **owner)
    assert done.returncode == 0, done.stdout + done.stderr


def _started(programs: Path, folder: Path, owner: dict[str, object]) -> tuple[subprocess.Popen[bytes], int]:
    places = (f"unix_socket_directories={folder}", "listen_addresses=127.0.0.1")
    options = [part for setting in (*places, *_QUICK) for part in ("-c", setting)]
    for _ in range(_TRIES):
        port = _free_port()
        with (folder / "log").open("wb") as log:
            command = [programs / "postgres", "-D", folder / "data", "-p", str(port), *options]
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **owner)
        if _answers(Server(folder, port), process):
            return process, port
        process.kill()
        process.wait()
    raise AssertionError((folder / "log").read_text())


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _STARTING_S
    while process.poll() is None and time.monotonic() < until:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    return False
