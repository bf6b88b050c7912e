"""The selected cells of a suite measured as one plan, and what each test is told of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness import plan as planning
from harness.cli import campaign as campaigns
from harness.cli import run as running
from harness.looks import Looks
from harness.pytest.facts import facts
from harness.vocabulary import Failed, Skipped
from results.changes import today
from results.compared import compared
from results.gate import judge, rules_of
from results.launches import histories
from results.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from harness.cli.campaign import Campaign
    from harness.cli.progress import Reporter
    from harness.ports import LaunchPolicy
    from harness.vocabulary import Cell, Plan
    from results.changes import Change
    from results.gate import Gate
    from results.launches import CellHistory
    from results.snapshot import Snapshot
    from results.store import RunStore


class Interrupted(Exception):  # noqa: N818 - the user's wish, not an error
    """The user ended the run; it can be resumed. The message says how."""


@dataclass(frozen=True)
class Order:
    """What is to be measured, and where it is kept."""

    campaign: Campaign
    cells: Sequence[Cell]  # of the selected tests
    text: str  # of the suite
    command: str
    runs: Path
    baseline: Snapshot | None = None


@dataclass(frozen=True)
class Result:
    """What became of one cell."""

    history: CellHistory
    proof: Failed | None  # of the launch that shows what runs, where it failed and dooms this cell
    seconds: float  # that its launches took
    log: str  # of the last launch that failed; empty where there is none
    facts: dict[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()  # against the baseline

    @property
    def failed(self) -> Failed | None:
        """The last failure of its launches."""
        outcomes = [record.outcome for record in self.history.records]
        found = next((outcome for outcome in reversed(outcomes) if isinstance(outcome, Failed)), None)
        outcome = self.history.outcome
        return found or (outcome if isinstance(outcome, Failed) else None)

    @property
    def skipped(self) -> Skipped | None:
        """Why nothing was measured."""
        outcome = self.history.outcome
        return outcome if isinstance(outcome, Skipped) else None

    @property
    def samples_s(self) -> list[float]:
        """Every steady sample in seconds, launch after launch, from when it was due to its final output."""
        return [
            nanoseconds / 1e9
            for launch in self.history.measured
            for nanoseconds in launch.samples.steady().response_ns.tolist()
        ]


@dataclass(frozen=True)
class Measured:
    """A run with what the tests of its cells are told."""

    store: RunStore
    results: Mapping[str, Result]  # by cell id
    gate: Gate | None


def measure(order: Order, progress: Reporter) -> Measured:
    """Measure the cells, launches interleaved, each in a process of its own, and compare once.

    Raises ``HarnessError``, and ``Interrupted`` where the user ends it: what is measured by then is kept.
    """
    chosen = planning.select(order.campaign.plan, [cell.cell_id for cell in order.cells])
    campaign = replace(order.campaign, plan=chosen)
    with progress, campaigns.termination_as_interrupt():
        store = campaigns.create(campaign, order.runs, suite_text=order.text, command=order.command)
        with store:
            capped = None if order.baseline is None else _capped(campaign, store)
            try:
                interrupted = running.measure(campaign, store, progress, capped)
            finally:
                campaigns.keep_logs(campaign.workshop, store)
    if interrupted:
        raise Interrupted(f"interrupted; what is measured is kept: harness run --resume {store.run_id}")
    found = snapshot(store)
    gate = None
    if order.baseline is not None:
        cut = capped.cut if capped is not None else None
        gate = _judged(campaign, order.baseline, found, cut)
    return Measured(store, _results(store, chosen, found, gate), gate)


def _capped(campaign: Campaign, store: RunStore) -> Looks:
    """Return the policy of a gate: whole rounds, as long as the suite's ``gate`` gives time."""
    ends_s = time.monotonic() + 60 * campaign.suite.gate.minutes

    def follow(plan: Plan) -> LaunchPolicy:
        return campaigns.order_of(replace(campaign, plan=plan), store)

    return Looks(campaign.plan, follow, lambda: None, lambda: ends_s - time.monotonic())


def _judged(campaign: Campaign, before: Snapshot, after: Snapshot, cut: int | None) -> Gate:
    day = today()
    planned = campaign.suite.launches or campaign.suite.gate.launches
    notes = () if cut is None else (f"the time was up after {cut} of {planned} launches of every timed cell",)
    comparison = compared(before, after, rules_of(campaign.suite.gate), today=day)
    return judge(comparison, today=day, notes=notes)


def _results(store: RunStore, plan: Plan, found: Snapshot, gate: Gate | None) -> dict[str, Result]:
    told = {history.planned.cell.cell_id: history for history in histories(store)}
    proofs = {
        history.planned.cell.variant_id: history.outcome
        for history in told.values()
        if history.planned.cell.scenario.name == "prove"
    }
    figures = facts(found, plan)
    changes: Collection[Change] = gate.comparison.changes if gate else ()
    results = {}
    spent_ns: Counter[str] = Counter()
    for record in store.records():
        spent_ns[record.cell_id] += record.duration_ns
    for cell_id, history in told.items():
        proof = proofs.get(history.planned.cell.variant_id)
        results[cell_id] = Result(
            history=history,
            proof=proof if isinstance(proof, Failed) else None,
            seconds=spent_ns[cell_id] / 1e9,
            log=_log(store, history),
            facts=figures.get(cell_id, {}),
            changes=tuple(change for change in changes if change.key == cell_id),
        )
    return results


def _log(store: RunStore, history: CellHistory) -> str:
    logs = (record.log for record in reversed(history.records) if isinstance(record.outcome, Failed) and record.log)
    return next((str(store.folder / log) for log in logs), "")
