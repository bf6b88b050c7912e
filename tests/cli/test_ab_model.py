"""A suite for one ONNX file: its input's shape is read from it, or asked for."""

from __future__ import annotations

import pytest

from harness import suite
from harness.cli.ab_model import as_shape, input_of, suite_text
from harness.errors import HarnessError

onnx = pytest.importorskip("onnx")


@pytest.fixture
def model(tmp_path):
    """Write an ONNX file of one operator whose inputs have these shapes."""

    def made(*shapes, name="model.onnx"):
        inputs = [
            onnx.helper.make_tensor_value_info(f"input{number}", onnx.TensorProto.FLOAT, shape)
            for number, shape in enumerate(shapes)
        ]
        output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)
        node = onnx.helper.make_node("Relu", ["input0"], ["output"])
        graph = onnx.helper.make_graph([node], "graph", inputs, [output])
        file = tmp_path / name
        onnx.save(onnx.helper.make_model(graph), file)
        return file

    return made


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ([1, 3, 224, 224], ((3, 224, 224), 1)),
        ([8, 3, 224, 224], ((3, 224, 224), 8)),
        (["batch", 3, 32, 64], ((3, 32, 64), 1)),
        ([None, 16], ((16,), 1)),
        ([1, 224, 160, 3], ((3, 224, 160), 1)),
    ],
)
def test_the_shape_of_the_file(model, shape, found):
    assert input_of(model(shape)) == found


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([["n", 3, "height", "width"]], r"is \(n, 3, height, width\): its shape is not fixed"),
        ([[1, 3, None, 32]], r"is \(1, 3, \?, 32\): its shape is not fixed"),
        ([[4]], r"is \(4\): its shape is not fixed"),
        ([[1, 3, 8, 8], [1, 4]], r"has 2 inputs \(input0, input1\)"),
    ],
)
def test_what_the_file_does_not_fix_is_asked_for(model, shapes, message):
    with pytest.raises(HarnessError, match=message):
        input_of(model(*shapes))


def test_a_file_that_is_no_model(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\xff" * 64)
    with pytest.raises(HarnessError, match="is no ONNX file"):
        input_of(file)


def test_its_suite_is_one_that_loads(model, tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text(suite_text(model([1, 3, 8, 8], name="my model (2).onnx"), "onnxruntime", ["fp32", "int8"], ()))
    loaded = suite.load(file)
    (name,) = loaded.workloads
    assert name == "my-model-2"
    assert loaded.workloads[name].input == (3, 8, 8)
    assert [str(each) for each in loaded.matrix.precision] == ["fp32", "int8"]
    assert loaded.matrix.scenario == ("latency", "throughput", "memory")


def test_a_shape_that_is_given_needs_no_reading(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("not read")
    assert '"input": [\n    3,' in suite_text(file, "onnxruntime", [], (3, 8, 8))


@pytest.mark.parametrize(
    ("text", "shape"), [("3,224,224", (3, 224, 224)), ("3x8x8", (3, 8, 8)), (" 16 ", (16,)), (None, ())]
)
def test_shapes(text, shape):
    assert as_shape(text) == shape


@pytest.mark.parametrize("text", ["", "3,", "0,8,8", "-1", "a", "3,8,8,8,8,8,8,8,8"])
def test_what_is_no_shape(text):
    with pytest.raises(HarnessError, match="is no shape"):
        as_shape(text)
