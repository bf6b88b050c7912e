"""``harness gate``: every exit code, stored runs and measured ones, one look and two."""

from __future__ import annotations

import json
import math
import re
import signal
import time
from dataclasses import replace

import pytest

from harness.vocabulary import Completed
from results.snapshot_files import write
from results.snapshots import snapshot
from results.store import RunStore, runs_in

SUITE = """
version: 1
name: toy
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], scenario: [latency]}
preset: quick
options: {fake: {latency_us: 3000, asleep: true}}
gate: {latency: 25%, status: true}
"""


@pytest.fixture
def recipe(factory):
    def recipe(engine="onnxruntime", **facts):
        asked = {"launches": 8, "score": None, "scenarios": ("latency", "prove"), **facts}
        return factory.Recipe("lite0", engine, factory.FP32, **asked)

    return recipe


@pytest.fixture
def stored(place, factory):
    """Write a synthetic run of the user's, with a gate of its suite."""

    def stored(*recipes, gate=None, hardware=None):
        folder = factory.write_run(place.folder / "runs", recipes)
        file = folder / "manifest.json"
        manifest = json.loads(file.read_text())
        manifest["suite"]["gate"] = gate or {}
        if hardware is not None:
            manifest["host"]["hardware"] |= hardware
            manifest["host"]["hw_id"] = "hw-ffffffffffff"
        file.write_text(json.dumps(manifest))
        return folder

    return stored


@pytest.fixture
def accepted(place, stored, recipe):
    """A stored baseline of two cells."""
    stored(recipe(), recipe("openvino"))
    assert place.say("baseline", "set").code == 0


def test_what_did_not_change_passes(place, accepted, stored, recipe):
    stored(recipe(), recipe("openvino"))
    said = place.say("gate")
    assert said.code == 0, said.err
    assert "gate passed: none of 2 gated regressed" in said.out
    assert "power to find a change of the margin" in said.out


def test_what_became_slower_fails(place, accepted, stored, recipe):
    slow = stored(recipe(median_ms=10.8), recipe("openvino"))
    stored(recipe(), recipe("openvino"))
    said = place.say("gate", "--head", slow.name)
    assert said.code == 1
    assert re.search(r"regressed +lite0/onnxruntime/fp32/cpu/b1/s1/latency +median latency", said.out)
    assert "gate failed: 1 of 2 gated regressed" in said.out
    assert place.say("gate").code == 0


def test_the_gate_of_the_suite_says_what_counts(place, stored, recipe):
    memory = {"scenarios": ("latency", "memory", "prove")}
    stored(recipe(), recipe("openvino", **memory))
    assert place.say("baseline", "set").code == 0
    stored(recipe(median_ms=10.8), recipe("openvino"), gate={"latency": "10%"})
    assert place.say("gate").code == 0
    stored(recipe(median_ms=10.8), recipe("openvino", **memory), gate={"memory": True})
    assert place.say("gate").code == 0
    stored(recipe(median_ms=10.8), recipe("openvino"), gate={"only": ["*openvino*"]})
    assert place.say("gate").code == 0
    assert place.say("gate", "--only", "*/onnxruntime/*").code == 1


@pytest.mark.parametrize(("until", "code"), [("2999-12-31", 0), ("2020-01-01", 1)])
def test_what_is_allowed_fails_nothing_until_its_day(place, accepted, stored, recipe, until, code):
    allow = [{"cells": "*/onnxruntime/*", "until": until, "rule": "latency", "reason": "known"}]
    stored(recipe(median_ms=10.8), recipe("openvino"), gate={"allow": allow})
    said = place.say("gate")
    assert said.code == code
    warned = "what was allowed of */onnxruntime/* (latency) until 2020-01-01 is not allowed any more: known"
    assert (warned in said.err) == bool(code)
    assert ("1 allowed for now" in said.out) == (not code)


def test_a_cell_that_fails_now_is_a_regression_and_one_that_never_passed_a_failed_cell(
    place, accepted, stored, recipe, factory
):
    failing = recipe("torch", failure=factory.CRASH)
    stored(recipe(), recipe("openvino"), failing)
    said = place.say("gate")
    assert said.code == 3
    assert "gate passed" in said.out
    stored(recipe(), recipe("openvino", failure=factory.CRASH))
    said = place.say("gate")
    assert said.code == 1
    assert re.search(r"regressed +lite0/openvino/fp32/cpu/b1/s1/latency +status", said.out)
    allow = [{"cells": "*openvino*", "until": "2999-12-31"}]
    stored(recipe(), recipe("openvino", failure=factory.CRASH), gate={"allow": allow})
    assert place.say("gate").code == 0


def test_what_is_open_fails_only_where_that_is_asked(place, accepted, stored, recipe):
    stored(recipe(median_ms=10.28), recipe("openvino"))
    said = place.say("gate")
    assert said.code == 0
    assert "gate inconclusive" in said.out
    assert place.say("gate", "--strict").code == 6


