"""A run whose plan is made longer: what was measured stays, and readers find the longer plan."""

from dataclasses import replace

import pytest

from harness.errors import StoreError
from harness.plan_order import lengthened
from results.snapshots import snapshot
from results.store import RunStore


def test_a_longer_plan_takes_the_place_of_the_first(synthetic_run):
    with RunStore.open(synthetic_run) as store:
        before, records = store.plan, store.records()
        store.lengthen(lengthened(before, 12))
        assert store.plan == lengthened(before, 12) != before
    again = RunStore.open(synthetic_run)
    assert again.plan == store.plan
    assert again.records() == records
    assert again.manifest == store.manifest
    found = {cell.cell_id: cell for cell in snapshot(again).cells}
    assert {found[planned.cell.cell_id].planned for planned in before.cells if planned.launches == 5} == {5, 12}


def test_a_plan_that_begins_otherwise_is_refused(synthetic_run):
    with RunStore.open(synthetic_run) as store:
        plan = store.plan
        with pytest.raises(ValueError, match="begins with the launches"):
            store.lengthen(replace(plan, order=plan.order[1:]))
        assert RunStore.open(synthetic_run).plan == plan


def test_another_writer_is_not_disturbed(synthetic_run):
    with RunStore.open(synthetic_run) as store:
        store.acquire()
        with pytest.raises(StoreError, match="is being written by another process"):
            RunStore.open(synthetic_run).lengthen(store.plan)
