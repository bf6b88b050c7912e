"""ONNX Runtime's OpenVINO provider for real, where a build has it: the contract, and a graph that it takes in part."""

from dataclasses import replace

import numpy as np
import pytest

from engines.exporters.onnx_int8 import OnnxInt8
from engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeOptions
from harness import proof
from harness.conformance import EngineConformance, relative_difference
from harness.engine import ExportSpec, SessionConfig
from harness.errors import Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_onnx, tiny_reference
from harness.vocabulary import FORMAT_ONNX, Precision, Unknowable

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        "OpenVINOExecutionProvider" not in ort.get_available_providers(),
        reason="this onnxruntime has no OpenVINO provider: it is in onnxruntime-openvino, in an environment of its own",
    ),
]


class TestContract(EngineConformance):
    engine = OnnxRuntimeEngine
    device = "openvino:cpu"
    precisions = (Precision.FP32, Precision.INT8)

    def artifact(self, precision, folder):
        if precision is Precision.FP32:
            return tiny_onnx(folder)
        sources, made = folder / "sources", folder / "made"
        sources.mkdir()
        made.mkdir()
        spec = ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], tiny_calibration(sources))
        exported = OnnxInt8().export(tiny_onnx(sources), spec, made)
        return tiny_artifact(made / exported.entry, FORMAT_ONNX, precision)


def _load(artifact, folder, **changes):
    config = SessionConfig("openvino:cpu", options=OnnxRuntimeOptions(), threads=1, scratch=folder)
    return OnnxRuntimeEngine().load(artifact, replace(config, **changes))


@pytest.fixture
def split(tmp_path):
    """The tiny model behind a float64 product with the identity, which the provider does not take."""
    artifact = tiny_onnx(tmp_path)
    model = onnx.load(artifact.path)
    image, model.graph.node[0].input[0] = model.graph.node[0].input[0], "turned"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(16), "eye"))
    make = onnx.helper.make_node
    nodes = [
        make("Cast", [image], ["wide"], "widen", to=onnx.TensorProto.DOUBLE),
        make("MatMul", ["wide", "eye"], ["product"], "product"),
        make("Cast", ["product"], ["turned"], "narrow", to=onnx.TensorProto.FLOAT),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    onnx.save(model, artifact.path)
    return artifact


def test_a_fallback_made_on_purpose_is_caught(split, tmp_path):
    session = _load(split, tmp_path)
    execution = session.describe()
    product, convolution, last = 3 * 16 * 16 * 16, 8 * 16 * 16 * 27, 5 * 8
    there = (convolution + last) / (product + convolution + last)
    assert execution.nodes_by_device == {"openvino:cpu": 5, "cpu": 3}
    assert execution.macs_by_device == pytest.approx({"openvino:cpu": there, "cpu": 1 - there})
    assert execution.operators == {"Cast": 2, "MatMul": 1, "Conv+Relu+GlobalAveragePool+Flatten+Gemm": 1}
    assert execution.graph_nodes == 8
    assert isinstance(execution.macs_by_precision, Unknowable)  # of what the provider compiled
    assert [each.kind for each in proof.differences(execution, "openvino:cpu", Precision.FP32)] == ["fell-back"]
    stream = session.stream()
    stream.bind(tiny_inputs())
    stream.run()
    assert relative_difference(stream.fetch(), tiny_reference(tiny_inputs())) < 1e-5


def test_strict_refuses_it(split, tmp_path):
    with pytest.raises(Unsupported, match="does not take every node") as caught:
        _load(split, tmp_path, strict=True)
    assert "fallback: allow" in caught.value.hint


def test_hardware_that_is_not_there_is_refused(tmp_path):
    absent = {"openvino:gpu", "openvino:npu"} - {device.name for device in OnnxRuntimeEngine().probe().devices}
    if not absent:
        pytest.skip("this machine has Intel's GPU and NPU")
    for device in absent:
        with pytest.raises(Unsupported, match=f"could not open OpenVINOExecutionProvider for {device!r}|cannot run"):
            _load(tiny_onnx(tmp_path), tmp_path, device=device)


def test_an_option_that_the_provider_does_not_have_is_named(tmp_path):
    with pytest.raises(Unsupported, match="nonsense"):
        _load(tiny_onnx(tmp_path), tmp_path, options=OnnxRuntimeOptions(provider_options={"nonsense": 1}))
