"""A run on one host as its client sees it: what is to be measured there, what came back, and what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from harness import codec, durations
from harness.errors import StoreError
from harness.fleet.contract import FleetError
from harness.fleet.filing import check_files
from harness.fleet.sharing import is_sentinel
from harness.places import published
from harness.policy import PlannedOrder
from harness.ports import RecordSink
from harness.prepare import Portable
from harness.presets import SCREENING_LAUNCHES
from harness.vocabulary import Failed, Record, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.budget import Budget
    from harness.fleet.contract import Packed, Terms
    from harness.ports import LaunchPolicy, Step
    from harness.vocabulary import Cell, Plan

_Key: TypeAlias = tuple[str, int, int]  # cell, replicate, attempt

_CRASHED = "crashed"
_ID_DIGITS = 16
FATAL = 2
"""How often a host may be lost in launches of one cell before none is asked for it any more."""


class Store(RecordSink, Protocol):
    """The client's side of a run; ``results.store.RunStore`` is one."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was resolved before the first launch."""

    def digests(self) -> Sequence[str]:
        """Return the SHA-256 of the text of each of ``records()``; a record's id begins it."""


class _Filed:
    """The records of a run by launch attempt: to look through all for each new one costs the square of their number."""

    def __init__(self) -> None:
        self._records: tuple[Record, ...] = ()  # those that are taken in
        self._by_key: dict[_Key, Record] = {}

    def find(self, key: _Key, records: Sequence[Record]) -> Record | None:
        """Return the record of an attempt; ``records``: all that the run has now, oldest first."""
        known = len(self._records)
        if tuple(records[:known]) != self._records:  # a correction stands where another stood
            self._by_key, known = {}, 0
        for record in records[known:]:
            self._by_key.setdefault(_key(record), record)
        self._records = tuple(records)
        return self._by_key.get(key)


