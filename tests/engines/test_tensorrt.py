# ruff: noqa: N801, N802, N815 - the stand-in has NVIDIA's names
"""TensorRT's adapter: the contract where there is a GPU, and everywhere our own half over a stand-in for NVIDIA's.

The stand-in keeps "device" memory in this process and does enqueued work at the next synchronisation, so that a copy
out of order, a buffer never freed or a graph captured too early is seen. Its one network answers with twice its input.
"""

import ctypes
import json
import sys
import threading
import types
from dataclasses import replace
from enum import IntEnum

import numpy as np
import pytest

from engines.exporters.onnx_fp16 import OnnxFloat16
from engines.exporters.onnx_int8 import OnnxInt8Symmetric
from engines.exporters.onnx_tensorrt import OnnxSymmetricToTensorRT, OnnxToTensorRT
from engines.tensorrt import TensorRTEngine, TensorRTOptions
from engines.tensorrt_rtx import TensorRTRTXEngine, TensorRTRTXOptions
from harness import codec
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, SessionConfig
from harness.errors import EngineUnavailable, HarnessError, InvalidInput, Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_onnx
from harness.vocabulary import (
    FORMAT_ONNX,
    FORMAT_ONNX_SYMMETRIC,
    FORMAT_TENSORRT,
    FORMAT_TENSORRT_RTX,
    FORMAT_TENSORRT_WEAK,
    Artifact,
    Execution,
    Level,
    Precision,
    TensorSpec,
    Unknowable,
)

INPUT, OUTPUT = TensorSpec("x", "float32", (2, 3)), TensorSpec("y", "float32", (2, 3))
LAYERS = [
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to conv",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "x", "Dimensions": [2, 3], "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "r", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    },
    {
        "Name": "conv + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "r", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
        "Outputs": [{"Name": "y", "Format/Datatype": "Half"}],
        "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc",
        "Metadata": "[ONNX Layer: conv][Op: Conv, MACs: 300]\x1e[ONNX Layer: relu][Op: Relu]",
    },
]


@pytest.mark.engine
class TestContract(EngineConformance):
    """On a machine with a GPU; elsewhere all but the import is skipped, with the reason."""

    engine = TensorRTEngine
    device = "cuda:0"
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)

    def artifact(self, precision, folder):
        pytest.importorskip("onnxruntime")
        sources, made = folder / "sources", folder / "made"
        sources.mkdir()
        made.mkdir()
        spec = ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], tiny_calibration(sources), device=self.device)
        source, build = tiny_onnx(sources), OnnxToTensorRT()
        if precision is Precision.FP16:
            lowered = OnnxFloat16().export(source, spec, made)
            source = tiny_artifact((made / lowered.entry).rename(sources / "fp16.onnx"), FORMAT_ONNX, precision)
        elif precision is Precision.INT8:
            lowered, build = OnnxInt8Symmetric().export(source, spec, made), OnnxSymmetricToTensorRT()
            moved = (made / lowered.entry).rename(sources / "int8.onnx")
            source = tiny_artifact(moved, FORMAT_ONNX_SYMMETRIC, precision)
        exported = build.export(source, spec, made)
        return tiny_artifact(made / exported.entry, FORMAT_TENSORRT, precision)


# -- the stand-in


