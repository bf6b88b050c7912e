"""What runs beside the launches, and what is made of their readings; nothing is judged on this machine's noise."""

import os
import subprocess

import pytest

from benchmarks import busy
from benchmarks.figure import Limit, Verdict
from harness.errors import HarnessError
from harness.vocabulary import NoiseReading, State


def launches(*words):
    """Launches of which run-queue wait said a word each, or those of both detectors."""
    return [dict(zip(busy._DETECTORS, map(said, (*word.split(), "ok")), strict=False)) for word in words]


def said(word):
    return NoiseReading(State(word), None if word == "unavailable" else 0.5, 0.02, "share", "the kernel keeps none")


def test_flags_are_counted_against_the_limit():
    figure = busy._flagged("busy", launches(*["bad"] * 19, "ok"), busy.FLAGGED)
    assert (figure.value, figure.samples, figure.verdict) == (19, 20, Verdict.PASS)
    assert busy._flagged("busy", launches(*["bad"] * 18, "ok", "ok"), busy.FLAGGED).verdict is Verdict.FAIL
    assert busy._flagged("idle", launches("bad", "bad", "bad"), busy.FALSE).verdict is Verdict.FAIL
    assert busy._flagged("busy", launches("ok bad", "bad bad", "bad ok", "ok ok"), Limit()).value == 3


def test_a_detector_that_tells_nothing_is_no_flag():
    with pytest.raises(HarnessError, match="the kernel keeps none"):
        busy._flagged("busy", launches("bad", "unavailable"), Limit())
    assert busy._flagged("busy", launches("unavailable bad"), Limit()).value == 1


def test_loops_spin_until_the_block_ends(monkeypatch):
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *arguments, **how):
            super().__init__(*arguments, **how)
            started.append(self)

    monkeypatch.setattr(busy.subprocess, "Popen", Watched)
    with busy.busy_loops(2):
        assert [loop.poll() for loop in started] == [None, None]
    assert [loop.poll() is not None for loop in started] == [True, True]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors are chosen on Linux alone")
def test_processors_are_given_back():
    before = os.sched_getaffinity(0)
    with busy.few_processors(1) as count:
        assert count == 1
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_each_launch_is_read_beside_what_was_drawn_for_it(monkeypatch):
    monkeypatch.setattr(busy, "_LIMITS", busy.jobs.Limits(1, 0.5, 0.5, warmup_s=0.0))
    beside = []
    loops = busy.busy_loops

    def counted(count=2):
        beside.append(count)
        return loops(count)

    monkeypatch.setattr(busy, "busy_loops", counted)
    try:
        measured = busy.measure(lambda _: None, launches=2)
    except HarnessError as error:
        pytest.skip(f"{error.message}")
    assert beside == [2, 2]
    assert [figure.samples for figure in measured.figures] == [2] * 6
    assert measured.notes[0].startswith("launches and loops shared")
