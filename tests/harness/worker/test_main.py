"""The worker's own end: whatever Python can catch becomes an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from harness import codec, jobs
from harness.errors import EngineUnavailable, HarnessError, Unsupported, VerifyFailed
from harness.vocabulary import Failed, Skipped, Stage
from harness.worker import __main__ as worker


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unsupported("no BF16", "use FP32"), Skipped("no BF16", "use FP32")),
        (EngineUnavailable("not here", "pip install x"), Skipped("not here", "pip install x")),
        (VerifyFailed("constant", "look"), Failed(Stage.LOAD, "verify", "constant", "look")),
        (HarnessError("broken", "mend it"), Failed(Stage.LOAD, "HarnessError", "broken", "mend it")),
        (ValueError("no"), Failed(Stage.LOAD, "ValueError", "no", worker._HINT)),
        (RuntimeError(), Failed(Stage.LOAD, "RuntimeError", "RuntimeError", worker._HINT)),
    ],
)
def test_what_is_raised_becomes_data_with_a_hint(error, expected):
    refusal = worker._refusal(error, Stage.LOAD)
    assert (refusal.failed or refusal.skipped) == expected


def test_a_very_long_message_is_cut():
    failed = worker._refusal(ValueError("x" * 100_000), Stage.LOAD).failed
    assert len(failed.message) < 2100
    assert "100000 characters" in failed.message


def played(tmp_path, monkeypatch, answer):
    """Run the worker's main in this process with a probe that gives ``answer``; return what it wrote."""
    monkeypatch.setattr(worker, "_die_with_parent", lambda: None)
    monkeypatch.setattr(worker, "_do", lambda *_: answer)
    job = {"kind": "probe", "job": codec.encode(jobs.ProbeJob("x:y"))}
    (tmp_path / jobs.JOB_FILE).write_text(json.dumps(job))
    worker.main(tmp_path)
    return json.loads((tmp_path / jobs.ANSWER_FILE).read_text())


@pytest.mark.parametrize("answer", [jobs.OverheadAnswer(float("nan")), jobs.OverheadAnswer(object())])
def test_an_answer_without_json_form_is_a_failure_of_this_cell(tmp_path, monkeypatch, answer, capsys):
    refusal = played(tmp_path, monkeypatch, answer)["refusal"]
    assert refusal["failed"]["kind"] in {"ValueError", "TypeError"}
    assert "Traceback" in capsys.readouterr().err


def test_an_answer_is_whole_or_absent(tmp_path, monkeypatch):
    answer = jobs.OverheadAnswer(1.5)
    assert played(tmp_path, monkeypatch, answer) == {"answer": codec.encode(answer)}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("text", ["", "{", '{"kind": "no such"}', '{"kind": "probe", "job": {}}'])
def test_a_job_that_cannot_be_read_is_answered(tmp_path, monkeypatch, text, capsys):
    monkeypatch.setattr(worker, "_die_with_parent", lambda: None)
    (tmp_path / jobs.JOB_FILE).write_text(text)
    worker.main(tmp_path)
    assert json.loads((tmp_path / jobs.ANSWER_FILE).read_text())["refusal"]["failed"]["stage"] == "import"
    assert "Traceback" in capsys.readouterr().err


ORPHAN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {program!r}], stdout=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(3600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
@pytest.mark.parametrize("before", [0.0, 1.5], ids=["killed later", "killed before it could ask"])
def test_the_worker_dies_with_its_parent(before):
    program = (
        f"import time; time.sleep({before}); from harness.worker import __main__ as worker; "
        "worker._die_with_parent(); time.sleep(3600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN.format(program=program)], stdout=subprocess.PIPE, text=True)
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        if not before:
            time.sleep(1.5)
        os.kill(parent.pid, signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=20)[1] == []
