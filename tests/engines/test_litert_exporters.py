"""The exporters to and from LiteRT models: what they make, what they keep in float, what they refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.exporters import _tflite
from engines.exporters.tflite_import import TFLiteImport
from engines.exporters.tflite_quantise import TFLiteFloat16, TFLiteInt8
from engines.exporters.torch_tflite import TorchExportToTFLite
from engines.litert_graph import Graph, named_tensors
from harness.conformance import relative_difference
from harness.engine import ExportSpec
from harness.errors import DataError, ExportFailed, Unsupported
from harness.tiny_model import (
    TINY_INPUTS,
    TINY_OUTPUTS,
    tiny_artifact,
    tiny_calibration,
    tiny_inputs,
    tiny_reference,
    tiny_weights,
)
from harness.vocabulary import FORMAT_TFLITE, FORMAT_TFLITE_FILE, FORMAT_TORCH_EXPORT, Artifact, Precision, TensorSpec

library = pytest.importorskip("ai_edge_litert.interpreter")
pytestmark = pytest.mark.engine
TINY = Path(__file__).with_name("tiny_model.tflite")
SHAPE = TINY_INPUTS[0].shape[1:]
FP32 = ExportSpec(Precision.FP32, 1, SHAPE)
WARNED = [
    # torch itself uses what it deprecates: torch.export when it copies a tree specification.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torchao's and jax's imports
]


def _open(path):
    interpreter = library.Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter


def _run(path, given):
    """Outputs by name, for inputs by name."""
    interpreter = _open(path)
    inputs, outputs = named_tensors(interpreter)
    for name, index in inputs.items():
        interpreter.set_tensor(index, given[name])
    interpreter.invoke()
    return {name: interpreter.get_tensor(index) for name, index in outputs.items()}


def _export(exporter, artifact, spec, folder):
    folder.mkdir()
    made = exporter.export(artifact, spec, folder)
    return made, folder / made.entry


@pytest.fixture
def tiny():
    return tiny_artifact(TINY, FORMAT_TFLITE, Precision.FP32)


@pytest.fixture
def int8(tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    return ExportSpec(Precision.INT8, 1, SHAPE, tiny_calibration(tmp_path, 8))


@pytest.fixture
def edited(tmp_path):
    """A function that writes the tiny model as ``edit`` leaves it, and returns it as a user's file."""

    def write(edit):
        model = _tflite.read(TINY)
        edit(model)
        _tflite.write(model, tmp_path / "theirs.tflite")
        return Artifact(FORMAT_TFLITE_FILE, Precision.FP32, tmp_path / "theirs.tflite", "hash", 1)

    return write


# --- from torch


def _package(module, path, outputs):
    torch = pytest.importorskip("torch")
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, *SHAPE),)), path)
    return Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, path, "hash", 1, TINY_INPUTS, outputs)


