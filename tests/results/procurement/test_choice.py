from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.vocabulary import Completed, Failed, Finding, Skipped, Stage
from results.drift import Drift
from results.procurement.choice import recommended
from results.procurement.demand import Demand, Load, Slo
from results.procurement.offers import STATED, Constraint

MS = 1e6
P99 = Slo(99.0, 33 * MS)
LOAD = Load(1000.0)


@pytest.fixture
def answer(make):
    """The one answer for rows of one workload."""

    def ask(rows, demand=None, prices=None, utilisation=None, sources=None):
        given = (make.source(),) if sources is None else sources
        (found,) = recommended(rows, given, demand or Demand(), prices, utilisation)
        return found

    return ask


def names(found):
    return [offer.variant_id for offer in found.offers]


def broken(found):
    return {one.variant_id: list(one.reasons) for one in found.excluded}


def test_without_load_and_prices_the_most_throughput_wins(make, answer):
    found = answer([make.row("slow", 50), make.row("fast", 100), make.row("middle", 70)])
    assert names(found) == ["fast", "middle", "slow"]
    assert found.tied == 1
    assert found.criterion == "sustained throughput"
    assert found.currency is None
    assert found.offers[0].capacity.power_mode == "governor performance, turbo off"
    assert (found.offers[0].devices, found.offers[0].cost, found.offers[0].utilisation) == (None, None, None)


def test_with_a_load_the_fewest_devices_win_and_then_the_most_throughput(make, answer):
    found = answer([make.row("a", 300), make.row("b", 310), make.row("c", 150)], Demand(load=LOAD))
    assert names(found) == ["b", "a", "c"]
    assert [offer.devices.value for offer in found.offers] == [5, 5, 10]
    assert found.tied == 2, "as many devices are a tie, whatever they could do beyond the load"
    assert found.criterion == "devices needed"
    assert found.offers[0].utilisation == pytest.approx(1000 / (5 * 310))


def test_with_prices_the_lowest_cost_wins(make, answer):
    prices = make.prices(make.price("big", 5000, machine="big*"), make.price("small", 1000, machine="small*"))
    rows = [make.row("fast", 400, machine="big box"), make.row("slow", 100, machine="small box")]
    found = answer(rows, Demand(load=LOAD), prices)
    assert names(found) == ["slow", "fast"]
    assert found.criterion == "cost per year"
    assert found.currency == "EUR"
    assert found.offers[0].devices.value == 15
    assert found.offers[0].cost.per_year.value == pytest.approx(15 * 1000 / 3)
    without_load = answer(rows, Demand(), prices)
    assert without_load.criterion == "cost per million inferences"
    assert names(without_load) == ["slow", "fast"]
    assert without_load.offers[0].cost.per_year is None


def test_a_row_without_a_price_is_left_out_where_others_have_one(make, answer):
    rows = [make.row("a", 100, machine="known"), make.row("b", 900, machine="unknown")]
    found = answer(rows, Demand(load=LOAD), make.prices(make.price("p", machine="known")))
    assert names(found) == ["a"]
    assert found.excluded[0].reasons == {Constraint.PRICE: "no price matches unknown, cpu"}


def test_the_utilisation_is_the_argument_then_that_of_the_prices_then_70_percent(make, answer):
    row, prices = make.row("a", 100), make.prices(make.price("p"), utilisation=0.5)
    assert answer([row], Demand(load=LOAD)).offers[0].devices.value == 15
    assert answer([row], Demand(load=LOAD), prices).offers[0].devices.value == 20
    found = answer([row], Demand(load=LOAD), prices, 1.0)
    assert found.offers[0].devices.value == 10
    assert found.offers[0].cost.per_year.value == pytest.approx(10 * 1000 / 3)


@pytest.mark.parametrize("utilisation", [0.0, -1.0, 1.01, float("nan")])
def test_a_utilisation_that_is_no_share_is_refused(make, utilisation):
    with pytest.raises(HarnessError, match="no share"):
        recommended([make.row("a", 1)], [make.source()], Demand(), None, utilisation)


