"""What the official LoadGen said, the words that have to stand beside it, and our own times of the same queries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from results.driven import Beside, LoadGenResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measure.samples import Samples
    from harness.vocabulary import LoadGenRun
    from results.launches import Measured

UNVERIFIED = "unverified"
NOT_VERIFIED = "Result not verified by MLCommons Association"
NOT_ITS_MODEL = "None of MLPerf's benchmark models: the settings are those of mlperf.conf for all models"
SHORTENED = "Shortened: fewer seconds, queries or samples than the official mlperf.conf asks for"

_OURS = (0.5, 0.9)
_TARGET = re.compile(r"(\d+(?:\.\d+)?)th percentile latency \(ns\)")
_NS_PER_MS = 1e6


def loadgen(launches: Sequence[Measured]) -> tuple[LoadGenResult, ...]:
    """Return a result for each launch that LoadGen drove, in their order."""
    return tuple(
        LoadGenResult(
            cell_id=launch.record.cell_id,
            title=launch.record.cell.scenario.label,
            run=launch.record.loadgen,
            beside=beside(launch.record.loadgen, launch.samples),
        )
        for launch in launches
        if launch.record.loadgen is not None
    )


def name(run: LoadGenRun) -> str:
    """Return what a run may be called: what is shorter than the rules ask does not bear the name of MLPerf."""
    if run.official:
        return f"LoadGen {run.scenario} with the settings of MLPerf, {UNVERIFIED}"
    return f"LoadGen {run.scenario}, shortened, {UNVERIFIED}"


def words(run: LoadGenRun) -> tuple[str, ...]:
    """Return the sentences that have to be printed with any score of a run."""
    return NOT_VERIFIED, NOT_ITS_MODEL if run.official else SHORTENED


def headline(run: LoadGenRun) -> tuple[str, float, str] | None:
    """Return name, value and unit of the metric of a run's scenario; ``None`` where its summary holds none.

    MLPerf judges SingleStream and MultiStream by the early-stopping estimate of a percentile; where too few queries
    carry one it is the percentile itself. Of an AccuracyOnly run it is how many samples were answered.
    """
    for key, unit in (
        ("Samples answered", "samples"),
        ("Completed samples per second", "samples/s"),
        ("Samples per second", "samples/s"),
    ):
        if key in run.figures:
            return key.lower(), run.figures[key], unit
    for key, value in run.figures.items():
        target = _TARGET.fullmatch(key)
        if target is None:
            continue
        percentile = f"{float(target[1]):g}"
        estimate = _early_stopping(run, percentile)
        if estimate is not None:
            return f"p{percentile} latency, early-stopping estimate", estimate / _NS_PER_MS, "ms"
        return f"p{percentile} latency", value / _NS_PER_MS, "ms"
    return None


def _early_stopping(run: LoadGenRun, percentile: str) -> float | None:
    for key, value in run.figures.items():
        found = re.fullmatch(r"Early stopping (\d+(?:\.\d+)?)th percentile estimate", key)
        if found is not None and f"{float(found[1]):g}" == percentile:
            return value
    return None


def beside(run: LoadGenRun, samples: Samples) -> tuple[Beside, ...]:
    """Return p50 and p90 of the queries by our clock beside LoadGen's; nothing where its summary holds none.

    Ours begins when LoadGen's call reaches us and ends with the task's final output: LoadGen's is longer by the way
    there and back, and in Server by how late it issued.
    """
    latencies_ns = query_latencies_ns(run.scenario, samples)
    found = []
    for q in _OURS:
        theirs_ns = run.figures.get(f"{100 * q:.2f} percentile latency (ns)")
        if theirs_ns is not None and len(latencies_ns):
            found.append(Beside(q, percentile_ns(latencies_ns, q), theirs_ns))
    return tuple(found)


def query_latencies_ns(scenario: str, samples: Samples) -> np.ndarray:
    """Return, by query, from its issue to the final output of its last sample, nanoseconds.

    Samples issued at once are of one query of MultiStream; in the other scenarios LoadGen tells the latency of each.
    """
    steady = samples.steady()
    if scenario != "MultiStream":
        return np.asarray(steady.response_ns)
    issued_ns, query = np.unique(steady.scheduled_ns, return_inverse=True)
    ends_ns = np.zeros(len(issued_ns), dtype=np.int64)
    np.maximum.at(ends_ns, query, steady.end_ns)
    return np.asarray(ends_ns - issued_ns)


def percentile_ns(latencies_ns: np.ndarray, q: float) -> float:
    """Return a percentile as LoadGen takes it (``results.cc``): the sample of rank ⌊nq⌋ from 0, in order of size."""
    return float(np.sort(latencies_ns)[int(len(latencies_ns) * q)])
