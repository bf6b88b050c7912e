"""Counting work in ONNX Runtime's profiles, by shapes worked out by hand."""

from types import SimpleNamespace

import pytest

from engines.onnxruntime_profile import Placement, Profile
from harness.vocabulary import Unknowable


def _event(operator, inputs, outputs, provider="CPUExecutionProvider", pool=None):
    statistics = {"sub_threads": {str(thread): {} for thread in range(pool)}} if pool else ""
    return {
        "cat": "Node",
        "args": {
            "op_name": operator,
            "provider": provider,
            "thread_scheduling_stats": statistics,
            "input_type_shape": [{word: shape} for word, shape in inputs],
            "output_type_shape": [{word: shape} for word, shape in outputs],
        },
    }


def _f(*shapes, word="float"):
    return [(word, list(shape)) for shape in shapes]


SCALE = ("float", [])
ZERO = ("uint8", [])


@pytest.mark.parametrize(
    ("event", "macs", "precision"),
    [
        (_event("Conv", _f((1, 3, 16, 16), (8, 3, 3, 3), (8,)), _f((1, 8, 16, 16))), 16 * 16 * 8 * 27, "fp32"),
        (_event("Conv", _f((1, 8, 16, 16), (8, 1, 3, 3)), _f((1, 8, 8, 8))), 8 * 8 * 8 * 9, "fp32"),
        (_event("ConvTranspose", _f((1, 4, 5, 5), (4, 6, 2, 2)), _f((1, 6, 10, 10))), 25 * 4 * 6 * 4, "fp32"),
        (_event("Gemm", _f((2, 8), (5, 8), (5,)), _f((2, 5))), 2 * 5 * 8, "fp32"),
        (_event("Gemm", _f((8, 2), (8, 5)), _f((2, 5))), 2 * 5 * 8, "fp32"),
        (_event("MatMul", _f((3, 7, 4), (3, 4, 9), word="float16"), _f((3, 7, 9))), 3 * 7 * 9 * 4, "fp16"),
        (_event("MatMul", _f((4,), (4, 9)), _f((9,))), 9 * 4, "fp32"),
        (_event("FusedMatMul", _f((4, 7), (4, 9)), _f((7, 9))), 7 * 9 * 4, "fp32"),
        (
            _event(
                "QLinearConv",
                [("uint8", [1, 3, 4, 4]), SCALE, ZERO, ("int8", [8, 3, 1, 1]), SCALE, ("int8", []), SCALE, ZERO],
                [("uint8", [1, 8, 4, 4])],
            ),
            16 * 8 * 3,
            "int8",
        ),
        (_event("DynamicQuantizeMatMul", [*_f((2, 8)), ("uint8", [8, 5]), SCALE], _f((2, 5))), 2 * 5 * 8, "int8"),
        (
            _event("MatMulNBits", [*_f((2, 7, 64)), ("uint8", [9, 2, 16]), *_f((18,))], _f((2, 7, 9))),
            2 * 7 * 9 * 64,
            "packed bits",
        ),
        # Five steps of two items: four gates of width 6 from 3 inputs, and from the 6 before.
        (_event("LSTM", _f((5, 2, 3), (1, 24, 3), (1, 24, 6)), _f((5, 1, 2, 6))), 5 * 2 * 24 * (3 + 6), "fp32"),
        (_event("GRU", _f((5, 2, 3), (2, 18, 3), (2, 18, 6)), _f((5, 2, 2, 6))), 5 * 2 * 2 * 18 * (3 + 6), "fp32"),
        # com.microsoft's projects 16 to 3 x 16 first; then each of 7 positions with 7 keys and 7 values of width 16.
        (
            _event("Attention", _f((1, 7, 16), (16, 48), (48,)), _f((1, 7, 16))),
            7 * 16 * 48 + 2 * 7 * 7 * 16,
            "fp32",
        ),
        # ONNX's, by heads: 4 of width 8, 7 queries, 11 keys.
        (
            _event("Attention", _f((1, 4, 7, 8), (1, 4, 11, 8), (1, 4, 11, 8)), _f((1, 4, 7, 8))),
            4 * 7 * 11 * 16,
            "fp32",
        ),
        (_event("MultiHeadAttention", _f((1, 7, 32), (1, 11, 32), (1, 11, 32)), _f((1, 7, 32))), 7 * 11 * 64, "fp32"),
    ],
    ids=lambda value: value["args"]["op_name"] if isinstance(value, dict) else None,
)
def test_work_of_one_operator(event, macs, precision):
    # Beside a product of known work, the share tells the number.
    known = _event("MatMul", _f((10, 100), (100, 10), word="bfloat16"), _f((10, 10)), "Other")
    profile = Profile([event, known])
    share = macs / (macs + 10_000)
    assert profile.macs_by_precision() == pytest.approx({precision: share, "bf16": 1 - share})
    assert profile.macs_by_provider() == pytest.approx({"CPUExecutionProvider": share, "Other": 1 - share})


