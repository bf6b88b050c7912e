from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.procurement.candidates import judged, loss, terms_of
from results.procurement.choice import recommended
from results.procurement.demand import Demand, Load
from results.procurement.load_range import stays
from results.procurement.money import money

LOAD = Load(1000.0)


@pytest.fixture
def sensed(make):
    """The sensitivities of the choice, by what they are of."""

    def ask(rows, demand=None, prices=None):
        (found,) = recommended(rows, [make.source()], demand or Demand(load=LOAD), prices)
        return {one.of: one for one in found.sensitivities}

    return ask


@pytest.fixture
def two(make):
    """A cheap machine that 15 are needed of, and a dear one that 7 are needed of."""
    rows = [make.row("small", 100, machine="small"), make.row("big", 210, machine="big")]
    prices = make.prices(make.price("S", 1000.0, machine="small"), make.price("B", 2500.0, machine="big"))
    return rows, prices


def test_a_price_is_known_to_the_point_at_which_another_takes_over(two, sensed):
    rows, prices = two
    found = sensed(rows, prices=prices)
    own, other = found["price of S"], found["price of B"]
    assert own.words == "stays the choice until its price rises above 1,167 EUR (+17 %); then it is big on big"
    assert (own.holds, own.rival) == (False, "big")
    assert other.words == "stays the choice until that price falls below 2,143 EUR (−14 %); then it is big on big"
    assert (other.holds, other.rival) == (False, "big")


@pytest.mark.parametrize(("factor", "first"), [(1.16, "small"), (1.17, "big")])
def test_the_point_is_where_the_choice_changes(two, make, factor, first):
    rows, prices = two
    dearer = replace(prices.prices[0], price=1000.0 * factor)
    (found,) = recommended(rows, [make.source()], Demand(load=LOAD), replace(prices, prices=(dearer, prices.prices[1])))
    assert found.offers[0].variant_id == first


def test_a_price_far_from_the_point_holds(make, sensed):
    rows = [make.row("a", 100, machine="a"), make.row("b", 100, machine="b")]
    prices = make.prices(make.price("A", 1000.0, machine="a"), make.price("B", 5000.0, machine="b"))
    found = sensed(rows, prices=prices)
    assert found["price of A"].holds
    assert found["price of B"].holds
    assert found["price of A"].words.startswith("stays the choice until its price rises above 5,000 EUR (+400 %)")


def test_a_price_that_all_share_changes_nothing(make, sensed):
    found = sensed([make.row("a", 100), make.row("b", 90)], prices=make.prices(make.price("P")))
    assert found["price of P"].holds
    assert found["price of P"].rival is None
    assert "nothing else with a price of its own" in found["price of P"].words


def test_what_goes_with_a_device_may_cost_too_much_for_any_price_of_it(make, sensed):
    rows = [make.row("a", 100, machine="a"), make.row("b", 100, machine="b")]
    prices = make.prices(make.price("A", 100.0, machine="a"), make.price("B", 1.0, machine="b", host=500.0))
    found = sensed(rows, prices=prices)["price of B"]
    assert found.holds
    assert found.words == "stays the choice at any price of B: what goes with that costs more"


def test_what_costs_nothing_yet_may_come_to_cost_too_much(make, sensed):
    rows = [make.row("a", 100, machine="a"), make.row("b", 100, machine="b")]
    prices = make.prices(make.price("A", 0.0, machine="a"), make.price("B", 300.0, machine="b"))
    found = sensed(rows, prices=prices)
    assert found["price of A"].words == "stays the choice until its price rises above 300 EUR; then it is b on b"
    assert (found["price of A"].holds, found["price of A"].rival) == (False, "b")
    assert found["price of B"].holds


def test_a_rent_is_told_by_the_hour(make, sensed):
    rows = [make.row("a", 100, machine="a"), make.row("b", 100, machine="b")]
    prices = make.prices(make.price("A", per_hour=0.5, machine="a"), make.price("B", per_hour=0.6, machine="b"))
    assert "0.600 EUR per hour (+20 %)" in sensed(rows, prices=prices)["price of A"].words