def test_each_workload_has_an_answer_of_its_own(make):
    rows = [make.row("a", 1), make.row("b", 2, workload="yolo"), make.row("c", 3)]
    both = recommended(rows, [make.source()], Demand(), None)
    assert [(one.workload, names(one)) for one in both] == [("lite0", ["c", "a"]), ("yolo", ["b"])]
    (one,) = recommended(rows, [make.source()], Demand(workload="yolo"), None)
    assert one.workload == "yolo"


def test_an_unknown_workload_is_refused_with_those_there_are(make):
    with pytest.raises(HarnessError) as refused:
        recommended([make.row("a", 1), make.row("b", 2, workload="yolo")], [], Demand(workload="no\u202epe"), None)
    assert refused.value.hint == "there are: lite0 and yolo"
    assert "\u202e" not in refused.value.message
    with pytest.raises(HarnessError, match="no workload"):
        recommended([], [], Demand(workload="x"), None)
    assert recommended([], [], Demand(), None) == ()


def test_every_constraint_that_a_row_breaks_is_said_the_weightiest_first(make, answer):
    rows = [
        make.row("noisy", 900, findings=(Finding("noisy", "2 of 5 were noisy"),)),
        make.row("burst", servers=(make.server({50: 10, 60: 40}),), accuracy=make.accuracy(1.0)),
        make.row("late", 900, servers=(make.server({50: 50}),), accuracy=make.accuracy(1.0)),
        make.row("wrong", 900, servers=(make.server({50: 10}),), accuracy=make.accuracy(0.9, verdict="fails")),
        make.row("bare", 900),
        make.row("crashed", outcomes={"soak": Failed(Stage.LOAD, "crash", "signal 11")}),
        make.row("good", 900, servers=(make.server({50: 10}),), accuracy=make.accuracy(0.99, 1.0)),
    ]
    found = answer(rows, Demand(slo=P99, minimum_accuracy=0.99))
    assert names(found) == ["good"]
    assert broken(found) == {
        "noisy": [Constraint.TRUST, Constraint.SLO, Constraint.ACCURACY],
        "burst": [Constraint.SUSTAINED],
        "late": [Constraint.SLO],
        "wrong": [Constraint.ACCURACY],
        "bare": [Constraint.SLO, Constraint.ACCURACY],
        "crashed": [Constraint.TRUST],
    }


def test_one_camera_must_fit_on_a_device(make, answer):
    found = answer([make.row("a", 100), make.row("b", 40)], Demand(load=Load(30.0, 8, cameras=True)))
    assert names(found) == ["a"]
    assert found.offers[0].devices.value == 4
    reason = found.excluded[0].reasons[Constraint.LOAD]
    assert reason == "1 camera at 30 fps is more than a device may be loaded with: 28.0 items/s, 70 % of 40.0 items/s"


def test_nothing_to_offer_says_what_would_give_something(make, answer):
    found = answer([make.row("a"), make.row("b", outcomes={"soak": Skipped("no time", "resume the run")})])
    assert (found.offers, found.tied, found.sensitivities) == ((), 0, ())
    assert found.notes == ("The capacity of 1 row is not known; to learn it, add the scenario soak to the suite.",)


def test_runs_without_a_source_or_a_manifest_are_answered_all_the_same(make, answer):
    found = answer([make.row("a", 10, run_id="gone")], sources=())
    assert found.offers[0].capacity.power_mode == "not stated"
    assert "a: its run does not state the power mode." in found.notes


def test_each_row_is_of_its_own_run(make, answer):
    sources = (make.source("one", "box"), make.source("two", "bench", hw_id="hw2", host={}))
    rows = [make.row("a", 10, run_id="one", machine="box"), make.row("b", 5, run_id="two", machine="bench")]
    found = answer(rows, sources=sources)
    assert [offer.capacity.power_mode for offer in found.offers] == ["governor performance, turbo off", "not stated"]
    tested = "Units tested: 1 of each of 2 machines; unit-to-unit spread not measured"
    assert tested in found.notes
    unknown = [replace(each, hw_id="") for each in sources]
    assert tested in answer(rows, sources=unknown).notes, "runs that name no hardware are of machines of their own"


# --- ties -----------------------------------------------------------------------------------------------------------


def served(make, name, rate, factors, run_id=""):
    """A row that a server limits, with a rate for every launch."""
    server = make.server({rate: 10, 2 * rate: 99})
    each = tuple(
        replace(one, rate_hz=(rate if one.late.count == 0 else 2 * rate) * factors[one.launch]) for one in server.tried
    )
    return make.row(name, 10 * rate, servers=(replace(server, tried=each),), run_id=run_id)


