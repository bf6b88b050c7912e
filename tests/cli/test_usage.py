"""What is asked wrongly is answered by one message on the error stream and exit code 4."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from harness import __version__

WRONG = {
    "unknown command": (["mesure"], "No such command 'mesure'"),
    "no suite": (["run"], "give a suite, or --resume with a run"),
    "suite and resume": (["run", "suite.yaml", "--resume", "latest"], "give a suite, or --resume with a run"),
    "resume with only": (["run", "--resume", "latest", "--only", "*"], "a resumed run keeps its own"),
    "no such file": (["run", "other.yaml"], "other.yaml: there is no such file"),
    "no such suite": (["run", "quickstrat"], "did you mean 'quickstart'?"),
    "unknown option": (["run", "suite.yaml", "--presets", "quick"], "No such option"),
    "unknown pattern": (["plan", "suite.yaml", "--only", "*/int4/*"], "no cell matches '*/int4/*'"),
    "unknown preset": (["plan", "suite.yaml", "--preset", "quik"], "expected 'quick', 'default' or 'publish'"),
    "set without value": (["plan", "suite.yaml", "--set", "matrix.batch"], "matrix.batch"),
    "set of a wrong type": (["plan", "suite.yaml", "--set", "matrix.batch=[one]"], "matrix.batch"),
    "typo in the suite": (
        ["suite", "check", "typo.yaml"],
        "typo.yaml:6:1: unknown key 'presett'; did you mean 'preset'?",
    ),
    "unknown engine": (["plan", "suite.yaml", "--set", "matrix.engine=[fakir]"], "did you mean 'fake'?"),
    "unknown engine option": (["plan", "suite.yaml", "--set", "options.fake.fautl=nan"], "did you mean 'fault'?"),
    "no run": (["report"], "there is no run in"),
    "no such run": (["report", "01ABC"], "no run '01ABC' in"),
    "rerun without a cell": (["rerun", "latest"], "Missing argument 'CELL'"),
    "rerun of no run": (["rerun", "latest", "toy/*"], "there is no run in"),
    "take of no run": (["take", "latest", "toy/*", "-o", "there"], "there is no run in"),
    "take into a folder": (["take", "latest", "toy/*", "-o", "."], ". exists already"),
    "unknown template": (["suite", "new", "onx"], "did you mean 'onnx'?"),
    "template into a file": (["suite", "new", "onnx", "-o", "suite.yaml"], "suite.yaml exists already"),
    "template into no folder": (["suite", "new", "onnx", "-o", "no/such/file"], "cannot be written"),
    "no size": (["cache", "prune", "--keep", "a lot"], "'a lot' is no size"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_message_and_exit_code_4(place, say, case):
    place.write("typo.yaml", (place.folder / "suite.yaml").read_text().replace("preset:", "presett:"))
    arguments, message = WRONG[case]
    said = say(*arguments)
    assert said.code == 4
    assert said.out == ""
    assert message in said.err
    assert said.err.count("error: ") == 1
    assert "hint: " in said.err
    assert "Traceback" not in said.err
    assert place.runs == 0


COMMANDS = (
    [], ["run"], ["plan"], ["report"], ["doctor"], ["rerun"], ["take"], ["suite"], ["suite", "check"], ["suite", "new"],
    ["suite", "schema"], ["suite", "list"], ["cache"], ["cache", "ls"], ["cache", "prune"],
    ["verify"], ["recommend"],
    ["results"], ["results", "index"], ["results", "ls"], ["results", "show"], ["results", "query"],
    ["results", "import"], ["results", "bundle"], ["results", "prune"], ["results", "tag"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_reads_well_in_80_columns(say, command):
    said = say(*command, "--help")
    assert said.code == 0
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(f" Usage: harness {' '.join(command)}".rstrip()) for line in lines)
    # A paragraph that was wrapped twice has a short line in its middle.
    prose = said.out.partition("╭")[0].splitlines()
    for above, below in pairwise(prose):
        if above.strip() and below.strip() and not above.startswith(" Usage"):
            assert len(above.rstrip()) > 40, above


def test_the_version(say):
    assert say("--version").out == f"harness {__version__}\n"


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_of_the_commands_that_run_nothing(place, say):
    planned = strict(say("plan", "suite.yaml", "--json").out)
    assert [cell["label"] for cell in planned["cells"]] == [
        "toy/fake/fp32/cpu/b1/prove",
        "toy/fake/fp32/cpu/b1/latency",
    ]
    assert strict(say("suite", "check", "suite.yaml", "--json").out)["preset"] == "quick"
    assert "workloads" in strict(say("suite", "schema").out)["properties"]
    assert strict(say("cache", "ls", "--json").out) == []
    assert place.runs == 0


def test_json_leaves_the_error_stream_to_errors(say):
    assert say("plan", "suite.yaml", "--json").err == ""


def test_plan_shows_every_cell_with_its_reason(place, say):
    said = say("plan", "suite.yaml", "--set", "matrix.precision=[fp32,bf16]")
    assert said.code == 0
    assert "toy/fake/bf16/cpu/b1/*" in said.out
    assert "skipped: fake bf16 on cpu: the fake engine has no BF16" in " ".join(said.out.split())
    assert "2 cells in 2 launches, 2 skipped" in said.out
    assert not (place.folder / "runs").exists()


def test_settings_of_an_engine_that_is_not_asked_for_are_no_error(place, say):
    place.write("two.yaml", (place.folder / "suite.yaml").read_text() + "interpreters: {openvino: there/python}\n")
    said = say("plan", "two.yaml", "--set", "options.openvino={}")
    assert said.code == 0, said.err


def test_suites_are_listed_with_what_they_are(say):
    said = say("suite", "list")
    assert {line.split()[0] for line in said.out.splitlines()} >= {"quickstart", "yolo11"}
    assert all(len(line.split()) > 3 for line in said.out.splitlines())


def test_a_new_suite_is_written_once(place, say):
    said = say("suite", "new", "onnx", "-o", "mine.yaml")
    assert said.code == 0
    assert (place.folder / "mine.yaml").read_text() == say("suite", "new", "onnx").out
    assert "harness plan mine.yaml" in said.out


def test_doctor_tells_engines_exporters_and_noise(say):
    said = strict(say("doctor", "--json").out)
    assert said["engines"]["fake"]["name"] == "fake"
    assert said["exporters"]["fake-import"]["missing"] == ""
    assert said["problems"] == []
    assert {check["name"] for check in said["quiet"]} >= {"governor", "load", "steal"}
