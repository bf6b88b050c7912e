"""What a vendor's library raises in an export reaches the user as one message with a hint, never as its own class."""

import sys
import types
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from engines.exporters import _tensorflow, torch_saved_model
from engines.exporters._vendor import explained
from engines.exporters.onnx_fp8 import OnnxFloat8
from engines.exporters.onnx_int8 import OnnxInt8, OnnxInt8Symmetric
from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.exporters.openvino_int8 import OpenVINOInt8
from engines.exporters.saved_model_tflite import SavedModelToTflite
from engines.exporters.tflite_quantise import TFLiteFloat16, TFLiteInt8
from engines.exporters.torch_saved_model import TorchToSavedModel
from harness.engine import ExportSpec
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.tiny_model import TINY_INPUTS, TINY_OUTPUTS, tiny_artifact, tiny_calibration, tiny_onnx
from harness.vocabulary import (
    FORMAT_OPENVINO_IR,
    FORMAT_SAVED_MODEL,
    FORMAT_TFLITE,
    FORMAT_TORCH_EXPORT,
    Artifact,
    Precision,
)

SHAPE = TINY_INPUTS[0].shape[1:]
FAULT = RuntimeError("scripted\n  fault of the vendor")


def broken(*_, **__):
    raise FAULT


@pytest.fixture
def spec(tmp_path):
    folder = tmp_path / "calibration"
    folder.mkdir()
    return ExportSpec(Precision.INT8, 1, SHAPE, tiny_calibration(folder, 4))


@pytest.fixture
def fails(tmp_path):
    """A function that exports and returns the failure, which has a hint and, where the vendor was heard, its words."""

    def fails(exporter, source, spec, begins, *, said="RuntimeError: scripted fault of the vendor"):
        (tmp_path / "out").mkdir()
        with pytest.raises(ExportFailed) as caught:
            exporter.export(source, spec, tmp_path / "out")
        assert caught.value.message.startswith(begins)
        assert said in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint
        return caught.value

    return fails


# --- the wrapper


