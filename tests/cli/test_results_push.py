"""``harness results push`` and ``harness history --index``: a team's index as a user has it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from harness.vocabulary import Failed, Precision, Stage
from results.store import runs_in

CRASH = Failed(Stage.STEADY, "crash", "the worker ended by signal 11", "see its log")


@pytest.fixture(scope="module")
def two_runs(factory, tmp_path_factory):
    root = tmp_path_factory.mktemp("pushed") / "runs"
    recipe = factory.Recipe
    recipes = (
        recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("latency",)),
        recipe(factory.HOSTILE, "onnxruntime", Precision.FP32, failure=CRASH, launches=1, scenarios=("latency",)),
    )
    for chosen in (recipes, recipes[:1]):
        factory.write_run(root, chosen)
    return root


@pytest.fixture
def ids(two_runs, place):
    shutil.copytree(two_runs, place.folder / "runs")
    return [run.name for run in runs_in(two_runs)]


@pytest.fixture
def push(ids, say):
    """Return ``harness results push …`` in a place with two runs."""
    assert ids

    def said(*arguments):
        return say("results", "push", *arguments)

    return said


@pytest.fixture
def url(postgres, database):
    return postgres.url(database)


def test_every_run_is_pushed_once(push, ids, url, postgres, database):
    said = push(url, "--all")
    assert said.code == 0
    *lines, last = said.out.splitlines()
    assert lines == [f"{run_id}: pushed" for run_id in ids]
    assert last.startswith("postgresql://harness@/team?host=/")
    assert last.endswith(": 2 runs, 2 pushed")
    again = push(url, "--all")
    assert (again.code, again.out.count("\n"), again.err) == (0, 1, "")
    assert again.out.endswith(": 2 runs, 2 same\n")
    assert postgres.asks("SELECT run_id FROM runs ORDER BY 1", database) == [(run_id,) for run_id in ids]


def test_runs_are_pushed_by_name(push, say, ids, url, place, postgres):
    assert say("results", "tag", ids[0], "main").code == 0
    said = push(url, "main", ids[0], str(place.folder / "runs" / ids[0]), "--json")
    assert said.code == 0
    shown = f"postgresql://harness@/team?host={postgres.folder}&port={postgres.port}"
    assert json.loads(said.out) == {
        "database": shown,
        "runs": [{"run_id": ids[0], "outcome": "pushed", "why": "", "hint": ""}],
    }
    (place.folder / "runs").rename(place.folder / "moved")
    told = json.loads(push(url, "latest", "--runs", "moved", "--json").out)
    assert [(run["run_id"], run["outcome"]) for run in told["runs"]] == [(ids[1], "pushed")]
    told = json.loads(push(url, f"moved/{ids[0]}", f"moved/{ids[1]}", "--json").out)
    assert [run["outcome"] for run in told["runs"]] == ["same", "same"]


def test_a_run_that_cannot_be_read_is_refused_and_the_other_is_pushed(push, ids, url, place):
    (place.folder / "runs" / ids[0] / "manifest.json").write_text("{")
    said = push(url, "--all")
    assert said.code == 4
    assert f"{ids[1]}: pushed" in said.out
    assert f"{ids[0]} refused: " in said.err
    assert "hint: " in said.err
    told = json.loads(push(url, "--all", "--json").out)
    assert [run["outcome"] for run in told["runs"]] == ["refused", "same"]
    assert "is not JSON" in told["runs"][0]["why"]


def test_where_there_is_no_run_nothing_is_pushed(say, place, url):
    (place.folder / "runs").mkdir()
    said = say("results", "push", url, "--all")
    assert said.code == 5
    assert said.out.endswith(": 0 runs\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say which runs"),
        (("latest", "--all"), "say which runs"),
        (("01ABC",), "01ABC"),
        (("postgresql://ann:Tr0ub4dor@db/runs",), "comes first"),
        (("--all", "--runs", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_wrong_usage_is_one_message_and_reaches_no_server(push, arguments, words):
    said = push("postgresql://ann:Tr0ub4dor@127.0.0.1:1/runs", *arguments)
    assert (said.code, said.out) == (4, "")
    assert words in said.err
    assert said.err.count("error: ") == said.err.count("hint: ") == 1
    assert "Tr0ub4dor" not in said.err


@pytest.mark.parametrize("command", ["push", "history"])
def test_no_output_holds_a_password(say, ids, postgres, database, monkeypatch, command):
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    secret = "Tr0ub4dor / &3"
    postgres.does(f"CREATE ROLE careful LOGIN SUPERUSER PASSWORD '{secret}'")
    try:
        good, bad = (postgres.by_port(database, text, "careful") for text in (secret, f"not {secret}"))
        assert say("results", "push", good, ids[0], "--json").code == 0
        urls = (
            good,
            bad,
            bad.replace("/team", "/absent"),
            f"{good}?sslmode=require",
            good.replace("postgresql:", "mysql:"),
        )
        for index, address in enumerate((*urls, good.replace("%2F", "/"))):
            given = (address, "--all") if command == "push" else ("--index", address)
            said = say(*(("results", "push") if command == "push" else ("history",)), *given)
            assert said.code == (0 if index == 0 else 4), said.err
            assert "Tr0ub4dor" not in said.out + said.err
            assert said.err.count("error: ") == (0 if index == 0 else 1)
    finally:
        postgres.does("DROP OWNED BY careful CASCADE", database=database)
        postgres.does("DROP ROLE careful")


def test_where_the_driver_is_absent_the_command_that_installs_it_is_told(push, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = push("postgresql://ann:Tr0ub4dor@db/runs", "--all")
    assert said.code == 4
    assert "pip install 'inference-harness[postgresql]'" in said.err


def test_a_team_s_history_is_that_of_the_runs(push, say, ids, url, tmp_path, new_place):
    assert push(url, "--all").code == 0
    cell = "lite0/torch/fp32/cpu/b1/s1/latency"
    here = say("history", cell, "--json")
    assert here.code == 0
    assert len(json.loads(here.out)["histories"][0]["points"]) == 2
    elsewhere = new_place(tmp_path / "another machine").say
    for arguments in ((cell, "--json"), (cell, "--csv"), (cell,), ("--json",), ()):
        said = elsewhere("history", *arguments, "--index", url)
        assert (said.code, said.out) == (0, say("history", *arguments).out)
    said = elsewhere("history", "lite0/torch/fp32", "--index", url)
    assert said.code == 4
    assert cell in said.err
    said = elsewhere("history", "ack", cell, "--at", ids[0], "--index", url)
    assert said.code == 4
    assert "its level never changed" in said.err


def test_a_team_s_index_that_nobody_made_is_told(say, url):
    said = say("history", "--index", url)
    assert said.code == 4
    assert "holds no index yet" in said.err
