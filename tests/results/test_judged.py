"""Each rule by figures worked out by hand."""

import math

import numpy as np
import pytest

from results.comparison import Design, Verdict
from results.judged import Subject, family_size, judged
from results.quantities import quantity
from results.snapshot import Reading

REGRESSED, IMPROVED, EQUIVALENT, INCONCLUSIVE = (
    Verdict.REGRESSED,
    Verdict.IMPROVED,
    Verdict.EQUIVALENT,
    Verdict.INCONCLUSIVE,
)
WOBBLE = np.exp(0.01 * np.resize([1, -1], 10))


def launched(values, noisy=(), name="latency"):
    return Reading(name, tuple(map(float, values)), tuple(range(len(values))), tuple(noisy))


def subject(name, before, after, **changes):
    known = quantity(name)
    return Subject(
        **{"key": "k", "label": "cell", "quantity": known, "margin": known.margin, **changes},
        before=before,
        after=after,
    )


def one(name, before, after, design=Design.APART, **changes):
    return judged([subject(name, before, after, **changes)], design=design)[0]


def bounded(name, before, after):
    first, second = (Reading(name, (value,), low=low, high=high) for low, value, high in (before, after))
    return one(name, first, second)


def test_latency_by_welch_as_by_hand():
    # Logarithms ±0.01: variance 10 · 1e-4 / 9 a side, error √(2 · 1.1111e-4 / 10) = 0.0047140; t(18, 97.5 %) = 2.10092.
    change = one("latency", launched(100 * WOBBLE), launched(105 * WOBBLE))
    assert change.verdict is REGRESSED
    assert change.effect.estimate == pytest.approx(1.05)
    assert change.effect.low == pytest.approx(1.05 * math.exp(-0.0099038), rel=1e-6)
    assert change.effect.high == pytest.approx(1.05 * math.exp(0.0099038), rel=1e-6)
    assert (change.before, change.after) == (pytest.approx(100), pytest.approx(105))
    assert change.message == "median latency +5.0 % [+4.0 %, +6.0 %]"
    assert (change.margin, change.launches_needed) == (0.03, None)
    assert change.power > 0.99


@pytest.mark.parametrize(
    ("name", "factor", "verdict"),
    [
        ("latency", 1.05, REGRESSED),
        ("latency", 1 / 1.05, IMPROVED),
        ("latency", 1.001, EQUIVALENT),
        ("throughput", 1.05, IMPROVED),
        ("throughput", 1 / 1.05, REGRESSED),
        ("load", 1.05, EQUIVALENT),
        ("load", 1.2, REGRESSED),
        ("first", 1 / 1.2, IMPROVED),
        ("rate", 1 / 1.1, REGRESSED),
        ("sustained", 1.1, IMPROVED),
    ],
)
def test_by_launch_each_by_its_own_margin_and_direction(name, factor, verdict):
    assert one(name, launched(100 * WOBBLE, name=name), launched(factor * 100 * WOBBLE, name=name)).verdict is verdict


def test_a_margin_of_each_member_is_its_own():
    pair = launched(100 * WOBBLE), launched(105 * WOBBLE)
    wide, narrow = judged([subject("latency", *pair, margin=0.10), subject("latency", *pair, margin=0.03)])
    assert (wide.verdict, narrow.verdict) == (EQUIVALENT, REGRESSED)


def test_what_is_not_gated_costs_the_gated_nothing():
    pair = launched(100 * WOBBLE), launched(102 * np.roll(WOBBLE, 1))
    gated = subject("latency", *pair, gated=True)
    others = [subject("latency", *pair, key=f"other {n}") for n in range(40)]
    alone, crowd = judged([gated])[0], judged([gated, *others])
    assert crowd[0] == alone
    assert crowd[1].adjusted_p > alone.adjusted_p
    assert family_size(crowd) == 1


def test_load_time_is_tested_by_itself():
    pair = launched(100 * WOBBLE, name="load"), launched(112 * WOBBLE, name="load")
    changes = judged([subject("load", *pair) for _ in range(40)])
    assert changes[0].adjusted_p == judged([subject("load", *pair)])[0].adjusted_p


