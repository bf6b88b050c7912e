"""The name of a fleet's run where commands take the names of runs: all of them, or one clear error that names them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.cli import history, results_push
from harness.vocabulary import Launch, Precision
from results.fleets import LOST, FleetRun, Part
from results.store import RunStore, runs_in

FACTS = {"suite": "synthetic", "command": "harness run", "harness_version": "1"}
ELM, ASH, FIR = "Elm’s board", "Ash’s board", "Fir’s board"
LATENCY = "lite0/{}/fp32/cpu/b1/s1/latency"


def run_of(factory, fleet, host, recipes, machine):
    """Write what a host measured of a fleet's suite."""
    manifest = factory.manifest_of(recipes)
    told, hw_id = manifest["host"], f"hw-of-{machine.split('’')[0].lower()}"
    manifest["host"] = {**told, "hw_id": hw_id, "hardware": {**told["hardware"], "cpu": {"name": machine}}}
    manifest["fleet"] = {"id": fleet.fleet_id, "host": host, "from": ""}
    with RunStore.create(fleet.folder.parent, manifest) as store:
        for number, recipe in enumerate(recipes):
            for scenario in recipe.scenarios:
                for index in range(recipe.launches):
                    launch = Launch(index, 0, index, 7)
                    store.started(recipe.cell(scenario), launch)
                    found = factory.record_of(store, recipe, scenario, launch, seed=100 * number + index)
                    store.finished(replace(found, hw_id=hw_id))
    fleet.add(Part(store.run_id, host))
    return store.run_id


@pytest.fixture(scope="module")
def stored(factory, tmp_path_factory):
    """Two fleets of one suite: elm and oak share it, ash measures all of it; in the second all is 1.5 times slower."""
    root = tmp_path_factory.mktemp("fleets") / "runs"
    found = []
    for factor, further in ((1.0, ()), (1.5, (("fir", FIR),))):
        torch, ort = (
            factory.Recipe("lite0", engine, Precision.FP32, factor * 10.0, launches=3, scenarios=("latency",))
            for engine in ("torch", "onnxruntime")
        )
        # The hosts of one hardware share the suite one way, and the other way the next time.
        first, second = (torch, ort) if factor == 1.0 else (ort, torch)
        with FleetRun.create(root, **FACTS, hosts={}) as fleet:
            runs = {
                "elm": run_of(factory, fleet, "elm", (first,), ELM),
                "oak": run_of(factory, fleet, "oak", (second,), ELM),
                "ash": run_of(factory, fleet, "ash", (torch, ort), ASH),
            }
            runs |= {host: run_of(factory, fleet, host, (torch,), machine) for host, machine in further}
            fleet.happened(LOST, "oak was lost for an hour", host="oak")
        found.append(SimpleNamespace(id=fleet.fleet_id, runs=runs))
    return root, *found


@pytest.fixture(scope="module")
def lab(stored, tmp_path_factory, new_place):
    """A place with both fleets, in which nothing of theirs is changed."""
    root, one, other = stored
    place = new_place(tmp_path_factory.mktemp("lab"))
    shutil.copytree(root, place.folder / "runs")
    return SimpleNamespace(say=place.say, folder=place.folder, one=one, other=other)


@pytest.fixture
def own(stored, place):
    """A place of one's own with both fleets."""
    root, one, other = stored
    shutil.copytree(root, place.folder / "runs")
    return SimpleNamespace(say=place.say, folder=place.folder, one=one, other=other)


def told(said):
    return " ".join(said.err.split())


# --- names -------------------------------------------------------------------------------------------------------


def test_a_fleet_is_known_by_its_id_the_beginning_of_it_and_its_folder(lab):
    for name in (lab.one.id, lab.one.id.lower(), f"runs/{lab.one.id}", f"runs/{lab.one.id}/", lab.one.id[:-1]):
        said = lab.say("results", "show", name, "--json")
        assert said.code == 0, said.err
        assert [run["run_id"] for run in json.loads(said.out)["runs"]] == list(lab.one.runs.values())


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "{}", "latest"),
        ("report", "{}"),
        ("recommend", "{}"),
        ("verify", "{}"),
        ("results", "show", "{}"),
        ("results", "tag", "{}", "word"),
        ("results", "bundle", "{}"),
        ("results", "push", "postgresql://ann@db/bench", "{}"),
        ("export", "{}", "--format", "csv"),
        ("rerun", "{}", "*"),
        ("take", "{}", "*", "-o", "taken"),
    ],
)
def test_a_name_that_means_no_fleet_or_several_is_one_error(lab, words):
    for name, part in (("fleet-Z", "'fleet-Z'"), ("fleet-0", "2 runs of a fleet in runs begin with 'fleet-0'")):
        said = lab.say(*(word.format(name) for word in words))
        assert (said.code, said.out) == (4, ""), (words, said)
        assert said.err.count("error: ") == 1
        assert part in told(said)
    assert not (lab.folder / "taken").exists()


