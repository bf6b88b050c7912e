"""SingleStream p50 and p90 of ours over those of the official LoadGen, on one session, in turns of many queries.

EfficientNet-Lite0 of the quickstart suite in ONNX Runtime, FP32, batch 1, one thread: a few milliseconds of work. One
process, one loaded model, the same images; blocks of queries alternate between ``harness.measure.loop`` and a
PerformanceOnly test of LoadGen, who goes first drawn by lot. LoadGen's percentiles are those of its summary, ours are
taken from our own rows by its rule; both without post-processing. LoadGen's time of a query includes its call into
Python and our answer. The figures are the medians of paired ratios, and of the paired difference of the medians.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks import side
from benchmarks.estimate import paired_difference, paired_ratio
from benchmarks.figure import Figure, Limit, Measured
from benchmarks.loadgen_side import PERCENTILES, Answer, Job
from harness.worker import loadgen

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.runner import Bench
    from harness.vocabulary import Cell

LIMIT = Limit(0.98, 1.02)
PAIRS = 240
QUERIES = 64  # of a block: what LoadGen asks of a p90, and no more, so that a pair lies in one stretch of the machine
_ENGINE = "onnxruntime"
_WARMUP_S = 3.0
_TIMEOUT_S = 1200.0
_SEED = 0


def measure(told: Callable[[str], None], pairs: int = PAIRS) -> Measured:
    """Return a ratio per percentile, and what LoadGen adds. Raises ``HarnessError`` where something is absent."""
    from benchmarks.preparation import prepared

    loadgen.imported()
    with prepared("quickstart", ["matrix.scenario=[latency]", "matrix.threads=[1]"], (_ENGINE,), told) as ready:
        ((cell, bench),) = ready.cells("latency")
        told(f"{pairs} pairs of blocks of {QUERIES} queries")
        answer = side.answered("benchmarks.loadgen_side", _job(cell, bench, pairs), Answer, _ENGINE, _TIMEOUT_S)
    return measured(answer)


def measured(answer: Answer) -> Measured:
    """Return the figures of an answer."""
    ours, theirs = np.asarray(answer.ours_ns), np.asarray(answer.theirs_ns)
    figures = []
    for column, percentile in enumerate(PERCENTILES):
        ratio = paired_ratio(ours[:, column], theirs[:, column])
        name = f"p{percentile:g} ours / LoadGen"
        figures.append(Figure(name, ratio.value, ratio.low, ratio.high, "", LIMIT, ratio.samples))
    added = paired_difference(theirs[:, 0] / 1e3, ours[:, 0] / 1e3)
    figures.append(Figure("p50 LoadGen − ours", added.value, added.low, added.high, "µs", Limit(), added.samples))
    level_ms = float(np.median(ours[:, 0])) / 1e6
    return Measured(tuple(figures), (f"LoadGen {answer.version}", f"our p50 is {level_ms:.2f} ms"))


def _job(cell: Cell, bench: Bench, pairs: int) -> Job:
    return Job(bench.engine, bench.artifact, side.session_of(cell), bench.inputs, _WARMUP_S, pairs, QUERIES, _SEED)
