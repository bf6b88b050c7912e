"""The queue that the open loop is held against; nothing is timed."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import queueing
from benchmarks.figure import Verdict
from benchmarks.queueing import batch_means, lindley, mean_wait
from harness.errors import HarnessError
from harness.measure.samples import Samples

SERVICES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=50)


@given(SERVICES)
def test_waits_are_those_of_the_recursion(queries):
    due = np.array(list(itertools.accumulate(gap for gap, _ in queries)), dtype=np.int64)
    services = np.array([service for _, service in queries], dtype=np.int64)
    expected = [0]
    for gap, service in zip(np.diff(due).tolist(), services.tolist(), strict=False):
        expected.append(max(0, expected[-1] + service - gap))
    assert lindley(due, services).tolist() == expected[: len(due)]


def test_the_formula_gives_the_known_values():
    assert mean_wait(0.5, 2.0) == 1.0
    assert mean_wait(0.8, 1.0) == pytest.approx(2.0)
    assert mean_wait(0.0, 1.0) == 0.0


def test_an_overloaded_machine_has_no_mean_wait():
    with pytest.raises(HarnessError, match="at 104% load"):
        mean_wait(1.04, 1.0)


@pytest.mark.parametrize("load", queueing.LOADS)
def test_the_arrivals_that_are_taken_wait_as_the_formula_says(load):
    due = queueing.drawn(load)
    assert lindley(due, np.ones(len(due))).mean() == pytest.approx(mean_wait(load, 1.0), rel=0.002)
    assert len(due) / due[-1] == pytest.approx(load, rel=0.05)
    gaps = np.diff(due)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.05)  # still what arrives at random


def test_what_is_late_beyond_the_recursion_shows_in_both_figures(monkeypatch):
    def late(*driven):
        done = ideal(*driven).samples
        later = done.start_ns + 1_000_000
        times = {"start_ns": later, "bound_ns": later, "synced_ns": later + 20_000_000, "end_ns": later + 20_000_000}
        return SimpleNamespace(samples=replace(done, **times))

    monkeypatch.setattr(queueing, "open_loop", late)
    figures = {figure.name: figure.value for figure in queueing.measure(lambda _word: None).figures}
    assert figures["mean wait / formula, 50% load"] == pytest.approx(1.1, rel=0.002)
    assert figures["mean wait / replayed, 80% load"] == pytest.approx(1.025, rel=0.002)


def test_what_fills_no_batch_is_left_out():
    assert batch_means(np.arange(41)).tolist() == [1.5 + 2 * index for index in range(20)]


def ideal(_streams, _work, _finish, arrivals):
    """Serve arrivals as the formula's server does, 20 milliseconds each."""
    services = np.full(len(arrivals), 20_000_000)
    start = arrivals.due_ns + lindley(arrivals.due_ns, services).astype(np.int64)
    zeros = np.zeros_like(start)
    end = start + services
    return SimpleNamespace(samples=Samples(zeros + 1, zeros, arrivals.due_ns, start, start, end, end))


def test_a_server_as_the_formula_has_it_passes(monkeypatch):
    monkeypatch.setattr(queueing, "open_loop", ideal)
    told = []
    measured = queueing.measure(told.append)
    figures = {figure.name: figure for figure in measured.figures}
    assert list(figures) == [
        "mean wait / formula, 50% load",
        "mean wait / replayed, 50% load",
        "mean wait / formula, 80% load",
        "mean wait / replayed, 80% load",
    ]
    assert {figure.verdict for figure in measured.figures} == {Verdict.PASS}
    assert figures["mean wait / replayed, 80% load"].value == pytest.approx(1)
    assert len(told) == len(measured.notes) == 2


def test_the_scripted_server_is_driven_for_real(tmp_path):
    stream, inputs = queueing._stream(tmp_path, 100.0)
    assert queueing._alone_ns(stream, inputs) >= 100_000
