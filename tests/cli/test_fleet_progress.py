"""What a run on a fleet tells as it goes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.cli import fleet_progress
from harness.fleet.events import Ended, Finished, Lost, Moved, Noted, Recovered, Started, Unmeasured
from harness.vocabulary import Cell, Completed, Failed, Launch, Precision, Record, Scenario, Stage

CELL = Cell("[w]", "h", {"name": "raw"}, (3,), "fake", Precision.FP32, "cpu", Scenario("latency"))


def record(outcome=None):
    return Record("r", CELL, Launch(0), outcome or Completed(), "hw", "env", "t", 2_000_000_000)


FAILED = Failed(Stage.LOAD, "crash", "killed by SIGSEGV")
EVENTS = (
    Recovered("oak", "r", record()),
    Started("oak", "r", CELL, Launch(0)),
    Finished("oak", "r", record()),
    Started("elm", "r", CELL, Launch(0, 1)),
    Finished("elm", "r", record(FAILED)),
    Noted("oak is silent"),
    Started("oak", "r", CELL, Launch(1)),
    Lost("oak", "it does not answer", CELL),
    Moved("oak", "elm", "r2", 2),
    Lost("elm", "no space left", None),
    Unmeasured("elm", "r2", 1),
    Ended("ash", "r3"),
)
SAID = (
    "oak is silent",
    "oak was lost while it measured [w]/fake/fp32/cpu/b1/latency: it does not answer",
    "2 rows that oak did not finish: measured by elm from the start, run r2",
    "elm was lost: no space left",
    "1 row of elm: not finished, and no other host of its kind is there",
)


@pytest.fixture
def said(monkeypatch):
    """Return what a reporter prints of all events."""

    def told(make, *, terminal):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=200, soft_wrap=True, emoji=False)
        monkeypatch.setattr(fleet_progress, "errors", console)
        with make() as reporter:
            reporter.told("reading [w]")
            reporter.began(3, lambda: 100.0)
            reporter.told("oak: sending 3 files")
            for event in EVENTS:
                reporter.heard(event)
        return out.getvalue()

    return told


def test_a_sentence_for_what_befalls_a_host_and_none_for_a_launch():
    assert tuple(filter(None, map(fleet_progress.sentence, EVENTS))) == SAID


def test_lines_name_the_host(said):
    lines = said(fleet_progress.Lines, terminal=False).splitlines()
    assert lines[:3] == [
        "prepare  reading [w]",
        "prepare  oak: sending 3 files",
        "         oak: [w]/fake/fp32/cpu/b1/latency: held, ok in 2.0 s",
    ]
    assert "[1/3] oak: [w]/fake/fp32/cpu/b1/latency #0 (whole run 2 min left)" in lines
    assert "[2/3] elm: [w]/fake/fp32/cpu/b1/latency #0 attempt 2 (whole run 2 min left)" in lines
    assert "         elm: [w]/fake/fp32/cpu/b1/latency: FAILED in load (crash): killed by SIGSEGV" in lines
    assert [line for line in lines if line in SAID] == list(SAID)


def test_bars_leave_what_befell_hosts_standing(said):
    text = said(fleet_progress.Bars, terminal=True)
    assert all(sentence in text for sentence in SAID)
    assert "FAILED in load (crash): killed by SIGSEGV" in text


def test_quiet_says_nothing(said):
    assert said(lambda: fleet_progress.reporter(quiet=True), terminal=True) == ""
    assert isinstance(fleet_progress.reporter(quiet=False), fleet_progress.Bars)
