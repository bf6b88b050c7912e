"""Numbers on the page: significant digits, one unit in a column, bounds in step with their estimate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12.345, "12.3"),
        (4.0, "4.00"),
        (9.996, "10.0"),
        (0.04567, "0.0457"),
        (999.6, "1,000"),
        (1234567, "1,234,567"),
        (-3.21, "−3.21"),
    ],
)
def test_three_significant_digits(value, text):
    assert units.significant(value) == text


@given(st.floats(1e-9, 1e12))
def test_a_printed_number_is_within_half_a_percent(value):
    assert math.isclose(float(units.significant(value).replace(",", "")), value, rel_tol=0.00501)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([330.0], "ns"),
        ([45_000.0], "µs"),
        ([5e6, 20e6, None], "ms"),
        ([999.9e3], "ms"),
        ([2e9, 3e9], "s"),
        ([], "ms"),
        ([0.0], "ms"),
    ],
)
def test_the_unit_suits_the_column(values, unit):
    assert units.durations(values).unit == unit


def test_a_column_keeps_its_unit(make):
    scale = units.durations([2e6, 5e6, 900e6])
    assert [scale.number(value) for value in (45_000.0, 5e6, 900e6, None)] == ["0.0450", "5.00", "900", "—"]


def test_bounds_have_the_decimals_of_their_estimate(make):
    scale = units.durations([12.3e6])
    assert scale.bounds(make.interval(12.3e6, 0.012)) == "[12.2, 12.4]"
    assert scale.bounds(make.interval(12.3e6, launches=1)) == ""


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((-0.041, -0.060, -0.023), ("−4.1", "[−6.0, −2.3]")),
        ((0.0, -0.0004, 0.0003), ("0.00", "[−0.04, +0.03]")),
    ],
)
def test_changes_are_in_signed_points(change, text):
    assert units.change_in_points(*change) == text


def test_negative_zero_and_infinity_are_readable():
    assert units.fixed(-0.001, 1) == "0.0"
    assert units.fixed(math.inf, 1) == "∞"
    assert units.fixed(math.nan, 1) == "—"
