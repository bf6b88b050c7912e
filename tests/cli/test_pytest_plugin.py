"""`pytest SUITE.yaml` as a user has it: a process of its own, with pytest-benchmark and pytest-xdist as installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from harness.vocabulary import Completed
from results.store import RunStore, runs_in

LATENCY = "toy/fake/fp32/cpu/b1/latency"
MEMORY = "toy/fake/fp32/cpu/b1/memory"
PROVE = "toy/fake/fp32/cpu/b1/prove"
BROKEN = "toy/fake+broken/fp32/cpu/b1/prove"
SKIPPED = "toy/fake/bf16/cpu/b1/latency"
PROOF_ALONE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], precision: [fp32], scenario: [prove]}
preset: quick
"""


def begin(place, *arguments):
    """Start pytest where no configuration of ours holds."""
    environment = {**os.environ, "HARNESS_CACHE": str(place.folder / "cache"), "COLUMNS": "200"}
    # Of the session around it: pytest-benchmark takes a worker's variable for its own.
    for name in [name for name in environment if name.startswith(("PYTEST_CURRENT", "PYTEST_XDIST"))]:
        del environment[name]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=place.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(place, *arguments):
    """Return the exit code of pytest, and all that it said."""
    with begin(place, *arguments) as process:
        said, _ = process.communicate(timeout=240)
    return process.returncode, said


def outcomes(file):
    """Return what a JUnit file says of each test: its element and the message."""
    found = {}
    for case in ET.parse(file).getroot().iter("testcase"):
        ended = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        found[case.get("name")] = ("passed", "") if ended is None else (ended.tag, ended.get("message"))
    return found


def samples_s(store):
    """Return every steady sample of the latency cell of a run, in seconds, launch after launch."""
    from results.launches import histories

    history = next(each for each in histories(store) if each.planned.cell.label == LATENCY)
    return [ns / 1e9 for launch in history.measured for ns in launch.samples.host_to_host_ns.tolist()]


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """A place where a suite was run by pytest, and what it said."""
    place = new_place(tmp_path_factory.mktemp("pytest"))
    text = (place.folder / "suite.yaml").read_text()
    text = text.replace("launches: 1", "launches: 3").replace(
        "scenario: [latency]", "scenario: [latency, memory], precision: [fp32, bf16]"
    )
    place.write("suite.yaml", f"{text}gate: {{launches: 3}}\n")
    place.write("other.yaml", "version: 1\nservices: {}\n")
    arguments = ("suite.yaml", "--junitxml=junit.xml", "--benchmark-json=bench.json", "--benchmark-save=first", "-rs")
    return place, *run(place, *arguments)


@pytest.fixture
def at(ran):
    return ran[0]


@pytest.fixture(scope="module")
def stored(ran):
    """What pytest-benchmark wrote."""
    return json.loads((ran[0].folder / "bench.json").read_text())


# -- one run, read in every way


def test_each_cell_is_a_test_and_its_launches_are_the_runners(ran):
    place, code, said = ran
    assert code == 0, said
    assert "3 passed, 3 skipped" in said
    assert place.runs == 1
    records = place.store.records()
    assert [r for r in records if not isinstance(r.outcome, Completed)] == []
    assert len({r.launch.index for r in records if r.cell.label == LATENCY}) == 3
    assert f"run {place.store.run_id} in runs" in said
    assert f"{LATENCY} #2: ok in" in said, "progress"
    assert place.store.manifest["command"].startswith("pytest suite.yaml --junitxml")


def test_what_cannot_run_is_skipped_with_the_reason_at_the_suite(ran):
    _, _, said = ran
    assert "suite.yaml: fake bf16 on cpu: the fake engine has no BF16" in said


