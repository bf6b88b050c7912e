"""The benchmarks of history at a fraction of their size: what they draw, what they count, that a broken rule fails."""

import numpy as np
import pytest

from benchmarks import change_points, history
from benchmarks.figure import Verdict
from results.change_points import ChangePoint
from results.row import Interval


def told(_):
    """Hear progress and say nothing."""


def test_changes_are_found_and_few_are_said_where_none_are():
    measured = change_points.measure(told, series=15)
    found, *false = measured.figures
    assert found.value >= 0.6
    assert found.limit == change_points.FOUND
    assert len(false) == 4
    assert all(figure.value <= 0.2 and figure.limit == change_points.FALSE for figure in false)
    assert len(measured.notes) == 2


def test_a_search_that_finds_nothing_or_everything_fails(monkeypatch):
    monkeypatch.setattr(change_points, "change_points", lambda _: ())
    assert change_points.measure(told, series=100).figures[0].verdict is Verdict.FAIL
    wrong = ChangePoint(10, 1.0, 2.0, Interval(2.0, 1.9, 2.1, 10), 3, 0.005)
    monkeypatch.setattr(change_points, "change_points", lambda _: (wrong,))
    assert all(figure.verdict is Verdict.FAIL for figure in change_points.measure(told, series=100).figures)


def test_the_step_is_where_it_is_said_to_be(monkeypatch):
    monkeypatch.setattr(change_points, "_OUTLIERS", 0.0)
    drawn = np.log([change_points.stepped(np.random.default_rng(seed)) for seed in range(400)])
    assert np.median(drawn[:, 50:]) - np.median(drawn[:, :50]) == pytest.approx(np.log(1.05), abs=0.002)
    assert drawn[:, :50].std() == pytest.approx(0.02, abs=0.001)


def test_outliers_are_slower_and_few(monkeypatch):
    monkeypatch.setattr(change_points, "_SPREAD", 1e-9)
    generator = np.random.default_rng(1)
    drawn = np.array([change_points.history(generator, 60, 0.0) for _ in range(300)])
    assert np.mean(drawn > 10.001e6) == pytest.approx(0.03, abs=0.005)
    assert drawn.min() > 9.99e6


def test_histories_are_timed_in_a_process_of_its_own():
    pytest.importorskip("benchmarks.history_index")
    measured = history.measure(told, records=2000, cells=2)
    one, every, memory = measured.figures
    assert (one.samples, every.name) == (2, "2 histories in one go")
    assert one.value > 0
    assert 0.01 < memory.value < 4
    assert measured.notes[0].startswith("400 points in 2 histories")
