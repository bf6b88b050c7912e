"""LiteRT's adapter: the contract, and what is this engine's own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.exporters import _tflite
from engines.exporters.tflite_quantise import TFLiteFloat16, TFLiteInt8
from engines.litert import LiteRTEngine
from engines.litert_settings import LiteRTOptions
from harness.conformance import EngineConformance, relative_difference
from harness.engine import ExportSpec, SessionConfig
from harness.errors import DataError, InvalidInput, Unsupported
from harness.tiny_model import TINY_INPUTS, TINY_OUTPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_reference
from harness.vocabulary import FORMAT_TFLITE, Goal, Precision, TensorSpec, Unknowable

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.engine
# What ``torch-tflite`` made of the tiny model; test_litert_exporters.py makes it again.
TINY = Path(__file__).with_name("tiny_model.tflite")


def _quantised(precision, folder, **options):
    pytest.importorskip("ai_edge_quantizer")
    made = folder / "made"
    made.mkdir()
    exporter = TFLiteFloat16() if precision is Precision.FP16 else TFLiteInt8()
    spec = ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], tiny_calibration(folder), options)
    exported = exporter.export(tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32), spec, made)
    return tiny_artifact(made / exported.entry, FORMAT_TFLITE, precision)


class TestContract(EngineConformance):
    engine = LiteRTEngine
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)

    def artifact(self, precision, folder):
        if precision is Precision.FP32:
            path = folder / "model.tflite"
            path.write_bytes(TINY.read_bytes())
            return tiny_artifact(path, FORMAT_TFLITE, precision)
        return _quantised(precision, folder)


class TestContractOfCompiled(TestContract):
    """The other API, with all that its one stream can promise."""

    precisions = (Precision.FP32, Precision.INT8)

    def config(self, exported, **changes):
        return super().config(exported, **{"options": LiteRTOptions(api="compiled"), **changes})

    def test_two_streams_run_at_once_and_agree(self, load, precision):
        with pytest.raises(Unsupported, match="holds Python's lock") as caught:
            load(precision, goal=Goal.THROUGHPUT, threads=2, streams=2)
        assert "interpreter" in caught.value.hint


@pytest.fixture
def load(tmp_path):
    """A function that loads an artifact, the tiny model in FP32 unless told otherwise, with these options."""

    def load(artifact=None, changes=None, **options):
        artifact = artifact or tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32)
        config = SessionConfig(
            precision=artifact.precision, threads=1, scratch=tmp_path, options=LiteRTOptions(**options)
        )
        return LiteRTEngine().load(artifact, replace(config, **(changes or {})))

    return load


@pytest.fixture
def edited(tmp_path):
    """A function that writes the tiny model as ``edit`` leaves it, and returns its artifact."""

    def write(edit):
        model = _tflite.read(TINY)
        edit(model)
        _tflite.write(model, tmp_path / "edited.tflite")
        return tiny_artifact(tmp_path / "edited.tflite", FORMAT_TFLITE, Precision.FP32)

    return write


def _infer(session, seed=0):
    stream = session.stream()
    stream.bind(tiny_inputs(seed))
    stream.run()
    return stream.fetch()


# --- what was executed


def test_the_delegate_takes_the_tiny_model_whole(load):
    execution = load().describe()
    assert execution.operators == {
        "XNNPACK TRANSPOSE": 2,
        "XNNPACK CONV_2D": 1,
        "XNNPACK MEAN": 1,
        "XNNPACK FULLY_CONNECTED": 1,
    }
    assert execution.graph_nodes == 5
    assert execution.nodes_by_precision == {"fp32": 5}
    assert execution.flags["xnnpack"] == "5 of 5 operators in 1 partitions"


def test_without_fusion_each_operator_is_a_partition_of_its_own(load):
    assert load(fusion=False).describe().flags["xnnpack"] == "5 of 5 operators in 5 partitions"


@pytest.mark.parametrize("kernels", ["builtin", "reference"])
def test_the_runtimes_own_kernels_answer_alike_and_show(load, kernels):
    session = load(kernels=kernels)
    assert relative_difference(_infer(session), tiny_reference(tiny_inputs(0))) <= 1e-5
    execution = session.describe()
    assert execution.operators == {"TRANSPOSE": 2, "CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert isinstance(execution.threads, Unknowable)
    assert "pools" in execution.threads.reason


def test_keeping_every_tensor_answers_alike(load):
    assert relative_difference(_infer(load(reuse_memory=False)), tiny_reference(tiny_inputs(0))) <= 1e-5


def test_float16_weights_meet_float32_arithmetic(load, tmp_path):
    execution = load(_quantised(Precision.FP16, tmp_path)).describe()
    # The very reason for which the facts call it emulated: should this fail, they are out of date.
    assert execution.macs_by_precision == {"fp32": 1.0}
    assert execution.operators["XNNPACK DEQUANTIZE"] == 2


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_int8_multiplies_in_int8_either_way(load, tmp_path, activations):
    execution = load(_quantised(Precision.INT8, tmp_path, activations=activations, keep_last=False)).describe()
    assert execution.macs_by_precision == {"int8": 1.0}
    at_run = execution.flags.get("activations quantised at run")
    assert at_run == ("1 CONV_2D, 1 FULLY_CONNECTED" if activations == "dynamic" else None)


def test_a_layer_kept_in_float_shows_in_the_shares(load, tmp_path):
    shares = load(_quantised(Precision.INT8, tmp_path)).describe().macs_by_precision
    # 256 positions of 3x3x3 to 8 channels, and 8 to 5.
    assert shares["fp32"] == pytest.approx(40 / (40 + 256 * 27 * 8))


def test_threads_of_all_streams_are_counted(load):
    session = load(changes={"goal": Goal.THROUGHPUT, "threads": 4, "streams": 2})
    assert session.recommended_streams == 2
    execution = session.describe()
    assert (execution.threads, execution.streams) == (4, 2)


def test_the_runtime_takes_one_thread_by_itself(load):
    assert load(changes={"threads": None}).describe().threads == 1


# --- CompiledModel


def test_compiled_says_no_more_than_it_knows(load):
    execution = load(api="compiled").describe()
    assert isinstance(execution.macs_by_precision, Unknowable)
    assert execution.flags == {"api": "compiled", "fully accelerated": "yes"}


def test_compiled_computes_in_float16_where_asked(load):
    artifact = tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32)
    options = LiteRTOptions(api="compiled", fp16_arithmetic=True)
    assert LiteRTEngine().artifact_precision(Precision.FP16, options) is Precision.FP32
    session = load(artifact, {"precision": Precision.FP16}, api="compiled", fp16_arithmetic=True)
    assert 1e-5 < relative_difference(_infer(session), tiny_reference(tiny_inputs(0))) <= 1e-2
    assert session.describe().flags["fp16 arithmetic"] == "outputs differ from those without it"


def test_compiled_maps_packed_weights_from_the_scratch_folder(load, tmp_path):
    session = load(api="compiled", weight_cache=True)
    assert relative_difference(_infer(session), tiny_reference(tiny_inputs(0))) <= 1e-5
    assert (tmp_path / "xnnpack-weights").stat().st_size > 0


def test_compiled_float16_has_a_snippet_of_its_own(load, tmp_path):
    artifact = tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32)
    options = LiteRTOptions(api="compiled", fp16_arithmetic=True)
    program = LiteRTEngine().snippet(artifact, SessionConfig(precision=Precision.FP16, options=options))
    (tmp_path / "model.tflite").write_bytes(TINY.read_bytes())
    np.savez(tmp_path / "inputs.npz", **tiny_inputs(0))
    saved = program.replace("MODEL", "model.tflite") + "\nnp.savez('outputs.npz', **outputs)\n"
    subprocess.run([sys.executable, "-c", saved], cwd=tmp_path, check=True)
    session = load(artifact, {"precision": Precision.FP16}, api="compiled", fp16_arithmetic=True)
    with np.load(tmp_path / "outputs.npz") as archive:
        assert relative_difference(dict(archive), _infer(session)) == 0


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"api": "delegate"}, "api cannot be 'delegate'"),
        ({"kernels": "fast"}, "kernels cannot be 'fast'"),
        ({"weight_cache": True}, "the interpreter has no weight_cache"),
        ({"fp16_arithmetic": True}, "the interpreter has no fp16_arithmetic"),
        ({"api": "compiled", "fusion": False}, "the compiled has no fusion"),
        ({"api": "compiled", "weight_cache": True, "kernels": "builtin"}, "are XNNPACK's"),
        ({"api": "compiled", "fp16_arithmetic": True}, "fp16_arithmetic is not fp32"),
    ],
    ids=str,
)
def test_options_that_cannot_be_followed_are_refused(load, options, message):
    with pytest.raises(Unsupported, match=message) as caught:
        load(**options)
    assert caught.value.hint


def test_artifact_of_another_precision_is_refused(load):
    with pytest.raises(Unsupported, match="fp32 arithmetic, int8 was asked"):
        load(changes={"precision": Precision.INT8})


@pytest.mark.parametrize(
    ("api", "content"),
    [
        *((api, content) for api in ("interpreter", "compiled") for content in (b"", b"no model" * 100, "half")),
        ("interpreter", "one byte less"),
    ],
    ids=str,
)
def test_a_damaged_file_is_a_clear_error(load, tmp_path, api, content):
    whole = TINY.read_bytes()
    cut = {"half": whole[: len(whole) // 2], "one byte less": whole[:-1]}
    path = tmp_path / "damaged.tflite"
    path.write_bytes(cut.get(content, content))
    with pytest.raises(DataError, match=r"damaged\.tflite") as caught:
        load(tiny_artifact(path, FORMAT_TFLITE, Precision.FP32), api=api)
    assert caught.value.hint


def test_a_custom_operator_is_named(load, edited):
    def edit(model):
        code = next(code for code in model.operatorCodes if code.builtinCode == 40)  # MEAN
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"Fancy"
        operator = next(each for each in model.subgraphs[0].operators if model.operatorCodes[each.opcodeIndex] is code)
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    with pytest.raises(Unsupported, match="Fancy") as caught:
        load(edited(edit))
    assert "custom" in caught.value.hint


def test_dynamic_shapes_are_refused(load, edited):
    def edit(model):
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shapeSignature = [-1, 3, 16, 16]

    with pytest.raises(Unsupported, match="dynamic"):
        load(edited(edit))


def test_names_that_the_file_does_not_have_are_refused(load):
    artifact = replace(
        tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32), inputs=(replace(TINY_INPUTS[0], name="pixels"),)
    )
    with pytest.raises(Unsupported, match="names \\['pixels'\\]"):
        load(artifact)


def test_names_are_the_tensors_own_where_there_is_no_signature(load, edited):
    def edit(model):
        model.signatureDefs = []
        for role, name in (("inputs", b"a:0"), ("outputs", b"b:0")):
            model.subgraphs[0].tensors[getattr(model.subgraphs[0], role)[0]].name = name

    artifact = replace(
        edited(edit),
        inputs=(TensorSpec("a:0", "float32", TINY_INPUTS[0].shape),),
        outputs=(TensorSpec("b:0", "float32", TINY_OUTPUTS[0].shape),),
    )
    stream = load(artifact).stream()
    with pytest.raises(InvalidInput):
        stream.bind(tiny_inputs(0))
    stream.bind({"a:0": tiny_inputs(0)["images"]})
    stream.run()
    assert relative_difference({"logits": stream.fetch()["b:0"]}, tiny_reference(tiny_inputs(0))) <= 1e-5
