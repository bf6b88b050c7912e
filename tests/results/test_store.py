import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import StoreError
from harness.telemetry.sensor import Column
from harness.telemetry.table import Table
from harness.vocabulary import Completed, Failed, Launch, Plan, Precision, SamplesRef, Stage
from results import journal as journals
from results import store as stores
from results.journal import format_line
from results.store import MANIFEST, RunStore, record_id, runs_in


@pytest.fixture
def recipe(factory):
    return factory.Recipe("lite0", "torch", Precision.FP32)


@pytest.fixture
def store(factory, recipe, tmp_path):
    with RunStore.create(tmp_path / "runs", factory.manifest_of((recipe,))) as made:
        yield made


@pytest.fixture
def record(factory, store, recipe):
    return factory.record_of(store, recipe, "latency", Launch(0), seed=1)


def test_a_run_is_read_back_as_it_was_written(store, record, recipe):
    store.started(record.cell, record.launch)
    store.finished(record)
    again = RunStore.open(store.folder)
    assert again.records() == (record,)
    assert again.damage == ()
    assert again.run_id == store.run_id == again.folder.name
    assert isinstance(again.plan, Plan)
    assert again.plan.cells[0].cell == recipe.cell("latency")
    assert {"schema", "run_id", "created_at", "host", "engines"} <= set(again.manifest)
    samples = again.samples(record.samples)
    assert len(samples) == record.samples.rows
    assert samples.host_to_host_ns.dtype == np.int64


def test_a_reader_sees_what_the_writer_adds(store, record):
    reader = RunStore.open(store.folder)
    assert reader.records() == ()
    store.finished(record)
    assert reader.records() == (record,)


def test_the_same_line_twice_is_one_record(store, record):
    store.finished(record)
    store.finished(record)
    assert RunStore.open(store.folder).records() == (record,)


def test_a_correction_takes_the_place_of_what_it_corrects(store, record, factory, recipe):
    other = factory.record_of(store, recipe, "latency", Launch(1), seed=2)
    wrong = Failed(Stage.RECORD, "withdrawn", "the fan was unplugged")
    first = replace(record, outcome=wrong, supersedes=record_id(record))
    second = replace(record, outcome=Completed(), supersedes=record_id(first), versions={"checked": "1"})
    for stored in (record, other, first, second):
        store.finished(stored)
    assert RunStore.open(store.folder).records() == (second, other)


def test_a_correction_of_nothing_is_kept_and_told(store, record):
    stray = replace(record, supersedes="0123456789abcdef")
    store.finished(stray)
    assert store.records() == (stray,)
    assert "0123456789abcdef" in store.damage[0]


def test_an_attempt_without_an_end_is_told(store, record):
    store.started(record.cell, Launch(0))
    store.started(record.cell, Launch(0, attempt=1))
    store.finished(replace(record, launch=Launch(0, attempt=1)))
    assert [(a.launch.attempt, a.ended) for a in store.attempts()] == [(0, False), (1, True)]
    assert store.attempts()[0].cell_id == record.cell_id
    assert store.attempts()[0].label == record.cell.label


def test_damage_in_the_middle_leaves_the_rest_readable(store, record, factory, recipe):
    records = [factory.record_of(store, recipe, "latency", Launch(index), seed=index) for index in range(3)]
    for stored in records:
        store.finished(stored)
    path = store.folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"torch", b"t0rch", 1)
    path.write_bytes(b"".join(lines))
    again = RunStore.open(store.folder)
    assert again.records() == (records[0], records[2])
    launch = f"launch 1 of cell {records[1].cell_id[:12]}"
    told = f"records.jsonl:2: line does not match its checksum and was left out; it was the end of {launch}"
    assert again.damage == (told,)


def test_a_record_that_does_not_decode_is_left_out_and_told(store, record):
    store.finished(record)
    with (store.folder / "records.jsonl").open("ab") as file:
        file.write(format_line({"finished": {"run_id": 3}}))
        file.write(format_line({"surprise": {}}))
    again = RunStore.open(store.folder)
    assert again.records() == (record,)
    assert [note.split(": ")[0] for note in again.damage] == ["records.jsonl:2", "records.jsonl:3"]


def test_a_second_writer_is_refused_until_the_first_ends(store, record):
    second = RunStore.open(store.folder)
    with pytest.raises(StoreError, match="is being written by another process"):
        second.started(record.cell, record.launch)
    store.close()
    second.started(record.cell, record.launch)
    second.close()
    second.close()
    assert len(store.attempts()) == 1


def test_a_torn_line_of_a_killed_writer_is_cut_before_the_next(store, record):
    store.finished(record)
    store.close()
    path = store.folder / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    reader = RunStore.open(store.folder)
    assert reader.records() == (record,)
    assert "never acknowledged" in reader.damage[0]
    with RunStore.open(store.folder) as writer:
        writer.started(record.cell, Launch(1))
        assert writer.damage == ()
        assert writer.records() == (record,)


