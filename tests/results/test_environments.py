"""What differs between two environments, the likeliest causes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.changes import Difference
from results.environments import differences

BEFORE = {
    "kernel": "6.1",
    "governor": ["performance"],
    "python": "CPython 3.11.4",
    "versions": {"harness": "0.1.0", "onnxruntime": "1.30.0", "torch": "2.13"},
    "revision": {"sha": "a" * 40, "dirty": False},
    "microcode": "0x1",
    "new_fact": 1,
}


def places(before, after):
    return [each.place for each in differences(before, after)]


def test_the_likeliest_causes_come_first():
    after = {
        "kernel": "6.2",
        "governor": ["powersave"],
        "python": "CPython 3.12.1",
        "versions": {"harness": "0.2.0", "onnxruntime": "1.31.0", "zlib": "1"},
        "revision": {"sha": "b" * 40, "dirty": True},
        "microcode": "0x1",
        "new_fact": 2,
    }
    assert places(BEFORE, after) == [
        "versions.onnxruntime",
        "versions.torch",
        "versions.zlib",
        "versions.harness",
        "revision.dirty",
        "revision.sha",
        "python",
        "kernel",
        "governor",
        "new_fact",
    ]


def test_both_values_are_there_and_what_is_absent_is_none():
    assert differences({"a": {"b": 1}}, {"a": {"b": 2, "c": [1]}}) == (
        Difference("a.b", 1, 2),
        Difference("a.c", None, [1]),
    )
    assert differences({"a": {"b": 1}}, {}) == (Difference("a", {"b": 1}, None),)


def test_lists_of_devices_are_looked_into_where_they_are_as_long():
    one, two = {"name": "L4", "memory_gib": 24}, {"name": "L4", "memory_gib": 22}
    assert differences({"accelerators": [one]}, {"accelerators": [two]}) == (
        Difference("accelerators[0].memory_gib", 24, 22),
    )
    assert places({"accelerators": [one]}, {"accelerators": [one, two]}) == ["accelerators"]
    assert places({"accelerators": []}, {"accelerators": [one]}) == ["accelerators"]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [([1, 2], (1, 2), True), ([1, 2], [2, 1], False), (True, 1, False), (1, 1.0, True), ("1", 1, False)],
)
def test_a_list_is_what_was_a_tuple_before_it_was_stored(before, after, same):
    assert (differences({"x": before}, {"x": after}) == ()) is same


def test_a_fact_that_could_not_be_read_differs_as_a_whole():
    unknown = "unavailable: the suite is in no repository"
    assert differences({"revision": {"sha": "a"}}, {"revision": unknown}) == (
        Difference("revision", {"sha": "a"}, unknown),
    )


facts = st.recursive(
    st.integers(-3, 3) | st.text(max_size=2) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
environments = st.dictionaries(st.sampled_from(["versions", "kernel", "x", "y"]), facts, max_size=4)


@given(environments, environments)
def test_the_other_way_about_the_same_places_differ(before, after):
    forth, back = differences(before, after), differences(after, before)
    assert forth == tuple(Difference(each.place, each.after, each.before) for each in back)
    assert differences(before, before) == ()