class FakeCuda(types.ModuleType):
    """The CUDA runtime over host memory: copies and kernels wait in a queue until they are synchronised."""

    class cudaError_t(IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInsufficientDriver = 35
        cudaErrorStreamCaptureUnsupported = 900

    class cudaMemcpyKind(IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    cudaStreamNonBlocking = 1

    def __init__(self, capabilities=((8, 6),)):
        super().__init__("cuda.bindings.runtime")
        self.capabilities, self.failing = list(capabilities), {}
        self.calls, self.queue, self.captured, self.blocks, self.alive = [], [], None, {}, set()
        self.devices, self.streams = {}, 0

    def __getattr__(self, name):
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if name in self.failing:
                return (self.failing[name], None)
            answer = getattr(self, f"do_{name}", lambda *_: ())(*arguments)
            return (self.cudaError_t.cudaSuccess, *answer)

        return call

    def cudaGetErrorString(self, status):
        return (self.cudaError_t.cudaSuccess, status.name.encode())

    def do_cudaGetDeviceCount(self):
        return (len(self.capabilities),)

    def do_cudaGetDeviceProperties(self, index):
        major, minor = self.capabilities[index]
        return (types.SimpleNamespace(name=b"Stand-in GPU\0\0", major=major, minor=minor),)

    def do_cudaDriverGetVersion(self):
        return (13020,)

    def do_cudaSetDevice(self, index):
        self.devices[threading.get_ident()] = index
        return ()

    def do_cudaMallocHost(self, size):
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        self.alive.add(ctypes.addressof(block))
        return (ctypes.addressof(block),)

    do_cudaMalloc = do_cudaMallocHost

    def do_cudaFree(self, address):
        self.alive.remove(int(address))
        return ()

    do_cudaFreeHost = do_cudaFree

    def do_cudaStreamCreateWithFlags(self, _flags):
        self.streams += 1
        self.alive.add(("stream", self.streams))
        return (self.streams,)

    def do_cudaStreamCreate(self):
        return self.do_cudaStreamCreateWithFlags(0)

    def do_cudaStreamDestroy(self, stream):
        self.alive.remove(("stream", stream))
        return ()

    def enqueue(self, work):
        (self.queue if self.captured is None else self.captured).append(work)

    def do_cudaMemcpyAsync(self, target, origin, size, _kind, _stream):
        self.enqueue(lambda: ctypes.memmove(target, origin, size))
        return ()

    def do_cudaStreamSynchronize(self, _stream):
        queue, self.queue = self.queue, []
        for work in queue:
            work()
        return ()

    def do_cudaStreamBeginCapture(self, _stream, _mode):
        self.captured = []
        return ()

    def do_cudaStreamEndCapture(self, _stream):
        graph, self.captured = self.captured, None
        return (graph,)

    def do_cudaGraphInstantiate(self, graph, _flags):
        self.alive.add("graph")
        return (list(graph),)

    def do_cudaGraphExecDestroy(self, _graph):
        self.alive.remove("graph")
        return ()

    def do_cudaGraphLaunch(self, graph, _stream):
        self.queue.extend(graph)
        return ()


class FakeContext:
    def __init__(self, cuda, engine):
        self.cuda, self.engine, self.shapes, self.addresses, self.enqueues = cuda, engine, {}, {}, True

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return shape[0] <= self.engine.largest

    def get_tensor_shape(self, name):
        return self.engine.answers.get(name, self.shapes["x"])

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        assert ("stream", handle) in self.cuda.alive
        size = int(np.prod(self.shapes["x"]))

        def double():
            x, y = (
                np.ctypeslib.as_array((ctypes.c_float * size).from_address(self.addresses[name])) for name in ("x", "y")
            )
            np.multiply(x, 2, out=y)

        self.cuda.enqueue(double)
        return self.enqueues


class FakeEngine:
    """Deserialised from JSON; ``shapes`` and ``dtypes`` are by tensor, in the order of the engine."""

    device_memory_size_v2 = 4096

    def __init__(self, cuda, told):
        self.cuda, self.told, self.largest = cuda, told, told.get("largest", 99)
        self.shapes = told.get("shapes", {"x": (2, 3), "y": (2, 3)})
        self.answers = {name: tuple(shape) for name, shape in told.get("answers", {}).items()}
        self.name = told.get("name", "")
        self.num_io_tensors = len(self.shapes)
        self.contexts = []

    def get_tensor_name(self, index):
        return list(self.shapes)[index]

    def get_tensor_dtype(self, name):
        return self.told.get("dtypes", {}).get(name, "float32")

    def get_tensor_shape(self, name):
        return self.shapes[name]

    def create_runtime_config(self):
        return types.SimpleNamespace(cuda_graph_strategy=None)

    def create_execution_context(self, settings=None):
        context = FakeContext(self.cuda, self)
        context.settings, context.enqueues = settings, self.told.get("enqueues", True)
        self.contexts.append(context)
        return context

    def create_engine_inspector(self):
        text = json.dumps({"Layers": self.told.get("layers", LAYERS)})
        return types.SimpleNamespace(get_engine_information=lambda _format: text)


def _tensorrt(cuda):
    module = types.ModuleType("tensorrt")
    module.__version__ = "11.4.1"
    module.engines = []

    class ILogger:
        WARNING = "WARNING"

        def __init__(self, *_):
            pass

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, content):
            try:
                module.engines.append(FakeEngine(cuda, json.loads(content)))
            except ValueError:
                if hasattr(self.logger, "log"):
                    self.logger.log(types.SimpleNamespace(name="ERROR"), "Magic tag does not match")
                return None
            return module.engines[-1]

    def nptype(dtype):
        if dtype == "bfloat16":
            raise TypeError(dtype)
        return np.dtype(dtype)

    module.ILogger = module.Logger = ILogger
    module.Runtime, module.nptype = Runtime, nptype
    module.LayerInformationFormat = types.SimpleNamespace(JSON="json")
    return module


@pytest.fixture
def cuda(monkeypatch):
    fake, package = FakeCuda(), types.ModuleType("cuda.bindings")
    package.runtime = fake
    for name, module in (("cuda", types.ModuleType("cuda")), (package.__name__, package), (fake.__name__, fake)):
        monkeypatch.setitem(sys.modules, name, module)
    return fake


@pytest.fixture
def trt(cuda, monkeypatch):
    fake = _tensorrt(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def load(trt, tmp_path):
    """A function that writes an engine as told and loads it; ``changes`` are those of the configuration."""
    assert trt

    def load(told=None, content=None, held=Precision.FP32, **changes):
        path = tmp_path / "model.engine"
        path.write_bytes(json.dumps(told or {}).encode() if content is None else content)
        artifact = Artifact(FORMAT_TENSORRT, held, path, "", 0, (INPUT,), (OUTPUT,))
        config = SessionConfig("cuda:0", Precision.FP32, options=TensorRTOptions())
        return TensorRTEngine().load(artifact, replace(config, **changes))

    return load


def _x(factor=1.0):
    return {"x": factor * np.arange(6, dtype=np.float32).reshape(2, 3)}


def _infer(stream, inputs):
    stream.bind(inputs)
    stream.run()
    stream.sync()
    return stream.fetch()["y"]


# -- what is there


@pytest.mark.parametrize(
    ("capability", "lacking"),
    [((7, 5), ["bf16", "fp8", "tf32"]), ((8, 6), ["fp8"]), ((8, 9), []), ((9, 0), [])],
    ids=str,
)
def test_precisions_follow_the_compute_capability(trt, cuda, capability, lacking):
    cuda.capabilities = [capability]
    (device,) = TensorRTEngine().probe().devices
    assert set(device.precisions) == {precision.value for precision in Precision}
    unsupported = {name: s.reason for name, s in device.precisions.items() if s.level is Level.UNSUPPORTED}
    assert unsupported.keys() == set(lacking)
    assert all(unsupported.values())


def test_facts_name_every_gpu_and_the_versions(trt, cuda):
    cuda.capabilities = [(8, 6), (8, 9)]
    facts = TensorRTEngine().probe()
    assert [device.name for device in facts.devices] == ["cuda:0", "cuda:1"]
    assert facts.devices[1].description == "Stand-in GPU, compute capability 8.9"
    assert facts.version == trt.__version__
    assert facts.versions["cuda"] == "13.2"


def test_for_rtx_int8_is_emulated_and_tf32_unsupported(trt, cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, TensorRTRTXEngine.modules[0], trt)
    (device,) = TensorRTRTXEngine().probe().devices
    assert device.precisions["int8"].level is Level.EMULATED
    assert device.precisions["tf32"].level is Level.UNSUPPORTED
    assert device.precisions["fp8"].level is Level.UNSUPPORTED  # by the GPU
    cuda.capabilities = [(8, 9)]
    (device,) = TensorRTRTXEngine().probe().devices
    assert device.precisions["fp8"].level is Level.EMULATED


def test_without_a_driver_the_reason_is_cudas_own(trt, cuda):
    cuda.failing["cudaGetDeviceCount"] = cuda.cudaError_t.cudaErrorInsufficientDriver
    with pytest.raises(EngineUnavailable, match="no NVIDIA GPU or driver: cudaErrorInsufficientDriver") as caught:
        TensorRTEngine().probe()
    assert "driver installed" in caught.value.hint


def test_the_real_bindings_say_that_there_is_no_driver():
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("this machine has an NVIDIA GPU")
    from engines.tensorrt_cuda import Cuda

    with pytest.raises(EngineUnavailable, match="no NVIDIA GPU or driver: "):
        Cuda().gpus()


@pytest.mark.parametrize("absent", ["tensorrt", "cuda.bindings.runtime"])
def test_without_a_library_the_hint_installs_it(trt, monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(EngineUnavailable, match=absent) as caught:
        TensorRTEngine().probe()
    assert caught.value.hint.startswith("pip install")


@pytest.mark.parametrize(("typing", "format_"), [("strong", FORMAT_TENSORRT), ("weak", FORMAT_TENSORRT_WEAK)])
def test_typing_chooses_the_format(typing, format_):
    assert TensorRTEngine().artifact_formats(TensorRTOptions(typing=typing)) == (format_,)


def test_an_unknown_typing_is_refused_with_the_known():
    with pytest.raises(Unsupported, match="dynamic") as caught:
        TensorRTEngine().artifact_formats(TensorRTOptions(typing="dynamic"))
    assert "strong or weak" in caught.value.hint


def test_for_rtx_there_is_one_format():
    assert TensorRTRTXEngine().artifact_formats(TensorRTRTXOptions()) == (FORMAT_TENSORRT_RTX,)


# -- what is refused


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "cuda"])
def test_an_unknown_device_is_refused(load, device):
    with pytest.raises(Unsupported, match="no NVIDIA GPU") as caught:
        load(device=device)
    assert caught.value.hint == "there is cuda:0"


def test_a_precision_that_the_gpu_lacks_is_refused(load, cuda):
    cuda.capabilities = [(7, 5)]
    with pytest.raises(Unsupported, match="cannot run bf16") as caught:
        load(precision=Precision.BF16)
    assert "8.0, this GPU has 7.5" in caught.value.hint


def test_a_mislabelled_engine_is_refused(load):
    with pytest.raises(Unsupported, match="built for fp16, fp32 was asked"):
        load(held=Precision.FP16)


def test_an_engine_of_another_tensorrt_is_refused_in_its_words(load, capfd):
    with pytest.raises(Unsupported, match="Magic tag does not match") as caught:
        load(content=b"not an engine")
    assert "build it here" in caught.value.hint
    assert "Magic tag" in capfd.readouterr().err


@pytest.mark.parametrize(
    "told",
    [
        {"shapes": {"z": (2, 3), "y": (2, 3)}},
        {"shapes": {"x": (2, 3)}},
        {"shapes": {"x": (2, 4), "y": (2, 3)}},
        {"shapes": {"x": (2, 3, 1), "y": (2, 3)}},
        {"dtypes": {"x": "float16"}},
        {"dtypes": {"y": "bfloat16"}},
    ],
    ids=str,
)
def test_an_engine_of_another_model_is_refused(load, told):
    with pytest.raises(Unsupported, match="not of this model"):
        load(told)


def test_a_batch_outside_the_profile_is_refused(load, cuda):
    session = load({"shapes": {"x": (-1, 3), "y": (-1, 3)}, "largest": 1})
    with pytest.raises(Unsupported, match="does not take 'x'") as caught:
        session.stream()
    assert "dynamic" in caught.value.hint
    assert not cuda.alive


def test_an_output_of_another_size_is_refused(load):
    session = load({"shapes": {"x": (-1, 3), "y": (-1, 3)}, "answers": {"y": (7, 3)}})
    with pytest.raises(Unsupported, match="answers 'y' as"):
        session.stream()


def test_memory_that_cannot_be_had_is_an_error_and_leaves_nothing(load, cuda):
    session = load()
    cuda.failing["cudaMalloc"] = cuda.cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(HarnessError, match="cudaMalloc: cudaErrorMemoryAllocation"):
        session.stream()
    assert not cuda.alive


@pytest.mark.parametrize("inputs", [{}, {"x": np.zeros((3, 2), np.float32)}, {"x": np.zeros((2, 3))}], ids=str)
def test_bind_checks_what_it_is_given(load, inputs):
    with pytest.raises(InvalidInput):
        load().stream().bind(inputs)


# -- what is computed


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_inputs_reach_the_device_and_outputs_come_back(load, cuda_graphs):
    stream = load(options=TensorRTOptions(cuda_graphs=cuda_graphs)).stream()
    first = _infer(stream, _x())
    second = _infer(stream, _x(3.0))
    assert np.array_equal(first, 2 * _x()["x"])
    assert np.array_equal(second, 6 * _x()["x"])
    second[...] = 0
    assert np.array_equal(stream.fetch()["y"], 6 * _x()["x"])


def test_run_only_enqueues(load, cuda):
    stream = load().stream()
    stream.bind(_x())
    del cuda.calls[:]
    for _ in range(3):
        stream.run()
    assert cuda.calls == []
    assert len(cuda.queue) == 3
    stream.sync()
    assert cuda.calls == ["cudaStreamSynchronize"]


def test_an_inference_that_cannot_be_enqueued_is_an_error(load):
    stream = load({"enqueues": False}).stream()
    stream.bind(_x())
    with pytest.raises(HarnessError, match="could not enqueue"):
        stream.run()


def test_a_dynamic_batch_takes_the_cells(load):
    session = load({"shapes": {"x": (-1, 3), "y": (-1, 3)}})
    assert np.array_equal(_infer(session.stream(), _x()), 2 * _x()["x"])


def test_each_stream_has_buffers_of_its_own(load, trt):
    session = load(streams=2)
    assert session.recommended_streams == 2
    one, two = session.stream(), session.stream()
    one.bind(_x())
    two.bind(_x(5.0))
    assert len({address for context in trt.engines[-1].contexts for address in context.addresses.values()}) == 4
    for stream, factor in ((one, 2), (two, 10)):
        stream.run()
        stream.sync()
        assert np.array_equal(stream.fetch()["y"], factor * _x()["x"])


def test_the_gpu_is_made_current_in_the_thread_that_runs(load, cuda):
    cuda.capabilities = [(8, 6), (8, 6)]
    stream = load(device="cuda:1").stream()
    stream.bind(_x())
    thread = threading.Thread(target=stream.run)
    thread.start()
    thread.join()
    assert len(cuda.devices) == 2
    assert set(cuda.devices.values()) == {1}


def test_everything_is_freed_once(load, cuda):
    session = load(options=TensorRTOptions(cuda_graphs=True))
    stream = session.stream()
    _infer(stream, _x())
    assert cuda.alive >= {("stream", 1), "graph"}
    session.close()
    session.close()
    assert not cuda.alive
    with pytest.raises(KeyError):  # not a copy from freed memory
        stream.fetch()


def test_a_stream_that_is_let_go_frees_its_buffers(load, cuda):
    session = load()
    stream = session.stream()
    _infer(stream, _x())
    del stream
    assert not cuda.alive
    assert session.engine is not None


# -- CUDA graphs


def test_a_graph_is_captured_after_one_inference_and_then_launched(load, cuda):
    stream = load(options=TensorRTOptions(cuda_graphs=True)).stream()
    names = [name for name in cuda.calls if "Capture" in name or name == "cudaStreamSynchronize" or "Graph" in name]
    assert names[:5] == [
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
    ]
    stream.bind(_x())
    del cuda.calls[:]
    stream.run()
    assert cuda.calls == ["cudaGraphLaunch"]


@pytest.mark.parametrize("failing", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_what_cannot_be_captured_is_unsupported(load, cuda, failing):
    session = load(options=TensorRTOptions(cuda_graphs=True))
    cuda.failing[failing] = cuda.cudaError_t.cudaErrorStreamCaptureUnsupported
    with pytest.raises(Unsupported, match=r"makes no CUDA graph: .*cudaErrorStreamCaptureUnsupported") as caught:
        session.stream()
    assert "cuda_graphs: false" in caught.value.hint
    assert not cuda.alive


def test_a_runtime_with_graphs_of_its_own_captures_them_itself(load, trt, cuda):
    trt.CudaGraphStrategy = types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
    stream = load(options=TensorRTOptions(cuda_graphs=True)).stream()
    assert trt.engines[-1].contexts[-1].settings.cuda_graph_strategy == "whole"
    assert not [name for name in cuda.calls if "Capture" in name]
    assert np.array_equal(_infer(stream, _x()), 2 * _x()["x"])
    load().stream()
    assert trt.engines[-1].contexts[-1].settings is None


# -- what is reported


def test_describe_reads_layers_and_what_the_builder_wrote(load):
    name = json.dumps({"nodes": 5, "macs": 300, "typing": "strong", "tf32": "off", "builder_optimization_level": 5})
    execution = load({"name": name}, options=TensorRTOptions(cuda_graphs=True)).describe()
    assert codec.decode(Execution, codec.encode(execution)) == execution
    assert execution.device == "cuda:0"
    assert execution.nodes_by_device == {"cuda:0": 2}
    assert execution.nodes_by_precision == {"fp32": 1, "fp16": 1}
    assert execution.macs_by_precision == {"fp16": 1.0}
    assert execution.macs_by_device == {"cuda:0": 1.0}
    assert execution.operators == {"Reformat": 1, "Conv+Relu": 1}
    assert execution.graph_nodes == 5
    assert (execution.inputs, execution.outputs, execution.streams) == ((INPUT,), (OUTPUT,), 1)
    assert execution.flags["cuda graphs"] == "on"
    assert execution.flags["built with typing"] == "strong"
    assert execution.flags["built with builder_optimization_level"] == "5"
    assert execution.flags["context memory"] == "4096 bytes"
    assert execution.flags["distinct tactics"] == "1"
    assert not {"built with nodes", "built with macs"} & execution.flags.keys()


@pytest.mark.parametrize("name", ["", "Unnamed Network 0", "7"])
def test_an_engine_of_another_builder_tells_less(load, name):
    told = {"name": name, "layers": ["conv + relu", "fc"]}
    execution = load(told).describe()
    for fact in (execution.nodes_by_precision, execution.macs_by_precision, execution.operators):
        assert isinstance(fact, Unknowable)
        assert "verbosity" in fact.reason
    assert isinstance(execution.graph_nodes, Unknowable)


def test_an_engine_that_computes_otherwise_than_asked_is_seen(load):
    """The stand-in's layers are FP16, the artifact says FP32."""
    assert load({"name": json.dumps({"macs": 300})}).describe().macs_by_precision == {"fp16": 1.0}


def test_work_that_no_executed_layer_carries_makes_the_precision_unknown(load):
    """The builder was given twice the work that the marks of the stand-in's layers tell of."""
    found = load({"name": json.dumps({"macs": 600})}).describe().macs_by_precision
    assert isinstance(found, Unknowable)
    assert "50.0%" in found.reason


# -- the program for the user


def test_the_snippet_runs_by_itself(load, tmp_path, monkeypatch):
    session = load()
    artifact = session.artifact
    np.savez(tmp_path / "inputs.npz", allow_pickle=False, **_x())
    monkeypatch.chdir(tmp_path)
    program = TensorRTEngine().snippet(artifact, session.config).replace("MODEL", artifact.path.name)
    scope = {}
    exec(program, scope)
    assert np.array_equal(scope["outputs"]["y"], 2 * _x()["x"])
    scope["archive"].close()
