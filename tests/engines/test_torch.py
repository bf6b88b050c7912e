"""The torch engine: facts, loading, streams, threads, proof and snippet, over a tiny network."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from engines.exporters import _torch
from engines.torch import TorchEngine, TorchOptions
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, SessionConfig
from harness.errors import EngineUnavailable, Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_weights
from harness.vocabulary import FORMAT_TORCH_EXPORT, Artifact, Level, Precision

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).parents[2]
SHAPE = (3, 8, 8)


def network():
    nn = torch.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    return layers.eval().requires_grad_(requires_grad=False)


def exported(module, folder, precision=Precision.FP32, batch=1):
    made = _torch.export(_torch.Traceable(module, "input"), ExportSpec(precision, batch, SHAPE), folder)
    path = folder / made.entry
    size = path.stat().st_size
    return Artifact(FORMAT_TORCH_EXPORT, precision, path, "0" * 64, size, made.inputs, made.outputs)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return exported(network(), tmp_path_factory.mktemp("fp32"), batch=2)


@pytest.fixture(scope="module")
def bfloat(tmp_path_factory):
    return exported(network(), tmp_path_factory.mktemp("bf16"), Precision.BF16, batch=2)


@pytest.fixture
def load():
    """Load an artifact; whatever was loaded is closed at the end."""
    sessions = []

    def load(artifact, **settings):
        sessions.append(
            TorchEngine().load(
                artifact, SessionConfig(precision=artifact.precision, **{"options": TorchOptions(), **settings})
            )
        )
        return sessions[-1]

    yield load
    for session in sessions:
        session.close()


def tensor(seed=0, shape=(2, *SHAPE)):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def infer(stream, value):
    stream.bind({"input": value})
    stream.run()
    stream.sync()
    return stream.fetch()


def run_python(code, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Tiny(torch.nn.Module):
    """The network of ``harness.tiny_model``."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 5)
        self.load_state_dict({name: torch.from_numpy(value) for name, value in tiny_weights().items()})

    def forward(self, images):
        return self.fc(self.conv(images).relu().mean((2, 3)))


class TestConformance(EngineConformance):
    engine = TorchEngine
    precisions = (Precision.FP32, Precision.FP16, Precision.BF16)

    def artifact(self, precision, folder):
        model = _torch.Traceable(Tiny().eval(), TINY_INPUTS[0].name)
        made = _torch.export(model, ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:]), folder)
        return tiny_artifact(folder / made.entry, FORMAT_TORCH_EXPORT, precision)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here")
class TestConformanceOnCuda(TestConformance):
    """On a machine with an NVIDIA GPU."""

    device = "cuda:0"


class TestConformanceOfCudaGraphs(TestConformanceOnCuda):
    """The same work captured once a stream, and replayed."""

    def config(self, exported, **changes):
        return super().config(exported, **{"options": TorchOptions(cuda_graphs=True), **changes})


def test_the_precision_of_the_artifact_is_what_runs_or_nothing(artifact):
    with pytest.raises(Unsupported) as caught:
        TorchEngine().load(artifact, SessionConfig(precision=Precision.BF16, options=TorchOptions()))
    assert "bf16" in caught.value.message
    assert caught.value.hint


def test_a_missing_torch_is_unavailable_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable) as caught:
        TorchEngine().probe()
    assert "pip install" in caught.value.hint


def test_probe_tells_the_version_and_the_cpu():
    facts = TorchEngine().probe()
    cpu = facts.devices[0]
    assert facts.version == torch.__version__
    assert cpu.name == "cpu"
    assert cpu.precisions["fp32"].level is Level.NATIVE
    assert set(cpu.precisions) == {precision.value for precision in Precision}
    x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    assert cpu.precisions["int8"].level is (Level.NATIVE if x86 else Level.UNSUPPORTED)
    assert cpu.precisions["tf32"].level is cpu.precisions["fp8"].level is Level.UNSUPPORTED


@pytest.mark.parametrize(
    ("features", "native"),
    [
        ({}, set()),
        ({"avx512_vnni": True, "avx512_bf16": False}, set()),
        ({"avx512_bf16": True}, {"bf16"}),
        ({"amx_bf16": True, "amx_fp16": True}, {"bf16", "fp16"}),
        ({"fp16_arith": True}, {"fp16"}),
    ],
)
def test_half_precision_is_native_only_where_the_cpu_has_instructions_for_it(monkeypatch, features, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    found = TorchEngine().probe().devices[0].precisions
    for name in ("bf16", "fp16"):
        assert (found[name].level is Level.NATIVE) == (name in native)
        assert (found[name].reason == "") == (name in native)


def test_a_gpu_is_a_device_whose_capability_decides_its_precisions(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(7, 5), (9, 0)][index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["old", "new"][index])
    _, old, new = TorchEngine().probe().devices
    assert (old.name, new.name) == ("cuda:0", "cuda:1")
    assert old.precisions["fp16"].level is Level.NATIVE
    assert old.precisions["bf16"].level is Level.EMULATED
    assert "7.5" in old.precisions["bf16"].reason
    assert new.precisions["bf16"].level is Level.NATIVE


class Echo(torch.nn.Module):
    """Answers with its input and with a constant: what a careless fetch would share with the caller."""

    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.arange(3.0))

    def forward(self, given):
        return given, self.constant


