"""From ONNX to an engine: for real through TensorRT for RTX, which builds for a GPU that is not there.

What only TensorRT itself has (tuning, timing cache, weak typing) is tested over a stand-in for its builder.
"""

import hashlib
import os
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.exporters import _onnx_graph, onnx_tensorrt
from engines.exporters.onnx_bf16 import OnnxBFloat16
from engines.exporters.onnx_fp8 import OnnxFloat8
from engines.exporters.onnx_fp16 import OnnxFloat16
from engines.exporters.onnx_import import OnnxImport
from engines.exporters.onnx_int8 import OnnxInt8, OnnxInt8Symmetric
from engines.exporters.onnx_tensorrt import (
    OnnxSymmetricToTensorRT,
    OnnxSymmetricToTensorRTRTX,
    OnnxToTensorRT,
    OnnxToTensorRTRTX,
    OnnxToTensorRTWeak,
)
from harness import artifacts
from harness.engine import ExportSpec
from harness.errors import ExportFailed, Unsupported
from harness.registry import Registered
from harness.tiny_model import tiny_artifact, tiny_calibration, tiny_inputs, tiny_onnx, tiny_reference
from harness.vocabulary import (
    FORMAT_ONNX,
    FORMAT_ONNX_FILE,
    FORMAT_ONNX_SYMMETRIC,
    FORMAT_TENSORRT,
    FORMAT_TENSORRT_RTX,
    FORMAT_TENSORRT_WEAK,
    Artifact,
    Precision,
    Skipped,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")  # no part of what importing onnx brings
pytestmark = pytest.mark.engine
ADA = {"compute_capability": "8.9"}


@pytest.fixture(scope="module")
def rtx():
    """TensorRT for RTX, which needs no GPU to build."""
    return pytest.importorskip(onnx_tensorrt.TensorRTRTXEngine.modules[0])


@pytest.fixture
def tiny(tmp_path):
    return tiny_onnx(tmp_path)


@pytest.fixture
def build(rtx, tmp_path):
    """A function that builds an engine and returns its folder and what the exporter said."""
    assert rtx

    def build(source, exporter=OnnxToTensorRTRTX, precision=Precision.FP32, batch=1, **options):
        folder = tmp_path / "built"
        folder.mkdir(exist_ok=True)
        spec = ExportSpec(precision, batch, source.inputs[0].shape[1:], options={**ADA, **options})
        return folder, exporter().export(source, spec, folder)

    return build


def _lowered(exporter, source, tmp_path, **options):
    made = tmp_path / exporter.name
    made.mkdir()
    (precision,) = exporter.precisions
    calibration = tiny_calibration(made) if exporter.calibrated else None
    spec = ExportSpec(precision, 1, source.inputs[0].shape[1:], calibration, options)
    exported = exporter().export(source, spec, made)
    return tiny_artifact(made / exported.entry, exporter.target, precision), exported


# -- the routes


TARGETS = {
    "onnx-fp16": OnnxFloat16,
    "onnx-bf16": OnnxBFloat16,
    "onnx-fp8": OnnxFloat8,
    "onnx-int8": OnnxInt8,
    "onnx-int8-symmetric": OnnxInt8Symmetric,
    "onnx-tensorrt": OnnxToTensorRT,
    "onnx-tensorrt-weak": OnnxToTensorRTWeak,
    "onnx-symmetric-tensorrt": OnnxSymmetricToTensorRT,
    "onnx-tensorrt-rtx": OnnxToTensorRTRTX,
    "onnx-symmetric-tensorrt-rtx": OnnxSymmetricToTensorRTRTX,
}


@pytest.mark.parametrize(
    ("format_", "precision", "steps"),
    [
        (FORMAT_TENSORRT, Precision.FP32, ["onnx-tensorrt"]),
        (FORMAT_TENSORRT, Precision.TF32, ["onnx-tensorrt"]),
        (FORMAT_TENSORRT, Precision.FP16, ["onnx-fp16", "onnx-tensorrt"]),
        (FORMAT_TENSORRT, Precision.BF16, ["onnx-bf16", "onnx-tensorrt"]),
        (FORMAT_TENSORRT, Precision.INT8, ["onnx-int8-symmetric", "onnx-symmetric-tensorrt"]),
        (FORMAT_TENSORRT, Precision.FP8, ["onnx-fp8", "onnx-tensorrt"]),
        (FORMAT_TENSORRT_WEAK, Precision.FP8, None),
        (FORMAT_TENSORRT_WEAK, Precision.FP16, ["onnx-tensorrt-weak"]),
        (FORMAT_TENSORRT_WEAK, Precision.INT8, None),
        (FORMAT_TENSORRT_RTX, Precision.BF16, ["onnx-bf16", "onnx-tensorrt-rtx"]),
        (FORMAT_TENSORRT_RTX, Precision.FP8, ["onnx-fp8", "onnx-tensorrt-rtx"]),
        (FORMAT_TENSORRT_RTX, Precision.INT8, ["onnx-int8-symmetric", "onnx-symmetric-tensorrt-rtx"]),
        (FORMAT_ONNX, Precision.INT8, ["onnx-int8"]),
    ],
)
def test_the_default_route_holds_what_tensorrt_takes(monkeypatch, format_, precision, steps):
    monkeypatch.setattr(artifacts, "_versions", lambda exporter, _: (dict.fromkeys(exporter.distributions, "1"), ""))
    offered = [
        Registered(name, f"{kind.__module__}:{kind.__qualname__}", "inference-harness")
        for name, kind in TARGETS.items()
    ]
    assert all(kind.name == name for name, kind in TARGETS.items())
    route = artifacts.Exporters(offered).route(FORMAT_ONNX, (format_,), precision)
    if steps is None:
        assert isinstance(route, Skipped)
    else:
        assert list(route.exporters) == steps
        assert route.calibrated == (precision in {Precision.INT8, Precision.FP8})
        assert route.bound == (format_ != FORMAT_ONNX)


# -- symmetric INT8


def _quantised(path):
    model = onnx.load(path)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kinds = {"QuantizeLinear", "DequantizeLinear"}
    return [(node, values.get(node.input[2])) for node in model.graph.node if node.op_type in kinds]


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_symmetric_int8_has_zero_points_of_0_and_float_biases(tiny, tmp_path, method):
    pytest.importorskip("onnxruntime")
    artifact, exported = _lowered(OnnxInt8Symmetric, tiny, tmp_path, method=method, keep_last=False)
    assert artifact.format == FORMAT_ONNX_SYMMETRIC
    zeros = [zero for _, zero in _quantised(artifact.path)]
    assert len(zeros) >= 4
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert "signed activations without zero points, weights per channel on 8 bits" in " ".join(exported.notes)
    assert method in exported.notes[0]


def test_asymmetric_int8_is_the_default_of_the_cpus_exporter(tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    artifact, _ = _lowered(OnnxInt8, tiny, tmp_path)
    assert np.uint8 in {zero.dtype.type for _, zero in _quantised(artifact.path) if zero is not None}


def test_symmetric_int8_computes_the_model(tiny, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    # 7 bits: a CPU without VNNI saturates on 8.
    artifact, _ = _lowered(OnnxInt8Symmetric, tiny, tmp_path, reduce_range=True, keep_last=False)
    inputs = tiny_inputs()
    (found,) = ort.InferenceSession(str(artifact.path)).run(None, inputs)
    assert found == pytest.approx(tiny_reference(inputs)["logits"], abs=0.2)


# -- bfloat16


def test_bf16_rounds_weights_and_keeps_the_boundary(tiny, tmp_path):
    artifact, exported = _lowered(OnnxBFloat16, tiny, tmp_path)
    model = onnx.load(artifact.path)
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.BFLOAT16}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [node.op_type for node in model.graph.node].count("Cast") == 2
    assert exported.notes == ("inputs and outputs kept in float32, opset 22",)


def test_bf16_computes_the_model(tiny, tmp_path):
    artifact, _ = _lowered(OnnxBFloat16, tiny, tmp_path)
    inputs = tiny_inputs()
    (found,) = onnx.reference.ReferenceEvaluator(str(artifact.path)).run(None, inputs)
    assert found.dtype == np.float32
    assert found == pytest.approx(tiny_reference(inputs)["logits"], abs=0.1)


def _model(nodes, initializers=(), shape=(2, 4), opset=18):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [value("images", onnx.TensorProto.FLOAT, shape)],
        [value("logits", onnx.TensorProto.FLOAT, None)],
        list(initializers),
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=9)


def _saved(model, tmp_path, outputs=None):
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    path = tmp_path / "made.onnx"
    onnx.save(inferred, path)
    shapes = [
        tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (inferred.graph.input[0], inferred.graph.output[0])
    ]
    artifact = tiny_artifact(path, FORMAT_ONNX, Precision.FP32)
    return replace(
        artifact,
        inputs=(replace(artifact.inputs[0], shape=shapes[0]),),
        outputs=(replace(artifact.outputs[0], shape=outputs or shapes[1]),),
    )


def test_bf16_leaves_in_float32_what_onnx_defines_there_alone(tmp_path):
    node = onnx.helper.make_node
    constant = onnx.helper.make_node(
        "Constant", [], ["half"], value=onnx.numpy_helper.from_array(np.float32([0.5]), "half")
    )
    nodes = [
        node("Relu", ["images"], ["r"]),
        node("Celu", ["r"], ["c"]),  # float32 alone, up to this opset
        constant,
        node("Mul", ["c", "half"], ["m"]),
        node("Cast", ["m"], ["f"], to=onnx.TensorProto.FLOAT),
        node("Add", ["f", "r"], ["logits"]),
    ]
    artifact, exported = _lowered(OnnxBFloat16, _saved(_model(nodes, opset=22), tmp_path), tmp_path)
    assert exported.notes[1] == "kept in float32, since ONNX has no bfloat16 for them: 1 Celu"
    given = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    (found,) = onnx.reference.ReferenceEvaluator(str(artifact.path)).run(None, {"images": given})
    assert found == pytest.approx(1.5 * np.maximum(given, 0), abs=0.02)


def test_bf16_names_an_operator_that_onnx_does_not_define(tmp_path):
    nodes = [onnx.helper.make_node("Relu", ["images"], ["logits"])]
    source = _saved(_model(nodes), tmp_path)
    model = onnx.load(source.path)
    model.graph.node[0].domain = "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    onnx.save(model, source.path)
    with pytest.raises(Unsupported, match=r"acme\.Relu") as caught:
        _lowered(OnnxBFloat16, source, tmp_path)
    assert caught.value.hint


def test_bf16_refuses_a_truncated_file(tmp_path):
    source = _saved(_model([onnx.helper.make_node("Relu", ["images"], ["logits"])]), tmp_path)
    source.path.write_bytes(source.path.read_bytes()[:-3])
    with pytest.raises(ExportFailed, match="cannot be read as ONNX") as caught:
        _lowered(OnnxBFloat16, source, tmp_path)
    assert caught.value.hint


def test_bf16_refuses_control_flow(tmp_path):
    model = _model([onnx.helper.make_node("Relu", ["images"], ["logits"])])
    source = _saved(model, tmp_path)
    model.graph.node[0].op_type = "Loop"
    onnx.save(model, source.path)
    with pytest.raises(Unsupported, match="loops"):
        _lowered(OnnxBFloat16, source, tmp_path)


# -- built for real


def test_every_precision_builds(build, tiny, tmp_path):
    for exporter, options in (
        (OnnxFloat16, {}),
        (OnnxBFloat16, {}),
        (OnnxInt8Symmetric, {}),
        (OnnxFloat8, {"min_channels": 1, "keep_last": False}),
    ):
        lowered, _ = _lowered(exporter, tiny, tmp_path, **options)
        kind = OnnxSymmetricToTensorRTRTX if lowered.precision is Precision.INT8 else OnnxToTensorRTRTX
        assert lowered.precision in kind.keeps
        folder, exported = build(lowered, kind, lowered.precision)
        assert (folder / exported.entry).stat().st_size > 1000
        assert (exported.inputs, exported.outputs) == (tiny.inputs, tiny.outputs)
        assert exported.notes == ("strongly typed network",)


def test_the_executed_layers_carry_the_marks(rtx, build, tiny, monkeypatch):
    """The builder tells the layers of the engine in its log, as the inspector does where there is a GPU."""
    said = []

    class Recorder(rtx.ILogger):
        def __init__(self):
            rtx.ILogger.__init__(self)
            self.errors = []

        def log(self, _severity, message):
            said.append(message)

    monkeypatch.setattr(onnx_tensorrt, "collector", lambda _: Recorder())
    folder, exported = build(tiny)
    (layers,) = [message for message in said if message.startswith("Layers:")]
    work = 8 * 16 * 16 * 3 * 3 * 3
    assert re.search(rf"Metadata: \[ONNX Layer: conv\]\[Op: Conv, MACs: {work}\]\x1f\[ONNX Layer: relu\]", layers)
    assert "[ONNX Layer: fc][Op: Gemm, MACs: 40]" in layers
    assert f'"nodes": 5, "macs": {work + 40}'.encode() in (folder / exported.entry).read_bytes()
    assert b'"typing": "strong", "tf32": "off"' in (folder / exported.entry).read_bytes()


def test_a_real_model_builds_with_a_dynamic_batch(build, tmp_path):
    file = Path(os.environ.get("HARNESS_ASSETS", "")) / "models" / "yolox_nano.onnx"
    if not file.is_file():
        pytest.skip("HARNESS_ASSETS names no folder with models/yolox_nano.onnx")
    made = tmp_path / "imported"
    made.mkdir()
    given = Artifact(FORMAT_ONNX_FILE, Precision.FP32, file, "", 0)
    exported = OnnxImport().export(given, ExportSpec(Precision.FP32, 1, (3, 416, 416)), made)
    artifact = Artifact(FORMAT_ONNX, Precision.FP32, made / exported.entry, "", 0, exported.inputs, exported.outputs)
    folder, exported = build(artifact, dynamic=[1, 4, 16])
    assert exported.notes[1] == "optimisation profile for batches 1 to 16, best at 4"
    assert (folder / exported.entry).stat().st_size > 1_000_000


def test_types_that_a_converter_left_behind_are_no_obstacle(tiny):
    def change(model):
        value = onnx.helper.make_tensor_value_info(model.graph.node[0].output[0], onnx.TensorProto.FLOAT16, None)
        model.graph.value_info.append(value)

    _changed(tiny, change)
    work = _onnx_graph.work(onnx, _onnx_graph.read(onnx, tiny.path))
    assert work["conv"] == ("Conv", 8 * 16 * 16 * 27)
    assert work["fc"] == ("Gemm", 40)


def test_types_that_contradict_each_other_are_left_to_tensorrt(tiny, monkeypatch):
    model = _onnx_graph.read(onnx, tiny.path)

    def contradicted(*_, **__):
        raise onnx.shape_inference.InferenceError("inferred elem type differs")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", contradicted)
    assert _onnx_graph.work(onnx, model)["conv"] == ("Conv", 0)
    assert _onnx_graph.total(_onnx_graph.work(onnx, model)) is None


def test_work_of_what_multiplies(tmp_path):
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("ConvTranspose", ["images", "up"], ["c"], name="up"),
        node("Flatten", ["c"], ["f"]),
        node("MatMul", ["f", "right"], ["m"], name="product"),
        node("Gemm", ["left", "m"], ["logits"], name="transposed", transA=1),
    ]
    sides = [
        array(np.ones((2, 3, 2, 2), np.float32), "up"),  # (in, out, kernel)
        array(np.ones((3 * 5 * 5, 7), np.float32), "right"),
        array(np.ones((1, 6), np.float32), "left"),
    ]
    source = _saved(_model(nodes, sides, (1, 2, 4, 4)), tmp_path)
    work = _onnx_graph.work(onnx, _onnx_graph.read(onnx, source.path))
    assert work["up"] == ("ConvTranspose", 2 * 4 * 4 * 3 * 2 * 2)
    assert work["product"] == ("MatMul", 75 * 7)
    assert work["transposed"] == ("Gemm", 6 * 7)
    assert _onnx_graph.total(work) == 2 * 4 * 4 * 3 * 2 * 2 + 75 * 7 + 6 * 7
    assert work["Flatten_1"] == ("Flatten", 0)


