"""OpenVINO's adapter: the contract, and what is this engine's own."""

import subprocess
import sys
from dataclasses import replace

import pytest

from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.exporters.openvino_int8 import OpenVINOInt8
from engines.openvino import OpenVINOEngine
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, NoOptions, SessionConfig
from harness.errors import Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_onnx
from harness.vocabulary import FORMAT_OPENVINO_IR, Goal, Precision

pytest.importorskip("openvino")
pytestmark = pytest.mark.engine


def _artifact(precision, folder):
    """The tiny model as an IR: straight from ONNX, or quantised from the FP32 IR."""
    sources, made = folder / "sources", folder / "made"
    sources.mkdir()
    made.mkdir()
    spec = ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], tiny_calibration(sources))
    if precision is Precision.INT8:
        pytest.importorskip("nncf")
        source = OnnxToOpenVINO().export(tiny_onnx(sources), replace(spec, precision=Precision.FP32), sources)
        fp32 = tiny_artifact(sources / source.entry, FORMAT_OPENVINO_IR, Precision.FP32)
        # 7 bits in every layer: with 8, sums of the last one saturate on x86 without VNNI, and are 8 % off.
        exported = OpenVINOInt8().export(fp32, replace(spec, options={"overflow_fix": "enable"}), made)
    else:
        exported = OnnxToOpenVINO().export(tiny_onnx(sources), spec, made)
    return tiny_artifact(made / exported.entry, FORMAT_OPENVINO_IR, precision)


class TestContract(EngineConformance):
    engine = OpenVINOEngine
    precisions = (Precision.FP32, Precision.INT8)

    def artifact(self, precision, folder):
        return _artifact(precision, folder)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return _artifact(Precision.FP32, tmp_path_factory.mktemp("fp32"))


def _load(artifact, **changes):
    return OpenVINOEngine().load(artifact, replace(SessionConfig(options=NoOptions(), threads=1), **changes))


def test_fp32_asks_for_float32_arithmetic(fp32):
    execution = _load(fp32).describe()
    assert execution.flags["inference precision"] == "f32"
    assert execution.macs_by_precision == {"fp32": 1.0}


def test_more_threads_than_there_are_show_as_those_there_are(fp32):
    threads = _load(fp32, threads=1000).describe().threads
    assert 1 <= threads < 1000


def test_throughput_takes_the_streams_that_were_asked(fp32):
    session = _load(fp32, goal=Goal.THROUGHPUT, threads=2, streams=2)
    assert session.describe().streams == session.recommended_streams == 2


def test_artifact_of_another_precision_is_refused(fp32):
    with pytest.raises(Unsupported, match="made for fp32, int8 was asked"):
        _load(fp32, precision=Precision.INT8)


def test_a_precision_that_hints_cannot_give_says_so(fp32):
    facts = {device.name: device for device in OpenVINOEngine().probe().devices}["cpu"]
    lacking = [name for name, support in facts.precisions.items() if support.reason]
    if not lacking:
        pytest.skip("this CPU executes every precision")
    for name in lacking:
        with pytest.raises(Unsupported, match=name) as caught:
            _load(fp32, precision=Precision(name))
        assert "f32 whatever the hint" in caught.value.hint


def test_dynamic_shapes_are_refused(fp32, tmp_path):
    from engines.openvino_module import openvino

    model = openvino.Core().read_model(fp32.path)
    model.reshape([-1, 3, 16, 16])
    openvino.save_model(model, tmp_path / "model.xml")
    with pytest.raises(Unsupported, match="dynamic"):
        _load(replace(fp32, path=tmp_path / "model.xml"))


def test_openvino_is_imported_without_its_telemetry():
    program = (
        "import sys, threading\n"
        "from engines.openvino_module import openvino\n"
        "assert openvino.Core().available_devices\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_load_opens_no_other_devices_plugin(tmp_path, monkeypatch):
    """Discovery would be measured as this device's load and memory."""
    asked = []

    class Core:
        def __init__(self):
            self._core = openvino.Core()

        def __getattr__(self, name):
            asked.append(name)
            return getattr(self._core, name)

    openvino = OpenVINOEngine()._import()
    stub = type("Module", (), {"Core": Core})
    monkeypatch.setattr(OpenVINOEngine, "_import", lambda _self: stub)
    config = SessionConfig("cpu", Precision.FP32, threads=1, options=NoOptions())
    OpenVINOEngine().load(_artifact(Precision.FP32, tmp_path), config).close()
    assert "compile_model" in asked
    assert "available_devices" not in asked


@pytest.mark.parametrize("device", ["auto", "multi:cpu", "cpu.1", "npu", "gpu.0"])
def test_only_what_the_plugins_find_is_a_device(tmp_path, device):
    core = OpenVINOEngine()._import().Core()
    if device.upper() in core.available_devices:
        pytest.skip(f"this machine has {device}")
    config = SessionConfig(device, Precision.FP32, threads=1, options=NoOptions())
    with pytest.raises(Unsupported, match="has no device"):
        OpenVINOEngine().load(_artifact(Precision.FP32, tmp_path), config)