def test_what_differs_by_noise_ties_and_pairs_by_round_within_a_run(make, answer):
    noisy = (0.8, 1.2, 0.9, 1.1, 1.0)
    rows = [served(make, "a", 100, noisy), served(make, "b", 97, noisy)]
    assert answer(rows, Demand(slo=P99)).tied == 1, "3 % less in every round is less"
    others = [served(make, "a", 100, noisy, "one"), served(make, "b", 97, noisy, "two")]
    sources = (make.source("one"), make.source("two"))
    assert answer(others, Demand(slo=P99), sources=sources).tied == 2, "no round is shared by two runs"


def test_a_tie_stands_before_what_is_worse_however_close_that_is(make, answer):
    steady, wild = (1.0, 1.001, 0.999, 1.0, 1.0), (0.5, 1.5, 0.7, 1.3, 1.0)
    rows = [served(make, "best", 100, steady), served(make, "near", 95, steady), served(make, "wild", 90, wild)]
    found = answer(rows, Demand(slo=P99))
    assert names(found) == ["best", "wild", "near"]
    assert found.tied == 2


def test_a_difference_that_costs_nothing_is_a_tie(make, answer):
    steady = (1.0, 1.001, 0.999, 1.0, 1.0)
    rows = [served(make, "best", 100, steady), served(make, "near", 95, steady)]
    assert answer(rows, Demand(slo=P99)).tied == 1
    found = answer(rows, Demand(slo=P99, load=Load(60.0)), make.prices(make.price("p")))
    assert [offer.devices.value for offer in found.offers] == [1, 1]
    assert found.tied == 2


def test_a_soak_has_one_launch_and_its_interval_is_taken_at_its_worst(make, answer):
    close = [make.row("a", 100), make.row("b", soaks=(make.soak(98.5, spread=0.01),))]
    assert answer(close).tied == 2
    assert answer([make.row("a", 100), make.row("b", 97)]).tied == 1
    varied = (
        "Where one soak decides, its interval holds how its rate varied over time, and how launches of throughput "
        "differ from each other."
    )
    over_time = (
        "Where one soak decides, its interval is over time: how launches differ from each other was not measured."
    )
    assert varied in answer(close).notes
    assert over_time not in answer(close).notes
    arrivals = make.row("c", 100, throughputs=(), servers=(make.server({50: 10}),))
    assert over_time in answer([arrivals]).notes


def test_launches_that_differ_more_than_two_soaks_do_tie_them(make, answer):
    wild = (0.9, 1.1, 0.95, 1.05, 1.0)

    def pair(factors):
        return [
            make.row(name, rate, throughputs=(make.throughput(rate, factors=factors),))
            for name, rate in (("a", 100), ("b", 90))
        ]

    assert answer(pair((1.0,) * 5)).tied == 1
    assert answer(pair(wild)).tied == 2


def test_rows_with_a_soak_alone_never_win(make, answer):
    rows = [make.row("alone", 900, throughputs=()), make.row("replicated", 10)]
    found = answer(rows, Demand(load=LOAD))
    assert names(found) == ["replicated"]
    assert broken(found) == {"alone": [Constraint.TRUST]}
    assert found.notes[-1] == (
        "The capacity of 1 row is not known; to learn it, run throughput beside its soak, with as many streams and the "
        "preset `default` or above."
    )


def test_a_search_that_is_undecided_does_not_win(make, answer):
    thin = make.server({50: 10, 90: 99}, effective=50.0, verdict="undecided")
    rows = [make.row("thin", 900, servers=(thin,)), make.row("sure", 30, servers=(make.server({20: 10, 90: 99}),))]
    found = answer(rows, Demand(slo=P99))
    assert names(found) == ["sure"]
    assert "undecided, n is too small" in found.excluded[0].reasons[Constraint.SLO]