def test_noisy_launches_are_left_out_where_five_quiet_ones_stay_on_each_side():
    loud = 100 * WOBBLE
    loud[3] *= 20
    change = one("latency", launched(100 * WOBBLE), launched(loud, noisy=[3]))
    assert change.verdict is EQUIVALENT
    assert change.notes == ("noisy launches left out: 1 of 10 after",)
    assert change.effect.launches == 9
    both = one("latency", launched(100 * WOBBLE, noisy=[0, 1]), launched(loud, noisy=[3]))
    assert both.notes == ("noisy launches left out: 2 of 10 before, 1 of 10 after",)


def test_noisy_launches_count_where_too_few_would_stay():
    change = one("latency", launched(100 * WOBBLE), launched(100 * WOBBLE[:5], noisy=[4]))
    assert change.notes == ("noisy launches counted, too few are quiet: 1 of 5 after",)
    assert change.effect.launches == 5


def test_a_noisy_launch_takes_its_round_along():
    drift = np.exp(np.linspace(0, 0.5, 10))
    loud = 1.05 * 100 * drift * WOBBLE
    loud[2] *= 9
    change = one("latency", launched(100 * drift), launched(loud, noisy=[2]), design=Design.INTERLEAVED)
    assert change.verdict is REGRESSED
    assert change.notes == ("noisy rounds left out: 1 of 10",)
    assert change.effect.launches == 9
    few = one("latency", launched(100 * drift[:5]), launched(loud[:5], noisy=[2]), design=Design.INTERLEAVED)
    assert few.notes == ("noisy rounds counted, too few are quiet: 1 of 5",)


def test_rounds_of_one_side_are_told():
    after = Reading("latency", (100.0, 101.0, 102.0), (0, 1, 7))
    change = one("latency", launched([100, 101, 99]), after, design=Design.INTERLEAVED)
    assert change.effect.launches == 2
    assert change.notes == ("launches without their like on the other side left out: 2",)
    apart = one("latency", launched([100, 101]), Reading("latency", (1.0, 2.0), (8, 9)), design=Design.INTERLEAVED)
    assert apart.verdict is INCONCLUSIVE
    assert apart.message == "median latency: the two sides have no round in common"


@pytest.mark.parametrize("design", list(Design))
def test_one_launch_is_no_answer_and_no_member_of_the_family(design):
    lone = subject("latency", launched([100]), launched([200]), gated=True)
    full = subject("latency", launched(100 * WOBBLE), launched(105 * WOBBLE), gated=True)
    first, second = judged([lone, full], design=design)
    assert first.verdict is INCONCLUSIVE
    assert "at least two launches a side" in first.message
    assert (first.effect.estimate, first.power) == (pytest.approx(2.0), None)
    assert second == judged([full], design=design)[0]
    assert family_size([first, second]) == 1


def test_a_value_that_cannot_be_is_no_answer():
    change = one("latency", launched([100, 0]), launched([100, 101]))
    assert (change.verdict, change.effect) == (INCONCLUSIVE, None)
    assert "not above 0" in change.message


def test_an_open_question_says_what_would_answer_it():
    values = 100 * np.exp(0.05 * np.resize([1, -1], 10))
    change = one("latency", launched(values), launched(1.01 * values))
    assert change.verdict is INCONCLUSIVE
    assert f"about {change.launches_needed} launches would" in change.message


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((9.5, 10, 10.5), (11.6, 12, 12.4), REGRESSED),  # 11.6 ≥ 1.1 · 10.5
        ((9.5, 10, 10.5), (11.5, 12, 12.4), INCONCLUSIVE),  # 11.5 < 11.55
        ((11.6, 12, 12.4), (9.5, 10, 10.5), IMPROVED),
        ((9.9, 10, 10.1), (9.9, 10.1, 10.3), EQUIVALENT),  # 10.3 < 1.1 · 9.9 and 10.1 < 1.1 · 9.9
        ((9.9, 10, 10.1), (9.9, 10.1, 10.9), INCONCLUSIVE),  # 10.9 > 10.89
    ],
)
def test_percentiles_by_their_intervals(before, after, verdict):
    change = bounded("p99", before, after)
    assert change.verdict is verdict
    assert change.effect.estimate == pytest.approx(after[1] / before[1])
    assert change.effect.low == pytest.approx(after[0] / before[2])
    assert change.effect.high == pytest.approx(after[2] / before[0])
    assert (change.before, change.after) == (before[1], after[1])
    assert change.message.startswith("99th percentile of latency ")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((0, 0, 0.003), (0.03, 0.05, 0.08), REGRESSED),
        ((0.03, 0.05, 0.08), (0, 0, 0.003), IMPROVED),
        ((0, 0, 0.003), (0, 0, 0.004), EQUIVALENT),
        ((0, 0, 0.03), (0, 0, 0.004), INCONCLUSIVE),  # too few frames to say so
        ((0, 0, 0.003), (0.0001, 0.002, 0.006), EQUIVALENT),
        ((0, 0, 0.03), (0.01, 0.05, 0.08), INCONCLUSIVE),
        ((0.01, 0.02, 0.03), (0.04, 0.05, 0.06), REGRESSED),
        ((0.1, 0.11, 0.12), (0.1, 0.11, 0.12), INCONCLUSIVE),  # 0.12 > 1.1 · 0.1
    ],
)
def test_misses_are_told_where_there_is_no_ratio(before, after, verdict):
    change = bounded("misses", before, after)
    assert change.verdict is verdict
    assert (change.effect is None) == (before[1] == 0 or after[1] == 0)


