"""The exporters from ONNX and from IR: what they keep in float, what they say, what they leave behind."""

from dataclasses import replace

import numpy as np
import pytest

from engines.exporters._calibration import Batches
from engines.exporters.onnx_fp16 import OnnxFloat16
from engines.exporters.onnx_int8 import OnnxInt8
from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.exporters.openvino_int8 import OpenVINOInt8
from harness.engine import Calibration, ExportSpec
from harness.errors import ExportFailed
from harness.tiny_model import TINY_INPUTS, TINY_OUTPUTS, tiny_artifact, tiny_calibration, tiny_onnx
from harness.vocabulary import FORMAT_ONNX, FORMAT_OPENVINO_IR, Artifact, Precision, TensorSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.engine
SHAPE = TINY_INPUTS[0].shape[1:]


@pytest.fixture
def spec(tmp_path):
    folder = tmp_path / "calibration"
    folder.mkdir()
    return ExportSpec(Precision.INT8, 1, SHAPE, tiny_calibration(folder, 8))


@pytest.fixture
def source(tmp_path):
    return tiny_onnx(tmp_path)


@pytest.fixture
def ir(source, tmp_path):
    """A function that makes the FP32 IR of an ONNX artifact."""
    pytest.importorskip("openvino")

    def make(artifact=source):
        folder = tmp_path / "ir"
        folder.mkdir()
        made = OnnxToOpenVINO().export(artifact, ExportSpec(Precision.FP32, 1, SHAPE), folder)
        path = folder / made.entry
        return replace(artifact, format=FORMAT_OPENVINO_IR, path=path)

    return make


def _export(exporter, artifact, spec, folder):
    folder.mkdir()
    made = exporter.export(artifact, spec, folder)
    return made, folder


def _detector(path):
    """A detection head in small: features → distribution over 4 bins per side → expectation, joined with scores."""
    h, rng = onnx.helper, np.random.default_rng(0)

    def tensor(name, *shape):
        return onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    bins = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), "bins")
    shape = onnx.numpy_helper.from_array(np.array([1, 4, 4, 256], np.int64), "shape")
    flat = onnx.numpy_helper.from_array(np.array([1, 4, 256], np.int64), "flat")
    nodes = [
        h.make_node("Conv", ["images", "w0"], ["features"], "backbone", pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["features"], ["active"], "active"),
        h.make_node("Conv", ["active", "w1"], ["logits"], "sides"),
        h.make_node("Reshape", ["logits", "shape"], ["split"], "split"),
        h.make_node("Softmax", ["split"], ["distribution"], "softmax", axis=2),
        h.make_node("Transpose", ["distribution"], ["turned"], "turn", perm=[0, 2, 1, 3]),
        h.make_node("Conv", ["turned", "bins"], ["expected"], "expectation"),
        h.make_node("Reshape", ["expected", "flat"], ["boxes"], "boxes"),
        h.make_node("Conv", ["active", "w2"], ["classes"], "scores"),
        h.make_node("Reshape", ["classes", "flat"], ["scores_flat"], "scores_flat"),
        h.make_node("Sigmoid", ["scores_flat"], ["probabilities"], "probabilities"),
        h.make_node("Concat", ["boxes", "probabilities"], ["output0"], "join", axis=1),
    ]
    weights = [tensor("w0", 8, 3, 3, 3), tensor("w1", 16, 8, 1, 1), tensor("w2", 4, 8, 1, 1), bins, shape, flat]
    value = h.make_tensor_value_info
    inputs = [value("images", onnx.TensorProto.FLOAT, [1, *SHAPE])]
    outputs = [value("output0", onnx.TensorProto.FLOAT, [1, 8, 256])]
    graph = h.make_graph(nodes, "detector", inputs, outputs, weights)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), path)
    outputs = (TensorSpec("output0", "float32", (1, 8, 256)),)
    return Artifact(FORMAT_ONNX, Precision.FP32, path, "", 0, TINY_INPUTS, outputs)


