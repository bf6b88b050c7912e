"""What a fleet costs beyond its launches, over TLS on this machine; and what 10,000 cells cost its client.

*Added to a launch*: the same launch of the fake engine by the local runner and by a fleet of one host, each from asking
what comes next to the stored record, one after the other in drawn order; the median of the differences. *40 cells on 4
hosts*: cells that sleep while they load, so that the processors are no limit; from the first question to the last
record, over what a quarter of as many launches takes the local runner. *10,000 cells*: 5,000 rows with their proofs,
planned, shared and asked of scripted hosts, in a process of its own: everything is filed, nothing is launched.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.estimate import paired_difference
from benchmarks.figure import Figure, Limit, Measured
from benchmarks.fleet_lab import lab
from benchmarks.fleet_work import MATRIX, SHORTEST, work
from benchmarks.launch import bytecode_kept
from benchmarks.scripted import completed, scripted
from harness import runner
from harness.errors import HarnessError
from harness.fleet import config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.scripted import Scripted
    from harness.fleet.contract import Host
    from harness.vocabulary import Record

ADDED, WAITED, MEMORY = Limit(high=100), Limit(high=1.15), Limit(high=1.0)
_PAIRS = 40
_ROWS, _HOSTS, _TIMES = 20, 4, 3  # a row is two cells: its proof and its latency
_ASLEEP = "options: {fake: {load_ms: 2500, asleep: true}}\n"
_LARGE, _SCRIPTED = 5000, 8
_TIMEOUT_S = 1800.0
_ROOT = Path(__file__).parents[1]


def measure(told: Callable[[str], None]) -> Measured:
    """Return what a launch costs more on a fleet, how well hosts share, and what a large plan takes."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as name, bytecode_kept(Path(name) / "bytecode"):
        folder = Path(name)
        with _hosts(folder, _HOSTS) as hosts:
            told(f"{_PAIRS} pairs of launches")
            remote_ms, local_ms = _pairs(folder, hosts[0], _PAIRS)
            told(f"{_TIMES} times {2 * _ROWS} cells on {_HOSTS} hosts")
            took_s, ideal_s = _shared(folder, hosts, _ROWS, _TIMES)
    told(f"{2 * _LARGE} cells on {_SCRIPTED} scripted hosts")
    large = _large(_LARGE, _SCRIPTED)
    added = paired_difference(remote_ms, local_ms)
    each_ms = 1e3 * large["made_cpu_s"] / large["launches"]
    shared = f"{2 * _ROWS} cells on {_HOSTS} hosts / ideal, the slowest of {_TIMES}"
    memory = f"peak memory of the client of {large['cells']} cells"
    figures = (
        Figure("added to a launch", added.value, added.low, added.high, "ms", ADDED, added.samples),
        Figure(shared, max(took_s) / ideal_s, None, None, "", WAITED, len(took_s)),
        Figure(memory, large["peak_bytes"] / 2**30, None, None, "GiB", MEMORY, 1),
        Figure(
            "processor time of that client for a launch", each_ms, None, None, "ms", Limit(), int(large["launches"])
        ),
    )
    times = ", ".join(f"{each:.1f}" for each in took_s)
    planned = f"planned and prepared in {large['planned_s']:.0f} s ({large['planned_cpu_s']:.0f} s of a processor)"
    filed = f"{large['launches']} launches of scripted hosts filed in {large['made_s']:.0f} s"
    notes = (
        f"a launch by the local runner took {np.median(local_ms):.0f} ms",
        f"{2 * _ROWS} cells took {times} s; ideal: {ideal_s:.1f} s",
        f"{large['cells']} cells {planned}, {filed}",
    )
    return Measured(figures, notes)


def _pairs(folder: Path, host: Host, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the milliseconds of launches by a fleet of one and by the local runner, pair by pair."""
    rest = MATRIX.format(threads=[1]) + f"launches: {count + 1}\n"
    lot = random.Random(0)
    with work(folder / "pairs", rest, [host]) as remote, scripted(rest, SHORTEST) as local:
        sides = (remote.records(), _records(local))
        took_ms: tuple[list[float], list[float]] = ([], [])
        for _ in range(count + 1):
            for side in (0, 1) if lot.random() < 0.5 else (1, 0):
                begin_ns = time.perf_counter_ns()
                next(sides[side])
                took_ms[side].append((time.perf_counter_ns() - begin_ns) / 1e6)
    # The first is the proof, before which the host was brought its files.
    return np.asarray(took_ms[0][1:]), np.asarray(took_ms[1][1:])


def _shared(folder: Path, hosts: Sequence[Host], rows: int, times: int) -> tuple[list[float], float]:
    """Return how many seconds hosts took that shared the cells of rows, time after time; and the ideal."""
    threads = list(range(1, rows + 1))
    with scripted(MATRIX.format(threads=threads[:2]) + _ASLEEP + "launches: 1\n", SHORTEST) as local:
        launches_s = []
        begin_s = time.perf_counter()
        for _ in _records(local):
            launches_s.append(time.perf_counter() - begin_s)
            begin_s = time.perf_counter()
    took_s = []
    for number in range(times):
        rest = MATRIX.format(threads=threads) + _ASLEEP + "launches: 1\n"
        with work(folder / f"shared-{number}", rest, hosts) as remote:
            begin_s = time.perf_counter()
            made = sum(1 for _ in remote.records())
            took_s.append(time.perf_counter() - begin_s)
            if made != remote.cells:
                raise HarnessError(f"{made} launches of {remote.cells} cells", "this is a defect of the benchmark")
    return took_s, float(np.median(launches_s)) * 2 * rows / len(hosts)


@contextmanager
def _hosts(folder: Path, count: int) -> Iterator[Sequence[Host]]:
    """Yield the hosts of a fleet of processes."""
    from harness.fleet.dask_fleet import DaskFleet

    names = [f"box-{number}" for number in range(1, count + 1)]
    with lab(folder, names) as file, DaskFleet(config.load(file)) as fleet:
        yield fleet.hosts()


def _records(run: Scripted) -> Iterator[Record]:
    return (completed(event.record) for event in run.events if isinstance(event, runner.Finished))


def _large(rows: int, hosts: int) -> dict[str, float]:
    """Return what the client of a large plan tells of itself. Raises ``HarnessError``."""
    command = [sys.executable, "-m", "benchmarks.fleet_plan", str(rows), str(hosts)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise HarnessError(f"the client of {2 * rows} cells failed: {done.stderr[-300:]}", "run it to see why")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
