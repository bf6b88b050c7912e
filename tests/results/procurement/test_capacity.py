from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.vocabulary import Failed, Skipped, Stage
from results.procurement.capacity import Missing, capacity, ceiling, least_limit, spread
from results.procurement.demand import Slo
from results.procurement.offers import Capacity, Constraint
from results.procurement.power import FULL_LOAD, ONE_STREAM, metered, power_mode
from results.row import Interval, Quantile
from results.statistics import rate_interval

MS = 1e6
P99 = Slo(99.0, 33 * MS)


def the_missing(found):
    """The one thing that keeps a row from having a capacity."""
    assert not isinstance(found, Capacity)
    (missing,) = found
    return missing


def test_the_best_soak_says_what_is_sustained(make):
    row = make.row("a", soaks=(make.soak(90, streams=2), make.soak(100, streams=8), make.soak(95)))
    found = capacity(row, None, make.source())
    assert found.items_per_s == Interval(100, pytest.approx(99), pytest.approx(101), 1)
    assert found.basis == ("sustained over 600 s (soak, 8 streams)",)
    assert (found.streams, found.at_least, found.by_launch) == (8, False, None)
    assert ceiling(row) == pytest.approx(101)


def test_a_soak_is_one_launch_and_wins_beside_five_under_load_alone(make):
    soak = make.soak(100, streams=4)
    alone = make.row("a", soaks=(soak,), throughputs=())
    missing = the_missing(capacity(alone, None, make.source()))
    assert missing == Missing(
        Constraint.TRUST,
        "its soak is one launch, and beside it no launch of throughput with 4 streams, server or camera: 5 are needed "
        "for a recommendation",
        "run throughput beside its soak, with as many streams and the preset `default` or above",
    )
    assert ceiling(alone) is None
    for beside in (
        {"throughputs": (make.throughput(110, streams=2),)},
        {"throughputs": (make.throughput(110, factors=(1.0,) * 4),)},
        {"servers": (make.server({50: 10}, launches=4),)},
        {"cameras": (make.camera(launches=4),)},
    ):
        assert the_missing(capacity(replace(alone, **beside), None, None)).constraint is Constraint.TRUST
    for beside in (
        {"throughputs": (make.throughput(110),)},
        {"servers": (make.server({50: 99}, streams=1),)},
        {"cameras": (make.camera(missed=100),)},
    ):
        assert capacity(replace(alone, **beside), None, None).items_per_s.estimate == 100


def test_a_soak_that_is_the_only_one_replicated_counts_whatever_the_others_held(make):
    row = make.row("a", soaks=(make.soak(90, streams=2), make.soak(100, streams=8)))
    half = replace(row, throughputs=row.throughputs[:1])
    assert capacity(half, None, None).streams == 2


def test_the_spread_of_launches_is_in_the_interval_of_a_soak(make):
    row = make.row("a", soaks=(make.soak(100, spread=0.01),), throughputs=(make.throughput(110, factors=make.SPREAD),))
    reach = stats.t.ppf(0.975, 4) * np.std(np.log(make.SPREAD), ddof=1)
    assert spread(row, 4) == pytest.approx(reach)
    found = capacity(row, None, None).items_per_s
    assert np.log(100 / found.low) == pytest.approx(np.hypot(np.log(1 / 0.99), reach))
    assert np.log(found.high / 100) == pytest.approx(np.hypot(np.log(1.01), reach))
    assert found.launches == 1
    assert spread(row, 8) is None
    assert spread(replace(row, throughputs=(make.throughput(110, factors=(1.0, 1.1)),)), 4) is None
    assert spread(replace(row, throughputs=(make.throughput(110, factors=(1.0, 1.0, 0.0, 1.0, 1.0)),)), 4) is None


def test_a_soak_without_an_interval_gets_none_from_launches(make):
    soak = replace(make.soak(100), ratio=Interval(0.9, None, None, 1))
    row = make.row("a", soaks=(soak,), throughputs=(make.throughput(110, factors=make.SPREAD),))
    assert capacity(row, None, None).items_per_s == Interval(100, None, None, 1)


