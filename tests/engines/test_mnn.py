"""MNN's adapter, its exporter and its quantiser: the contract, and what is this engine's own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engines.exporters import _mnn, _mnn_graph
from engines.exporters.mnn_int8 import MnnInt8
from engines.exporters.onnx_mnn import OnnxToMnn
from engines.mnn import MnnEngine, MnnOptions
from harness.conformance import EngineConformance
from harness.engine import Calibration, ExportSpec, SessionConfig
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.tiny_model import (
    TINY_INPUTS,
    TINY_OUTPUTS,
    tiny_artifact,
    tiny_calibration,
    tiny_inputs,
    tiny_onnx,
    tiny_reference,
)
from harness.vocabulary import FORMAT_MNN, FORMAT_ONNX, Goal, Level, Precision, TensorSpec

pytest.importorskip("MNN")
pytestmark = pytest.mark.engine
SPEC = ExportSpec(Precision.FP32, 1, TINY_INPUTS[0].shape[1:])


def _artifact(precision, folder):
    sources, made = folder / "sources", folder / "made"
    sources.mkdir()
    made.mkdir()
    exported = OnnxToMnn().export(tiny_onnx(sources), SPEC, made if precision is Precision.FP32 else sources)
    if precision is Precision.INT8:
        fp32 = tiny_artifact(sources / exported.entry, FORMAT_MNN, Precision.FP32)
        spec = replace(SPEC, precision=precision, calibration=tiny_calibration(sources))
        exported = MnnInt8().export(fp32, spec, made)
        assert "32 images" in exported.notes[0]
    assert (exported.inputs, exported.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert [path.name for path in made.iterdir()] == ["model.mnn"]
    return tiny_artifact(made / exported.entry, FORMAT_MNN, precision)


class TestContract(EngineConformance):
    engine = MnnEngine
    precisions = (Precision.FP32, Precision.INT8)

    def artifact(self, precision, folder):
        return _artifact(precision, folder)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return _artifact(Precision.FP32, tmp_path_factory.mktemp("fp32"))


def _load(artifact, **changes):
    return MnnEngine().load(artifact, replace(SessionConfig(options=MnnOptions(), threads=1), **changes))


def _infer(session):
    stream = session.stream()
    stream.bind(tiny_inputs())
    stream.run()
    return stream.fetch()["logits"]


@pytest.mark.parametrize(
    "options",
    [
        *({name: level} for name in ("memory", "power") for level in ("low", "high")),
        {"winograd_memory": 0},
        {"allocator": "eager"},
        {"geometry": False},
    ],
    ids=str,
)
def test_every_option_computes_the_same(fp32, options):
    expected = tiny_reference(tiny_inputs())["logits"]
    assert _infer(_load(fp32, options=MnnOptions(**options))) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "options", [{"memory": "much"}, {"power": "lots"}, {"allocator": "other"}, {"winograd_memory": 4}], ids=str
)
def test_unknown_words_are_refused_with_the_known_ones(fp32, options):
    """MNN itself takes any word."""
    with pytest.raises(Unsupported) as caught:
        _load(fp32, options=MnnOptions(**options))
    assert str(next(iter(options.values()))) in caught.value.message
    assert caught.value.hint.startswith("it is")


def test_quantised_operators_show_in_the_execution(tmp_path):
    execution = _load(_artifact(Precision.INT8, tmp_path), precision=Precision.INT8).describe()
    assert execution.macs_by_precision["int8"] > 0.99  # the last layer is in float
    assert execution.operators["Convolution"] == 2
    assert execution.nodes_by_precision["fp32"] >= 1  # the pooling


def test_what_mnn_takes_as_a_hint_is_no_precision_of_it(fp32):
    levels = MnnEngine().probe().devices[0].precisions
    for precision in (Precision.FP16, Precision.BF16):
        assert levels[precision.value].level is Level.UNSUPPORTED
        with pytest.raises(Unsupported, match=str(precision)) as caught:
            _load(fp32, precision=precision)
        assert "hint" in caught.value.hint


def test_an_fp32_model_under_another_name_shows_what_ran(fp32):
    execution = _load(replace(fp32, precision=Precision.INT8), precision=Precision.INT8).describe()
    assert execution.macs_by_precision == {"fp32": 1.0}


def test_more_threads_than_there_are_show_as_those_there_are(fp32):
    assert 1 <= _load(fp32, threads=1000).describe().threads < 1000


def test_throughput_takes_a_stream_per_thread(fp32):
    session = _load(fp32, goal=Goal.THROUGHPUT, threads=2)
    execution = session.describe()
    assert session.recommended_streams == execution.streams == execution.threads == 2


def test_a_truncated_model_is_refused(fp32, tmp_path):
    path = tmp_path / "model.mnn"
    path.write_bytes(fp32.path.read_bytes()[:-100])
    with pytest.raises(DataError) as caught:
        _load(replace(fp32, path=path))
    assert "export" in caught.value.hint


def test_other_shapes_than_the_artifacts_are_refused(fp32):
    with pytest.raises(Unsupported, match="expected were"):
        _load(replace(fp32, inputs=(replace(TINY_INPUTS[0], shape=(2, 3, 16, 16)),)))


# --- exporters


def test_a_truncated_onnx_file_fails_with_a_hint(tmp_path):
    source = tiny_onnx(tmp_path)
    source.path.write_bytes(source.path.read_bytes()[:200])
    with pytest.raises(ExportFailed, match="MNN cannot convert") as caught:
        OnnxToMnn().export(source, SPEC, tmp_path)
    assert "cut short" in caught.value.hint


def test_an_operator_without_a_translation_fails(tmp_path):
    onnx = pytest.importorskip("onnx")
    source = tiny_onnx(tmp_path)
    model = onnx.load(source.path)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Strange"
    onnx.save(model, source.path)
    with pytest.raises(ExportFailed) as caught:
        OnnxToMnn().export(source, SPEC, tmp_path)
    assert caught.value.hint


def _quantised(source, folder, **options):
    made = folder / "made"
    made.mkdir()
    spec = replace(SPEC, precision=Precision.INT8, calibration=tiny_calibration(folder), options=options)
    exported = MnnInt8().export(source, spec, made)
    return replace(source, path=made / exported.entry, precision=Precision.INT8), exported.notes[2:]


def test_the_last_layers_are_quantised_on_request(fp32, tmp_path):
    artifact, notes = _quantised(fp32, tmp_path, keep_last=False)
    assert [note.partition(":")[0] for note in notes] == ["kept in float (after the last layers)"]
    assert _load(artifact, precision=Precision.INT8).describe().macs_by_precision == {"int8": 1.0}


def _joined(folder):
    """Two convolutions side by side, a third that reads both, and one more."""
    onnx = pytest.importorskip("onnx")
    h, rng = onnx.helper, np.random.default_rng(0)

    def weights(name, *shape):
        return onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    nodes = [
        h.make_node("Conv", [TINY_INPUTS[0].name, "w0"], ["left"], "left"),
        h.make_node("Conv", [TINY_INPUTS[0].name, "w1"], ["right"], "right"),
        h.make_node("Concat", ["left", "right"], ["both"], "both", axis=1),
        h.make_node("Conv", ["both", "w2"], ["mixed"], "mixed"),
        h.make_node("Conv", ["mixed", "w3"], ["out"], "out"),
    ]
    given = [weights("w0", 4, 3, 1, 1), weights("w1", 4, 3, 1, 1), weights("w2", 8, 8, 1, 1), weights("w3", 4, 8, 1, 1)]
    value, shape = h.make_tensor_value_info, TINY_INPUTS[0].shape
    inputs = [value(TINY_INPUTS[0].name, onnx.TensorProto.FLOAT, shape)]
    outputs = [value("out", onnx.TensorProto.FLOAT, [1, 4, *shape[2:]])]
    graph = h.make_graph(nodes, "joined", inputs, outputs, given)
    path = folder / "joined.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), path)
    outputs = (TensorSpec("out", "float32", (1, 4, *shape[2:])),)
    source = replace(tiny_artifact(path, FORMAT_ONNX, Precision.FP32), inputs=TINY_INPUTS, outputs=outputs)
    made = OnnxToMnn().export(source, SPEC, folder)
    return replace(source, format=FORMAT_MNN, path=folder / made.entry)


@pytest.mark.parametrize(("keep_concat", "share"), [(True, 64 / 120), (False, 0.0)])
def test_what_reads_a_concatenation_computes_in_float(tmp_path, keep_concat, share):
    source = _joined(tmp_path)
    artifact, notes = _quantised(source, tmp_path, keep_last=False, keep_concat=keep_concat)
    shares = _load(artifact, precision=Precision.INT8).describe().macs_by_precision
    assert shares.get("fp32", 0.0) == pytest.approx(share, abs=0.01)
    assert ("kept in float (concatenations): 1, and what layers read from them" in notes) == keep_concat


def test_a_file_is_read_as_mnn_itself_reads_it(fp32, tmp_path):
    artifact, _ = _quantised(fp32, tmp_path, keep_last=False)
    arguments = ["-f", "MNN", "--modelFile", str(artifact.path), "--JsonFile", "net.json"]
    _mnn.call("mnnconvert", arguments, tmp_path)
    told = json.loads((tmp_path / "net.json").read_text())
    data = artifact.path.read_bytes()
    graph = _mnn_graph.operators(data)
    found = [(each.name, list(each.inputs), list(each.outputs)) for each in graph]
    assert found == [(op["name"], op.get("inputIndexes", []), op["outputIndexes"]) for op in told["oplists"]]
    layers = [op["name"] for op in told["oplists"] if op["type"] in _mnn_graph.LAYERS.values()]
    assert [each.name for each in _mnn_graph.layers(graph)] == layers
    assert _mnn_graph.quantised(data) == {
        entry["index"] for entry in told["extraTensorDescribe"] if "quantInfo" in entry
    }
    some = sorted(_mnn_graph.quantised(data))[::2]
    assert _mnn_graph.quantised(_mnn_graph.in_float(data, some)) == _mnn_graph.quantised(data) - set(some)
    assert _mnn_graph.operators(_mnn_graph.in_float(data, some)) == graph


def test_what_decodes_boxes_stays_in_float():
    """Convolution, softmax, transpose, expectation: of a head like YOLO's."""
    kinds = (34, 12, 12, 85, 46, 12, 12, 10)
    inputs = ((), (0,), (1,), (2,), (3,), (4,), (1,), (5, 6))
    graph = [_mnn_graph.Operator(kind, str(n), inputs[n], (n,)) for n, kind in enumerate(kinds)]
    last, after = _mnn_graph.ending(graph)
    assert [each.name for each in reversed(last)] == ["2", "6"]
    assert [each.name for each in reversed(after)] == ["3", "4", "5", "7"]
    assert [each.name for each in _mnn_graph.layers(graph)] == ["1", "2", "6"]


