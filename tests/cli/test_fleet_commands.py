"""``harness fleet``: certificates, a scheduler and a host as a user starts them, and what is refused."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("distributed")
pytest.importorskip("cryptography")

# Of a connection that took too long Dask leaves the socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s(sl.SSLS|ocket.s)ocket:ResourceWarning")


@pytest.fixture(autouse=True)
def _sockets_left():
    """Have what a test left collected with it, not with another."""
    yield
    gc.collect()


WRONG = {
    "tcp off loopback": (["fleet", "worker", "tcp://lab:8786"], "is refused: without TLS"),
    "tcp on all addresses": (["fleet", "scheduler", "--host", "0.0.0.0"], "is refused: without TLS"),
    "tls without certificates": (["fleet", "worker", "tls://lab:8786"], "needs certificates, and none are given"),
    "no address": (["fleet", "worker", "lab"], "is no address of a scheduler"),
    "certificates of no folder": (["fleet", "scheduler", "--tls", "nowhere"], "ca.pem does not exist"),
    "no name": (["fleet", "worker", "tcp://localhost", "--name", "a b"], "is no name for a host"),
    "no host": (["fleet", "init", "made", "--host", "a/b"], "is no name for a host"),
    "no interpreter": (
        ["fleet", "worker", "tcp://localhost", "--interpreter", "fake"],
        "is not of the form ENGINE=PYTHON",
    ),
    "interpreter of no engine": (
        ["fleet", "worker", "tcp://localhost", "--interpreter", f"fakir={sys.executable}"],
        "did you mean 'fake'?",
    ),
    "interpreter that is none": (
        ["fleet", "worker", "tcp://localhost", "--interpreter", "fake=nowhere"],
        "nowhere cannot be executed",
    ),
    "unknown engine": (["fleet", "worker", "tcp://localhost", "--engine", "fakir"], "did you mean 'fake'?"),
    "listening for everybody": (
        ["fleet", "worker", "tcp://localhost", "--engine", "fake", "--listen", "0.0.0.0"],
        "is refused: without TLS",
    ),
    "status of no file": (["fleet", "status"], "fleet.yaml: cannot be read"),
    "status of this machine": (["fleet", "status", "--fleet", "local.yaml"], "is this machine alone"),
    "status of a typo": (["fleet", "status", "--fleet", "typo.yaml"], "typo.yaml:2:1: unknown key 'schedular'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_message_and_exit_code_4(place, say, case):
    place.write("local.yaml", "version: 1\nscheduler: local\n")
    place.write("typo.yaml", "version: 1\nschedular: local\n")
    arguments, message = WRONG[case]
    said = say(*arguments)
    assert said.code == 4
    assert said.out == ""
    assert message in said.err
    assert said.err.count("error: ") == 1
    assert "hint: " in said.err


def test_without_the_extra_the_command_that_installs_it_is_said(say, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for arguments in (["init", "made"], ["scheduler"], ["worker", "tcp://localhost"]):
        said = say("fleet", *arguments)
        assert said.code == 4
        assert "a fleet needs distributed and cryptography" in said.err
        assert "pip install 'inference-harness[fleet]'" in said.err


def test_certificates_are_made_and_hosts_added(place, say):
    said = say("fleet", "init", "made", "--scheduler", "lab", "--host", "one", "--host", "two")
    assert said.code == 0
    assert "made/hosts/two" in said.out
    assert "can run code" in said.out
    assert (place.folder / "made" / "fleet.yaml").read_text().count("tls://lab:8786") == 1
    again = say("fleet", "init", "made", "--host", "two")
    assert again.code == 4
    assert "exists already" in again.err
    added = say("fleet", "init", "made", "--host", "three", "--json")
    assert added.code == 0
    assert json.loads(added.out) == {"made": ["made/hosts/three"]}


def test_an_ordinary_run_loads_nothing_of_a_fleet(place):
    program = (
        "import sys; from harness.cli.app import invoke; code = invoke(['run', 'suite.yaml']); "
        "found = {'distributed', 'dask', 'cryptography'} & set(sys.modules); sys.exit(str(found) if found else code)"
    )
    environ = {**os.environ, "HARNESS_CACHE": str(place.folder / "cache")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=place.folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def started(place):
    """Start commands that go on until they are ended."""
    processes = []

    def start(*arguments):
        process = place.begin("fleet", *arguments)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_fleet_of_one_host(place, say, started):
    assert say("fleet", "init", "made", "--scheduler", "127.0.0.1", "--host", "one").code == 0
    scheduler = started("scheduler", "--tls", "made/scheduler", "--host", "127.0.0.1", "--port", "0")
    address = scheduler.stdout.readline().split()[-1]
    assert address.startswith("tls://127.0.0.1:")
    file = place.folder / "made" / "fleet.yaml"
    file.write_text(file.read_text().replace("tls://127.0.0.1:8786", address))

    nobody = say("fleet", "status", "--fleet", "made/fleet.yaml")
    assert nobody.code == 0
    assert "no hosts" in nobody.out

    worker = started(
        "worker", address, "--tls", "made/hosts/one", "--name", "one", "--state", "one", "--engine", "fake"
    )
    said = [worker.stderr.readline() for _ in range(2)]
    assert said == ["probing fake\n", f"one is registered at {address}\n"]
    assert stat.S_IMODE((place.folder / "one").stat().st_mode) == 0o700

    status = say("fleet", "status", "--fleet", "made/fleet.yaml", "--json")
    assert status.code == 0, status.err
    (host,) = json.loads(status.out)["hosts"]
    assert (host["name"], host["busy"], host["runs"]) == ("one", False, [])
    assert host["engines"] == {"fake": {"version": np.__version__, "devices": ["cpu"]}}
    assert host["devices"] == ["cpu"]
    table = say("fleet", "status", "--fleet", "made/fleet.yaml")
    assert f"fake {np.__version__}" in " ".join(table.out.split())

    file.write_text(file.read_text() + "hosts: [one, two]\n")
    absent = say("fleet", "status", "--fleet", "made/fleet.yaml")
    assert absent.code == 4
    assert "two is named in the fleet file and is not there" in absent.err

    taken = started("worker", address, "--tls", "made/hosts/one", "--name", "two", "--state", "one", "--engine", "fake")
    _, err = taken.communicate(timeout=120)
    assert taken.returncode == 4
    assert "another worker uses one" in err

    for process in (worker, scheduler):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in err
