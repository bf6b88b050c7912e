"""From a stored run to its snapshot: what became of each cell, and each quantity by launch; kept beside the run."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import StoreError
from harness.places import unplaced
from harness.plan import fits
from harness.vocabulary import Failed, Skipped, State
from results.drift import drift_of
from results.launches import NOT_RUN as NEVER_TRIED
from results.launches import histories
from results.measures import PERCENTILES, latency, throughput
from results.quantities import quantity
from results.rows import SENTINEL, rows
from results.scenarios.camera import camera
from results.scenarios.end_to_end import end_to_end
from results.scenarios.server import server
from results.scenarios.soak import soak
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED, SNAPSHOT_SCHEMA, CellState, Reading, Snapshot
from results.snapshot_files import from_json, read, to_json, write
from results.statistics import launch_interval, pooled_quantile
from results.store import JOURNAL, MANIFEST
from results.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.vocabulary import Cell, Record
    from results.launches import CellHistory, Measured
    from results.row import Quantile
    from results.store import RunStore

__all__ = [
    "SNAPSHOT",
    "derived",
    "from_json",
    "identity_key",
    "is_noisy",
    "read",
    "select",
    "snapshot",
    "state_of",
    "to_json",
    "write",
]

SNAPSHOT = "snapshot.json"
"""Its name in a run folder."""


def snapshot(store: RunStore) -> Snapshot:
    """Return a run in small, as it is kept beside the run, or derived anew where the journal is not what it was then.

    What was derived is kept, unless the folder may not be written. Raises ``StoreError`` where the run cannot be read.
    """
    now = state_of(store.folder)
    kept = store.folder / SNAPSHOT
    found = None
    if kept.is_file():
        with contextlib.suppress(StoreError):  # it is derived: what cannot be read is made again
            found = read(kept)
    if found is None or (found.run_id, found.derived_from) != (store.run_id, now):
        found = replace(derived(store), derived_from=now)
        with contextlib.suppress(OSError, StoreError):  # of a folder that may only be read, nothing is kept
            write(kept, found)
    return replace(found, tags=tags_of(store.folder))


def state_of(folder: Path) -> str:
    """Return what names the content of a run's manifest and journal, and the form that is derived from them."""
    digest = hashlib.sha256(f"snapshot {SNAPSHOT_SCHEMA}\n".encode())
    for name in (MANIFEST, JOURNAL):  # the plan, which is in the manifest, may grow while nothing is measured
        try:
            with (folder / name).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except FileNotFoundError:  # nothing has been measured yet
            pass
        except OSError as error:
            raise StoreError(f"{folder / name} cannot be read: {error.strerror}", "change its owner or mode") from error
    return digest.hexdigest()


def derived(store: RunStore) -> Snapshot:
    """Return a run in small, from its records and samples. Raises ``StoreError`` where the run cannot be read."""
    manifest, plan = store.manifest, store.plan
    told = histories(store)
    findings = {
        row.variant_id: tuple(dict.fromkeys(finding.kind for finding in row.findings))
        for row in rows(store, known=told)
    }
    host = _mapping(manifest.get("host"))
    watched = drift_of(store, told)
    return Snapshot(
        run_id=store.run_id,
        created_at=str(manifest.get("created_at", "")),
        suite=plan.suite,
        preset=plan.preset,
        hw_id=str(host.get("hw_id", "")),
        env_id=str(host.get("env_id", "")),
        harness_version=str(manifest.get("harness_version", "")),
        hardware=_mapping(host.get("hardware")),
        environment=_mapping(host.get("environment")),
        cells=tuple(
            _state(history, findings.get(history.planned.cell.variant_id, ()))
            for history in told
            if history.planned.cell.scenario.name != SENTINEL
        ),
        drift=watched.message if watched is not None and watched.found else "",
    )


