"""ONNX Runtime's adapter: the contract, and what is this engine's own."""

import os
from dataclasses import replace

import numpy as np
import pytest

from engines.exporters.onnx_fp16 import OnnxFloat16
from engines.exporters.onnx_int8 import OnnxInt8
from engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeOptions
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, SessionConfig
from harness.errors import Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_onnx, tiny_reference
from harness.vocabulary import FORMAT_ONNX, Goal, Precision

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.engine


class TestContract(EngineConformance):
    engine = OnnxRuntimeEngine
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)

    def artifact(self, precision, folder):
        if precision is Precision.FP32:
            return tiny_onnx(folder)
        exporter = OnnxFloat16() if precision is Precision.FP16 else OnnxInt8()
        sources, made = folder / "sources", folder / "made"
        sources.mkdir()
        made.mkdir()
        spec = ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], tiny_calibration(sources))
        exported = exporter.export(tiny_onnx(sources), spec, made)
        return tiny_artifact(made / exported.entry, FORMAT_ONNX, precision)


@pytest.fixture
def load(tmp_path):
    """A function that loads the tiny model in FP32 with these settings."""
    artifact = tiny_onnx(tmp_path)

    def load(**changes):
        config = replace(SessionConfig(options=OnnxRuntimeOptions(), threads=1, scratch=tmp_path), **changes)
        return OnnxRuntimeEngine().load(artifact, config)

    return load


def _infer(session):
    stream = session.stream()
    stream.bind(tiny_inputs())
    stream.run()
    return stream.fetch()["logits"]


@pytest.mark.parametrize(
    "options",
    [
        *({"graph_optimization": level} for level in ("all", "extended", "basic", "disabled")),
        {"execution_mode": "parallel"},
        {"allow_spinning": False},
        {"allow_spinning": True},
        {"arena": False},
    ],
    ids=str,
)
def test_every_option_computes_the_same(load, options):
    expected = tiny_reference(tiny_inputs())["logits"]
    assert _infer(load(options=OnnxRuntimeOptions(**options), threads=2)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_graph_optimization_changes_what_is_executed(load):
    counts = [
        int(load(options=OnnxRuntimeOptions(graph_optimization=level)).describe().flags["executed nodes"])
        for level in ("disabled", "extended")
    ]
    assert counts == [5, 4]  # as in the file; then Conv and ReLU are one


@pytest.mark.parametrize("options", [{"graph_optimization": "most"}, {"execution_mode": "sideways"}], ids=str)
def test_unknown_words_are_refused_with_the_known_ones(load, options):
    with pytest.raises(Unsupported) as caught:
        load(options=OnnxRuntimeOptions(**options))
    assert next(iter(options.values())) in caught.value.message
    assert "one of" in caught.value.hint


@pytest.mark.parametrize(("threads", "streams", "intra"), [(4, None, 1), (4, 4, 1), (4, 2, 3), (2, 3, 1), (3, 1, 3)])
def test_threads_are_the_budget_of_all_streams(load, threads, streams, intra):
    session = load(goal=Goal.THROUGHPUT, threads=threads, streams=streams)
    assert session.recommended_streams == (streams or threads)
    execution = session.describe()
    assert execution.flags["intra-op threads"] == str(intra)
    assert execution.threads == max(threads, streams or 0)
    assert execution.streams == (streams or threads)


def test_throughput_without_threads_uses_every_processor_once(load):
    session = load(goal=Goal.THROUGHPUT, threads=None)
    assert session.recommended_streams == session.describe().threads == len(os.sched_getaffinity(0))


def test_profile_of_describe_stays_in_scratch_and_goes(load, tmp_path, monkeypatch):
    scratch, folder = tmp_path / "scratch", tmp_path / "folder"
    scratch.mkdir()
    folder.mkdir()
    monkeypatch.chdir(folder)
    load(scratch=scratch).describe()
    assert not list(scratch.iterdir())
    assert not list(folder.iterdir())


def test_artifact_of_another_precision_is_refused(load):
    with pytest.raises(Unsupported, match="fp32 arithmetic, int8 was asked"):
        load(precision=Precision.INT8)


def test_dynamic_shapes_are_refused(tmp_path):
    artifact = tiny_onnx(tmp_path)
    model = onnx.load(artifact.path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, artifact.path)
    with pytest.raises(Unsupported, match="dynamic"):
        OnnxRuntimeEngine().load(artifact, SessionConfig(options=OnnxRuntimeOptions()))


def test_fp16_shows_that_float32_kernels_ran(tmp_path):
    artifact = TestContract().artifact(Precision.FP16, tmp_path)
    config = SessionConfig(precision=Precision.FP16, options=OnnxRuntimeOptions(), threads=1, scratch=tmp_path)
    session = OnnxRuntimeEngine().load(artifact, config)
    # The very reason for which the facts call it emulated: should this fail, they are out of date.
    assert session.describe().macs_by_precision == {"fp32": 1.0}
    assert session.describe().inputs == TINY_INPUTS
    assert np.isfinite(_infer(session)).all()