def test_what_is_the_projects_own_passes():
    for error in (ExportFailed("a", "b"), EngineUnavailable("a", "b"), Unsupported("a", "b"), MemoryError()):
        with pytest.raises(type(error)) as caught, explained("never seen", "never seen"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FAULT, "it failed: RuntimeError: scripted fault of the vendor"),
        (KeyError(), "it failed: KeyError: no reason given"),
        (ValueError("graph " * 900), f"it failed: ValueError: {'graph ' * 100}"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_everything_else_is_told_in_one_line(error, told):
    with pytest.raises(ExportFailed) as caught, explained("it failed", "do something"):
        raise error
    assert (caught.value.message, caught.value.hint) == (told, "do something")
    assert caught.value.__cause__ is error


def test_an_interruption_is_none():
    with pytest.raises(KeyboardInterrupt), explained("never seen", "never seen"):
        raise KeyboardInterrupt


# --- ONNX


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return tiny_onnx(tmp_path)


QUANTISERS = [OnnxInt8(), OnnxInt8Symmetric(), OnnxFloat8()]


@pytest.mark.engine
@pytest.mark.parametrize("exporter", QUANTISERS, ids=lambda each: each.name)
def test_onnx_that_cannot_be_read(model, spec, fails, exporter):
    model.path.write_bytes(model.path.read_bytes()[:500])
    fails(exporter, model, spec, "model.onnx cannot be read as ONNX: ", said="DecodeError")


@pytest.mark.engine
@pytest.mark.parametrize("exporter", QUANTISERS, ids=lambda each: each.name)
def test_onnx_that_cannot_be_folded(model, spec, fails, exporter, monkeypatch):
    module = pytest.importorskip("onnxruntime.quantization.shape_inference")
    monkeypatch.setattr(module, "quant_pre_process", broken)
    fails(exporter, model, spec, "model.onnx cannot be folded: ")


@pytest.mark.engine
@pytest.mark.parametrize("exporter", QUANTISERS, ids=lambda each: each.name)
def test_onnx_of_an_operator_that_there_is_not(model, spec, fails, exporter):
    onnx = pytest.importorskip("onnx")
    changed = onnx.load(model.path)
    changed.graph.node[1].op_type = "Zap"
    onnx.save(changed, model.path)
    fails(exporter, model, spec, "model.onnx is not valid ONNX: ", said="No Op registered for Zap")


@pytest.mark.engine
@pytest.mark.parametrize("exporter", QUANTISERS, ids=lambda each: each.name)
def test_onnx_of_an_opset_that_cannot_be_raised(model, spec, fails, exporter, monkeypatch):
    onnx = pytest.importorskip("onnx")
    changed = onnx.load(model.path)
    changed.opset_import[0].version = 11
    onnx.save(changed, model.path)
    monkeypatch.setattr(onnx.version_converter, "convert_version", broken)
    assert "opset" in fails(exporter, model, spec, "the model of opset 11 cannot be brought to ").hint


@pytest.mark.engine
@pytest.mark.parametrize("exporter", QUANTISERS[:2], ids=lambda each: each.name)
def test_onnx_that_the_quantiser_does_not_take(model, spec, fails, exporter, monkeypatch):
    quantization = pytest.importorskip("onnxruntime.quantization")
    monkeypatch.setattr(quantization, "quantize_static", broken)
    assert "exclude" in fails(exporter, model, spec, "ONNX Runtime could not quantise the model: ").hint


@pytest.mark.engine
@pytest.mark.parametrize("fault", ["create_calibrator", "checker"])
def test_onnx_that_cannot_be_calibrated_or_is_not_valid_afterwards(model, spec, fails, monkeypatch, fault):
    onnx, quantization = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime.quantization")
    if fault == "checker":
        whole = onnx.checker.check_model
        monkeypatch.setattr(onnx.checker, "check_model", lambda made, **how: broken() if how else whole(made))
    else:
        monkeypatch.setattr(quantization, fault, broken)
    begins = {"create_calibrator": "ONNX Runtime could not calibrate", "checker": "the model with its pairs is not"}
    asked = replace(spec, precision=Precision.FP8, options={"min_channels": 1, "keep_last": False})
    fails(OnnxFloat8(), model, asked, begins[fault])


# --- OpenVINO


@pytest.fixture
def ir(model, tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    folder = tmp_path / "ir"
    folder.mkdir()
    made = OnnxToOpenVINO().export(model, ExportSpec(Precision.FP32, 1, SHAPE), folder)
    return replace(model, format=FORMAT_OPENVINO_IR, path=folder / made.entry)


@pytest.mark.engine
@pytest.mark.parametrize("fault", ["graph", "weights"])
def test_ir_that_cannot_be_read(ir, spec, fails, fault):
    if fault == "graph":
        ir.path.write_bytes(ir.path.read_bytes()[:300])
    else:
        ir.path.with_suffix(".bin").write_bytes(b"")
    assert ".bin" in fails(OpenVINOInt8(), ir, spec, "model.xml cannot be read as OpenVINO IR: ", said="Error: ").hint


@pytest.mark.engine
@pytest.mark.parametrize(
    ("call", "begins"),
    [
        ("nncf.quantize", "NNCF could not quantise the model: "),
        ("openvino.save_model", "the quantised model cannot be written: "),
    ],
)
def test_ir_that_the_quantiser_does_not_take(ir, spec, fails, monkeypatch, call, begins):
    monkeypatch.setattr(call, broken)
    fails(OpenVINOInt8(), ir, spec, begins)


# --- TensorFlow Lite


@pytest.fixture
def lite(tmp_path):
    pytest.importorskip("ai_edge_litert.interpreter")
    pytest.importorskip("ai_edge_quantizer")
    return tiny_artifact(Path(__file__).with_name("tiny_model.tflite"), FORMAT_TFLITE, Precision.FP32)


@pytest.mark.engine
@pytest.mark.parametrize("exporter", [TFLiteFloat16(), TFLiteInt8()], ids=lambda each: each.name)
def test_tflite_that_the_quantiser_does_not_take(lite, spec, fails, exporter, monkeypatch):
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    monkeypatch.setattr(quantizer, "Quantizer", broken)
    fails(exporter, lite, spec, "AI Edge Quantizer does not take tiny_model.tflite: ")


@pytest.mark.engine
@pytest.mark.parametrize("exporter", [TFLiteFloat16(), TFLiteInt8()], ids=lambda each: each.name)
def test_tflite_that_cannot_be_quantised(lite, spec, fails, exporter, monkeypatch):
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    monkeypatch.setattr(quantizer.Quantizer, "quantize", broken)
    assert "exclude" in fails(exporter, lite, spec, "AI Edge Quantizer failed: ").hint


@pytest.mark.engine
@pytest.mark.parametrize("call", ["__init__", "calibrate"])
def test_tflite_that_cannot_be_calibrated(lite, spec, fails, monkeypatch, call):
    calibrator = pytest.importorskip("ai_edge_quantizer.calibrator")
    monkeypatch.setattr(calibrator.Calibrator, call, broken)
    fails(TFLiteInt8(), lite, spec, "AI Edge Quantizer could not calibrate the model: ")


# --- SavedModel, over a stand-in for TensorFlow


@pytest.fixture
def converter(monkeypatch):
    """The class ``TFLiteConverter`` of a stand-in; ``from_saved_model`` gives a converter that works."""
    made = types.SimpleNamespace(convert=lambda: b"model")
    kind = types.SimpleNamespace(from_saved_model=lambda *_, **__: made)
    monkeypatch.setattr(
        _tensorflow, "require", lambda: types.SimpleNamespace(lite=types.SimpleNamespace(TFLiteConverter=kind))
    )
    return kind


def _saved_model(tmp_path):
    return Artifact(FORMAT_SAVED_MODEL, Precision.FP32, tmp_path / "model", "", 0, TINY_INPUTS, TINY_OUTPUTS)


def test_a_saved_model_that_cannot_be_read(converter, spec, tmp_path, fails):
    converter.from_saved_model = broken
    failure = fails(SavedModelToTflite(), _saved_model(tmp_path), spec, "model cannot be read as a SavedModel: ")
    assert "complete" in failure.hint


def test_a_saved_model_that_cannot_be_converted(converter, spec, tmp_path, fails):
    converter.from_saved_model = lambda *_, **__: types.SimpleNamespace(convert=broken)
    fails(SavedModelToTflite(), _saved_model(tmp_path), spec, "model cannot be converted: ", said="scripted")


@pytest.fixture
def program(monkeypatch, tmp_path):
    """A torch.export package, and stand-ins for TensorFlow and for what lowers to StableHLO."""
    torch = pytest.importorskip("torch")
    names = ("tensorflow", "tensorflow.compiler", "tensorflow.compiler.tf2xla", "tensorflow.compiler.tf2xla.python")
    for name in names:
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)  # torch looks whether it is there
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules[names[-1]].xla = types.SimpleNamespace(call_module=broken)
    tf = types.SimpleNamespace(constant=np.asarray)
    monkeypatch.setattr(_tensorflow, "require", lambda: tf)
    lowered = types.SimpleNamespace(
        input_signature=[],
        output_signature=[],
        module=types.SimpleNamespace(operation=types.SimpleNamespace(get_asm=lambda: "module {}")),
    )
    monkeypatch.setattr(torch_saved_model, "_lower", lambda _: lowered)

    class Mean(torch.nn.Module):
        def forward(self, images):
            return (images.mean((2, 3)),)

    torch.export.save(torch.export.export(Mean(), (torch.zeros(1, *SHAPE),)), tmp_path / "model.pt2")
    path = tmp_path / "model.pt2"
    return Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, path, "", 0, TINY_INPUTS, TINY_OUTPUTS)


