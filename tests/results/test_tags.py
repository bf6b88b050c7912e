"""Names of runs: one holder at a time, whatever happens in between."""

import json

import pytest

from harness.errors import StoreError
from harness.vocabulary import Precision
from results.tags import TAGS, checked, holder, tag, tags_in, tags_of, untag


@pytest.fixture
def runs(factory, tmp_path):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    return [factory.write_run(tmp_path / "runs", (recipe,)) for _ in range(2)]


def test_a_tag_moves(runs):
    one, other = runs
    assert tag(one, "release") is None
    assert tag(one, "v1.2_rc-1") is None
    assert tags_of(one) == ("release", "v1.2_rc-1")
    assert tag(other, "release") == one
    assert (tags_of(one), tags_of(other)) == (("v1.2_rc-1",), ("release",))
    assert holder("release", one.parent) == other
    assert tags_in(one.parent) == {"release": other, "v1.2_rc-1": one}
    assert tag(other, "release") is None, "it is there already"


def test_a_tag_is_taken_away(runs):
    tag(runs[0], "old")
    assert untag(runs[0], "old")
    assert not untag(runs[0], "old")
    assert tags_of(runs[0]) == ()
    assert holder("old", runs[0].parent) is None


def test_of_two_holders_the_later_counts(runs):
    """As after a power cut between the two writes, or where two folders of runs were copied together."""
    one, other = runs
    (one / TAGS).write_text(json.dumps({"tags": {"a": "2026-12-02T00:00:00+00:00"}}))
    (other / TAGS).write_text(json.dumps({"tags": {"a": "2026-12-01T00:00:00+00:00"}}))
    assert holder("a", one.parent) == one
    assert tag(other, "a") == one
    assert tags_of(one) == ()


@pytest.mark.parametrize("name", ["latest", "", "1st", "../x", "a b", "a" * 65, "-x", "ä", "a\n", "main:x"])
def test_what_can_be_no_tag(name):
    with pytest.raises(StoreError):
        checked(name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tags": 3}', '{"tags": {"a": "yesterday"}}', '{"tags": {"a": 3}}'])
def test_tags_that_cannot_be_read_are_named_and_hide_no_others(runs, text):
    tag(runs[1], "good")
    (runs[0] / TAGS).write_text(text)
    with pytest.raises(StoreError, match="tags"):
        tags_of(runs[0])
    assert holder("good", runs[0].parent) == runs[1]


def test_a_tag_moves_past_a_run_whose_tags_cannot_be_read(runs, factory):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    third = factory.write_run(runs[0].parent, (recipe,))
    (runs[0] / TAGS).write_text("{")
    tag(runs[1], "a")
    assert tag(third, "a") == runs[1]
    assert tags_of(runs[1]) == ()
