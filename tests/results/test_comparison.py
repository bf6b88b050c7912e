"""Two sides of launches: effects, verdicts, families, and what holds of them whatever the numbers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from results.comparison import LEVEL, LOOKS, Design, Margin, Measure, Side, Verdict, compare
from results.statistics import holm

TWO_DESIGNS = pytest.mark.parametrize("design", list(Design))


def side(values, measure=Measure.LATENCY):
    return Side(dict(enumerate(float(value) for value in values)), measure)


def drawn(seed, ratio=1.0, spread=0.02, launches=10, measure=Measure.LATENCY):
    values = 5e6 * np.exp(np.random.default_rng(seed).normal(0, spread, (2, launches)))
    return side(values[0], measure), side(ratio * values[1], measure)


def one(before, after, **how):
    return compare({"cell": (before, after)}, **how)["cell"]


launches = st.lists(st.floats(0.9, 1.1), min_size=2, max_size=8)
families = st.lists(st.tuples(launches, launches), min_size=1, max_size=4)


def family_of(pairs, measure=Measure.LATENCY):
    return {f"cell {i}": (side(before, measure), side(after, measure)) for i, (before, after) in enumerate(pairs)}


def off_the_edge(compared, margin=0.03, level=LEVEL):
    """Say whether rounding cannot move the verdict."""
    edges = [abs(math.log(compared.effect.estimate)) - math.log1p(margin), compared.adjusted_p - level]
    edges += [abs(math.log(bound)) - math.log1p(margin) for bound in compared.equivalence or ()]
    edges.append(math.log(compared.effect.estimate))
    return all(abs(edge) > 1e-9 for edge in edges)


def test_the_effect_is_welchs_ratio_with_its_interval():
    before, after = drawn(1, ratio=1.05)
    expected = stats.ttest_ind(
        np.log(list(after.launches.values())), np.log(list(before.launches.values())), equal_var=False
    )
    compared = one(before, after)
    interval = expected.confidence_interval(0.95)
    assert (math.log(compared.effect.low), math.log(compared.effect.high)) == pytest.approx(
        (interval.low, interval.high)
    )
    assert compared.effect.launches == 10
    assert compared.p == pytest.approx(expected.pvalue / 2)


@TWO_DESIGNS
@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (1.10, Verdict.REGRESSED),
        (1 / 1.10, Verdict.IMPROVED),
        (1.0, Verdict.EQUIVALENT),
        (1.0295, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts_of_clear_cases(ratio, verdict, design):
    wobble = 0.005 * np.resize([1, -1], 10)
    before, after = side(np.exp(wobble)), side(ratio * np.exp(-wobble))
    assert one(before, after, design=design).verdict is verdict


@TWO_DESIGNS
def test_throughput_is_mirrored(design):
    slower = drawn(2, ratio=1.2)
    rates = tuple(side([1 / value for value in one_side.launches.values()], Measure.THROUGHPUT) for one_side in slower)
    latency, throughput = one(*slower, design=design), one(*rates, design=design)
    assert latency.verdict is throughput.verdict is Verdict.REGRESSED
    assert throughput.effect.estimate == pytest.approx(1 / latency.effect.estimate)
    assert (throughput.p, throughput.adjusted_p) == pytest.approx((latency.p, latency.adjusted_p))
    assert "throughput −" in throughput.message
    assert "latency +" in latency.message


def test_a_change_below_the_margin_is_no_regression_however_certain():
    wobble = 1e-4 * np.resize([1, -1], 20)
    compared = one(side(np.exp(wobble)), side(1.02 * np.exp(wobble[::-1])))
    assert compared.adjusted_p < 1e-10
    assert compared.verdict is Verdict.EQUIVALENT
    assert "inside ±3 %" in compared.message


def test_a_noisy_machine_says_how_many_launches_would_do():
    compared = one(*drawn(3, spread=0.04, launches=5))
    assert compared.verdict is Verdict.INCONCLUSIVE
    assert compared.power < 0.5
    assert compared.launches_needed > 15
    assert f"cannot tell 3 % from none; about {compared.launches_needed} launches would" in compared.message


def test_no_number_of_launches_is_promised_where_none_is_practicable():
    compared = one(*drawn(4, spread=1.0))
    assert compared.launches_needed is None
    assert "not even with 1,000 launches" in compared.message


def test_a_change_at_the_margin_stays_open_though_the_machine_is_quiet():
    wobble = 0.002 * np.resize([1, -1], 10)
    compared = one(side(np.exp(wobble)), side(1.0295 * np.exp(wobble)))
    assert compared.verdict is Verdict.INCONCLUSIVE
    assert compared.power > 0.99
    assert "is open" in compared.message


@TWO_DESIGNS
def test_one_launch_a_side_is_inconclusive(design):
    compared = one(side([1.0]), side([2.0]), design=design)
    assert compared.verdict is Verdict.INCONCLUSIVE
    assert (compared.p, compared.power, compared.launches_needed, compared.equivalence) == (1.0, None, None, None)
    assert "at least two launches" in compared.message


def test_launches_without_any_spread_are_judged():
    assert one(side([1.0, 1.0]), side([2.0, 2.0])).verdict is Verdict.REGRESSED
    assert one(side([1.0, 1.0]), side([1.0, 1.0])).verdict is Verdict.EQUIVALENT


def test_pairs_cancel_what_a_round_does_to_both():
    drift = np.exp(np.random.default_rng(5).normal(0, 0.2, 10))
    before, after = side(drift), side(1.06 * drift * np.exp(0.001 * np.arange(10)))
    assert one(before, after, design=Design.INTERLEAVED).verdict is Verdict.REGRESSED
    assert one(before, after).verdict is Verdict.INCONCLUSIVE


def test_only_common_rounds_are_paired():
    before, after = Side({0: 1.0, 1: 1.1, 9: 70.0}), Side({0: 1.0, 1: 1.1, 5: 0.1})
    assert one(before, after, design=Design.INTERLEAVED).effect.launches == 2
    with pytest.raises(ValueError, match="round"):
        one(Side({0: 1.0}), Side({1: 1.0}), design=Design.INTERLEAVED)


def test_the_family_is_judged_together():
    alone = one(*drawn(11, ratio=1.045))
    crowd = {"cell": drawn(11, ratio=1.045)} | {f"other {i}": drawn(100 + i) for i in range(40)}
    among = compare(crowd)["cell"]
    assert alone.p == among.p
    assert alone.adjusted_p < among.adjusted_p
    assert alone.power > among.power
    assert alone.launches_needed < among.launches_needed


def test_improvements_and_regressions_are_families_of_their_own():
    worse = [drawn(20 + i, ratio=1.1) for i in range(3)]
    compared = compare({"better": drawn(30, ratio=0.9), **{f"worse {i}": pair for i, pair in enumerate(worse)}})
    expected = holm([c.p if name != "better" else 1.0 for name, c in compared.items()])
    assert [c.adjusted_p for c in compared.values()][1:] == pytest.approx(expected[1:])


def test_two_looks_share_the_level():
    assert math.fsum(LOOKS) == pytest.approx(LEVEL)
    pair = drawn(6, ratio=1.045)
    strict, whole = one(*pair, level=LOOKS[0]), one(*pair)
    assert strict.equivalence[0] < whole.equivalence[0] < whole.equivalence[1] < strict.equivalence[1]
    assert strict.power < whole.power


@pytest.mark.parametrize(
    ("family", "how", "words"),
    [
        ((side([1.0]), side([1.0], Measure.THROUGHPUT)), {}, "latency is not compared with throughput"),
        ((side([]), side([1.0])), {}, "at least one launch"),
        ((side([1.0]), side([0.0])), {}, "positive"),
        ((side([1.0]), side([1.0])), {"level": 0.5}, "level"),
        ((side([1.0]), side([1.0])), {"level": 0.0}, "level"),
    ],
)
def test_what_cannot_be_compared_is_refused(family, how, words):
    with pytest.raises(ValueError, match=words):
        compare({"cell": family}, **how)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0, math.nan])
def test_a_margin_is_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Margin(share)


def test_an_empty_family_has_no_verdicts():
    assert compare({}) == {}


@given(families, st.floats(1e-6, 1e9), st.sampled_from(Measure))
def test_the_unit_changes_nothing(pairs, unit, measure):
    plain = compare(family_of(pairs, measure))
    scaled = compare(family_of([([v * unit for v in b], [v * unit for v in a]) for b, a in pairs], measure))
    for name, compared in plain.items():
        other = scaled[name]
        assert other.effect.estimate == pytest.approx(compared.effect.estimate)
        if off_the_edge(compared) and compared.power < 1:
            assert other.adjusted_p == pytest.approx(compared.adjusted_p, rel=1e-3, abs=1e-6)
            assert other.verdict is compared.verdict


@given(families, st.sampled_from(Measure))
def test_swapping_the_sides_swaps_the_verdicts(pairs, measure):
    mirror = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}
    forth = compare(family_of(pairs, measure))
    back = compare(family_of([(after, before) for before, after in pairs], measure))
    for name, compared in forth.items():
        assume(off_the_edge(compared))
        other = back[name]
        assert other.effect.estimate == pytest.approx(1 / compared.effect.estimate)
        assert (other.p, other.adjusted_p) == pytest.approx((compared.p, compared.adjusted_p))
        assert other.verdict is mirror.get(compared.verdict, compared.verdict)


@given(families, st.tuples(launches, launches))
def test_a_further_cell_never_lowers_an_adjusted_p(pairs, further):
    fewer, more = compare(family_of(pairs)), compare(family_of([*pairs, further]))
    for name, compared in fewer.items():
        assert more[name].p == compared.p
        assert more[name].adjusted_p >= compared.adjusted_p >= compared.p
        assert (more[name].power or 0) <= (compared.power or 0) + 1e-9


@given(families, st.floats(0.005, 0.2), st.sampled_from([LEVEL, *LOOKS]))
def test_verdicts_say_what_they_mean(pairs, share, level):
    for compared in compare(family_of(pairs), Margin(share), level).values():
        change = abs(math.log(compared.effect.estimate))
        if compared.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}:
            assert change >= math.log1p(share)
            assert compared.adjusted_p < level
            assert (compared.effect.estimate > 1) == (compared.verdict is Verdict.REGRESSED)
        if compared.verdict is Verdict.EQUIVALENT:
            assert all(abs(math.log(bound)) < math.log1p(share) for bound in compared.equivalence)
            assert change < math.log1p(share)


@given(launches, launches, st.floats(0.005, 0.1), st.floats(1.1, 3))
def test_a_wider_margin_never_makes_equivalence_harder(before, after, share, factor):
    narrow = one(side(before), side(after), margin=Margin(share))
    wide = one(side(before), side(after), margin=Margin(share * factor))
    if narrow.verdict is Verdict.EQUIVALENT:
        assert wide.verdict is Verdict.EQUIVALENT
    assert wide.power >= narrow.power - 1e-9
    assert (wide.launches_needed or 1001) <= (narrow.launches_needed or 1001)
