"""Two environments or two revisions in one run: measured in turn, compared, continued; what fits nowhere is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import harness
from harness import environments
from harness.arms import BASE, HEAD
from harness.vocabulary import Completed

SUITE = """
version: 1
workloads:
  toy: {{source: {{file: model.json, format: fake-script}}, task: raw, input: [3, 8, 8]}}
matrix: {{engine: [fake], scenario: [latency]}}
preset: quick
options: {{fake: {{latency_us: {latency_us}, asleep: true}}}}
gate: {{latency: 20%}}
"""


def git(place, *words):
    names = ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")
    environment = {**os.environ, **dict.fromkeys(names, "somebody@example.org")}
    command = ["git", "-C", str(place.folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory, new_place):
    """A user's repository: head is twice as slow as main was, and has a cell more; the working folder is broken."""
    place = new_place(tmp_path_factory.mktemp("repository"))
    git(place, "init", "--quiet", "--initial-branch=main")
    place.write(".gitignore", "runs\ncache\n")
    place.write("suites/ci.yaml", SUITE.format(latency_us=3000).replace("model.json", "../model.json"))
    git(place, "add", ".")
    git(place, "commit", "--quiet", "-m", "fast")
    git(place, "branch", "base")
    slow = SUITE.format(latency_us=6000).replace("model.json", "../model.json")
    place.write("suites/ci.yaml", slow.replace("engine: [fake]", "engine: [fake], batch: [1, 2]"))
    git(place, "commit", "--quiet", "-a", "-m", "slow")
    place.write("suites/ci.yaml", "version: no suite")
    return place


@pytest.fixture(scope="module")
def revisions(repository):
    """What the command says of the two, and the run."""
    said = repository.say(
        "ab", "base", "main", "--suite", "suites/ci.yaml", "--launches", "3", "--gate", "--json", "--quiet"
    )
    return repository, said


def test_a_slower_revision_fails_the_gate(revisions):
    _, said = revisions
    assert said.code == 1, said.err
    told = json.loads(said.out)
    assert told["outcome"] == "failed"
    assert told["exit_code"] == 1
    (latency,) = [change for change in told["comparison"]["changes"] if change["quantity"] == "latency"]
    assert latency["verdict"] == "regressed"
    assert latency["label"] == "toy/fake/fp32/cpu/b1/latency"
    assert 1.5 < latency["effect"]["estimate"] < 2.5
    assert told["comparison"]["design"] == "interleaved"


def test_what_one_side_alone_has_is_shown_and_not_measured(revisions):
    place, said = revisions
    added = json.loads(said.out)["comparison"]["added"]
    assert sorted(added) == ["toy/fake/fp32/cpu/b2/latency", "toy/fake/fp32/cpu/b2/prove"]
    assert {record.cell.batch for record in place.store.records()} == {1}
    (alone, _) = [planned for planned in place.store.plan.cells if planned.cell.batch == 2]
    assert alone.skipped.reason == "only head has this cell"


def test_both_sides_are_in_one_run_in_turn(revisions):
    place, _ = revisions
    assert place.runs == 1
    records = place.store.records()
    assert all(isinstance(record.outcome, Completed) for record in records)
    counts = Counter((record.cell.scenario.name, record.cell.environment) for record in records)
    assert counts == {("prove", BASE): 1, ("prove", HEAD): 1, ("latency", BASE): 3, ("latency", HEAD): 3}
    timed = [record.cell.environment for record in records if record.cell.scenario.name == "latency"]
    rounds = [set(timed[place : place + 2]) for place in (0, 2, 4)]
    assert rounds == [{BASE, HEAD}] * 3
    assert timed[0] == timed[3] == timed[4] != timed[1]


def test_the_run_says_what_its_sides_are(revisions):
    place, said = revisions
    sides = place.store.manifest["ab"]
    assert sides == json.loads(said.out)["sides"]
    for name, revision in ((BASE, "base"), (HEAD, "main")):
        assert sides[name]["written"] == revision
        assert sides[name]["kind"] == "revision"
        assert sides[name]["environment"]["revision"]["sha"] == git(place, "rev-parse", revision)
    causes = {cause["place"] for cause in json.loads(said.out)["comparison"]["causes"]}
    assert causes == {"revision.sha"}


def test_nothing_is_left_in_the_repository(revisions):
    place, _ = revisions
    assert len(git(place, "worktree", "list").splitlines()) == 1
    assert git(place, "status", "--porcelain") == "M suites/ci.yaml"


def test_the_report_shows_both_sides(revisions):
    place, _ = revisions
    assert "fake@base" in place.page
    assert "fake@head" in place.page
    assert str(place.folder) not in place.page


