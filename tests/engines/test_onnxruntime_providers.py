"""ONNX Runtime's providers as devices: names, settings, budgets and plug-ins, without any of their hardware."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from engines import onnxruntime_plugin as plugin
from engines import onnxruntime_providers as providers
from engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeOptions
from engines.onnxruntime_opening import Opening, _refused
from engines.onnxruntime_session import OrtSession
from harness.engine import SessionConfig
from harness.errors import DataError, InvalidInput, Unsupported
from harness.vocabulary import Goal, Level, Precision

CUDA, CPU, OPENVINO = (f"{word}ExecutionProvider" for word in ("CUDA", "CPU", "OpenVINO"))


def _config(device="cpu", **changes):
    options = OnnxRuntimeOptions(**changes.pop("options", {}))
    return SessionConfig(device, options=options, **changes)


def _settings(name, **changes):
    config = _config(name, **changes)
    device = providers.parse(name)
    return providers.settings(device, config, *providers.budget(device, config, 4))


# --- names


@pytest.mark.parametrize(
    ("name", "provider", "number", "hardware"),
    [
        ("cpu", CPU, 0, ""),
        ("cuda:0", CUDA, 0, ""),
        ("cuda:3", CUDA, 3, ""),
        ("tensorrt:1", "TensorrtExecutionProvider", 1, ""),
        ("openvino:gpu.1", OPENVINO, 1, "gpu"),
        ("xnnpack", "XnnpackExecutionProvider", 0, ""),
        ("coreml", "CoreMLExecutionProvider", 0, ""),
        ("dml:0", "DmlExecutionProvider", 0, ""),
        ("acme:npu", "acme", 0, "npu"),  # only a plug-in can have it
    ],
)
def test_a_device_names_a_provider(name, provider, number, hardware):
    device = providers.parse(name)
    assert (device.provider.name, device.number, device.hardware) == (provider, number, hardware)


@pytest.mark.parametrize("name", ["", "gpu", "cpu:1", "cuda:x", "openvino", "openvino:tpu", "xnnpack:0", "acme", ":"])
def test_other_words_are_refused_with_examples(name):
    with pytest.raises(Unsupported, match="has no device") as caught:
        providers.parse(name)
    assert "openvino:cpu" in caught.value.hint


def test_what_a_build_holds_becomes_names():
    held = ("AzureExecutionProvider", CUDA, OPENVINO, CPU)
    series = providers.names(held)
    assert series[0] == ["cpu"]
    assert series[1][:2] == ["cuda:0", "cuda:1"]
    assert series[2:] == [["openvino:cpu"], ["openvino:gpu"], ["openvino:npu"]]  # each is there or not by itself


@pytest.mark.parametrize("kind", providers.PROVIDERS)
def test_every_precision_is_answered_and_reasoned(kind):
    one = providers.PROVIDERS[kind]
    words = [f"{kind}:{word}" for word in one.hardware] or [f"{kind}:0" if one.numbered else kind]
    for word in words:
        support = providers.parse(word).precisions
        assert support.keys() == {precision.value for precision in Precision}
        assert all(each.level is Level.NATIVE or each.reason for each in support.values())
    assert providers.short(one.name) == kind


# --- settings


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("cpu", {}, {}),
        ("cuda:1", {}, {"device_id": "1", "use_tf32": "0"}),
        ("cuda:0", {"precision": Precision.TF32}, {"device_id": "0", "use_tf32": "1"}),
        ("tensorrt:0", {"precision": Precision.FP16}, {"device_id": "0", "trt_fp16_enable": "1"}),
        ("tensorrt:0", {"precision": Precision.INT8}, {"device_id": "0", "trt_int8_enable": "1"}),
        ("xnnpack", {"threads": 3}, {"intra_op_num_threads": "3"}),
        ("openvino:cpu", {"threads": 2}, {"device_type": "CPU", "num_streams": "1", "num_of_threads": "2"}),
        ("openvino:gpu", {}, {"device_type": "GPU", "num_streams": "1", "precision": "FP32"}),
        ("openvino:gpu.1", {}, {"device_type": "GPU.1", "num_streams": "1", "precision": "FP32"}),
        (
            "cuda:0",
            {"options": {"cuda_graph": True}},
            {"device_id": "0", "use_tf32": "0", "enable_cuda_graph": "1"},
        ),
        (
            "cuda:0",
            {"options": {"provider_options": {"use_tf32": True, "arena_extend_strategy": "kSameAsRequested"}}},
            {"device_id": "0", "use_tf32": "1", "arena_extend_strategy": "kSameAsRequested"},
        ),
    ],
)
def test_the_settings_of_a_provider(name, changes, expected):
    assert _settings(name, **changes) == expected


def test_cuda_graphs_are_refused_where_there_are_none_and_with_several_streams():
    with pytest.raises(Unsupported, match="cpu captures no CUDA graphs"):
        _settings("cpu", options={"cuda_graph": True})
    with pytest.raises(Unsupported, match="serves one stream"):
        _settings("cuda:0", options={"cuda_graph": True}, streams=2, goal=Goal.THROUGHPUT)


def test_tf32_is_computed_on_float32_weights():
    engine = OnnxRuntimeEngine()
    wanted = {precision: engine.artifact_precision(precision, OnnxRuntimeOptions()) for precision in Precision}
    assert wanted[Precision.TF32] is Precision.FP32
    assert all(stored is asked for asked, stored in wanted.items() if asked is not Precision.TF32)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("cpu", {"goal": Goal.LATENCY, "threads": 3}, (1, 3)),
        ("cpu", {"goal": Goal.LATENCY}, (1, 0)),
        ("cpu", {"goal": Goal.THROUGHPUT}, (4, 1)),
        ("openvino:cpu", {"goal": Goal.THROUGHPUT, "threads": 2}, (2, 2)),
        ("openvino:gpu", {"goal": Goal.THROUGHPUT}, (2, 4)),
        ("cuda:0", {"goal": Goal.THROUGHPUT}, (2, 4)),
        ("xnnpack", {"goal": Goal.THROUGHPUT}, (1, 4)),
        ("cuda:0", {"goal": Goal.THROUGHPUT, "streams": 5}, (5, 4)),
    ],
)
def test_the_budget_of_a_device(name, changes, expected):
    assert providers.budget(providers.parse(name), _config(name, **changes), 4) == expected


# --- opening, with a runtime of our own making


class _Runtime:
    """As much of ``onnxruntime`` as an opening asks for; ``gives`` are the providers that a session ends up with."""

    def __init__(self, held, gives, offered=()):
        self.held, self.gives, self.offered = held, gives, list(offered)
        self.opened, self.registered = [], []
        self.GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)
        self.ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)

    def get_available_providers(self):
        return self.held

    def get_ep_devices(self):
        return self.offered if self.registered else []

    def register_execution_provider_library(self, name, path):
        self.registered.append(path)

    class SessionOptions:
        def __init__(self):
            self.entries, self.added = {}, []

        def add_session_config_entry(self, key, value):
            self.entries[key] = value

        def add_provider_for_devices(self, devices, options):
            self.added.append((devices, options))

    def InferenceSession(self, model, settings, **given):  # noqa: N802 - the runtime's name
        self.opened.append((settings, given))
        return SimpleNamespace(get_providers=lambda: self.gives)


def _open(runtime, device, **changes):
    config = _config(device, **changes)
    return Opening(runtime, "model.onnx", providers.parse(device), config).session()


def test_a_provider_that_opens_as_the_cpus_is_refused():
    """As ONNX Runtime does, with a warning alone, where CUDA's driver is missing."""
    runtime = _Runtime([CUDA, CPU], [CPU])
    with pytest.raises(Unsupported, match="could not open CUDAExecutionProvider for 'cuda:0'") as caught:
        _open(runtime, "cuda:0")
    assert "driver" in caught.value.hint
    assert runtime.opened[0][1]["enable_fallback"] is False  # nor does the Python class open it on the CPU


