"""The tiny model: its checked-in file, its weights and its numpy reference are one and the same network."""

import numpy as np
import pytest

from harness.tiny_model import (
    TINY_INPUTS,
    TINY_ONNX,
    TINY_OUTPUTS,
    tiny_inputs,
    tiny_onnx,
    tiny_reference,
    tiny_weights,
)
from harness.vocabulary import FORMAT_ONNX, Precision


def _as_onnx() -> bytes:
    """Return the bytes of ``harness/tiny_model.onnx``, made from the weights."""
    onnx = pytest.importorskip("onnx")
    helper, (image,), (logits,) = onnx.helper, TINY_INPUTS, TINY_OUTPUTS
    nodes = [
        helper.make_node("Conv", ["images", "conv.weight", "conv.bias"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, spec.shape)] for spec in (image, logits)
    )
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in tiny_weights().items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def test_the_checked_in_file_is_made_from_the_weights():
    assert TINY_ONNX.read_bytes() == _as_onnx()


def test_onnx_reference_evaluator_agrees_with_numpy():
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(TINY_ONNX))
    inputs = tiny_inputs(3)
    found = evaluator.run(None, inputs)[0]
    expected = tiny_reference(inputs)["logits"]
    assert np.max(np.abs(found - expected)) <= 1e-6 * np.max(np.abs(expected))


def test_weights_are_the_same_on_every_machine():
    weights = tiny_weights()
    assert {name: value.shape for name, value in weights.items()} == {
        "conv.weight": (8, 3, 3, 3),
        "conv.bias": (8,),
        "fc.weight": (5, 8),
        "fc.bias": (5,),
    }
    assert all(value.dtype == np.float32 and np.abs(value).max() <= 1 for value in weights.values())
    assert float(weights["conv.weight"].sum()) == pytest.approx(1.047996, rel=1e-6)


def test_inputs_differ_by_seed():
    assert not np.array_equal(tiny_inputs(0)["images"], tiny_inputs(1)["images"])
    assert not np.allclose(tiny_reference(tiny_inputs(0))["logits"], tiny_reference(tiny_inputs(1))["logits"])


def test_artifact_of_the_onnx_file(tmp_path):
    artifact = tiny_onnx(tmp_path)
    assert (artifact.format, artifact.precision) == (FORMAT_ONNX, Precision.FP32)
    assert artifact.path.read_bytes() == TINY_ONNX.read_bytes()
    assert artifact.size_bytes == TINY_ONNX.stat().st_size
