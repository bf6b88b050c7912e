"""The folder of a fleet: every change is on the disk, and it is no run."""

from __future__ import annotations

import json

import pytest

from harness.errors import StoreError
from results.fleets import BACK, FLEET, LOST, MOVED, FleetRun, Part, fleets_in, is_fleet, part_of
from results.store import MANIFEST, RunStore, runs_in

FACTS = {"suite": "s", "command": "harness run", "harness_version": "1", "hosts": {"oak": "hw"}}


@pytest.fixture
def fleet(tmp_path):
    with FleetRun.create(tmp_path / "runs", **FACTS) as made:
        yield made


def test_what_was_noted_is_read_again(fleet, tmp_path):
    fleet.add(Part("run1", "oak"))
    fleet.add(Part("run2", "elm", "run1"))
    fleet.happened(LOST, "oak was lost: no /home/user/state", host="oak", cell_id="cell")
    fleet.happened(MOVED, "2 rows")
    read = FleetRun.open(fleet.fleet_id, tmp_path / "runs")
    assert read.runs == (Part("run1", "oak"), Part("run2", "elm", "run1"))
    assert [(each.kind, each.text) for each in read.happenings] == [(LOST, "oak was lost: no state"), (MOVED, "2 rows")]
    assert read.blamed() == {"cell": 1}
    assert read.hosts == {"oak": "hw"}
    assert read.folders == (tmp_path / "runs/run1", tmp_path / "runs/run2")


def test_it_is_found_by_the_beginning_of_its_name(fleet, tmp_path):
    runs = tmp_path / "runs"
    assert FleetRun.open(fleet.fleet_id[:14].lower(), runs).fleet_id == fleet.fleet_id
    assert is_fleet(fleet.fleet_id)
    assert not is_fleet("01ABC")
    with pytest.raises(StoreError, match="no runs of a fleet"):
        FleetRun.open("fleet-Z", runs)
    with FleetRun.create(runs, **FACTS), pytest.raises(StoreError, match="2 runs of a fleet"):
        FleetRun.open("fleet-", runs)
    with pytest.raises(StoreError, match="no runs of a fleet"):
        FleetRun.open("fleet-", tmp_path / "elsewhere")


def test_it_is_taken_for_no_run(fleet, tmp_path):
    assert runs_in(tmp_path / "runs") == ()
    with pytest.raises(StoreError):
        RunStore.open(fleet.fleet_id, tmp_path / "runs")


def test_one_process_writes_it_at_a_time(fleet, tmp_path):
    other = FleetRun.open(fleet.fleet_id, tmp_path / "runs")
    with pytest.raises(StoreError, match="is being written"):
        other.happened(BACK, "oak is back")
    fleet.close()
    other.happened(BACK, "oak is back")
    other.close()


def test_a_run_that_was_made_and_not_noted_is_taken_in(fleet, tmp_path):
    runs = tmp_path / "runs"
    mine = {"id": fleet.fleet_id, "host": "elm", "from": "run1"}
    for manifest in ({"fleet": mine}, {"fleet": {**mine, "id": "fleet-other"}}, {"fleet": "odd"}, {}):
        RunStore.create(runs, manifest).close()
    fleet.adopt()
    fleet.adopt()
    (part,) = fleet.runs
    assert (part.run_id, part.host, part.taken_from) == (runs_in(runs)[0].name, "elm", "run1")


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "cannot be read"), ("[]", "cannot be read"), ('{"schema": 2}', "newer harness"), ("{}", "cannot be read")],
)
def test_what_is_damaged_is_said(fleet, tmp_path, text, said):
    (fleet.folder / FLEET).write_text(text)
    with pytest.raises(StoreError, match=said):
        FleetRun.open(fleet.fleet_id, tmp_path / "runs")


def test_what_a_newer_harness_added_is_not_read_as_nothing(fleet, tmp_path):
    told = json.loads((fleet.folder / FLEET).read_text())
    (fleet.folder / FLEET).write_text(json.dumps({**told, "weather": "fair"}))
    with pytest.raises(StoreError, match="weather"):
        FleetRun.open(fleet.fleet_id, tmp_path / "runs")


def test_a_folder_without_its_file_is_none(fleet, tmp_path):
    (tmp_path / "runs" / f"fleet-{'0' * 26}").mkdir()
    assert [folder.name for folder in fleets_in(tmp_path / "runs")] == [fleet.fleet_id]
    assert fleets_in(tmp_path / "nowhere") == ()
    assert FleetRun.find("fleet-00", tmp_path / "runs") is None


def test_it_is_found_by_its_folder(fleet, tmp_path):
    assert is_fleet(str(fleet.folder))
    assert is_fleet(f"{fleet.folder}/")
    assert FleetRun.open(str(fleet.folder), tmp_path / "elsewhere").fleet_id == fleet.fleet_id
    assert FleetRun.find(f"fleet-{'a' * 5000}", tmp_path / "runs") is None
    assert FleetRun.find("fleet-\0", tmp_path / "runs") is None


def test_its_runs_are_all_there_or_it_is_said(fleet, tmp_path):
    with pytest.raises(StoreError, match="has no runs"):
        fleet.stored()
    made = []
    for host in ("oak", "elm"):
        manifest = {"fleet": {"id": fleet.fleet_id, "host": host, "from": ""}}
        with RunStore.create(tmp_path / "runs", manifest) as store:
            made.append(store.folder)
        fleet.add(Part(store.run_id, host))
        assert part_of(store.folder) == (fleet.fleet_id, host)
        if host == "oak":
            assert fleet.only() == store.folder
    assert fleet.stored() == tuple(made)
    with pytest.raises(StoreError, match="is 2 runs, and one is meant") as caught:
        fleet.only()
    assert f"{made[0].name} (oak), {made[1].name} (elm)" in caught.value.hint
    (made[0] / MANIFEST).unlink()
    with pytest.raises(StoreError, match=rf"lacks 1 of its 2 runs: {made[0].name} \(oak\)") as caught:
        fleet.stored()
    assert f"{made[1].name} (elm)" in caught.value.hint
    assert part_of(made[0]) == ("", "")
