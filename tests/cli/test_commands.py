"""Commands over a stored run: what they print, what they store, what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness import survey
from harness.vocabulary import Completed

LATENCY = "toy/fake/fp32/cpu/b2/latency"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """A place with one run, and what the command said."""
    place = new_place(tmp_path_factory.mktemp("commands"))
    text = (place.folder / "suite.yaml").read_text()
    place.write("suite.yaml", text.replace("scenario: [latency]", "scenario: [latency], batch: 2"))
    return place, place.run("run", "suite.yaml", "--json")


@pytest.fixture
def at(ran):
    """The place alone."""
    return ran[0]


@pytest.fixture
def say_at(at):
    """Run a command in this process, in the place that has a run."""
    return at.say


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_alone_on_standard_output(ran):
    _, said = ran
    assert said.code == 0, said.err
    result = strict(said.out)
    assert result["interrupted"] is False
    assert len(result["rows"]) == 1
    assert result["troubles"] == []


def test_progress_off_a_terminal_is_plain_lines_on_the_error_stream(ran):
    _, said = ran
    lines = said.err.splitlines()
    assert "\x1b" not in said.err
    assert [line for line in lines if line.startswith("[1/2] toy/fake/fp32/cpu/b2/prove #0")]
    assert [line for line in lines if line.startswith(f"[2/2] {LATENCY} #0")]
    assert sum(line.strip().startswith("ok in ") for line in lines) == 2


def test_report_is_rendered_again_from_the_records_alone(at, say_at):
    page = at.store.folder / "report.html"
    page.unlink()
    said = say_at("report")
    assert said.code == 0
    assert said.out.strip().endswith("report.html")
    assert page.is_file()
    assert strict(say_at("report", at.store.run_id[:20], "--json").out)["run_id"] == at.store.run_id
    assert say_at("report", "latest", "-o", "page.html").out == "page.html\n"
    assert (at.folder / "page.html").is_file()


def test_a_pipe_that_is_closed_early_is_no_error(at):
    command = f"{sys.executable} -m harness suite schema | head -c 10"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=at.folder, capture_output=True, check=False)
    assert ended.returncode == 0
    assert ended.stderr == b""


def test_rerun_shows_what_the_child_prints_and_stores_another_attempt(at):
    before = len(at.store.records())
    said = at.say("rerun", "latest", LATENCY)
    assert said.code == 0, said.err
    assert f"{LATENCY} #0 attempt 2: ok in" in said.out
    records = at.store.records()
    assert len(records) == before + 1
    assert (records[-1].launch.index, records[-1].launch.attempt) == (0, 1)
    assert isinstance(records[-1].outcome, Completed)
    assert (at.store.folder / records[-1].log).is_file()


def test_rerun_echoes_a_crash(tmp_path, new_place):
    place = new_place(tmp_path)
    place.write(
        "suite.yaml",
        (place.folder / "suite.yaml")
        .read_text()
        .replace("{latency_us: 3000, asleep: true}", "{fault: raise, at: load}"),
    )
    assert place.say("run", "suite.yaml", "--quiet").code == 3
    said = place.run("rerun", "latest", "toy/*/prove")
    assert said.code == 3
    assert "RuntimeError: scripted failure" in said.err
    assert "attempt 2: FAILED in load (RuntimeError)" in said.out
    assert len([r for r in place.store.records() if r.cell.scenario.name == "prove"]) == 2


@pytest.mark.parametrize(
    ("cell", "message"), [("toy/*/int8/*", "no cell matches"), ("toy/fake/*/b9/latency", "no cell matches")]
)
def test_a_cell_that_does_not_exist(at, say_at, cell, message):
    for arguments in (["rerun", "latest", cell], ["take", "latest", cell, "-o", "never"]):
        said = say_at(*arguments)
        assert said.code == 4
        assert message in said.err
        assert LATENCY in said.err
    assert not (at.folder / "never").exists()


def loaded(folder):
    """Run load.py of a taken folder in a process of its own and return its outputs."""
    keep = "\nimport numpy\nnumpy.savez('outputs.npz', **outputs)\n"
    program = (folder / "load.py").read_text() + keep
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True)
    with np.load(folder / "outputs.npz") as archive:
        return {name: archive[name] for name in archive.files}


def reference(folder):
    with np.load(folder / "reference_fp32.npz") as archive:
        return {name: archive[name] for name in archive.files}


def test_what_is_taken_reproduces_the_outputs(at, say_at):
    said = say_at("take", "latest", LATENCY, "-o", "taken")
    assert said.code == 0, said.err
    assert "python taken/load.py" in said.out
    outputs, expected = loaded(at.folder / "taken"), reference(at.folder / "taken")
    assert outputs.keys() == expected.keys() == {"scores"}
    assert outputs["scores"].shape == (2, 10)
    np.testing.assert_array_equal(outputs["scores"], expected["scores"])
    settings = json.loads((at.folder / "taken" / "settings.json").read_text())
    assert settings["cell"]["batch"] == 2
    assert str(at.folder) not in json.dumps(settings)
    again = say_at("take", "latest", LATENCY, "-o", "taken")
    assert again.code == 4
    assert "taken exists already" in again.err


@pytest.mark.engine
def test_what_is_taken_from_a_real_runtime_reproduces_the_outputs(tmp_path, new_place):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).standard_normal((12, 5), dtype=np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["image"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        ],
        "tiny",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 2, 2])],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 5])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    place = new_place(tmp_path)
    onnx.save(model, place.folder / "tiny.onnx")
    place.write(
        "suite.yaml",
        """
        version: 1
        workloads:
          tiny: {source: {onnx: tiny.onnx}, task: raw, input: [3, 2, 2]}
        matrix: {engine: [onnxruntime], scenario: [prove], threads: [1]}
        preset: quick
        """,
    )
    said = place.say("run", "suite.yaml", "--quiet")
    assert said.code == 0, said.err + said.out
    said = place.say("take", "latest", "tiny/*", "-o", "taken")
    assert said.code == 0, said.err
    outputs = loaded(place.folder / "taken")
    np.testing.assert_allclose(outputs["scores"], reference(place.folder / "taken")["scores"], rtol=1e-6)
    with np.load(place.folder / "taken" / "inputs.npz") as inputs:
        np.testing.assert_allclose(outputs["scores"], inputs["image"].reshape(1, 12) @ weights, rtol=1e-5)


@pytest.mark.parametrize(
    ("precisions", "strict_code", "code"), [("[bf16]", 3, 5), ("[fp32,bf16]", 3, 0)], ids=["nothing ran", "one skipped"]
)
def test_what_is_skipped_fails_only_where_that_is_asked(at, say_at, precisions, strict_code, code):
    arguments = ["run", "suite.yaml", "--quiet", "--runs", "others", "--set", f"matrix.precision={precisions}"]
    arguments += ["--set", "matrix.scenario=[prove]"]
    said = say_at(*arguments)
    assert said.code == code
    assert "skipped: fake bf16 on cpu: the fake engine has no BF16" in said.out
    assert said.err == ""
    assert say_at(*arguments, "--strict").code == strict_code


@pytest.mark.parametrize(("what", "message"), [("hardware", "other hardware"), ("version", "which is 99 now")])
def test_launches_that_do_not_belong_with_the_others_are_refused(tmp_path, new_place, monkeypatch, what, message):
    place = new_place(tmp_path)
    assert place.say("run", "suite.yaml", "--quiet").code == 0
    if what == "hardware":
        monkeypatch.setattr("harness.cli.campaign.short_id", lambda _facts: "another")
    else:
        probe = survey.probe
        monkeypatch.setattr(survey, "probe", lambda *given: replace(probe(*given), version="99"))
    count = len(place.store.records())
    for command in (("run", "--resume", "latest"), ("rerun", "latest", "*latency")):
        said = place.say(*command)
        assert said.code == 4
        assert message in said.err
    assert len(place.store.records()) == count