def test_a_workspace_can_be_limited(build, tiny):
    _, exported = build(tiny, workspace_mib=64)
    assert exported.entry == "model.engine"


# -- a batch that varies


def _attention_like(batch):
    """A graph as torch exports attention: the batch is written into two Reshapes, one with ``allowzero``."""
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Reshape", ["images", "apart"], ["r"], allowzero=1),
        node("Softmax", ["r"], ["s"], axis=-1),
        node("Reshape", ["s", "joint"], ["logits"]),
    ]
    sides = [array(np.int64([batch, 2, 2]), "apart"), array(np.int64([batch, 4]), "joint")]
    return _model(nodes, sides, (batch, 4))


def test_an_open_batch_computes_the_same(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    source = _saved(_attention_like(2), tmp_path)
    model = _onnx_graph.read(onnx, source.path)
    _onnx_graph.open_batch(onnx, model, 2)
    given = np.random.default_rng(0).random((6, 4), np.float32)
    (whole,) = ort.InferenceSession(model.SerializeToString()).run(None, {"images": given})
    fixed = ort.InferenceSession(str(source.path))
    parts = [fixed.run(None, {"images": given[start : start + 2]})[0] for start in (0, 2, 4)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_an_open_batch_builds(build, tmp_path):
    _, exported = build(_saved(_attention_like(2), tmp_path), batch=2, dynamic=[1, 2, 8])
    assert "batches 1 to 8" in exported.notes[1]


def test_what_fixes_the_batch_otherwise_is_refused(build, tmp_path):
    nodes = [onnx.helper.make_node("Gather", ["images", "first"], ["logits"])]
    model = _model(nodes, [onnx.numpy_helper.from_array(np.int64([0]), "first")], (1, 4))
    with pytest.raises(Unsupported, match="does not follow a batch that varies") as caught:
        build(_saved(model, tmp_path), dynamic=[1, 1, 4])
    assert "dynamic" in caught.value.hint


@pytest.mark.parametrize("dynamic", [[1, 4], [4, 2, 8], [2, 4, 8], [0, 1, 2], "1-4", 3, ["a", "b", "c"]], ids=str)
def test_a_profile_that_makes_no_sense_is_refused(build, tiny, dynamic):
    with pytest.raises(ExportFailed, match="dynamic") as caught:
        build(tiny, dynamic=dynamic)
    assert caught.value.hint


# -- faults made on purpose


def _changed(tiny, change):
    model = onnx.load(tiny.path)
    change(model)
    tiny.path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("operator", ["NoSuchOperator", "Det"])
def test_an_unsupported_operator_is_named(build, tiny, operator, capfd):
    _changed(tiny, lambda model: setattr(model.graph.node[1], "op_type", operator))
    with pytest.raises(
        Unsupported, match=rf"does not take {operator} \(node relu\): it has no such operator"
    ) as caught:
        build(tiny)
    assert "replace the operator" in caught.value.hint
    assert operator in capfd.readouterr().err


def test_an_opset_that_is_too_new_is_refused(build, tiny):
    _changed(tiny, lambda model: setattr(model.opset_import[0], "version", 999))
    with pytest.raises(Unsupported, match="opset 999") as caught:
        build(tiny)
    assert str(onnx.defs.onnx_opset_version()) in caught.value.hint


def test_a_dynamic_shape_is_refused(build, tiny):
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"

    _changed(tiny, change)
    with pytest.raises(Unsupported, match=r"'images' has the dynamic shape \['N', 3, 16, 16\]") as caught:
        build(tiny)
    assert "`dynamic`" in caught.value.hint


@pytest.mark.parametrize("content", ["truncated", "empty", "text"])
def test_a_file_that_is_no_whole_onnx_is_refused(build, tiny, content):
    whole = tiny.path.read_bytes()
    tiny.path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a model" * 40}[content])
    with pytest.raises(ExportFailed, match=r"model\.onnx (cannot be read|holds no operator)") as caught:
        build(tiny)
    assert "complete" in caught.value.hint


def test_unsigned_activations_are_refused(build, tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    lowered, _ = _lowered(OnnxInt8, tiny, tmp_path)
    with pytest.raises(Unsupported, match="DequantizeLinear"):
        build(lowered, OnnxSymmetricToTensorRTRTX, Precision.INT8)


@pytest.mark.parametrize("capability", ["3.5", "nine", ""])
def test_an_unknown_compute_capability_is_refused_with_the_known(build, tiny, capability):
    with pytest.raises(Unsupported, match="compute capability") as caught:
        build(tiny, compute_capability=capability)
    assert "8.9" in caught.value.hint


def test_an_unknown_option_is_refused(build, tiny):
    with pytest.raises(ExportFailed, match="no option 'builder_optimization_level'"):
        build(tiny, builder_optimization_level=3)


def test_a_weakly_typed_network_is_refused_where_all_are_strong(build, tiny):
    class Weak(OnnxToTensorRTRTX):
        strong = False

    with pytest.raises(Unsupported, match="builds no weakly typed network") as caught:
        build(tiny, Weak)
    assert "strong" in caught.value.hint


# -- over a stand-in: what TensorRT has and TensorRT for RTX has not


class Flags(types.SimpleNamespace):
    """A builder's configuration that keeps what is set."""

    def __init__(self):
        super().__init__(flags=set(), limits={}, cache=None)

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, limit):
        self.limits[pool] = limit

    def set_tactic_sources(self, mask):
        self.sources = mask

    def create_timing_cache(self, content):
        return types.SimpleNamespace(content=content)

    def set_timing_cache(self, cache, mismatch):
        assert mismatch is False
        self.cache = cache
        return cache.content != b"of another GPU"


def _enumeration(*names):
    return types.SimpleNamespace(__members__={name: index for index, name in enumerate(names)}, **{n: n for n in names})


TRT = types.SimpleNamespace(
    __version__="10.9",
    BuilderFlag=_enumeration("TF32", "FP16", "BF16", "SPARSE_WEIGHTS", "VERSION_COMPATIBLE", "DISABLE_TIMING_CACHE"),
    HardwareCompatibilityLevel=_enumeration("NONE", "AMPERE_PLUS"),
    TacticSource=_enumeration("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    ProfilingVerbosity=_enumeration("DETAILED"),
    MemoryPoolType=_enumeration("WORKSPACE"),
)


def _configured(precision=Precision.FP32, exporter=OnnxToTensorRT, **options):
    config = Flags()
    config.flags.add("TF32")  # as TensorRT begins
    exporter()._configure(TRT, config, ExportSpec(precision, 1, (3, 8, 8)), {**exporter.defaults, **options})
    return config


@pytest.mark.parametrize(
    ("exporter", "precision", "flags"),
    [
        (OnnxToTensorRT, Precision.FP32, set()),
        (OnnxToTensorRT, Precision.TF32, {"TF32"}),
        (OnnxToTensorRT, Precision.FP16, set()),
        (OnnxSymmetricToTensorRT, Precision.INT8, set()),
        (OnnxToTensorRTWeak, Precision.FP32, set()),
        (OnnxToTensorRTWeak, Precision.TF32, {"TF32"}),
        (OnnxToTensorRTWeak, Precision.FP16, {"FP16"}),
        (OnnxToTensorRTWeak, Precision.BF16, {"BF16"}),
    ],
)
def test_flags_follow_precision_and_typing(exporter, precision, flags):
    config = _configured(precision, exporter)
    assert config.flags == flags
    assert config.profiling_verbosity == "DETAILED"
    assert config.builder_optimization_level == 3
    assert config.limits == {}


def test_every_setting_reaches_the_builder():
    config = _configured(
        builder_optimization_level=5,
        workspace_mib=512,
        sparse_weights=True,
        version_compatible=True,
        hardware_compatibility="ampere_plus",
        tactic_sources=["cudnn", "JIT_CONVOLUTIONS"],
        max_aux_streams=0,
    )
    assert config.flags == {"SPARSE_WEIGHTS", "VERSION_COMPATIBLE"}
    assert config.limits == {"WORKSPACE": 512 << 20}
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level == 1
    assert config.sources == (1 << 2) | (1 << 4)
    assert config.max_aux_streams == 0


@pytest.mark.parametrize(
    "options",
    [
        {"builder_optimization_level": 6},
        {"builder_optimization_level": -1},
        {"builder_optimization_level": "most"},
        {"hardware_compatibility": "pascal"},
        {"hardware_compatibility": "same_compute_capability"},  # this TensorRT is too old for it
        {"tactic_sources": ["magic"]},
    ],
    ids=str,
)
def test_settings_that_the_builder_lacks_are_refused(options):
    (name,) = options
    with pytest.raises(ExportFailed, match=name) as caught:
        _configured(**options)
    assert caught.value.hint


def _timings(given):
    config = Flags()
    return config, OnnxToTensorRT()._timings(TRT, config, {"timing_cache": given})


def test_timings_are_shared_within_one_build_and_no_further():
    config, note = _timings("build")
    assert (config.cache, config.flags, note) == (None, set(), "")


def test_timings_can_be_off():
    config, note = _timings("off")
    assert (config.cache, config.flags, note) == (None, {"DISABLE_TIMING_CACHE"}, "")


def _named(file, content=b"timings"):
    file.write_bytes(content)
    return {"file": str(file), "sha256": hashlib.sha256(content).hexdigest()}


def test_timings_can_be_kept_and_begun_with(tmp_path):
    config, note = _timings("keep")
    assert config.cache.content == b""
    assert "empty" in note
    given = _named(tmp_path / "timing.cache")
    config, note = _timings(given)
    assert config.cache.content == b"timings"
    assert note.endswith(f"sha256 {given['sha256']}")


@pytest.mark.parametrize(
    "given",
    [
        "timing.cache",
        "/some/timing.cache",
        {"file": "timing.cache", "sha256": "0"},
        {"file": "/no/such/timing.cache", "sha256": "0"},
        {"file": "/some/timing.cache"},
        {"file": "/some/timing.cache", "sha256": "0", "more": 1},
        3,
        None,
    ],
    ids=str,
)
def test_timings_from_nowhere_are_refused(given):
    with pytest.raises(ExportFailed, match="timing_cache") as caught:
        _timings(given)
    assert "sha256" in caught.value.hint


def test_timings_that_changed_in_place_are_not_taken_for_the_former(tmp_path):
    given = _named(tmp_path / "timing.cache")
    now = _named(tmp_path / "timing.cache", b"later")
    with pytest.raises(ExportFailed, match=f"holds another content, sha256 {now['sha256']}"):
        _timings(given)


def test_timings_of_another_gpu_are_refused(tmp_path):
    with pytest.raises(ExportFailed, match="does not fit"):
        _timings(_named(tmp_path / "timing.cache", b"of another GPU"))


def test_the_binding_is_the_gpu_and_the_versions(monkeypatch):
    success = types.SimpleNamespace(name="cudaSuccess")
    properties = types.SimpleNamespace(name=b"Stand-in GPU\0", major=8, minor=9)
    runtime = types.SimpleNamespace(
        cudaError_t=types.SimpleNamespace(cudaSuccess=success),
        cudaGetDeviceCount=lambda: (success, 1),
        cudaGetDeviceProperties=lambda _: (success, properties),
        cudaDriverGetVersion=lambda: (success, 12090),
    )
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(__version__="10.9"))
    told = OnnxToTensorRT().binding("cuda:0")
    expected = {"gpu": "Stand-in GPU", "compute capability": "8.9", "tensorrt": "10.9", "cuda": "12.9"}
    assert expected.items() <= told.items()
    with pytest.raises(Unsupported, match="no NVIDIA GPU 'cpu'"):
        OnnxToTensorRT().binding("cpu")