def test_strict_forbids_the_cpu_beside_another_provider_and_not_the_cpu_itself():
    runtime = _Runtime([CUDA, CPU], [CUDA, CPU])
    _open(runtime, "cuda:0", strict=True)
    _open(runtime, "cuda:0")
    _open(runtime, "cpu", strict=True)
    forbidden = [settings.entries.get("session.disable_cpu_ep_fallback") for settings, _ in runtime.opened]
    assert forbidden == ["1", None, None]


def test_tensorrt_leaves_to_cuda_what_it_does_not_take():
    name = "TensorrtExecutionProvider"
    runtime = _Runtime([name, CUDA, CPU], [name, CUDA, CPU])
    _open(runtime, "tensorrt:2")
    assert runtime.opened[0][1]["providers"] == [(name, {"device_id": "2"}), (CUDA, {"device_id": "2"})]


def _ep(kind, name="AcmeExecutionProvider"):
    hardware = SimpleNamespace(type=SimpleNamespace(name=kind), vendor="Acme")
    return SimpleNamespace(ep_name=name, ep_vendor="Acme", device=hardware)


def test_a_plug_in_provider_is_registered_and_its_devices_named():
    offered = [_ep("CPU", CPU), _ep("GPU"), _ep("NPU"), _ep("GPU"), _ep("GPU", "OtherExecutionProvider")]
    runtime = _Runtime([CPU], ["AcmeExecutionProvider", CPU], offered)
    assert list(plugin.devices(runtime, "lib.so")) == ["acme:gpu", "acme:npu", "acme:gpu.1", "other:gpu"]
    assert list(plugin.devices(runtime, "lib.so", "OtherExecutionProvider")) == ["other:gpu"]
    options = {"ep_library": "lib.so", "provider_options": {"speed": 3}}
    _open(runtime, "acme:gpu.1", options=options)
    settings, given = runtime.opened[0]
    assert settings.added == [([offered[3]], {"speed": "3"})]
    assert "providers" not in given
    assert set(runtime.registered) == {"lib.so"}


