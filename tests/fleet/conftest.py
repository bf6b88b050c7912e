"""A fleet of this machine's processes, over TLS on loopback: a scheduler, hosts, and clients as users have them."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from harness.cli.app import invoke
from results.store import RunStore, runs_in

for needed in ("distributed", "cryptography"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[fleet]'")

HERE = Path(__file__).parent
TIMEOUT_S = 120.0


def _module(name):
    spec = importlib.util.spec_from_file_location(f"fleet_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Process:
    """A process whose words go to a file, since nobody reads them as they come."""

    def __init__(self, words, log, cwd, **environment):
        self.log = log
        with log.open("ab") as file:
            self.from_byte = file.tell()  # a process that is started again goes on in the same file
            self.popen = subprocess.Popen(
                [str(word) for word in words],
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of whoever runs the tests is theirs to pass on
            )

    @property
    def said(self):
        return self.log.read_bytes()[self.from_byte :].decode(errors="replace")

    def says(self, word):
        """Wait until it has said something."""
        until(lambda: word in self.said, f"{word!r} of {self.log.name}", self)

    def kill(self, number=signal.SIGKILL):
        self.popen.send_signal(number)
        return self.popen.wait(TIMEOUT_S)

    def ended(self, timeout_s=TIMEOUT_S):
        """Wait for its end; return its exit code and what it said."""
        code = self.popen.wait(timeout_s)
        return code, self.said


def until(holds, what, *processes, timeout_s=TIMEOUT_S):
    """Wait until something holds; return what it gave. Processes that end meanwhile are told of."""
    end = time.monotonic() + timeout_s
    while not (found := holds()):
        dead = [process for process in processes if process.popen.poll() is not None]
        assert not dead, f"waiting for {what}, a process ended:\n" + "\n".join(process.said for process in dead)
        assert time.monotonic() < end, f"no {what} within {timeout_s:g} s:\n" + "\n".join(p.said for p in processes)
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Lab:
    """A folder with the certificates of a fleet, its processes, and what they wrote."""

    def __init__(self, folder, hosts, address="127.0.0.1", port=None):
        self.folder = folder
        self.listens, self.port = address, port or free_port()
        self.address = f"tls://{address}:{self.port}"
        self.processes = []
        self.wires = []
        named = [word for name in hosts for word in ("--host", name)]
        code, words = self.command("fleet", "init", "lab", "--scheduler", address, *named).ended()
        assert code == 0, words
        self.write_fleet()

    def write_fleet(self, **said):
        """Write ``fleet.yaml``; what is said replaces what it has otherwise."""
        client = {name: f"lab/client/{file}" for name, file in FILES.items()}
        self.fleet = self.folder / "fleet.yaml"
        # JSON is YAML.
        text = {"version": 1, "scheduler": self.address, "tls": client, "patience": "120s", **said}
        self.fleet.write_text(json.dumps({key: value for key, value in text.items() if value is not None}))

    def command(self, *words, log="client.log", version=None, at=()):
        """Start a command of the harness in the folder; of another version, or elsewhere, if that is asked for."""
        other = f"import harness; harness.__version__ = {version!r}; from harness.cli import main; main()"
        begin = ["-c", other] if version else ["-m", "harness"]
        cache = str(self.folder / "cache")
        return self._kept(
            Process([*at, sys.executable, *begin, *words], self.folder / log, self.folder, HARNESS_CACHE=cache)
        )

    def scheduler(self, at=()):
        """Start the scheduler and wait until it listens."""
        listen = ("--host", self.listens, "--port", str(self.port))
        words = ("fleet", "scheduler", "--tls", "lab/scheduler", *listen)
        process = self.command(*words, log="scheduler.log", at=at)
        process.says("listens at")
        return process

    def worker(self, name, *, wait=True, at=(), **asked):
        """Start a host under another name than this machine's, see ``worker.py``; wait until it is registered."""
        text = {
            "name": name,
            "folder": str(self.folder / "hosts" / name),
            "scheduler": self.address,
            "tls": str(self.folder / "lab" / "hosts" / name),
            **asked,
        }
        (self.folder / "hosts").mkdir(exist_ok=True)
        words = [*at, sys.executable, HERE / "worker.py", json.dumps(text)]
        process = self._kept(Process(words, self.folder / f"{name}.log", self.folder))
        if wait:
            process.says("is registered at")
        return process

    def wired(self, name, **asked):
        """Start a host behind wires, in both directions, that can be cut; return its process and what cuts them."""
        port = free_port()
        there, back = WIRES.Wire(self.port), WIRES.Wire(port)
        self.wires += [there, back]
        addresses = {
            "scheduler": f"tls://127.0.0.1:{there.port}",
            "listen": f"tls://127.0.0.1:{port}",
            "reached_by": f"tls://127.0.0.1:{back.port}",
        }
        return self.worker(name, **addresses, **asked), (there, back)

    def close(self):
        """End every process, and what it started."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()
        for wire in self.wires:
            wire.close()

    def _kept(self, process):
        self.processes.append(process)
        return process

    @property
    def runs(self):
        """The runs at the client, oldest first."""
        return [RunStore.open(folder) for folder in runs_in(self.folder / "runs")]

    def held(self, name):
        """The runs that a host has or had on its disk, oldest first."""
        return [RunStore.open(folder) for folder in self._held(name)]

    def _held(self, name):
        place = self.folder / "hosts" / name
        found = {folder.name: folder for held in ("kept", "state/runs") for folder in runs_in(place / held)}
        return [folder for _, folder in sorted(found.items())]

    def attempts(self, name):
        """Every launch that a host began, in all runs."""
        return [attempt for store in self.held(name) for attempt in store.attempts()]

    def greeted(self, context):
        """Return what the scheduler says first to whoever connects with this TLS context."""
        with (
            socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            return secured.recv(1)

    def say(self, *words):
        """Run a command in this process, which is quicker where nothing is connected to."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.chdir(self.folder)
            patched.setenv("HARNESS_CACHE", str(self.folder / "cache"))
            patched.setenv("COLUMNS", "200")
            code = invoke(words)
        return int(code), out.getvalue() + err.getvalue()

    def journals(self, name):
        """The journals that a host has or had on its disk, oldest first: quick to look at, again and again."""
        found = []
        for store in self._held(name):
            with suppress(FileNotFoundError):  # not begun yet, or forgotten a moment ago
                found.append([line[17:] for line in (store / "records.jsonl").read_bytes().splitlines()])
        return found

    def made(self, *names):
        """How many launches hosts have ended."""
        return sum(line.startswith(b'{"finished"') for name in names for lines in self.journals(name) for line in lines)

    def is_launching(self, name):
        """Whether the newest launch that a host began has no end yet."""
        lines = [line for lines in self.journals(name)[-1:] for line in lines]
        return bool(lines) and lines[-1].startswith(b'{"started"')


WIRES, CABLES = _module("wire"), _module("cable")
FILES = {"ca": "ca.pem", "certificate": "certificate.pem", "key": "key.pem"}


@pytest.fixture(scope="session")
def make_lab(tmp_path_factory):
    """The maker of labs."""
    made = []

    def make(*hosts, **where):
        made.append(Lab(tmp_path_factory.mktemp("lab"), hosts, **where))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@pytest.fixture(scope="session")
def make_switch():
    """The maker of switches."""
    made = []

    def make(*names):
        made.append(CABLES.switch(*names))
        return made[-1]

    yield make
    for switch in made:
        switch.close()


@pytest.fixture(scope="session")
def wait_until():
    """Wait until something holds."""
    return until


@pytest.fixture(scope="session", name="free_port")
def free_port_here():
    """Return a port that nobody listens at."""
    return free_port
