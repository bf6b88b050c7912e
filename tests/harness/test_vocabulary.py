"""Identity: what makes a cell another cell, and what does not."""

import dataclasses

import pytest

from harness.vocabulary import Cell, Precision, Scenario, canonical_json

CELL = Cell("yolo", "abc", {"name": "detect"}, (3, 640, 640), "onnxruntime", Precision.FP32, "cpu", Scenario("latency"))


def changed(**fields):
    return dataclasses.replace(CELL, **fields)


def test_the_label_of_the_workload_is_no_identity():
    assert changed(workload="another").cell_id == CELL.cell_id


@pytest.mark.parametrize(
    "fields",
    [
        {"source_hash": "retrained"},
        {"task": {"name": "detect", "confidence": 0.5}},
        {"shape": (3, 320, 320)},
        {"engine": "openvino"},
        {"environment": "old"},
        {"precision": Precision.INT8},
        {"device": "cuda:0"},
        {"batch": 2},
        {"threads": 1},
        {"options": {"a": 1}},
        {"evaluation_hash": "x"},
        {"calibration_hash": "y"},
    ],
)
def test_every_other_field_is(fields):
    assert changed(**fields).cell_id != CELL.cell_id
    assert changed(**fields).variant_id != CELL.variant_id


def test_scenarios_and_streams_of_one_variant_share_its_row():
    other = changed(scenario=Scenario("throughput", {"streams": 4}), streams=4)
    assert other.cell_id != CELL.cell_id
    assert other.variant_id == CELL.variant_id


def test_the_order_of_keys_does_not_matter():
    one, two = changed(options={"a": 1, "b": 2}), changed(options={"b": 2, "a": 1})
    assert one.cell_id == two.cell_id


def test_the_identity_of_version_1_stays_what_it_was():
    # A changed hash would orphan every stored baseline: a change here needs a new schema version and a migration.
    assert CELL.cell_id == "37830b6847002bcbc4568465aa3ef078716052133e1cdfd0a7614117f1aaeeee"


def test_nan_has_no_canonical_form():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