def test_what_there_is_instead_is_said(lab):
    assert f"fleets: {lab.other.id}, {lab.one.id}" in told(lab.say("results", "show", "fleet-Z"))


@pytest.mark.parametrize(
    "words",
    [
        ("results", "tag", "{}", "word"),
        ("export", "{}", "--format", "csv"),
        ("baseline", "set", "{}"),
        ("rerun", "{}", "*"),
        ("take", "{}", "*", "-o", "taken"),
    ],
)
def test_what_takes_one_run_names_those_of_the_fleet(lab, words):
    said = lab.say(*(word.format(lab.one.id) for word in words))
    assert (said.code, said.out) == (4, "")
    assert f"{lab.one.id} is 3 runs, and one is meant here" in told(said)
    assert all(f"{run} ({host})" in told(said) for host, run in lab.one.runs.items())


def test_a_fleet_of_one_run_is_that_run(own, factory):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("latency",))
    with FleetRun.create(own.folder / "runs", **FACTS, hosts={}) as fleet:
        run = run_of(factory, fleet, "fir", (recipe,), FIR)
    assert json.loads(own.say("export", fleet.fleet_id, "--format", "csv", "--json").out)["run_id"] == run
    assert own.say("results", "tag", fleet.fleet_id, "alone").out == f"{run}: alone\n"


def test_a_run_that_is_gone_is_named_with_those_that_are_here(own):
    shutil.rmtree(own.folder / "runs" / own.one.runs["oak"])
    for words in (("report",), ("recommend",), ("verify",), ("compare",), ("results", "show")):
        said = own.say(*words, own.one.id)
        assert said.code == 4
        assert f"{own.one.id} lacks 1 of its 3 runs: {own.one.runs['oak']} (oak)" in told(said)
        assert f"name those that are here: {own.one.runs['elm']} (elm)" in told(said)


def test_the_latest_is_one_run_and_says_that_it_is_of_a_fleet(lab):
    newest = lab.other.runs["fir"]
    told_of = f"latest is run {newest}, of fir: one of 4 that a fleet made together"
    for words in (("results", "show"), ("verify",), ("report",), ("recommend",), ("compare", "latest")):
        said = lab.say(*words)
        assert said.code in {0, 5}, said.err
        assert told_of in told(said), words
        assert f"{lab.other.id} names them all" in told(said)
    assert [run["run_id"] for run in json.loads(lab.say("recommend", "--json").out)["sources"]] == [newest]
    assert lab.say("results", "show", newest).err == ""


# --- all of its runs ---------------------------------------------------------------------------------------------


def test_what_to_buy_is_asked_of_all_machines(lab):
    said = lab.say("recommend", lab.one.id, "--json")
    assert said.code == 5, "nothing of it was sustained"
    sources = json.loads(said.out)["sources"]
    assert [source["run_id"] for source in sources] == list(lab.one.runs.values())
    assert {source["machine"] for source in sources} == {ELM, ASH}
    assert "oak was lost for an hour" in " ".join(lab.say("recommend", lab.one.id).out.split())


def test_every_run_is_verified_against_the_page_of_all(own):
    assert own.say("report", own.one.id).code == 0
    said = own.say("verify", own.one.id)
    assert said.code == 0, said.out + said.err
    assert f"{own.one.id}: 4 of 4 rows of 3 runs verified" in said.out
    found = json.loads(own.say("verify", own.one.id, "--json").out)
    assert (found["fleet_id"], found["verified"]) == (own.one.id, True)
    assert [(run["host"], len(run["rows"])) for run in found["runs"]] == [("elm", 1), ("oak", 1), ("ash", 2)]
    assert {run["report"] for run in found["runs"]} == {"report.html"}
    assert not any(run["rows_of_other_runs"] for run in found["runs"]), "they are checked, each with its own run"