@pytest.mark.engine
# torch itself uses what it deprecates: torch.export when it copies a tree specification.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")
class TestTorchSavedModel:
    @pytest.mark.parametrize("kept", [0, 300])
    def test_a_package_cut_off(self, program, spec, fails, kept):
        program.path.write_bytes(program.path.read_bytes()[:kept])
        fails(TorchToSavedModel(), program, spec, "model.pt2 cannot be read as a torch.export package: ", said="zip")

    def test_a_program_that_does_not_run(self, program, spec, fails):
        other = replace(program, inputs=(replace(TINY_INPUTS[0], shape=(1, 3, 8)),))
        fails(TorchToSavedModel(), other, spec, "torch does not run the model: ", said="Error")

    def test_a_program_that_cannot_be_saved(self, program, spec, fails, monkeypatch):
        monkeypatch.setattr(_tensorflow, "save", broken)
        fails(TorchToSavedModel(), program, spec, "TensorFlow does not take what litert-torch lowered: ")

    def test_a_program_that_does_not_run_in_tensorflow(self, program, spec, fails, monkeypatch):
        monkeypatch.setattr(_tensorflow, "save", lambda *_, **__: None)
        fails(TorchToSavedModel(), program, spec, "TensorFlow does not take what litert-torch lowered: ")
