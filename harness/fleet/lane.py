"""What a host holds of a run, and its launches: one runner from launch to launch, as on one machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from harness import codec, runner
from harness.fleet.contract import FleetError, Packed
from harness.ports import RecordSink, Step
from harness.vocabulary import Failed, Stage, digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.vocabulary import Cell, Launch, Record, Skipped

_ID_DIGITS = 16
_TRIED = 2  # an attempt that ended with its worker so often is not made again


class Begun(Protocol):
    """A launch attempt of a store."""

    @property
    def cell_id(self) -> str:
        """Of the cell that was launched."""

    @property
    def launch(self) -> Launch:
        """Which one."""

    @property
    def ended(self) -> bool:
        """Whether its record is stored."""


class Store(RecordSink, Protocol):
    """A run folder as a host needs it; ``results.store.RunStore`` is one."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was resolved before the first launch."""

    def attempts(self) -> Sequence[Begun]:
        """Return every launch attempt that was begun."""

    def digests(self) -> Sequence[str]:
        """Return the SHA-256 of each of ``records()``; a record's id is the beginning of it."""

    def acquire(self) -> None:
        """Become the only writer."""

    def close(self) -> None:
        """Let another process write."""


class Stores(Protocol):
    """How run folders are made; the class ``results.store.RunStore`` itself."""

    def adopt(self, root: Path, manifest: Mapping[str, Any]) -> Store:
        """Make the folder of a run that has an id already, or open the one that is there."""

    def open(self, name: str | Path, root: Path) -> Store:
        """Open a run for reading."""


class Ledger:
    """The records of a run by id and by attempt."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.records: dict[str, Record] = {}
        self._ids: dict[tuple[str, int, int], str] = {}
        self._lost: Counter[tuple[str, int, int]] = Counter()
        self._taken = -1  # records of the store that the fields above hold
        self.refresh()

    def refresh(self) -> None:
        """Take in what another process added meanwhile, if one did."""
        records = self.store.records()
        if len(records) == self._taken:
            return
        self._taken = 0
        self.records.clear()
        self._ids.clear()
        for name, record in zip(self.store.digests(), records, strict=True):
            self._enter(name[:_ID_DIGITS], record)
        lost = (each for each in self.store.attempts() if not each.ended)
        self._lost = Counter((each.cell_id, each.launch.index, each.launch.attempt) for each in lost)

    def add(self, record: Record) -> str:
        """Take a record that was just stored and return its id."""
        made = digest({"finished": codec.encode(record)})[:_ID_DIGITS]  # as the journal's line of it begins
        self._enter(made, record)
        return made

    def of(self, step: Step) -> str | None:
        """Return the id of an attempt's record; ``None`` where it has none."""
        return self._ids.get((step.cell.cell_id, step.launch.index, step.launch.attempt))

    def lost(self, step: Step) -> int:
        """Return how often this very attempt was begun and ended with the process that made it."""
        return self._lost[step.cell.cell_id, step.launch.index, step.launch.attempt]

    def packed(self, record_id: str) -> Packed:
        """Return a record with every file that it refers to. Raises ``FleetError`` where it is not here."""
        if record_id not in self.records:
            message = f"no record {record_id[:80]!r} of run {self.store.run_id}"
            raise FleetError(message, "`held` names those that are here")
        record, folder = self.records[record_id], self.store.folder
        per_image = record.accuracy.per_image if record.accuracy is not None else None
        names = {made.path for made in (record.samples, record.telemetry, per_image) if made is not None}
        if record.log and (folder / record.log).is_file():  # none where the child could not be started
            names.add(record.log)
        files = {name: (folder / name).read_bytes() for name in sorted(names)}
        return Packed(record_id, codec.encode(record), files)

    def _enter(self, name: str, record: Record) -> None:
        self._taken += 1
        self.records[name] = record
        self._ids[record.cell_id, record.launch.index, record.launch.attempt] = name


class Lane:
    """The launches of one run, one by one as they are asked for.

    The runner stays between two of them, and with it the sensors beside it and the caches of warm runtimes. It is the
    run's only writer until ``close``.
    """

    def __init__(self, ledger: Ledger, setting: runner.Setting) -> None:
        """Raise ``HarnessError`` where another process writes the run."""
        self.ledger = ledger
        self.setting = setting
        self._asked: Step | None = None
        ledger.store.acquire()
        self._runner = runner.run(self, ledger.store, setting)

    def next(self, records: Sequence[Record]) -> Step | None:  # noqa: ARG002 - a policy: the client looked at them
        """Return what was asked for, once."""
        asked, self._asked = self._asked, None
        return asked

    def bench(self, cell: Cell) -> runner.Bench | Failed | Skipped | None:
        """Return what a cell is launched with. Raises ``FleetError`` where the run was begun without the cell."""
        if cell.cell_id not in self.setting.limits:
            raise FleetError(f"run {self.ledger.store.run_id} was begun without {cell.label}", "begin it again")
        return self.setting.benches.get(cell.variant_id)

    def unless_deadly(self, step: Step) -> Step:
        """Return a step, settled where its attempts ended with the process that made them."""
        if step.settled is not None or self.ledger.lost(step) < _TRIED:
            return step
        message = f"the worker of this host was ended {_TRIED} times during this launch, without a record"
        hint = "an engine that takes the machine down is measured with `harness rerun`"
        return replace(step, settled=Failed(Stage.STEADY, "crashed", message, hint))

    def launch(self, step: Step) -> str:
        """Make a launch and return the id of its record, which is stored.

        Whatever it raises ends the lane: ``close`` it.
        """
        self._asked = step
        for event in self._runner:
            if isinstance(event, runner.Finished):
                return self.ledger.add(event.record)
        raise FleetError("the runner of this lane has ended", "ask for the launch again")

    def close(self) -> None:
        """End the sensors and let another process write. Safe to call twice."""
        self._runner.close()
        self.ledger.store.close()
