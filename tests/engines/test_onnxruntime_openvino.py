"""ONNX Runtime's OpenVINO provider for real, where a build has it: the contract, and a graph that it takes in part."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
from results.rows import rows
from results.store import RunStore

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.engine
INTERPRETER = Path(os.environ.get("HARNESS_ONNXRUNTIME_OPENVINO", ""))
here = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in ort.get_available_providers(),
    reason="this onnxruntime has no OpenVINO provider: it is in onnxruntime-openvino, in an environment of its own",
)
elsewhere = pytest.mark.skipif(
    not INTERPRETER.is_file(), reason="HARNESS_ONNXRUNTIME_OPENVINO names no Python with onnxruntime-openvino"
)


@here
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


@here
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


@here
def test_strict_refuses_it(split, tmp_path):
    with pytest.raises(Unsupported, match="does not take every node") as caught:
        _load(split, tmp_path, strict=True)
    assert "fallback: allow" in caught.value.hint


@here
def test_hardware_that_is_not_there_is_refused(tmp_path):
    absent = {"openvino:gpu", "openvino:npu"} - {device.name for device in OnnxRuntimeEngine().probe().devices}
    if not absent:
        pytest.skip("this machine has Intel's GPU and NPU")
    for device in absent:
        with pytest.raises(Unsupported, match=f"could not open OpenVINOExecutionProvider for {device!r}|cannot run"):
            _load(tiny_onnx(tmp_path), tmp_path, device=device)


@here
def test_an_option_that_the_provider_does_not_have_is_named(tmp_path):
    with pytest.raises(Unsupported, match="nonsense"):
        _load(tiny_onnx(tmp_path), tmp_path, options=OnnxRuntimeOptions(provider_options={"nonsense": 1}))


@elsewhere
def test_a_run_measures_it_in_the_environment_that_its_suite_names(split, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "suite.yaml").write_text(
        f"""
version: 1
workloads:
  whole: {{source: {{onnx: {tiny_onnx(tmp_path / "whole").path}}}, task: raw, input: [3, 16, 16]}}
  split: {{source: {{onnx: {split.path}}}, task: raw, input: [3, 16, 16]}}
matrix: {{engine: [onnxruntime], device: "openvino:cpu", precision: [fp32], threads: [1], scenario: [latency]}}
preset: quick
launches: 1
interpreters: {{onnxruntime: {INTERPRETER}}}
"""
    )
    said = subprocess.run(
        [sys.executable, "-m", "harness", "run", "suite.yaml", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "HARNESS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    found = {row.cell.workload: row for row in rows(RunStore.open("latest", tmp_path / "runs"))}
    whole, part = found["whole"], found["split"]
    assert whole.ranked
    assert whole.execution.nodes_by_device == {"openvino:cpu": 5}
    installed = "from importlib.metadata import version; print(version('onnxruntime-openvino'))"
    there = subprocess.run([INTERPRETER, "-c", installed], capture_output=True, text=True, check=True)
    assert whole.versions["onnxruntime-openvino"] == there.stdout.strip()
    assert [finding.kind for finding in part.findings if finding.unranked] == ["fell-back"]
