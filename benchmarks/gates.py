"""How often a gate accuses what did not change, and how often it finds 5 % (simulated, by the steps of a gate).

Gates of 20 cells whose launches differ by 2 % (standard deviation of the log median), by the rules that a suite has
where it says nothing; whatever fails is a false alarm. With ten launches a side in one look, as ``harness gate --head``
takes it, and in two: at 1 %, and where that leaves something open at 4 % with 20 launches after, against the ten of a
stored baseline. The power is the share of gates that find one cell which is slower by 5 %.

200 gates begin with records: raw samples of every launch, derived to snapshots as those of a run. 1,000 of each other
kind begin with the snapshots, which hold the launch medians that are drawn.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.false_alarms import CELLS, LAUNCHES
from benchmarks.figure import Limit, Measured
from benchmarks.simulated import LAUNCH_SPREAD, share
from harness.gating import Gating
from harness.measure.samples import STEADY, Samples
from harness.vocabulary import (
    Cell,
    Completed,
    Launch,
    Plan,
    PlannedCell,
    Precision,
    Record,
    SamplesRef,
    Scenario,
    Slot,
    Timing,
)
from results.compared import compared
from results.gate import is_open, joined, judge, look, rules_of
from results.snapshot import COMPLETED, CellState, Reading, Snapshot
from results.snapshots import derived
from results.store import Attempt, RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from results.changes import Comparison

FALSE, FOUND = Limit(high=0.05), Limit(low=0.90)
GATES, RECORDED = 1000, 200
_RATIO = 1.05
_MEDIAN_NS = 5e6
_ITERATIONS, _NOISE = 40, 0.01  # of a launch, and what its samples differ by
_TODAY = date(2026, 11, 23)
_RULES = rules_of(Gating())
_SEED = 20_261_131


def measure(told: Callable[[str], None], gates: int = GATES, of_records: int = RECORDED) -> Measured:
    """Return the shares of gates with a false alarm, and of those that find the slower cell, in one look and in two."""
    told(f"from records: {of_records} gates")
    generator = np.random.default_rng([_SEED, 0])
    alarms = sum(bool(_accused(_from_records(generator))) for _ in range(of_records))
    figures = [share("one look, from records: gates with a false alarm", alarms, of_records, FALSE)]
    for index, (name, judged) in enumerate({"one look": _one_look, "two looks": _two_looks}.items(), start=1):
        told(f"{name}: twice {gates} gates")
        generator = np.random.default_rng([_SEED, index])
        alarms = sum(bool(_accused(judged(generator, None))) for _ in range(gates))
        found = sum(_label(0) in _accused(judged(generator, 0)) for _ in range(gates))
        figures.append(share(f"{name}: gates with a false alarm", alarms, gates, FALSE))
        figures.append(share(f"{name}: +{100 * (_RATIO - 1):.0f} % found", found, gates, FOUND))
    return Measured(tuple(figures), (f"{CELLS} cells, {LAUNCHES} launches a side, {LAUNCH_SPREAD:.0%} launch spread",))


def _accused(comparison: Comparison) -> set[str]:
    return {change.label for change in judge(comparison, today=_TODAY).failing}


def _from_records(generator: np.random.Generator) -> Comparison:
    before, after = (derived(recorded(levels(generator, LAUNCHES), generator)) for _ in range(2))
    return compared(before, after, _RULES, today=_TODAY)


def _one_look(generator: np.random.Generator, slower: int | None) -> Comparison:
    before, after = levels(generator, LAUNCHES), levels(generator, LAUNCHES, slower)
    return compared(drawn(before), drawn(after), _RULES, today=_TODAY)


def _two_looks(generator: np.random.Generator, slower: int | None) -> Comparison:
    base, after = drawn(levels(generator, LAUNCHES)), levels(generator, 2 * LAUNCHES, slower)
    first = look(base, drawn(after[:, :LAUNCHES]), _RULES, 1, today=_TODAY)
    return joined(first, look(base, drawn(after), _RULES, 2, today=_TODAY)) if is_open(first) else first


def levels(generator: np.random.Generator, launches: int, slower: int | None = None) -> np.ndarray:
    """Return the medians of launches, nanoseconds, by cell: they differ by chance alone, but for a slower cell."""
    values = _MEDIAN_NS * np.exp(generator.normal(0, LAUNCH_SPREAD, (CELLS, launches)))
    if slower is not None:
        values[slower] *= _RATIO
    return values


def drawn(medians_ns: np.ndarray) -> Snapshot:
    """Return the snapshot of a run with these medians of its launches."""
    indices = tuple(range(medians_ns.shape[1]))
    cells = []
    for number, values in enumerate(medians_ns.tolist()):
        cell = _cell(number)
        cells.append(
            CellState(
                cell_id=cell.cell_id,
                key=cell.cell_id,
                label=cell.label,
                workload=cell.workload,
                engine=cell.engine,
                precision=cell.precision.value,
                device=cell.device,
                scenario="latency",
                status=COMPLETED,
                readings=(Reading("latency", tuple(values), indices),),
                planned=len(indices),
            )
        )
    return Snapshot("simulated", "", "simulated", "publish", "simulated", "", "", {}, {}, tuple(cells))


def recorded(medians_ns: np.ndarray, generator: np.random.Generator) -> Simulated:
    """Return the run whose launches have these medians, but for what their samples differ by."""
    noise = np.exp(generator.normal(0, _NOISE, (*medians_ns.shape, _ITERATIONS)))
    noise /= np.median(noise, axis=-1, keepdims=True)
    records, samples = [], {}
    for number, values in enumerate(medians_ns):
        for index, median_ns in enumerate(values):
            reference = SamplesRef(f"samples/{number}-{index}.npz", "", _ITERATIONS)
            samples[reference.path] = _samples(median_ns * noise[number, index])
            records.append(_record(_cell(number), index, reference))
    return Simulated(len(medians_ns), medians_ns.shape[1], records, samples)


class Simulated(RunStore):
    """A run that was never made, and lies nowhere."""

    def __init__(self, cells: int, launches: int, records: list[Record], samples: Mapping[str, Samples]) -> None:
        asked = [_cell(number) for number in range(cells)]
        order = tuple(Slot(cell.cell_id, index, index) for index in range(launches) for cell in asked)
        planned = tuple(PlannedCell(cell, launches, 1.0, percentiles=(50.0,)) for cell in asked)
        super().__init__(Path("simulated"), {"run_id": "simulated", "host": {"hw_id": "simulated"}})
        self._made = Plan("simulated", "publish", _SEED, planned, order)
        self._drawn = tuple(records)
        self._raw = samples

    @property
    def plan(self) -> Plan:
        """Every cell, as often as it was launched."""
        return self._made

    def records(self) -> tuple[Record, ...]:
        """Return what was drawn."""
        return self._drawn

    def digests(self) -> tuple[str, ...]:
        """Return no digests: nothing was written."""
        return ("",) * len(self._drawn)

    def attempts(self) -> tuple[Attempt, ...]:
        """Return nothing that began and has no record."""
        return ()

    def samples(self, ref: SamplesRef) -> Samples:
        """Return what was drawn."""
        return self._raw[ref.path]


@functools.cache
def _cell(number: int) -> Cell:
    return Cell(
        workload=f"model{number}",
        source_hash=f"{number:064x}",
        task={"name": "raw"},
        shape=(3, 8, 8),
        engine="fake",
        precision=Precision.FP32,
        device="cpu",
        scenario=Scenario("latency"),
    )


def _label(number: int) -> str:
    return _cell(number).label


def _samples(total_ns: np.ndarray) -> Samples:
    total = total_ns.astype(np.int64)
    end = np.cumsum(total)
    return Samples(
        phase=np.full(len(total), STEADY),
        stream=np.zeros(len(total), np.int64),
        scheduled_ns=end - total,
        start_ns=end - total,
        bound_ns=end - total,
        synced_ns=end,
        end_ns=end,
    )


def _record(cell: Cell, index: int, reference: SamplesRef) -> Record:
    timing = Timing(
        import_ns=1,
        load_ns=1,
        first_ns=1,
        warmup_iterations=0,
        steady_iterations=_ITERATIONS,
        steady_ns=1,
        streams=1,
        stop_reason="max_iterations",
    )
    record = Record(
        run_id="simulated",
        cell=cell,
        launch=Launch(index, 0, index, _SEED),
        outcome=Completed(),
        hw_id="simulated",
        env_id="",
        started_at="",
        duration_ns=1,
        cell_id=cell.cell_id,
        variant_id=cell.variant_id,
    )
    return replace(record, samples=reference, timing=timing)