def test_fetched_arrays_survive_later_runs_and_belong_to_the_caller(tmp_path, load):
    stream = load(exported(Echo(), tmp_path, batch=2)).stream()
    first = infer(stream, tensor(1))
    kept = {name: value.copy() for name, value in first.items()}
    infer(stream, tensor(2))
    np.testing.assert_array_equal(first["output0"], kept["output0"])
    first["output1"][:] = -1
    np.testing.assert_array_equal(stream.fetch()["output1"], kept["output1"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_the_number_of_threads_reaches_convolutions_run_in_another_thread(tmp_path):
    # torch.set_num_threads in the loading thread does not bind oneDNN in the thread that runs: OpenMP would start more.
    wide = exported(torch.nn.Conv2d(3, 64, 3, padding=1).eval(), tmp_path, batch=256)
    code = """
        import os, sys, threading, warnings
        import numpy as np
        from pathlib import Path
        from engines.torch import TorchEngine, TorchOptions
        from harness.engine import SessionConfig
        from harness.vocabulary import Artifact, Precision, TensorSpec
        given = TensorSpec("input", "float32", (256, 3, 8, 8))
        answer = TensorSpec("output0", "float32", (256, 64, 8, 8))
        artifact = Artifact("torch-export", Precision.FP32, Path(sys.argv[1]), "", 0, (given,), (answer,))
        session = TorchEngine().load(artifact, SessionConfig(threads=int(sys.argv[2]), options=TorchOptions()))
        stream = session.stream()
        stream.bind({"input": np.zeros((256, 3, 8, 8), np.float32)})
        def work():
            before = len(os.listdir("/proc/self/task"))
            stream.run()
            print(len(os.listdir("/proc/self/task")) - before)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    assert int(run_python(code, wide.path, 1, OMP_NUM_THREADS="4")) == 0
    assert int(run_python(code, wide.path, 3, OMP_NUM_THREADS="4")) >= 2  # else the count above would prove nothing


def test_settings_of_the_process_are_given_back_on_close_and_closing_twice_is_safe(artifact):
    def settings():
        backends = torch.backends
        return torch.get_num_threads(), backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32

    before = settings()
    session = TorchEngine().load(artifact, SessionConfig(threads=before[0] + 1, options=TorchOptions()))
    infer(session.stream(), tensor())
    assert settings() == (before[0] + 1, False, False)
    session.close()
    session.close()
    assert settings() == before


def test_a_session_whose_threads_are_left_to_torch_changes_none(artifact, load):
    before = torch.get_num_threads()
    session = load(artifact)
    infer(session.stream(), tensor())
    assert torch.get_num_threads() == before
    assert session.describe().threads == before
    assert session.recommended_streams == 1


@pytest.mark.parametrize(("threads", "streams", "each"), [(1, None, 1), (4, 2, 2), (3, 2, 1), (1, 4, 1)])
def test_threads_are_the_budget_that_streams_share(artifact, load, threads, streams, each):
    execution = load(artifact, threads=threads, streams=streams).describe()
    assert execution.streams == (streams or 1)
    assert execution.threads == each * (streams or 1)
    assert execution.flags["threads per stream"] == str(each)


def test_the_proof_counts_operators_and_macs_at_their_precision(artifact, bfloat, load):
    full, half = load(artifact).describe(), load(bfloat).describe()
    assert full.nodes_by_precision == {"fp32": 4}  # convolution, batch norm, ReLU, addmm; flatten is a view
    assert full.macs_by_precision == {"fp32": 1.0}
    assert full.macs_by_device == {"cpu": 1.0}
    assert full.nodes_by_device == {"cpu": 4}
    assert half.macs_by_precision == {"bf16": 1.0}
    assert half.nodes_by_precision == {"bf16": 5, "fp32": 1}  # the casts at the boundary are counted too
    assert full.inputs == artifact.inputs
    parameters = sum(each.numel() for each in network().parameters())
    assert full.flags["parameters"] == half.flags["parameters"] == str(parameters)
    assert full.flags["flops"] == str(2 * (4 * 6 * 6 * 3 * 3 * 3 + 144 * 5)), "of one item, though the batch holds two"
    assert full.outputs == artifact.outputs


def test_a_model_of_two_precisions_is_told_apart_by_macs(tmp_path, load):
    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 24, bias=False)

        def forward(self, given):
            half = torch.nn.functional.linear(given.bfloat16(), self.first.weight.bfloat16())
            return self.second(half.float())

    shares = load(exported(Mixed().eval(), tmp_path)).describe().macs_by_precision
    assert shares == {"bf16": 0.25, "fp32": 0.75}


def test_the_snippet_of_a_gpu_moves_program_and_inputs(artifact):
    snippet = TorchEngine().snippet(artifact, SessionConfig(device="cuda:0", options=TorchOptions()))
    compile(snippet, "snippet", "exec")
    assert "move_to_device_pass(program, 'cuda:0')" in snippet
    assert ".to('cuda:0')" in snippet
    assert "allow_tf32 = False" in snippet
