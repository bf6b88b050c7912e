"""What launches need, made once: artifacts, inputs, references."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from harness import prepare, survey
from harness.artifacts import Workshop
from harness.cache import Cache
from harness.runner import Bench
from harness.suite_model import Suite
from harness.vocabulary import Cell, Failed, Launch, Precision, Scenario, Skipped, Stage


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Cache(tmp_path / "cache"), tmp_path / "scratch", tmp_path / "logs", 60)


@pytest.fixture
def surveyed(workshop, tmp_path):
    def made(**script):
        (tmp_path / "model.json").write_text(json.dumps({"outputs": {"scores": [5]}, **script}))
        source = {"file": "model.json", "format": "fake-script"}
        workload = {"source": source, "task": "raw", "input": [3, 4, 4]}
        data = {"version": 1, "workloads": {"toy": workload}, "matrix": {"engine": ["fake"]}}
        return survey.survey(Suite.model_validate(data), tmp_path, workshop, lambda _: None)

    return made


def cell(found, **other):
    model = found.models["toy"]
    facts = {"engine": "fake", "precision": Precision.FP32, "device": "cpu", "scenario": Scenario("latency"), **other}
    return Cell("toy", model.source.content_hash, dict(model.task), (3, 4, 4), **facts)


def preparer(found, workshop, seed=0):
    words = []
    return prepare.Preparer(found, workshop, prepare.Settings(seed=seed), words.append), words


def test_everything_is_made_once(surveyed, workshop, monkeypatch):
    found = surveyed()
    first, _ = preparer(found, workshop)
    bench = first.bench(cell(found))
    assert isinstance(bench, Bench), bench
    monkeypatch.setattr(prepare, "in_child", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(prepare.process, "call", lambda *_: pytest.fail("made again"))
    second, words = preparer(found, workshop)
    assert second.bench(cell(found)) == bench
    assert not [word for word in words if "reference" in word or "tensors" in word]


def test_every_variant_gets_the_same_inputs_and_its_own_artifact(surveyed, workshop):
    found = surveyed()
    one, _ = preparer(found, workshop)
    plain, batched, bound = (one.bench(cell(found, **other)) for other in ({}, {"batch": 2}, {"threads": 2}))
    assert plain.inputs == batched.inputs == bound.inputs
    assert plain.artifact == bound.artifact
    assert plain.artifact.content_hash != batched.artifact.content_hash
    assert plain.reference == bound.reference != batched.reference
    tensors = np.load(plain.inputs.path / "inputs.npy")
    assert tensors.shape == (prepare.ROTATED_INPUTS, 3, 4, 4)
    assert len(np.unique(tensors.reshape(len(tensors), -1), axis=0)) == len(tensors)


def test_the_reference_reads_the_source_as_its_cell_does(surveyed, workshop, monkeypatch):
    """A head or signature that an exporter chooses is the reference's too; how it is quantised is not.

    A cell says nothing of what is at its default, whatever the suite says of other cells.
    """
    asked = []
    monkeypatch.setattr(
        Workshop, "ensure", lambda _self, _source, route, request: asked.append((route.exporters, request.options))
    )
    told = {"fake-import": {"head": "raw"}}
    one = prepare.Preparer(surveyed(), workshop, prepare.Settings(export=told), lambda _: None)
    model = one._survey.models["toy"]
    for export in ({}, told, {**told, "fake-quantiser": {"a": 1}}, {"fake-import": {"head": "other"}}):
        one._made_reference(model, cell(one._survey, export=export), None)
    heads = [options for exporters, options in asked if exporters == ("fake-import",)]
    assert heads == [{}, told, {"fake-import": {"head": "other"}}]


def test_builds_for_a_device_are_made_and_launches_take_turns(surveyed, workshop):
    found = surveyed(builds_us=[0, 50])
    one = prepare.Preparer(found, workshop, prepare.Settings(builds=2), lambda _: None)
    bench = one.bench(cell(found, options={"built": True}))
    assert isinstance(bench, Bench), bench
    notes = [bench.build(Launch(index)).notes[-1] for index in range(3)]
    assert notes == ["build 0 for cpu", "build 1 for cpu", "build 0 for cpu"]
    assert one.bench(cell(found)).rebuilt == ()


def test_another_seed_draws_other_inputs_by_another_hash(surveyed, workshop):
    found = surveyed()
    hashes = {preparer(found, workshop, seed)[0].bench(cell(found)).inputs.content_hash for seed in (0, 1)}
    assert len(hashes) == 2


@pytest.mark.parametrize("fault", ["raise", "abort"])
def test_an_export_that_fails_is_tried_once_for_all_variants(surveyed, workshop, fault):
    found = surveyed(export_fault=fault)
    one, words = preparer(found, workshop)
    outcomes = [one.bench(cell(found, threads=threads)) for threads in (None, 1, 2)]
    assert all(isinstance(outcome, Failed) and outcome.stage is Stage.EXPORT for outcome in outcomes)
    assert len(set(outcomes)) == 1
    assert len([word for word in words if "fp32 for fake" in word]) == 1
    assert list(workshop.scratch.glob("export-*")) == []
    assert [entry.kind for entry in workshop.cache.entries()] == ["inputs"]


def test_trouble_found_before_is_handed_on(surveyed, workshop):
    found = surveyed()
    trouble = Failed(Stage.IDENTIFY, "DataError", "gone", "put it back")
    missing = replace(found, models={"toy": replace(found.models["toy"], trouble=trouble)})
    assert preparer(missing, workshop)[0].bench(cell(found)) == trouble
    absent = replace(found, engines={"fake": Skipped("not installed", "install it")})
    assert preparer(absent, workshop)[0].bench(cell(found)) == Skipped("not installed", "install it")


def test_a_calibrated_precision_without_images_is_skipped_with_a_remedy(surveyed, workshop):
    found = surveyed()
    skipped = preparer(found, workshop)[0].bench(cell(found, precision=Precision.INT8))
    assert isinstance(skipped, Skipped)
    assert "calibrate" in skipped.hint


def test_a_reference_that_is_nonsense_fails_by_name(surveyed, workshop):
    found = surveyed(function="numpy:zeros_like")  # gives no dict of outputs
    failed = preparer(found, workshop)[0].bench(cell(found))
    assert isinstance(failed, Failed)
    assert failed.stage is Stage.REFERENCE
    assert failed.hint


def test_a_reference_that_hangs_ends_with_the_timeout_of_a_launch(surveyed, workshop, monkeypatch):
    found = surveyed()
    assert isinstance(preparer(found, workshop)[0].bench(cell(found)), Bench)
    shutil.rmtree(workshop.cache.root / "references")
    given = []

    def called(kind, _job, child, _answer):
        given.append((kind, child.timeout_s))
        return Failed(Stage.FIRST, "timeout", "no end", "")

    monkeypatch.setattr(prepare.process, "call", called)
    made = prepare.Preparer(found, workshop, prepare.Settings(timeout_s=7), lambda _: None)
    assert made.bench(cell(found)) == Failed(Stage.FIRST, "timeout", "no end", "")
    assert given == [("reference", 7)]


def test_what_another_machine_needs_is_made_as_far_as_its_device(surveyed, workshop):
    found = surveyed()
    elsewhere = prepare.Preparer(found, workshop, prepare.Settings(builds=2, bound_here=False), lambda _: None)
    bench = prepare.Preparer(found, workshop, prepare.Settings(), lambda _: None).bench(cell(found))
    whole = elsewhere.portable(cell(found))
    assert (whole.bench, whole.route.steps, whole.builds, whole.places) == (bench, (), (), {})
    begun = elsewhere.portable(cell(found, options={"built": True}, device="cpu"))
    assert begun.bench.artifact == bench.artifact
    assert begun.bench.rebuilt == ()
    assert begun.route.exporters == ("fake-builder",)
    assert [(request.build, request.device, request.calibration) for request in begun.builds] == [
        (0, "cpu", None),
        (1, "cpu", None),
    ]


def test_an_engine_that_only_another_machine_has_is_prepared_for_by_one_of_this(surveyed, workshop):
    found = surveyed()
    registered = {**found.registered, "other": found.registered["fake"]}
    engines = {**found.engines, "other": Skipped("not installed")}
    there = replace(found, engines=engines, registered=registered)
    one, _ = preparer(there, workshop)
    assert one.portable(cell(found, engine="other")).bench.reference == one.bench(cell(found)).reference
    none = replace(there, engines={"fake": Skipped("not installed")})
    failed = preparer(none, workshop)[0].portable(cell(found))
    assert isinstance(failed, Failed)
    assert failed.kind == "no-reference"
