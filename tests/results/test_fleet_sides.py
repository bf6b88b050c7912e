"""The runs of a fleet as sides of a comparison: what shares a hardware stands together, and nothing is made up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.errors import StoreError
from harness.vocabulary import Launch, Precision
from results.compared import compared
from results.fleet_sides import sides_of
from results.fleets import FleetRun, Part
from results.store import MANIFEST, RunStore

FACTS = {"suite": "synthetic", "command": "harness run", "harness_version": "1", "hosts": {}}
SAME = "hw-0123456789ab"


@pytest.fixture
def fleet(tmp_path):
    with FleetRun.create(tmp_path / "runs", **FACTS) as made:
        yield made


@pytest.fixture
def torch(factory):
    return factory.Recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("memory",))


@pytest.fixture
def ort(factory):
    return factory.Recipe("lite0", "onnxruntime", Precision.FP32, launches=2, scenarios=("memory",))


@pytest.fixture
def measured(fleet, factory):
    """Add the run of a host to the fleet; ``launches``: how many of each memory cell it came to."""

    def made(host, recipes, *, hw=SAME, taken_from="", kernel="6.18", launches=2):
        manifest = factory.manifest_of(recipes)
        told = manifest["host"]
        around = {**told["environment"], "kernel": kernel}
        manifest["host"] = {**told, "hw_id": hw, "environment": around, "env_id": f"env of {kernel}"}
        with RunStore.create(fleet.folder.parent, manifest) as store:
            for recipe in recipes:
                for index in range(launches):
                    launch = Launch(index, 0, index, 7)
                    found = factory.record_of(store, recipe, "memory", launch, seed=index)
                    store.finished(replace(found, hw_id=hw))
        fleet.add(Part(store.run_id, host, taken_from))
        return store.run_id

    return made


def test_hosts_of_one_hardware_are_one_side(fleet, measured, torch, ort):
    runs = [measured("elm", (torch,)), measured("oak", (ort,))]
    other = measured("ash", (torch, ort), hw="other")
    one, two = sides_of(fleet)
    assert (one.run_id, one.hw_id) == (fleet.fleet_id, SAME)
    assert [cell.engine for cell in one.cells] == ["torch", "onnxruntime"]
    assert one.notes == (f"the runs {runs[0]} (elm), {runs[1]} (oak) together",)
    assert (two.run_id, len(two.cells)) == (other, 2)
    assert (one.env_id, one.environment["kernel"]) == ("env of 6.18", "6.18")


def test_a_side_is_compared_as_a_run_is(fleet, measured, torch, ort):
    measured("elm", (torch,))
    measured("oak", (ort,))
    (side,) = sides_of(fleet)
    told = compared(side, side)
    assert "both are one run" in told.notes
    assert {change.quantity for change in told.changes} == {"memory"}
    assert (told.added, told.removed) == ((), ())


def test_what_hosts_do_not_agree_in_is_said_of_each(fleet, measured, torch, ort):
    measured("elm", (torch,), kernel="6.1")
    measured("oak", (ort,), kernel="6.2")
    (side,) = sides_of(fleet)
    assert side.environment["kernel"] == "6.1 on elm; 6.2 on oak"
    assert side.environment["versions"]["torch"] == "2.13.0"
    assert side.env_id not in {"env of 6.1", "env of 6.2"}


def test_what_a_host_took_over_stands_as_that_measured_it(fleet, measured, torch):
    lost = measured("elm", (torch,), launches=1)
    measured("oak", (torch,), taken_from=lost)
    (side,) = sides_of(fleet)
    (cell,) = side.cells
    assert len(cell.reading("memory").values) == 2


def test_what_the_other_never_came_to_stands_as_the_first_left_it(fleet, measured, torch):
    lost = measured("elm", (torch,), launches=1)
    measured("oak", (torch,), taken_from=lost, launches=0)
    ((cell,),) = (side.cells for side in sides_of(fleet))
    assert len(cell.reading("memory").values) == 1


def test_two_hosts_that_measured_the_same_are_not_mixed(fleet, measured, torch):
    runs = [measured("elm", (torch,)), measured("oak", (torch,))]
    with pytest.raises(StoreError, match=r"elm and oak of fleet-\w+ have one hardware") as caught:
        sides_of(fleet)
    assert all(run in caught.value.hint for run in runs)


def test_a_run_that_is_gone_is_named(fleet, measured, torch, ort):
    gone, here = measured("elm", (torch,)), measured("oak", (ort,))
    (fleet.folder.parent / gone / MANIFEST).unlink()
    with pytest.raises(StoreError, match=rf"lacks 1 of its 2 runs: {gone} \(elm\)") as caught:
        sides_of(fleet)
    assert f"{here} (oak)" in caught.value.hint


def test_what_the_sentinel_said_is_said_of_its_host(fleet, measured, torch, ort, monkeypatch):
    from results import fleet_sides

    real = fleet_sides.snapshot
    monkeypatch.setattr(fleet_sides, "snapshot", lambda store: replace(real(store), drift="it drifted"))
    measured("elm", (torch,))
    measured("oak", (ort,))
    (side,) = sides_of(fleet)
    assert side.drift == "elm: it drifted; oak: it drifted"
    json.dumps(dict(side.environment))