def test_nodes_are_counted_by_the_type_of_their_output():
    profile = Profile(
        [
            _event("Relu", _f((2,)), _f((2,))),
            _event("QuantizeLinear", _f((2,)), [("uint8", [2])]),
            _event("Shape", _f((2,)), [("int64", [1])]),
            {"cat": "Session", "args": {}},
        ]
    )
    assert profile.nodes == 3
    assert profile.nodes_by_precision() == {"fp32": 1, "int8": 1, "int64": 1}
    assert profile.macs_by_precision() == {}


@pytest.mark.parametrize(("pool", "threads"), [(None, 1), (1, 2), (3, 4)])
def test_threads_are_the_caller_and_the_pool(pool, threads):
    assert Profile([_event("Relu", _f((2,)), _f((2,)), pool=pool)]).threads == threads


def test_work_that_shapes_do_not_tell_is_named():
    profile = Profile([_event("Einsum", _f((2,)), _f((2,))), _event("Relu", _f((2,)), _f((2,)))])
    assert profile.flags() == {"not in the MAC shares": "1 Einsum"}
    assert Profile([_event("Relu", _f((2,)), _f((2,)))]).flags() == {}


def _part(provider, *nodes):
    made = [SimpleNamespace(op_type=kind, name=name) for kind, name in nodes]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: made)


CPU, OTHER = "CPUExecutionProvider", "OtherExecutionProvider"


def test_a_provider_that_compiles_is_told_by_the_work_that_it_took_and_does_not_show():
    placement = Placement([_part(OTHER, ("Conv", "a"), ("Relu", "b")), _part(CPU, ("MatMul", "c"))])
    product = _event("MatMul", _f((2, 3), (3, 4)), _f((2, 4)), CPU)
    compiled = Profile([product, _event("part_7", _f((1, 3)), _f((1, 3)), OTHER)])
    kernels = Profile([product, _event("Conv", _f((1, 3, 2, 2), (4, 3, 1, 1)), _f((1, 4, 2, 2)), OTHER)])
    assert placement.compiling(compiled) == {OTHER}
    assert placement.compiling(kernels) == frozenset()
    assert compiled.operators(placement) == {"MatMul": 1, "Conv+Relu": 1}
    assert kernels.operators(placement) == {"MatMul": 1, "Conv": 1}
    assert placement.nodes() == {OTHER: 2, CPU: 1}
    assert placement.shares({"a": 30, "c": 10}) == {OTHER: 0.75, CPU: 0.25}


def test_work_of_unknown_nodes_is_unknowable():
    placement = Placement([_part(OTHER, ("Conv", "a"), ("Conv", ""))])
    found = placement.shares({"a": 30})
    assert isinstance(found, Unknowable)
    assert "(no name)" in found.reason


def test_float32_work_is_called_what_the_provider_makes_of_it():
    events = [
        _event("MatMul", _f((2, 3), (3, 4)), _f((2, 4)), OTHER),
        _event("MatMul", _f((2, 3), (3, 4)), _f((2, 4)), CPU),
        _event("MatMul", _f((2, 3), (3, 4), word="float16"), _f((2, 4)), OTHER),
        _event("MatMul", _f((2, 3), (3, 4), word="float16"), _f((2, 4)), OTHER),
    ]
    assert Profile(events).macs_by_precision({OTHER: "tf32"}) == {"tf32": 0.25, "fp32": 0.25, "fp16": 0.5}
