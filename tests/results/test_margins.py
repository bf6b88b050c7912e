"""Margins as people write them."""

import pytest

from harness.errors import HarnessError
from results.margins import parse_margin, parse_margins
from results.quantities import RULE_NAMES


@pytest.mark.parametrize(
    ("rule", "text", "margin"),
    [("latency", "3%", 0.03), ("latency", " 2.5 % ", 0.025), ("accuracy", "0.5pt", 0.005), ("tail", "10%", 0.1)],
)
def test_margins_have_their_unit(rule, text, margin):
    assert parse_margin(rule, text) == pytest.approx(margin)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("latency", "3"),
        ("latency", "0.03"),
        ("latency", "3pt"),
        ("accuracy", "0.5%"),
        ("latency", "0%"),
        ("latency", "100%"),
        ("latency", "-3%"),
        ("latency", "nan%"),
        ("latency", ""),
        ("speed", "3%"),
    ],
)
def test_others_are_refused_with_an_example(rule, text):
    with pytest.raises(HarnessError) as caught:
        parse_margin(rule, text)
    assert caught.value.hint


def test_several_by_rule():
    assert parse_margins(["latency=5%", "accuracy=1pt", "latency=4%"]) == pytest.approx(
        {"latency": 0.04, "accuracy": 0.01}
    )
    assert parse_margins(()) == {}
    with pytest.raises(HarnessError, match="RULE=VALUE"):
        parse_margins(["latency"])


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_every_rule_takes_a_margin(rule):
    assert parse_margin(rule, "1pt" if rule == "accuracy" else "1%") == pytest.approx(0.01)
