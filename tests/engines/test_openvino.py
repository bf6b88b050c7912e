"""OpenVINO's adapter: the contract, and what is this engine's own."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.exporters.openvino_int8 import OpenVINOInt8
from engines.openvino import OpenVINOEngine
from engines.openvino_properties import OpenVINOOptions, properties
from harness.conformance import EngineConformance, relative_difference
from harness.engine import ExportSpec, SessionConfig
from harness.errors import DataError, Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_onnx, tiny_reference
from harness.vocabulary import FORMAT_OPENVINO_IR, Goal, Level, Precision

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
    return OpenVINOEngine().load(artifact, replace(SessionConfig(options=OpenVINOOptions(), threads=1), **changes))


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


def test_a_load_opens_no_other_devices_plugin(fp32, monkeypatch):
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
    config = SessionConfig("cpu", Precision.FP32, threads=1, options=OpenVINOOptions())
    OpenVINOEngine().load(fp32, config).close()
    assert "compile_model" in asked
    assert "available_devices" not in asked


@pytest.mark.parametrize("device", ["auto", "auto:", "multi:cpu,npu", "hetero:tpu", "cpu.1", "npu", "gpu.0"])
def test_only_what_the_plugins_find_is_a_device(fp32, device):
    core = OpenVINOEngine()._import().Core()
    if device.partition(",")[2].upper() in core.available_devices or device.upper() in core.available_devices:
        pytest.skip(f"this machine has {device}")
    config = SessionConfig(device, Precision.FP32, threads=1, options=OpenVINOOptions())
    with pytest.raises(Unsupported, match="has no device"):
        OpenVINOEngine().load(fp32, config)


# --- techniques


@pytest.mark.parametrize(
    "options",
    [
        *({"hint": word} for word in ("latency", "throughput", "cumulative", "none")),
        *({"execution_mode": word} for word in ("accuracy", "performance")),
        {"inference_precision": "f32"},
        {"num_requests": 1},
        {"subgraphs": False},
        {"cpu_pinning": False},
        {"hyper_threading": True},
        *({"cores": word} for word in ("any", "performance")),
        {"dynamic_quantization": 0},
        {"mmap": False},
        {"model_cache": True},
        {"properties": {"CPU_DENORMALS_OPTIMIZATION": True}},
    ],
    ids=str,
)
def test_every_option_computes_the_same(fp32, tmp_path, options):
    session = _load(fp32, options=OpenVINOOptions(**options), scratch=tmp_path)
    stream = session.stream()
    stream.bind(tiny_inputs())
    stream.run()
    assert relative_difference(stream.fetch(), tiny_reference(tiny_inputs())) < 1e-5


@pytest.mark.parametrize("options", [{"hint": "fastest"}, {"execution_mode": "wild"}, {"cores": "all"}], ids=str)
def test_unknown_words_are_refused_with_the_known_ones(fp32, options):
    with pytest.raises(Unsupported) as caught:
        _load(fp32, options=OpenVINOOptions(**options))
    assert next(iter(options.values())) in caught.value.message
    assert "one of" in caught.value.hint


def test_a_property_that_the_device_does_not_have_is_named(fp32):
    with pytest.raises(Unsupported, match=r"cannot compile .* NONSENSE"):
        _load(fp32, options=OpenVINOOptions(properties={"NONSENSE": 1}))


def test_the_hint_and_the_pinning_are_read_back(fp32):
    flags = _load(fp32, options=OpenVINOOptions(hint="throughput", cpu_pinning=False)).describe().flags
    assert flags["hint"] == "throughput"
    assert flags["cpu pinning"] == "no"
    assert flags["execution devices"] == "cpu"


def test_what_was_fused_shows_what_it_holds(fp32):
    execution = _load(fp32).describe()
    # The activation and the bias run in the convolution; what constants alone lead to ran at load.
    assert any(kind.startswith("Convolution+") and "Relu" in kind for kind in execution.operators)
    assert execution.graph_nodes == 7  # in the file: Conv, Relu, ...; each bias is an operator of its own
    assert sum(execution.operators.values()) == execution.nodes_by_device["cpu"]


def test_generated_kernels_can_be_had_without(tmp_path):
    """Element-wise layers that no convolution takes in are joined into one generated kernel, or run one by one."""
    artifact = _chain(tmp_path)
    joined = _load(artifact).describe().operators
    alone = _load(artifact, options=OpenVINOOptions(subgraphs=False)).describe().operators
    assert sum(joined.values()) < sum(alone.values())


def _chain(folder):
    """Sums, roots and products over an image."""
    from engines.openvino_module import openvino

    ops = openvino.opset13
    image = ops.parameter([1, 3, 16, 16], np.float32, name="images")
    image.output(0).set_names({"images"})
    value = ops.abs(image)
    for _ in range(3):
        value = ops.multiply(ops.sqrt(ops.add(value, image)), image)
        value = ops.abs(value)
    last = ops.result(value)
    last.output(0).set_names({"logits"})
    openvino.save_model(openvino.Model([last], [image], "chain"), folder / "chain.xml")
    return tiny_artifact(folder / "chain.xml", FORMAT_OPENVINO_IR, Precision.FP32)


def test_the_cache_is_written_by_one_load_and_read_by_the_next(fp32, tmp_path):
    options = OpenVINOOptions(model_cache=True)
    told = [_load(fp32, options=options, scratch=tmp_path).describe().flags["loaded from cache"] for _ in range(2)]
    assert told == ["no", "yes"]
    assert _load(fp32, scratch=tmp_path).describe().flags["loaded from cache"] == "no"
    with pytest.raises(Unsupported, match="needs a folder"):
        _load(fp32, options=options, scratch=None)


# --- devices that stand for others


@pytest.mark.parametrize("device", ["auto:cpu", "multi:cpu", "hetero:cpu"])
def test_a_choice_tells_what_it_came_to(fp32, device):
    session = _load(fp32, device=device, threads=1)
    execution = session.describe()
    assert execution.device == device
    assert execution.flags["execution devices"] == "cpu"
    assert execution.macs_by_device == {device: 1.0}
    assert execution.macs_by_precision == {"fp32": 1.0}
    assert execution.threads == execution.streams == 1
    stream = session.stream()
    stream.bind(tiny_inputs())
    stream.run()
    assert relative_difference(stream.fetch(), tiny_reference(tiny_inputs())) < 1e-5


class _Core:
    """Two devices of which one has float16, as ``openvino.Core`` tells it."""

    available_devices = ("CPU", "GPU")

    def get_property(self, name, what):
        if what == "FULL_DEVICE_NAME":
            return f"Acme {name}"
        assert what == "OPTIMIZATION_CAPABILITIES"
        return ["FP32", "INT8", "EXPORT_IMPORT", *(["FP16"] if name == "GPU" else [])]


def test_a_choice_offers_what_all_of_its_devices_have(monkeypatch):
    stub = type("Module", (), {"Core": _Core, "get_version": staticmethod(lambda: "1")})
    monkeypatch.setattr(OpenVINOEngine, "_import", lambda _self: stub)
    facts = {device.name: device for device in OpenVINOEngine().probe().devices}
    assert facts.keys() == {"cpu", "gpu", "auto:cpu,gpu"}
    native = {
        name: {word for word, each in one.precisions.items() if each.level is Level.NATIVE}
        for name, one in facts.items()
    }
    assert native == {"cpu": {"fp32", "int8"}, "gpu": {"fp32", "fp16", "int8"}, "auto:cpu,gpu": {"fp32", "int8"}}
    assert facts["auto:cpu,gpu"].description == "AUTO's choice of Acme CPU and Acme GPU"


def test_each_device_of_a_choice_gets_its_own_properties():
    config = SessionConfig("auto:gpu,cpu", Precision.FP32, threads=3, options=OpenVINOOptions(subgraphs=False))
    found = properties(config)
    assert found.pop("DEVICE_PROPERTIES") == {
        "GPU": {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "NUM_STREAMS": 1},
        "CPU": {
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 3,
            "SNIPPETS_MODE": "DISABLE",
        },
    }
    assert found == {"PERFORMANCE_HINT": "LATENCY", "ENABLE_STARTUP_FALLBACK": False}


def test_bf16_is_a_hint_over_float32_weights():
    assert OpenVINOEngine().artifact_precision(Precision.BF16, OpenVINOOptions()) is Precision.FP32
    config = SessionConfig("cpu", Precision.BF16, options=OpenVINOOptions())
    assert properties(config)["INFERENCE_PRECISION_HINT"] == "bf16"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hint": "cumulative"}, {"PERFORMANCE_HINT": "CUMULATIVE_THROUGHPUT"}),
        ({"inference_precision": "f16"}, {"INFERENCE_PRECISION_HINT": "f16"}),
        ({"execution_mode": "performance"}, {"EXECUTION_MODE_HINT": "PERFORMANCE"}),
        ({"num_requests": 3}, {"PERFORMANCE_HINT_NUM_REQUESTS": 3}),
        ({"cores": "efficient"}, {"SCHEDULING_CORE_TYPE": "ECORE_ONLY"}),
        ({"hyper_threading": False}, {"ENABLE_HYPER_THREADING": False}),
        ({"cpu_pinning": True}, {"ENABLE_CPU_PINNING": True}),
        ({"dynamic_quantization": 32}, {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32}),
        ({"properties": {"NUM_STREAMS": 3}}, {"NUM_STREAMS": 3}),  # over what the adapter says
    ],
    ids=str,
)
def test_settings_are_said_in_openvinos_words(options, expected):
    usual = properties(SessionConfig("cpu", Precision.FP32, options=OpenVINOOptions()))
    found = properties(SessionConfig("cpu", Precision.FP32, options=OpenVINOOptions(**options)))
    assert {name: value for name, value in found.items() if usual.get(name) != value} == expected


# --- what is no model for it


@pytest.mark.parametrize("kept", [0, 200])
def test_a_graph_cut_off_says_so(fp32, tmp_path, kept):
    path = Path(shutil.copytree(fp32.path.parent, tmp_path / "cut")) / fp32.path.name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"openvino cannot read model\.xml") as caught:
        _load(replace(fp32, path=path))
    assert "cut off" in caught.value.hint


@pytest.mark.parametrize("fault", ["missing", "short"])
def test_weights_cut_off_say_so(fp32, tmp_path, fault):
    path = Path(shutil.copytree(fp32.path.parent, tmp_path / "cut")) / fp32.path.name
    weights = path.with_suffix(".bin")
    if fault == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:10])
    with pytest.raises(DataError) as caught:
        _load(replace(fp32, path=path))
    assert ".bin" in caught.value.hint