def test_int8_without_images_is_refused(fp32, tmp_path):
    with pytest.raises(ExportFailed, match="no calibration images"):
        MnnInt8().export(fp32, replace(SPEC, precision=Precision.INT8), tmp_path)


@pytest.mark.parametrize("given", [{"weights": "guess"}, {"method": "KL"}], ids=str)
def test_int8_refuses_options_it_cannot_follow(fp32, tmp_path, given):
    spec = replace(SPEC, precision=Precision.INT8, calibration=tiny_calibration(tmp_path), options=given)
    with pytest.raises(ExportFailed) as caught:
        MnnInt8().export(fp32, spec, tmp_path)
    assert caught.value.hint


def test_int8_needs_pictures(fp32, tmp_path):
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((2, 2, 16, 16), np.float32))
    source = replace(fp32, inputs=(replace(TINY_INPUTS[0], shape=(1, 2, 16, 16)),))
    spec = replace(SPEC, precision=Precision.INT8, calibration=Calibration(images, "", 2))
    with pytest.raises(ExportFailed, match="2 channels"):
        MnnInt8().export(source, spec, tmp_path)


def test_a_crash_of_the_quantiser_is_an_error_of_the_export(fp32, tmp_path):
    """It aborts on a file that is no model: only its own process is lost."""
    path = tmp_path / "broken.mnn"
    path.write_bytes(b"no model")
    spec = replace(SPEC, precision=Precision.INT8, calibration=tiny_calibration(tmp_path, 2))
    with pytest.raises(ExportFailed, match="MNN cannot quantise"):
        MnnInt8().export(replace(fp32, path=path), spec, tmp_path)


def test_a_file_that_a_dying_quantiser_left_behind_is_no_int8_model(fp32, tmp_path, monkeypatch):
    """It may die over a file half written, and it may have quantised nothing: only a run tells."""
    spec = replace(SPEC, precision=Precision.INT8, calibration=tiny_calibration(tmp_path, 2))
    whole = fp32.path.read_bytes()
    for content, said in ((whole[:-100], "MNN refuses"), (whole, "left every layer")):

        def left(_tool, _arguments, folder, content=content):
            (folder / "model.mnn").write_bytes(content)
            return ["mnnquant ended with signal 11"]

        monkeypatch.setattr("engines.exporters._mnn.call", left)
        with pytest.raises(ExportFailed, match=said) as caught:
            MnnInt8().export(fp32, spec, tmp_path)
        assert caught.value.hint


def test_a_missing_library_is_unavailable(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailable) as caught:
        OnnxToMnn().export(tiny_onnx(tmp_path), SPEC, tmp_path)
    assert caught.value.hint == OnnxToMnn.install
