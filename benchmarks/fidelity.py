"""Host→host latency by the harness's loop over that of a bare loop on the vendor's own calls, by engine.

EfficientNet-Lite0 of the quickstart suite, FP32, batch 1, one thread: what the harness adds to an iteration does not
grow with threads, while the scheduler's noise does. One process per engine, one loaded model: single iterations of the
two loops alternate on the same inputs, who goes first drawn by lot. The harness's side is ``bind + run + sync + fetch``
as ``harness.measure.loop`` records it, post-processing left out; the bare side is ``benchmarks/bare/ENGINE.py`` between
two readings of ``perf_counter_ns``. Both copy the input into a fixed buffer and give outputs that the caller owns. The
figure is the median of paired ratios.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import bare
from benchmarks.duel import Answer, Job
from benchmarks.estimate import paired_ratio
from benchmarks.figure import Figure, Limit, Measured
from harness import codec, process
from harness.errors import HarnessError
from harness.jobs import SessionSpec
from harness.vocabulary import Goal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.runner import Bench
    from harness.vocabulary import Cell

LIMIT = Limit(0.98, 1.02)
_WARMUP_S, _SECONDS = 3.0, 27.0
_TIMEOUT_S = 300.0
_SEED = 0
_ROOT = Path(__file__).parents[1]


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
            told(f"{cell.engine}: {_WARMUP_S + _SECONDS:g} s")
            figures.append(_figure(cell, bench))
        notes += ready.absent
    return Measured(tuple(figures), tuple(notes))


def _figure(cell: Cell, bench: Bench) -> Figure:
    session = SessionSpec(
        cell.device, cell.precision, cell.batch, cell.threads, 1, Goal.LATENCY, strict=False, options=cell.options
    )
    job = Job(cell.engine, bench.engine, bench.artifact, session, bench.inputs, _WARMUP_S, _SECONDS, _SEED)
    answer = _in_child(job)
    ratio = paired_ratio(np.asarray(answer.harness_ns), np.asarray(answer.bare_ns))
    return Figure(f"{cell.engine} harness / bare", ratio.value, ratio.low, ratio.high, "", LIMIT, ratio.samples)


def _in_child(job: Job) -> Answer:
    with tempfile.TemporaryDirectory(prefix="fidelity-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(codec.encode(job)), encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.duel", name],
            cwd=folder,
            env=process.environment(os.environ, job.session.threads) | {"PYTHONPATH": str(_ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if ended.returncode:
            words = ended.stderr.strip().splitlines()
            raise HarnessError(f"{job.engine}: {words[-1] if words else f'exited {ended.returncode}'}")
        return codec.decode(Answer, json.loads((folder / "answer.json").read_text(encoding="utf-8")))
