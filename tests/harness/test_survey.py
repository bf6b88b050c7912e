"""What a suite meets here: everything that is wrong becomes data with a name."""

from __future__ import annotations

import json

import pytest

from harness import registry, survey
from harness.artifacts import Workshop
from harness.cache import Cache
from harness.errors import HarnessError
from harness.suite_model import Configuration, Suite
from harness.vocabulary import EngineFacts, Failed, Stage


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Cache(tmp_path / "cache"), tmp_path / "scratch", tmp_path / "logs", 60)


def suite(source, engine="fake", **other):
    workload = {"source": source, "task": "raw", "input": [3, 4, 4], **other}
    data = {"version": 1, "workloads": {"toy": workload}, "matrix": {"engine": [engine], "scenario": ["latency"]}}
    return Suite.model_validate(data)


@pytest.fixture
def look(workshop, tmp_path):
    def looked(source, **other):
        return survey.survey(suite(source, **other), tmp_path, workshop, lambda _: None)

    return looked


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.json"
    file.write_text(json.dumps({"outputs": {"scores": [5]}}))
    return {"file": "model.json", "format": "fake-script"}


def test_a_source_is_known_by_its_content(look, model, tmp_path):
    found = look(model)
    assert isinstance(found.engines["fake"], EngineFacts)
    assert found.models["toy"].trouble is None
    first = found.models["toy"].source.content_hash
    (tmp_path / "model.json").rename(tmp_path / "renamed.json")
    assert look({**model, "file": "renamed.json"}).models["toy"].source.content_hash == first
    (tmp_path / "renamed.json").write_text("{}")
    assert look({**model, "file": "renamed.json"}).models["toy"].source.content_hash != first


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ({"file": "none.json", "format": "fake-script"}, "none.json does not exist", "check the path"),
        ({"file": "p.pt", "format": "torch-export"}, "p.pt is a pickle", "trust: true"),
        ({"ultralytics": "p.pt"}, "p.pt is a pickle", "trust: true"),
    ],
)
def test_a_source_that_cannot_be_had_is_trouble_of_its_workload(look, tmp_path, source, message, hint):
    (tmp_path / "p.pt").write_text("never opened")
    trouble = look(source).models["toy"].trouble
    assert trouble.stage is Stage.IDENTIFY
    assert message in trouble.message
    assert hint in trouble.hint


def test_a_source_that_cannot_be_read_is_trouble_of_its_workload(look, model, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(survey, "hash_tree", refused)
    trouble = look(model).models["toy"].trouble
    assert (trouble.stage, trouble.kind) == (Stage.IDENTIFY, "PermissionError")
    assert trouble.message == "model.json cannot be read: Permission denied"
    assert trouble.hint


@pytest.mark.parametrize(
    ("error", "kind"),
    [(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError"), (OSError(5, "I/O"), "OSError")],
)
def test_data_that_cannot_be_read_is_trouble_of_its_workload(look, model, monkeypatch, error, kind):
    def broken(*_):
        raise error

    monkeypatch.setattr(survey.datasets, "resolve", broken)
    trouble = look(model, data={"files": "."}).models["toy"].trouble
    assert (trouble.stage, trouble.kind) == (Stage.PREPARE, kind)
    assert "the data of toy cannot be read" in trouble.message


def test_an_unknown_engine_is_an_error_of_the_suite(look, model):
    with pytest.raises(HarnessError, match="did you mean 'fake'"):
        look(model, engine="fakee")


def test_an_adapter_that_only_its_own_process_can_make_fails_by_name():
    entry = registry.Registered("x", "no_such_module:Engine", "third-party")
    facts = EngineFacts("x", "1", ())
    failed = survey.adapted(entry, facts)
    assert isinstance(failed, Failed)
    assert (failed.stage, failed.kind) == (Stage.PROBE, "ModuleNotFoundError")
    assert survey.adapted(registry.Registered("f", "engines.fake:FakeEngine", "us"), facts) is facts


def test_what_failed_in_its_own_process_is_not_imported_into_this_one(monkeypatch):
    monkeypatch.setattr(registry, "engine", lambda _: pytest.fail("imported"))
    failed = Failed(Stage.PROBE, "crash", "killed by SIGSEGV")
    assert survey.adapted(registry.Registered("x", "y:z", "third-party"), failed) is failed


def test_an_interpreter_is_found_beside_the_suite_and_its_link_is_kept(tmp_path, model):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "python").symlink_to("/bin/true")
    one = suite(model).model_copy(update={"interpreters": {"fake": "env/python"}})
    assert survey.interpreters(one, tmp_path) == {"fake": str(tmp_path / "env" / "python")}


def test_an_unknown_exporter_is_an_error_of_the_suite(workshop, model, tmp_path):
    asked = suite(model).model_copy(update={"export": {"fake-quantizer": {}}})
    with pytest.raises(HarnessError, match=r"no exporter is called 'fake-quantizer'; did you mean 'fake-quantiser'"):
        survey.survey(asked, tmp_path, workshop, lambda _: None)


@pytest.mark.parametrize("place", ["interpreters", "configurations"])
def test_an_unknown_name_is_found_wherever_it_stands(workshop, model, tmp_path, place):
    configured = {"fake": {"x": Configuration(export={"fake-quantizer": {"a": 1}})}}
    given = {"interpreters": {"fakee": "python"}, "configurations": configured}[place]
    asked = suite(model).model_copy(update={place: given})
    with pytest.raises(HarnessError, match=f"{place}.*: no .*exporter is called .*; did you mean 'fake") as caught:
        survey.survey(asked, tmp_path, workshop, lambda _: None)
    assert "known here" in caught.value.hint


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_model_by_name_is_described_for_its_exporter(workshop, tmp_path, library):
    source = suite({library: "resnet18", "weights": "w.pt", "arguments": {"num_classes": 3}}).workloads["toy"].source
    described = survey._locate("toy", source, tmp_path, workshop, survey.Exporters([]))
    assert json.loads(described.read_text()) == {
        "library": library,
        "name": "resnet18",
        "weights": str(tmp_path / "w.pt"),
        "arguments": {"num_classes": 3},
    }
    downloaded = suite({library: "resnet18", "weights": "pretrained"}).workloads["toy"].source
    described = survey._locate("toy", downloaded, tmp_path, workshop, survey.Exporters([]))
    assert json.loads(described.read_text())["weights"] == "pretrained"


def test_only_what_opens_by_running_code_needs_trust():
    pickles = [{"ultralytics": "m.pt"}, {"file": "m.pt2", "format": "torch-export"}]
    plain = [{"ultralytics": "yolo11n-seg.yaml"}, {"onnx": "m.onnx"}, {"keras": "m.keras"}, {"tflite": "m.tflite"}]
    assert [suite(source).workloads["toy"].source.pickled for source in pickles + plain] == [True] * 2 + [False] * 4


def test_no_route_begins_at_what_an_exporter_makes(look, tmp_path):
    (tmp_path / "model.xml").write_text("<net/>")
    found = look({"file": "model.xml", "format": "openvino-ir"})
    assert found.models["toy"].trouble.stage is Stage.IDENTIFY
    assert "no route begins at a file of the format openvino-ir" in found.models["toy"].trouble.message
