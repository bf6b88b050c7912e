"""ncnn's adapter and its exporters: the contract, and what is this engine's own."""

from dataclasses import replace

import numpy as np
import pytest

from engines.exporters.onnx_ncnn import OnnxToNcnn
from engines.exporters.torch_ncnn import TorchExportToNcnn
from engines.ncnn import NcnnEngine, NcnnOptions
from harness import proof
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, SessionConfig
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.tiny_model import (
    TINY_INPUTS,
    TINY_OUTPUTS,
    tiny_artifact,
    tiny_inputs,
    tiny_onnx,
    tiny_reference,
)
from harness.vocabulary import FORMAT_NCNN, FORMAT_TORCH_EXPORT, Artifact, Goal, Precision, TensorSpec

ncnn = pytest.importorskip("ncnn")
pytest.importorskip("pnnx")
pytestmark = pytest.mark.engine
SPEC = ExportSpec(Precision.FP32, 1, TINY_INPUTS[0].shape[1:])


def _artifact(folder):
    sources, made = folder / "sources", folder / "made"
    sources.mkdir()
    made.mkdir()
    exported = OnnxToNcnn().export(tiny_onnx(sources), SPEC, made)
    assert (exported.inputs, exported.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert sorted(path.name for path in made.iterdir()) == ["model.ncnn.bin", "model.ncnn.param"]
    return tiny_artifact(made / exported.entry, FORMAT_NCNN, Precision.FP32)


class TestContract(EngineConformance):
    engine = NcnnEngine
    precisions = (Precision.FP32, Precision.BF16)

    def artifact(self, precision, folder):
        return _artifact(folder)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return _artifact(tmp_path_factory.mktemp("ncnn"))


def _load(artifact, **changes):
    return NcnnEngine().load(artifact, replace(SessionConfig(options=NcnnOptions(), threads=1), **changes))


def _infer(session, inputs):
    stream = session.stream()
    stream.bind(inputs)
    stream.run()
    return stream.fetch()


def _network(folder, text, weights=b""):
    """A network written by hand, of one input (1, 2, 4, 4) and one output of that size in one channel."""
    path = folder / "model.ncnn.param"
    path.write_text(text)
    path.with_suffix(".bin").write_bytes(weights)
    inputs, outputs = (TensorSpec("given", "float32", (1, 2, 4, 4)),), (TensorSpec("found", "float32", (1, 1, 4, 4)),)
    return Artifact(FORMAT_NCNN, Precision.FP32, path, "", 0, inputs, outputs)


@pytest.mark.parametrize(
    "options",
    [
        {"winograd": False},
        {"sgemm": False},
        {"packing_layout": False},
        {"light_mode": False},
        {"openmp_blocktime_ms": 0},
    ],
    ids=str,
)
def test_every_option_computes_the_same(fp32, options):
    found = _infer(_load(fp32, options=NcnnOptions(**options)), tiny_inputs())["logits"]
    assert found == pytest.approx(tiny_reference(tiny_inputs())["logits"], rel=1e-4, abs=1e-5)


def test_execution_names_layers_with_what_is_fused_into_them(fp32):
    execution = _load(fp32).describe()
    assert execution.operators["Convolution+ReLU"] == 1
    assert execution.operators["InnerProduct"] == 1
    assert execution.graph_nodes == sum(execution.operators.values())
    assert execution.macs_by_precision == {"fp32": 1.0}


def test_bf16_rounds_the_weights_too(tmp_path):
    """1 + 2^-9 is 1 in bfloat16: the difference of two channels is lost, unless the weights stayed float32."""
    text = "7767517\n2 2\nInput in0 0 1 in0\nConvolution c 1 1 in0 out0 0=1 1=1 5=0 6=2\n"
    artifact = _network(tmp_path, text, b"\0" * 4 + np.array([1 + 2**-9, 1], np.float32).tobytes())
    inputs = {"given": np.stack([np.ones((4, 4)), -np.ones((4, 4))])[None].astype(np.float32)}
    found = [_infer(_load(artifact, precision=p), inputs)["found"] for p in (Precision.FP32, Precision.BF16)]
    assert np.all(found[0] == 2**-9)
    assert np.all(found[1] == 0)
    execution = _load(artifact, precision=Precision.BF16).describe()
    assert execution.macs_by_precision == {"bf16": 1.0}
    assert "float32" in execution.flags["storage"]


def test_a_layer_that_has_no_bfloat16_form_is_caught(tmp_path):
    """Asked for BF16, ncnn computes a depthwise convolution in float32 and says nothing.

    Of eight channels: where they fit no vector, it writes nothing at all.
    """
    text = "7767517\n2 2\nInput in0 0 1 in0\nConvolutionDepthWise c 1 1 in0 out0 0=8 1=1 5=0 6=8 7=8\n"
    weights = np.arange(2, 10, dtype=np.float32)
    shape = (1, 8, 4, 4)
    artifact = replace(
        _network(tmp_path, text, b"\0" * 4 + weights.tobytes()),
        inputs=(TensorSpec("given", "float32", shape),),
        outputs=(TensorSpec("found", "float32", shape),),
    )
    session = _load(artifact, precision=Precision.BF16)
    found = _infer(session, {"given": np.ones(shape, np.float32)})["found"]
    assert np.array_equal(found[0, :, 0, 0], weights)
    execution = session.describe()
    assert execution.macs_by_precision == {"fp32": 1.0}
    assert [each.kind for each in proof.differences(execution, "cpu", Precision.BF16)] == ["other-precision"]


def test_binding_an_odd_width_keeps_rows_apart(tmp_path):
    """ncnn pads each channel to 16 bytes; and a first layer that works in place must leave what is bound."""
    artifact = _network(tmp_path, "7767517\n2 2\nInput in0 0 1 in0\nReLU r 1 1 in0 out0\n")
    specs = [(TensorSpec(name, "float32", (1, 3, 5, 7)),) for name in ("given", "found")]
    stream = _load(replace(artifact, inputs=specs[0], outputs=specs[1])).stream()
    given = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float32)
    stream.bind({"given": given})
    for _ in range(2):
        stream.run()
        assert np.array_equal(stream.fetch()["found"], np.maximum(given, 0))


