"""A real scheduler and real workers over TLS on loopback: questions answered, and what is lost waited for."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from harness.errors import HarnessError
from harness.settings import SettingError

pytest.importorskip("distributed")
pytest.importorskip("cryptography")

from harness.fleet import certificates, config, questions, settings
from harness.fleet.config import Address, FleetFile
from harness.fleet.contract import FleetError, HostLostError, UnreachableError
from harness.fleet.dask_fleet import DaskFleet, RemoteHost
from harness.fleet.serving import Station, serve_scheduler, serve_worker

STAND_IN = Path(__file__).with_name("stand_in.py")
SCHEDULER = """
import sys
from pathlib import Path
from harness.fleet import certificates, config
from harness.fleet.serving import serve_scheduler
files = certificates.of_folder(Path(sys.argv[2]))
serve_scheduler(config.address(sys.argv[1]), files, lambda word: print(word, flush=True))
"""
WAIT_S = 60  # for what must happen; nothing is measured by it


def until(happened, what):
    """Wait for something that must happen."""
    deadline = time.monotonic() + WAIT_S
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)
    return found


@dataclass
class Lab:
    """A scheduler and its hosts as processes; everything is ended with it."""

    folder: Path
    port: int
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    @property
    def fleet(self) -> FleetFile:
        tls = certificates.of_folder(self.folder / "client")
        return FleetFile(config.address(self.address), tls, patience_s=60.0)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if name != "HARNESS_DEBUG"}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
            cwd=self.folder,
        )
        self.begun.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[str]:
        process = self.begin("-c", SCHEDULER, self.address, str(self.folder / "scheduler"))
        assert "listens at" in process.stdout.readline()
        return process

    def host(self, name: str, *more: str, tls: Path | None = None) -> subprocess.Popen[str]:
        state = self.folder / f"state-{name}"
        state.mkdir(exist_ok=True)
        tls = tls or self.folder / "hosts" / "any"
        return self.begin(str(STAND_IN), self.address, name, str(state), str(tls), *more)

    def ready(self, name: str, *more: str) -> subprocess.Popen[str]:
        process = self.host(name, *more)
        said = process.stdout.readline()
        assert f"{name} is registered" in said, said
        return process

    def log(self, name: str) -> list[dict[str, object]]:
        file = self.folder / f"state-{name}" / "log.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def did(self, name: str, run: str) -> list[str]:
        return [each["what"] for each in self.log(name) if each["run"] == run]

    def close(self) -> None:
        for process in self.begun:
            process.kill()
        for process in self.begun:
            process.communicate()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def made_lab(folder):
    certificates.init(folder, certificates.Asked(hosts=("any",)))
    return Lab(folder, free_port())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A scheduler with the hosts ``a`` and ``b``, which no test ends."""
    made = made_lab(tmp_path_factory.mktemp("lab") / "fleet")
    try:
        made.scheduler()
        made.ready("a")
        made.ready("b")
        yield made
    finally:
        made.close()


@pytest.fixture
def own_lab(tmp_path):
    """A lab of a test's own, with nothing running."""
    made = made_lab(tmp_path / "fleet")
    yield made
    made.close()


@pytest.fixture
def said():
    return []


@pytest.fixture
def fleet(lab, said):
    """A connection to the fleet, which knows two hosts and those that a test adds."""
    with DaskFleet(lab.fleet, said.append, grace_s=0.2) as connected:
        yield connected


# Of a connection that took too long Dask leaves the socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s(sl.SSLS|ocket.s)ocket:ResourceWarning")