def test_the_interval_is_looked_at_where_it_hurts(make, sensed):
    wide = make.row("a", soaks=(make.soak(100, spread=0.2),))
    found = sensed([wide, make.row("b", 94)], Demand())["interval of the measurement"]
    assert (found.holds, found.rival) == (False, "b")
    assert "80.0 items/s of the choice and 94.9 items/s of the other" in found.words
    sure = sensed([make.row("a", 100), make.row("b", 50)], Demand())["interval of the measurement"]
    assert sure.holds
    assert sure.rival is None


def test_a_choice_without_rivals_is_sensitive_to_nothing(make, sensed):
    assert sensed([make.row("a", 100)]) == {}
    assert list(sensed([make.row("a", 100)], prices=make.prices(make.price("P")))) == ["price of P"]


def test_the_range_of_loads_ends_at_a_step(two, make, sensed):
    rows, prices = two
    found = sensed(rows, prices=prices)["load"]
    assert (found.holds, found.rival) == (False, "big")
    assert found.words == (
        "stays the choice from 147 per second to 8000 per second, 0.147 to 8 times what was asked for; "
        "below that it is big on big; nothing beyond eight times, or an eighth, was looked at"
    )


def test_a_load_of_cameras_is_counted_in_cameras(make, sensed):
    rows = [make.row("small", 100, machine="small"), make.row("big", 450, machine="big")]
    prices = make.prices(make.price("S", 1000.0, machine="small"), make.price("B", 3400.0, machine="big"))
    found = sensed(rows, Demand(load=Load(30.0, 2, cameras=True)), prices)["load"]
    assert found.words == (
        "stays the choice from 1 camera at 30 fps to 6 cameras at 30 fps, 0.5 to 3 times what was asked for; "
        "above that it is big on big; nothing beyond eight times, or an eighth, was looked at"
    )


@given(
    capacity=st.tuples(st.floats(20, 400), st.floats(20, 400)),
    price=st.tuples(st.integers(100, 3000), st.integers(100, 3000)),
    cameras=st.booleans(),
    watts=st.sampled_from([None, 40.0]),
)
@settings(max_examples=40, deadline=None)
def test_within_its_range_of_loads_no_rival_costs_less(make, capacity, price, cameras, watts):
    energy = () if watts is None else (make.energy(watts),)
    rows = [make.row(f"r{i}", rate, machine=f"m{i}", energy=energy) for i, rate in enumerate(capacity)]
    file = make.prices(
        *(make.price(f"p{i}", float(each), machine=f"m{i}") for i, each in enumerate(price)), electricity_per_kwh=0.3
    )
    load = Load(10.0, 5, cameras=True) if cameras else Load(300.0)
    terms = terms_of(Demand(load=load), file, None)
    choice, rival = sorted((judged(row, make.source(), terms) for row in rows), key=lambda one: loss(one, terms))
    down, up = stays(choice, (rival,), terms)
    changed = {}
    for step in range(-60, 61):
        factor = 8 ** (step / 60)
        if cameras:
            factor = max(1, round(5 * factor)) / 5
        scaled = replace(load, sources=round(5 * factor)) if cameras else replace(load, rate_hz=300 * factor)
        there = replace(terms, demand=Demand(load=scaled))
        changed[factor] = loss(choice, there) > loss(rival, there)
    assert not any(changed[factor] for factor in changed if down.factor <= factor <= up.factor)
    assert (up.rival is rival) or not any(changed[factor] for factor in changed if 1 <= factor <= 8)
    assert (down.rival is rival) or not any(changed[factor] for factor in changed if 1 / 8 <= factor <= 1)


def test_other_utilisations_are_tried(two, make, sensed):
    rows, prices = two
    found = sensed(rows, prices=prices)["utilisation"]
    assert isinstance(found.holds, bool)
    alike = sensed(
        [make.row("a", 100, machine="a"), make.row("b", 100, machine="b")],
        prices=make.prices(make.price("A", 100.0, machine="a"), make.price("B", 200.0, machine="b")),
    )["utilisation"]
    assert alike.words == "stays the choice with devices loaded to anything of 50, 60, 70, 80, 90 %"
    assert alike.holds


@pytest.mark.parametrize(
    ("value", "words"), [(1480.2, "1,480 EUR"), (12.5, "12.50 EUR"), (0.01234, "0.0123 EUR"), (0.0, "0 EUR")]
)
def test_money_has_the_digits_of_a_price(value, words):
    assert money(value, "EUR") == words
