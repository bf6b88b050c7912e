"""One launch at a time on a machine, whatever becomes of who makes it."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.fleet import machine_lock
from harness.fleet.contract import FleetError
from harness.fleet.machine_lock import held, lock_file


@pytest.fixture
def file(tmp_path):
    return tmp_path / "place" / "machine.lock"


def free(file):
    try:
        with held(file, "a look", patience_s=0.0):
            return True
    except FleetError:
        return False


def test_the_second_is_told_who_has_it_and_waits_no_longer_than_asked(file):
    with held(file, "a launch by lab-1", patience_s=0.0):
        with pytest.raises(FleetError) as caught, held(file, "a launch by lab-2", patience_s=0.1):
            pytest.fail("two at once")
        assert f"this machine is taken by a launch by lab-1, process {os.getpid()}, since 20" in caught.value.message
        assert str(file) in caught.value.hint
    assert free(file)


def test_who_waits_comes_next(file):
    order, first = [], threading.Event()

    def second():
        first.wait()
        with held(file, "two", patience_s=60.0):
            order.append("two")

    waiting = threading.Thread(target=second)
    waiting.start()
    with held(file, "one", patience_s=0.0):
        first.set()
        waiting.join(0.2)
        order.append("one")
    waiting.join(60)
    assert order == ["one", "two"]


def test_an_error_lets_go(file):
    with pytest.raises(ZeroDivisionError), held(file, "one", patience_s=0.0):
        raise ZeroDivisionError
    assert free(file)


def test_every_user_may_take_it_whatever_the_umask(file):
    before = os.umask(0o077)
    try:
        assert free(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666


HOLDER = """
import sys
from pathlib import Path
from harness import process
from harness.fleet.machine_lock import held

folder = Path(sys.argv[1])
with held(folder / "machine.lock", "a launch", patience_s=0.0) as descriptor:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"
    child = process.Child(folder, folder / "log", 600.0, descriptors=(descriptor,))
    process.wait([sys.executable, "-c", program], child)
"""


def test_what_a_killed_worker_left_running_holds_the_machine(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)])
    log = tmp_path / "log"
    try:
        while not (log.exists() and log.read_text().endswith("\n")):
            assert holder.poll() is None
            time.sleep(0.05)
        orphan = psutil.Process(int(log.read_text()))
    finally:
        holder.kill()
        holder.wait()
    try:
        with (
            pytest.raises(FleetError, match=f"taken by a launch, process {holder.pid}"),
            held(tmp_path / "machine.lock", "the next", patience_s=0.0),
        ):
            pytest.fail("beside an orphan")
    finally:
        orphan.send_signal(signal.SIGKILL)
    with held(tmp_path / "machine.lock", "the next", patience_s=60.0):
        pass


def test_a_child_gets_no_descriptor_that_was_not_meant_for_it(file):
    program = "import os, sys; os.fstat(int(sys.argv[1]))"
    with held(file, "one", patience_s=0.0) as descriptor:
        done = subprocess.run([sys.executable, "-c", program, str(descriptor)], capture_output=True, check=False)
    assert b"Bad file descriptor" in done.stderr


def _link(file):
    (file.parent / "theirs").write_text("precious")
    file.symlink_to(file.parent / "theirs")


def _hard_link(file):
    (file.parent / "theirs").write_text("precious")
    file.hardlink_to(file.parent / "theirs")


def _pipe(file):
    os.mkfifo(file)


@pytest.mark.parametrize("put", [_link, _hard_link, _pipe, Path.mkdir])
def test_what_somebody_put_in_its_place_is_refused_and_left_alone(file, put):
    file.parent.mkdir()
    put(file)
    with pytest.raises(FleetError) as caught, held(file, "one", patience_s=0.0):
        pytest.fail("taken")
    assert caught.value.hint
    assert not (file.parent / "theirs").exists() or (file.parent / "theirs").read_text() == "precious"


def test_a_lock_that_was_tidied_away_is_made_anew(file, monkeypatch):
    """Removed between opening and locking: another process would lock another file."""
    real, removed = fcntl.flock, []

    def flock(descriptor, how):
        if not removed:
            removed.append(file.stat().st_ino)
            file.rename(file.with_name("tidied"))
        real(descriptor, how)

    monkeypatch.setattr(machine_lock.fcntl, "flock", flock)
    with held(file, "one", patience_s=0.0) as descriptor:
        assert os.fstat(descriptor).st_ino == file.stat().st_ino != removed[0]


def test_what_another_wrote_into_it_is_no_more_than_words(file):
    with held(file, "one", patience_s=0.0):
        file.write_bytes(b"\x1b[31mnobody\xff\n" + b"x" * 10_000)
        with pytest.raises(FleetError) as caught, held(file, "two", patience_s=0.0):
            pytest.fail("two at once")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


def test_it_lies_where_everybody_may_write(tmp_path, monkeypatch):
    mine, common = tmp_path / "mine", tmp_path / "common"
    for folder, mode in ((mine, 0o755), (common, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(machine_lock, "COMMON", (tmp_path / "absent", mine, common))
    assert lock_file({}).parent == common
    monkeypatch.setattr(machine_lock, "COMMON", (mine,))
    assert lock_file({"HARNESS_CACHE": str(tmp_path / "cache")}).parent == tmp_path / "cache"
    assert lock_file({"HARNESS_MACHINE_LOCK": "/somewhere/lock"}) == Path("/somewhere/lock")
