"""Two runs on one machine: their launches take turns, and who waits says so."""

from __future__ import annotations

import signal
from pathlib import Path

from harness.machine_lock import held
from harness.vocabulary import Completed


def lines(process):
    """Return what a command says on its error stream, up to the first line about waiting."""
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("waiting: "):
            return said
    raise AssertionError(said)


def test_a_run_says_that_it_waits_can_be_stopped_then_and_goes_on_when_the_machine_is_free(place):
    lock = Path(place.own["HARNESS_MACHINE_LOCK"])
    with held(lock, "a launch of run OTHER", patience_s=0.0):
        with place.begin("run", "suite.yaml", "--quiet") as process:
            *before, words = lines(process)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert before == []
        assert "another harness run is measuring on this machine: a launch of run OTHER, process " in words
        assert process.returncode == 2
        assert "interrupted; continue with" in err
        assert place.store.attempts() == ()
        process = place.begin("run", "--resume", "latest")
        lines(process)
    with process:
        _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "waiting" not in err
    records = place.store.records()
    assert [type(record.outcome) for record in records] == [Completed] * 2
    assert [attempt.launch.attempt for attempt in place.store.attempts()] == [0, 0]


def test_where_no_lock_can_be_made_it_measures_and_says_so_once(place):
    place.environment["HARNESS_MACHINE_LOCK"] = str(place.folder)
    said = place.say("run", "suite.yaml", "--quiet")
    assert said.code == 0, said.err
    assert said.err.count("nothing keeps other runs from measuring at the same time") == 1
    assert "HARNESS_MACHINE_LOCK" in said.err
