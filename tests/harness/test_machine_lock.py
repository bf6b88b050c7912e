"""One launch at a time on a machine, whatever becomes of who makes it."""

from __future__ import annotations

import errno
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

from harness import machine_lock
from harness.machine_lock import LockError, Turns, held, lock_file


@pytest.fixture
def file(tmp_path):
    return tmp_path / "place" / "machine.lock"


def free(file):
    try:
        with held(file, "a look", patience_s=0.0):
            return True
    except LockError:
        return False


def test_the_second_is_told_who_has_it_and_waits_no_longer_than_asked(file):
    with held(file, "a launch by lab-1", patience_s=0.0):
        with pytest.raises(LockError) as caught, held(file, "a launch by lab-2", patience_s=0.1):
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


def in_line(file):
    """Return once somebody waits for the machine."""
    queue = file.with_name(f"{file.name}.queue")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with queue.open() as looked:
            try:
                fcntl.flock(looked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_who_has_just_let_go_comes_after_who_waits(file):
    order = []

    def other():
        with held(file, "two", patience_s=60.0):
            order.append("two")

    waiting = threading.Thread(target=other)
    with held(file, "one", patience_s=0.0):
        waiting.start()
        in_line(file)
    with held(file, "one", patience_s=60.0):
        order.append("one")
    waiting.join(60)
    assert order == ["two", "one"]


def test_without_a_queue_the_machine_is_locked_all_the_same(file):
    file.parent.mkdir()
    file.with_name(f"{file.name}.queue").mkdir()
    with held(file, "one", patience_s=0.0):
        assert not free(file)
    assert free(file)


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
from harness.machine_lock import held

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
            pytest.raises(LockError, match=f"taken by a launch, process {holder.pid}"),
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
    with pytest.raises(LockError) as caught, held(file, "one", patience_s=0.0):
        pytest.fail("taken")
    assert caught.value.hint
    assert not (file.parent / "theirs").exists() or (file.parent / "theirs").read_text() == "precious"


def test_a_lock_that_was_tidied_away_is_made_anew(file, monkeypatch):
    """Removed between opening and locking: another process would lock another file."""
    real, removed = fcntl.flock, []

    def flock(descriptor, how):
        if not removed and file.exists():  # not the queue's
            removed.append(file.stat().st_ino)
            file.rename(file.with_name("tidied"))
        real(descriptor, how)

    monkeypatch.setattr(machine_lock.fcntl, "flock", flock)
    with held(file, "one", patience_s=0.0) as descriptor:
        assert os.fstat(descriptor).st_ino == file.stat().st_ino != removed[0]


def test_what_another_wrote_into_it_is_no_more_than_words(file):
    with held(file, "one", patience_s=0.0):
        file.write_bytes(b"\x1b[31mnobody\xff\n" + b"x" * 10_000)
        with pytest.raises(LockError) as caught, held(file, "two", patience_s=0.0):
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


# --- the launches of one run -------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """Let it be told at once that a launch waits."""
    monkeypatch.setattr(machine_lock, "_PAUSE_S", machine_lock._FIRST_PAUSE_S)


def test_that_a_run_waits_is_told_once_and_for_whom(file, impatient):
    told, spoken = [], threading.Event()

    def tell(words):
        told.append(words)
        spoken.set()

    turns = Turns(file, "a launch of run B", tell)

    def launch():
        with turns() as descriptors:
            made.append([os.fstat(each).st_ino for each in descriptors])

    made = []
    for count in (1, 2):
        waiting = threading.Thread(target=launch)
        with held(file, "a launch of run A", patience_s=0.0):
            waiting.start()
            assert spoken.wait(60)
            waiting.join(0.1)
            assert len(made) == count - 1
        waiting.join(60)
    assert made == [[file.stat().st_ino]] * 2
    (words,) = told
    assert words.startswith(
        f"waiting: another harness run is measuring on this machine: a launch of run A, process {os.getpid()}, since 20"
    )
    assert f"`fuser -v {file}`" in words


def test_a_machine_that_nobody_else_has_is_not_spoken_of(file, impatient):
    turns = Turns(file, "a launch", pytest.fail)
    for _ in range(3):
        with turns():
            assert not free(file)
        assert free(file)


def _no_place(file, monkeypatch):
    file.mkdir(parents=True)


def _no_locks(file, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(machine_lock.fcntl, "flock", flock)


@pytest.mark.parametrize("trouble", [_no_place, _no_locks])
def test_where_the_machine_cannot_be_locked_that_is_told_once_and_it_measures(file, monkeypatch, trouble):
    trouble(file, monkeypatch)
    told = []
    turns = Turns(file, "a launch", told.append)
    for _ in range(2):
        with turns() as descriptors:
            assert descriptors == ()
    (words,) = told
    assert words.startswith("nothing keeps other runs from measuring at the same time: ")
    assert str(file) in words
    assert "HARNESS_MACHINE_LOCK" in words


def test_what_goes_wrong_in_a_launch_is_no_matter_of_the_lock(file):
    turns = Turns(file, "a launch", pytest.fail)
    with pytest.raises(LockError, match="of the launch"), turns():
        raise LockError("of the launch")
    assert free(file)
