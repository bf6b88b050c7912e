"""A figure's verdict, its table and its JSON form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figure import Figure, Limit, Verdict, table

BAND = Limit(0.98, 1.02)


def figure(value=1.0, low=None, high=None, limit=BAND, **changes):
    fields = {"name": "ratio", "unit": "", "samples": 100, **changes}
    return Figure(value=value, low=low, high=high, limit=limit, **fields)


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (1.0, 0.99, 1.01, Verdict.PASS),
        (1.0, 0.98, 1.02, Verdict.PASS),
        (1.0, 0.97, 1.01, Verdict.UNDECIDED),
        (1.015, 1.01, 1.03, Verdict.UNDECIDED),
        (1.0, 0.9, 1.1, Verdict.UNDECIDED),
        (1.05, 1.03, 1.07, Verdict.FAIL),
        (0.95, 0.94, 0.96, Verdict.FAIL),
    ],
)
def test_the_whole_interval_decides(value, low, high, verdict):
    assert figure(value, low, high).verdict is verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.451, Verdict.PASS), (0.47, Verdict.FAIL), (0.43, Verdict.FAIL)])
def test_without_an_interval_the_value_decides(value, verdict):
    assert figure(value, limit=Limit(0.44, 0.46)).verdict is verdict


@pytest.mark.parametrize(
    ("limit", "shown", "kept", "broken"),
    [(Limit(high=1000), "≤ 1000", -5, 1001), (Limit(low=2), "≥ 2", 2, 1.9), (Limit(1, 2), "1 – 2", 1.5, 2.5)],
)
def test_a_limit_may_be_open(limit, shown, kept, broken):
    assert str(limit) == shown
    assert limit.holds(kept)
    assert not limit.holds(broken)


def test_what_only_describes_has_no_verdict():
    described = figure(3.0, 2.0, 4.0, limit=Limit(), unit="ms")
    assert described.verdict is Verdict.NONE
    assert table((described,)).splitlines()[1].split() == ["ratio", "3", "ms", "2", "4", "–", "–"]


@given(st.floats(0, 2), st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_never_contradicts_the_value(value, below, above):
    seen = figure(value, value - below, value + above)
    if seen.verdict is Verdict.PASS:
        assert seen.limit.holds(value)
    if seen.verdict is Verdict.FAIL:
        assert not seen.limit.holds(value)


def test_the_json_form_holds_everything():
    data = json.loads(json.dumps(figure(1.0, 0.99, 1.03, unit="ms").as_data()))
    assert data == {
        "name": "ratio",
        "value": 1.0,
        "low": 0.99,
        "high": 1.03,
        "unit": "ms",
        "limit": {"low": 0.98, "high": 1.02},
        "samples": 100,
        "verdict": "undecided",
    }


def test_the_table_is_aligned_and_shows_what_has_no_interval():
    lines = table(
        (figure(12345.6, 12000.0, 13000.0, Limit(high=1000), unit="ns"), figure(0.45, name="mAP"))
    ).splitlines()
    assert lines[0].split() == ["figure", "value", "low", "high", "limit", "verdict"]
    assert lines[1].split() == ["ratio", "12346", "ns", "12000", "13000", "≤", "1000", "ns", "fail"]
    assert lines[2].split() == ["mAP", "0.45", "–", "–", "0.98", "–", "1.02", "fail"]
    assert len({line.index(word) for line, word in zip(lines, ("verdict", "fail", "fail"), strict=True)}) == 1
