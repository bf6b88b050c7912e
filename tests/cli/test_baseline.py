"""``harness baseline``: set from a run, listed, shown; what is noisy or did not run as asked never gets in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from harness.cli.baseline import age
from results.snapshot_files import read


@pytest.fixture
def stored(place, factory):
    """Write a synthetic run of the user's."""

    def stored(*recipes):
        return factory.write_run(place.folder / "runs", recipes)

    return stored


@pytest.fixture
def recipe(factory):
    def recipe(engine="onnxruntime", **facts):
        asked = {"launches": 6, "score": None, "scenarios": ("latency", "memory", "prove"), **facts}
        return factory.Recipe("lite0", engine, factory.FP32, **asked)

    return recipe


def file_of(place):
    (path,) = (place.folder / "baselines").glob("*/*.json")
    return path


def test_a_run_becomes_the_baseline_of_its_suite_and_hardware(place, stored, recipe):
    run = stored(recipe(), recipe("openvino"))
    said = place.say("baseline", "set", "latest")
    assert said.code == 0, said.err
    path = file_of(place)
    assert path.relative_to(place.folder).as_posix() == "baselines/synthetic/hw-0123456789ab.json"
    assert read(path).run_id == run.name
    assert f"6 cells of {run.name} (2 latency" in said.out
    assert "replaces" not in said.out


def test_the_same_is_replaced_and_that_is_said(place, stored, recipe):
    first = stored(recipe())
    place.say("baseline", "set")
    stored(recipe(), recipe("openvino"))
    said = place.say("baseline", "set", "--json")
    facts = json.loads(said.out)
    assert facts["replaced"] == {"run_id": first.name, "cells": 3}
    assert (facts["cells"], facts["refused"]) == (6, [])
    assert f"it replaces 6 cells of {facts['run_id']}, of " in place.say("baseline", "set").out


def test_a_noisy_launch_is_never_accepted(place, stored, recipe):
    stored(recipe(noisy_launches=(2,)), recipe("openvino", noisy_launches=(1, 3)))
    said = place.say("baseline", "set")
    assert said.code == 0
    latencies = [cell for cell in read(file_of(place)).cells if cell.scenario == "latency"]
    assert [cell.reading("latency").launches for cell in latencies] == [(0, 1, 3, 4, 5)]
    assert [reading.quantity for reading in latencies[0].readings] == ["latency", "load", "first"]
    assert "noisy launches left out: 2" in said.out
    assert "refused  lite0/openvino/fp32/cpu/b1/s1/latency: 4 quiet launches of its median latency" in said.out


def test_where_nothing_is_left_it_says_what_would_help(place, stored, recipe):
    stored(recipe(launches=3, scenarios=("latency",)))
    said = place.say("baseline", "set")
    assert said.code == 5
    assert "3 quiet launches of its median latency, 5 are needed" in said.out
    assert "can be a baseline" in said.err
    assert "harness doctor" in said.err
    assert not (place.folder / "baselines").exists()
    facts = json.loads(place.say("baseline", "set", "--json").out)
    assert facts["path"] is None
    assert len(facts["refused"]) == 1


def test_a_baseline_of_another_suite_is_not_overwritten(place, stored, recipe):
    stored(recipe())
    assert place.say("baseline", "set", "--name", "main").code == 0
    path = file_of(place)
    path.write_text(path.read_text().replace('"suite": "synthetic"', '"suite": "other"'))
    said = place.say("baseline", "set", "--name", "main")
    assert said.code == 4
    assert "is the baseline of the suite 'other'" in said.err
    assert '"suite": "other"' in path.read_text()


def test_a_name_that_is_a_path_is_refused(place, stored, recipe):
    stored(recipe())
    said = place.say("baseline", "set", "--name", "../elsewhere")
    assert said.code == 4
    assert "cannot be called" in said.err


def test_baselines_are_listed_and_shown(place, stored, recipe):
    assert "no baseline" in place.say("baseline", "list").out
    stored(recipe(noisy_launches=(2,)))
    place.say("baseline", "set")
    (listed,) = json.loads(place.say("baseline", "list", "--json").out)
    assert (listed["suite"], listed["hw_id"], listed["cells"]) == ("synthetic", "hw-0123456789ab", 3)
    assert "hw-0123456789ab" in place.say("baseline", "list").out.replace("\n", "")
    for name in ("synthetic", "hw-0123456789ab", str(file_of(place))):
        said = place.say("baseline", "show", name)
        assert said.code == 0, said.err
        assert "median latency" in said.out
        assert " ms" in said.out
        assert "noisy launches left out: 2" in said.out
    (shown,) = json.loads(place.say("baseline", "show", "synthetic", "--json").out)
    assert shown["baseline"]["cells"][0]["readings"]
    assert place.say("baseline", "show", "nothing").code == 4


def test_a_file_that_is_no_baseline_is_named(place):
    place.write("baselines/ci/hw.json", "{}")
    said = place.say("baseline", "list")
    assert said.code == 4
    assert "hw.json" in said.err


def test_there_is_no_run(place):
    said = place.say("baseline", "set")
    assert said.code == 4
    assert "there is no run" in said.err


def test_the_age_of_a_baseline(place, stored, recipe):
    stored(recipe())
    place.say("baseline", "set")
    found = read(file_of(place))
    made = datetime.fromisoformat(found.created_at)
    assert age(found, made + timedelta(hours=5)) == "of today"
    assert age(found, made + timedelta(days=1, hours=5)) == "1 day old"
    assert age(found, made + timedelta(days=40)) == "40 days old"
    assert age(found, datetime.now(UTC)) == "of today"