def test_a_device_that_a_plug_in_does_not_offer_is_refused():
    runtime = _Runtime([CPU], [CPU], [_ep("NPU")])
    with pytest.raises(Unsupported, match="no device 'acme:gpu'") as caught:
        _open(runtime, "acme:gpu", options={"ep_library": "lib.so"})
    assert caught.value.hint == "it offers acme:npu"


def test_a_provider_that_is_nowhere_says_how_to_get_it():
    with pytest.raises(Unsupported, match="no provider for 'acme:gpu'") as caught:
        _open(_Runtime([CPU], [CPU]), "acme:gpu")
    assert "onnxruntime-ep-acme" in caught.value.hint


def test_installed_plug_ins_are_found_by_the_name_of_their_distribution(monkeypatch):
    names = ("numpy", "onnxruntime-ep-acme", "Onnxruntime_EP_other")
    found = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(plugin.importlib.metadata, "distributions", lambda: found)
    package = SimpleNamespace(get_library_path=lambda: "/lib/acme.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_acme", package)
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_other", SimpleNamespace())  # says no path
    assert list(plugin.installed()) == ["/lib/acme.so"]


# --- refusals


_PLACE = "/a/model_load_utils.h:46 void f(int, const g&)"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("1 : FAIL : Fatal error: acme:Zap(-1) is not a registered function/op", Unsupported, "operator acme:Zap"),
        ("10 : INVALID_GRAPH : No Op registered for Zap with domain_version of 18", Unsupported, "operator Zap"),
        ("9 : NOT_IMPLEMENTED : Could not find an implementation for Conv(11) node", Unsupported, "no kernel for Conv"),
        (f"1 : FAIL : {_PLACE} ONNX Runtime only. Opset 99 is under development", Unsupported, "opset 99"),
        ("7 : INVALID_PROTOBUF : Failed to load model because protobuf parsing failed.", DataError, "no whole ONNX"),
        (f"1 : FAIL : {_PLACE} Something else", Unsupported, "Something else"),
    ],
)
def test_the_runtimes_words_become_ours(text, kind, message):
    error = _refused(RuntimeError(f"[ONNXRuntimeError] : {text}"), "model.onnx")
    assert type(error) is kind
    assert error.message.startswith("onnxruntime cannot open model.onnx: ")
    assert message in error.message
    assert error.hint
    assert "model_load_utils" not in error.message


# --- binding, with values of our own making


class _Value:
    """A tensor as ``OrtValue`` gives it: on the host its own memory, elsewhere a copy."""

    def __init__(self, shape, dtype, kind, number):
        self.held, self.place = np.zeros(shape, dtype), (kind, number)

    def numpy(self):
        return self.held if self.place[0] == "cpu" else self.held.copy()

    def update_inplace(self, given):
        assert self.place[0] != "cpu"
        assert given.flags.c_contiguous
        np.copyto(self.held, given)


class _Binding(dict):
    bind_ortvalue_input = bind_ortvalue_output = dict.__setitem__


class _Doubling:
    """A session of one input and one output, twice as large, that computes on what is bound."""

    def __init__(self):
        self.bindings = []

    def get_inputs(self):
        return [SimpleNamespace(name="x", shape=[2, 3], type="tensor(float)")]

    def get_outputs(self):
        return [SimpleNamespace(name="y", shape=[2, 3], type="tensor(float)")]

    def io_binding(self):
        self.bindings.append(_Binding())
        return self.bindings[-1]

    def run_with_iobinding(self, binding):
        binding["y"].held[...] = 2 * binding["x"].held


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("cpu", ("cpu", 0)),
        ("cuda:1", ("cuda", 1)),
        ("tensorrt:0", ("cuda", 0)),
        ("dml:1", ("cpu", 0)),
        ("openvino:gpu", ("cpu", 0)),
    ],
)
def test_tensors_are_bound_once_in_the_memory_of_the_provider(device, place):
    runtime = SimpleNamespace(OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=_Value))
    doubling = _Doubling()
    opening = SimpleNamespace(
        ort=runtime, budget=(1, 1), device=providers.parse(device), config=_config(device), session=lambda: doubling
    )
    stream = OrtSession(opening).stream()
    (binding,) = doubling.bindings
    bound = dict(binding)
    assert {name: value.place for name, value in bound.items()} == {"x": place, "y": place}
    found = []
    for number in (1, 2):
        given = np.asfortranarray(np.full((2, 3), number, np.float32))
        stream.bind({"x": given})
        given[...] = 0
        stream.run()
        stream.sync()
        found.append(stream.fetch()["y"])
    assert [value.tolist() for value in found] == [[[2.0] * 3] * 2, [[4.0] * 3] * 2]
    assert dict(binding) == bound, "the same buffers throughout"
    with pytest.raises(InvalidInput):
        stream.bind({"x": np.zeros((2, 4), np.float32)})
