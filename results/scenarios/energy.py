"""Joules per inference from the counters that were sampled beside a launch, and which launches were throttled."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.samples import STEADY
from harness.system import Unavailable
from harness.telemetry.noise import GPU_THROTTLE
from harness.telemetry.sensor import ENERGY, NVML, POWER, RAPL
from harness.vocabulary import State
from results.driven import Energy
from results.scenarios.sampled import sampled, while_steady
from results.statistics import launch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.telemetry.sensor import Column
    from harness.telemetry.table import Table
    from harness.vocabulary import NoiseReading, Record, SamplesRef
    from results.launches import Measured

MINIMUM_ROWS = 3
"""Samples of a sensor inside the steady phase, below which nothing is read."""

_SCOPES = ("package", "dram", "gpu", "board", "soc")
_JOULES = {"uJ": 1e-6, "mJ": 1e-3}
_WATTS = {"uW": 1e-6, "mW": 1e-3}
_PER_ITEM = frozenset({"server", "camera", "mlperf"})  # a row of their samples is one item; of the others, a batch
_UNSAMPLED = "no sensor was sampled beside these launches"
_TOO_SHORT = f"too short to read at 1 Hz: fewer than {MINIMUM_ROWS} samples in the steady phase"
_STILL = "its counter did not move: nothing counts behind it, as in most virtual machines"


@dataclass(frozen=True)
class _Use:
    """What one counter, or all of one scope together, says of one launch; ``joules`` of one item."""

    scope: str
    source: str
    joules: float | None = None
    watts: float = 0.0
    reason: str = ""


def energy(
    launches: Sequence[Measured],
    arrays: Callable[[SamplesRef], Mapping[str, np.ndarray]],
    absent: Mapping[str, str] | None = None,
) -> tuple[Energy, ...]:
    """Return the energy of one item by scope, over the launches of one cell; at least one entry, for its reason.

    ``arrays`` reads a file of the run (``RunStore.arrays``); ``absent``: source → why it is not sampled, from the run's
    manifest. Of a launch counts the stretch from the first to the last sample inside its steady phase: both counters
    are read there, so no energy is interpolated, and an inference that reaches over an end counts with its share of
    time inside. What the machine draws when idle is in it, and so is whatever else runs on the same package or board.
    """
    uses = [use for launch in launches for use in _uses(launch, arrays, absent or {})]
    meters = sorted({(use.scope, use.source) for use in uses}, key=lambda meter: (_SCOPES.index(meter[0]), meter[1]))
    return tuple(_over([use for use in uses if (use.scope, use.source) == meter]) for meter in meters)


def _over(uses: Sequence[_Use]) -> Energy:
    read = [(use.joules, use) for use in uses if use.joules is not None]
    if not read:
        reason = Counter(use.reason for use in uses).most_common(1)[0][0]
        return Energy(uses[0].scope, uses[0].source, None, None, reason)
    return Energy(
        scope=uses[0].scope,
        source=uses[0].source,
        joules_per_inference=launch_interval([joules for joules, _ in read]),
        watts=fmean(use.watts for _, use in read),
    )


def _uses(
    launch: Measured, arrays: Callable[[SamplesRef], Mapping[str, np.ndarray]], absent: Mapping[str, str]
) -> Iterator[_Use]:
    device = launch.record.cell.device
    try:
        table = sampled(launch, arrays)
    except Unavailable as damaged:
        yield _Use("package", RAPL, reason=str(damaged))
        return
    if table is None:
        why = launch.record.unsampled
        yield _Use("package", RAPL, reason=why or absent.get(RAPL, _UNSAMPLED))
        if "cuda" in device:
            yield _Use("gpu", NVML, reason=why or absent.get(NVML, _UNSAMPLED))
        return
    inside = while_steady(table, launch)
    meters: dict[tuple[str, str], list[Column]] = defaultdict(list)
    for column in _metered(table):
        if not column.device:
            meters[column.scope, column.source].append(column)
    for columns in meters.values():
        yield _use(launch, inside, columns)
    if ("package", RAPL) not in meters:
        yield _Use("package", RAPL, reason=table.absent.get(RAPL, _UNSAMPLED))
    yield from _of_gpus(launch, table, inside)


def _metered(table: Table) -> list[Column]:
    """Return the counters of energy, and the sensors of power where the same device has no counter."""
    counters = [column for column, _ in table.of(ENERGY)]
    counted = {(column.source, column.device) for column in counters}
    return counters + [column for column, _ in table.of(POWER) if (column.source, column.device) not in counted]


def _of_gpus(launch: Measured, table: Table, inside: Table) -> Iterator[_Use]:
    """Yield what the GPUs took that held a process of ours; nothing where the cell used none and names none."""
    device = launch.record.cell.device
    try:
        gpus = table.at_work(device)
    except Unavailable as unavailable:
        yield _Use("gpu", NVML, reason=str(unavailable))
        return
    columns = [column for column in _metered(table) if column.device in gpus]
    if len({column.device for column in columns}) < len(gpus):
        yield _Use("gpu", NVML, reason=table.absent.get(f"nvml/{gpus[0]}/{ENERGY}", "NVML tells no energy of it"))
    elif columns:
        yield _use(launch, inside, columns)
    elif "cuda" in device:
        unseen = "no process of ours was seen on a GPU"
        yield _Use("gpu", NVML, reason=unseen if table.gpus else table.absent.get(NVML, _UNSAMPLED))


def _use(launch: Measured, inside: Table, columns: Sequence[Column]) -> _Use:
    """Return the energy of one item by the counters of one scope, added up."""
    scope, source = columns[0].scope, columns[0].source
    if len(inside) < MINIMUM_ROWS:
        return _Use(scope, source, reason=_TOO_SHORT)
    begin_ns, end_ns = int(inside.time_ns[0]), int(inside.time_ns[-1])
    try:
        joules = sum(_joules(inside, column) for column in columns)
    except Unavailable as unavailable:
        return _Use(scope, source, reason=str(unavailable))
    items = _items(launch, begin_ns, end_ns)
    if not items:
        return _Use(scope, source, reason="no inference was at work between the samples")
    return _Use(scope, source, joules / items, joules * 1e9 / (end_ns - begin_ns))


def _joules(rows: Table, column: Column) -> float:
    """Return the energy from the first row to the last. Raises ``Unavailable``.

    A counter that wraps is assumed to do so once between two rows at most: at 1 Hz, RAPL's shortest range of 65 kJ
    would need 65 kW.
    """
    values = rows.values[:, rows.columns.index(column)]
    if np.isnan(values).any():
        raise Unavailable("its counter could not be read throughout")
    if column.quantity == POWER:
        seconds = np.diff(rows.time_ns) / 1e9
        joules = float(((values[1:] + values[:-1]) / 2 * seconds).sum() * _WATTS[column.unit])
    else:
        steps = np.diff(values)
        steps[steps < 0] += column.wraps or 0.0
        if (steps < 0).any():
            raise Unavailable("its counter began anew meanwhile")
        joules = float(steps.sum() * _JOULES[column.unit])
    if joules <= 0:
        raise Unavailable(_STILL)
    return joules


def _items(launch: Measured, begin_ns: int, end_ns: int) -> float:
    """Return how many items were inferred in a stretch of time, an inference by its share of time inside."""
    samples = launch.samples
    inside_ns = np.minimum(samples.end_ns, end_ns) - np.maximum(samples.start_ns, begin_ns)
    shares = np.maximum(inside_ns, 0) / np.maximum(samples.end_ns - samples.start_ns, 1)
    cell = launch.record.cell
    per_row = 1 if cell.scenario.name in _PER_ITEM else cell.batch
    steady = samples.phase == STEADY
    # Of a long soak every so manieth inference alone has a row: see ``harness.measure.thinning``.
    timing, kept = launch.record.timing, int(steady.sum())
    weight = max(timing.steady_iterations, kept) / kept if timing is not None and kept else 1.0
    return float(shares[steady].sum() * per_row * weight)


@dataclass(frozen=True)
class Throttled:
    """A launch that heat or power slowed while it was measured."""

    launch: int
    cause: str  # for example "GPU: hardware thermal slowdown, up to 91 °C"


def throttled(records: Sequence[Record]) -> tuple[Throttled, ...]:
    """Return the launches of a cell that were throttled, by the readings that their records hold."""
    found = []
    for record in records:
        for name, told in _CAUSES.items():
            reading = record.noise.get(name)
            if reading is not None and reading.state is State.BAD:
                found.append(Throttled(record.launch.index, told(reading)))
    return tuple(found)


def _by_events(reading: NoiseReading) -> str:
    return f"processor: {reading.value or 0:.0f} thermal events"


def _by_reasons(reading: NoiseReading) -> str:
    return f"GPU: {reading.detail}"


_CAUSES: Mapping[str, Callable[[NoiseReading], str]] = {"thermal_throttle": _by_events, GPU_THROTTLE: _by_reasons}