@dataclass(frozen=True)
class Errand:
    """What one host is to measure, and where what comes back is kept."""

    host: str
    store: Store
    plan: Plan  # without what another host has taken over
    portables: Mapping[str, Portable | Failed | Skipped]  # by variant id
    terms: Terms  # without loads, which the host is still to be brought
    retries: int  # for noise
    fatal: frozenset[str] = frozenset()  # ids of cells that are not tried any more
    budget: Budget | None = None  # for its launches; None: as long as they take
    _filed_here: _Filed = field(default_factory=_Filed, init=False, repr=False, compare=False)

    @property
    def order(self) -> LaunchPolicy:
        """The order of its launches.

        A launch that began here and never came back is asked for as the same attempt: the host may hold its record.
        """
        if self.budget is None:
            return PlannedOrder(self.plan, noise_retries=self.retries, unfinished={})
        # Imported here: it brings scipy, and most runs have no budget.
        from harness.budget import BudgetedOrder  # noqa: PLC0415

        return BudgetedOrder(self.plan, self.budget, noise_retries=self.retries, unfinished={})

    def certain(self) -> tuple[Step, ...]:
        """Return the launches still to be made that do not hang on what others find.

        With a budget these are the first of each cell, as long as it is not spent: what it buys besides is not known.
        """
        records = self.store.records()
        if self.budget is None:
            return PlannedOrder(self.plan, noise_retries=self.retries, unfinished={}).left(records)
        if self.order.next(records) is None:
            return ()
        steps = PlannedOrder(self.plan, noise_retries=0, unfinished={}).left(records)
        return tuple(step for step in steps if step.launch.index < SCREENING_LAUNCHES)

    def left(self) -> frozenset[str]:
        """Return the ids of the variants of which something is still to be measured."""
        watching = {planned.cell.cell_id for planned in self.plan.cells if is_sentinel(planned)}
        return frozenset(step.cell.variant_id for step in self.certain() if step.cell.cell_id not in watching)

    def left_s(self, done: Mapping[tuple[str, int], float]) -> float:
        """Return how long its launches still take, as far as is known; ``done``: as for ``durations.seconds_left``."""
        if self.budget is None:
            return durations.seconds_left(self.plan, done)
        return max(0.0, self.budget.seconds - math.fsum(done.values()))

    def trusted(self, cell: Cell) -> bool:
        """Whether a cell can be expected to run."""
        return isinstance(self.portables.get(cell.variant_id), Portable)

    def settled(self, step: Step, loads: Mapping[str, object]) -> Failed | Skipped | None:
        """Return the outcome of a launch that need not be made to be known."""
        load = loads.get(step.cell.variant_id)
        if step.settled is not None:
            return step.settled
        if step.cell.cell_id in self.fatal:
            message = f"hosts were lost {FATAL} times while they measured it"
            return Failed(
                Stage.STEADY, _CRASHED, message, "find out what takes them down, then run the suite anew with --only"
            )
        if load is None:
            return Failed(Stage.PREPARE, "not-prepared", "nothing was prepared for this cell")
        return published(load) if isinstance(load, Failed | Skipped) else None

    def noted(self, step: Step, outcome: Failed | Skipped) -> Record:
        """File the outcome of a launch that was not made, and return the record."""
        host = self.store.manifest["host"]
        record = Record(
            run_id=self.store.run_id,
            cell=step.cell,
            launch=step.launch,
            outcome=outcome,
            hw_id=host["hw_id"],
            env_id=host["env_id"],
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            duration_ns=0,
            cell_id=step.cell.cell_id,
            variant_id=step.cell.variant_id,
        )
        self.store.finished(record)
        return record

    def answered(self, step: Step, packed: Packed) -> Record:
        """File what a host gave when it was asked for a launch. Raises ``FleetError`` where it is of another."""
        record = self._read(packed)
        if _key(record) != (step.cell.cell_id, step.launch.index, step.launch.attempt):
            message = f"{self.host} was asked for {step.cell.label} and gave {record.cell.label}"
            raise FleetError(message, "this is a defect of the harness")
        return self._filed(record, packed)

    def missing(self, held: Iterable[str]) -> tuple[str, ...]:
        """Return which of the records that a host holds are not here."""
        here = {digest[:_ID_DIGITS] for digest in self.store.digests()}
        return tuple(record_id for record_id in held if record_id not in here)

    def kept(self, packed: Packed) -> Record:
        """File a record that a host held. Raises ``FleetError`` for what is no record of this run."""
        return self._filed(self._read(packed), packed)

    def _filed(self, record: Record, packed: Packed) -> Record:
        """File what a host gave: the files whole, then the record that names them; once, however often it comes."""
        held = self._filed_here.find(_key(record), self.store.records())
        if held is not None:
            return held
        check_files(self.host, record, packed)
        for name, data in packed.files.items():
            path = self.store.folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)  # ``finished`` forces it to the disk before the record
            except OSError as error:
                hint = "mend that, then `harness run --resume`: the host holds what it measured"
                raise StoreError(f"{path} cannot be written: {error.strerror or error}", hint) from error
        self.store.finished(record)
        return record

    def _read(self, packed: Packed) -> Record:
        try:
            record = codec.decode(Record, packed.record, "record")
        except codec.CodecError as error:
            hint = "is the same harness version installed there?"
            raise FleetError(f"{self.host} gave what is no record: {error.message}", hint) from error
        if record.run_id != self.store.run_id:
            message = f"{self.host} was asked for run {self.store.run_id} and gave {record.run_id[:80]}"
            raise FleetError(message, "this is a defect of the harness")
        return record

    def without(self, gone: Collection[str]) -> Errand:
        """Return it without some variants, which others measure now."""
        cells = tuple(planned for planned in self.plan.cells if planned.cell.variant_id not in gone)
        kept = {planned.cell.cell_id for planned in cells}
        order = tuple(slot for slot in self.plan.order if slot.cell_id in kept)
        return replace(self, plan=replace(self.plan, cells=cells, order=order))


def _key(record: Record) -> _Key:
    return record.cell_id, record.launch.index, record.launch.attempt
