"""Folders that cannot be written and disks that are full: one message, and nothing stored is lost."""

from __future__ import annotations

import errno
import json
import shutil

import pytest

from harness import runner
from harness.cache import Cache
from harness.vocabulary import Completed, Failed, Stage
from results import journal


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, new_place):
    """A place whose cache is filled and that has one run."""
    place = new_place(tmp_path_factory.mktemp("first"))
    said = place.say("run", "suite.yaml", "--quiet")
    assert said.code == 0, said.err
    return place


@pytest.fixture
def ran(first_run, place):
    """A copy of it."""
    shutil.copytree(first_run.folder, place.folder, dirs_exist_ok=True)
    return place


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_in_the_way_of_the_runs_folder(place, say):
    place.write("runs", "in the way")
    said = say("run", "suite.yaml", "--quiet")
    assert said.code == 4
    assert "a file stands where a folder is needed: runs" in said.err
    assert "remove the file" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_file_in_the_way_of_the_cache(place, say):
    place.write("cache", "in the way")
    said = say("run", "suite.yaml", "--quiet")
    assert said.code == 4
    assert "the cache cannot be written" in said.err
    assert "HARNESS_CACHE" in said.err


def test_a_report_into_a_missing_folder(ran, say):
    said = say("report", "latest", "-o", "no/such/folder/page.html")
    assert said.code == 4
    assert said.out == ""
    assert "page.html cannot be written" in said.err


def test_samples_that_cannot_be_kept_fail_their_launch_alone(ran, say, monkeypatch):
    keep, kept = runner._keep, []

    def full_once(made, target):
        kept.append(target)
        (no_space if len(kept) == 1 else keep)(made, target)

    monkeypatch.setattr(runner, "_keep", full_once)
    said = say("run", "suite.yaml", "--quiet", "--set", "matrix.batch=[1,2]")
    assert said.code == 3
    outcomes = [record.outcome for record in ran.store.records() if record.cell.scenario.name == "latency"]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Completed", "Failed"]
    failed = next(outcome for outcome in outcomes if isinstance(outcome, Failed))
    assert (failed.stage, failed.kind) == (Stage.RECORD, "OSError")
    assert "No space left" in failed.message
    assert failed.message in ran.page
    assert "free some space" in failed.hint


def test_a_journal_that_cannot_be_written_ends_the_run_and_it_resumes(ran, say, monkeypatch):
    write, lines = journal._write_and_sync, []

    def full_later(descriptor, line):
        lines.append(line)
        (no_space if len(lines) == 4 else write)(descriptor, line)

    monkeypatch.setattr(journal, "_write_and_sync", full_later)
    said = say("run", "suite.yaml", "--quiet")
    assert said.code == 4
    assert "no space left" in said.err
    assert "resume" in said.err
    monkeypatch.undo()
    assert say("run", "--resume", "latest", "--quiet").code == 0
    outcomes = [record.outcome for record in ran.store.records()]
    assert outcomes == [Completed(), Completed()]


def test_an_export_that_cannot_be_kept_says_where_the_cache_is(place, say, monkeypatch):
    monkeypatch.setattr(Cache, "_keep", no_space)
    said = say("run", "suite.yaml", "--quiet")
    assert said.code == 4
    assert "the cache cannot be written: No space left on device" in said.err


def test_the_next_run_makes_nothing_anew(ran, say):
    made = {file: file.stat().st_mtime_ns for file in (ran.folder / "cache").rglob("content/*")}
    first = ran.store.records()
    assert say("run", "suite.yaml", "--quiet", "--set", "seed=0").code == 0
    second = ran.store.records()
    assert first[0].run_id != second[0].run_id
    assert {file: file.stat().st_mtime_ns for file in (ran.folder / "cache").rglob("content/*")} == made
    assert {r.artifact.content_hash for r in first} == {r.artifact.content_hash for r in second}
    assert {r.inputs_hash for r in first} == {r.inputs_hash for r in second}
    assert {r.cell_id for r in first} == {r.cell_id for r in second}


def test_the_cache_is_listed_and_pruned(ran, say):
    listed = json.loads(say("cache", "ls", "--json").out)
    assert {entry["kind"] for entry in listed} == {"artifacts", "inputs", "references"}
    assert f"{len(listed)} entries" in say("cache", "ls").out
    assert say("cache", "prune", "--keep", "1TB").out.startswith("removed 0 entries")
    assert say("cache", "prune").out.startswith(f"removed {len(listed)} entries")
    assert json.loads(say("cache", "ls", "--json").out) == []