class TestTorchTFLite:
    pytestmark = WARNED

    @pytest.fixture(autouse=True)
    def _libraries(self):
        pytest.importorskip("torch", reason="torch is not installed")
        pytest.importorskip("litert_converter", reason="litert-torch is not installed")

    def test_the_tiny_model_keeps_names_layout_and_answers(self, tmp_path):
        torch = pytest.importorskip("torch")

        class Tiny(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.fc = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 5)
                self.load_state_dict({name: torch.from_numpy(value) for name, value in tiny_weights().items()})

            def forward(self, images):
                return (self.fc(self.conv(images).relu().mean((2, 3))),)

        source = _package(Tiny(), tmp_path / "model.pt2", TINY_OUTPUTS)
        made, path = _export(TorchExportToTFLite(), source, FP32, tmp_path / "out")
        assert (made.inputs, made.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
        assert made.notes == ("boundary in torch's layout; 2 TRANSPOSE of 5 operators inside",)
        for seed in range(2):
            found = _run(path, tiny_inputs(seed))
            assert relative_difference(found, tiny_reference(tiny_inputs(seed))) <= 1e-5
            # The file that the other tests load is what this exporter made.
            assert relative_difference(_run(TINY, tiny_inputs(seed)), found) <= 1e-6

    def test_many_outputs_keep_their_order(self, tmp_path):
        """In the alphabet's order, which signatures have, output_10 comes before output_2."""
        torch = pytest.importorskip("torch")

        class Many(torch.nn.Module):
            def forward(self, images):
                return (*(images.mean((1, 2, 3)) + place for place in range(12)), images.flatten(1).argmax(1))

        outputs = (*(TensorSpec(f"output{place}", "float32", (1,)) for place in range(12)),)
        source = _package(Many(), tmp_path / "model.pt2", (*outputs, TensorSpec("output12", "int64", (1,))))
        made, path = _export(TorchExportToTFLite(), source, FP32, tmp_path / "out")
        found = _run(path, tiny_inputs(0))
        mean = tiny_inputs(0)["images"].mean()
        for place in range(12):
            assert found[f"output{place}"] == pytest.approx(mean + place, abs=1e-5)
        assert found["output12"] == tiny_inputs(0)["images"].argmax()
        assert made.outputs[-1] == TensorSpec("output12", "int32", (1,))
        assert made.notes[-1] == "output12 is int32, torch's is int64"

    def test_an_operator_without_translation_is_named(self, tmp_path):
        torch = pytest.importorskip("torch")

        class Strange(torch.nn.Module):
            def forward(self, images):
                return (torch.linalg.eigvals(images).real,)

        source = _package(Strange(), tmp_path / "model.pt2", TINY_OUTPUTS)
        with pytest.raises(ExportFailed, match="eig") as caught:
            _export(TorchExportToTFLite(), source, FP32, tmp_path / "out")
        assert "operator" in caught.value.hint

    def test_a_package_that_is_none_fails_with_a_hint(self, tmp_path):
        (tmp_path / "model.pt2").write_bytes(b"no package")
        source = Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, tmp_path / "model.pt2", "", 1, TINY_INPUTS, TINY_OUTPUTS)
        with pytest.raises(ExportFailed) as caught:
            _export(TorchExportToTFLite(), source, FP32, tmp_path / "out")
        assert caught.value.hint


# --- quantisers


