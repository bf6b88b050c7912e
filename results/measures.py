"""What the launches of one cell say: latency, throughput, cold start, memory, noise."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from harness.vocabulary import State
from results.row import ColdStart, Interval, Latency, MemoryUse, Throughput
from results.statistics import launch_interval, pooled_quantile, rate_interval, thin_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.measure.samples import Samples
    from harness.vocabulary import NoiseReading, Record
    from results.launches import Measured

PERCENTILES = (50.0, 90.0, 95.0, 99.0)
"""Percentiles that are tried where the plan holds none."""

_SEVERITY = {State.OK: 0, State.UNAVAILABLE: 1, State.BAD: 2}


def latency(launches: Sequence[Measured], percentiles: Sequence[float]) -> Latency:
    """Return the single-stream latency over at least one launch; ``percentiles`` in (0, 100)."""
    host_to_host = [launch.samples.host_to_host_ns for launch in launches]
    pooled = np.concatenate(host_to_host)
    lower, upper = np.percentile(pooled, [25, 75])
    return Latency(
        host_to_host=_over(launches, lambda s: s.host_to_host_ns),
        compute=_over(launches, lambda s: s.compute_ns),
        bind=_over(launches, lambda s: s.bound_ns - s.start_ns),
        finish=_over(launches, lambda s: s.end_ns - s.synced_ns),
        quantiles=tuple(pooled_quantile(host_to_host, percentile / 100) for percentile in percentiles or PERCENTILES),
        mean_ns=float(pooled.mean()),
        minimum_ns=float(pooled.min()),
        maximum_ns=float(pooled.max()),
        iqr_ns=float(upper - lower),
        iterations=len(pooled),
        launch_medians_ns=tuple(float(np.median(values)) for values in host_to_host),
        tail=thin_tail(pooled),
        unsteady_launches=sum(launch.unsteady for launch in launches),
        launch_indices=tuple(launch.record.launch.index for launch in launches),
    )


def throughput(launches: Sequence[Measured]) -> Throughput:
    """Return items per second over at least one launch: batch x inferences / time, while all streams were at work.

    The latency beside it is of one batch from host to host while the other streams are at work too.
    """
    rates = [_items_per_s(launch) for launch in launches]
    timings = [launch.record.timing for launch in launches]
    streams = next((timing.streams for timing in timings if timing is not None), 0)
    return Throughput(
        items_per_s=rate_interval(rates),
        streams=streams or len(np.unique(launches[0].samples.stream)),
        launch_rates=tuple(rates),
        launch_indices=tuple(launch.record.launch.index for launch in launches),
        latency=_over(launches, lambda s: s.host_to_host_ns),
    )


def cold_start(records: Sequence[Record]) -> ColdStart | None:
    """Return import, load and first inference over the launches that were timed; ``None`` where none was."""
    timings = [record.timing for record in records if record.timing is not None]
    if not timings:
        return None
    return ColdStart(
        imported=_durations(timing.import_ns for timing in timings),
        load=_durations(timing.load_ns for timing in timings),
        first=_durations(timing.first_ns for timing in timings),
    )


def memory_use(records: Sequence[Record]) -> MemoryUse | None:
    """Return the median over the launches that read their memory; ``None`` where none did."""
    read = [record.memory for record in records if record.memory is not None]
    if not read:
        return None
    return MemoryUse(
        baseline=median(memory.baseline_bytes for memory in read),
        imported=median(memory.imported_bytes for memory in read),
        loaded=median(memory.loaded_bytes for memory in read),
        first=median(memory.first_bytes for memory in read),
        peak=median(memory.peak_bytes for memory in read),
        launches=len(read),
        launch_peaks=tuple(float(memory.peak_bytes) for memory in read),
    )


def worst_noise(records: Sequence[Record]) -> dict[str, NoiseReading]:
    """Return the worst reading per detector: bad before unavailable before ok, then the largest value."""
    names = {name: None for record in records for name in record.noise}
    return {name: max((r.noise[name] for r in records if name in r.noise), key=_badness) for name in names}


def _badness(reading: NoiseReading) -> tuple[int, float]:
    value = reading.value or 0.0
    return _SEVERITY[reading.state], -value if reading.unit == "MHz" else value  # a slow clock is the bad one


def _over(launches: Sequence[Measured], column: Callable[[Samples], np.ndarray]) -> Interval:
    return _durations(np.median(column(launch.samples)) for launch in launches)


def _durations(values_ns: Iterable[float]) -> Interval:
    # Logarithms need more than nothing: what the clock saw no time pass in took at most one tick.
    return launch_interval([max(float(value), 1.0) for value in values_ns])


def _items_per_s(launch: Measured) -> float:
    """Return the rate from the moment the last stream begins to the moment the first one ends.

    An inference that reaches over an end counts with its share of time inside. Counted whole, over the time from the
    first start to the last end, streams that wait for the last one cost four of them 6 % where five inferences of each
    fit in (simulated), and those in flight where the last level begins are missing.
    """
    samples = launch.samples
    streams = [samples.stream == stream for stream in np.unique(samples.stream)]
    begin_ns = max(samples.start_ns[rows].min() for rows in streams)
    end_ns = min(samples.end_ns[rows].max() for rows in streams)
    if end_ns <= begin_ns:  # streams that were never at work together
        begin_ns, end_ns = samples.start_ns.min(), samples.end_ns.max()
    inside_ns = np.minimum(samples.end_ns, end_ns) - np.maximum(samples.start_ns, begin_ns)
    done = np.maximum(inside_ns, 0) / np.maximum(samples.end_ns - samples.start_ns, 1)
    return float(launch.record.cell.batch * done.sum() * 1e9 / max(int(end_ns - begin_ns), 1))