def test_nothing_is_ever_taken_from_a_burst(make):
    missing = the_missing(capacity(make.row("a", servers=(make.server({500: 5}),)), None, make.source()))
    assert missing.constraint is Constraint.SUSTAINED
    assert missing.to_do == "add the scenario soak to the suite"
    assert ceiling(make.row("a")) is None


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Failed(Stage.STEADY, "crash", "signal 11", "see its log"), "soak failed at steady: signal 11"),
        (Skipped("no time left", "resume the run"), "soak was not run: no time left"),
    ],
)
def test_a_soak_that_gave_nothing_is_told(make, outcome, words):
    missing = the_missing(capacity(make.row("a", outcomes={"soak": outcome}), None, make.source()))
    assert words in missing.reason
    assert missing.to_do == outcome.hint


@pytest.mark.parametrize("rate", [0.0, float("nan"), float("inf")])
def test_a_soak_that_did_nothing_sustains_nothing(make, rate):
    row = make.row("a", soaks=(replace(make.soak(1.0), sustained=rate),))
    assert the_missing(capacity(row, None, make.source())).constraint is Constraint.SUSTAINED


def test_a_server_limits_what_a_soak_sustains(make):
    row = make.row("a", 100, servers=(make.server({50: 10, 60: 30, 80: 50, 90: 90}),))
    found = capacity(row, P99, make.source())
    assert found.items_per_s.estimate == pytest.approx(60)
    assert found.items_per_s.low < 60 < found.items_per_s.high
    assert found.items_per_s.launches == 5
    assert found.basis == ("p99 ≤ 33 ms (server, 4 streams)", "sustained over 600 s (soak, 4 streams)")
    assert found.by_launch == {index: 60 * factor for index, factor in enumerate(make.SPREAD)}
    assert not found.at_least


def test_a_soak_limits_what_a_server_held_for_a_moment(make):
    row = make.row("a", 40, servers=(make.server({50: 10, 60: 50}),))
    found = capacity(row, P99, make.source())
    assert found.items_per_s.estimate == 40
    assert found.basis[0].startswith("sustained")
    assert found.by_launch is None


def test_the_soak_with_as_many_streams_goes_with_a_server(make):
    soaks = (make.soak(40, streams=1), make.soak(100, streams=8))
    row = make.row("a", soaks=soaks, servers=(make.server({50: 10, 60: 50}, streams=1),))
    assert capacity(row, P99, make.source()).items_per_s.estimate == 40
    other = make.row("a", soaks=soaks, servers=(make.server({50: 10, 60: 50}, streams=2),))
    assert capacity(other, P99, make.source()).items_per_s.estimate == pytest.approx(50)


def test_the_highest_rate_tried_says_at_least(make):
    row = make.row("a", 100, servers=(make.server({50: 10, 60: 30}),))
    assert capacity(row, P99, make.source()).at_least


def test_a_backlog_without_end_keeps_no_slo(make):
    row = make.row("a", 100, servers=(make.server({50: 10}, stable=False),))
    assert the_missing(capacity(row, P99, make.source())).constraint is Constraint.SLO


def test_another_limit_is_judged_by_the_percentile_that_was_seen(make):
    row = make.row("a", 100, servers=(make.server({50: 10, 60: 30, 80: 50, 90: 90}),))
    assert capacity(row, Slo(99, 60 * MS), make.source()).items_per_s.estimate == pytest.approx(80)
    assert capacity(row, Slo(99, 20 * MS), make.source()).items_per_s.estimate == pytest.approx(50)
    missing = the_missing(capacity(row, Slo(99, 5 * MS), make.source()))
    assert missing.reason == "no rate meets p99 ≤ 5 ms; the lowest seen was 10.0 ms"


def test_a_higher_percentile_vouches_for_a_lower_one_and_not_the_other_way_round(make):
    row = make.row("a", 100, servers=(make.server({50: 30, 60: 90}, percentile=99.0),))
    assert isinstance(capacity(row, Slo(95, 33 * MS), make.source()), Capacity)
    missing = the_missing(capacity(row, Slo(99.9, 20 * MS), make.source()))
    assert missing.constraint is Constraint.SLO


def test_late_queries_tell_a_higher_percentile_of_a_wider_limit(make):
    server = make.server({50: 30, 60: 90}, percentile=90.0, effective=10_000.0)
    row = make.row("a", 100, servers=(server,))
    assert isinstance(capacity(row, Slo(99, 40 * MS), make.source()), Capacity)
    missing = the_missing(capacity(row, Slo(99, 20 * MS), make.source()))
    assert "does not tell p99" in missing.reason
    assert missing.to_do == "run its server scenario with slo_percentile: 99"


