"""What goes wrong with a folder of runs goes wrong in words, and nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from harness import runner
from harness.errors import StoreError
from harness.vocabulary import Completed, Launch, Precision
from results import journal
from results import store as stores
from results.importing import take_in
from results.index import asking
from results.index.building import bring_up_to_date
from results.index.database import reading
from results.migration import MIGRATIONS
from results.pruning import remove
from results.store import RunStore, runs_in
from results.tags import tag

OLD_RUN = Path(__file__).parents[1] / "results" / "data" / "schema-1"


@pytest.fixture(scope="module")
def recipe(factory):
    return factory.Recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("latency",))


@pytest.fixture
def run(place, factory, recipe):
    """A run in the place."""
    return factory.write_run(place.folder / "runs", (recipe,))


FILL = """
import resource, signal, sys
from pathlib import Path
from harness.errors import StoreError
from harness.vocabulary import Launch
from results.store import RunStore

store = RunStore.open(Path(sys.argv[1]))
cell = store.plan.cells[0].cell
store.acquire()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
index = 0
try:
    while True:
        store.started(cell, Launch(index))
        index += 1
except StoreError as error:
    print(index, error.message)
"""


@pytest.mark.parametrize("room", [0, 1, 500, 5000])
def test_a_disk_that_fills_while_appending_loses_nothing_acknowledged_and_says_what_is_missing(run, room):
    journal = run / "records.jsonl"
    before = journal.read_bytes()
    told = len(RunStore.open(run).attempts())
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(run), str(len(before) + room)], capture_output=True, text=True, check=True
    )
    count, _, message = done.stdout.strip().partition(" ")
    after = journal.read_bytes()
    assert after.startswith(before)
    assert after.endswith(b"\n")
    assert len(after) <= len(before) + room
    again = RunStore.open(run)
    assert again.damage == ()
    assert len(again.attempts()) == told + int(count)
    missing, whole = (int(word) for word in message.partition(": ")[2].split(" bytes")[0].split(" of "))
    assert message.startswith(f"no space left to write {run}")
    assert 0 < missing <= whole
    assert len(after) + whole - missing == len(before) + room  # what went in was exactly the room that there was
    assert f"launches of run {run.name}: 2 stored, 0 missing" in message
    with again:  # there is room again
        again.started(again.plan.cells[0].cell, Launch(99))
    assert RunStore.open(run).damage == ()


def test_a_run_on_a_disk_that_fills_says_what_is_missing_and_goes_on_when_there_is_room(place, monkeypatch):
    write, lines = os.write, []

    def full_later(descriptor, data):
        if bytes(data[16:17]) == b" " and b'"finished"' in data[:40]:
            lines.append(data)
            if len(lines) == 2:
                return write(descriptor, data[:100])
        return write(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", full_later)
        said = place.say("run", "suite.yaml", "--quiet")
    assert said.code == 4
    assert f"{len(lines[1]) - 100} of {len(lines[1])} bytes of a line found no room" in said.err
    assert f"launches of run {place.store.run_id}: 1 stored, 1 missing" in said.err
    assert "free some, then resume the run; nothing stored is lost" in said.err
    stored = place.store.records()
    assert (len(stored), place.store.damage) == (1, ())
    assert place.say("run", "--resume", "latest", "--quiet").code == 0
    ended = place.store.records()
    assert ended[:1] == stored
    assert [record.outcome for record in ended] == [Completed()] * 2


class _Capabilities(ctypes.Structure):
    """What ``capget`` and ``capset`` of Linux exchange, version 3: capabilities(7)."""

    _fields_ = (("words", ctypes.c_uint32 * 6),)  # effective, permitted, inheritable, twice


@contextlib.contextmanager
def bound_by_permissions():
    """Be bound by the modes of files, also as root: without the capability to write whatever they say."""
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), _Capabilities()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, ctypes.byref(before)) == 0
    bound = _Capabilities.from_buffer_copy(before)
    bound.words[0] &= ~(1 << 1)  # CAP_DAC_OVERRIDE
    assert libc.capset(header, ctypes.byref(bound)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, ctypes.byref(before)) == 0


@pytest.fixture
def locked(run):
    """A folder of runs that may be read and not written."""
    root = run.parent
    everything = [root, *root.rglob("*")]
    for file in everything:
        file.chmod(0o555 if file.is_dir() else 0o444)
    yield root
    for file in everything:
        file.chmod(0o755 if file.is_dir() else 0o644)


def test_runs_that_may_only_be_read_are_read(locked, place):
    with bound_by_permissions():
        listed = json.loads(place.say("results", "ls", "--json").out)
        again = place.say("results", "index", "--json")
        shown = place.say("results", "show", "latest")
        asked = place.say("results", "query", "SELECT count(*) FROM runs", "--json")
    assert [run["cells"] for run in listed] == [{"completed": 1}]
    assert json.loads(again.out)["read"] == []
    assert Path(json.loads(again.out)["index"]).is_relative_to(place.folder / "cache" / "indexes")
    assert "median latency: " in shown.out
    assert json.loads(asked.out)["rows"] == [[1]]
    assert [file.name for file in locked.iterdir()] == [run.name for run in runs_in(locked)]


def test_runs_that_may_only_be_read_are_not_written_and_the_word_is_clear(locked, place):
    (run,) = runs_in(locked)
    cell = RunStore.open(run).plan.cells[0].cell
    with bound_by_permissions():
        for act in (
            lambda: RunStore.create(locked, {}),
            lambda: tag(run, "main"),
            lambda: remove(run),
            lambda: take_in(OLD_RUN, locked),
            lambda: RunStore.open(run).started(cell, Launch(5)),
        ):
            with pytest.raises(StoreError, match="no permission for") as caught:
                act()
            assert "change its owner or mode" in caught.value.hint
        said = place.say("run", "suite.yaml", "--quiet")
    assert (said.code, said.out) == (4, "")
    assert "no permission for runs" in said.err
    assert runs_in(locked) == (run,)


class _Clock(datetime):
    """A clock that was set back a year after its third reading."""

    readings = 0

    @classmethod
    def now(cls, tz=None):
        _Clock.readings += 1
        return datetime.now(tz) - (timedelta(days=365) if _Clock.readings > 3 else timedelta())


class _EarlyUlid(ULID):
    """An id as such a clock gives it."""

    def __init__(self, value=None):
        super().__init__(value or ULID.from_datetime(datetime.now(UTC) - timedelta(days=365)).bytes)


def test_a_clock_that_goes_backwards_changes_no_order_and_no_duration(run, place, monkeypatch):
    before = RunStore.open(run)
    with monkeypatch.context() as patched:
        patched.setattr(stores, "datetime", _Clock)
        patched.setattr(runner, "datetime", _Clock)
        patched.setattr(stores, "ULID", _EarlyUlid)
        assert place.say("run", "suite.yaml", "--quiet").code == 0
        after = place.store
    assert after.run_id > before.run_id  # `latest` is the one made last
    assert all(record.duration_ns > 0 for record in after.records())
    started = [record.started_at for record in after.records()]
    assert min(started) < before.manifest["created_at"]
    with reading(bring_up_to_date(place.folder / "runs").place) as session:
        assert [run.run_id for run in asking.runs(session)] == [before.run_id, after.run_id]
    assert json.loads(place.say("results", "ls", "--json").out)[-1]["run_id"] == after.run_id


def test_a_run_of_the_first_schema_is_taken_in_listed_and_shown(place):
    said = place.say("results", "import", str(OLD_RUN))
    assert said.code == 0, said.err
    (run,) = json.loads(place.say("results", "ls", "--json").out)
    assert (run["state"], run["damage"], run["trouble"]) == ("complete", [], "")
    assert run["cells"] == {"completed": 4}
    shown = place.say("results", "show", run["run_id"])
    assert shown.code == 0
    assert "median latency: " in shown.out
    assert place.store.manifest["schema"] == 1


def test_a_record_of_an_older_schema_is_migrated_when_it_is_read(run, monkeypatch):
    path = run / "records.jsonl"
    now = RunStore.open(run).records()
    lines = []
    for line in path.read_bytes().splitlines():
        _, payload = journal.parse_line(line)
        if "finished" in payload:  # as if it had been called otherwise once
            old = payload["finished"]
            payload = {"finished": {**old, "schema": 0, "machine": old.pop("hw_id")}}
        lines.append(journal.format_line(payload))
    path.write_bytes(b"".join(lines))
    unread = RunStore.open(run)
    assert unread.records() == ()
    assert "schema: 0 was never a version" in unread.damage[0]

    def renamed(data):
        return {
            **{key: value for key, value in data.items() if key != "machine"},
            "hw_id": data["machine"],
            "schema": 1,
        }

    monkeypatch.setitem(MIGRATIONS, 0, renamed)
    again = RunStore.open(run)
    assert again.records() == now
    assert again.damage == ()
    assert bring_up_to_date(run.parent).troubles == {}