def select(found: Snapshot, patterns: Sequence[str]) -> Snapshot:
    """Return the cells whose label matches a pattern, or whose id begins with one; every cell where there is none."""
    if not patterns:
        return found
    chosen = tuple(c for c in found.cells if any(fits(pattern, c.label, c.cell_id) for pattern in patterns))
    return replace(found, cells=chosen)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def identity_key(cell: Cell) -> str:
    """Return the identity of a cell without its environment's label: what two arms of one run share."""
    return replace(cell, environment="default").cell_id


def _state(history: CellHistory, findings: tuple[str, ...]) -> CellState:
    planned, cell = history.planned, history.planned.cell
    status, why = _outcome(history)
    return CellState(
        cell_id=cell.cell_id,
        key=identity_key(cell),
        label=cell.label,
        workload=cell.workload,
        engine=cell.engine,
        precision=cell.precision.value,
        device=cell.device,
        scenario=cell.scenario.name,
        status=status,
        why=why,
        readings=tuple(_flagged(reading, history) for reading in _readings(history)) if status == COMPLETED else (),
        findings=findings,
        planned=planned.launches,
        failed=sum(isinstance(record.outcome, Failed) for record in history.records) if status == COMPLETED else 0,
    )


def _outcome(history: CellHistory) -> tuple[str, str]:
    outcome = history.outcome
    if isinstance(outcome, Failed):
        return FAILED, unplaced(f"{outcome.stage.value}, {outcome.kind}: {outcome.message}")
    if isinstance(outcome, Skipped):
        return (NOT_RUN, "") if outcome == NEVER_TRIED else (SKIPPED, unplaced(outcome.reason))
    return COMPLETED, ""


def _flagged(reading: Reading, history: CellHistory) -> Reading:
    noisy = {record.launch.index for record in history.completed if is_noisy(record)}
    return replace(reading, noisy=tuple(index for index in reading.launches if index in noisy))


def is_noisy(record: Record) -> bool:
    """Return whether any detector flagged a launch."""
    return any(reading.state is State.BAD for reading in record.noise.values())


def _readings(history: CellHistory) -> Iterator[Reading]:
    read_of = _OF_RECORDS.get(history.planned.cell.scenario.name)
    if read_of is not None:
        yield from read_of(history.completed)
    drive_of = _OF_SAMPLES.get(history.planned.cell.scenario.name)
    if drive_of is not None and history.measured:
        yield from drive_of(history)


def _latency(history: CellHistory) -> Iterator[Reading]:
    found = latency(history.measured, _percentiles(history))
    yield _by_launch("latency", _positive(found.launch_medians_ns), found.launch_indices)
    yield from _tails(found.quantiles, [launch.samples.host_to_host_ns for launch in history.measured])
    yield from _cold_start(history.completed)


def _cold_start(records: Sequence[Record]) -> Iterator[Reading]:
    timed = [(record.launch.index, record.timing) for record in records if record.timing is not None]
    if timed:
        launches = [index for index, _ in timed]
        yield _by_launch("load", _positive(timing.load_ns for _, timing in timed), launches)
        yield _by_launch("first", _positive(timing.first_ns for _, timing in timed), launches)


def _throughput(history: CellHistory) -> Iterator[Reading]:
    found = throughput(history.measured)
    yield _by_launch("throughput", found.launch_rates, found.launch_indices)


def _end_to_end(history: CellHistory) -> Iterator[Reading]:
    found = end_to_end(history.measured, _percentiles(history))
    yield _by_launch("latency", _positive(found.launch_medians_ns), found.launch_indices)
    yield from _tails(found.quantiles, [launch.samples.response_ns for launch in history.measured])


def _server(history: CellHistory) -> Iterator[Reading]:
    found = server(history.measured)
    if not found.searched:
        queries = [_answered(launch) for launch in history.measured]
        # Where queries were given up there is no percentile: that of the others would be the best of an endless queue.
        if all(times_ns is not None for times_ns in queries):
            known = [times_ns for times_ns in queries if times_ns is not None]
            yield from _tails([pooled_quantile(known, found.slo_percentile / 100)], known)
        return
    # None that keeps the SLO is 0: the rates of the other launches alone would be those of the lucky.
    best = {launch.record.launch.index: 0.0 for launch in history.measured}
    for one in found.tried:
        if one.meets:
            best[one.launch] = max(one.rate_hz, best[one.launch])
    if any(best.values()):
        yield _by_launch("rate", [best[index] for index in sorted(best)], sorted(best))