def test_a_figure_that_was_changed_is_found_in_the_run_that_it_is_of(own):
    lines = json.loads(own.say("report", own.one.id, "--json").out)["rows"]
    (changed,) = (line for line in lines if line["run_id"] == own.one.runs["oak"])
    changed["latency_ms"] = 0.1
    (own.folder / "theirs.json").write_text(json.dumps(lines))
    said = own.say("verify", own.one.id, "--report", "theirs.json")
    assert said.code == 3
    assert f"{own.one.id}: 3 of 4 rows of 3 runs verified" in said.out
    assert f"run {own.one.runs['oak']}: 0 of 1 rows verified" in said.out
    (own.folder / "theirs.json").write_text(json.dumps([*lines, lines[0]]))
    said = own.say("verify", own.one.id, "--report", "theirs.json")
    assert said.code == 4
    assert "theirs.json has several rows with the id" in told(said)


def test_rows_are_chosen_wherever_they_were_measured(lab):
    found = json.loads(lab.say("verify", lab.one.id, "*/torch/*", "--json").out)
    assert [[row["row"].split()[1] for row in run["rows"]] for run in found["runs"]] == [["torch"], [], ["torch"]]
    assert found["verified"] is True
    assert "no cell matches '*/openvino/*'" in told(lab.say("verify", lab.one.id, "*/openvino/*"))


def test_a_fleet_is_shown_run_by_run(lab):
    said = lab.say("results", "show", lab.one.id)
    assert said.code == 0
    assert said.out.splitlines()[0].startswith(f"{lab.one.id}: ")
    assert "oak was lost for an hour" in said.out
    assert all(f"\n{host}\n{run}  " in said.out for host, run in lab.one.runs.items())


def test_runs_are_listed_with_their_fleet(lab):
    named = ", ".join(f"{run} ({host})" for host, run in lab.one.runs.items())
    assert f"{lab.one.id}: {named}\n" in lab.say("results", "ls").out
    listed = json.loads(lab.say("results", "ls", "--fleet", lab.one.id, "--json").out)
    assert {run["run_id"]: (run["fleet"], run["host"]) for run in listed} == {
        run: (lab.one.id, host) for host, run in lab.one.runs.items()
    }
    assert "no runs of a fleet" in told(lab.say("results", "ls", "--fleet", "fleet-Z"))


def test_a_fleet_that_cannot_be_read_hides_no_run(own):
    (own.folder / "runs" / own.one.id / "fleet.json").write_text("{")
    said = own.say("results", "ls")
    assert said.code == 0
    assert f"{own.one.id}/fleet.json cannot be read" in told(said)
    assert all(run in said.out for run in own.one.runs.values())


def test_each_run_is_a_bundle(own):
    said = own.say("results", "bundle", own.one.id, "-o", "carried", "--json")
    assert said.code == 0, said.err
    made = json.loads(said.out)
    assert made["fleet_id"] == own.one.id
    assert [each["bundle"] for each in made["bundles"]] == [f"carried/{run}.run.zip" for run in own.one.runs.values()]
    assert own.say("results", "import", "carried", "--runs", "there").code == 0
    assert [run.name for run in runs_in(own.folder / "there")] == list(own.one.runs.values())
    said = own.say("results", "bundle", own.one.id, "-o", "suite.yaml")
    assert (said.code, "suite.yaml cannot be made" in told(said)) == (4, True)