def test_launches_that_carry_the_percentile_only_together_count_at_their_lowest_rate(make):
    """The report calls the mean of their rates undecided; that all of them kept the lowest is told by all queries."""
    server = make.server({50: 10, 90: 99}, effective=100.0, verdict="undecided")
    found = capacity(make.row("a", 100, servers=(server,)), P99, make.source())
    rates = [50 * factor for factor in make.SPREAD]
    assert found.items_per_s.estimate == min(rates)
    assert found.items_per_s.high == pytest.approx(rate_interval(rates).high)
    assert found.items_per_s.low == min(rates) < rate_interval(rates).low
    assert found.basis[0] == (
        "p99 ≤ 33 ms (server, 4 streams, at the lowest rate that launches kept: only together they carry p99)"
    )
    assert not found.at_least


def test_too_few_queries_in_all_launches_decide_nothing(make):
    row = make.row("a", 100, servers=(make.server({50: 10, 90: 99}, effective=50.0, verdict="undecided"),))
    missing = the_missing(capacity(row, P99, make.source()))
    assert missing.constraint is Constraint.SLO
    assert missing.reason == (
        "undecided, n is too small for p99: 250 independent queries, 368 are needed, about 1.5 times as many"
    )
    assert missing.to_do == "raise `seconds` of its server scenario"
    assert isinstance(capacity(row, Slo(90, 33 * MS), make.source()), Capacity), "p90 takes fewer"


def test_a_lower_rate_with_queries_enough_counts_where_a_higher_one_has_too_few(make):
    server = make.server({50: 10, 60: 10, 90: 99}, verdict="undecided")
    thin = tuple(
        replace(one, response=replace(one.response, effective_samples=20.0)) if one.rate_hz > 55 else one
        for one in server.tried
    )
    found = capacity(make.row("a", 100, servers=(replace(server, tried=thin),)), P99, make.source())
    # At the highest of its five rates near 50 one launch has queries enough, and the others kept a higher one.
    assert found.items_per_s.estimate == pytest.approx(50 * max(make.SPREAD))
    assert found.items_per_s.high > 60


def test_launches_that_each_carry_the_percentile_count_at_their_mean(make):
    found = capacity(make.row("a", 100, servers=(make.server({50: 10, 90: 99}),)), P99, make.source())
    assert found.items_per_s.estimate == pytest.approx(50)
    assert found.basis[0] == "p99 ≤ 33 ms (server, 4 streams)"
    same = make.server({50: 10, 90: 99})
    level = replace(same, tried=tuple(replace(one, rate_hz=float(round(one.rate_hz, -1))) for one in same.tried))
    assert capacity(make.row("a", 100, servers=(level,)), P99, None).basis[0] == "p99 ≤ 33 ms (server, 4 streams)"


def test_at_a_given_rate_launches_carry_the_percentile_together(make):
    def of(effective):
        server = make.server({50: 10}, searched=False, effective=effective)
        same = tuple(replace(one, rate_hz=50.0) for one in server.tried)
        return capacity(make.row("a", 100, servers=(replace(server, tried=same),)), P99, None)

    assert isinstance(of(80.0), Capacity)
    assert "n is too small for p99: 100 independent queries, 368 are needed" in the_missing(of(20.0)).reason


def test_each_launch_must_have_met_the_slo(make):
    server = make.server({50: 10, 60: 40})
    lost = tuple(replace(one, stable=False) if one.launch == 3 else one for one in server.tried)
    missing = the_missing(capacity(make.row("a", 100, servers=(replace(server, tried=lost),)), P99, make.source()))
    assert missing.reason == "only 4 of 5 launches met p99 ≤ 33 ms at a rate that was tried"


def test_fewer_than_five_launches_are_no_recommendation(make):
    row = make.row("a", 100, servers=(make.server({50: 10, 60: 40}, launches=2),))
    missing = the_missing(capacity(row, P99, make.source()))
    assert missing == Missing(
        Constraint.TRUST,
        "2 server launches, 5 are needed for a recommendation",
        "run it with the preset `default` or above",
    )


