from dataclasses import replace

import pytest

from harness.vocabulary import Finding
from results.procurement.choice import recommended
from results.procurement.demand import Demand, Load, Slo
from results.procurement.offers import Constraint
from results.row import Interval, Throughput

MS = 1e6
P99 = Slo(99.0, 33 * MS)
LOAD = Load(1000.0)


@pytest.fixture
def relaxed(make):
    """What each constraint costs, by constraint."""

    def ask(rows, demand=None, prices=None):
        (found,) = recommended(rows, [make.source()], demand or Demand(), prices)
        by = {one.constraint: one for one in found.relaxations}
        assert len(by) == len(found.relaxations)
        assert list(by) == [constraint for constraint in Constraint if constraint in by]
        return by

    return ask


def test_where_nothing_is_left_out_nothing_is_relaxed(make, relaxed):
    assert relaxed([make.row("a", 100), make.row("b", 90)]) == {}


def test_the_least_limit_that_makes_another_cheaper_is_found(make, relaxed):
    rows = [
        make.row("quick", 400, servers=(make.server({100: 10, 120: 90}),)),
        make.row("strong", 400, servers=(make.server({150: 41.23, 300: 55, 390: 300}, slo_ms=33.0),)),
    ]
    found = relaxed(rows, Demand(slo=P99))[Constraint.SLO]
    assert found.to == "p99 ≤ 41.3 ms"
    assert (found.variant_id, found.admits) == ("strong", 1)
    assert found.saves == pytest.approx(1 - 100 / 150)


def test_a_wider_limit_may_make_the_choice_itself_cheaper(make, relaxed):
    row = make.row("a", 400, servers=(make.server({100: 10, 200: 50}),))
    found = relaxed([row], Demand(slo=P99, load=LOAD), make.prices(make.price("p")))[Constraint.SLO]
    assert (found.to, found.variant_id, found.admits) == ("p99 ≤ 50 ms", "a", 0)
    assert found.saves == pytest.approx(1 - 8 / 15)


def test_with_nothing_chosen_yet_nothing_is_saved(make, relaxed):
    rows = [make.row("a", 400, servers=(make.server({100: 40}),)), make.row("b", 4, servers=(make.server({2: 70}),))]
    found = relaxed(rows, Demand(slo=P99))[Constraint.SLO]
    assert (found.to, found.variant_id, found.admits, found.saves) == ("p99 ≤ 40 ms", "a", 2, None)


def test_what_would_come_in_and_cost_more_is_said_to(make, relaxed):
    rows = [
        make.row("a", 100, servers=(make.server({200: 10}),)),
        make.row("b", 50, servers=(make.server({90: 40}),)),
    ]
    found = relaxed(rows, Demand(slo=P99))[Constraint.SLO]
    assert (found.variant_id, found.admits) == ("b", 1)
    assert found.saves == pytest.approx(-1)


def test_what_nobody_saw_under_arrivals_saves_nothing_that_is_known(make, relaxed):
    rows = [make.row("a", 100, servers=(make.server({200: 10}),)), make.row("b", 900), make.row("c", 700)]
    found = relaxed(rows, Demand(slo=P99))[Constraint.SLO]
    assert (found.to, found.variant_id, found.admits, found.saves) == ("measured under arrivals", "b", 2, None)


def test_the_accuracy_that_is_surely_kept_is_what_a_lower_minimum_is(make, relaxed):
    rows = [
        make.row("exact", 100, accuracy=make.accuracy(1.0)),
        make.row("int8", 200, accuracy=make.accuracy(0.97899, 0.985, verdict="fails")),
        make.row("int4", 150, accuracy=make.accuracy(0.8, 0.9, verdict="fails")),
    ]
    found = relaxed(rows, Demand(minimum_accuracy=0.99))[Constraint.ACCURACY]
    assert found.to == "at least 97.8 % of FP32's accuracy"
    assert (found.variant_id, found.admits) == ("int8", 2)
    assert found.saves == pytest.approx(0.5)


def test_a_gate_of_the_suite_is_named_where_it_asks_for_more_than_the_demand(make, relaxed):
    gate = (Finding("accuracy", "misses 99 %", unranked=True),)
    row = make.row("int8", 200, accuracy=make.accuracy(0.97, 0.98, verdict="fails"), findings=gate)
    found = relaxed([row], Demand(minimum_accuracy=0.9))[Constraint.ACCURACY]
    assert found.to == "at least 97.0 % of FP32's accuracy, as the target of the suite instead of 99 %"


