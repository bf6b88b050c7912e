"""The torch engine beyond eager: compiled by inductor, ahead of time too, TorchScript, autocast, and PT2E INT8."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import pytest

from engines import torch_model
from engines.exporters import _torch
from engines.exporters.torch_aoti import TorchAoti
from engines.exporters.torch_int8 import TorchInt8
from engines.exporters.torch_script import TorchScript
from engines.torch import TorchEngine, TorchOptions
from engines.torch_inductor import require_compiler
from harness.conformance import EngineConformance, relative_difference
from harness.engine import ExportSpec, SessionConfig
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.tiny_model import TINY_INPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_reference, tiny_weights
from harness.vocabulary import (
    FORMAT_TORCH_AOTI,
    FORMAT_TORCH_EXPORT,
    FORMAT_TORCHSCRIPT,
    Precision,
    Unknowable,
)

pytestmark = [
    pytest.mark.engine,
    # torch itself uses what it deprecates: torch.export when it copies a tree specification.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # inductor, when it is first imported
]
torch = pytest.importorskip("torch", reason="torch is not installed")
FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8
# No kernel is compiled to see whether AVX2 works, no header in advance, and none anew for another number of threads.
QUICK = {
    "cpp.dynamic_threads": True,
    "cpp.vec_isa_ok": True,
    "cpp_cache_precompile_headers": False,
    "aot_inductor.precompile_headers": False,
}


class Tiny(torch.nn.Module):
    """The network of ``harness.tiny_model``."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 5)
        self.load_state_dict({name: torch.from_numpy(value) for name, value in tiny_weights().items()})

    def forward(self, images):
        return self.fc(self.conv(images).relu().mean((2, 3)))


def spec(precision=FP32, **changes):
    return ExportSpec(precision, 1, TINY_INPUTS[0].shape[1:], **changes)


def program(folder, precision=FP32):
    made = _torch.export(_torch.Traceable(Tiny().eval(), TINY_INPUTS[0].name), spec(precision), folder)
    return tiny_artifact(folder / made.entry, FORMAT_TORCH_EXPORT, precision)


def converted(exporter, source, folder, precision=FP32, **options):
    folder.mkdir()
    made = exporter.export(
        source, spec(precision, options=options, calibration=tiny_calibration(folder.parent)), folder
    )
    return tiny_artifact(folder / made.entry, exporter.target, precision), made


