"""``harness results``: what a user does with the runs that are kept."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from harness.vocabulary import Failed, Precision, Stage
from results.baselines import path_of
from results.snapshots import snapshot, write
from results.store import RunStore, runs_in

CRASH = Failed(Stage.STEADY, "crash", "the worker ended by signal 11", "see its log")


@pytest.fixture(scope="module")
def two_runs(factory, tmp_path_factory):
    root = tmp_path_factory.mktemp("listed") / "runs"
    recipe = factory.Recipe
    recipes = (
        recipe("lite0", "torch", Precision.FP32, launches=2, noisy_launches=(1,), scenarios=("latency", "accuracy")),
        recipe(factory.HOSTILE, "onnxruntime", Precision.FP32, failure=CRASH, launches=1, scenarios=("latency",)),
    )
    for chosen in (recipes, recipes[:1]):
        factory.write_run(root, chosen)
    for run in runs_in(root):
        snapshot(RunStore.open(run))  # kept beside it, so that no test derives it again
    return root


@pytest.fixture
def ids(two_runs, place):
    shutil.copytree(two_runs, place.folder / "runs")
    return [run.name for run in runs_in(two_runs)]


@pytest.fixture
def results(ids, say):
    """Return ``harness results …`` in a place with two runs."""
    assert ids

    def said(*arguments):
        return say("results", *arguments)

    return said


def damage(place, run_id):
    path = place.folder / "runs" / run_id / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"torch", b"t0rch", 1)
    path.write_bytes(b"".join(lines))


def test_runs_are_listed(results, ids, place):
    said = results("ls")
    assert said.code == 0
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ids
    assert "2 completed, 1 failed" in lines[1]
    assert "complete" in lines[2]
    assert "synthetic" in lines[1]
    assert said.err.splitlines() == [f"index    {run_id}" for run_id in ids]
    assert results("ls").err == ""
    assert (place.folder / "runs" / "index.sqlite").is_file()


def test_runs_are_chosen(results, ids):
    chosen = json.loads(results("ls", "--engine", "onnxruntime", "--json").out)
    assert [run["run_id"] for run in chosen] == ids[:1]
    assert chosen[0]["state"] == "complete"
    assert chosen[0]["cells"] == {"completed": 2, "failed": 1}
    said = results("ls", "--suite", "other")
    assert (said.code, said.out) == (5, "no such run among 2 in runs\n")
    assert json.loads(results("ls", "--suite", "other", "--json").out) == []


def test_a_run_that_is_written_or_unfinished_is_called_so(results, ids, place, factory):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("latency",))
    with RunStore.create(place.folder / "runs", factory.manifest_of((recipe,))):
        assert [run["state"] for run in json.loads(results("ls", "--json").out)] == ["complete"] * 2 + ["running"]
    assert [run["state"] for run in json.loads(results("ls", "--json").out)] == ["complete"] * 2 + ["unfinished"]
    assert ids


def test_what_is_damaged_or_unreadable_is_told_wherever_runs_are_looked_at(results, ids, place):
    damage(place, ids[0])
    (place.folder / "runs" / ids[1] / "manifest.json").write_text("{")
    said = results("ls")
    assert said.code == 0
    assert f"{ids[0]} is damaged: records.jsonl:2: line does not match its checksum" in said.out
    assert "it was the end of launch 0 of cell" in said.out
    assert f"{ids[1]} cannot be read" in said.out
    shown = results("show", ids[0])
    assert "damaged: records.jsonl:2" in shown.out
    assert len(json.loads(results("show", ids[0], "--json").out)["damage"]) == 1
    assert ids[1] in json.loads(results("index", "--json").out)["unreadable"]
    assert "cannot be read" in results("index").out


def test_of_much_damage_the_first_is_told(results, ids, place, say):
    with (place.folder / "runs" / ids[0] / "records.jsonl").open("ab") as journal:
        journal.write(b"no line of a journal\n" * 2000)
    for said, count in (
        (results("ls"), 5),
        (results("show", ids[0]), 5),
        (results("bundle", ids[0], "-o", "damaged.zip"), 5),
        (results("import", "damaged.zip", "--runs", "there"), 5),
        (results("show", ids[0], "--json"), 2000),
    ):
        assert said.code == 0
        assert said.out.count("was left out") == count
        assert ("and 1,995 more" in said.out) is (count == 5)


def test_a_run_is_shown_with_its_figures_and_failures(results, ids):
    said = results("show", ids[0])
    assert said.code == 0
    assert "median latency: " in said.out
    assert "2 launches, 1 of them noisy" in said.out
    assert "accuracy (top1): 0.8" in said.out
    assert "failed: steady, crash: the worker ended by signal 11" in said.out
    shown = json.loads(results("show", "latest", "--json").out)
    assert shown["run_id"] == ids[1]
    assert {cell["status"] for cell in shown["cells"]} == {"completed"}


def test_a_run_gets_and_loses_a_name(results, ids):
    assert results("tag", ids[0], "main").out == f"{ids[0]}: main\n"
    assert json.loads(results("show", "main", "--json").out)["run_id"] == ids[0]
    assert json.loads(results("tag", ids[1], "main", "--json").out) == {
        "run_id": ids[1],
        "tags": ["main"],
        "taken_from": ids[0],
    }
    assert [run["run_id"] for run in json.loads(results("ls", "--tag", "m*", "--json").out)] == [ids[1]]
    assert results("tag", "main", "main", "--remove").code == 0
    said = results("tag", ids[1], "main", "--remove")
    assert said.code == 4
    assert "has no tag 'main'" in said.err


def test_the_index_is_a_cache(results, ids, place):
    made = json.loads(results("index", "--json").out)
    assert made == {"index": "runs/index.sqlite", "runs": 2, "read": ids, "dropped": [], "unreadable": {}}
    assert json.loads(results("index", "--json").out)["read"] == []
    assert json.loads(results("index", "--rebuild", "--json").out)["read"] == ids
    (place.folder / "runs" / "index.sqlite").unlink()
    assert results("ls").code == 0
    shutil.rmtree(place.folder / "runs" / ids[0])
    assert results("index").out == "runs/index.sqlite: 1 run, 0 read now, 1 gone\n"


QUERY = "SELECT label, count(*) AS n FROM launches JOIN cells ON cells.id = cell GROUP BY label ORDER BY n, label"


def test_sql_is_answered_in_three_forms(results, factory):
    answer = json.loads(results("query", QUERY, "--json").out)
    assert answer["columns"] == ["label", "n"]
    assert answer["rows"][0][0].startswith(factory.HOSTILE)
    assert [count for _, count in answer["rows"]] == [1, 2, 6]
    table = list(csv.reader(io.StringIO(results("query", QUERY, "--csv").out)))
    assert table == [["label", "n"], *([label, str(count)] for label, count in answer["rows"])]
    shown = results("query", QUERY)
    assert shown.out.splitlines()[-1] == "3 rows"
    assert factory.HOSTILE in shown.out


def test_odd_values_are_answered_too(results):
    answer = json.loads(results("query", "SELECT x'00ff', 1e999, NULL, '\u202e'", "--json").out)
    assert answer["rows"] == [["00ff", "inf", None, "\u202e"]]
    assert "‹U+202E›" in results("query", "SELECT '\u202e'").out
    assert "records.jsonl:100: :cat:" in results("query", "SELECT 'records.jsonl:100: :cat:'").out
    assert results("query", "SELECT 1 WHERE 0").out.splitlines()[-1] == "0 rows"


def test_an_answer_is_cut_and_says_so(results):
    said = results("query", "SELECT id FROM readings", "--limit", "2", "--json")
    assert len(json.loads(said.out)["rows"]) == 2
    assert json.loads(said.out)["more"]
    assert "--limit gives more" in said.err


@pytest.mark.parametrize(
    "sql", ["DELETE FROM runs", "UPDATE runs SET suite = ''", "ATTACH 'x' AS y", "PRAGMA query_only = 0", "SELEC"]
)
def test_sql_that_writes_is_one_error(results, ids, place, sql):
    results("index")
    before = (place.folder / "runs" / "index.sqlite").read_bytes()
    said = results("query", sql, "--json")
    assert (said.code, said.out) == (4, "")
    assert said.err.count("error: ") == 1
    assert "hint: " in said.err
    assert (place.folder / "runs" / "index.sqlite").read_bytes() == before
    assert ids


def test_a_run_is_carried_to_another_place(results, ids, place, say):
    said = results("bundle", ids[0])
    assert said.code == 0, said.err
    assert (place.folder / f"{ids[0]}.run.zip").is_file()
    assert said.out.startswith(f"{ids[0]}.run.zip: run {ids[0]}, ")
    assert json.loads(results("bundle", ids[1], "-o", "two.zip", "--json").out)["run_id"] == ids[1]
    there = ("--runs", "there")
    first = say("results", "import", f"{ids[0]}.run.zip", "two.zip", *there)
    assert first.code == 0, first.err
    assert [line.split(":")[0] for line in first.out.splitlines()] == ids
    again = json.loads(say("results", "import", "runs", *there, "--json").out)
    assert [run["new"] for run in again["imported"]] == [False, False]
    listed = json.loads(say("results", "ls", *there, "--json").out)
    assert [run["run_id"] for run in listed] == ids
    assert [run["cells"] for run in listed] == [run["cells"] for run in json.loads(results("ls", "--json").out)]
    assert say("report", ids[0], *there).code == 0


def test_what_cannot_be_taken_in_is_named_and_its_neighbours_come(results, ids, place, say):
    results("bundle", ids[0], "-o", "one.zip")
    results("bundle", ids[1], "-o", "two.zip")
    data = (place.folder / "one.zip").read_bytes()
    (place.folder / "one.zip").write_bytes(data[: len(data) // 2])
    said = say("results", "import", "two.zip", "one.zip", "--runs", "there")
    assert said.code == 4
    assert "one.zip is no bundle" in said.err
    (place.folder / "broken").mkdir()
    shutil.copy(place.folder / "two.zip", place.folder / "broken")
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    (place.folder / "broken" / "one.zip").write_bytes(changed)
    said = say("results", "import", "broken", "--runs", "elsewhere")
    assert said.code == 4
    assert f"{ids[1]}: imported" in said.out
    assert "refused: broken/one.zip: " in said.err
    assert [run.name for run in runs_in(place.folder / "elsewhere")] == ids[1:]


def test_old_runs_go_when_told_to(results, ids, place):
    said = results("prune", "--keep", "1")
    assert said.code == 4
    assert f"{ids[0]}  " in said.out
    assert "would go" in said.out
    assert "nothing was removed: 1 run would go" in said.err
    assert results("prune", "--keep", "1", "--dry-run", "--yes").code == 0
    assert place.runs == 2
    told = json.loads(results("prune", "--keep", "1", "--yes", "--json").out)
    assert [run["run_id"] for run in told["removed"]] == ids[:1]
    assert [run.name for run in runs_in(place.folder / "runs")] == ids[1:]
    assert results("ls").out.count(ids[0]) == 0
    assert results("prune", "--older", "1d", "--yes").out == "removed 0 runs, 0.0 MB\n"


def test_runs_that_something_leans_on_stay(results, ids, place):
    small = snapshot(RunStore.open(place.folder / "runs" / ids[0]))
    path = path_of(place.folder / "baselines", small.suite, small.hw_id)
    path.parent.mkdir(parents=True)
    write(path, small)
    results("tag", ids[1], "release")
    said = results("prune", "--keep", "0", "--yes")
    assert said.code == 0
    assert "stays: the baseline baselines/" in said.out
    assert "stays: tagged release" in said.out
    assert place.runs == 2
    path.write_text("{")
    refused = results("prune", "--keep", "0", "--yes")
    assert refused.code == 4
    assert place.runs == 2


WRONG = {
    "no such run": (["show", "01ABC"], "01ABC"),
    "no limits": (["prune"], "say which runs are old"),
    "no age": (["prune", "--older", "soon"], "is no age"),
    "two forms": (["query", "SELECT 1", "--json", "--csv"], "two forms"),
    "nothing to import": (["import", "nowhere.zip"], "nowhere.zip does not exist"),
    "no such folder": (["ls", "--runs", "elsewhere"], "there is no folder elsewhere"),
    "no tag": (["tag", "latest", "01ABC"], "cannot be a tag"),
    "a name that is taken": (["bundle", "latest", "-o", "suite.yaml"], "suite.yaml exists already"),
    "into no folder": (["bundle", "latest", "-o", "no/such/file.zip"], "there is no folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_message(results, case):
    arguments, words = WRONG[case]
    said = results(*arguments)
    assert (said.code, said.out) == (4, "")
    assert words in said.err
    assert said.err.count("error: ") == 1
    assert "hint: " in said.err