def test_a_pattern_that_means_no_cell_is_refused(place, accepted, stored, recipe):
    stored(recipe(), recipe("openvino"))
    said = place.say("gate", "--only", "*/onnxruntime/*", "--only", "*/onnxruntme/*")
    assert said.code == 4
    assert "no cell matches '*/onnxruntme/*'" in said.err


def test_a_cell_that_crashes_now_and_then_does_not_pass(place, accepted, stored, recipe, factory):
    for count, code, strict in ((3, 0, 6), (5, 1, 1)):
        failing = dict.fromkeys(range(count), factory.CRASH)
        stored(recipe(failing_launches=failing), recipe("openvino"))
        said = place.say("gate")
        assert said.code == code
        assert f"{count} of 8 launches failed; before 0 of 8" in said.out
        assert place.say("gate", "--strict").code == strict


def test_a_skipped_cell_fails_only_where_that_is_asked(place, accepted, stored, recipe, factory):
    stored(recipe(), recipe("openvino"), recipe("torch", skipped=factory.Skipped("torch is not installed")))
    assert place.say("gate").code == 0
    assert place.say("gate", "--strict").code == 3


def test_a_shadow_fails_nothing_and_tells_its_false_alarms(place, accepted, stored, recipe):
    stored(recipe(median_ms=10.8), recipe("openvino"))
    said = place.say("gate", "--shadow", "--strict")
    assert said.code == 0
    assert "gate failed (shadow: fails nothing)" in said.out
    rate = re.search(r"false alarms of this gate: [\d.]+% \[[\d.]+%, [\d.]+%\], (\d+) of all 70 ways", said.out)
    assert rate is not None, said.out
    facts = json.loads(place.say("gate", "--shadow", "--json").out)
    assert facts["alarm_rate"]["splits"] == 70
    assert facts["alarm_rate"]["alarms"] == int(rate[1])
    assert (facts["outcome"], facts["exit_code"]) == ("failed", 0)


def test_without_a_baseline_it_says_how_to_set_one(place, stored, recipe):
    run = stored(recipe())
    said = place.say("gate", "--shadow")
    assert said.code == 5
    assert "no baseline of the suite 'synthetic' for this hardware (hw-0123456789ab)" in said.err
    command = re.search(r"harness (baseline set \S+)", said.err)[1]
    assert command == f"baseline set {run.name}"
    assert place.say(*command.split()).code == 0
    assert place.say("gate").code == 0


def test_of_other_hardware_it_names_what_differs(place, accepted, stored, recipe):
    stored(recipe(), hardware={"cpu_model": "Another"})
    said = place.say("gate")
    assert said.code == 5
    assert "cpu_model (AMD EPYC there, Another here)" in said.err
    assert "harness baseline set" in said.err


def test_a_run_or_another_baseline_can_be_held_against(place, stored, recipe):
    base = stored(recipe())
    assert place.say("baseline", "set", "--name", "main").code == 0
    stored(recipe(median_ms=10.8))
    for which in (base.name, "main", str(place.folder / "baselines" / "main" / "hw-0123456789ab.json")):
        assert place.say("gate", "--baseline", which).code == 1, which
    assert place.say("gate").code == 5
    stored(recipe(), hardware={"cpu_model": "Another"})
    said = place.say("gate", "--baseline", base.name)
    assert said.code == 5
    assert "was measured on other hardware: cpu_model" in said.err
    assert place.say("gate", "--baseline", "nothing").code == 4


def test_nothing_in_common_is_nothing_to_compare(place, accepted, stored, recipe):
    stored(recipe("torch"))
    said = place.say("gate")
    assert said.code == 5
    assert "no cell is in both" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("suite.yaml", "--head", "latest"),
        ("--set", "launches=3"),
        ("--minutes", "3"),
        ("suite.yaml", "--minutes", "0"),
        ("nothing.yaml",),
        ("--head", "nothing"),
        ("--only", "nothing*", "--export", "junit"),
    ],
)
def test_wrong_usage_is_told_from_a_failure(place, accepted, arguments):
    said = place.say("gate", *arguments)
    assert said.code == 4
    assert "hint" in said.err


def test_a_gate_of_another_version_is_named(place, accepted, stored, recipe):
    stored(recipe(), gate={"latency": 0.03})
    said = place.say("gate")
    assert said.code == 4
    assert "has a gate that cannot be read: latency" in said.err


def test_the_result_as_json_and_exported(place, accepted, stored, recipe):
    stored(recipe(median_ms=10.8), recipe("openvino"))
    said = place.say("gate", "--json", "--export", f"junit={place.folder / 'gate.xml'}")
    facts = json.loads(said.out)
    assert said.code == facts["exit_code"] == 1
    assert (facts["outcome"], facts["looks"], facts["shadow"]) == ("failed", 1, False)
    assert [each["quantity"] for each in facts["failing"]] == ["latency"]
    assert facts["power"]["tests"] == 2
    assert facts["comparison"]["level"] == 0.05
    assert "failure" in (place.folder / "gate.xml").read_text()