def _outputs(path, inputs):
    ort = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def _in_float(model):
    """Names of the Conv and Gemm nodes whose weight is not dequantized."""
    made = {output for node in model.graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    return {node.name for node in model.graph.node if node.op_type in {"Conv", "Gemm"} and node.input[1] not in made}


# --- ONNX in INT8


@pytest.mark.parametrize("method", ["mean", "minmax", "entropy", "percentile"])
def test_int8_by_every_method_says_what_it_did(source, spec, tmp_path, method):
    made, folder = _export(OnnxInt8(), source, replace(spec, options={"method": method}), tmp_path / "out")
    assert made.inputs == TINY_INPUTS
    assert made.outputs == TINY_OUTPUTS
    assert [path.name for path in folder.iterdir()] == [made.entry]
    assert made.notes == (
        f"calibrated by {method} on 8 images, sha256 {spec.calibration.content_hash[:12]}",
        "QDQ of 1 of 1 Conv, 0 of 1 Gemm: unsigned activations, weights per channel on 7 bits",
        "kept in float (last layer): fc",
    )


def test_int8_is_deterministic_and_leaves_nothing_in_the_working_folder(source, spec, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    files = [_export(OnnxInt8(), source, spec, tmp_path / name)[1] / "model.onnx" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list(elsewhere.iterdir())


def test_int8_weights_keep_to_seven_bits_unless_told_otherwise(source, spec, tmp_path):
    largest = []
    for options in ({}, {"reduce_range": False}):
        _, folder = _export(OnnxInt8(), source, replace(spec, options=options), tmp_path / str(len(largest)))
        tensors = onnx.load(folder / "model.onnx").graph.initializer
        weights = [onnx.numpy_helper.to_array(t) for t in tensors if t.data_type == onnx.TensorProto.INT8 and t.dims]
        largest.append(max(int(np.abs(weight.astype(int)).max()) for weight in weights))
    assert largest == [64, 127]


@pytest.mark.parametrize(
    ("options", "in_float", "notes"),
    [
        (
            {},
            ["expectation", "scores", "sides"],
            ("kept in float (weighs a softmax): expectation", "kept in float (last layer): scores, sides"),
        ),
        ({"keep_last": False}, ["expectation"], ("kept in float (weighs a softmax): expectation",)),
        (
            {"keep_last": False, "exclude": ["si.*", "expect"]},
            ["expectation", "sides"],
            ("kept in float (weighs a softmax): expectation", "kept in float (as asked): sides"),
        ),
    ],
    ids=str,
)
def test_int8_of_a_detector_keeps_its_head_in_float(spec, tmp_path, options, in_float, notes):
    detector = _detector(tmp_path / "detector.onnx")
    made, folder = _export(OnnxInt8(), detector, replace(spec, options=options), tmp_path / "out")
    assert _in_float(onnx.load(folder / "model.onnx")) == set(in_float)
    assert made.notes[2:] == notes
    inputs = {"images": np.load(spec.calibration.path)[:1]}
    difference = np.abs(_outputs(folder / "model.onnx", inputs) - _outputs(detector.path, inputs))
    assert difference[:, :4].mean() < 0.05  # bins, of 4
    assert difference[:, 4:].mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "no method 'guess'"),
        ({"methods": "minmax"}, "no option 'methods'"),
        ({"op_types": ["Einsum"]}, "no Einsum to quantise"),
    ],
    ids=str,
)
def test_int8_refuses_options_it_cannot_follow(source, spec, tmp_path, options, message):
    with pytest.raises(ExportFailed, match=message) as caught:
        _export(OnnxInt8(), source, replace(spec, options=options), tmp_path / "out")
    assert caught.value.hint


# --- ONNX in float16


def test_fp16_shares_one_cast_between_the_users_of_a_tensor(tmp_path):
    h = onnx.helper
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    weight = onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    nodes = [
        h.make_node("Conv", ["images", "w"], ["first"], "first"),
        h.make_node("Resize", ["first", "", "scales"], ["twice"], "up1", mode="nearest"),
        h.make_node("Resize", ["twice", "", "scales"], ["output0"], "up2", mode="nearest"),
    ]
    value = h.make_tensor_value_info
    inputs = [value("images", onnx.TensorProto.FLOAT, [1, *SHAPE])]
    outputs = [value("output0", onnx.TensorProto.FLOAT, [1, 3, 64, 64])]
    graph = h.make_graph(nodes, "resizes", inputs, outputs, [scales, weight])
    path = tmp_path / "resizes.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), path)
    source = Artifact(FORMAT_ONNX, Precision.FP32, path, "", 0, TINY_INPUTS, ())
    _, folder = _export(OnnxFloat16(), source, ExportSpec(Precision.FP16, 1, SHAPE), tmp_path / "out")
    model = onnx.load(folder / "model.onnx")
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names))
    images = np.full((1, *SHAPE), 0.5, np.float32)
    assert _outputs(folder / "model.onnx", {"images": images}) == pytest.approx(_outputs(path, {"images": images}))