def test_a_given_rate_holds_at_least_itself_where_its_verdict_says_so(make):
    def of(verdict, limit_ms):
        server = make.server({50: 10}, searched=False, verdict=verdict)
        same = tuple(replace(one, rate_hz=50.0) for one in server.tried)
        return capacity(make.row("a", 100, servers=(replace(server, tried=same),)), Slo(99, limit_ms * MS), None)

    found = of("meets", 33)
    assert found.items_per_s == Interval(50.0, None, None, 5)
    assert found.at_least
    assert found.by_launch is None
    assert the_missing(of("undecided", 33)).reason == "as the server said"
    assert the_missing(of("undecided", 20)).constraint is Constraint.SLO
    assert isinstance(of("undecided", 50), Capacity)


def test_cameras_hold_at_least_what_they_sent(make):
    found = capacity(make.row("a", 300, cameras=(make.camera(8, 30.0),)), P99, make.source())
    assert found.items_per_s == Interval(240.0, None, None, 5)
    assert found.at_least
    assert found.basis[0] == "p99 ≤ 33 ms (8 cameras at 30 fps)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"missed": 990}, "1.0 % of frames missed 33.0 ms, at most 1.1 %"),
        ({"deadline_ms": 50.0}, "its deadline with 8 cameras at 30 fps was 50.0 ms, which does not tell p99 ≤ 33 ms"),
        ({"of": 0}, "no frame of 8 cameras at 30 fps was due"),
    ],
)
def test_the_upper_bound_of_missed_frames_must_keep_the_slo(make, changes, words):
    missing = the_missing(capacity(make.row("a", 300, cameras=(make.camera(**changes),)), P99, make.source()))
    assert missing.constraint is Constraint.SLO
    assert words in missing.reason


def test_a_later_deadline_tells_by_the_percentiles_of_frames_that_were_all_worked_on(make):
    quantiles = (Quantile(0.99, 20 * MS, 19 * MS, 21 * MS, 5000.0, 368),)
    seen = make.camera(deadline_ms=50.0, quantiles=quantiles)
    assert isinstance(capacity(make.row("a", 300, cameras=(seen,)), P99, None), Capacity)
    dropped = make.camera(deadline_ms=50.0, quantiles=quantiles, dropped=1)
    assert not isinstance(capacity(make.row("a", 300, cameras=(dropped,)), P99, None), Capacity)


def test_the_better_of_server_and_camera_counts(make):
    server, few, many = make.server({50: 10, 60: 40}), make.camera(1, 30.0), make.camera(3, 30.0)
    both = make.row("a", 100, servers=(server,), cameras=(few,))
    assert capacity(both, P99, None).items_per_s.estimate == pytest.approx(50)
    assert capacity(replace(both, cameras=(few, many)), P99, None).items_per_s.estimate == 90
    thin = make.row("a", 100, servers=(make.server({50: 10}, launches=3),), cameras=(make.camera(missed=5000),))
    assert the_missing(capacity(thin, P99, None)).constraint is Constraint.TRUST


def test_everything_that_is_missing_is_named(make):
    found = capacity(make.row("a"), P99, None)
    assert [missing.constraint for missing in found] == [Constraint.SUSTAINED, Constraint.SLO]
    assert found[1].reason == "no scenario with arrivals was run for it"
    failed = make.row("a", 9, outcomes={"server": Failed(Stage.LOAD, "oom", "killed")})
    assert the_missing(capacity(failed, P99, None)).reason == "server failed at load: killed"


def test_the_least_limit_is_the_lowest_that_is_enough(make):
    row = make.row("a", 100, servers=(make.server({50: 41.23, 60: 55, 90: 99}, slo_ms=200.0),))
    slo, found = least_limit(row, P99, None, lambda _: True)
    assert slo.limit_ns == pytest.approx(41.3 * MS)
    assert found.items_per_s.estimate == pytest.approx(50)
    slo, found = least_limit(row, P99, None, lambda held: held.items_per_s.estimate > 55)
    assert slo.limit_ns == pytest.approx(55 * MS)
    assert least_limit(row, P99, None, lambda held: held.items_per_s.estimate > 99) is None
    assert least_limit(make.row("a", 100), P99, None, lambda _: True) is None


