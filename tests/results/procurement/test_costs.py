"""Devices, energy and money, against sums done by hand, and what no number may ever do."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.errors import HarnessError
from results.procurement import costs
from results.procurement.costs import HOURS_PER_YEAR, SECONDS_PER_YEAR
from results.procurement.demand import Load
from results.procurement.offers import Span
from results.procurement.prices import Match, Price, Prices
from results.row import Interval

DAY = date(2026, 11, 1)
BOX = Price("box", Match(machine="*"), DAY, price=900.0)
RENTED = Price("instance", Match(machine="*"), DAY, per_hour=0.5)
CARD = Price("card", Match(device="cuda:*"), DAY, price=2000.0, host=4000.0, devices_per_host=4)
PLAIN = Prices("EUR", (BOX,))


def exactly(value):
    return Interval(value, None, None, 1)


def between(low, value, high):
    return Interval(value, low, high, 10)


def prices(*patterns):
    return Prices("EUR", tuple(Price(str(at), Match(**said), DAY, price=1.0) for at, said in enumerate(patterns)))


def name_of(found):
    return found.name if found else None


# --- which price


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        ([], None),
        ([{"machine": "*Xeon*"}], None),
        ([{"machine": "*epyc 7b13*"}], "0"),
        ([{"machine": "EPYC"}], None),
        ([{"hw_id": "FEED*"}], "0"),
        ([{"device": "cuda:*"}], "0"),
        ([{"device": "cpu"}], None),
        ([{"machine": "*EPYC*", "device": "cpu"}], None),
        ([{"device": "cuda:0"}, {"machine": "*EPYC*"}], "1"),
        ([{"machine": "*EPYC*", "device": "cuda:*"}, {"hw_id": "feed*"}], "1"),
        ([{"machine": "*EPYC*"}, {"machine": "AMD*", "device": "cuda:*"}], "1"),
        ([{"hw_id": "feed*"}, {"machine": "*", "hw_id": "feed*"}, {"device": "*"}], "1"),
        ([{"machine": "*Xeon*"}, {"device": "cuda:?"}], "1"),
    ],
)
def test_the_most_specific_price_counts(patterns, name):
    found = costs.priced(prices(*patterns), "AMD EPYC 7B13, 2 cores", "feedc0ffee12", "cuda:0")
    assert name_of(found) == name


def test_two_that_say_as_much_are_named():
    with pytest.raises(
        HarnessError, match=r"AMD EPYC \(feed\), cpu: the prices '0' and '1' match it equally"
    ) as caught:
        costs.priced(prices({"machine": "*EPYC*"}, {"machine": "AMD*"}, {"device": "cpu"}), "AMD EPYC", "feed", "cpu")
    assert "hw_id" in caught.value.hint


# --- how many


@pytest.mark.parametrize(
    ("load", "capacity", "utilisation", "devices"),
    [
        (Load(30.0, 8, cameras=True), 343.0, 0.7, 1),  # 240.1 usable: 8 cameras to a device
        (Load(30.0, 8, cameras=True), 342.0, 0.7, 2),  # 239.4: 7
        (Load(30.0, 8, cameras=True), 100.0, 0.7, 4),  # 70: 2
        (Load(30.0, 9, cameras=True), 100.0, 0.7, 5),
        (Load(30.0, 1, cameras=True), 42.0, 0.7, None),  # 29.4: not even one
        (Load(30.0, 1_000_000, cameras=True), 43.0, 0.7, 1_000_000),
        (Load(240.0), 343.0, 0.7, 1),
        (Load(240.0), 100.0, 0.7, 4),
        (Load(0.001), 100.0, 0.7, 1),
        (Load(15.4), 22.0, 0.7, 1),  # exactly, though 22.0 * 0.7 is 15.399999999999999
        (Load(1.54, 10, cameras=True), 22.0, 0.7, 1),
        (Load(8 * 30.0), 42.0, 0.7, 9),  # 29.4 each; what cameras cannot be split into, a rate can
    ],
)
def test_devices_for_a_load(load, capacity, utilisation, devices):
    found = costs.devices_needed(load, exactly(capacity), utilisation, 0.0)
    assert found == (None if devices is None else (Span(devices, None, None), 0))


@pytest.mark.parametrize("capacity", [0.0, -1.0, float("nan"), float("inf"), 1e-320])
@pytest.mark.parametrize("load", [Load(30.0, 8, cameras=True), Load(240.0)])
def test_what_is_no_capacity_holds_nothing(load, capacity):
    assert costs.devices_needed(load, exactly(capacity), 0.7, 0.1) is None
    assert costs.cost(BOX, PLAIN, load, exactly(capacity), 50.0) is None
    assert costs.energy_kwh_per_year(BOX, PLAIN, load, exactly(capacity), 50.0) is None


def test_the_ends_come_from_the_interval_of_the_capacity():
    found = costs.devices_needed(Load(240.0), between(90.0, 100.0, 130.0), 0.7, 0.25)
    assert found == (Span(4, 3, 4), 1)


def test_an_end_that_holds_no_camera_is_open():
    found = costs.devices_needed(Load(30.0, 4, cameras=True), between(40.0, 50.0, 100.0), 0.7, 0.0)
    assert found == (Span(4, 2, None), 0)
    paid = costs.cost(BOX, PLAIN, Load(30.0, 4, cameras=True), between(40.0, 50.0, 100.0), None)
    assert (paid.per_year, paid.per_million.high) == (Span(1200.0, 600.0, None), None)


@pytest.mark.parametrize(("share", "spares"), [(0.0, 0), (0.1, 3), (0.11, 4), (0.001, 1), (1.0, 30)])
def test_spares_are_rounded_up(share, spares):
    assert costs.devices_needed(Load(30.0), exactly(1.0), 1.0, share) == (Span(30, None, None), spares)


CAPACITIES = st.floats(0.01, 1e6)
LOADS = st.builds(
    Load, rate_hz=st.floats(0.01, 1e4), sources=st.integers(1, 10_000), cameras=st.just(value=True)
) | st.builds(Load, rate_hz=st.floats(0.01, 1e7))
UTILISATIONS = st.floats(0.01, 1.0)


@given(count=st.integers(1, 100_000), tenths=st.integers(1, 100), hundredths=st.integers(1, 100))
def test_exact_multiples_need_no_device_more(count, tenths, hundredths):
    capacity, share = tenths / 10, hundredths / 100
    whole, _ = costs.devices_needed(Load(count * capacity * share), exactly(capacity), share, 0.0)
    assert whole.value == count
    cameras, _ = costs.devices_needed(
        Load(capacity * share / count, count, cameras=True), exactly(capacity), share, 0.0
    )
    assert cameras.value == 1


@given(LOADS, CAPACITIES, UTILISATIONS)
def test_the_devices_hold_the_load_and_one_less_does_not(load, capacity, share):
    found = costs.devices_needed(load, exactly(capacity), share, 0.0)
    if found is None:
        assert load.cameras
        assert load.rate_hz > capacity * share * (1 - 1e-9)
        return
    devices = found[0]
    used = costs.utilisation(load, exactly(capacity), devices)
    assert 0 < used <= share * (1 + 2e-9)
    if not load.cameras and devices.value > 1:
        assert load.rate_hz > (devices.value - 1) * capacity * share * (1 - 2e-9)


@given(LOADS, CAPACITIES, st.floats(1.0, 10.0), UTILISATIONS)
def test_more_load_never_needs_less_and_more_capacity_never_more(load, capacity, factor, share):
    found = costs.devices_needed(load, exactly(capacity), share, 0.2)
    assume(found is not None)
    better = costs.devices_needed(load, exactly(capacity * factor), share, 0.2)
    assert better[0].value <= found[0].value
    assert better[1] <= found[1]
    slower = replace(load, rate_hz=load.rate_hz / factor)
    assert costs.devices_needed(slower, exactly(capacity), share, 0.2)[0].value <= found[0].value
    fewer = replace(load, sources=max(1, load.sources // 2))
    assert costs.devices_needed(fewer, exactly(capacity), share, 0.2)[0].value <= found[0].value


# --- what it costs


def test_a_purchase_is_spread_over_the_years():
    paid = costs.cost(BOX, replace(PLAIN, years=3.0, spares=0.25), Load(240.0), exactly(100.0), None)
    assert paid.unit == "box"
    assert paid.parts == {"device": 5 * 900.0 / 3}
    assert paid.per_year == Span(1500.0, None, None)
    assert paid.per_million.value == pytest.approx(1500.0 / (240 * 31_557_600) * 1e6)


def test_hosts_are_whole_and_carry_the_spares():
    paid = costs.cost(CARD, replace(PLAIN, years=2.0, spares=0.25), Load(240.0), exactly(100.0), None)
    assert paid.parts == {"device": 5 * 1000.0, "host": 2 * 2000.0}


def test_rent_is_for_every_hour_and_holds_the_electricity():
    charged = replace(PLAIN, spares=0.25, electricity_per_kwh=0.3)
    paid = costs.cost(RENTED, charged, Load(240.0), exactly(100.0), 200.0)
    assert paid.parts == {"rent": 5 * 0.5 * 8766}


def test_measured_power_falls_with_the_load():
    charged = replace(PLAIN, electricity_per_kwh=0.3, pue=1.5, spares=0.5)
    paid = costs.cost(BOX, charged, Load(240.0), exactly(100.0), 50.0)
    kwh = costs.energy_kwh_per_year(BOX, charged, Load(240.0), exactly(100.0), 50.0)
    assert kwh == pytest.approx(2.4 * 50 / 1000 * 8766 * 1.5)
    assert paid.parts["energy"] == pytest.approx(kwh * 0.3)


def test_stated_power_counts_in_full_and_before_what_was_measured():
    charged = replace(PLAIN, electricity_per_kwh=0.3)
    stated = replace(BOX, watts=80.0)
    for measured in (None, 50.0):
        kwh = costs.energy_kwh_per_year(stated, charged, Load(240.0), exactly(100.0), measured)
        assert kwh == pytest.approx(4 * 80 / 1000 * 8766)
    assert costs.cost(stated, charged, Load(240.0), exactly(100.0), None).parts["energy"] == pytest.approx(kwh * 0.3)


def test_energy_needs_a_power_and_money_for_it_a_price():
    assert costs.energy_kwh_per_year(BOX, PLAIN, Load(240.0), exactly(100.0), None) is None
    assert costs.energy_kwh_per_year(None, PLAIN, Load(240.0), exactly(100.0), 50.0) == pytest.approx(0.12 * 8766)
    assert set(costs.cost(BOX, PLAIN, Load(240.0), exactly(100.0), 50.0).parts) == {"device"}
    charged = replace(PLAIN, electricity_per_kwh=0.3)
    assert set(costs.cost(BOX, charged, Load(240.0), exactly(100.0), None).parts) == {"device"}
    assert set(costs.cost(BOX, charged, Load(240.0), exactly(100.0), 50.0).parts) == {"device", "energy"}


def test_without_a_load_it_is_one_device_at_the_allowed_utilisation():
    charged = replace(PLAIN, electricity_per_kwh=0.3, spares=0.1)
    paid = costs.cost(CARD, charged, None, between(80.0, 100.0, 125.0), 50.0)
    parts = {"device": 1.1 * 2000 / 3, "host": 1.1 / 4 * 4000 / 3, "energy": 0.7 * 50 / 1000 * 8766 * 0.3}
    assert paid.per_year is None
    assert paid.parts == pytest.approx(parts)
    million = sum(parts.values()) / (70 * 31_557_600) * 1e6
    assert paid.per_million.value == pytest.approx(million)
    assert paid.per_million.low == pytest.approx(million * 0.8)
    assert paid.per_million.high == pytest.approx(million * 1.25)


def test_what_is_owned_already_costs_its_energy():
    paid = costs.cost(
        replace(BOX, price=0.0), replace(PLAIN, electricity_per_kwh=0.1), Load(70.0), exactly(100.0), 100.0
    )
    assert paid.parts == pytest.approx({"device": 0.0, "energy": 0.07 * 8766 * 0.1})


def test_a_price_of_nothing_is_refused():
    with pytest.raises(HarnessError, match="neither bought nor rented"):
        costs.cost(Price("x", Match("*"), DAY), PLAIN, None, exactly(1.0), None)


def test_a_year_is_of_365_days_and_a_quarter():
    assert HOURS_PER_YEAR == 365.25 * 24
    assert SECONDS_PER_YEAR == 31_557_600


PRICES = st.sampled_from([BOX, RENTED, CARD, replace(BOX, watts=80.0), replace(BOX, price=0.0)])
ASKED = st.sampled_from(
    [
        PLAIN,
        Prices("EUR", (), years=5.0, utilisation=0.5, spares=0.1, electricity_per_kwh=0.3, pue=1.4),
    ]
)
WATTS = st.none() | st.floats(0.1, 1000.0)
INTERVALS = st.tuples(CAPACITIES, st.floats(0.5, 1.0), st.floats(1.0, 2.0)).map(
    lambda drawn: between(drawn[0] * drawn[1], drawn[0], drawn[0] * drawn[2])
)


@given(PRICES, ASKED, st.none() | LOADS, INTERVALS, WATTS)
def test_ends_are_in_order_and_parts_make_the_whole(price, asked, load, interval, watts):
    paid = costs.cost(price, asked, load, interval, watts)
    assume(paid is not None)
    for span in filter(None, (paid.per_year, paid.per_million)):
        assert 0 <= span.low <= span.value * (1 + 1e-12)
        assert span.high is None or span.high >= span.value * (1 - 1e-12)
    assert (paid.per_year is None) is (load is None)
    if load:
        assert sum(paid.parts.values()) == paid.per_year.value
        items = load.items_per_s * SECONDS_PER_YEAR
        assert paid.per_million.value == pytest.approx(paid.per_year.value / items * 1e6)


@given(PRICES, ASKED, CAPACITIES, WATTS)
def test_a_large_load_comes_to_what_one_device_says(price, asked, capacity, watts):
    one = costs.cost(price, asked, None, exactly(capacity), watts).per_million.value
    many = costs.cost(price, asked, Load(capacity * 1e6), exactly(capacity), watts).per_million.value
    assert many == pytest.approx(one, rel=1e-4)


@given(PRICES, ASKED, LOADS, CAPACITIES, st.floats(1.0, 10.0), WATTS)
def test_more_load_never_costs_less_in_a_year(price, asked, load, capacity, factor, watts):
    more = costs.cost(price, asked, load, exactly(capacity), watts)
    assume(more is not None)
    slower = replace(load, rate_hz=load.rate_hz / factor)
    less = costs.cost(price, asked, slower, exactly(capacity), watts)
    assert less.per_year.value <= more.per_year.value * (1 + 1e-12)