def test_what_was_not_tried_may_be_as_good_up_to_what_was_sustained(make, answer):
    best = make.row("best", 200, cameras=(make.camera(4, 30.0),))
    capable = make.row("capable", 130, cameras=(make.camera(2, 30.0),))
    weak = make.row("weak", 70, cameras=(make.camera(2, 30.0),))
    found = answer([best, capable, weak], Demand(slo=P99))
    assert names(found) == ["best", "capable", "weak"]
    assert found.tied == 2
    assert found.offers[0].capacity.at_least


RATES = st.floats(10, 1000)
WHOLE = st.integers(10, 1000)


@given(rates=st.lists(RATES, min_size=1, max_size=6), factor=st.sampled_from([0.25, 4.0, 1024.0]), load=st.booleans())
@settings(max_examples=40, deadline=None)
def test_scaling_all_prices_leaves_the_ranking(make, rates, factor, load):
    rows = [make.row(f"r{index}", rate, machine=f"m{index}") for index, rate in enumerate(rates)]

    def of(scale):
        prices = [
            make.price(f"p{i}", (700.0 + 13 * i) * scale, machine=f"m{i}", host=40.0 * scale, watts=50.0)
            for i in range(len(rates))
        ]
        file = make.prices(*prices, electricity_per_kwh=0.3 * scale)
        demand = Demand(load=LOAD if load else None)
        (found,) = recommended(rows, [make.source()], demand, file)
        return names(found), found.tied

    assert of(1.0) == of(factor)


@given(rates=st.lists(WHOLE, min_size=2, max_size=6), extra=WHOLE)
@settings(max_examples=40, deadline=None)
def test_an_offer_more_that_is_not_the_best_breaks_no_tie(make, rates, extra):
    def tied(values):
        rows = [served(make, f"r{index}", rate, make.SPREAD[index % 5 :] + make.SPREAD) for index, rate in values]
        (found,) = recommended(rows, [make.source()], Demand(slo=P99), None)
        return set(names(found)[: found.tied])

    before = list(enumerate(rates))
    if extra < max(rates):
        assert tied(before) <= tied([*before, (len(rates), extra)])