def test_fp16_is_refused_where_the_processor_lacks_it(fp32):
    if ncnn.cpu_support_arm_asimdhp():
        pytest.skip("this processor has float16 arithmetic")
    with pytest.raises(Unsupported, match="fp16") as caught:
        _load(fp32, precision=Precision.FP16)
    assert "asimdhp" in caught.value.hint


@pytest.mark.parametrize(("threads", "streams", "each"), [(4, None, 1), (4, 2, 2), (2, 3, 1)])
def test_threads_are_the_budget_of_all_streams(fp32, threads, streams, each):
    session = _load(fp32, goal=Goal.THROUGHPUT, threads=threads, streams=streams)
    execution = session.describe()
    assert session.recommended_streams == execution.streams == (streams or threads)
    assert execution.flags["threads per stream"] == str(each)
    assert execution.threads == each * (streams or threads)


def test_throughput_takes_no_more_streams_than_it_may_use_processors(fp32, monkeypatch):
    monkeypatch.setattr("engines.ncnn.usable_processors", lambda: 1)
    assert _load(fp32, goal=Goal.THROUGHPUT, threads=None).recommended_streams == 1


def test_a_batch_is_refused(fp32, tmp_path):
    batch = (replace(TINY_INPUTS[0], shape=(2, 3, 16, 16)),)
    with pytest.raises(Unsupported, match="one item"):
        _load(replace(fp32, inputs=batch))
    with pytest.raises(Unsupported, match="batch"):
        OnnxToNcnn().export(replace(tiny_onnx(tmp_path), inputs=batch), SPEC, tmp_path)


@pytest.mark.parametrize("suffix", ["param", "bin"])
def test_a_truncated_file_is_refused(fp32, tmp_path, suffix):
    for end in ("param", "bin"):
        content = fp32.path.with_suffix(f".{end}").read_bytes()
        (tmp_path / f"model.ncnn.{end}").write_bytes(content[: len(content) // 2] if end == suffix else content)
    with pytest.raises(DataError) as caught:
        _load(replace(fp32, path=tmp_path / "model.ncnn.param"))
    assert "export" in caught.value.hint


def test_a_layer_that_ncnn_lacks_is_named(tmp_path):
    artifact = _network(tmp_path, "7767517\n2 2\nInput in0 0 1 in0\naten::airy_ai a 1 1 in0 out0\n")
    with pytest.raises(Unsupported, match="aten::airy_ai"):
        _load(artifact)


def test_an_operator_without_a_translation_fails_by_name(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Det", ["images"], ["logits"])]
    ends = [value("images", 1, [1, 3, 3])], [value("logits", 1, [1])]
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *ends), opset_imports=opset, ir_version=8)
    inputs, outputs = (TensorSpec("images", "float32", (1, 3, 3)),), (TensorSpec("logits", "float32", (1,)),)
    source = replace(tiny_onnx(tmp_path), inputs=inputs, outputs=outputs)
    onnx.save(model, source.path)
    with pytest.raises(ExportFailed, match="Det"):
        OnnxToNcnn().export(source, SPEC, tmp_path)


def test_a_truncated_model_fails_with_a_hint(tmp_path):
    source = tiny_onnx(tmp_path)
    source.path.write_bytes(source.path.read_bytes()[:200])
    with pytest.raises(ExportFailed, match="pnnx cannot convert") as caught:
        OnnxToNcnn().export(source, SPEC, tmp_path)
    assert caught.value.hint


def test_a_missing_converter_is_unavailable(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailable) as caught:
        OnnxToNcnn().export(tiny_onnx(tmp_path), SPEC, tmp_path)
    assert caught.value.hint == OnnxToNcnn.install


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")
def test_a_torch_package_answers_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    from engines.exporters import _torch

    layers = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.SiLU(), torch.nn.MaxPool2d(2)
    module = torch.nn.Sequential(*layers).eval()
    made = _torch.export(_torch.Traceable(module, "image"), ExportSpec(Precision.FP32, 1, (3, 10, 14)), tmp_path)
    source = Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, tmp_path / made.entry, "", 0, made.inputs, made.outputs)
    folder = tmp_path / "out"
    folder.mkdir()
    exported = TorchExportToNcnn().export(source, SPEC, folder)
    artifact = replace(source, format=FORMAT_NCNN, path=folder / exported.entry)
    image = np.random.default_rng(0).normal(size=(1, 3, 10, 14)).astype(np.float32)
    expected = module(torch.from_numpy(image)).detach().numpy()
    assert _infer(_load(artifact), {"image": image})["output0"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_torch_package_that_is_cut_short_fails_with_a_hint(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK\3\4 no package")
    source = Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, path, "", 0, TINY_INPUTS, TINY_OUTPUTS)
    with pytest.raises(ExportFailed) as caught:
        TorchExportToNcnn().export(source, SPEC, tmp_path)
    assert caught.value.hint
