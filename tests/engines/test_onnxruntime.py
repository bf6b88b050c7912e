"""ONNX Runtime's adapter: the contract, and what is this engine's own."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest

from engines.exporters.onnx_fp16 import OnnxFloat16
from engines.exporters.onnx_int8 import OnnxInt8
from engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeOptions
from harness import process
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, SessionConfig
from harness.errors import DataError, Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_onnx, tiny_reference
from harness.vocabulary import FORMAT_ONNX, Goal, Precision
from harness.worker.scenarios.opened import versions

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


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in ort.get_available_providers(),
    reason="this onnxruntime has no CUDA provider: it is in onnxruntime-gpu, in an environment of its own",
)
class TestContractOnCuda(TestContract):
    """On a machine with an NVIDIA GPU."""

    device = "cuda:0"
    precisions = (Precision.FP32, Precision.FP16)


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
        {"graph_optimization": "layout"},
        {"arena": False},
        {"memory_pattern": False},
        {"memory_reuse": False},
        {"prepacking": False},
        {"session_config": {"session.set_denormal_as_zero": "1"}},
    ],
    ids=str,
)
def test_every_option_computes_the_same(load, options):
    expected = tiny_reference(tiny_inputs())["logits"]
    assert _infer(load(options=OnnxRuntimeOptions(**options), threads=2)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_child_reports_nothing_and_leaves_nothing_in_the_home_folder(tmp_path):
    """The runtime's telemetry is a thread beside the measured one, and a database that launches share."""
    home = tmp_path / "home"
    home.mkdir()
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    program = "import onnxruntime; onnxruntime.get_available_providers()"
    environment = process.environment({**outside, "HOME": str(home)}, 1)
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert not list(home.iterdir())


def test_graph_optimization_changes_what_is_executed(load):
    found = [
        load(options=OnnxRuntimeOptions(graph_optimization=level)).describe() for level in ("disabled", "extended")
    ]
    assert [execution.flags["executed nodes"] for execution in found] == ["5", "4"]
    rest = {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert found[0].operators == {"Conv": 1, "Relu": 1, **rest}  # as in the file
    assert found[1].operators == {"FusedConv": 1, **rest}
    assert [execution.graph_nodes for execution in found] == [5, 5]


def test_the_settings_of_the_session_are_read_back(load):
    options = OnnxRuntimeOptions(graph_optimization="basic", arena=False, memory_reuse=False)
    flags = load(options=options).describe().flags
    assert flags["graph optimization"] == "ORT_ENABLE_BASIC"
    assert flags["memory"] == "pattern"


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


# --- what is no model for it


def _saved(artifact, change):
    model = onnx.load(artifact.path)
    change(model)
    del model.graph.value_info[:]
    onnx.save(model, artifact.path)
    return artifact


def _custom(model):
    model.graph.node[1].op_type, model.graph.node[1].domain = "Zap", "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))


def _unknown(model):
    model.graph.node[1].op_type = "Zap"


def _future(model):
    model.opset_import[0].version = 99


def _later(model):
    model.ir_version = 99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_custom, "does not know the operator acme:Zap"),
        (_unknown, "does not know the operator Zap"),
        (_future, "opset 99 is newer than it knows"),
        (_later, "version 99 of the file format is newer"),
    ],
)
def test_what_the_runtime_does_not_know_is_named(tmp_path, change, message):
    artifact = _saved(tiny_onnx(tmp_path), change)
    with pytest.raises(Unsupported, match=message) as caught:
        OnnxRuntimeEngine().load(artifact, SessionConfig(options=OnnxRuntimeOptions()))
    assert caught.value.hint
    assert "/onnxruntime" not in caught.value.message


@pytest.mark.parametrize("kept", [0, 1, 300])
def test_a_file_cut_off_says_so(tmp_path, kept):
    artifact = tiny_onnx(tmp_path)
    artifact.path.write_bytes(artifact.path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"model\.onnx: it is no whole ONNX file") as caught:
        OnnxRuntimeEngine().load(artifact, SessionConfig(options=OnnxRuntimeOptions()))
    assert "cut off" in caught.value.hint


def test_external_data_cut_off_says_so(tmp_path):
    artifact = tiny_onnx(tmp_path)
    model = onnx.load(artifact.path)
    onnx.save(model, artifact.path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(DataError, match="a file of it is missing or not as long"):
        OnnxRuntimeEngine().load(artifact, SessionConfig(options=OnnxRuntimeOptions()))


def test_a_library_that_is_no_plug_in_is_refused(tmp_path):
    library = tmp_path / "libplugin.so"
    library.write_bytes(b"not a library")
    options = OnnxRuntimeOptions(ep_library=str(library))
    with pytest.raises(Unsupported, match=r"cannot use .*libplugin\.so"):
        OnnxRuntimeEngine().load(tiny_onnx(tmp_path), SessionConfig("acme:gpu", options=options))


def test_an_installed_plug_in_offers_devices_or_says_that_it_has_none(tmp_path):
    package = pytest.importorskip("onnxruntime_ep_openvino")
    options = OnnxRuntimeOptions(ep_library=package.get_library_path())
    there = {device.name for device in OnnxRuntimeEngine().probe().devices}
    config = SessionConfig("openvino:cpu", options=options)
    if "openvino:cpu" in there:
        execution = OnnxRuntimeEngine().load(tiny_onnx(tmp_path), config).describe()
        assert execution.nodes_by_device == {"openvino:cpu": 5}
    else:
        with pytest.raises(Unsupported, match="has no device 'openvino:cpu'"):
            OnnxRuntimeEngine().load(tiny_onnx(tmp_path), config)


def test_recurrent_work_counts(tmp_path):
    h, rng = onnx.helper, np.random.default_rng(0)
    weights = {"W": (1, 16, 3), "R": (1, 16, 4)}
    tensors = [onnx.numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    value = h.make_tensor_value_info
    graph = h.make_graph(
        [h.make_node("LSTM", ["x", "W", "R"], ["y"], "lstm", hidden_size=4)],
        "recurrent",
        [value("x", onnx.TensorProto.FLOAT, [5, 1, 3])],
        [value("y", onnx.TensorProto.FLOAT, [5, 1, 1, 4])],
        tensors,
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), tmp_path / "lstm.onnx")
    artifact = replace(tiny_onnx(tmp_path), path=tmp_path / "lstm.onnx")
    config = SessionConfig(options=OnnxRuntimeOptions(), threads=1, scratch=tmp_path)
    execution = OnnxRuntimeEngine().load(artifact, config).describe()
    assert execution.macs_by_precision == {"fp32": 1.0}
    assert execution.macs_by_device == {"cpu": 1.0}


def test_the_version_of_another_build_is_on_record(monkeypatch):
    installed = {"onnxruntime-openvino": "1.24.1"}

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    found = versions(OnnxRuntimeEngine())
    assert {name: each for name, each in found.items() if name.startswith("onnxruntime")} == installed