@pytest.fixture(scope="module")
def measured(tmp_path_factory, new_place):
    """A place with a suite and its baseline, of three real launches of the fake engine."""
    place = new_place(tmp_path_factory.mktemp("measured"))
    place.write("suite.yaml", SUITE)
    said = place.say("gate", "suite.yaml", "-q")
    assert said.code == 5
    assert "harness run suite.yaml --set launches=10 && harness baseline set latest" in said.err
    assert place.runs == 0
    assert place.say("run", "suite.yaml", "--set", "launches=3", "-q").code == 0
    for record in place.store.records():
        assert isinstance(record.outcome, Completed)
    (place.folder / "baselines" / "toy").mkdir(parents=True)
    return place


@pytest.fixture
def base(measured):
    """Set the measured run as baseline, its launches by a factor faster and quiet, whatever else this machine did."""
    first = runs_in(measured.folder / "runs")[0]
    run = snapshot(RunStore.open(first))

    def base(factor, spread=0.0):
        cells = tuple(
            replace(cell, readings=tuple(_scaled(reading, factor, spread) for reading in cell.readings))
            for cell in run.cells
        )
        write(
            measured.folder / "baselines" / "toy" / f"{run.hw_id}.json",
            replace(run, cells=cells, derived_from=""),
        )

    return base


def _scaled(reading, factor, spread):
    values = tuple(value * factor * math.exp(spread * (-1) ** place) for place, value in enumerate(reading.values))
    return replace(reading, values=values, noisy=(), low=None, high=None)


def test_a_measured_suite_passes_or_fails_at_its_first_look(measured, base):
    base(0.1)  # so far off that three launches show it, however busy the machine
    before = measured.runs
    said = measured.say("gate", "suite.yaml", "--set", "launches=3", "--json", "-q")
    assert said.code == 1, said.err
    facts = json.loads(said.out)
    assert (facts["outcome"], facts["looks"]) == ("failed", 1)
    assert facts["comparison"]["level"] == 0.01
    assert measured.runs == before + 1
    assert max(record.launch.index for record in measured.store.records()) == 2
    again = measured.say("gate")
    assert again.code == 1, again.err


def test_what_the_first_look_leaves_open_gets_a_second_of_twice_the_launches(measured, base):
    base(1.0, spread=0.4)
    said = measured.say("gate", "suite.yaml", "--set", "launches=2", "--set", "budget=10m", "--json", "-q")
    facts = json.loads(said.out)
    assert facts["looks"] == 2, facts
    assert facts["comparison"]["level"] == 0.04
    store = measured.store
    latencies = [record.launch.index for record in store.records() if record.cell.scenario.name == "latency"]
    assert sorted(set(latencies)) == [0, 1, 2, 3]
    assert {planned.launches for planned in store.plan.cells if planned.cell.scenario.name == "latency"} == {4}
    assert measured.say("run", "--resume", "latest", "-q").code == 0
    assert len(store.records()) == len(measured.store.records())


def test_without_time_there_is_no_second_look(measured, base):
    base(0.8)
    said = measured.say("gate", "suite.yaml", "--set", "launches=2", "--minutes", "0.01", "-q", "--strict")
    assert said.code == 6, said.out
    assert "note: the time was up after 1 of 2 launches of every timed cell" in said.out
    assert "second" not in said.out


def test_where_nothing_runs_there_is_nothing_to_judge(place, accepted, stored, recipe, factory):
    stored(recipe(skipped=factory.Skipped("onnxruntime is not installed")))
    said = place.say("gate")
    assert said.code == 5
    assert "was measured before; now skipped" in said.out
    stored(recipe(failure=factory.CRASH), gate={"latency": True})
    assert place.say("gate").code == 3


def test_a_cell_that_is_no_more_what_the_baseline_has_is_not_measured(measured, base):
    base(1.0)
    before = measured.runs
    said = measured.say("gate", "suite.yaml", "--set", "matrix.batch=7", "--set", "budget=1m", "-q")
    assert said.code == 5
    assert "harness run suite.yaml --set matrix.batch=7 --set budget=1m --set launches=10 &&" in said.err
    assert "has no cell of what suite.yaml measures now" in said.err
    assert measured.runs == before


def test_an_interrupted_gate_says_how_to_go_on(measured, base):
    base(1.0)
    before = measured.runs
    with measured.begin("gate", "suite.yaml", "--set", "launches=2") as process:
        until = time.monotonic() + 120
        while measured.runs == before or not any(
            attempt.label.endswith("/latency") for attempt in measured.store.attempts()
        ):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    run = measured.store.run_id
    assert f"harness run --resume {run}, then harness gate --head {run}" in err
    assert measured.say("run", "--resume", run, "-q").code == 0
    assert measured.say("gate", "--head", run).code in {0, 1}