def test_junit_names_cells_outcomes_times_and_figures(at):
    found = outcomes(at.folder / "junit.xml")
    assert found[LATENCY] == found[MEMORY] == found[PROVE] == ("passed", "")
    assert found[SKIPPED] == ("skipped", "fake bf16 on cpu: the fake engine has no BF16")
    case = next(c for c in ET.parse(at.folder / "junit.xml").getroot().iter("testcase") if c.get("name") == LATENCY)
    assert case.get("classname") == "suite.yaml"
    launched_s = sum(r.duration_ns for r in at.store.records() if r.cell.label == LATENCY) / 1e9
    assert float(case.get("time")) == pytest.approx(launched_s, abs=0.5)
    properties = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert properties["run"] == at.store.run_id
    assert float(properties["latency_ns"]) > 2e6
    assert len(properties["latency_ns_by_launch"].split()) == 3


def test_stored_rounds_are_the_samples_of_the_run_to_the_last_digit(at, stored):
    (benchmark,) = stored["benchmarks"]
    assert benchmark["fullname"] == f"suite.yaml::{LATENCY}"
    assert benchmark["group"] == "toy/latency"
    expected = samples_s(at.store)
    assert len(expected) >= 100
    assert benchmark["stats"]["data"] == expected
    assert benchmark["stats"]["rounds"] == len(expected)
    assert benchmark["options"]["timer"] == "the launch's own monotonic clock"


def test_what_is_stored_beside_the_rounds(stored):
    extra = stored["benchmarks"][0]["extra_info"]
    assert len(extra["latency_ns_by_launch"]) == 3
    assert extra["memory_bytes"] > 1e6
    assert extra["size_bytes"] > 0
    assert extra["findings"] is not None
    assert "memory_bytes_by_launch" not in extra, "that is another cell's"


def test_the_machine_is_known_by_its_fingerprint_without_its_name(at, stored):
    machine = stored["machine_info"]
    assert machine["node"] == at.store.manifest["host"]["hw_id"]
    assert machine["cpu"] == at.store.manifest["host"]["hardware"]
    assert os.uname().nodename not in json.dumps(machine)


