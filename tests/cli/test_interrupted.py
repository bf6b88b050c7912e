"""A run that is stopped, however it is stopped, goes on where it was: nothing lost, nothing twice, no orphan."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from harness.vocabulary import Completed, Failed

SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], scenario: [latency], batch: [1, 2]}
preset: quick
launches: 1
options: {fake: {load_ms: 2000, latency_us: 3000, asleep: true}}
"""


def launched(place, process, count):
    """Wait until the run has begun ``count`` launches of its timed cells; return the children that it has then."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        if place.runs:
            begun = [attempt for attempt in place.store.attempts() if attempt.label.endswith("/latency")]
            children = psutil.Process(process.pid).children(recursive=True)
            if len(begun) == count and not begun[-1].ended and children:
                return children
        time.sleep(0.2)
    raise AssertionError("no such launch within two minutes")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, new_place):
    """One run, stopped by Ctrl-C, by SIGTERM and by SIGKILL in the same launch, a second writer, then its end."""
    place = new_place(tmp_path_factory.mktemp("stopped"))
    place.write("suite.yaml", SUITE)
    codes, orphans, words = [], [], []
    for count, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), start=1):
        arguments = ["suite.yaml"] if count == 1 else ["--resume", "latest"]
        with place.begin("run", *arguments) as process:
            children = launched(place, process, count)
            if count == 1:
                second = place.run("run", "--resume", "latest")
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        words.append(err)
        orphans += psutil.wait_procs(children, timeout=10)[1]
    before = {record.cell_id for record in place.store.records() if isinstance(record.outcome, Completed)}
    left = [file.name for file in place.store.folder.iterdir() if file.name.startswith(".")]
    end = place.run("run", "--resume", "latest")
    return place, {"codes": codes, "orphans": orphans, "words": words, "second": second, "end": end} | {
        "before": before,
        "left": left,
    }


def test_the_exit_code_says_that_it_can_be_resumed(stopped):
    _, facts = stopped
    assert facts["codes"] == [2, 2, -signal.SIGKILL]
    assert "harness run --resume" in facts["words"][0]
    assert "harness run --resume" in facts["words"][1]


def test_no_child_outlives_its_run(stopped):
    _, facts = stopped
    assert facts["orphans"] == []


def test_a_second_writer_is_refused(stopped):
    place, facts = stopped
    assert facts["second"].code == 4
    assert "is being written by another process" in facts["second"].err
    assert facts["second"].out == ""
    assert place.runs == 1


def test_the_end_has_everything_once(stopped):
    place, facts = stopped
    assert facts["end"].code == 0, facts["end"].err
    records = place.store.records()
    completed = [record.cell_id for record in records if isinstance(record.outcome, Completed)]
    assert sorted(completed) == sorted(planned.cell.cell_id for planned in place.store.plan.cells)
    assert len(facts["before"]) >= 2  # both proofs, not measured again
    assert place.store.damage == ()


def test_what_the_user_stopped_is_told_from_what_crashed(stopped):
    place, _ = stopped
    failed = [record.outcome for record in place.store.records() if isinstance(record.outcome, Failed)]
    assert [outcome.kind for outcome in failed] == ["interrupted", "interrupted"]
    lost = [attempt for attempt in place.store.attempts() if not attempt.ended]
    assert len(lost) == 1  # SIGKILL left no time for a word


def test_what_a_killed_run_left_lying_is_removed(stopped):
    place, facts = stopped
    assert len(facts["left"]) == 1
    assert not [file for file in place.store.folder.iterdir() if file.name.startswith(".")]


def test_a_finished_run_resumed_has_nothing_to_do(stopped):
    place, _ = stopped
    count = len(place.store.records())
    said = place.run("run", "--resume", "latest", "--quiet")
    assert said.code == 0
    assert said.err == ""
    assert len(place.store.records()) == count
