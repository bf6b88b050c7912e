"""FP8 written into ONNX: what it holds, what it computes where ONNX Runtime emulates it, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from engines.exporters.onnx_fp8 import OnnxFloat8
from engines.onnxruntime import OnnxRuntimeEngine
from harness.engine import Calibration, ExportSpec, SessionConfig
from harness.errors import ExportFailed, Unsupported
from harness.tiny_model import (
    TINY_INPUTS,
    TINY_OUTPUTS,
    tiny_artifact,
    tiny_calibration,
    tiny_inputs,
    tiny_onnx,
    tiny_reference,
    tiny_weights,
)
from harness.vocabulary import FORMAT_ONNX, Artifact, Level, Precision, TensorSpec

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.engine
SHAPE = TINY_INPUTS[0].shape[1:]
WHOLE = {"min_channels": 1, "keep_last": False}


@pytest.fixture
def spec(tmp_path):
    folder = tmp_path / "calibration"
    folder.mkdir()
    return ExportSpec(Precision.FP8, 1, SHAPE, tiny_calibration(folder, 8), WHOLE)


@pytest.fixture
def source(tmp_path):
    return tiny_onnx(tmp_path)


@pytest.fixture
def export(tmp_path):
    """A function that exports an artifact and returns what was said and the model."""

    def export(artifact, spec):
        folder = tmp_path / "out"
        folder.mkdir()
        made = OnnxFloat8().export(artifact, spec, folder)
        assert [path.name for path in folder.iterdir()] == [made.entry]
        return made, onnx.load(folder / made.entry)

    return export


def _run(model, inputs):
    options = ort.SessionOptions()
    # Its fusions take every pair for one of 8-bit integers, and make operators that do not know FP8.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def _values(model):
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _coded(tensor):
    """An FP8 initializer as floats."""
    assert tensor.data_type == onnx.TensorProto.FLOAT8E4M3FN
    return np.frombuffer(tensor.raw_data, ml_dtypes.float8_e4m3fn).astype(np.float32).reshape(tuple(tensor.dims))


# --- what it holds


def test_layers_compute_between_pairs_and_nothing_else_changes(export, source, spec):
    made, model = export(source, spec)
    assert (made.inputs, made.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert made.notes == (
        f"calibrated by minmax on 8 images, sha256 {spec.calibration.content_hash[:12]}",
        "Q/DQ in FP8 (E4M3) of 1 of 1 Conv, 1 of 1 Gemm: activations per tensor, weights per channel",
    )
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 2  # one activation for each layer; weights are stored in FP8
    assert kinds.count("DequantizeLinear") == 4
    made_by = {output: node.op_type for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            assert [made_by.get(name) for name in node.input] == ["DequantizeLinear", "DequantizeLinear", None]
    assert [value.name for value in model.graph.input] == ["images"]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_it_is_what_tensorrt_takes(export, source, spec):
    """Scales alone: zero points of FP8 zero; per tensor for activations, per channel for stored weights."""
    _, model = export(source, spec)
    assert next(each.version for each in model.opset_import if not each.domain) >= 19
    values = _values(model)
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        given, scale, zero = node.input
        assert not _coded(values[zero]).any()
        assert values[zero].dims == values[scale].dims
        axes = [entry.i for entry in node.attribute if entry.name == "axis"]
        if given in values:
            (axis,) = axes
            assert list(values[scale].dims) == [values[given].dims[axis]]
        else:
            assert not values[scale].dims
            assert not axes


def test_weights_use_all_of_the_range_by_channel_and_are_rounded_to_the_nearest(export, source, spec):
    _, model = export(source, spec)
    values = _values(model)
    given = tiny_weights()["conv.weight"]
    (node,) = [each for each in model.graph.node if each.op_type == "DequantizeLinear" and each.input[0] in values][:1]
    coded, scales = _coded(values[node.input[0]]), onnx.numpy_helper.to_array(values[node.input[1]])
    assert np.abs(coded).max(axis=(1, 2, 3)) == pytest.approx(448)
    found = coded * scales[:, None, None, None]
    step = np.maximum(2.0 ** np.floor(np.log2(np.abs(given / scales[:, None, None, None]))), 2**-6) / 8
    assert np.all(np.abs(found - given) <= step * scales[:, None, None, None] / 2 * 1.001)


@pytest.mark.parametrize("method", ["minmax", "mean"])
def test_scales_come_from_the_calibration_images(export, source, spec, method):
    _, model = export(source, replace(spec, options={**WHOLE, "method": method}))
    images = np.load(spec.calibration.path)
    largest = np.abs(images).max() if method == "minmax" else _mean_of_extremes(images)
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert quantize.input[0] == "images"
    scale = onnx.numpy_helper.to_array(_values(model)[quantize.input[1]])
    assert float(scale) == pytest.approx(largest / 448, rel=1e-5)


def _mean_of_extremes(images):
    low, high = images.min(axis=(1, 2, 3)).mean(), images.max(axis=(1, 2, 3)).mean()
    return max(abs(low), abs(high))


def test_it_is_deterministic(source, spec, tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        OnnxFloat8().export(source, spec, tmp_path / name)
        files.append((tmp_path / name / "model.onnx").read_bytes())
    assert files[0] == files[1]


# --- what it computes


def test_it_computes_the_model_where_onnx_runtime_emulates_it(export, source, spec):
    _, model = export(source, spec)
    differences = []
    for seed in range(4):
        inputs = tiny_inputs(seed)
        found, expected = _run(model, inputs), tiny_reference(inputs)["logits"]
        differences.append(np.abs(found - expected).max() / np.abs(expected).max())
    # Each factor is rounded to 4 significant bits, so by 1/16 at most; sums of many cancel most of it.
    assert max(differences) < 0.06
    assert min(differences) > 1e-5  # it is no float32 in disguise


def test_values_beyond_the_range_of_the_images_saturate_and_stay_numbers(export, source, spec):
    _, model = export(source, spec)
    found = _run(model, {"images": 1000 * tiny_inputs(0)["images"]})
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10 * np.abs(tiny_reference(tiny_inputs(0))["logits"]).max()


def _products(path, nodes, weights, shape=(4, 32), out=(4, 16)):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "products",
        [value("x", onnx.TensorProto.FLOAT, shape)],
        [value("y", onnx.TensorProto.FLOAT, out)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    specs = (TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", out),)
    return Artifact(FORMAT_ONNX, Precision.FP32, path, "", 0, *specs)


@pytest.mark.parametrize(
    ("kind", "attributes", "shape", "axis"),
    [
        ("MatMul", {}, (32, 16), 1),
        ("Gemm", {}, (32, 16), 1),
        ("Gemm", {"transB": 1}, (16, 32), 0),
    ],
)
def test_products_have_scales_by_column_of_their_output(export, tmp_path, kind, attributes, shape, axis):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(np.float32)
    channels = np.geomspace(1e-3, 1e3, 16, dtype=np.float32)  # one scale for all of them would lose most
    weight *= np.expand_dims(channels, 1 - axis)
    nodes = [onnx.helper.make_node(kind, ["x", "w"], ["y"], "layer", **attributes)]
    artifact = _products(tmp_path / "products.onnx", nodes, {"w": weight})
    images = rng.normal(size=(8, 32)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    spec = ExportSpec(Precision.FP8, 4, (32,), Calibration(tmp_path / "images.npy", "0" * 64, 8), {"keep_last": False})
    _, model = export(artifact, spec)
    (stored,) = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.attribute]
    assert stored.attribute[0].i == axis
    given = images[:4]
    expected = given @ (weight.T if attributes else weight)
    # Both factors of each product are rounded by 1/16 of themselves at most.
    share = np.abs(_run(model, {"x": given}) - expected) / (np.abs(given) @ np.abs(weight.T if attributes else weight))
    assert share.max() < (1 + 1 / 16) ** 2 - 1
    assert share.mean() < 0.03


def test_a_value_and_a_weight_that_two_layers_read_are_written_once(export, tmp_path):
    weight = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)
    node = onnx.helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Gemm", ["x", "w"], ["b"]), node("Add", ["a", "b"], ["y"])]
    artifact = _products(tmp_path / "products.onnx", nodes, {"w": weight})
    np.save(tmp_path / "images.npy", np.ones((4, 32), np.float32))
    spec = ExportSpec(Precision.FP8, 4, (32,), Calibration(tmp_path / "images.npy", "0" * 64, 4), {"keep_last": False})
    _, model = export(artifact, spec)
    kinds = [each.op_type for each in model.graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (1, 2)


# --- what stays in float


def _backbone(path, groups=1, kernel=3):
    """Two convolutions of 16 and 32 channels behind a first of 3, the second in groups or with a large kernel."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (16, 3, 3, 3), "w1": (16, 16 // groups, kernel, kernel), "w2": (32, 16, 1, 1)}
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["images", "w0"], ["a"], "first", pads=[1] * 4),
        node("Conv", ["a", "w1"], ["b"], "second", pads=[kernel // 2] * 4, group=groups),
        node("Relu", ["b"], ["c"], "relu"),
        node("Conv", ["c", "w2"], ["d"], "third"),
        node("Conv", ["d", "w3"], ["logits"], "last"),
    ]
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in {**shapes, "w3": (16, 32, 1, 1)}.items()
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "backbone",
        [value("images", onnx.TensorProto.FLOAT, [1, *SHAPE])],
        [value("logits", onnx.TensorProto.FLOAT, [1, 16, 16, 16])],
        weights,
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    return Artifact(FORMAT_ONNX, Precision.FP32, path, "", 0, TINY_INPUTS, ())


@pytest.mark.parametrize(
    ("asked", "counts", "kept"),
    [
        (({}, {}), "2 of 4 Conv", {"fewer than 16 channels": "first", "last layer": "last"}),
        (({"keep_last": False}, {}), "3 of 4 Conv", {"fewer than 16 channels": "first"}),
        (({}, {"groups": 16}), "1 of 4 Conv", {"fewer than 16 channels": "first, second", "last layer": "last"}),
        (
            ({}, {"kernel": 7}),
            "1 of 4 Conv",
            {
                "fewer than 16 channels": "first",
                "last layer": "last",
                "a kernel of more than 32 positions": "second",
            },
        ),
        (
            ({"exclude": ["th.*"], "min_channels": 1}, {}),
            "2 of 4 Conv",
            {"last layer": "last", "as asked": "third"},
        ),
    ],
    ids=str,
)
def test_what_no_kernel_takes_stays_in_float_and_is_named(export, spec, tmp_path, asked, counts, kept):
    options, changes = asked
    artifact = _backbone(tmp_path / "backbone.onnx", **changes)
    made, _ = export(artifact, replace(spec, options=options))
    assert f"of {counts}:" in made.notes[1]
    assert set(made.notes[2:]) == {f"kept in float ({reason}): {names}" for reason, names in kept.items()}


# --- what it refuses


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"method": "entropy"}, "no method 'entropy'", "minmax, mean"),
        ({"method": "mean", "percentile": 99}, "no option 'percentile'", "method"),
        ({"op_types": ["Conv", "Softmax"]}, "op_types cannot hold 'Softmax'", "Gemm"),
        ({}, "no Conv or Gemm or MatMul for FP8", "fewer than 16 channels"),
        ({"op_types": ["MatMul"]}, "no MatMul for FP8", "op_types"),
    ],
    ids=str,
)
def test_options_it_cannot_follow_are_refused(source, spec, tmp_path, options, message, hint):
    with pytest.raises(ExportFailed, match=message) as caught:
        OnnxFloat8().export(source, replace(spec, options=options), tmp_path)
    assert hint in caught.value.hint


