"""The ``gate`` of a suite: what loads, what is refused at which line, and what it comes to."""

import json
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness import gating, suite
from harness.errors import SuiteError
from harness.gating import ACCURACY, DEFAULT_RULES, MARGINS, STATUS, Gating, share
from harness.suite import Suite
from results.quantities import RULE_NAMES

TEXT = """\
version: 1
workloads:
  net:
    source: {onnx: net.onnx}
    task: raw
    input: [3, 8, 8]
matrix: {engine: onnxruntime}
"""


@pytest.fixture
def load(tmp_path):
    def load(gate):
        path = tmp_path / "suite.yaml"
        path.write_text(f"{TEXT}gate:\n  {gate}\n", encoding="utf-8")
        return suite.load(path, (), {})

    return load


def refused(load, gate):
    with pytest.raises(SuiteError) as caught:
        load(gate)
    assert caught.value.hint
    place, _, message = caught.value.message.partition(": ")
    return ":".join(place.rsplit(":", 2)[1:]), message


def test_the_rules_are_those_that_quantities_have():
    assert set(MARGINS) == set(RULE_NAMES)


def test_without_a_word_the_usual_rules_are_gated():
    said = Gating()
    assert said.gated == set(DEFAULT_RULES)
    assert said.margins == {}
    assert (said.launches, said.minutes, said.allow, said.only) == (10, 20.0, (), None)


def test_a_whole_gate(load):
    said = load(
        "{latency: 3%, throughput: 4 %, tail: true, accuracy: 0.5pt, memory: false, status: true, only: 'net/*',"
        " launches: 5, minutes: 7.5, allow: [{cells: 'net/*', rule: latency, until: 2026-12-01, reason: why}]}"
    ).gate
    assert said.gated == {"latency", "throughput", "tail", "accuracy", "status"}
    assert said.margins == {"latency": 0.03, "throughput": 0.04, "accuracy": 0.005}
    assert said.only == ("net/*",)
    assert (said.launches, said.minutes) == (5, 7.5)
    (allowed,) = said.allow
    assert (allowed.cells, allowed.rule, allowed.until, allowed.reason) == (
        "net/*",
        "latency",
        date(2026, 12, 1),
        "why",
    )


def test_what_is_only_taken_out_leaves_the_usual_rules(load):
    assert load("{memory: false, status: false}").gate.gated == {"latency", "throughput", "accuracy"}
    assert load("{launches: 12}").gate.gated == set(DEFAULT_RULES)


def test_what_is_named_is_gated_and_no_other(load):
    assert load("{latency: true, memory: false}").gate.gated == {"latency"}


@pytest.mark.parametrize(
    ("gate", "place", "words"),
    [
        ("{latency: 3}", "9:13", "a margin of latency is written as 3%, not '3'"),
        ("{latency: 0.03}", "9:13", "a margin of latency is written as 3%, not '0.03'"),
        ("{latency: 3pt}", "9:13", "a margin of latency is a share, written as 3%, not '3pt'"),
        ("{accuracy: 1%}", "9:14", "a margin of accuracy is a difference in points, written as 0.5pt, not '1%'"),
        ("{latency: 0%}", "9:13", "a margin of latency lies between 0 and 100 %, not at 0%"),
        ("{latency: 100%}", "9:13", "lies between 0 and 100 %"),
        ("{latency: ~}", "9:13", "null means nothing here"),
        ("{status: 3%}", "9:12", "expected true or false"),
        ("{latence: 3%}", "9:4", "unknown key 'latence'; did you mean 'latency'?"),
        ("{launches: 1}", "9:14", "greater than or equal to 2"),
        ("{minutes: 0}", "9:13", "greater than 0"),
        ("{only: []}", "9:10", "at least 1 is needed here"),
        ("{allow: [{cells: a, until: soon}]}", "9:30", "a day is written 2026-12-01, not 'soon'"),
        ("{allow: [{cells: a, until: 2026-02-30}]}", "9:30", "a day is written"),
        ("{allow: [{cells: a}]}", "9:12", "the key 'until' is missing"),
        ("{allow: [{cells: a, until: 2026-12-01, rule: tails}]}", "9:48", "no rule is called 'tails'; did you mean"),
        ("{allow: [{cells: a, until: 2026-12-01, cause: x}]}", "9:42", "unknown key 'cause'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(load, gate, place, words):
    found, message = refused(load, gate)
    assert found == place
    assert words in message


def test_a_date_is_a_day_or_the_text_of_one():
    for until in (date(2026, 12, 1), "2026-12-01"):
        assert Gating.model_validate({"allow": [{"cells": "a", "until": until}]}).allow[0].until == date(2026, 12, 1)


def test_what_is_resolved_is_an_equal_gate(load):
    loaded = load("{latency: 3%, accuracy: 0.5pt, memory: false, only: [a, b], allow: [{cells: a, until: 2026-12-01}]}")
    data = loaded.resolved()
    assert data["gate"]["allow"] == [{"cells": "a", "until": "2026-12-01", "reason": ""}]
    assert "throughput" not in data["gate"]
    assert Suite.model_validate_json(json.dumps(data)) == loaded
    assert Gating.model_validate(data["gate"]) == loaded.gate
    assert Gating.model_validate({}) == Gating()


def test_the_schema_knows_every_rule_and_the_dates():
    models = suite.schema()["$defs"]
    assert {*MARGINS, STATUS, "only", "launches", "minutes", "allow"} == models["Gating"]["properties"].keys()
    assert models["Allow"]["properties"]["until"]["format"] == "date"
    assert set(models["Allow"]["properties"]["rule"]["enum"]) == {*MARGINS, STATUS}


@given(
    st.sampled_from(MARGINS),
    st.decimals(min_value="0.001", max_value="99.999", places=3),
    st.sampled_from(["", " "]),
)
def test_a_margin_with_its_unit_is_its_share(rule, value, space):
    unit = "pt" if rule == ACCURACY else "%"
    assert share(rule, f"{value}{space}{unit}") == pytest.approx(float(value) / 100)


@given(st.sampled_from(MARGINS), st.text(max_size=20) | st.floats() | st.integers() | st.none() | st.lists(st.just(1)))
@example("latency", "\u0661%")
@example("latency", "1e1%")
@example("latency", "-3%")
def test_anything_else_is_refused_in_words_or_lies_between_0_and_1(rule, margin):
    assert said_of(rule, margin).startswith(f"a margin of {rule}")


def said_of(rule, margin):
    """Return why a margin is refused, or the margin in words of its own where it is none to refuse."""
    try:
        found = share(rule, margin)
    except ValueError as error:
        return str(error)
    assert 0 < found < 1
    return f"a margin of {rule} of {found}"


_VALUES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.sampled_from(["3%", "1pt"])
_KEYS = st.sampled_from((*MARGINS, STATUS, "only", "launches", "minutes", "allow", "other"))


@given(st.dictionaries(_KEYS, _VALUES | st.lists(_VALUES, max_size=2), max_size=4))
def test_a_gate_is_valid_or_refused_and_names_known_rules(data):
    try:
        said = gating.Gating.model_validate(data)
    except ValidationError:
        return
    assert said.gated <= {*MARGINS, STATUS}
    assert said.margins.keys() <= said.gated
    assert Gating.model_validate(said.model_dump(mode="json")) == said
