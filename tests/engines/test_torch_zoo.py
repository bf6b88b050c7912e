"""Models of timm and torchvision by name: what is built, how it is named, and what is said where it cannot be."""

import json
import sys
import urllib.error

import numpy as np
import pytest

from engines.exporters import torch_zoo
from engines.exporters.torch_zoo import TorchZoo
from harness.engine import ExportSpec
from harness.errors import DataError, EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCH_ZOO, Artifact, Precision, TensorSpec

pytestmark = [
    pytest.mark.engine,
    # torch itself uses what it deprecates: torch.export when it copies a tree specification.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
]
torch = pytest.importorskip("torch", reason="torch is not installed")
SPEC = ExportSpec(Precision.FP32, 2, (3, 32, 32))
SMALL = {
    "timm": {"name": "test_efficientnet", "arguments": {"num_classes": 10}},
    "torchvision": {"name": "mobilenet_v3_small", "arguments": {"num_classes": 10}},
}


@pytest.fixture(params=["timm", "torchvision"])
def library(request):
    """Each library's name, where it is installed."""
    try:
        torch_zoo._library(request.param)
    except EngineUnavailable as error:
        pytest.skip(error.message)
    return request.param


@pytest.fixture
def source(tmp_path, library):
    """Write a description of a small model of the library, with what is given over it, and return it."""

    def write(file="source.json", **description):
        path = tmp_path / file
        path.write_text(json.dumps({"library": library, **SMALL[library], **description}))
        return Artifact(FORMAT_TORCH_ZOO, Precision.FP32, path, "0" * 64, 0)

    return write


def test_a_model_is_built_by_name_and_exported(source, tmp_path, library):
    exporter = TorchZoo()
    assert (exporter.source, exporter.target) == (FORMAT_TORCH_ZOO, FORMAT_TORCH_EXPORT)
    made = exporter.export(source(), SPEC, tmp_path)
    assert made.inputs == (TensorSpec("input", "float32", (2, 3, 32, 32)),)
    assert made.outputs == (TensorSpec("output0", "float32", (2, 10)),)
    assert made.notes == (f"{SMALL[library]['name']} of {library}", "random weights: drawn, seed 0")


def test_identity_is_name_arguments_and_weights(source, tmp_path):
    exporter = TorchZoo()
    before = torch.random.get_rng_state()
    first = exporter.identify(source().path)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert exporter.identify(source("moved.json").path) == first
    assert exporter.identify(source("other.json", arguments={"num_classes": 11}).path) != first
    module, _ = torch_zoo._build(torch_zoo._read(source().path))
    torch.save(module.state_dict(), tmp_path / "same.pt")
    with torch.no_grad():
        next(module.parameters()).add_(1)
    torch.save(module.state_dict(), tmp_path / "trained.pt")
    assert exporter.identify(source("a.json", weights=str(tmp_path / "same.pt")).path) == first
    assert exporter.identify(source("b.json", weights=str(tmp_path / "trained.pt")).path) != first


def test_a_state_dict_of_the_users_is_loaded(source, tmp_path):
    module, _ = torch_zoo._build(torch_zoo._read(source().path))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    made = TorchZoo().export(source(weights=str(tmp_path / "weights.pt")), SPEC, tmp_path)
    value = torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32))
    with torch.no_grad():
        (found,) = torch.export.load(tmp_path / made.entry).module()(value)
        assert torch.equal(found, module(value))
    assert made.notes[1] == "weights of a state dict of the user's"


@pytest.mark.parametrize(
    ("description", "error", "message", "hint"),
    [
        ({"name": "resnet118"}, DataError, "no model 'resnet118'", "did you mean resnet"),
        ({"name": "hf-hub:someone/net"}, DataError, "no model 'hf-hub:someone/net'", "list_models"),
        ({"name": "resnet18", "arguments": {"wings": 2}}, ExportFailed, "wings", "arguments"),
        ({"weights": "/nowhere/x.pt"}, DataError, "/nowhere/x.pt", "relative to the suite"),
        ({"library": "keras"}, DataError, "no library 'keras'", "timm, torchvision"),
        ({"wieghts": None}, DataError, "wieghts", "library, name, weights, arguments"),
    ],
)
def test_what_gives_no_model_is_refused(source, tmp_path, description, error, message, hint):
    with pytest.raises(error) as caught:
        TorchZoo().export(source(**description), SPEC, tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not (tmp_path / "model.pt2").exists()


def test_without_a_network_pretrained_weights_say_what_to_do(source, monkeypatch, library):
    def fail(*_, **__):
        raise urllib.error.URLError("no route")

    module = torch_zoo._library(library)
    owner, name = (module, "create_model") if library == "timm" else (module.models, "get_model")
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(DataError, match="no route") as caught:
        TorchZoo().identify(source(weights="pretrained").path)
    assert "torch.save" in caught.value.hint


def test_pretrained_weights_are_asked_of_the_library(source, monkeypatch, library):
    module = torch_zoo._library(library)
    owner, name = (module, "create_model") if library == "timm" else (module.models, "get_model")
    build, asked = getattr(owner, name), []

    def record(given, **settings):
        asked.append(settings)
        kept = {key: value for key, value in settings.items() if key not in ("pretrained", "weights")}
        return build(given, **kept)

    monkeypatch.setattr(owner, name, record)
    _, note = torch_zoo._build(torch_zoo._read(source(weights="pretrained").path))
    assert asked == [{"num_classes": 10, **({"pretrained": True} if library == "timm" else {"weights": "DEFAULT"})}]
    assert note == f"weights as {library} publishes them"


def test_a_drawn_detector_draws_its_backbone_too():
    try:
        library = torch_zoo._library("torchvision")
    except EngineUnavailable as error:
        pytest.skip(error.message)
    description = torch_zoo._Description("torchvision", "fasterrcnn_resnet50_fpn")
    names, make = torch_zoo._torchvision(library, description)
    assert description.name in names
    assert make.__closure__ is not None
    cells = dict(zip(make.__code__.co_freevars, (cell.cell_contents for cell in make.__closure__), strict=True))
    assert cells["arguments"] == {"weights": None, "weights_backbone": None}


def test_a_missing_library_is_unavailable_with_the_command_that_installs_it(tmp_path, monkeypatch):
    path = tmp_path / "source.json"
    path.write_text(json.dumps({"library": "timm", "name": "resnet18"}))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EngineUnavailable, match="timm") as caught:
        TorchZoo().identify(path)
    assert caught.value.hint == TorchZoo.install
