"""What the engine inspector's JSON is read as, in the words of TensorRT 10 and 11."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.tensorrt_inspector import inspect, mark
from harness.vocabulary import Unknowable

CONV = mark("conv", "Conv", 100)


def _layer(dtype, metadata="", tactic="", kind="kgen", key="Format/Datatype"):
    tensor = {"Name": "t", key: dtype}
    return {
        "Name": "l",
        "LayerType": kind,
        "Inputs": [tensor],
        "Outputs": [tensor],
        "TacticName": tactic,
        "Metadata": metadata,
    }


def _read(*layers, tf32=False, work=100):
    return inspect(json.dumps({"Layers": list(layers)}), tf32=tf32, work=work)


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("Float", "fp32"),
        ("Row major linear FP32 format", "fp32"),
        ("Half", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Two wide channel vectorized row major FP16 format", "fp16"),
        ("BFloat16", "bf16"),
        ("Row major linear BF16 format", "bf16"),
        ("Int8", "int8"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("UInt8", "uint8"),
        ("FP8", "fp8"),
        ("Int64", "int64"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
@pytest.mark.parametrize("key", ["Format/Datatype", "Datatype", "DataType"])
def test_words_of_a_type(words, precision, key):
    assert _read(_layer(words, CONV, key=key)).nodes_by_precision == {precision: 1}


def test_the_type_comes_before_the_format_of_tensorrt_11():
    layer = _layer("Half", CONV, key="Datatype")
    layer["Inputs"][0]["Format"] = "(NHWC) Channel major format"
    assert _read(layer).macs_by_precision == {"fp16": 1.0}
    assert _read(layer).formats == "1 × (NHWC) Channel major format"


@pytest.mark.parametrize(
    ("tactic", "tf32", "precision"),
    [
        ("sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nhwc", True, "tf32"),
        ("ampere_scudnn_128x64_relu_f32f32_f32f32_f32", True, "fp32"),
        ("__myelin_CASK_STUB", False, "fp32"),
        ("__myelin_CASK_STUB", True, "fp32 or tf32"),
        ("__myelin_CASK_STUB", None, "fp32 or tf32"),
        ("", None, "fp32 or tf32"),
    ],
)
def test_tf32_is_told_by_the_kernel_or_by_the_builder(tactic, tf32, precision):
    assert _read(_layer("Float", CONV, tactic), tf32=tf32).macs_by_precision == {precision: 1.0}


def test_tf32_concerns_what_multiplies_alone():
    assert _read(_layer("Float", mark("relu", "Relu", 0)), tf32=None).nodes_by_precision == {"fp32": 1}


@pytest.mark.parametrize("joint", ["\x1e", "\x1f", ""])
def test_a_fused_layer_shows_what_it_holds_and_counts_it_once(joint):
    parts = joint.join([CONV, mark("sig", "Sigmoid", 0), mark("mul", "Mul", 0), CONV])
    found = _read(_layer("Half", parts), _layer("Float", mark("fc", "Gemm", 300)), _layer("Int8", CONV), work=400)
    assert found.operators == {"Conv+Sigmoid+Mul": 1, "Gemm": 1, "Conv": 1}
    assert found.macs_by_precision == {"fp16": 0.25, "fp32": 0.75}
    assert found.layers == 3


def test_layers_that_launch_nothing_are_left_out():
    idle = [_layer("Float", kind=kind) for kind in ("NoOp", "Constant", "signal", "wait")]
    assert _read(*idle, _layer("Half", kind="Reformat")).operators == {"Reformat": 1}


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (400, {"fp16": 0.25, "int8": 0.75}),
        (402, {"fp16": 100 / 402, "int8": 300 / 402, "unknown": 2 / 402}),
        (405, "the marks of 1.2% of the multiply-accumulates were lost in fusions"),
        (800, "the marks of 50.0% of the multiply-accumulates were lost in fusions"),
        (None, "does not tell the work of the whole graph"),
    ],
    ids=str,
)
def test_shares_are_of_the_whole_graph(work, told):
    found = _read(_layer("Half", CONV), _layer("Int8", mark("fc", "Gemm", 300)), work=work).macs_by_precision
    if isinstance(told, str):
        assert isinstance(found, Unknowable)
        assert told in found.reason
    else:
        assert found == pytest.approx(told)
        assert sum(found.values()) == pytest.approx(1)


def test_an_engine_without_marks_tells_no_shares_of_work():
    found = _read(_layer("Half", "[ONNX Layer: conv]", kind="CaskConvolution"))
    assert isinstance(found.macs_by_precision, Unknowable)
    assert found.operators == {"CaskConvolution": 1}


@pytest.mark.parametrize("layers", [[], ["conv + relu", "fc"]])
def test_an_engine_without_detail_tells_nothing(layers):
    found = inspect(json.dumps({"Layers": layers, "Bindings": ["x", "y"]}), tf32=False, work=1)
    assert isinstance(found.nodes_by_precision, Unknowable)
    assert isinstance(found.layers, Unknowable)


@given(st.text(st.characters(blacklist_characters="[]\x1e\x1f"), min_size=1), st.integers(1, 10**12))
def test_a_mark_is_read_as_it_was_written(name, macs):
    found = _read(_layer("Half", "\x1e".join([mark(name, "Conv", macs), mark("other", "Relu", 0)])), work=macs)
    assert found.operators == {"Conv+Relu": 1}
    assert found.macs_by_precision == {"fp16": 1.0}


_TENSORS = st.none() | st.lists(st.text() | st.dictionaries(st.sampled_from(["Datatype", "Format"]), st.text()))


@given(
    st.lists(
        st.text()
        | st.fixed_dictionaries(
            {},
            optional={
                "LayerType": st.text(),
                "Inputs": _TENSORS,
                "Outputs": _TENSORS,
                "Metadata": st.none() | st.text(),
                "TacticName": st.none() | st.text(),
            },
        )
    )
)
def test_no_layer_breaks_the_reader(layers):
    found = inspect(json.dumps({"Layers": layers}), tf32=None, work=None)
    assert isinstance(found.layers, Unknowable) or found.layers == sum(found.nodes_by_precision.values())