KILLS = """
import os, signal, sys, time
from pathlib import Path
from harness.vocabulary import Launch
from results.store import RunStore

folder = Path(sys.argv[1])
cell = RunStore.open(folder).plan.cells[0].cell
stored = set()
for kill in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        store, index = RunStore.open(folder), len(stored)
        while True:
            store.started(cell, Launch(index))
            os.write(writer, b"%d\\n" % index)
            index += 1
    os.close(writer)
    acknowledged = os.read(reader, 1 << 16)  # at least one line is stored
    time.sleep(0.0007 * kill)  # so that the kills fall at different points of an append
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while block := os.read(reader, 1 << 16):
        acknowledged += block
    os.close(reader)
    again = RunStore.open(folder)
    stored |= {attempt.launch.index for attempt in again.attempts()}
    lost = {int(line) for line in acknowledged.split()} - stored
    assert not lost, lost
    assert all("never acknowledged" in note for note in again.damage), again.damage
print(len(stored))
"""


def test_kills_while_appending_lose_nothing_acknowledged(store):
    store.close()
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(store.folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "no permission"), (errno.EIO, "Input/output")]
)
def test_a_disk_that_refuses_is_explained_and_the_run_goes_on_later(store, record, monkeypatch, number, words):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(journals.os, "fsync", refuse)
        with pytest.raises(StoreError, match=words) as caught:
            store.started(record.cell, record.launch)
    assert caught.value.hint
    store.finished(record)
    assert RunStore.open(store.folder).records() == (record,)


def test_a_run_that_cannot_be_created_leaves_nothing(tmp_path, factory, recipe, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stores, "write_whole", refuse)
    with pytest.raises(StoreError, match="no space left"):
        RunStore.create(tmp_path / "runs", factory.manifest_of((recipe,)))
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_root_that_is_a_file_is_explained(tmp_path, factory, recipe):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError):
        RunStore.create(tmp_path / "runs", factory.manifest_of((recipe,)))


def test_a_manifest_without_json_form_is_refused(tmp_path):
    with pytest.raises(StoreError, match="without JSON form"):
        RunStore.create(tmp_path, {"overhead": {"1": float("nan")}})


def test_a_record_with_nan_is_refused_and_not_stored(store, record):
    with pytest.raises(StoreError, match="without JSON form"):
        store.finished(replace(record, agreement=replace(record.agreement, cosine=float("nan"))))
    assert store.records() == ()


def test_a_folder_that_vanished_is_explained(store, record):
    shutil.rmtree(store.folder)
    with pytest.raises(StoreError, match="does not exist"):
        store.started(record.cell, record.launch)


def test_samples_are_checked_against_their_record(store, record):
    path = store.folder / record.samples.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="SHA-256"):
        store.samples(record.samples)
    with pytest.raises(StoreError, match="SHA-256"):
        store.finished(record)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read: No such file") as caught:
        store.finished(record)
    assert str(store.folder) not in str(caught.value)  # reports repeat it
    assert store.records() == ()


def test_a_record_may_not_point_out_of_its_run(store, record):
    for path in ("../../secret.npz", "/etc/passwd"):
        with pytest.raises(StoreError, match="outside its folder"):
            store.arrays(SamplesRef(path, "0" * 64, 1))


def test_files_that_hold_no_samples_are_explained(store, factory):
    def put(data):
        (store.folder / "samples/x.npz").write_bytes(data)
        return factory.reference(store.folder, store.folder / "samples/x.npz", 2)

    with pytest.raises(StoreError, match="not a file of arrays"):
        store.samples(put(b"nothing"))
    path = store.folder / "samples/y.npz"
    np.savez(path, phase=np.zeros(2, np.int64))
    with pytest.raises(StoreError, match="lacks the column"):
        store.samples(put(path.read_bytes()))


def test_samples_of_another_length_than_recorded_are_refused(store, record):
    with pytest.raises(StoreError, match="its record says"):
        store.samples(replace(record.samples, rows=record.samples.rows + 1))


def test_a_newer_run_is_refused_with_what_to_do(store):
    path = store.folder / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(StoreError, match="newer harness") as caught:
        RunStore.open(store.folder)
    assert "upgrade" in caught.value.hint


def test_a_newer_record_is_refused(store, record):
    store.finished(replace(record, schema=99))
    with pytest.raises(StoreError, match="newer harness"):
        store.records()


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_a_manifest_that_is_none_is_explained(store, text):
    (store.folder / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=r"is not JSON|no schema version"):
        RunStore.open(store.folder)


def test_a_manifest_without_a_plan_is_explained(tmp_path):
    with RunStore.create(tmp_path, {}) as store, pytest.raises(StoreError, match="no readable plan"):
        _ = store.plan


