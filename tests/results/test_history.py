"""A history: what a point is, which way is worse, what changed around a change, and what acknowledging does."""

import math
from dataclasses import replace

import numpy as np
import pytest

from results.acknowledged import Acknowledgement
from results.changes import Difference
from results.history import Series, history
from results.points import Point

HARDWARE = "feedc0ffee12"


def point(index, value, *, launches=5, noisy=0, **changes):
    generator = np.random.default_rng([index, 77])
    scatter = np.exp(0.005 * (generator.standard_normal(launches) if launches > 1 else np.zeros(1)))
    fields = {
        "run_id": f"01RUN{index:04d}",
        "created_at": f"2026-{1 + index // 28:02d}-{1 + index % 28:02d}T06:00:00+00:00",
        "values": tuple(float(value) * scatter),
        "noisy": noisy,
        "env_id": "env-1",
        "revision": f"{index:040x}",
        "environment": {"versions": {"onnxruntime": "1.30.0"}, "revision": {"sha": f"{index:040x}", "dirty": False}},
        **changes,
    }
    return Point(**fields)


def series(levels, quantity="latency", spread=0.01, **changes):
    """Return points at ``levels``, (count, value) pairs, with a little noise of their own."""
    values = np.concatenate([np.full(count, value, dtype=float) for count, value in levels])
    values *= np.exp(spread * np.random.default_rng(5).standard_normal(len(values)))
    points = tuple(point(index, value) for index, value in enumerate(values))
    return Series("c" * 64, "toy/fake/fp32/cpu/b1/latency", quantity, HARDWARE, points, **changes)


def with_points(one, changed):
    return replace(one, points=tuple(changed.get(index, given) for index, given in enumerate(one.points)))


def acknowledgement(of, index, **changes):
    at = of.points[index]
    fields = {
        "cell_id": of.cell_id,
        "label": of.label,
        "quantity": of.quantity,
        "hw_id": of.hw_id,
        "run_id": at.run_id,
        "created_at": at.created_at,
        "acknowledged_on": "2026-12-01",
        **changes,
    }
    return Acknowledgement(**fields)


def test_a_change_is_told_with_its_runs_revisions_and_environment():
    given = series([(40, 10e6), (15, 11e6)])
    newer = {"versions": {"onnxruntime": "1.31.0"}, "governor": "powersave"}
    changed = {
        index: replace(given.points[index], env_id="env-2", environment=newer) for index in range(40, len(given.points))
    }
    found = history(with_points(given, changed))
    (shift,) = found.shifts
    assert (shift.index, shift.run_id, shift.before_run_id) == (40, "01RUN0040", "01RUN0039")
    assert shift.created_at == given.points[40].created_at
    assert (shift.before, shift.after) == pytest.approx((10e6, 11e6), rel=0.01)
    assert shift.effect.low < 1.1 < shift.effect.high
    assert shift.worse
    assert shift.worsening == pytest.approx(math.log(1.1), abs=0.01)
    assert shift.age == 15
    assert shift.revisions == (given.points[39].revision, given.points[40].revision)
    assert shift.causes == (
        Difference("versions.onnxruntime", "1.30.0", "1.31.0"),
        Difference("governor", None, "powersave"),
    )
    assert shift.causes_run_id == "01RUN0040"
    assert found.level.estimate == pytest.approx(11e6, rel=0.01)
    assert found.open == (shift,)
    assert found.worst == shift.worsening


@pytest.mark.parametrize("late", [-2, -1, 1, 2])
def test_an_environment_that_changed_a_run_or_two_beside_is_still_named(late):
    given = series([(40, 10e6), (15, 12e6)])
    newer = {"versions": {"onnxruntime": "1.31.0"}}
    changed = {
        index: replace(given.points[index], env_id="env-2", environment=newer)
        for index in range(40 + late, len(given.points))
    }
    (shift,) = history(with_points(given, changed)).shifts
    assert shift.causes == (Difference("versions.onnxruntime", "1.30.0", "1.31.0"),)
    assert shift.causes_run_id == f"01RUN{40 + late:04d}"


def test_a_new_revision_alone_is_a_range_and_no_cause():
    given = series([(40, 10e6), (15, 12e6)])
    changed = {index: replace(one, env_id=f"env-{index}") for index, one in enumerate(given.points)}
    (shift,) = history(with_points(given, changed)).shifts
    assert shift.causes == ()
    assert shift.revisions[0] != shift.revisions[1]


def test_runs_of_several_environments_are_one_series():
    given = series([(40, 10e6)])
    changed = {index: replace(one, env_id=f"env-{index % 3}") for index, one in enumerate(given.points)}
    found = history(with_points(given, changed))
    assert len(found.spots) == 40
    assert found.shifts == ()


@pytest.mark.parametrize(("quantity", "worse"), [("latency", True), ("throughput", False), ("p99", True)])
def test_which_way_is_worse_is_the_quantity_s(quantity, worse):
    given = series([(30, 100.0), (20, 130.0)], quantity)
    (shift,) = history(given).shifts
    assert shift.worse is worse
    assert (shift.worsening > 0) is worse


def test_accuracy_changes_by_points_and_may_be_zero():
    given = series([(20, 0.0), (20, 0.02), (20, 0.4)], "accuracy", spread=0.001)
    found = history(given)
    assert [shift.index for shift in found.shifts] == [20, 40]
    assert [shift.effect.estimate for shift in found.shifts] == pytest.approx([0.02, 0.38], abs=0.001)
    assert [shift.before for shift in found.shifts] == pytest.approx([0.0, 0.02], abs=0.001)
    assert not any(shift.worse for shift in found.shifts)
    assert found.level.estimate == pytest.approx(0.4, abs=0.001)
    assert found.level.low <= found.level.estimate <= found.level.high