def test_pytest_benchmarks_own_commands_work_on_it(at):
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "bench.json", "0001", "--columns=median,rounds"]
    done = subprocess.run(command, cwd=at.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(LATENCY) == 2
    assert "toy/latency" in done.stdout


@pytest.fixture(scope="module")
def accepted(ran):
    """A baseline: the run as it was, had it been twenty times as fast; of its memory one launch is known."""
    from results.snapshots import snapshot, write

    def changed(reading):
        if reading.quantity == "latency":
            return replace(reading, values=tuple(value / 20 for value in reading.values), noisy=())
        if reading.quantity == "memory":
            return replace(reading, values=reading.values[:1], launches=reading.launches[:1], noisy=())
        return reading

    found = snapshot(RunStore.open(runs_in(ran[0].folder / "runs")[0]))
    cells = tuple(replace(cell, readings=tuple(map(changed, cell.readings))) for cell in found.cells)
    path = ran[0].folder / "accepted.json"
    write(path, replace(found, cells=cells))
    return path


def test_a_gate_fails_the_test_of_the_cell_that_became_slower(at, accepted):
    # Judged alike where benchmarks are disabled.
    code, said = run(at, "suite.yaml", f"--harness-baseline={accepted}", "--junitxml=gate.xml", "--benchmark-disable")
    assert code == 1, said
    found = outcomes(at.folder / "gate.xml")
    assert [name for name, (kind, _) in found.items() if kind == "failure"] == [LATENCY]
    assert "regressed: median latency +" in found[LATENCY][1]
    assert found[PROVE][0] == "passed"
    assert found[MEMORY] == ("skipped", found[MEMORY][1])
    assert "inconclusive: peak memory" in found[MEMORY][1]
    assert "Traceback" not in said
    assert "harness/pytest" not in said, "no place in our code"
    assert "gate: failed, held to" in said
    assert "power to find a change of the margin: " in said


def test_what_a_gate_cannot_tell_fails_where_that_is_asked(at, accepted):
    arguments = (f"suite.yaml::{MEMORY}", f"--harness-baseline={accepted}", "--junitxml=open.xml", "-pno:benchmark")
    code, said = run(at, *arguments, "--harness-strict")
    assert code == 1, said
    kind, message = outcomes(at.folder / "open.xml")[MEMORY]
    assert kind == "failure"
    assert "inconclusive: peak memory" in message
    assert "gate: inconclusive, held to" in said


def test_a_comparison_with_another_machines_file_is_refused_by_the_field(at, stored):
    stored["machine_info"]["cpu"]["memory_gib"] = 4096
    other = at.write("elsewhere.json", json.dumps(stored))
    code, said = run(at, "suite.yaml", "--collect-only", f"--benchmark-compare={other}")
    assert code == 4
    assert "not compared, the hardware differs: memory_gib (4096 → " in said
    assert "Traceback" not in said


# -- what is selected


@pytest.fixture
def proof(place):
    """A place with a suite that takes a second."""
    place.write("suite.yaml", PROOF_ALONE)
    return place


def test_nothing_is_measured_to_list_the_cells(proof):
    code, said = run(proof, "suite.yaml", "--collect-only", "-q")
    assert code == 0, said
    assert f"suite.yaml::{PROVE}" in said
    assert proof.runs == 0


def test_what_the_user_is_to_know_is_said_where_pytest_is_quiet(proof, monkeypatch):
    monkeypatch.setenv("HARNESS_MACHINE_LOCK", str(proof.folder))  # no file to lock
    code, said = run(proof, "suite.yaml", "-q")
    assert code == 0, said
    assert said.count("nothing keeps other runs from measuring at the same time") == 1
    assert "prepare " not in said


def test_a_selection_is_the_plan_that_is_run(proof):
    proof.write(
        "conftest.py",
        """
        import pytest

        @pytest.fixture(autouse=True, scope="module")
        def around(request):
            yield request.module.__name__

        @pytest.fixture(autouse=True)
        def each(around):
            assert around == "suite", "fixtures of every scope have what they need"
        """,
    )
    arguments = ("--harness-set=matrix.precision=[fp32,fp16,bf16]", "--harness-runs=kept", "-n0", "-W", "error")
    code, said = run(proof, "suite.yaml", "-k", "fp16 or bf16", *arguments)
    assert code == 0, said
    assert "1 passed, 1 skipped, 1 deselected" in said
    store = RunStore.open("latest", proof.folder / "kept")
    assert [each.cell.precision.value for each in store.plan.cells] == ["fp16"]


def test_what_failed_is_told_in_words_and_is_what_runs_next(proof):
    proof.write(
        "suite.yaml",
        PROOF_ALONE + "configurations: {fake: {broken: {options: {fault: raise}}}}\n",
    )
    code, said = run(proof, "suite.yaml", "--junitxml=junit.xml", "--benchmark-json=bench.json")
    assert code == 1, said
    found = outcomes(proof.folder / "junit.xml")
    assert {name: kind for name, (kind, _) in found.items()} == {PROVE: "passed", BROKEN: "failure"}
    message = found[BROKEN][1]
    assert "failed in first, RuntimeError: scripted failure" in message
    assert f"log: runs/{proof.store.run_id}/logs/" in message
    assert "Traceback (most recent call last)" not in said
    assert "def report" not in said, "no code of ours"
    code, said = run(proof, "suite.yaml", "--lf")
    assert code == 1, said
    assert "1 failed, 1 deselected" in said
    assert [each.cell.label for each in proof.store.plan.cells] == [BROKEN]


def test_a_timed_cell_whose_proof_failed_is_no_silent_pass(place):
    text = (place.folder / "suite.yaml").read_text().replace("asleep: true", "asleep: true, fault: nan")
    place.write("suite.yaml", text)
    code, said = run(place, "suite.yaml", "--junitxml=junit.xml", "-W", "error")
    assert code == 1, said
    found = outcomes(place.folder / "junit.xml")
    assert found[PROVE][0] == "failure"
    assert found[LATENCY][0] == "skipped"
    assert f"{PROVE} failed: " in found[LATENCY][1]
    code, said = run(place, f"suite.yaml::{LATENCY}", "--junitxml=junit.xml", "-W", "error")
    assert code == 1, said
    assert outcomes(place.folder / "junit.xml")[LATENCY][0] == "failure", "alone, it has to say so itself"


def test_strict_fails_what_cannot_run_here(proof):
    code, said = run(proof, "suite.yaml", "--harness-set=matrix.precision=[bf16]", "--harness-strict")
    assert code == 1, said
    assert "skipped, with --harness-strict: fake bf16 on cpu: the fake engine has no BF16" in said
    assert proof.runs == 0


# -- what is refused, and what is left alone


@pytest.mark.parametrize("workers", ["-n2", "-n1"])
def test_workers_of_xdist_are_refused(proof, workers):
    code, said = run(proof, "suite.yaml", workers)
    assert code == 4
    assert "not measured by several workers of pytest-xdist" in said
    assert "hint: leave -n away" in said
    assert "Traceback" not in said
    assert proof.runs == 0


def test_a_session_without_a_suite_loads_nothing_of_ours(place):
    place.write(
        "test_own.py",
        """
        import sys

        def test_own():
            ours = {name for name in sys.modules if name.split(".")[0] in {"harness", "results", "engines", "reports"}}
            assert ours == {"harness", "harness.pytest", "harness.pytest.plugin"}
            assert "numpy" not in sys.modules
        """,
    )
    code, said = run(place, "test_own.py", "-n1")
    assert code == 0, said


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("version: 1\nworkloads: {}\nmatrix: {engine: [fake], sceanrio: [prove]}\n", "suite.yaml:3:26:", "sceanrio"),
        ("version: 1\nworkloads: {toy: [}\n", "suite.yaml:2:", ""),
        (PROOF_ALONE.replace("[fake]", "[no-such]"), "", "no-such"),
    ],
    ids=["unknown key", "no YAML", "unknown engine"],
)
def test_a_wrong_suite_is_one_message_at_its_line(place, text, where, message):
    place.write("suite.yaml", text)
    code, said = run(place, "suite.yaml")
    assert code == 2, said
    assert where in said
    assert message in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert "harness/" not in said
    assert "1 error" in said


