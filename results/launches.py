"""The launches of a run by cell: which attempt counts, what became of each, and its steady samples."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.measure.samples import Samples
from harness.ports import INTERRUPTED
from harness.scenarios import KINDS
from harness.vocabulary import Completed, Failed, PlannedCell, Skipped, Stage
from results.statistics import steady_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from harness.vocabulary import Outcome, Record
    from results.store import RunStore

TIMED = frozenset(name for name, kind in KINDS.items() if kind.timed)
"""Scenarios whose launches leave raw samples."""
SETTLING = frozenset({"latency", "sentinel", "throughput", "end_to_end"})
"""Those of them that are one closed loop, of which what precedes the last level is warm-up."""

NOT_RUN = Skipped("not run: the run was interrupted", "resume the run")
LOST = Failed(
    Stage.STEADY, "crashed", "the launch began and left no record", "resume the run, or wait where it is running still"
)


@dataclass(frozen=True)
class Measured:
    """One completed launch with its samples.

    Of a closed loop they are those of the last level, what came before it being warm-up (PELT); else all of them.
    """

    record: Record
    samples: Samples
    unsteady: bool  # the last level is slower than an earlier one


@dataclass(frozen=True)
class CellHistory:
    """All that happened to one cell. ``records`` holds the attempt that counts of each launch, by launch."""

    planned: PlannedCell
    records: tuple[Record, ...]
    measured: tuple[Measured, ...]  # of the timed scenarios
    retried: int  # launches that took more than one attempt
    lost: int  # launches that began and left no record

    @property
    def completed(self) -> tuple[Record, ...]:
        """The launches that did what was asked."""
        return tuple(record for record in self.records if isinstance(record.outcome, Completed))

    @property
    def failed(self) -> int:
        """How many launches failed, those without a record included."""
        return sum(isinstance(record.outcome, Failed) for record in self.records) + self.lost

    @property
    def outcome(self) -> Outcome:
        """Completed where any launch completed, else the last failure, else why nothing was tried."""
        if self.completed:
            return Completed()
        for kind in (Failed, Skipped):
            for record in reversed(self.records):
                if isinstance(record.outcome, kind):
                    return record.outcome
        if self.lost:
            return LOST
        return self.planned.skipped or NOT_RUN


def histories(store: RunStore) -> tuple[CellHistory, ...]:
    """Return the history of every planned cell in the order of the plan, then of cells that only records know.

    Raises ``StoreError`` where the run cannot be read; a damaged samples file fails its own launch alone.
    """
    attempts: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    planned = {cell.cell.cell_id: cell for cell in store.plan.cells}
    for record in store.records():
        planned.setdefault(record.cell_id, PlannedCell(record.cell, launches=0))
        if isinstance(record.outcome, Failed) and record.outcome.kind == INTERRUPTED:
            continue  # the user's doing, not the engine's: as if it had not been tried
        attempts[record.cell_id][record.launch.index].append(record)
    begun: dict[str, set[int]] = defaultdict(set)
    for attempt in store.attempts():
        if not attempt.ended:
            begun[attempt.cell_id].add(attempt.launch.index)
    return tuple(_history(store, cell, attempts[key], begun[key]) for key, cell in planned.items())


def _history(
    store: RunStore, planned: PlannedCell, attempts: Mapping[int, Sequence[Record]], begun: Iterable[int]
) -> CellHistory:
    records, measured = [], []
    for index in sorted(attempts):
        record = _that_counts(attempts[index])
        if planned.cell.scenario.name in TIMED and isinstance(record.outcome, Completed):
            try:
                measured.append(_measured(store, record))
            except StoreError as error:
                record = replace(record, outcome=Failed(Stage.RECORD, "damaged", error.message, error.hint))
        records.append(record)
    return CellHistory(
        planned=planned,
        records=tuple(records),
        measured=tuple(measured),
        retried=sum(len(tries) > 1 for tries in attempts.values()),
        lost=len(set(begun) - attempts.keys()),
    )


def _that_counts(tries: Sequence[Record]) -> Record:
    """Return the last attempt that completed, or the last: a crash while retrying for noise loses no measurement."""
    ordered = sorted(tries, key=lambda record: record.launch.attempt)
    completed = [record for record in ordered if isinstance(record.outcome, Completed)]
    return (completed or ordered)[-1]


def _measured(store: RunStore, record: Record) -> Measured:
    if record.samples is None:
        raise StoreError("the launch completed without samples", "the worker is at fault: report it with the log")
    samples = store.samples(record.samples)
    if record.cell.scenario.name not in SETTLING:
        return Measured(record, samples, unsteady=False)
    steady = samples.steady()
    if not len(steady):
        raise StoreError(f"{record.samples.path} holds no steady sample", "the worker is at fault: report it")
    steady = _rows(steady, steady.start_ns.argsort(kind="stable"))  # streams are stored one after the other
    # From when it was scheduled, which in a closed loop is its start, and end to end where decoding begins.
    begin, unsteady = steady_segment(steady.response_ns)
    return Measured(record, _rows(steady, slice(begin, None)), unsteady)


def _rows(samples: Samples, rows: np.ndarray | slice) -> Samples:
    return Samples(**{f.name: getattr(samples, f.name)[rows] for f in fields(samples)})