def test_fp16_halves_the_weights_and_keeps_the_signature(source, tmp_path):
    made, folder = _export(OnnxFloat16(), source, ExportSpec(Precision.FP16, 1, SHAPE), tmp_path / "out")
    model = onnx.load(folder / made.entry)
    assert (made.inputs, made.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert {t.data_type for t in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


# --- IR


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_ir_keeps_names_and_shapes(source, tmp_path, precision):
    openvino = pytest.importorskip("openvino")
    made, folder = _export(OnnxToOpenVINO(), source, ExportSpec(precision, 1, SHAPE), tmp_path / "out")
    model = openvino.Core().read_model(folder / made.entry)
    for specs, ports in ((made.inputs, model.inputs), (made.outputs, model.outputs)):
        assert [(s.name, s.shape) for s in specs] == [(port.any_name, tuple(port.shape)) for port in ports]
    assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.xml"]
    stored = {node.get_element_type().get_type_name() for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert ("f16" in stored) == (precision is Precision.FP16)


def test_ir_of_what_is_no_model_fails_with_a_hint(source, tmp_path):
    pytest.importorskip("openvino")
    source.path.write_bytes(b"no model")
    with pytest.raises(ExportFailed) as caught:
        _export(OnnxToOpenVINO(), source, ExportSpec(Precision.FP32, 1, SHAPE), tmp_path / "out")
    assert caught.value.hint


def test_ir_in_int8_is_deterministic(ir, spec, tmp_path):
    pytest.importorskip("nncf")
    fp32 = ir()
    made, first = _export(OpenVINOInt8(), fp32, spec, tmp_path / "a")
    _, second = _export(OpenVINOInt8(), fp32, spec, tmp_path / "b")
    assert (first / "model.bin").read_bytes() == (second / "model.bin").read_bytes()
    assert sorted(path.name for path in first.iterdir()) == ["model.bin", "model.xml"]
    assert made.notes == (
        f"calibrated by NNCF on 8 images, sha256 {spec.calibration.content_hash[:12]}",
        "2 of 2 layers with weights quantised",
        "kept in float (after the last layers): 0 operations",
    )


def test_ir_in_int8_leaves_the_tail_of_a_detector_in_float(ir, spec, tmp_path):
    pytest.importorskip("nncf")
    openvino = pytest.importorskip("openvino")
    detector = _detector(tmp_path / "detector.onnx")
    made, folder = _export(OpenVINOInt8(), ir(detector), spec, tmp_path / "out")
    assert made.notes[1] == "3 of 3 layers with weights quantised"
    model = openvino.Core().read_model(folder / "model.xml")
    quantised = {node.get_friendly_name() for node in model.get_ops() if _reads_quantised(node)}
    assert {"backbone", "sides", "scores"} <= quantised
    assert not quantised & {"split", "softmax", "turn", "expectation", "boxes", "scores_flat", "probabilities", "join"}
    inputs = {"images": np.load(spec.calibration.path)[:1]}
    found = openvino.Core().compile_model(model, "CPU")(inputs)[0]
    assert np.abs(found - _outputs(detector.path, inputs))[:, :4].mean() < 0.05


def _reads_quantised(node):
    return any(value.get_node().get_type_name() == "FakeQuantize" for value in node.input_values())


def test_ir_in_int8_ignores_what_a_pattern_matches(ir, spec, tmp_path):
    pytest.importorskip("nncf")
    detector = ir(_detector(tmp_path / "detector.onnx"))
    made, _ = _export(OpenVINOInt8(), detector, replace(spec, options={"exclude": ["si.*"]}), tmp_path / "out")
    assert made.notes[1] == "2 of 3 layers with weights quantised"
    assert made.notes[-1] == "kept in float (as asked): sides"


def test_ir_in_int8_leaves_the_last_layers_in_float_on_request(ir, spec, tmp_path):
    pytest.importorskip("nncf")
    detector = ir(_detector(tmp_path / "detector.onnx"))
    made, folder = _export(OpenVINOInt8(), detector, replace(spec, options={"keep_last": True}), tmp_path / "out")
    assert made.notes[1] == "1 of 3 layers with weights quantised"
    assert made.notes[-1] == "kept in float (last layer): scores, sides"
    model = pytest.importorskip("openvino").Core().read_model(folder / "model.xml")
    assert {node.get_friendly_name() for node in model.get_ops() if _reads_quantised(node)} == {"backbone"}


@pytest.mark.parametrize("options", [{"preset": "fast"}, {"overflow_fix": "no"}, {"subset": 3}, {"exclude": [".*"]}])
def test_ir_in_int8_refuses_options_it_cannot_follow(ir, spec, tmp_path, options):
    pytest.importorskip("nncf")
    with pytest.raises(ExportFailed) as caught:
        _export(OpenVINOInt8(), ir(), replace(spec, options=options), tmp_path / "out")
    assert caught.value.hint


# --- what is no model for them


def _changed(source, change):
    model = onnx.load(source.path)
    change(model.graph.node[1], model)
    del model.graph.value_info[:]
    onnx.save(model, source.path)


def _custom(node, model):
    node.op_type, node.domain = "Zap", "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))


def _unknown(node, model):
    node.op_type = "Zap"


@pytest.mark.parametrize(
    ("exporter", "change", "message"),
    [
        (OnnxToOpenVINO(), _custom, r"does not know acme\.Zap of model\.onnx"),
        (OnnxToOpenVINO(), _unknown, r"does not know Zap-18 of model\.onnx"),
        (OnnxFloat16(), _unknown, r"model\.onnx cannot be made float16: No Op registered for Zap"),
    ],
)
def test_an_operator_that_an_exporter_does_not_know_is_named(source, tmp_path, exporter, change, message):
    if exporter.name == "onnx-openvino":
        pytest.importorskip("openvino")
    _changed(source, change)
    with pytest.raises(ExportFailed, match=message) as caught:
        _export(exporter, source, ExportSpec(Precision.FP16, 1, SHAPE), tmp_path / "out")
    assert caught.value.hint
    assert "src/frontends" not in caught.value.message


@pytest.mark.parametrize("exporter", [OnnxToOpenVINO(), OnnxFloat16()], ids=lambda exporter: exporter.name)
def test_a_file_cut_off_is_told(source, tmp_path, exporter):
    if exporter.name == "onnx-openvino":
        pytest.importorskip("openvino")
    source.path.write_bytes(source.path.read_bytes()[:500])
    with pytest.raises(ExportFailed, match=r"model\.onnx") as caught:
        _export(exporter, source, ExportSpec(Precision.FP16, 1, SHAPE), tmp_path / "out")
    assert caught.value.hint


# --- calibration


def test_batches_wrap_around_and_end(source, spec):
    wide = replace(source, inputs=(replace(TINY_INPUTS[0], shape=(3, *SHAPE)),))
    batches = Batches(wide, spec)
    images = np.load(spec.calibration.path)
    given = list(batches)
    assert len(batches) == len(given) == 3
    assert np.array_equal(given[0]["images"], images[:3])
    assert np.array_equal(given[2]["images"], images[[6, 7, 0]])


@pytest.mark.parametrize(
    "images", [np.zeros((4, 3, 8, 8), np.float32), np.zeros((4, *SHAPE)), np.zeros((0, *SHAPE), np.float32)], ids=str
)
def test_images_of_another_shape_or_type_are_refused(source, spec, tmp_path, images):
    path = tmp_path / "images.npy"
    np.save(path, images)
    with pytest.raises(ExportFailed, match="calibration images are"):
        Batches(source, replace(spec, calibration=Calibration(path, "", len(images))))


def test_missing_calibration_is_refused(source, spec):
    with pytest.raises(ExportFailed, match="no calibration images") as caught:
        Batches(source, replace(spec, calibration=None))
    assert "calibrate" in caught.value.hint


def test_models_with_several_inputs_are_refused(source, spec):
    double = replace(source, inputs=(*TINY_INPUTS, replace(TINY_INPUTS[0], name="masks")))
    with pytest.raises(ExportFailed, match="images, masks"):
        Batches(double, spec)


def test_tiny_artifact_is_what_the_exporters_take(tmp_path):
    artifact = tiny_artifact(tiny_onnx(tmp_path).path, FORMAT_ONNX, Precision.FP32)
    assert artifact.inputs == TINY_INPUTS
