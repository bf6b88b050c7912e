"""Routes of exporters, and the artifacts at their ends."""

import json
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from engines.exporters.fake import FakeQuantiser
from harness import codec, jobs, process, registry, settings
from harness.artifacts import Exporters, Request, Route, Workshop, code_of, in_child
from harness.cache import Cache, hash_tree
from harness.engine import Calibration, Exporter
from harness.tiny_model import TINY_ONNX, tiny_artifact
from harness.vocabulary import (
    FORMAT_FAKE,
    FORMAT_FAKE_BUILT,
    FORMAT_FAKE_SCRIPT,
    FORMAT_ONNX,
    FORMAT_OPENVINO_IR,
    Artifact,
    Failed,
    Precision,
    Skipped,
    Stage,
)

FAKES = [
    registry.Registered("fake-import", "engines.exporters.fake:FakeImport", "tests"),
    registry.Registered("fake-quantiser", "engines.exporters.fake:FakeQuantiser", "tests"),
]


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Cache(tmp_path / "cache"), tmp_path / "scratch", tmp_path / "logs", 60)


def source(tmp_path, **script):
    file = tmp_path / "model.json"
    file.write_text(json.dumps({"outputs": {"scores": [5]}, **script}))
    return Artifact(FORMAT_FAKE_SCRIPT, Precision.FP32, file, "hash of the script", 10)


def test_the_shortest_route_is_found():
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    assert [step.name for step in route.steps] == ["fake-import"]
    assert not route.calibrated


def test_only_the_last_step_changes_the_precision():
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.INT8)
    assert [(step.name, step.precision) for step in route.steps] == [
        ("fake-import", Precision.FP32),
        ("fake-quantiser", Precision.INT8),
    ]
    assert route.calibrated


BUILDER = registry.Registered("fake-builder", "engines.exporters.fake:FakeBuilder", "tests")


def test_a_precision_is_carried_over_by_steps_that_keep_it():
    route = Exporters([*FAKES, BUILDER]).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.INT8)
    assert [(step.name, step.precision, step.calibrated) for step in route.steps] == [
        ("fake-import", Precision.FP32, False),
        ("fake-quantiser", Precision.INT8, True),
        ("fake-builder", Precision.INT8, False),
    ]
    assert route.bound
    assert route.exporters == ("fake-import", "fake-quantiser", "fake-builder")


def test_a_precision_that_a_step_would_lose_has_no_route(monkeypatch):
    from engines.exporters.fake import FakeBuilder

    monkeypatch.setattr(FakeBuilder, "keeps", frozenset())
    found = Exporters([*FAKES, BUILDER]).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.INT8)
    assert found.reason == "no exporter leads from fake-script to fake-built at int8"
    assert found.hint.startswith("there is one at fp32")
    assert "int8" not in found.hint


def test_what_is_bound_is_made_for_each_device_chip_and_build(workshop, tmp_path):
    route = Exporters([*FAKES, BUILDER]).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.FP32)

    def made(**changes):
        found = workshop.ensure(source(tmp_path), route, Request(1, (3, 4, 4), {}, **changes))
        assert isinstance(found, Artifact), found
        return found

    first = made()
    assert first.notes[-1] == "build 0 for cpu"
    assert [made(**other).notes[-1] for other in ({"device": "gpu.1"}, {"build": 1})] == [
        "build 0 for gpu.1",
        "build 1 for cpu",
    ]
    assert made() == first
    assert workshop.bindings[BUILDER.target, "cpu"] == {"device": "cpu"}
    workshop.bindings[BUILDER.target, "cpu"] = {"device": "cpu", "chip": "another"}
    assert made().path != first.path


def test_a_machine_without_the_device_is_the_reason(workshop, tmp_path):
    absent = Skipped("fake-builder: there is no gpu.1 here", "take cpu")
    workshop.bindings[BUILDER.target, "gpu.1"] = absent
    route = Exporters([*FAKES, BUILDER]).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.FP32)
    assert workshop.ensure(source(tmp_path), route, Request(1, (3, 4, 4), {}, device="gpu.1")) == absent


def test_an_exporter_may_live_in_another_environment(tmp_path):
    nowhere = Exporters(FAKES_NEEDING, {"needy": str(tmp_path / "no-python")})
    assert "needs numpy" in nowhere.route("needs", ("got",), Precision.FP32).reason
    there = Exporters(FAKES_NEEDING, {"needy": sys.executable}).route("needs", ("got",), Precision.FP32)
    assert there.steps[0].interpreter == sys.executable
    assert there.steps[0].versions == {"numpy": metadata.version("numpy")}