@pytest.fixture(autouse=True)
def _sockets_left():
    """Have what a test left collected with it, not with another."""
    yield
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _interruptible():
    """Let Ctrl-C reach the workers also where a shell started these tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


run_ids = itertools.count()


@pytest.fixture
def run():
    return f"run-{next(run_ids)}"


def test_hosts_are_found_and_asked_by_name(fleet):
    a, b = (host for host in fleet.hosts() if host.name in {"a", "b"})
    assert (a.name, b.name) == ("a", "b")
    assert a.about().name == "a"
    assert a.about().versions["pid"] != b.about().versions["pid"]


def test_every_question_of_the_contract_can_be_asked():
    assert all(callable(getattr(RemoteHost, method)) for method in questions.QUESTIONS)
    assert {"about", "launch", "overhead", "forget"} <= questions.QUESTIONS


def test_the_scheduler_tells_of_its_hosts_without_asking_them(fleet, lab, run):
    host = RemoteHost(fleet, "a")
    asking = threading.Thread(target=host.launch, args=(run, "sleep:2"))
    asking.start()
    until(lambda: lab.did("a", run), "a launch")
    seen = {each.name: each for each in fleet.seen()}
    asking.join()
    assert seen["a"].busy
    assert not seen["b"].busy
    assert seen["b"].held == ("01ARZ3NDEKTSV4RRFFQ69G5FAV",)
    assert seen["b"].card == {**settings.versions(), "machine": "a stand-in", "devices": ("cpu", "toy:0")}


def test_questions_to_one_host_do_not_overlap_and_to_two_do(fleet, lab, run):
    a, b = RemoteHost(fleet, "a"), RemoteHost(fleet, "b")
    asked = [(a, "sleep:0.41"), (a, "sleep:0.42"), (b, "sleep:0.83")]
    threads = [threading.Thread(target=host.launch, args=(run, word)) for host, word in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.did("a", run) == ["began", "ended", "began", "ended"]
    at_ns = {(name, each["what"]): each["at_ns"] for name in "ab" for each in lab.log(name) if each["run"] == run}
    assert at_ns["b", "began"] < at_ns["a", "ended"]


def test_a_large_answer_comes_whole(fleet, run):
    size = 24 * 1024 * 1024
    assert RemoteHost(fleet, "b").launch(run, f"big:{size}").files["big"] == b"x" * size


def test_an_error_of_ours_comes_as_itself(fleet, run):
    with pytest.raises(SettingError, match="this is refused") as raised:
        RemoteHost(fleet, "a").launch(run, "refuse")
    assert (raised.value.message, raised.value.hint, raised.value.key) == ("this is refused", "do it otherwise", "key")


def test_any_other_error_names_host_and_type(fleet, run):
    with pytest.raises(FleetError, match="a: ZeroDivisionError: a defect of the host") as raised:
        RemoteHost(fleet, "a").launch(run, "break")
    assert raised.value.hint
    assert RemoteHost(fleet, "a").about().name == "a"


def test_what_is_no_question_is_refused(fleet):
    with pytest.raises(FleetError, match="a host is not asked for '__init__'"):
        fleet.ask("a", "__init__", ("x", "y"))


def test_a_second_host_of_a_name_is_refused_by_name(lab):
    second = lab.host("a")
    out, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 1
    assert "has a host called a already" in out
    assert "--name" in out


def test_a_named_host_that_is_absent_is_an_error_by_name(lab):
    with (
        DaskFleet(replace(lab.fleet, hosts=("b", "zoe")), grace_s=0.2) as connected,
        pytest.raises(FleetError, match="the fleet lacks zoe") as raised,
    ):
        connected.hosts()
    assert "there are: a, b" in raised.value.hint


def test_of_named_hosts_no_others_are_taken(lab):
    with DaskFleet(replace(lab.fleet, hosts=("b",)), grace_s=0.2) as connected:
        assert [host.name for host in connected.hosts()] == ["b"]


def test_a_host_that_never_was_is_lost_once_patience_ends(lab, said):
    with (
        DaskFleet(replace(lab.fleet, patience_s=0.5), said.append) as connected,
        pytest.raises(HostLostError, match=r"the host zoe is lost: .*it was waited for 0\.5 s") as raised,
    ):
        RemoteHost(connected, "zoe").about()
    assert "--resume" in raised.value.hint
    assert said == ["zoe: the scheduler does not know it now; waiting for it up to 0.5 s"]


def test_another_version_is_refused_by_the_names_of_host_and_versions(lab, fleet):
    other = lab.ready("other", "9.9.9")
    expected = f"the host other has harness 9.9.9, this is {settings.versions()['harness']}"
    try:
        with pytest.raises(FleetError, match=expected) as raised:
            fleet.hosts()
        assert "same version" in raised.value.hint
        with pytest.raises(FleetError, match=expected):
            RemoteHost(fleet, "other").about()
    finally:
        other.terminate()
        other.wait()
        until(lambda: "other" not in {seen.name for seen in fleet.seen()}, "its end")


def test_strangers_are_refused(lab, tmp_path):
    certificates.init(tmp_path / "other", certificates.Asked(hosts=("any",)))
    stranger = lab.host("stranger", tls=tmp_path / "other" / "hosts" / "any")
    with (
        DaskFleet(replace(lab.fleet, tls=certificates.of_folder(tmp_path / "other" / "client"))) as connected,
        pytest.raises(FleetError, match="the certificates do not fit"),
    ):
        connected.hosts()
    out, _ = stranger.communicate(timeout=WAIT_S)
    assert stranger.returncode == 1
    assert "the certificates do not fit" in out

    # Nor does one get a word out of the scheduler that takes any certificate and has none of its own.
    bare = ssl.create_default_context()
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    assert heard(lab, bare) == b""
    bare.load_cert_chain(lab.fleet.tls.certificate, lab.fleet.tls.key)
    assert heard(lab, bare) != b""


def heard(lab, context):
    """Return the first byte that the scheduler says, which speaks first; nothing where it closes."""
    try:
        with (
            socket.create_connection(("127.0.0.1", lab.port), timeout=WAIT_S) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return connection.recv(1)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_who_speaks_no_tls_is_not_heard(lab, monkeypatch):
    monkeypatch.setattr(settings, "CONNECT_S", 1.0)
    bare = FleetFile(Address("tcp", "127.0.0.1", lab.port))
    with DaskFleet(bare) as connected, pytest.raises(FleetError, match="cannot be reached") as raised:
        connected.hosts()
    assert "check `scheduler:` of the fleet file" in raised.value.hint
    answer = b""
    with socket.create_connection(("127.0.0.1", lab.port), timeout=WAIT_S) as plain, suppress(ConnectionError):
        plain.sendall(b"no hello of TLS" * 10)
        answer = plain.recv(1)
    assert answer in {b"", b"\x15"}  # an alert of TLS (RFC 8446, 5.1) or nothing, and no word of Dask's


@pytest.mark.parametrize("package", ["harness", "distributed"])
def test_a_version_that_differs_is_named_with_both(package):
    here = settings.versions()
    settings.check_versions("the host oak", here)
    with pytest.raises(FleetError, match=rf"the host oak has {package} 0\.1, this is {re.escape(here[package])}"):
        settings.check_versions("the host oak", here | {package: "0.1"})


def test_each_listens_at_one_port_of_loopback_where_the_scheduler_does(lab, fleet):
    """No web server is among them, and nothing that can be reached from elsewhere."""
    assert all(config.address(seen.address).loopback for seen in fleet.seen())
    for process in lab.begun[:3]:
        listening = [each for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
        assert [each.laddr.ip for each in listening] == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "lab"])
def test_tcp_without_tls_off_loopback_is_refused(host, tmp_path):
    where = Address("tcp", host)
    loopback = Address("tcp", "127.0.0.1")
    refused = (
        lambda: serve_scheduler(where, None, print),
        lambda: serve_worker(None, Station("x", where, tmp_path), print),
        lambda: serve_worker(None, Station("x", loopback, tmp_path, listen=where), print),
        lambda: DaskFleet(FleetFile(where)),
    )
    for begin in refused:
        with pytest.raises(HarnessError, match="is refused: without TLS"):
            begin()


def test_a_scheduler_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(settings, "CONNECT_S", 0.5)
    gone = FleetFile(Address("tcp", "127.0.0.1", free_port()))
    with DaskFleet(gone) as connected, pytest.raises(FleetError, match="cannot be reached") as raised:
        connected.hosts()
    assert "harness fleet scheduler" in raised.value.hint


def test_a_scheduler_of_no_fleet_is_refused(tmp_path):
    from distributed import Scheduler

    settings.apply()
    port, begun, end = free_port(), threading.Event(), threading.Event()

    async def schedule():
        async with Scheduler(host="127.0.0.1", port=port, protocol="tcp", dashboard_address=":0"):
            begun.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(schedule()))
    thread.start()
    try:
        begun.wait()
        where = Address("tcp", "127.0.0.1", port)
        with DaskFleet(FleetFile(where)) as connected, pytest.raises(FleetError, match="of Dask, but of no fleet"):
            connected.hosts()
        with pytest.raises(FleetError, match="of Dask, but of no fleet"):
            serve_worker(None, Station("x", where, tmp_path), print)
    finally:
        end.set()
        thread.join()


def test_a_killed_worker_is_waited_for_and_asked_again(lab, fleet, said):
    first, host, found = lab.ready("killed"), RemoteHost(fleet, "killed"), []
    asking = threading.Thread(target=lambda: found.append(host.launch("run", "sleep:1.5")))
    asking.start()
    until(lambda: lab.did("killed", "run"), "a launch")
    first.kill()
    until(lambda: said, "its loss")
    lab.ready("killed")
    asking.join()
    assert lab.did("killed", "run") == ["began", "began", "ended"]
    assert found[0].record["again"] is False
    assert said == ["killed: it was lost while it answered; waiting for it up to 60 s", "killed is back"]


def test_a_scheduler_that_is_restarted_loses_nothing(own_lab, said):
    first = own_lab.scheduler()
    worker = own_lab.ready("a")
    with DaskFleet(own_lab.fleet, said.append) as connected:
        host, found = RemoteHost(connected, "a"), []
        asking = threading.Thread(target=lambda: found.append(host.launch("run", "sleep:4")))
        asking.start()
        until(lambda: own_lab.did("a", "run"), "a launch")
        first.kill()
        first.wait()
        own_lab.scheduler()
        asking.join()
        assert host.about().name == "a"
    # The launch went on meanwhile, and what was asked again was answered by what it left.
    assert own_lab.did("a", "run") == ["began", "ended"]
    assert found[0].record == {"pid": worker.pid, "again": True}
    assert "the connection to" in worker.stdout.readline()


def test_a_question_that_begins_while_the_scheduler_is_away_waits_for_it(own_lab, said):
    first = own_lab.scheduler()
    own_lab.ready("a")
    with DaskFleet(own_lab.fleet, said.append) as connected:
        host, found = RemoteHost(connected, "a"), []
        assert host.about().name == "a"
        first.kill()
        first.wait()
        until(lambda: connected._line._client.status != "running", "the end of the connection")
        asking = threading.Thread(target=lambda: found.append(host.about().name))
        asking.start()
        asking.join(2.0)  # of the patience of a minute
        own_lab.scheduler()
        asking.join()
    assert found == ["a"]


def test_a_scheduler_that_stays_away_is_no_loss_of_a_host(own_lab, said, monkeypatch):
    monkeypatch.setattr(settings, "CONNECT_S", 1.0)
    scheduler = own_lab.scheduler()
    own_lab.ready("a")
    with DaskFleet(replace(own_lab.fleet, patience_s=1.0), said.append) as connected:
        host = RemoteHost(connected, "a")
        assert host.about().name == "a"
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(UnreachableError, match=r"scheduler .*; it was waited for 1 s") as raised:
            host.about()
    assert "--resume" in raised.value.hint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ended_worker_interrupts_its_launch_first(lab, number):
    name = f"ended-{number}"
    worker = lab.ready(name)
    with DaskFleet(replace(lab.fleet, patience_s=0.5)) as connected:
        lost = []

        def launch():
            with pytest.raises(HostLostError) as raised:
                RemoteHost(connected, name).launch("run", "sleep:600")
            lost.append(raised.value)

        asking = threading.Thread(target=launch)
        asking.start()
        until(lambda: lab.did(name, "run"), "a launch")
        worker.send_signal(number)
        out, _ = worker.communicate(timeout=WAIT_S)
        asking.join()
    assert lab.did(name, "run") == ["began", "interrupted"]
    assert worker.returncode == 0, out
    assert "Traceback" not in out
    assert lost


def test_a_connection_can_be_closed_twice(lab):
    connected = DaskFleet(lab.fleet)
    connected.hosts()
    connected.close()
    connected.close()
    with pytest.raises(FleetError, match="was closed"):
        connected.hosts()
