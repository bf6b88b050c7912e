"""The codec: every record survives the trip, and what is wrong is named by its path."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import codec
from harness.vocabulary import (
    Accuracy,
    Artifact,
    Cell,
    Completed,
    Execution,
    Failed,
    Launch,
    NoiseReading,
    Precision,
    Record,
    SamplesRef,
    Scenario,
    Skipped,
    Stage,
    State,
    TensorSpec,
    Timing,
    Unknowable,
)

text = st.text(max_size=20)
counts = st.dictionaries(text, st.integers(0, 2**40), max_size=3)
shares = st.dictionaries(text, st.floats(0, 1), max_size=3)
maybe = st.builds(Unknowable, text)
outcomes = st.one_of(
    st.builds(Completed), st.builds(Failed, st.sampled_from(Stage), text, text, text), st.builds(Skipped, text, text)
)
cells = st.builds(
    Cell,
    workload=text,
    source_hash=text,
    task=st.fixed_dictionaries({"name": text}),
    shape=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    engine=text,
    precision=st.sampled_from(Precision),
    device=text,
    scenario=st.builds(Scenario, text),
    threads=st.none() | st.integers(1, 8),
    options=st.dictionaries(text, st.integers() | text | st.booleans(), max_size=2),
)
records = st.builds(
    Record,
    run_id=text,
    cell=cells,
    launch=st.builds(Launch, st.integers(0, 9)),
    outcome=outcomes,
    hw_id=text,
    env_id=text,
    started_at=text,
    duration_ns=st.integers(0, 2**62),
    artifact=st.none()
    | st.builds(
        Artifact,
        text,
        st.sampled_from(Precision),
        st.just(Path("a/b")),
        text,
        st.integers(0),
        inputs=st.tuples(st.builds(TensorSpec, text, text, st.just((1, 3)))),
    ),
    execution=st.none()
    | st.builds(
        Execution, text, counts | maybe, shares | maybe, counts | maybe, shares | maybe, st.integers() | maybe, maybe
    ),
    timing=st.none() | st.builds(Timing, st.integers(), st.integers(), st.integers()),
    accuracy=st.none()
    | st.builds(Accuracy, shares, text, st.integers(), st.none() | st.builds(SamplesRef, text, text, st.just(1))),
    noise=st.dictionaries(
        text, st.builds(NoiseReading, st.sampled_from(State), st.none() | st.floats(0, 1)), max_size=2
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(records)
def test_a_record_survives_the_trip_through_json(record):
    again = codec.decode(Record, json.loads(json.dumps(codec.encode(record))))
    assert again == record
    assert type(again.outcome) is type(record.outcome)
    assert isinstance(again.cell.shape, tuple)


@dataclasses.dataclass(frozen=True)
class Small:
    count: int
    ratio: float = 0.0
    name: str | None = None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "lacks 'count'"),
        ({"count": 1, "extra": 2}, "no field 'extra'"),
        ({"count": "1"}, r"\$\.count: expected int, found str"),
        ({"count": True}, r"\$\.count: expected int, found bool"),
        ({"count": 1, "name": 3}, r"\$\.name"),
        ([], "expected Small, found list"),
        (None, "expected Small, found NoneType"),
    ],
)
def test_what_does_not_fit_is_named(data, message):
    with pytest.raises(codec.CodecError, match=message):
        codec.decode(Small, data)


def test_an_integer_serves_as_a_float():
    assert codec.decode(Small, {"count": 1, "ratio": 2}) == Small(1, 2.0)


def test_an_outcome_of_an_unknown_class_is_refused():
    data = {**_record_data(), "outcome": {"is": "Exploded"}}
    with pytest.raises(codec.CodecError, match=r"outcome: unexpected 'Exploded'"):
        codec.decode(Record, data)


def test_an_outcome_without_its_class_is_refused():
    with pytest.raises(codec.CodecError, match="outcome: the field 'is' is missing"):
        codec.decode(Record, {**_record_data(), "outcome": {}})


def test_what_json_has_no_form_for_is_refused():
    with pytest.raises(TypeError, match="set"):
        codec.encode({"a": {1}})


def _record_data():
    cell = Cell("w", "h", {"name": "raw"}, (3,), "fake", Precision.FP32, "cpu", Scenario("latency"))
    return codec.encode(Record("r", cell, Launch(0), Completed(), "hw", "env", "now", 1))