class Needy(Exporter):
    """Needs what may not be installed here."""

    name, source, target = "needy", "needs", "got"
    precisions, distributions = frozenset({Precision.FP32}), ("numpy",)

    def export(self, source, spec, destination):
        raise NotImplementedError


FAKES_NEEDING = [registry.Registered("needy", f"{__name__}:Needy", "tests")]


def test_a_missing_route_is_a_reason():
    assert Exporters(FAKES).route("keras", (FORMAT_FAKE,), Precision.FP32) == Skipped(
        "no exporter leads from keras to fake at fp32", "give the model in another form, such as ONNX"
    )


def test_a_source_that_the_engine_loads_needs_no_step():
    assert Exporters(FAKES).route(FORMAT_FAKE, (FORMAT_FAKE,), Precision.FP32) == Route((), FORMAT_FAKE)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    from engines.exporters.fake import FakeImport

    monkeypatch.setattr(FakeImport, "distributions", ("no-such-distribution",))
    found = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    assert isinstance(found, Skipped)
    assert "no-such-distribution" in found.reason
    assert "pip install" in found.hint


def test_a_broken_exporter_costs_only_itself():
    broken = registry.Registered("broken", "no.such.module:Exporter", "elsewhere")
    exporters = Exporters([broken, *FAKES])
    assert "broken" in exporters.broken
    assert isinstance(exporters.route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32), Route)


def test_an_artifact_is_made_once(workshop, tmp_path):
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    request = Request(2, (3, 4, 4), {})
    made = workshop.ensure(source(tmp_path), route, request)
    assert isinstance(made, Artifact), made
    assert made.path.is_file()
    assert made.outputs[0].shape == (2, 5)
    assert made.route == ("fake-import",)
    stamp = made.path.stat().st_mtime_ns
    again = workshop.ensure(source(tmp_path), route, request)
    assert again == made
    assert again.path.stat().st_mtime_ns == stamp


def test_another_batch_is_another_artifact(workshop, tmp_path):
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    paths = {workshop.ensure(source(tmp_path), route, Request(batch, (3, 4, 4), {})).path for batch in (1, 2)}
    assert len(paths) == 2


def test_an_option_at_its_default_makes_no_other_artifact(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeQuantiser, "defaults", {"method": "mean", "exclude": ()})
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP16)
    assert route.defaults == {"fake-import": {}, "fake-quantiser": {"method": "mean", "exclude": []}}
    told = ({}, {"method": "mean"}, {"exclude": [], "method": "mean"}, {"method": "minmax"}, {"exclude": ["a"]})
    paths = [
        workshop.ensure(source(tmp_path), route, Request(1, (3, 4, 4), {"fake-quantiser": options})).path
        for options in told
    ]
    assert paths[0] == paths[1] == paths[2]
    assert len(set(paths)) == 3


def test_what_calibrated_an_artifact_is_part_of_its_key(workshop, tmp_path):
    """Images, their number and the seed: of the calibrated step alone, whose source is the same for all."""
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.INT8)

    def made(hash_of_images, images, seed):
        calibration = Calibration(tmp_path / "images.npy", hash_of_images, images)
        found = workshop.ensure(source(tmp_path), route, Request(1, (3, 4, 4), {}, calibration, seed))
        assert isinstance(found, Artifact), found
        return found

    first = made("one", 8, 0)
    assert first.notes == ("calibrated on 8 images",)
    assert made("one", 8, 0) == first
    others = [made("another", 16, 0), made("one", 8, 1)]
    assert len({artifact.path for artifact in (first, *others)}) == 3
    assert others[0].notes == ("calibrated on 16 images",)
    assert len([entry for entry in workshop.cache.entries() if entry.kind == "artifacts"]) == 3 + 1


def test_every_exporter_declares_its_options_in_a_form_that_suites_can_write():
    exporters = [registry.exporter(entry.target) for entry in registry.registered(registry.EXPORTERS_GROUP).values()]
    declared = {exporter.name: codec.encode(exporter.defaults) for exporter in exporters}
    assert json.loads(json.dumps(declared)) == declared
    assert declared["onnx-int8"]["method"] == "mean"
    assert declared["ultralytics"] == {"head": "auto"}
    assert all(settings.differing(each, each) == {} for each in declared.values())


@pytest.mark.parametrize(("fault", "kind"), [("raise", "ExportFailed"), ("abort", "crash")])
def test_an_export_that_fails_says_where_and_leaves_nothing(workshop, tmp_path, fault, kind):
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    failed = workshop.ensure(source(tmp_path, export_fault=fault), route, Request(1, (3, 4, 4), {}))
    assert isinstance(failed, Failed)
    assert failed.stage is Stage.EXPORT
    assert failed.kind == kind
    assert failed.message.startswith("fake-import: ")
    assert list(workshop.cache.entries()) == []
    assert list(workshop.scratch.iterdir()) == []