def test_without_images_nothing_is_made(source, spec, tmp_path):
    with pytest.raises(ExportFailed, match="no calibration images") as caught:
        OnnxFloat8().export(source, replace(spec, calibration=None), tmp_path)
    assert "calibrate" in caught.value.hint


def test_images_without_a_finite_range_are_refused(source, spec, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.full((2, *SHAPE), np.inf, np.float32))
    with pytest.raises(ExportFailed, match="no finite range was seen of 'images'") as caught:
        OnnxFloat8().export(source, replace(spec, calibration=Calibration(path, "0" * 64, 2)), tmp_path)
    assert "calibration images" in caught.value.hint


def test_black_images_are_no_division_by_zero(export, source, spec, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, *SHAPE), np.float32))
    _, model = export(source, replace(spec, calibration=Calibration(path, "0" * 64, 2)))
    assert np.isfinite(_run(model, tiny_inputs())).all()


@pytest.mark.parametrize("kept", [0, 100, 1000])
def test_a_file_cut_off_is_told(source, spec, tmp_path, kept):
    source.path.write_bytes(source.path.read_bytes()[:kept])
    with pytest.raises(ExportFailed, match=r"model\.onnx|for FP8|quantise") as caught:
        OnnxFloat8().export(source, spec, tmp_path / "calibration")
    assert caught.value.hint


# --- it is mistaken for nothing else


def test_onnx_runtime_says_why_it_has_no_fp8(export, source, spec, tmp_path):
    export(source, spec)
    artifact = tiny_artifact(tmp_path / "out" / "model.onnx", FORMAT_ONNX, Precision.FP8)
    engine = OnnxRuntimeEngine()
    (cpu,) = [device for device in engine.probe().devices if device.name == "cpu"]
    assert cpu.precisions["fp8"].level is Level.UNSUPPORTED
    assert "float32" in cpu.precisions["fp8"].reason
    for precision, message in (
        (Precision.FP8, "cannot run fp8"),
        (Precision.FP32, "holds fp8"),
        (Precision.INT8, "holds fp8"),
    ):
        with pytest.raises(Unsupported, match=message):
            engine.load(artifact, SessionConfig("cpu", precision, options=engine.options()))