@given(
    ladder=st.dictionaries(st.integers(1, 200), st.floats(1, 200), min_size=1, max_size=6),
    limits=st.tuples(st.floats(1, 300), st.floats(1, 300)).map(sorted),
    percentile=st.sampled_from([90.0, 99.0, 99.5]),
    searched=st.booleans(),
    verdict=st.sampled_from(["meets", "misses", "undecided"]),
    effective=st.lists(st.floats(1, 1000), min_size=1, max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_a_wider_limit_never_holds_less(make, *, ladder, limits, percentile, searched, verdict, effective):
    rates = ladder if searched else dict(list(ladder.items())[:1])
    server = make.server(rates, percentile=99.0, searched=searched, verdict=verdict)
    counted = tuple(
        replace(one, response=replace(one.response, effective_samples=effective[place % len(effective)]))
        for place, one in enumerate(server.tried)
    )
    server = replace(server, tried=counted)
    row = make.row("a", 100, servers=(server,), cameras=(make.camera(1, 7.0),))
    narrow, wide = (capacity(row, Slo(percentile, limit * MS), None) for limit in limits)
    if isinstance(narrow, Capacity):
        assert isinstance(wide, Capacity)
        assert wide.items_per_s.estimate >= narrow.items_per_s.estimate


@pytest.mark.parametrize(
    ("device", "mode"),
    [
        ("cpu", "governor performance, turbo off"),
        ("cuda:0", "power limit 72 W, governor performance, turbo off"),
        ("gpu.7", "power limit 72 W, governor performance, turbo off"),
    ],
)
def test_the_power_mode_is_what_the_run_states(make, device, mode):
    assert power_mode(make.source(), device) == mode


@pytest.mark.parametrize(
    "host",
    [
        {},
        {"environment": {"governor": "unavailable: no cpufreq", "turbo": 3}},
        {"environment": "hostile", "hardware": {"accelerators": "unavailable: no driver"}},
        {"hardware": {"accelerators": [{"power_limit_w": "unavailable: NVML"}, "not one"]}},
    ],
)
def test_a_power_mode_that_nobody_stated_is_not_stated(make, host):
    assert power_mode(make.source(host=host), "cuda:0") == "not stated"
    assert power_mode(None, "cpu") == "not stated"


def test_a_counter_counts_for_the_device_that_it_sees(make):
    package, gpu, dram = make.energy(), make.energy(40.0, "gpu", "nvml"), make.energy(3.0, "dram")
    assert metered(make.row("a", energy=(dram, gpu, package))).energy.scope == "package"
    assert metered(make.row("a", device="cuda:0", energy=(package, gpu))).energy.scope == "gpu"
    assert metered(make.row("a", device="cuda:0", energy=(package,))) is None
    assert metered(make.row("a", energy=(dram, replace(package, joules_per_inference=None)))) is None


def test_what_a_soak_drew_comes_before_what_one_stream_did(make):
    full, more, idle = make.energy(60.0), make.energy(80.0), make.energy(20.0)
    soaks = (replace(make.soak(100), energy=(full,)), replace(make.soak(120, streams=8), energy=(more,)))
    row = make.row("a", soaks=soaks, energy=(idle,))
    assert (metered(row, 4).energy, metered(row, 4).load) == (full, FULL_LOAD)
    assert metered(row, 8).energy == metered(row).energy == more, "of as many streams, else of the most throughput"
    assert metered(row).words == "measured at full load, in its soak (rapl, package)"
    unread = replace(row, soaks=tuple(replace(soak, energy=(make.energy(3.0, "dram"),)) for soak in soaks))
    assert (metered(unread).energy, metered(unread).load) == (idle, ONE_STREAM)


@pytest.mark.parametrize(("items_per_s", "watts"), [(50.0, 30.0), (100.0, 60.0), (130.0, 60.0), (0.0, 60.0)])
def test_less_than_full_load_takes_its_part_of_the_power(make, items_per_s, watts):
    soaked = metered(make.row("a", soaks=(replace(make.soak(100), energy=(make.energy(60.0),)),)))
    assert soaked.watts(items_per_s) == pytest.approx(watts)
    assert metered(make.row("a", energy=(make.energy(20.0),))).watts(items_per_s) == 20.0