def test_a_mended_helper_of_an_exporter_is_another_code(tmp_path, monkeypatch):
    package = tmp_path / "third_party_helped"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "exporter.py").write_text("from . import _helper\nimport json\nclass Exporter: pass\n")
    (package / "_helper.py").write_text("def f():\n    from third_party_helped import _deep\n")
    (package / "_deep.py").write_text("DEPTH = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = registry.resolve("third_party_helped.exporter:Exporter")
    first = code_of(made)
    assert first
    assert code_of(made) == first
    (package / "_deep.py").write_text("DEPTH = 2\n")
    assert code_of(made) != first


@pytest.mark.engine
def test_the_weights_beside_a_graph_are_part_of_the_artifact(workshop, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    model = onnx.load(TINY_ONNX)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]) * 2
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, model.graph.initializer[0].name))
    onnx.save(model, tmp_path / "retrained.onnx")
    route = Exporters().route(FORMAT_ONNX, (FORMAT_OPENVINO_IR,), Precision.FP32)
    made = [
        workshop.ensure(tiny_artifact(path, FORMAT_ONNX, Precision.FP32), route, Request(1, (3, 16, 16), {}))
        for path in (TINY_ONNX, tmp_path / "retrained.onnx")
    ]
    graphs = [artifact.path.read_bytes() for artifact in made]
    assert graphs[0] == graphs[1], "the graph alone tells the two apart: the test proves nothing"
    assert made[0].content_hash != made[1].content_hash
    assert made[0].size_bytes > len(graphs[0])


@pytest.mark.parametrize("cpus", [None, (0,)])
def test_children_are_kept_on_the_processors_of_the_workshop(workshop, monkeypatch, cpus):
    given = []
    monkeypatch.setattr(process, "call", lambda _kind, _job, child, _answer: given.append(child.cpus) or Skipped("-"))
    in_child("overhead", jobs.OverheadJob(1), jobs.OverheadAnswer, replace(workshop, cpus=cpus), "null")
    assert given == [cpus]


def test_a_route_is_parted_where_a_device_is_needed():
    exporters = Exporters([*FAKES, BUILDER])
    before, after = exporters.route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.INT8).at_device(
        FORMAT_FAKE_SCRIPT
    )
    assert (before.exporters, before.format) == (("fake-import", "fake-quantiser"), FORMAT_FAKE)
    assert (after.exporters, after.format) == (("fake-builder",), FORMAT_FAKE_BUILT)
    whole = exporters.route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    assert whole.at_device(FORMAT_FAKE_SCRIPT) == (whole, Route((), FORMAT_FAKE))
    none = Route((), FORMAT_FAKE_SCRIPT)
    assert none.at_device(FORMAT_FAKE_SCRIPT) == (none, none)


def test_what_another_machine_builds_needs_nothing_here(monkeypatch):
    from engines.exporters.fake import FakeBuilder

    monkeypatch.setattr(FakeBuilder, "distributions", ("no-such-distribution",))
    asked = (FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.FP32)
    here = Exporters([*FAKES, BUILDER])
    assert "needs no-such-distribution" in here.route(*asked).reason
    route = Exporters([*FAKES, BUILDER], bound_here=False).route(*asked)
    assert route.exporters == ("fake-import", "fake-builder")
    assert route.steps[-1].versions == {}
    assert "needs no-such-distribution" in here.here(route).reason
    assert "no exporter is called 'fake-builder' here" in Exporters(FAKES).here(route).reason


def test_a_route_of_another_machine_has_this_ones_versions_here():
    exporters = Exporters([*FAKES, BUILDER])
    own = exporters.route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE_BUILT,), Precision.FP32)
    strange = replace(
        own, steps=tuple(replace(step, versions={"x": "1"}, code="", interpreter="py") for step in own.steps)
    )
    assert exporters.here(strange) == own


def test_the_root_of_an_artifact_is_what_its_hash_is_of(workshop, tmp_path):
    given = source(tmp_path)
    route = Exporters(FAKES).route(FORMAT_FAKE_SCRIPT, (FORMAT_FAKE,), Precision.FP32)
    made = workshop.ensure(given, route, Request(1, (3, 4, 4), {}))
    assert hash_tree(workshop.root(made))[0] == made.content_hash
    assert workshop.root(given) == given.path