def test_a_run_of_two_is_resumed_by_its_own_command_alone(revisions):
    place, _ = revisions
    refused = place.say("run", "--resume", "latest")
    assert refused.code == 4
    assert f"harness ab --resume {place.store.run_id}" in refused.err.replace("\n", " ")
    count = len(place.store.records())
    git(place, "branch", "--force", "base", "main")  # what was meant then is meant still
    said = place.say("ab", "--resume", "latest", "--quiet")
    assert said.code == 0, said.err
    assert len(place.store.records()) == count
    assert "regressed" in said.out
    assert "base: base" in said.out
    git(place, "branch", "--force", "base", "main~1")


def test_the_sides_of_a_run_are_compared_as_they_were_measured_and_are_no_baseline(revisions):
    place, measured = revisions
    run = place.store.run_id
    told = json.loads(place.say("compare", f"{run}@base", f"{run}@head", "--json").out)
    assert told["design"] == "interleaved"
    effects = {change["quantity"]: change["effect"] for change in told["changes"]}
    assert effects == {
        change["quantity"]: change["effect"] for change in json.loads(measured.out)["comparison"]["changes"]
    }
    assert place.say("gate", "--head", f"{run}@head", "--baseline", f"{run}@base").code == 1
    for name in (run, f"{run}@head"):
        said = place.say("baseline", "set", name)
        assert said.code == 4
        assert "interleaved two sides" in said.err
    assert not (place.folder / "baselines").exists()


def test_a_run_of_one_is_not_resumed_as_two(place, synthetic_run):
    said = place.say("ab", "--resume", str(synthetic_run))
    assert said.code == 4
    assert "has one side alone" in said.err


def test_two_names_of_one_commit_are_nothing_to_compare(repository):
    said = repository.say("ab", "main", "HEAD", "--suite", "suites/ci.yaml")
    assert said.code == 5
    assert "are one commit" in said.err
    assert said.out == ""


def test_two_interpreters_as_far_as_time_goes(place):
    """An interpreter and a folder of an environment; a cap leaves out whole rounds; what is equal has no cause."""
    python = place.folder / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (python.parent.parent / "pyvenv.cfg").touch()
    said = place.say(
        *("ab", "--base", sys.executable, "--head", str(python.parent.parent), "--suite", "suite.yaml"),
        *("--set", "preset=quick", "--launches", "4", "--minutes", "0.01", "--json", "--quiet"),
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["comparison"]["causes"] == []
    assert told["outcome"] is None
    assert "there was time for 1 of 4 rounds" in told["comparison"]["notes"]
    counts = Counter(record.cell.environment for record in place.store.records())
    assert counts == {BASE: 2, HEAD: 2}
    assert place.store.manifest["ab"][HEAD]["written"] == "env/bin/python"


def test_an_interrupted_run_goes_on_where_it_was(place):
    words = ("ab", sys.executable, sys.executable, "--suite", "suite.yaml", "--set", "launches=2", "--quiet")
    with place.begin(*words) as process:
        until = time.monotonic() + 120
        while not (place.runs and place.store.records()):  # the first proof is stored, the second begins
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"harness ab --resume {place.store.run_id}" in err
    said = place.say("ab", "--resume", "latest", "--quiet", "--json")
    assert said.code == 0, said.err
    completed = Counter(
        (record.cell_id, record.launch.index)
        for record in place.store.records()
        if isinstance(record.outcome, Completed)
    )
    assert completed == Counter((slot.cell_id, slot.index) for slot in place.store.plan.order)
    assert json.loads(said.out)["comparison"]["notes"] == []


@pytest.fixture
def shelf(place, wheels, monkeypatch):
    """Two versions of a library that the toy model calls, on a shelf with what a worker needs."""
    folder = place.folder / "shelf"
    folder.mkdir()
    for name in ("numpy", "pillow"):
        wheels.repacked(folder, name)
    for version, seconds in (("1.0", 0.002), ("2.0", 0.02)):
        program = (
            "import time\nimport numpy as np\n\n\ndef scores(inputs):\n"
            f"    time.sleep({seconds})\n"
            "    return {'scores': inputs['input'].reshape(len(inputs['input']), -1)[:, :10].copy()}\n"
        )
        wheels.wheel(folder, "toyrt", version, {"toyrt.py": program})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environments.shutil, "which", lambda _: None)
    return folder


