"""How long it takes to compare two runs with 10,000 cells: two snapshot files read, judged, and written as JSON.

Half of the cells are of latency, with its median by launch and its 99th percentile, half of throughput; ten launches a
side with a spread of 2 %, and 5 % slower cells among them, so that every verdict comes up. What a run takes to become a
snapshot is not in it: that is done once, and kept beside the run.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Figure, Limit, Measured
from benchmarks.simulated import LAUNCH_SPREAD
from harness.cli.comparison_table import data
from harness.vocabulary import digest
from results.compared import compared
from results.snapshot import COMPLETED, CellState, Reading, Snapshot
from results.snapshot_files import read, write
from results.statistics import launch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = Limit(high=5.0)
CELLS, LAUNCHES, REPEATS = 10_000, 10, 5
_SLOWER, _EVERY = 1.05, 50  # one cell in so many
_SEED = 20_261_201


def measure(told: Callable[[str], None], cells: int = CELLS, repeats: int = REPEATS) -> Measured:
    """Return the seconds of a comparison, files to JSON."""
    generator = np.random.default_rng(_SEED)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.json") for name in ("before", "after")]
        for path, slower in zip(paths, (1.0, _SLOWER), strict=True):
            write(path, simulated(generator, cells, slower))
        seconds, verdicts = [], ""
        for repeat in range(repeats):
            told(f"{cells} cells, {repeat + 1} of {repeats}")
            begin_s = time.perf_counter()
            before, after = (read(path) for path in paths)
            found = data(compared(before, after))
            json.dumps(found, indent=2, sort_keys=True, allow_nan=False)  # as the command prints it
            seconds.append(time.perf_counter() - begin_s)
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in found["verdicts"].items())
    interval = launch_interval(seconds)
    name = f"compare of two runs with {cells:,} cells"
    figure = Figure(name, interval.estimate, interval.low, interval.high, "s", LIMIT, repeats)
    return Measured((figure,), (f"verdicts: {verdicts}",))


def simulated(generator: np.random.Generator, cells: int, slower: float) -> Snapshot:
    """Return a run in small; one cell in ``_EVERY`` is slower by that factor."""
    return Snapshot(
        run_id=f"simulated, {slower:g}",
        created_at="2026-12-01T00:00:00.000+00:00",
        suite="simulated",
        preset="publish",
        hw_id="simulated",
        env_id="simulated",
        harness_version="",
        hardware={},
        environment={},
        cells=tuple(_cells(generator, cells, slower)),
    )


def _cells(generator: np.random.Generator, cells: int, slower: float) -> Iterator[CellState]:
    levels = np.linspace(math.log(1e6), math.log(1e8), cells)  # the same on both sides
    values = np.exp(levels[:, np.newaxis] + LAUNCH_SPREAD * generator.standard_normal((cells, LAUNCHES)))
    values *= np.where(np.arange(cells) % _EVERY == 0, slower, 1.0)[:, np.newaxis]
    launches = tuple(range(LAUNCHES))
    for index in range(cells):
        kind = "latency" if index % 2 == 0 else "throughput"
        identity = digest({"simulated": index})
        if kind == "latency":
            middle = float(np.median(values[index]))
            tail = Reading("p99", (1.3 * middle,), low=1.27 * middle, high=1.35 * middle)
            readings = [Reading("latency", tuple(values[index].tolist()), launches), tail]
        else:
            readings = [Reading("throughput", tuple((1e9 / values[index]).tolist()), launches)]
        yield CellState(
            cell_id=identity,
            key=identity,
            label=f"model{index // 20}/engine{index // 2 % 10}/fp32/cpu/b1/{kind}",
            workload=f"model{index // 20}",
            engine=f"engine{index // 2 % 10}",
            precision="fp32",
            device="cpu",
            scenario=kind,
            status=COMPLETED,
            readings=tuple(readings),
            planned=LAUNCHES,
        )