def test_runs_are_found_by_id_prefix_and_latest(tmp_path, monkeypatch):
    ids = ["01ARZ3NDEKTSV4RRFFQ69G5FA0", "01ARZ3NDEKTSV4RRFFQ69G5FB1", "01BX5ZZKBKACTAV9WEVGEMMVS0"]
    root = tmp_path / "runs"
    assert runs_in(root) == ()
    with pytest.raises(StoreError, match="there is no run"):
        RunStore.open("latest", root)
    for run_id in ids:
        monkeypatch.setattr(stores, "ULID", lambda run_id=run_id: run_id)
        RunStore.create(root, {}).close()
    (root / "not-a-run").mkdir()
    (root / "01BX5ZZKBKACTAV9WEVGEMMVZZ").mkdir()  # no manifest: a run that never was
    assert [run.name for run in runs_in(root)] == ids
    assert RunStore.open("latest", root).run_id == ids[2]
    assert RunStore.open("01b", root).run_id == ids[2]
    assert RunStore.open(ids[0], root).run_id == ids[0]
    assert RunStore.open(root / ids[1]).run_id == ids[1]
    with pytest.raises(StoreError, match="2 runs"):
        RunStore.open("01ARZ", root)
    with pytest.raises(StoreError, match="no run 'nothing'"):
        RunStore.open("nothing", root)


def test_the_stored_run_of_schema_1_is_still_read():
    """One stored run per schema version, never deleted."""
    store = RunStore.open(Path(__file__).parent / "data" / "schema-1")
    assert store.damage == ()
    assert store.manifest["schema"] == 1
    assert {record.cell.scenario.name for record in store.records()} == {"latency", "prove", "accuracy", "memory"}
    for record in store.records():
        if record.samples is not None:
            assert len(store.samples(record.samples).steady())


def test_what_the_sensors_said_is_there_whole_before_the_record_that_names_it(store, record):
    rows = Table((Column("c", "rapl", "energy", "package", "uJ"),), np.arange(3), np.ones((3, 1)))
    (store.folder / "telemetry").mkdir()
    place = f"telemetry/{Path(record.samples.path).name}"
    sensed = replace(record, telemetry=SamplesRef(place, rows.save(store.folder / place), 3))
    store.finished(sensed)
    read = Table.of_arrays(RunStore.open(store.folder).arrays(sensed.telemetry))
    assert (len(read), read.columns) == (3, rows.columns)
    (store.folder / place).write_bytes(b"changed")
    with pytest.raises(StoreError, match="SHA-256"):
        store.finished(sensed)


def test_a_run_from_elsewhere_keeps_its_id_and_its_manifest(store, record, tmp_path):
    there = RunStore.adopt(tmp_path / "there", store.manifest)
    assert there.folder == tmp_path / "there" / store.run_id
    assert RunStore.open(there.folder).manifest == store.manifest
    with there:
        there.started(record.cell, record.launch)
        there.finished(replace(record, samples=None, telemetry=None, accuracy=None))
    again = RunStore.adopt(tmp_path / "there", store.manifest)
    assert len(again.records()) == 1
    assert [file.name for file in (tmp_path / "there").iterdir()] == [store.run_id]


def test_a_run_from_elsewhere_may_have_grown_meanwhile(store, tmp_path):
    RunStore.adopt(tmp_path / "there", store.manifest)
    longer = replace(store.plan, order=store.plan.order * 2)
    with RunStore.adopt(tmp_path / "there", {**store.manifest, "plan": longer}) as grown:
        assert grown.plan == longer
    with RunStore.adopt(tmp_path / "there", {**store.manifest, "plan": longer}) as again:
        assert again.plan == longer
    with pytest.raises(StoreError, match="does not go on where"):
        RunStore.adopt(tmp_path / "there", store.manifest)


def test_another_run_of_the_same_id_is_refused_by_what_differs(store, tmp_path):
    RunStore.adopt(tmp_path / "there", store.manifest)
    with pytest.raises(StoreError, match="is another: it differs in command") as caught:
        RunStore.adopt(tmp_path / "there", {**store.manifest, "command": "something else"})
    assert caught.value.hint


@pytest.mark.parametrize(
    "change", [{"run_id": "../../elsewhere"}, {"run_id": None}, {"schema": "1"}, {"schema": 10_000}]
)
def test_what_is_no_manifest_of_a_run_is_not_adopted(store, tmp_path, change):
    with pytest.raises(StoreError):
        RunStore.adopt(tmp_path / "there", {**store.manifest, **change})
    assert not (tmp_path / "there").exists()


def test_a_run_from_elsewhere_appears_whole_or_not_at_all(store, tmp_path, monkeypatch):
    def full(path, data):
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(stores, "write_whole", full)
        with pytest.raises(StoreError, match="no space left"):
            RunStore.adopt(tmp_path / "there", store.manifest)
    assert list((tmp_path / "there").iterdir()) == []
    assert RunStore.adopt(tmp_path / "there", store.manifest).run_id == store.run_id