def test_a_folder_and_the_yaml_of_others_are_left_alone(proof):
    proof.write("compose.yaml", "services: {web: {image: x}}\n")
    code, said = run(proof, ".")
    assert (code, "no tests ran" in said) == (5, True), said
    code, said = run(proof, "compose.yaml")
    assert code == 4, said
    assert "found no collectors" in said or "not found" in said
    assert proof.runs == 0


def test_a_baseline_that_is_not_there_is_said_before_anything_is_measured(proof):
    code, said = run(proof, "suite.yaml", "--harness-baseline=baseline")
    assert code == 5, said
    assert "harness run suite.yaml --set launches=10 && harness baseline set latest" in said
    assert proof.runs == 0


def test_the_command_that_sets_a_baseline_says_what_was_set_here(proof):
    given = ("--harness-set=matrix.precision=[fp32, int8]", "--harness-set=launches=6", "--harness-preset=quick")
    code, said = run(proof, "suite.yaml", "--harness-baseline=baseline", *given)
    assert code == 5, said
    told = "harness run suite.yaml --set 'matrix.precision=[fp32, int8]' --set launches=6 --set preset=quick && harness"
    assert told in said.replace("\n", " ")


def test_an_interrupted_run_is_kept_and_can_be_resumed(place):
    text = (place.folder / "suite.yaml").read_text().replace("launches: 1", "launches: 2")
    place.write("suite.yaml", text)
    process = begin(place, "suite.yaml")
    try:
        ended = time.monotonic() + 120
        while time.monotonic() < ended and not (place.runs and place.store.records()):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, said
    assert f"harness run --resume {place.store.run_id}" in said
    before = len(place.store.records())
    assert place.say("run", "--resume", "latest", "--quiet").code == 0
    assert len(place.store.records()) > before
