"""The command line of the benchmarks: listing, JSON, exit codes. Nothing is timed."""

import json
import os

import pytest

from benchmarks import __main__ as command
from benchmarks import bare, launch, overhead
from benchmarks.figure import Figure, Limit, Measured
from benchmarks.preparation import vendors_engines
from harness.errors import HarnessError
from harness.measure.loop import closed_loop

GOOD = Figure("good", 1.0, 0.99, 1.01, "", Limit(0.98, 1.02), 10)
BAD = Figure("bad", 2.0, 1.9, 2.1, "", Limit(0.98, 1.02), 10)
OPEN = Figure("open", 1.0, 0.9, 1.1, "", Limit(0.98, 1.02), 10)


@pytest.fixture
def measuring(monkeypatch):
    """Let a benchmark give these figures at once."""

    def set_figures(*figures):
        monkeypatch.setattr(overhead, "measure", lambda told: Measured(figures, ("a note",)))

    return set_figures


def test_without_a_name_the_benchmarks_are_listed(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(command.NAMES)
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize(
    ("figures", "code"), [((GOOD,), 0), ((GOOD, BAD), 1), ((GOOD, OPEN), 1), ((BAD, OPEN), 1), ((GOOD, GOOD), 0)]
)
def test_the_exit_code_tells_whether_all_pass(measuring, figures, code, capsys):
    measuring(*figures)
    assert command.main(["overhead"]) == code
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "note: a note"
    assert all(figure.name in out for figure in figures)


def test_json_says_what_where_and_when(measuring, capsys):
    measuring(GOOD)
    assert command.main(["overhead", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["benchmark"] == "overhead"
    assert document["figures"] == [GOOD.as_data()]
    assert document["notes"] == ["a note"]
    assert document["measured_at"].endswith("+00:00")
    assert document["load_1min_before"] >= 0
    assert {"hardware", "environment"} <= document.keys()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["overhead", "--unknown"], "--unknown"),
        (["overhead", "--engine", "torch"], "runs no engine"),
        (["fidelity", "--engine", "abacus"], "abacus has no bare loop"),
    ],
)
def test_wrong_usage_is_4_with_a_hint(arguments, word, capsys):
    assert command.main(arguments) == 4
    error = capsys.readouterr().err
    assert word in error
    assert "hint: " in error or "there are: " in error


def test_what_is_absent_is_4(monkeypatch, capsys):
    def absent(told):
        raise HarnessError("no model is there", "set HARNESS_ASSETS")

    monkeypatch.setattr(overhead, "measure", absent)
    assert command.main(["overhead"]) == 4
    captured = capsys.readouterr()
    assert captured.err == "error: no model is there\n  hint: set HARNESS_ASSETS\n"
    assert not captured.out


def test_yolo11_without_its_assets_is_4(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("HARNESS_ASSETS", raising=False)
    monkeypatch.delenv("HARNESS_COCO", raising=False)
    monkeypatch.chdir(tmp_path)
    assert command.main(["yolo11"]) == 4
    error = capsys.readouterr().err
    assert "hint: " in error
    assert "HARNESS_" in error


def test_every_bare_loop_is_of_a_registered_engine():
    # What needs a GPU has none yet: a loop that never ran is no measure.
    assert set(bare.names()) == set(vendors_engines()) - {"tensorrt", "tensorrt-rtx"}


def test_a_loop_that_keeps_something_per_iteration_is_seen(monkeypatch):
    kept = []

    def leaking(stream, work, finish, columns, count, until_ns):
        closed_loop(stream, work, lambda *_: kept.append(object()), columns, count, until_ns)

    honest = overhead._peak_bytes(5000) - overhead._peak_bytes(500)
    monkeypatch.setattr(overhead, "closed_loop", leaking)
    grown = overhead._peak_bytes(5000) - overhead._peak_bytes(500)
    assert overhead.MEMORY_LIMIT.holds(honest)
    assert not overhead.MEMORY_LIMIT.holds(grown)


def test_bytecode_is_kept_for_the_children_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    with launch.bytecode_kept(tmp_path):
        assert os.environ["PYTHONPYCACHEPREFIX"] == str(tmp_path)
        assert "PYTHONDONTWRITEBYTECODE" not in os.environ
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "PYTHONPYCACHEPREFIX" not in os.environ


def test_the_launches_that_are_measured_hardly_iterate():
    assert launch._SHORTEST.maximum_s == 0
    assert launch._SHORTEST.warmup_s == 0