@given(
    rates=st.lists(st.tuples(RATES, st.floats(0.9, 1.0)), min_size=1, max_size=6),
    limits=st.tuples(st.floats(5, 100), st.floats(5, 100)).map(sorted),
    minima=st.tuples(st.floats(0.9, 1.0), st.floats(0.9, 1.0)).map(sorted),
    priced=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_relaxing_a_constraint_never_makes_the_best_worse(make, rates, limits, minima, priced):
    rows = [
        make.row(
            f"r{index}",
            rate,
            servers=(make.server({rate / 4: 8, rate / 2: 20, rate: 60}),),
            accuracy=make.accuracy(kept),
        )
        for index, (rate, kept) in enumerate(rates)
    ]
    prices = make.prices(make.price("p")) if priced else None

    def best(limit_ms, minimum):
        demand = Demand(Slo(99.0, limit_ms * MS), minimum, LOAD)
        (found,) = recommended(rows, [make.source()], demand, prices)
        if not found.offers:
            return float("inf")
        first = found.offers[0]
        return first.cost.per_year.value if priced else first.devices.value

    tight = best(limits[0], minima[1])
    assert best(limits[1], minima[1]) <= tight
    assert best(limits[0], minima[0]) <= tight


# --- energy and notes -----------------------------------------------------------------------------------------------


def test_power_is_what_the_price_states_before_what_was_measured(make, answer):
    row = make.row("a", 100, energy=(make.energy(30.0),))
    stated = make.prices(make.price("p", watts=90.0), electricity_per_kwh=0.3)
    offer = answer([row], Demand(load=LOAD), stated).offers[0]
    assert (offer.watts, offer.watts_source) == (90.0, STATED)
    assert offer.energy_kwh_per_year == pytest.approx(15 * 0.09 * 8766)
    assert offer.cost.parts["energy"] == pytest.approx(0.3 * offer.energy_kwh_per_year)
    measured = answer([row], Demand(load=LOAD)).offers[0]
    assert (measured.watts, measured.watts_source) == (30.0, "measured with one stream (rapl, package)")
    assert measured.joules_per_inference.estimate == 0.1
    assert measured.energy_kwh_per_year == pytest.approx(10 * 0.03 * 8766)


def test_the_energy_of_the_soak_comes_first_and_it_is_said(make, answer):
    soaks = (replace(make.soak(100), energy=(make.energy(60.0),)),)
    row = make.row("a", soaks=soaks, energy=(make.energy(30.0),))
    found = answer([row], Demand(load=LOAD), make.prices(make.price("p"), electricity_per_kwh=0.3))
    source = "measured at full load, in its soak (rapl, package)"
    offer = found.offers[0]
    assert (offer.watts, offer.watts_source, offer.joules_source) == (60.0, source, source)
    assert offer.energy_kwh_per_year == pytest.approx(10 * 0.06 * 8766)
    assert any("measured at full load, in its soak and taken to fall with the load" in note for note in found.notes)
    stated = answer([row], Demand(load=LOAD), make.prices(make.price("p", watts=90.0)))
    assert (stated.offers[0].watts_source, stated.offers[0].joules_source) == (STATED, source)


def test_under_an_slo_a_device_takes_what_its_items_take(make, answer):
    """Half of what the soak sustained is held within the limit: as many inferences take as much, on more devices."""
    soaks = (replace(make.soak(100), energy=(make.energy(60.0),)),)
    row = make.row("a", soaks=soaks, servers=(make.server({50: 10, 90: 99}),))
    free, held = (answer([row], Demand(slo=slo, load=Load(350.0))).offers[0] for slo in (None, P99))
    assert (free.devices.value, held.devices.value) == (5, 10)
    assert free.energy_kwh_per_year == pytest.approx(held.energy_kwh_per_year) == pytest.approx(3.5 * 0.06 * 8766)
    assert held.watts == 60.0


def test_power_under_another_load_is_not_known_alike(make, answer):
    soaks = (replace(make.soak(100), energy=(make.energy(60.0),)),)
    rows = [make.row("full", soaks=soaks), make.row("idle", 100, energy=(make.energy(30.0),))]
    found = answer(rows, Demand(load=LOAD), make.prices(make.price("p"), electricity_per_kwh=0.3))
    assert "since power is not known alike" in found.notes[0]
    assert all("energy" not in offer.cost.parts for offer in found.offers)


def test_energy_that_is_not_known_alike_is_in_no_cost(make, answer):
    rows = [make.row("a", 100, machine="a", energy=(make.energy(),)), make.row("b", 100, machine="b")]
    two = make.prices(make.price("p", machine="a"), make.price("q", machine="b"), electricity_per_kwh=0.3)
    found = answer(rows, Demand(load=LOAD), two)
    assert all("energy" not in offer.cost.parts for offer in found.offers)
    assert found.notes[0] == (
        "Energy is in no cost, since power is not known alike: that of p is measured with one stream (rapl, "
        "package); that of q is not known. State watts with every price."
    )
    alike = answer(rows[:1], Demand(load=LOAD), two)
    assert alike.offers[0].cost.parts["energy"] > 0


def test_what_was_assumed_is_said(make, answer):
    row = make.row("a", 100, findings=(Finding("leak", "memory grows"), Finding("retried", "no matter")))
    prices = make.prices(make.price("p"), spares=0.1, years=4.0)
    notes = answer([row], Demand(load=LOAD), prices).notes
    assert "Units tested: 1; unit-to-unit spread not measured" in notes
    assert "A device is loaded with at most 70 % of its capacity." in notes
    assert "Spares: 10 % of the devices needed, rounded up." in notes
    assert "The price of p is dated 2026-01-02." in notes
    assert "a: memory grows" in notes
    assert not any("no matter" in note for note in notes)
    assert any(note.startswith("No SLO was asked for") for note in notes)
    assert any("over 4 years" in note for note in notes)
    bare = answer([row], Demand(slo=None, minimum_accuracy=None, load=LOAD)).notes
    assert "No spare devices are counted." in bare


def test_what_is_kept_of_the_accuracy_is_in_the_offer(make, answer):
    found = answer([make.row("a", 9, accuracy=make.accuracy(0.98, 1.0)), make.row("b", 8)])
    assert [offer.retained_accuracy for offer in found.offers] == [pytest.approx(0.99), None]


@pytest.mark.parametrize("demand", [Demand(), Demand(P99, 0.99, Load(30.0, 8, cameras=True))])
def test_every_kind_of_row_of_a_run_has_its_place(make, synthetic_rows, demand):
    prices = make.prices(make.price("<script>alert(1)</script>"), electricity_per_kwh=0.3)
    for found in recommended(synthetic_rows, [make.source()], demand, prices):
        there = {row.variant_id for row in synthetic_rows if row.cell.workload == found.workload}
        assert {offer.variant_id for offer in found.offers} | {one.variant_id for one in found.excluded} == there
        assert all(one.reasons and all(one.reasons.values()) for one in found.excluded)
        assert found.offers == (), "none of them had a soak"


def test_a_machine_that_drifted_is_named(make, answer):
    drifted = Drift(found=True, message="the machine drifted by 8 %", ratio=None, points=())
    found = answer([make.row("a", 10)], sources=(replace(make.source(), drift=drifted),))
    assert "a: the machine drifted by 8 %" in found.notes


def test_of_measured_power_its_scope_and_its_load_are_said(make, answer):
    row, prices = make.row("a", 100, energy=(make.energy(),)), make.prices(make.price("p"), electricity_per_kwh=0.3)
    notes = answer([row], Demand(load=LOAD), prices).notes
    assert (
        "a: its power is that of the package alone (rapl), measured with one stream and taken to fall with the load: "
        "the energy is a lower bound."
    ) in notes


RENTED, UNMETERED, STATED_WATTS = (
    "the rent is taken to hold",
    "neither measured nor stated",
    "power stated with its price",
)
UNCOUNTED = "Energy is in no cost: the prices file states no electricity_per_kwh."


@pytest.mark.parametrize(
    ("changes", "electricity", "said"),
    [
        ({"per_hour": 0.5}, 0.3, RENTED),
        ({"per_hour": 0.5}, None, RENTED),
        ({}, 0.3, UNMETERED),
        ({"watts": 90.0}, 0.3, STATED_WATTS),
        ({"watts": 90.0}, None, UNCOUNTED),
        ({}, None, UNCOUNTED),
    ],
)
def test_what_is_said_of_energy_is_so(make, answer, changes, electricity, said):
    file = make.prices(make.price("p", **changes), electricity_per_kwh=electricity)
    found = answer([make.row("a", 100)], Demand(load=LOAD), file)
    notes = "\n".join(found.notes)
    assert [words for words in (RENTED, UNMETERED, STATED_WATTS, UNCOUNTED) if words in notes] == [said]
    assert ("energy" in found.offers[0].cost.parts) is (said == STATED_WATTS)


def test_nothing_on_offer_has_no_energy_to_speak_of(make, answer):
    assert not any("nergy" in note for note in answer([make.row("a")], Demand(), make.prices(make.price("p"))).notes)


def test_what_failed_and_what_is_doubtful_of_the_choice_is_said(make, answer):
    crash = Failed(Stage.LOAD, "crash", "signal 11")
    findings = (Finding("accuracy-unknown", "not measured"), Finding("unsampled", "no sensor was read"))
    row = make.row("a", 100, outcomes={"soak": Completed(), "memory": crash}, findings=findings)
    notes = answer([row]).notes
    assert {"a: not measured", "a: no sensor was read", "a: memory failed at load: signal 11"} <= set(notes)


def test_an_accuracy_that_failed_is_said_once(make, answer):
    crash = Failed(Stage.EVALUATE, "crash", "signal 11")
    row = make.row("a", 100, outcomes={"soak": Completed(), "accuracy": crash})
    assert "a: accuracy failed at evaluate: signal 11" in answer([row]).notes
    told = replace(row, findings=(Finding("accuracy-unknown", "its accuracy was not measured: signal 11"),))
    assert [note for note in answer([told]).notes if "signal 11" in note] == [
        "a: its accuracy was not measured: signal 11"
    ]


def test_a_soak_that_may_be_the_lower_one_is_no_sure_loss(make, answer):
    """Its launches under arrivals would tell them apart, were the soak beside them not open down to the other."""
    demand = Demand(slo=Slo(99.0, 33e6))

    def pair(spread):
        best = make.row("a", servers=(make.server({100: 20, 200: 50}),), soaks=(make.soak(101, spread=spread),))
        return [best, make.row("b", 200, servers=(make.server({90: 20, 180: 50}),))]

    assert answer(pair(0.001), demand).tied == 1
    assert answer(pair(0.3), demand).tied == 2
