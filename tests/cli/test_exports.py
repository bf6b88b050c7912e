"""``--export FORMAT=FILE``: refused before anything is measured, or written whole."""

from __future__ import annotations

import os

import pytest

from harness.cli.exports import parsed, write
from harness.errors import HarnessError
from results.snapshot import Snapshot

RUN = Snapshot("01JRUN", "2026-11-23T01:02:03+00:00", "ci", "quick", "hw", "env", "0.5.0", {}, {}, ())


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def test_nothing_asked_is_nothing_written(tmp_path):
    write(parsed(None), RUN)
    assert not list(tmp_path.iterdir())


def test_each_format_goes_to_its_file(tmp_path):
    write(parsed(["junit=gate.xml", "csv=gate=1.csv"]), RUN)
    assert (tmp_path / "gate.xml").read_text().startswith("<?xml")
    assert (tmp_path / "gate=1.csv").read_bytes().endswith(b"\r\n")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["junitt=a.xml"], "did you mean 'junit'"),
        (["junit"], "names no file"),
        (["junit="], "names no file"),
        (["summary"], r"needs \$GITHUB_STEP_SUMMARY, which is not set here"),
        (["junit=absent/a.xml"], "there is no folder"),
        (["junit=."], "is a folder"),
        (["junit=a.out", "csv=./a.out"], "twice"),
    ],
)
def test_what_could_not_be_written_is_refused_at_once(tmp_path, asked, message):
    with pytest.raises(HarnessError, match=message) as told:
        parsed(asked)
    assert told.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_at_once(tmp_path):
    (tmp_path / "kept").mkdir(mode=0o500)
    with pytest.raises(HarnessError, match="no permission"):
        parsed(["junit=kept/a.xml"])


@pytest.mark.parametrize("asked", ["summary", "summary=step.md"])
def test_the_file_of_a_step_is_appended_to(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "step.md")
    file = tmp_path / "step.md"
    file.write_text("said before\n")
    write(parsed([asked]), RUN)
    assert file.read_text().startswith("said before\n\n### harness")


def test_another_file_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "step.md")
    file = tmp_path / "other.md"
    file.write_text("said before\n")
    write(parsed(["summary=other.md"]), RUN)
    assert file.read_text().startswith("### harness")


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(parsed(["openmetrics=pipe"]), RUN)
        assert os.read(reader, 1 << 16).endswith(b"# EOF\n")
    finally:
        os.close(reader)


def test_no_file_is_written_where_one_text_cannot_be_made(tmp_path, monkeypatch):
    def fail(self, snapshot):
        raise ValueError("no text")

    monkeypatch.setattr("results.formats.comma_separated.CommaSeparated.of_run", fail)
    with pytest.raises(ValueError, match="no text"):
        write(parsed(["junit=a.xml", "csv=a.csv"]), RUN)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_is_said(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_text("old")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.files.write_whole", full)
    with pytest.raises(HarnessError, match=r"a\.xml cannot be written: No space left"):
        write(parsed(["junit=a.xml"]), RUN)
    assert (tmp_path / "a.xml").read_text() == "old"
