"""``harness compare`` over real runs of the fake engine: what it says, and what it ends with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from results.snapshots import read, snapshot, write
from results.store import RunStore, runs_in

LATENCY = "toy/fake/fp32/cpu/b1/latency"
SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], scenario: [latency, memory]}
preset: quick
launches: 3
options: {fake: {latency_us: 2000, asleep: true}}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """A place with two runs of one suite; of the second every launch takes 70 % longer."""
    place = new_place(tmp_path_factory.mktemp("compare"))
    place.write("suite.yaml", SUITE)
    for _ in range(2):
        said = place.say("run", "suite.yaml", "--quiet")
        assert said.code == 0, said.err
    first, second = runs_in(place.folder / "runs")
    found = snapshot(RunStore.open(second))
    slower = tuple(
        replace(
            cell,
            readings=tuple(
                replace(reading, values=tuple(1.7 * value for value in reading.values))
                if reading.quantity == "latency"
                else reading
                for reading in cell.readings
            ),
        )
        for cell in found.cells
    )
    write(place.folder / "slower.json", replace(found, cells=slower, environment={"versions": {"fake": "2"}}))
    elsewhere = replace(found, hw_id="other", hardware={**found.hardware, "memory_gib": 1})
    write(place.folder / "elsewhere.json", elsewhere)
    write(
        place.folder / "unrelated.json",
        replace(found, cells=tuple(replace(c, cell_id=c.cell_id[::-1]) for c in found.cells)),
    )
    return place, first.name, second.name


@pytest.fixture
def say(ran):
    return ran[0].say


def test_two_runs_of_one_thing_are_compared(ran, say):
    _, first, second = ran
    said = say("compare", first, second)
    assert said.code == 0, said.err
    assert f"before  {first}" in said.out
    assert f"after   {second}" in said.out
    told = json.loads(say("compare", first, second, "--json").out)
    assert (told["before"]["run_id"], told["after"]["run_id"]) == (first, second)
    quantities = {(change["label"], change["quantity"]) for change in told["changes"]}
    assert {(LATENCY, "latency"), (LATENCY, "load"), (LATENCY, "first")} <= quantities
    assert {change["quantity"] for change in told["changes"]} >= {"memory", "size"}
    assert sum(told["verdicts"].values()) == len(told["changes"])
    assert told["added"] == told["removed"] == told["hardware"] == []
    assert told["family"] == 1


def test_a_slower_side_has_regressed(ran, say):
    said = say("compare", ran[2], "slower.json")
    assert said.code == 0, "comparing fails nothing"
    (line,) = [line for line in said.out.splitlines() if line.startswith("regressed")]
    assert LATENCY in line
    assert "median latency" in line
    assert "+70.0 %" in line
    assert "likely causes" in said.out
    assert "power to find a change of the margin" in said.out
    assert "equivalent" in said.out
    assert [line for line in say("compare", "slower.json", ran[2]).out.splitlines() if line.startswith("improved")]


def test_head_is_the_latest_where_none_is_named(ran, say):
    told = json.loads(say("compare", ran[1], "--json").out)
    assert told["after"]["run_id"] == ran[2]


def test_everything_is_shown_where_it_is_asked(ran, say):
    brief, whole = say("compare", "latest", "latest"), say("compare", "latest", "latest", "--all")
    assert "more with --all" in brief.out
    assert "note: both are one run" in brief.out
    assert "more with --all" not in whole.out
    assert "size of the artifact" in whole.out


def test_a_margin_decides_what_counts(ran, say):
    told = json.loads(say("compare", ran[2], "slower.json", "--margin", "latency=80%", "--json").out)
    assert {c["quantity"]: c["verdict"] for c in told["changes"]}["latency"] != "regressed"
    for wrong in ("latency=5", "speed=5%", "latency", "accuracy=5%"):
        said = say("compare", ran[2], "slower.json", "--margin", wrong)
        assert said.code == 4, wrong
        assert "hint" in said.err


def test_some_cells_alone(ran, say):
    told = json.loads(say("compare", ran[1], ran[2], "--only", "*/memory", "--json").out)
    assert {change["quantity"] for change in told["changes"]} == {"memory"}
    said = say("compare", ran[1], ran[2], "--only", "*/int4/*")
    assert said.code == 4
    assert "no cell matches '*/int4/*'" in said.err


def test_two_machines_are_compared_on_request_alone(ran, say):
    said = say("compare", ran[2], "elsewhere.json")
    assert said.code == 5
    assert "memory_gib" in said.err
    assert "--across-hardware" in said.err
    said = say("compare", ran[2], "elsewhere.json", "--across-hardware")
    assert said.code == 0
    assert "hardware differs" in said.out
    assert "memory_gib" in said.out


def test_nothing_in_common_is_no_comparison(ran, say):
    said = say("compare", ran[2], "unrelated.json")
    assert (said.code, said.out) == (5, "")
    assert "no cell is in both" in said.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "'nothing' is no file, run, tag or git ref here"),
        ("model.json", "model.json: $: it has no list of cells"),
        ("suite.yaml", "suite.yaml: no whole JSON"),
    ],
)
def test_a_name_that_means_nothing_is_wrong_usage(ran, say, name, words):
    said = say("compare", name, ran[2])
    assert (said.code, said.out) == (4, "")
    assert words in said.err.replace("\n", " ")


def test_no_run_at_all_is_nothing_to_compare(tmp_path, new_place):
    said = new_place(tmp_path).say("compare", "latest", "latest")
    assert said.code == 5
    assert "there is no run in runs" in said.err


def test_a_file_that_was_cut_is_named(ran, say):
    place = ran[0]
    (place.folder / "cut.json").write_text((place.folder / "slower.json").read_text()[:700])
    said = say("compare", "cut.json", ran[2])
    assert said.code == 4
    assert "cut.json: no whole JSON" in said.err


def test_what_is_exported_is_written(ran, say):
    said = say("compare", ran[2], "slower.json", "--export", "junit=gate.xml")
    assert said.code == 0, said.err
    assert "regressed" in (ran[0].folder / "gate.xml").read_text()
    assert say("compare", ran[2], "slower.json", "--export", "nothing=x").code == 4


def test_the_snapshot_is_kept_and_serves_alone(ran, say, tmp_path):
    place, first, second = ran
    kept = place.folder / "runs" / second / "snapshot.json"
    assert read(kept).run_id == second
    shutil.copy(kept, place.folder / "base.json")
    one = json.loads(say("compare", first, "base.json", "--json").out)
    other = json.loads(say("compare", first, second, "--json").out)
    assert one["changes"] == other["changes"]
