"""Models that cannot be measured, through the real command line: each its own clear reason in the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tiny_model import TINY_ONNX
from harness.vocabulary import Failed, Skipped

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.engine
TINY_TFLITE = Path(__file__).parents[1] / "engines" / "tiny_model.tflite"

REASONS = {
    # workload: (engine, part of the reason, part of the hint)
    "operator": ("onnxruntime", "cannot be inferred through acme.Zap", "custom operators are not supported"),
    "opset": ("onnxruntime", "opset.onnx has opset 999", "earlier opset"),
    "dynamic": ("onnxruntime", "the shape of output 'found' is not static", "depends on the data"),
    "sides": ("onnxruntime", "sides.onnx has 16 as its axis 2, 20 was asked", "with dynamic axes"),
    "uncalibrated": ("onnxruntime", "names no calibration images", "calibrate"),
    "cut-onnx": ("onnxruntime", "cut.onnx cannot be read as ONNX", "whole"),
    "cut-tflite": ("litert", "cut.tflite cannot be read", ""),
    "traversal": ("onnxruntime", "which is not inside its own folder", "put its data beside it"),
}


@pytest.fixture(scope="module")
def bad_models(tmp_path_factory, new_place):
    """One run over every model."""
    pytest.importorskip("ai_edge_litert.interpreter")
    place = new_place(tmp_path_factory.mktemp("bad"))
    _write_models(place.folder)
    place.write("outside.bin", "never read")
    place.write(
        "suite.yaml",
        """
        version: 1
        workloads:
          operator: {source: {onnx: operator.onnx}, task: raw, input: [3, 16, 16]}
          opset: {source: {onnx: opset.onnx}, task: raw, input: [3, 16, 16]}
          dynamic: {source: {onnx: dynamic.onnx}, task: raw, input: [3, 16, 16]}
          sides: {source: {onnx: sides.onnx}, task: raw, input: [3, 20, 16]}
          uncalibrated: {source: {onnx: sides.onnx}, task: raw, input: [3, 16, 16]}
          cut-onnx: {source: {onnx: cut.onnx}, task: raw, input: [3, 16, 16]}
          cut-tflite: {source: {tflite: cut.tflite}, task: raw, input: [3, 16, 16]}
          traversal: {source: {onnx: models/traversal.onnx}, task: raw, input: [3, 16, 16]}
        matrix:
          workload: [operator, opset, dynamic, sides, cut-onnx, traversal]
          engine: [onnxruntime]
          scenario: [prove]
        include:
          - {workload: [uncalibrated], precision: [int8]}
          - {workload: [cut-tflite], engine: [litert]}
        preset: quick
        """,
    )
    return place, place.say("run", "suite.yaml", "--quiet")


def _write_models(folder):
    def write(name, change=lambda _: None):
        model = onnx.load(TINY_ONNX)
        change(model)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(model.SerializeToString())

    def custom(model):
        model.graph.node[1].op_type, model.graph.node[1].domain = "Zap", "acme"
        model.opset_import.append(onnx.helper.make_opsetid("acme", 1))

    def elsewhere(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../outside.bin")

    write("operator.onnx", custom)
    write("opset.onnx", lambda model: setattr(model.opset_import[0], "version", 999))
    write("sides.onnx")
    write("models/traversal.onnx", elsewhere)
    (folder / "cut.onnx").write_bytes(TINY_ONNX.read_bytes()[:1000])
    (folder / "cut.tflite").write_bytes(TINY_TFLITE.read_bytes()[:1000])
    h, tensor = onnx.helper, onnx.TensorProto
    graph = h.make_graph(
        [h.make_node("NonZero", ["images"], ["found"])],
        "nms",
        [h.make_tensor_value_info("images", tensor.FLOAT, ["N", 3, 16, 16])],
        [h.make_tensor_value_info("found", tensor.INT64, None)],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), folder / "dynamic.onnx")


@pytest.mark.parametrize("workload", REASONS)
def test_each_model_has_its_own_reason_in_the_report(bad_models, workload):
    place, said = bad_models
    engine, reason, hint = REASONS[workload]
    told = [each.skipped for each in place.store.plan.cells if each.cell.workload == workload and each.skipped]
    told += [each.outcome for each in place.store.records() if each.cell.workload == workload]
    assert told
    for outcome in told:
        assert isinstance(outcome, Failed | Skipped)
        words = outcome.message if isinstance(outcome, Failed) else outcome.reason
        assert reason in words
        assert hint in outcome.hint
        assert words in place.page
    assert {each.cell.engine for each in place.store.plan.cells if each.cell.workload == workload} == {engine}
    assert reason in " ".join(said.out.split())


def test_no_traceback_and_nothing_measured(bad_models):
    _, said = bad_models
    assert said.code != 0
    assert "Traceback" not in said.out + said.err