def quantised(folder, **options):
    pytest.importorskip("torchao", reason="torchao is not installed")
    (folder / "program").mkdir()
    # The last layer too, since the tiny model has two layers.
    return converted(TorchInt8(), program(folder / "program"), folder / "int8", INT8, **{"keep_last": False, **options})


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return program(tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    return quantised(tmp_path_factory.mktemp("int8"))[0]


@pytest.fixture(scope="module")
def packages(fp32, int8, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    sources = {FP32: fp32, INT8: int8}
    return {p: converted(TorchAoti(), source, folder / p.value, p, inductor=QUICK)[0] for p, source in sources.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where inductor keeps what it compiled, for every session of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def default_cache(cache, monkeypatch):
    """Programs that a test starts find it too; a session of the engine has it from ``scratch`` alone."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))


@pytest.fixture
def load(cache):
    """Load an artifact; whatever was loaded is closed at the end."""
    sessions = []

    def load(artifact, precision=None, **options):
        config = SessionConfig("cpu", precision or artifact.precision, threads=1, scratch=cache)
        sessions.append(TorchEngine().load(artifact, replace(config, options=TorchOptions(**options))))
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


def off_by(session):
    return relative_difference(infer(session), tiny_reference(tiny_inputs(0)))


class TestCompiled(EngineConformance):
    engine = TorchEngine

    @pytest.fixture(autouse=True)
    def shared(self, cache):
        type(self).cache = cache

    def config(self, exported, **changes):
        settings = TorchOptions(mode="compile", inductor=QUICK)
        return replace(super().config(exported, **changes), scratch=self.cache, options=settings)

    def artifact(self, precision, folder):
        return program(folder, precision)


class TestAheadOfTime(EngineConformance):
    engine = TorchEngine
    precisions = (FP32, INT8)

    def config(self, exported, **changes):
        return replace(super().config(exported, **changes), options=TorchOptions(mode="aoti"))

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, packages):
        return packages.__getitem__


class TestTorchScript(EngineConformance):
    engine = TorchEngine
    precisions = (FP32, BF16)

    def config(self, exported, **changes):
        return replace(super().config(exported, **changes), options=TorchOptions(mode="torchscript"))

    def artifact(self, precision, folder):
        (folder / "source").mkdir()
        return converted(TorchScript(), program(folder / "source", precision), folder / "script", precision)[0]


# -- what really executes


def test_an_int8_model_executes_int8_kernels_once_compiled(int8, load):
    session = load(int8, mode="compile", inductor=QUICK)
    assert off_by(session) < 5e-2
    execution = session.describe()
    assert execution.macs_by_precision["int8"] > 0.99
    assert "int8" in execution.flags["oneDNN kernels"]
    assert execution.operators["onednn.qconv_pointwise"] == 1


def test_eager_refuses_a_model_whose_layers_it_would_compute_in_float(int8, load):
    with pytest.raises(Unsupported, match="float32") as caught:
        load(int8)
    assert "mode: compile" in caught.value.hint


def test_autocast_computes_in_half_precision_over_float_weights(fp32, load):
    assert TorchEngine().artifact_precision(BF16, TorchOptions(autocast=True)) is FP32
    session = load(fp32, BF16, autocast=True)
    assert 1e-5 < off_by(session) < 5e-2
    assert session.describe().macs_by_precision == {"bf16": 1.0}


def test_channels_last_lays_out_weights_and_inputs(fp32, load):
    session = load(fp32, channels_last=True)
    assert off_by(session) < 1e-5
    assert session.stream().inputs[0].is_contiguous(memory_format=torch.channels_last)


def test_a_frozen_script_answers_the_same_by_other_operators(fp32, load, tmp_path):
    script, _ = converted(TorchScript(), fp32, tmp_path / "script")
    plain, frozen = load(script, mode="torchscript"), load(script, mode="torchscript", freezing=True)
    assert off_by(frozen) < 1e-5
    operators = plain.describe().operators, frozen.describe().operators
    assert operators[0] != operators[1]
    assert plain.describe().graph_nodes == 6  # a cast at each end, convolution, ReLU, mean, Linear


def test_fused_kernels_are_named_and_fewer_than_the_nodes_of_the_graph(fp32, load):
    execution = load(fp32, mode="compile", inductor=QUICK).describe()
    assert sum(execution.operators.values()) < execution.graph_nodes
    assert any("relu" in name and "mean" in name for name in execution.operators)


def test_fusion_off_is_a_loop_for_every_operation(fp32, cache):
    """One generated function may hold several loops still."""
    loops = []
    for folder, fusion in (("fused", True), ("apart", False)):
        config = SessionConfig("cpu", FP32, threads=1, scratch=cache / folder)
        options = TorchOptions(mode="compile", fusion=fusion, inductor=QUICK)
        session = TorchEngine().load(fp32, replace(config, options=options))
        assert off_by(session) < 1e-5
        session.close()
        loops.append(sum(file.read_text().count("for(int64_t x0=") for file in config.scratch.rglob("*.py")))
    assert loops[0] < loops[1]


@pytest.fixture
def compiler():
    """Skip, with the reason, where inductor has nothing to compile with."""
    try:
        require_compiler()
    except Unsupported as error:
        pytest.skip(error.message)


@pytest.fixture
def timed():
    """The operators for which inductor timed kernels against each other, and the milliseconds of each kernel."""
    from torch._inductor import select_algorithm

    found = {}

    def save(timings, operator, *_):
        found[operator] = list(timings.values())

    select_algorithm.add_feedback_saver(save)
    yield found
    select_algorithm.clear_feedback_savers()


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """A program with a product that is large enough for inductor to have more than one kernel for it."""
    nn, folder = torch.nn, tmp_path_factory.mktemp("products")
    layers = (nn.Flatten(), nn.Linear(768, 80), nn.Unflatten(1, (5, 16)), nn.AvgPool1d(16), nn.Flatten())
    made = _torch.export(_torch.Traceable(nn.Sequential(*layers).eval(), TINY_INPUTS[0].name), spec(), folder)
    return tiny_artifact(folder / made.entry, FORMAT_TORCH_EXPORT, FP32)


def chosen(timed):
    """Whether there was a choice; every kernel of it took some time."""
    assert all(len(kernels) > 1 and min(kernels) > 0 for kernels in timed.values())
    return bool(timed)


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # inductor's own use of it
@pytest.mark.parametrize(
    ("compile_mode", "freezing"),
    [
        ("max-autotune", True),
        ("max-autotune-no-cudagraphs", None),  # on a CPU only weights that are constants leave a choice
    ],
)
def test_max_autotune_times_kernels_of_frozen_weights(products, load, tmp_path, timed, compile_mode, freezing):
    """The caches lie in a new folder: nothing that was chosen before is taken from there."""
    options = TorchOptions(mode="compile", compile_mode=compile_mode, freezing=freezing, inductor=QUICK)
    session = TorchEngine().load(products, SessionConfig("cpu", FP32, threads=1, options=options, scratch=tmp_path))
    answers = infer(session)
    session.close()
    assert relative_difference(answers, infer(load(products))) < 1e-5
    assert chosen(timed) == bool(freezing)


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # as above
def test_max_autotune_times_kernels_of_a_package(products, load, tmp_path, timed):
    package, _ = converted(TorchAoti(), products, tmp_path / "tuned", max_autotune=True, inductor=QUICK)
    assert relative_difference(infer(load(package, mode="aoti")), infer(load(products))) < 1e-5
    assert chosen(timed)


@pytest.mark.filterwarnings("ignore:inductor.{2}_alloc_from_pool:UserWarning")  # torch's own operator, of its pool
@pytest.mark.parametrize("memory", ["none", "pool"])
def test_how_buffers_are_kept_does_not_change_the_outputs(fp32, load, memory):
    assert off_by(load(fp32, mode="compile", memory=memory, inductor=QUICK)) < 1e-5


def test_a_package_of_someone_else_tells_no_share_rather_than_a_guessed_one(packages, load, monkeypatch):
    monkeypatch.setattr(torch_model, "COUNTS_KEY", "of someone else")
    execution = load(packages[FP32], mode="aoti").describe()
    assert isinstance(execution.macs_by_precision, Unknowable)
    assert isinstance(execution.graph_nodes, Unknowable)
    assert execution.operators["convolution"] == 1


# -- what compiling leaves behind


def test_compiling_writes_into_scratch_alone_and_leaves_no_process(fp32, tmp_path, cache):
    code = """
        import json, os, pathlib, sys
        import torch
        from engines.torch import TorchEngine, TorchOptions
        from harness.engine import SessionConfig
        from harness.tiny_model import tiny_artifact
        path, scratch = map(pathlib.Path, sys.argv[1:3])
        options = TorchOptions(mode="compile", inductor=json.loads(sys.argv[3]))
        config = SessionConfig(threads=1, options=options, scratch=scratch)
        TorchEngine().load(tiny_artifact(path, "torch-export", config.precision), config)
        print(len(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
    """
    home = tmp_path / "temporary"
    home.mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "TORCHINDUCTOR_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), fp32.path, cache, json.dumps(QUICK)],
        env={**variables, "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 0
    assert not [path for path in home.iterdir() if path.name.startswith("torchinductor")]
    assert any((cache / "inductor").rglob("*.so"))


def test_streams_in_other_threads_compile_nothing_anew(fp32, load):
    session = load(fp32, mode="compile", inductor=QUICK)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    found = []
    thread = threading.Thread(target=lambda: found.append(infer(session)))
    thread.start()
    thread.join()
    assert relative_difference(found[0], infer(session)) < 1e-6
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_without_a_compiler_there_is_a_hint_to_install_one(fp32, load):
    from torch._inductor import config, cpp_builder

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(Unsupported, match=r"C\+\+ compiler") as caught,
    ):
        load(fp32, mode="compile")
    cpp_builder.cpp_compiler_search.cache_clear()
    assert "install g++" in caught.value.hint


# -- options


@pytest.mark.parametrize(
    ("options", "precision", "told"),
    [
        ({"mode": "jit"}, FP32, "jit"),
        ({"channels_last": True, "mode": "aoti"}, FP32, "channels_last"),
        ({"autocast": True, "mode": "torchscript"}, BF16, "autocast"),
        ({"autocast": True}, FP32, "autocast"),
        ({"cuda_graphs": True}, FP32, "NVIDIA"),
        ({"cudnn_benchmark": True}, FP32, "NVIDIA"),
        ({"freezing": True}, FP32, "freezing"),
        ({"fusion": False, "mode": "aoti"}, FP32, "fusion"),
        ({"memory": "pool"}, FP32, "memory"),
        ({"mode": "compile", "compile_mode": "fastest"}, FP32, "fastest"),
        ({"mode": "compile", "inductor": {"no_such_key": 1}}, FP32, "no_such_key"),
        ({"mode": "compile", "freezing": False}, INT8, "frozen"),
        ({"mode": "aoti"}, FP32, "torch-aoti"),
        ({"mode": "torchscript"}, FP32, "torchscript"),
        ({}, Precision.TF32, "tf32"),
        ({}, Precision.FP8, "fp8"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_hint(fp32, load, options, precision, told):
    stored = FP32 if precision is Precision.TF32 else precision
    with pytest.raises(Unsupported, match=told) as caught:
        load(replace(fp32, precision=stored), precision, **options)
    assert caught.value.hint


def test_each_mode_has_its_format():
    formats = {mode: TorchEngine().artifact_formats(TorchOptions(mode=mode)) for mode in ("eager", "compile", "aoti")}
    assert formats == {"eager": (FORMAT_TORCH_EXPORT,), "compile": (FORMAT_TORCH_EXPORT,), "aoti": (FORMAT_TORCH_AOTI,)}
    assert TorchEngine().artifact_formats(TorchOptions(mode="torchscript")) == (FORMAT_TORCHSCRIPT,)
    assert TorchEngine().artifact_precision(Precision.TF32, TorchOptions()) is FP32
    assert TorchEngine().artifact_precision(INT8, TorchOptions(mode="aoti")) is INT8
    with pytest.raises(Unsupported, match="eager torch would compute an INT8 model's layers in float32"):
        TorchEngine().artifact_precision(INT8, TorchOptions(autocast=True))


@pytest.mark.parametrize(
    ("options", "precision", "lines"),
    [
        ({"mode": "compile", "memory": "pool"}, FP32, ["torch.compile(", "'memory_planning': True"]),
        ({"mode": "compile", "compile_mode": "max-autotune"}, FP32, ["list_mode_options('max-autotune')"]),
        ({"mode": "compile"}, INT8, ["fx._decomposed", "'freezing': True"]),
        ({"autocast": True}, BF16, ["torch.autocast('cuda', torch.bfloat16)"]),
        ({"mode": "aoti"}, FP32, ["aoti_load_package", "device_index=1"]),
        ({"mode": "torchscript", "freezing": True}, FP32, ["optimize_for_inference"]),
        ({"channels_last": True}, Precision.TF32, ["allow_tf32 = True", "channels_last"]),
    ],
)
def test_the_snippet_says_what_the_options_do(fp32, options, precision, lines):
    snippet = TorchEngine().snippet(fp32, SessionConfig("cuda:1", precision, options=TorchOptions(**options)))
    compile(snippet, "snippet", "exec")
    assert all(line in snippet for line in lines)


# -- files that are not what they should be, and exports that cannot be


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("eager", FORMAT_TORCH_EXPORT), ("aoti", FORMAT_TORCH_AOTI), ("torchscript", FORMAT_TORCHSCRIPT)],
)
@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_file_is_a_data_error(fp32, load, tmp_path, mode, format_, kept):
    broken = tmp_path / "model.pt2"
    broken.write_bytes(fp32.path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"model\.pt2") as caught:
        load(replace(fp32, path=broken, format=format_), mode=mode)
    assert "export it anew" in caught.value.hint


def test_an_ahead_of_time_package_is_bound_to_torch_and_the_processor():
    bound = TorchAoti().binding("cpu")
    assert TorchAoti.bound
    assert bound["torch"] == torch.__version__
    assert bound["kernels"] == torch.backends.cpu.get_cpu_capability()
    assert bound["machine"]


def test_an_ahead_of_time_package_for_a_gpu_that_is_not_there_is_unsupported():
    with pytest.raises(Unsupported, match="cuda:9") as caught:
        TorchAoti().binding("cuda:9")
    assert caught.value.hint


def test_the_binding_of_a_gpu_is_its_name_and_capability(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "new")
    bound = TorchAoti().binding("cuda:0")
    assert (bound["gpu"], bound["capability"]) == ("new", "9.0")


def test_an_int8_package_holds_no_float_copy_of_its_weights(int8, fp32):
    before, after = (torch_model.read_program(torch, artifact).state_dict for artifact in (fp32, int8))
    assert {value.dtype for value in before.values()} == {torch.float32}
    assert {value.dtype for value in after.values() if value.ndim > 1} == {torch.int8}


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"keep_last": True}, "kept in float (last layer): fc"),
        ({"exclude": ["co.*"]}, "kept in float (as asked): conv"),
        ({"method": "histogram", "reduce_range": False}, "activations on 8 bits"),
    ],
)
def test_what_is_quantised_is_an_option_and_a_note(tmp_path, options, note):
    _, made = quantised(tmp_path, **options)
    assert any(note in each for each in made.notes)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "guess"}, "guess"),
        ({"no_such": 1}, "no_such"),
        ({"exclude": [".*"]}, "kept in float"),
    ],
)
def test_options_of_the_quantiser_are_checked(tmp_path, options, told):
    with pytest.raises(ExportFailed, match=told) as caught:
        quantised(tmp_path, **options)
    assert caught.value.hint


def test_quantising_without_images_or_without_torchao_says_what_to_do(fp32, tmp_path, monkeypatch):
    with pytest.raises(ExportFailed, match="calibration") as caught:
        TorchInt8().export(fp32, spec(INT8), tmp_path)
    assert "calibrate" in caught.value.hint
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(EngineUnavailable) as missing:
        TorchInt8().export(fp32, spec(INT8, calibration=tiny_calibration(tmp_path)), tmp_path)
    assert "torch-int8" in missing.value.hint


def test_a_gpu_of_ampere_has_tf32_over_float_weights_and_no_int8(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(7, 5), (9, 0)][index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["old", "new"][index])
    cpu, old, new = TorchEngine().probe().devices
    assert [device.precisions["tf32"].level.value for device in (cpu, old, new)] == [
        "unsupported",
        "unsupported",
        "native",
    ]
    assert "7.5" in old.precisions["tf32"].reason
    assert "oneDNN" in new.precisions["int8"].reason


def test_a_package_lies_alone_in_its_folder(packages):
    for package in packages.values():
        assert [path.name for path in package.path.parent.iterdir()] == ["model.pt2"]  # the compiler's caches are gone