def test_an_interval_below_nothing_asks_for_no_minimum(make, relaxed):
    few = make.row("int8", 200, accuracy=make.accuracy(-1.3, 3.3, verdict="undecided"))
    assert relaxed([few], Demand(minimum_accuracy=0.99))[Constraint.ACCURACY].to == "no minimum"


def test_unmeasured_accuracy_would_have_to_be_measured(make, relaxed):
    found = relaxed([make.row("a", 100)], Demand(minimum_accuracy=0.9))[Constraint.ACCURACY]
    assert (found.to, found.saves) == ("accuracy measured, and found enough", None)


def test_no_cost_is_made_of_a_burst(make, relaxed):
    def burst(name, rate):
        return make.row(name, throughput=Throughput(Interval(rate, None, None, 5), 4))

    rows = [make.row("a", 100), burst("b", 200.0), burst("c", 900.0), make.row("d")]
    found = relaxed(rows, Demand(load=LOAD), make.prices(make.price("p")))[Constraint.SUSTAINED]
    assert (found.variant_id, found.admits, found.saves) == ("c", 3, None)
    assert found.to == "sustained throughput measured"


def test_measuring_anew_is_all_that_relaxes_distrust(make, relaxed):
    noisy = make.row("noisy", 200, findings=(Finding("noisy", "2 of 5 launches were noisy"),))
    fallen = make.row("fallen", 900, findings=(Finding("fell-back", "ran on the cpu", unranked=True),))
    found = relaxed([make.row("a", 100), noisy, fallen])[Constraint.TRUST]
    assert found.to == "measured anew, and found as fast: 2 of 5 launches were noisy"
    assert (found.variant_id, found.admits) == ("noisy", 1)
    assert found.saves == pytest.approx(0.5)
    assert relaxed([make.row("a", 100), fallen]) == {}


def test_the_largest_source_that_a_device_takes_is_found(make, relaxed):
    rows = [make.row("a", 40), make.row("b", 30)]
    found = relaxed(rows, Demand(load=Load(30.0, 8, cameras=True)))[Constraint.LOAD]
    assert (found.to, found.variant_id, found.admits) == ("at most 28.0 fps of one camera", "a", 2)


def test_what_a_machine_without_a_price_is_worth_is_said(make, relaxed):
    rows = [make.row("a", 100, machine="known"), make.row("b", 200, machine="unknown")]
    prices = make.prices(make.price("p", 1000.0, machine="known"))
    found = relaxed(rows, Demand(load=LOAD), prices)[Constraint.PRICE]
    assert found.to == "a price given for it; up to 1,875 EUR it would cost no more than the choice"
    assert found.variant_id == "b"
    alone = relaxed(rows[1:], Demand(load=LOAD), prices)[Constraint.PRICE]
    assert alone.to == "a price given for it"


def test_what_breaks_two_constraints_is_let_in_by_neither(make, relaxed):
    row = make.row("b", 200, accuracy=make.accuracy(0.9, verdict="fails"), findings=(Finding("noisy", "noise"),))
    assert relaxed([make.row("a", 100, accuracy=make.accuracy(1.0)), row], Demand(minimum_accuracy=0.99)) == {}


def test_what_energy_is_not_known_of_saves_none_of_it(make, relaxed):
    rows = [
        make.row("a", 100, machine="a", accuracy=make.accuracy(1.0)),
        make.row("b", 100, machine="b", accuracy=make.accuracy(0.9, verdict="fails")),
    ]
    prices = make.prices(
        make.price("p", machine="a", watts=500.0), make.price("q", machine="b"), electricity_per_kwh=1.0
    )
    found = relaxed(rows, Demand(minimum_accuracy=0.99, load=LOAD), prices)[Constraint.ACCURACY]
    assert found.saves == pytest.approx(0)
    stated = replace(prices, prices=(prices.prices[0], replace(prices.prices[1], watts=250.0)))
    assert relaxed(rows, Demand(minimum_accuracy=0.99, load=LOAD), stated)[Constraint.ACCURACY].saves > 0.3