def test_misses_of_none_are_shown_as_shares():
    change = bounded("misses", (0, 0, 0.003), (0.03, 0.05, 0.08))
    assert change.message == "deadline misses 0 % [0, 0.3] → 5 % [3, 8]: the intervals lie 10 % or more apart"


def test_a_lower_bound_of_none_leaves_the_ratio_open_above():
    change = bounded("misses", (0, 0.001, 0.003), (0.03, 0.05, 0.08))
    assert (change.verdict, change.effect.high) == (REGRESSED, None)


def test_a_side_without_an_interval_is_no_answer():
    change = one("p99", Reading("p99", (10.0,), low=9.0, high=11.0), Reading("p99", (20.0,)))
    assert (change.verdict, change.effect) == (INCONCLUSIVE, None)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([100, 101, 102], [110, 111, 112], REGRESSED),
        ([110, 111, 112], [100, 101, 102], IMPROVED),
        ([100, 101, 102], [101.5, 111, 112], INCONCLUSIVE),  # 102 > 101.5
        ([100, 101, 102], [103, 104, 105], EQUIVALENT),  # 104 / 101 = 1.0297
        ([100, 101, 102], [100, 101, 300], EQUIVALENT),  # the median is what counts
        ([100], [200], INCONCLUSIVE),
    ],
)
def test_memory_by_medians_and_ranges(before, after, verdict):
    change = one("memory", launched(before, name="memory"), launched(after, name="memory"))
    assert change.verdict is verdict
    assert (change.before, change.after) == (np.median(before), np.median(after))


def test_a_size_has_no_launches_of_its_own():
    change = one("size", Reading("size", (1000.0,)), Reading("size", (1060.0,)))
    assert change.verdict is REGRESSED
    assert change.message == "size of the artifact +6.0 %"
    assert one("size", Reading("size", (1000.0,)), Reading("size", (1000.0,))).verdict is EQUIVALENT
    assert one("size", Reading("size", (0.0,)), Reading("size", (9.0,))).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(0.850, 0.845, REGRESSED), (0.850, 0.846, EQUIVALENT), (0.845, 0.850, IMPROVED), (0.3, 0.3, EQUIVALENT)],
)
def test_accuracy_in_points(before, after, verdict):
    change = one("accuracy", *(Reading("accuracy", (value,), name="top1") for value in (before, after)))
    assert change.verdict is verdict
    assert change.effect.estimate == pytest.approx(after - before)
    assert change.message.startswith("top1 ")


def test_one_metric_is_not_held_against_another():
    change = one("accuracy", Reading("accuracy", (0.5,), name="top1"), Reading("accuracy", (0.9,), name="map50"))
    assert (change.verdict, change.message) == (INCONCLUSIVE, "accuracy: top1 is not map50")


def test_the_message_has_a_true_minus():
    change = one("accuracy", *(Reading("accuracy", (value,), name="top1") for value in (0.85, 0.8)))
    assert change.message == "top1 −5.00 points"