def test_two_versions_of_a_library(place, shelf):
    place.model(function="toyrt:scores")
    place.write("suite.yaml", SUITE.format(latency_us=0))
    words = ("ab", "toyrt==1.*", "toyrt==2.*", "--suite", "suite.yaml", "--engine", "fake", "--launches", "2")
    said = place.say(*words, "--json", "--quiet")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    (latency,) = [change for change in told["comparison"]["changes"] if change["quantity"] == "latency"]
    assert latency["effect"]["estimate"] > 3
    assert told["comparison"]["causes"] == [{"place": "versions.toyrt", "before": "1.0", "after": "2.0"}]
    assert told["sides"][HEAD]["environment"]["versions"]["toyrt"] == "2.0"
    assert all(isinstance(record.outcome, Completed) for record in place.store.records())
    same = place.say("ab", "toyrt==2.0", "toyrt==2.*", "--suite", "suite.yaml", "--engine", "fake")
    assert same.code == 5
    assert "are both toyrt 2.0: nothing to compare" in same.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("main", "HEAD"), "give what to measure"),
        (("main", "HEAD", "--suite", "suite.yaml", "--model", "m.onnx"), "give what to measure"),
        (("main", "--suite", "suite.yaml"), "HEAD is not given"),
        (("main", "HEAD", "--head", "HEAD", "--suite", "suite.yaml"), "HEAD is given twice"),
        (("main", "onnxruntime==1.31.0", "--suite", "suite.yaml"), "is a revision and head"),
        (("torch==2.9", "openvino==2026.4", "--suite", "suite.yaml"), "these are two engines"),
        (("requests==1", "requests==2", "--suite", "suite.yaml"), "known to bring no engine"),
        (("requests==1", "requests==2", "--suite", "suite.yaml", "--engine", "fakee"), "did you mean 'fake'"),
        (("torch==2.8", "torch==2.9", "--suite", "suite.yaml"), "nothing of it with torch"),
        (("main", "HEAD", "--model", "m.onnx"), "are neither requirements nor interpreters"),
        (("main", "HEAD", "--suite", "suite.yaml"), "not a git repository"),
        ((sys.executable, sys.executable, "--model", "m.onnx"), "do not say which engine"),
        (("torch==2.8", "torch==2.9", "--model", "gone.onnx"), "gone.onnx does not exist"),
        (("torch==2.8", "torch==2.9", "--model", "m.onnx", "--input", "3,x"), "is no shape"),
        ((sys.executable, sys.executable, "--suite", "suite.yaml", "--only", "nothing*"), "no cell matches"),
        ((sys.executable, sys.executable, "--suite", "suite.yaml", "--margin", "latency"), "RULE=VALUE"),
        (("main", "--resume", "latest"), "is kept with the run"),
        (("--resume", "latest", "--engine", "fake"), "is kept with the run"),
        (("--resume", "latest", "--precision", "int8"), "is kept with the run"),
        (("--resume", "latest"), "no run"),
    ],
)
def test_what_is_refused(place, words, message):
    said = place.say("ab", *words)
    assert said.code == 4
    assert message in said.err.replace("\n", " ")
    assert said.out == ""
    assert place.runs == 0


def test_a_side_that_is_not_in_the_repository(repository):
    said = repository.say("ab", "nowhere", "main", "--suite", "suites/ci.yaml")
    assert said.code == 4
    assert "has no revision 'nowhere'" in said.err
    git(repository, "branch", "--force", "empty", "main")
    repository.write("new.yaml", SUITE.format(latency_us=1))
    said = repository.say("ab", "base", "main", "--suite", "new.yaml")
    assert said.code == 4
    assert "base (base) has no new.yaml" in said.err


def test_an_environment_without_the_harness_says_how_to_install_it(place, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    said = place.say("ab", sys.executable, str(tmp_path / "bare"), "--suite", "suite.yaml", "--quiet")
    assert said.code == 4
    assert "fake cannot be measured" in said.err
    assert "-m pip install --no-deps inference-harness" in said.err.replace("\n", " ")


@pytest.mark.engine
def test_a_model_alone_is_enough(place):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = Path(harness.__file__).parent / "tiny_model.onnx"
    said = place.say(
        *("ab", sys.executable, sys.executable, "--model", str(model), "--engine", "onnxruntime", "--minutes", "0.01"),
        *("--only", "*/latency", "--only", "*/memory", "--json", "--quiet"),
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)["comparison"]
    assert [change["quantity"] for change in told["changes"] if change["quantity"] == "latency"] == ["latency"]
    assert any("of 10 rounds" in note for note in told["notes"])
    planned = {each.cell.scenario.name: each.launches for each in place.store.plan.cells}
    assert planned == {"prove": 1, "latency": 10, "memory": 3}
    assert not any("different artifacts" in note for note in told["notes"])
    assert str(model.parent) not in (place.store.folder / "manifest.json").read_text()