def _answered(launch: Measured) -> np.ndarray | None:
    """Return how long the queries of a launch took from when they were due; ``None`` where some were given up."""
    trials = launch.record.trials
    if not trials or any(trial.rows < trial.offered for trial in trials):
        return None
    times_ns = launch.samples.response_ns
    return np.concatenate([times_ns[trial.first : trial.first + trial.rows] for trial in trials])


def _camera(history: CellHistory) -> Iterator[Reading]:
    missed = camera(history.measured).missed
    if missed.of:
        yield Reading("misses", (missed.estimate,), low=missed.low, high=missed.high)


def _soak(history: CellHistory) -> Iterator[Reading]:
    rates = [soak([launch]).sustained for launch in history.measured]
    yield _by_launch("sustained", rates, [launch.record.launch.index for launch in history.measured])


def _memory(records: Sequence[Record]) -> Iterator[Reading]:
    read_by = [(record.launch.index, record.memory.peak_bytes) for record in records if record.memory is not None]
    if read_by:
        yield _by_launch("memory", [peak for _, peak in read_by], [index for index, _ in read_by])


def _accuracy(records: Sequence[Record]) -> Iterator[Reading]:
    found = next((record.accuracy for record in reversed(records) if record.accuracy is not None), None)
    if found is not None:
        yield Reading("accuracy", (float(found.metrics[found.primary]),), name=found.primary)


def _prove(records: Sequence[Record]) -> Iterator[Reading]:
    found = next((record.artifact for record in reversed(records) if record.artifact is not None), None)
    if found is not None:
        yield Reading("size", (float(found.size_bytes),))


_OF_SAMPLES: Mapping[str, Callable[[CellHistory], Iterator[Reading]]] = {
    "latency": _latency,
    "throughput": _throughput,
    "end_to_end": _end_to_end,
    "server": _server,
    "camera": _camera,
    "soak": _soak,
}
_OF_RECORDS: Mapping[str, Callable[[Sequence[Record]], Iterator[Reading]]] = {
    "memory": _memory,
    "accuracy": _accuracy,
    "prove": _prove,
}


def _percentiles(history: CellHistory) -> tuple[float, ...]:
    return history.planned.percentiles or PERCENTILES


def _tails(quantiles: Iterable[Quantile], launches: Sequence[np.ndarray]) -> Iterator[Reading]:
    """Yield the percentiles beyond the median that the samples carry; the median by launch says more than a pooled.

    The interval of a pooled percentile is of the distribution in these launches alone. What another set of launches
    would give differs by what launches differ by as well: the wider of it and the t interval over the launches' own
    percentiles is kept, and none where there is one launch.
    """
    for each in quantiles:
        if each.value_ns is None or each.q <= 0.5:
            continue
        low, high = each.low_ns, each.high_ns
        own = [float(np.quantile(times_ns, each.q)) for times_ns in launches if len(times_ns)]
        over = launch_interval(list(_positive(own)))
        if low is None or high is None or over.low is None or over.high is None:
            low = high = None
        else:
            low = min(low, each.value_ns * over.low / over.estimate)
            high = max(high, each.value_ns * over.high / over.estimate)
        name = f"p{100 * each.q:g}"
        with contextlib.suppress(KeyError):  # of a percentile like 99.99999 no short name is left
            yield Reading(quantity(name).name, (each.value_ns,), low=low, high=high)


def _by_launch(name: str, values: Iterable[float], launches: Iterable[int]) -> Reading:
    return Reading(name, tuple(float(value) for value in values), tuple(launches))


def _positive(durations_ns: Iterable[float]) -> Iterator[float]:
    # Logarithms need more than nothing: what the clock saw no time pass in took at most one tick.
    return (max(float(duration), 1.0) for duration in durations_ns)