def test_a_change_below_the_margin_of_its_quantity_is_none():
    assert history(series([(40, 100.0), (40, 107.0)], "load")).shifts == ()
    assert len(history(series([(40, 100.0), (40, 107.0)], "memory")).shifts) == 1


def test_a_point_is_the_median_of_its_launches():
    given = series([(20, 10e6)])
    spoilt = replace(given.points[7], values=(10e6, 10.1e6, 10.2e6, 90e6, 95e6), noisy=2)
    spot = history(with_points(given, {7: spoilt})).spots[7]
    assert (spot.value, spot.low, spot.high) == (10.2e6, 10e6, 95e6)
    assert (spot.launches, spot.noisy, spot.left_out) == (5, 2, "")


def test_a_point_of_mostly_noisy_launches_is_shown_and_left_out():
    given = series([(30, 10e6), (12, 11e6)])
    busy = {index: point(index, 14e6, noisy=3) for index in (5, 6, 7, 8, 30, 31)}
    found = history(with_points(given, busy))
    assert [index for index, spot in enumerate(found.spots) if spot.left_out] == list(busy)
    assert found.spots[5].left_out == "3 of 5 launches were noisy"
    assert found.notes == ("6 of 42 points are left out of the search for changes",)
    (shift,) = found.shifts
    assert shift.index == 32  # the first that is seen of the new level
    assert shift.before_run_id == "01RUN0029"


def test_misses_change_by_points_and_may_be_none():
    """Of no miss there is no ratio, and most cameras miss none."""
    given = series([(30, 0.0), (20, 0.0)], "misses")
    quiet = history(given)
    assert not any(spot.left_out for spot in quiet.spots)
    assert (quiet.shifts, quiet.level.estimate) == ((), 0.0)
    rarely = history(with_points(given, {index: point(index, 0.004) for index in range(30, 50)}))
    assert rarely.shifts == ()  # less than one frame in a hundred
    often = history(with_points(given, {index: point(index, 0.04) for index in range(30, 50)}))
    (shift,) = often.shifts
    assert (shift.index, shift.before, shift.worse) == (30, 0.0, True)
    assert (shift.after, shift.effect.estimate) == (pytest.approx(0.04, rel=0.01), pytest.approx(0.04, rel=0.01))


def test_a_size_of_nothing_is_part_of_no_ratio():
    found = history(with_points(series([(20, 10e6)], "memory"), {3: point(3, 0.0)}))
    assert found.spots[3].left_out == "0 is part of no ratio"
    assert found.shifts == ()


def test_few_launches_are_shown():
    given = series([(20, 10e6)])
    spot = history(with_points(given, {4: point(4, 10e6, launches=1)})).spots[4]
    assert (spot.launches, spot.low, spot.high) == (1, spot.value, spot.value)


def test_an_acknowledged_change_is_shown_and_alarms_no_more():
    given = series([(40, 10e6), (20, 11e6)])
    (before,) = history(given).shifts
    taken = acknowledgement(given, before.index, reason="a new compiler")
    found = history(given, [taken])
    (shift,) = found.shifts
    assert shift.acknowledgement == taken
    assert shift.effect == before.effect
    assert found.open == ()
    assert found.worst == -math.inf


def test_after_an_acknowledged_change_the_new_level_is_the_one_to_hold():
    given = series([(40, 10e6), (20, 11e6), (15, 12.2e6)])
    taken = acknowledgement(given, 40)
    found = history(given, [taken])
    assert [shift.acknowledgement for shift in found.shifts] == [taken, None]
    (open_,) = found.open
    assert open_.index == pytest.approx(60, abs=1)
    assert open_.before == pytest.approx(11e6, rel=0.01)


@pytest.mark.parametrize("change", [{"cell_id": "d" * 64}, {"quantity": "throughput"}, {"hw_id": "other"}])
def test_an_acknowledgement_of_another_series_is_none_of_this(change):
    given = series([(40, 10e6), (20, 11e6)])
    assert len(history(given, [acknowledgement(given, 40, **change)]).open) == 1


def test_where_the_acknowledged_run_is_gone_its_date_stands_in():
    given = series([(40, 10e6), (20, 11e6)])
    taken = acknowledgement(given, 40, run_id="gone")
    (shift,) = history(given, [taken]).shifts
    assert shift.index == 40
    assert shift.acknowledgement == taken


def test_an_acknowledgement_from_before_the_window_or_after_it_is_let_lie():
    given = series([(30, 10e6)])
    early = acknowledgement(given, 0, run_id="gone", created_at="2020-01-01T00:00:00+00:00")
    late = acknowledgement(given, 0, run_id="gone", created_at="2030-01-01T00:00:00+00:00")
    first = acknowledgement(given, 0)
    assert history(given, [early, late, first]).shifts == ()


def test_no_points_are_no_history():
    empty = history(replace(series([(1, 10e6)]), points=()), [acknowledgement(series([(1, 10e6)]), 0)])
    assert (empty.spots, empty.shifts, empty.level, empty.notes) == ((), (), None, ())


def test_a_value_of_all_launches_together_has_no_number_of_launches():
    (spot,) = history(Series("cell", "a/label", "p99", "hw", (point(0, 2e6, launches=1, by_launch=False),))).spots
    assert (spot.launches, spot.value, spot.left_out) == (0, 2e6, "")


def test_a_pooled_point_of_a_noisy_run_is_left_out():
    given = series([(20, 10e6)], "p99")
    spoilt = replace(given.points[3], values=(10e6,), noisy=1, by_launch=False)
    spot = history(with_points(given, {3: spoilt})).spots[3]
    assert (spot.launches, spot.left_out) == (0, "most launches were noisy")