def test_fp16_halves_the_weights_and_keeps_the_signature(tiny, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    made, path = _export(TFLiteFloat16(), tiny, replace(FP32, precision=Precision.FP16), tmp_path / "out")
    assert (made.inputs, made.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert made.notes == ("2 weights stored in float16",)
    difference = relative_difference(_run(path, tiny_inputs(0)), tiny_reference(tiny_inputs(0)))
    assert 1e-6 < difference <= 1e-2


@pytest.mark.parametrize("method", ["mean", "minmax"])
def test_int8_by_every_method_says_what_it_did(tiny, int8, tmp_path, method):
    made, path = _export(TFLiteInt8(), tiny, replace(int8, options={"method": method}), tmp_path / "out")
    assert (made.inputs, made.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert [each.name for each in path.parent.iterdir()] == [made.entry]
    assert made.notes == (
        f"calibrated by {method} on 8 images, sha256 {int8.calibration.content_hash[:12]}",
        "weights in 8 bits, per channel: 1 of 1 CONV_2D, 0 of 1 FULLY_CONNECTED",
        "kept in float (last layer): 1 FULLY_CONNECTED",
    )
    assert relative_difference(_run(path, tiny_inputs(0)), tiny_reference(tiny_inputs(0))) <= 5e-2


def test_int8_ranges_are_of_every_batch(tiny, int8, tmp_path):
    """One image of eight with ten times the range: the mean has an eighth of it, the extremes have it whole."""
    images = np.load(int8.calibration.path)
    images[-1] *= 10
    np.save(int8.calibration.path, images)
    scales = {}
    for method in ("mean", "minmax"):
        _, path = _export(TFLiteInt8(), tiny, replace(int8, options={"method": method}), tmp_path / method)
        interpreter = _open(path)
        quantise = next(node for node in Graph(interpreter).nodes if node.kind == "QUANTIZE")
        details = {each["index"]: each for each in interpreter.get_tensor_details()}
        scales[method] = details[quantise.outputs[0]]["quantization"][0]
    assert scales["minmax"] / scales["mean"] == pytest.approx(10 / (17 / 8), rel=0.02)


def test_int8_with_activations_quantised_at_run_needs_no_images(tiny, int8, tmp_path):
    asked = replace(int8, calibration=None, options={"activations": "dynamic", "keep_last": False})
    made, path = _export(TFLiteInt8(), tiny, asked, tmp_path / "out")
    assert made.notes == (
        "activations are quantised at run: the calibration images were not used",
        "weights in 8 bits, per channel: 1 of 1 CONV_2D, 1 of 1 FULLY_CONNECTED",
    )
    assert not [node for node in Graph(_open(path)).nodes if node.kind == "QUANTIZE"]
    assert relative_difference(_run(path, tiny_inputs(0)), tiny_reference(tiny_inputs(0))) <= 5e-2


def test_int8_is_deterministic(tiny, int8, tmp_path):
    files = [_export(TFLiteInt8(), tiny, int8, tmp_path / name)[1].read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_int8_excludes_what_a_pattern_matches(tiny, int8, tmp_path):
    graph = Graph(_open(TINY))
    name = next(graph.tensors[node.outputs[0]].name for node in graph.nodes if node.kind == "CONV_2D")
    pattern = f".*{name[-10:].replace('.', '[.]')}"
    made, _ = _export(
        TFLiteInt8(), tiny, replace(int8, options={"exclude": [pattern], "keep_last": False}), tmp_path / "out"
    )
    assert "0 of 1 CONV_2D, 1 of 1 FULLY_CONNECTED" in made.notes[1]
    assert made.notes[2].startswith("kept in float (as asked): ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "method cannot be 'guess'"),
        ({"activations": "sometimes"}, "activations cannot be 'sometimes'"),
        ({"methods": "mean"}, "no option 'methods'"),
        ({"exclude": [".*"]}, "every layer of the model would stay in float"),
    ],
    ids=str,
)
def test_int8_refuses_options_it_cannot_follow(tiny, int8, tmp_path, options, message):
    with pytest.raises(ExportFailed, match=message) as caught:
        _export(TFLiteInt8(), tiny, replace(int8, options=options), tmp_path / "out")
    assert caught.value.hint


def test_int8_without_images_is_refused(tiny, int8, tmp_path):
    with pytest.raises(ExportFailed, match="no calibration images") as caught:
        _export(TFLiteInt8(), tiny, replace(int8, calibration=None), tmp_path / "out")
    assert "calibrate" in caught.value.hint


@pytest.mark.parametrize("exporter", [TFLiteFloat16(), TFLiteInt8()], ids=lambda exporter: exporter.name)
def test_a_damaged_model_is_not_quantised(tiny, int8, tmp_path, exporter):
    (tmp_path / "cut.tflite").write_bytes(TINY.read_bytes()[:-100])
    with pytest.raises(ExportFailed, match=r"cut\.tflite") as caught:
        _export(exporter, replace(tiny, path=tmp_path / "cut.tflite"), int8, tmp_path / "out")
    assert caught.value.hint


@pytest.mark.parametrize("exporter", [TFLiteFloat16(), TFLiteInt8()], ids=lambda exporter: exporter.name)
def test_what_is_quantised_already_is_not_quantised_again(tiny, int8, tmp_path, exporter):
    _, path = _export(TFLiteInt8(), tiny, replace(int8, options={"keep_last": False}), tmp_path / "once")
    again = replace(int8, options={} if exporter.name == "tflite-fp16" else {"keep_last": False})
    with pytest.raises(ExportFailed, match="quantised already") as caught:
        _export(exporter, replace(tiny, path=path), again, tmp_path / "twice")
    assert caught.value.hint


# --- a user's file


def _batch_of_any_size(model):
    main = model.subgraphs[0]
    for tensor in main.tensors:
        if (
            tensor.shape is not None
            and len(tensor.shape)
            and tensor.buffer
            and model.buffers[tensor.buffer].data is None
        ):
            tensor.shapeSignature = [-1, *tensor.shape[1:]]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_dynamic_batch_becomes_the_one_asked(edited, tmp_path, batch):
    source = edited(_batch_of_any_size)
    made, path = _export(TFLiteImport(), source, replace(FP32, batch=batch), tmp_path / "out")
    assert made.inputs == (TensorSpec("images", "float32", (batch, *SHAPE)),)
    assert made.outputs == (TensorSpec("logits", "float32", (batch, 5)),)
    images = np.concatenate([tiny_inputs(seed)["images"] for seed in range(batch)])
    assert relative_difference(_run(path, {"images": images}), tiny_reference({"images": images})) <= 1e-5


def test_a_static_file_stays_as_it_is(tmp_path):
    source = Artifact(FORMAT_TFLITE_FILE, Precision.FP32, TINY, "hash", 1)
    made, path = _export(TFLiteImport(), source, FP32, tmp_path / "out")
    assert path.read_bytes() == TINY.read_bytes()
    assert (made.inputs, made.outputs, made.notes) == (TINY_INPUTS, TINY_OUTPUTS, ())


def test_a_file_without_a_signature_gets_one_of_its_tensors_names(edited, tmp_path):
    def edit(model):
        model.signatureDefs = []
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name = b"pixels:0"

    made, path = _export(TFLiteImport(), edited(edit), FP32, tmp_path / "out")
    assert made.inputs[0].name == "pixels:0"
    found = _run(path, {"pixels:0": tiny_inputs(0)["images"]})
    assert relative_difference({"logits": found[made.outputs[0].name]}, tiny_reference(tiny_inputs(0))) <= 1e-5


def test_channels_last_stay_last(edited, tmp_path):
    def edit(model):
        """The first operator turns channels last: without it, they come so."""
        main = model.subgraphs[0]
        turned = main.operators[0].outputs[0]
        del main.operators[0]
        main.inputs = [turned]
        model.signatureDefs[0].inputs[0].tensorIndex = turned

    made, path = _export(TFLiteImport(), edited(edit), FP32, tmp_path / "out")
    assert made.inputs[0].shape == (1, 16, 16, 3)
    assert made.notes == ("channels last at the boundary, as in the file",)
    found = _run(path, {"images": np.ascontiguousarray(tiny_inputs(0)["images"].transpose(0, 2, 3, 1))})
    assert relative_difference(found, tiny_reference(tiny_inputs(0))) <= 1e-5


def test_a_quantised_file_is_noted(tiny, int8, tmp_path):
    _, path = _export(TFLiteInt8(), tiny, int8, tmp_path / "int8")
    made, _ = _export(TFLiteImport(), replace(tiny, path=path), FP32, tmp_path / "out")
    assert made.notes == ("the file holds int8 tensors: it is quantised already",)


@pytest.mark.parametrize(
    "content",
    [b"", b"no model" * 99, TINY.read_bytes()[:1000], TINY.read_bytes()[:-1]],
    ids=("empty", "text", "cut", "nearly"),
)
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "theirs.tflite").write_bytes(content)
    source = Artifact(FORMAT_TFLITE_FILE, Precision.FP32, tmp_path / "theirs.tflite", "hash", 1)
    with pytest.raises(DataError, match=r"theirs\.tflite cannot be read") as caught:
        _export(TFLiteImport(), source, FP32, tmp_path / "out")
    assert caught.value.hint


def _custom(model):
    code = next(code for code in model.operatorCodes if code.builtinCode == 40)  # MEAN
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"Fancy"
    operator = next(each for each in model.subgraphs[0].operators if model.operatorCodes[each.opcodeIndex] is code)
    operator.builtinOptions, operator.builtinOptionsType = None, 0


def _second_signature(model):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    other = schema.SignatureDefT()
    other.signatureKey, other.subgraphIndex = "other", 0
    other.inputs, other.outputs = model.signatureDefs[0].inputs, model.signatureDefs[0].outputs
    model.signatureDefs.append(other)


def _second_input(model):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    main = model.subgraphs[0]
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = b"mask", [1], 0
    main.tensors.append(tensor)
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = b"mask", len(main.tensors) - 1
    main.inputs = [*main.inputs, entry.tensorIndex]
    model.signatureDefs[0].inputs.append(entry)


def _integer_input(model):
    """Bytes in, as a converter makes them for a microcontroller."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    main = model.subgraphs[0]
    for index in (main.inputs[0], main.operators[0].outputs[0]):
        main.tensors[index].type = schema.TensorType.UINT8
    main.operators = main.operators[:1]
    main.outputs = [main.operators[0].outputs[0]]
    model.signatureDefs[0].outputs[0].tensorIndex = main.outputs[0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_custom, "Fancy"),
        (_second_signature, "2 signatures"),
        (_second_input, "2 inputs"),
        (_integer_input, "takes uint8"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_cannot_be_measured_are_refused(edited, tmp_path, edit, message):
    with pytest.raises(Unsupported, match=message) as caught:
        _export(TFLiteImport(), edited(edit), FP32, tmp_path / "out")
    assert caught.value.hint


@pytest.mark.parametrize("changes", [{"batch": 4}, {"shape": (3, 32, 32)}, {"shape": (3, 16)}], ids=str)
def test_a_static_shape_is_not_bent(tmp_path, changes):
    source = Artifact(FORMAT_TFLITE_FILE, Precision.FP32, TINY, "hash", 1)
    with pytest.raises(Unsupported, match=r"takes \[1, 3, 16, 16\], asked was") as caught:
        _export(TFLiteImport(), source, replace(FP32, **changes), tmp_path / "out")
    assert caught.value.hint