def test_all_of_a_fleet_is_pushed(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    names = [lab.one.runs["oak"], lab.one.id]
    found = results_push._folders(names, lab.folder / "runs", every=False)
    assert [folder.name for folder in found] == [lab.one.runs[host] for host in ("oak", "elm", "ash")]


def test_runs_of_a_fleet_go_together_and_their_folder_with_them(own):
    first, *others = own.one.runs.values()
    said = own.say("results", "prune", "--keep", "6", "--yes")
    assert said.code == 0, said.err
    assert f"stays: {own.one.id} has run {others[0]} besides, which stays" in said.out
    assert own.say("results", "tag", others[1], "kept").code == 0
    assert f"{own.one.id} has run {others[1]} besides" in own.say("results", "prune", "--keep", "4", "--yes").out
    assert len(runs_in(own.folder / "runs")) == 7
    assert own.say("results", "tag", others[1], "kept", "--remove").code == 0
    made = json.loads(own.say("results", "prune", "--keep", "4", "--yes", "--json").out)
    assert ([run["run_id"] for run in made["removed"]], made["fleets"]) == ([first, *others], [own.one.id])
    left = {path.name for path in (own.folder / "runs").iterdir() if path.is_dir()}
    assert left == {own.other.id, *own.other.runs.values()}


def test_a_change_is_acknowledged_at_a_fleet(lab):
    runs = lab.folder / "runs"
    assert history._run_ids(lab.one.id, runs) == tuple(lab.one.runs.values())
    assert history._run_ids("fleet-Z", runs) == ("fleet-Z",)
    first, second = list(lab.one.runs.values())[1:]
    spots = [SimpleNamespace(run_id=name, created_at="") for name in ("01", first, second)]
    one = SimpleNamespace(spots=spots, shifts=[SimpleNamespace(index=1)], label="cell")
    assert history._at(one, lab.one.id, history._run_ids(lab.one.id, runs)).index == 1


# --- compared ----------------------------------------------------------------------------------------------------


def test_fleets_are_compared_hardware_by_hardware(lab):
    found = json.loads(lab.say("compare", lab.one.id, lab.other.id, "--json").out)
    assert [each["machine"] for each in found["comparisons"]] == [ELM, ASH]
    assert found["only_before"] == []
    assert found["only_after"] == [FIR]
    shared, alone = found["comparisons"]
    assert (shared["before"]["run_id"], shared["after"]["run_id"]) == (lab.one.id, lab.other.id)
    assert (alone["before"]["run_id"], alone["after"]["run_id"]) == (lab.one.runs["ash"], lab.other.runs["ash"])
    for each in found["comparisons"]:
        assert (each["added"], each["removed"], each["hardware"]) == ([], [], [])
        slower = {change["label"] for change in each["changes"] if change["verdict"] == "regressed"}
        assert {LATENCY.format(engine) for engine in ("torch", "onnxruntime")} <= slower


def test_a_comparison_of_fleets_in_the_terminal(lab):
    said = lab.say("compare", lab.one.id, lab.other.id)
    assert said.code == 0, said.err
    assert said.out.count("machine ") == 2
    assert f"only after, and not compared: {FIR}" in said.out
    assert f"before: the runs {lab.one.runs['elm']} (elm), {lab.one.runs['oak']} (oak) together" in said.out


def test_a_run_is_compared_with_what_the_fleet_has_of_its_hardware(lab):
    found = json.loads(lab.say("compare", lab.one.runs["ash"], lab.other.id, "--json").out)
    (only,) = found["comparisons"]
    assert (only["before"]["run_id"], only["after"]["run_id"]) == (lab.one.runs["ash"], lab.other.runs["ash"])
    assert found["only_after"] == [ELM, FIR]


def test_what_is_no_comparison_names_the_runs(lab):
    said = lab.say("compare", lab.one.id, lab.other.id, "--across-hardware")
    assert (said.code, said.out) == (4, "")
    assert all(f"{run} ({host})" in told(said) for host, run in lab.other.runs.items())
    said = lab.say("compare", lab.other.runs["fir"], lab.one.id)
    assert said.code == 5
    assert "no hardware is on both sides" in told(said)
    assert f"{lab.one.runs['ash']} (ash)" in told(said)


def test_one_file_is_of_one_comparison(lab):
    said = lab.say("compare", lab.one.id, lab.other.id, "--export", "junit=all.xml")
    assert (said.code, said.out) == (4, "")
    assert "--export writes one comparison, and here are 2" in told(said)
    assert lab.say("compare", lab.one.runs["ash"], lab.other.id, "--export", "junit=one.xml").code == 0
    assert "regressed" in (lab.folder / "one.xml").read_text()


def test_cells_are_chosen_on_every_machine(lab):
    found = json.loads(lab.say("compare", lab.one.id, lab.other.id, "--only", "*/torch/*", "--json").out)
    assert [{change["label"] for change in each["changes"]} for each in found["comparisons"]] == [
        {LATENCY.format("torch")}
    ] * 2
    assert lab.say("compare", lab.one.id, lab.other.id, "--only", "*/openvino/*").code == 4
