"""Host→host latency by the harness's loop over that of a bare loop on the vendor's own calls, by engine.

EfficientNet-Lite0 of the quickstart suite, FP32, batch 1, one thread: what the harness adds to an iteration does not
grow with threads, while the scheduler's noise does. One process per engine, one loaded model: single iterations of the
two loops alternate on the same inputs, who goes first drawn by lot. The harness's side is ``bind + run + sync + fetch``
as ``harness.measure.loop`` records it, post-processing left out; the bare side is ``benchmarks/bare/ENGINE.py`` between
two readings of ``perf_counter_ns``. Both copy the input into a fixed buffer and give outputs that the caller owns. The
figure is the median of paired ratios.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks import bare, side
from benchmarks.duel import Answer, Job
from benchmarks.estimate import paired_ratio
from benchmarks.figure import Figure, Limit, Measured
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.runner import Bench
    from harness.vocabulary import Cell

LIMIT = Limit(0.98, 1.02)
_WARMUP_S, _SECONDS = 3.0, 27.0
_PAIRS = 400  # at least: an iteration of the slowest engine takes a fifth of a second
_TIMEOUT_S = 900.0
_SEED = 0


def measure(told: Callable[[str], None], engines: Sequence[str]) -> Measured:
    """Return a figure per engine. Raises ``HarnessError`` where an engine is absent or has no bare loop."""
    from benchmarks.preparation import prepared

    missing = [name for name in engines if name not in bare.names()]
    if missing:
        raise HarnessError(f"{missing[0]} has no bare loop", f"there are: {', '.join(bare.names())}")
    figures, notes = [], []
    with prepared("quickstart", ["matrix.scenario=[latency]", "matrix.threads=[1]"], engines, told) as ready:
        for cell, bench in ready.cells("latency"):
            if cell.engine not in bare.names():
                notes.append(f"{cell.engine} is left out: it has no bare loop")
                continue
            told(f"{cell.engine}: {_WARMUP_S + _SECONDS:g} s, or {_PAIRS} pairs")
            figures.append(_figure(cell, bench))
        notes += ready.absent
    return Measured(tuple(figures), tuple(notes))


def _figure(cell: Cell, bench: Bench) -> Figure:
    session = side.session_of(cell)
    job = Job(cell.engine, bench.engine, bench.artifact, session, bench.inputs, _WARMUP_S, _SECONDS, _PAIRS, _SEED)
    answer = side.answered("benchmarks.duel", job, Answer, cell.engine, _TIMEOUT_S)
    ratio = paired_ratio(np.asarray(answer.harness_ns), np.asarray(answer.bare_ns))
    return Figure(f"{cell.engine} harness / bare", ratio.value, ratio.low, ratio.high, "", LIMIT, ratio.samples)
