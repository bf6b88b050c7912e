"""What is set beside its default."""

import pytest

from harness.settings import differing

DEFAULTS = {"method": "mean", "exclude": (), "keep_last": True, "count": 1, "inner": {"a": (1, 2)}, "none": None}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"method": "mean"},
        {"exclude": []},
        {"keep_last": True, "count": 1.0},
        {"inner": {"a": [1, 2]}},
        {"none": None},
    ],
    ids=str,
)
def test_a_default_written_out_says_nothing(given):
    assert differing(given, DEFAULTS) == {}


@pytest.mark.parametrize(
    "given",
    [
        {"method": "minmax"},
        {"exclude": ["a"]},
        {"keep_last": 1},
        {"count": True},
        {"inner": {"a": [1, 2, 3]}},
        {"none": 0},
        {"unknown": None},
    ],
    ids=str,
)
def test_another_value_stays_as_it_was_given(given):
    assert differing({"method": "mean", **given}, DEFAULTS) == given
