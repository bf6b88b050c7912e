"""TensorFlow's adapter: the contract, and what is this engine's own."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.tensorflow import TensorFlowEngine, TensorFlowOptions
from engines.tensorflow_session import TensorFlowStream
from harness import codec, proof
from harness.conformance import EngineConformance, relative_difference
from harness.engine import SessionConfig
from harness.errors import DataError, Unsupported
from harness.tiny_model import tiny_artifact, tiny_inputs, tiny_reference, tiny_weights
from harness.vocabulary import FORMAT_SAVED_MODEL, Execution, Goal, Precision, Unknowable

pytestmark = pytest.mark.engine
tf = pytest.importorskip("tensorflow")

# Pools are sized once in a process, at TensorFlow's first operation: here for every session that takes ``CONFIG``.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(2)
CONFIG = SessionConfig(threads=2, streams=2, goal=Goal.THROUGHPUT, options=TensorFlowOptions())
DESCRIBE = """
import pickle, sys
from pathlib import Path
from harness import codec, proof
engine, artifact, config = pickle.loads(Path(sys.argv[1]).read_bytes())
Path(sys.argv[2]).write_bytes(pickle.dumps(codec.encode(engine().load(artifact, config).describe())))
"""


def tiny_module(dtype="float32", shape=(1, 3, 16, 16)):
    """The tiny model as a TensorFlow module, computing in ``dtype`` between casts."""
    weights = tiny_weights()

    class Tiny(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(tf.cast(weights["conv.weight"].transpose(2, 3, 1, 0), dtype))
            self.bias = tf.Variable(tf.cast(weights["conv.bias"], dtype))
            self.product = tf.Variable(tf.cast(weights["fc.weight"].T, dtype))
            self.offset = tf.Variable(tf.cast(weights["fc.bias"], dtype))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="images")], autograph=False)
        def serve(self, images):
            pixels = tf.transpose(tf.cast(images, dtype), (0, 2, 3, 1))
            convolved = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(pixels, self.kernel, 1, "SAME"), self.bias))
            features = tf.reduce_mean(convolved, (1, 2))
            return {"logits": tf.cast(tf.nn.bias_add(features @ self.product, self.offset), tf.float32)}

    return Tiny()


def save(folder, **given):
    module = tiny_module(**given)
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.serve})
    return tiny_artifact(folder / "model", FORMAT_SAVED_MODEL, Precision.FP32)


def describe_alone(artifact, config, folder) -> Execution:
    """What a session says of itself in a process of its own."""
    (folder / "given").write_bytes(pickle.dumps((TensorFlowEngine, artifact, config)))
    subprocess.run([sys.executable, "-c", DESCRIBE, folder / "given", folder / "found"], check=True)
    return codec.decode(Execution, pickle.loads((folder / "found").read_bytes()))


class TestContract(EngineConformance):
    engine = TensorFlowEngine

    def artifact(self, precision, folder):
        return save(folder)

    def config(self, exported, **changes):
        pools = {"threads": CONFIG.threads, "streams": CONFIG.streams, "goal": CONFIG.goal}
        return replace(super().config(exported, **changes), **pools)

    @pytest.mark.parametrize("threads", [2, None])
    def test_what_was_asked_shows_in_the_execution(self, made, tmp_path, threads):
        config = SessionConfig(threads=threads, options=TensorFlowOptions())
        execution = describe_alone(made(Precision.FP32), config, tmp_path)
        assert (execution.device, execution.streams) == ("cpu", 1)
        if threads:
            assert execution.threads == threads
        elif Path("/proc/self/task").is_dir():
            assert execution.threads >= 1
        assert [spec.name for spec in (*execution.inputs, *execution.outputs)] == ["images", "logits"]


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return save(tmp_path_factory.mktemp("fp32"))


@pytest.fixture
def load(fp32):
    sessions = []

    def load(artifact=fp32, options=None, **changes):
        config = replace(CONFIG, **changes, options=TensorFlowOptions(**options or {}))
        sessions.append(TensorFlowEngine().load(artifact, config))
        return sessions[-1]

    yield load
    for session in sessions:
        session.close()


def infer(session, seed=0):
    stream = session.stream()
    stream.bind(tiny_inputs(seed))
    stream.run()
    stream.sync()
    return stream.fetch()


MACS = 16 * 16 * 8 * 27 + 40


@pytest.mark.parametrize(
    ("options", "holds", "lacks"),
    [
        ({}, "Conv2D+BiasAdd+Relu", "Relu"),
        ({"fusion": False}, "Relu", "Conv2D+BiasAdd+Relu"),
        ({"grappler": False}, "Relu", "Conv2D+BiasAdd+Relu"),
        ({"xla": True}, "convolution", "Conv2D"),
    ],
)
def test_each_technique_shows_in_what_was_executed(load, options, holds, lacks):
    session = load(options=options)
    assert relative_difference(infer(session), tiny_reference(tiny_inputs(0))) <= 1e-5
    execution = session.describe()
    assert holds in execution.operators
    assert lacks not in execution.operators
    assert execution.graph_nodes == 7  # Transpose, Conv2D, BiasAdd, Relu, Mean, MatMul, BiasAdd
    assert (execution.macs_by_device, execution.macs_by_precision) == ({"cpu": 1.0}, {"fp32": 1.0})


def test_graph_and_hlo_count_the_same_work(fp32):
    from engines.tensorflow_graph import graph_operators
    from engines.tensorflow_hlo import compiled_operators

    model = tf.saved_model.load(str(fp32.path))  # which owns the variables
    signature = model.signatures["serving_default"]
    image = tf.zeros((1, 3, 16, 16))

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images):
        return signature(images=images)

    hlo = compiled.experimental_get_compiler_ir(image)(stage="optimized_hlo")
    for operators in (graph_operators(tf, lambda: signature(images=image)), compiled_operators(hlo, "cpu")):
        assert sum(operator.macs for operator in operators) == MACS


@pytest.mark.parametrize(
    ("name", "given", "kind", "macs"),
    [
        ("_MklNativeConv2DWithBias", ((1, 8, 8, 3), (3, 3, 3, 4), (4,)), "Conv2D+BiasAdd", 8 * 8 * 4 * 27),
        ("_MklNativeDepthwiseConv2dNative", ((1, 8, 8, 3), (3, 3, 3, 2)), "DepthwiseConv2dNative", 8 * 8 * 6 * 9),
        ("MatMul", ((5, 7), (7, 2)), "MatMul", 5 * 7 * 2),
        ("BatchMatMulV2", ((3, 5, 7), (3, 7, 2)), "BatchMatMulV2", 3 * 5 * 7 * 2),
    ],
)
def test_work_is_counted_whoever_computes_it(name, given, kind, macs):
    from engines.tensorflow_graph import _of_graph

    graph = tf.compat.v1.GraphDef()
    for index, shape in enumerate(given):
        node = graph.node.add(name=f"given{index}", op="Placeholder")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    node = graph.node.add(name="work", op=name, input=[f"given{index}" for index in range(len(given))])
    node.attr["T"].type = tf.float32.as_datatype_enum
    if "Conv" in name:
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s = b"SAME"
    (operator,) = _of_graph(tf, graph)
    assert (operator.kind, operator.precision, operator.macs, operator.unread) == (kind, "fp32", macs, "")


def test_work_of_a_kind_that_is_not_counted_is_not_passed_over(tmp_path, load):
    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 3, 16, 16), tf.float32, name="images")], autograph=False)
        def serve(self, images):
            return {"found": tf.raw_ops.Conv3DBackpropFilterV2(
                input=images[..., None], filter_sizes=[1, 1, 1, 1, 1], out_backprop=images[..., None],
                strides=[1] * 5, padding="SAME",
            )}  # fmt: skip

    module = Odd()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    execution = load(tiny_artifact(tmp_path / "model", FORMAT_SAVED_MODEL, Precision.FP32)).describe()
    assert isinstance(execution.macs_by_precision, Unknowable)
    assert "Conv3DBackpropFilterV2" in execution.macs_by_precision.reason


def test_switches_of_the_optimiser_are_given_back(load):
    before = tf.config.optimizer.get_experimental_options()
    session = load(options={"grappler": False, "layout": False})
    assert tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]
    session.close()
    after = tf.config.optimizer.get_experimental_options()
    assert not after.pop("disable_meta_optimizer")
    assert after.pop("layout_optimizer")  # its default, said aloud
    assert after == {name: value for name, value in before.items() if name in after}


@pytest.mark.parametrize(
    ("option", "switch"),
    [
        ("fusion", "remapping"),
        ("layout", "layout_optimizer"),
        ("constant_folding", "constant_folding"),
        ("arithmetic", "arithmetic_optimization"),
    ],
)
def test_every_switch_reaches_the_optimiser_and_computes_the_same(load, option, switch):
    session = load(options={option: False})
    assert tf.config.optimizer.get_experimental_options()[switch] is False
    assert relative_difference(infer(session), tiny_reference(tiny_inputs(0))) <= 1e-5


def test_half_arithmetic_passed_off_as_fp32_shows(tmp_path, load):
    execution = load(save(tmp_path, dtype="float16")).describe()
    assert execution.macs_by_precision == {"fp16": 1.0}
    assert [each.kind for each in proof.differences(execution, "cpu", Precision.FP32)] == ["other-precision"]


def test_a_kernel_that_is_missing_is_named(tmp_path, load):
    class Channels(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 3, 16, 16), tf.float32, name="images")], autograph=False)
        def serve(self, images):
            return {"found": tf.nn.max_pool(images, 2, 2, "VALID", data_format="NCHW")}

    module = Channels()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    artifact = tiny_artifact(tmp_path / "model", FORMAT_SAVED_MODEL, Precision.FP32)
    # With the layout optimiser it would be turned round.
    stream = load(artifact, options={"grappler": False}).stream()
    stream.bind(tiny_inputs(0))
    with pytest.raises(Unsupported, match=r"(?s)cannot execute.*NHWC") as caught:
        stream.run()
    assert caught.value.hint


def test_xla_compiles_while_it_loads(load, fp32, monkeypatch):
    """Else load time would be told without it, and the first inference as if the engine were that slow to start."""
    runs = []

    def counted(stream):
        runs.append(stream)

    monkeypatch.setattr(TensorFlowStream, "run", counted)
    load(fp32)
    assert not runs
    load(fp32, options={"xla": True})
    assert len(runs) == 1


@pytest.mark.parametrize("options", [{"fusion": False}, {"grappler": False}])
def test_xla_with_switches_that_it_ignores_is_refused(load, options):
    with pytest.raises(Unsupported, match="before Grappler"):
        load(options={"xla": True, **options})


def test_other_threads_than_the_process_has_are_refused(load):
    infer(load())
    with pytest.raises(Unsupported, match="other settings already") as caught:
        load(threads=7)
    assert "process of its own" in caught.value.hint


@pytest.mark.parametrize("device", ["gpu:0", "gpu:7", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(load, device):
    if device in {facts.name for facts in TensorFlowEngine().probe().devices}:
        pytest.skip(f"this machine has {device}")
    with pytest.raises(Unsupported, match="has no device"):
        load(device=device)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8, Precision.FP16, Precision.TF32])
def test_a_precision_that_no_kernel_has_says_why(load, precision):
    with pytest.raises(Unsupported, match=f"cannot run {precision} on cpu") as caught:
        load(precision=precision)
    assert len(caught.value.hint) > 20


def test_what_a_pass_lowers_is_loaded_from_float32():
    engine = TensorFlowEngine()
    lowered = {p for p in Precision if engine.artifact_precision(p, TensorFlowOptions()) is not p}
    assert lowered == {Precision.TF32, Precision.FP16, Precision.BF16}


def test_an_artifact_of_another_precision_is_refused(fp32, load):
    with pytest.raises(Unsupported, match="holds int8 arithmetic, fp32 was asked"):
        load(replace(fp32, precision=Precision.INT8))


def test_dynamic_shapes_are_refused(tmp_path, load):
    with pytest.raises(Unsupported, match="dynamic"):
        load(save(tmp_path, shape=(None, 3, 16, 16)))


@pytest.mark.parametrize("fault", ["empty", "truncated", "weights"])
def test_a_broken_folder_is_refused(tmp_path, load, fault):
    artifact = save(tmp_path)
    graph = artifact.path / "saved_model.pb"
    match fault:
        case "empty":
            graph.unlink()
        case "truncated":
            graph.write_bytes(graph.read_bytes()[:2000])
        case "weights":
            next(artifact.path.glob("variables/*.data*")).unlink()
    with pytest.raises(DataError, match="cannot be restored") as caught:
        load(artifact)
    assert "saved_model.pb" in caught.value.hint


def test_a_stream_outlives_its_session(load):
    session = load()
    stream = session.stream()
    session.close()
    del session
    stream.bind(tiny_inputs(0))
    stream.run()
    assert relative_difference(stream.fetch(), tiny_reference(tiny_inputs(0))) <= 1e-5


def test_inputs_are_bound_where_eigen_can_read_them(load):
    stream = load().stream()
    for buffer in stream._buffers.values():
        assert buffer.ctypes.data % 64 == 0
        assert buffer.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "options", "pools"),
    [
        ({"threads": None}, {}, (0, 0)),
        ({"threads": 4}, {}, (4, 1)),
        ({"threads": 4}, {"inter_op_threads": 2}, (3, 2)),
        ({"threads": 4, "goal": Goal.THROUGHPUT}, {}, (1, 4)),
        ({"threads": 4, "streams": 2, "goal": Goal.THROUGHPUT}, {}, (3, 2)),
        ({"threads": 1, "streams": 4, "goal": Goal.THROUGHPUT}, {}, (1, 4)),
    ],
)
def test_threads_are_the_whole_sessions(changes, options, pools):
    from engines.tensorflow_session import budget

    assert budget(SessionConfig(**changes, options=TensorFlowOptions(**options))) == pools
