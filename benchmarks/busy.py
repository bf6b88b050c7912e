"""How often noise flags a launch beside two busy loops, and how often on the machine as it is.

40 latency launches of the fake engine, which spins for 5 ms an inference, by the runner, each with a second of steady
phase; beside 20 of them, drawn by lot, two processes spin besides. All are kept on two processors, so that the figure
means the same on a machine with many. A launch is flagged where its record says ``bad`` of ``run_queue_wait``: it was
kept waiting; or of ``other_processes``: of three that want two processors, the scheduler may leave one to itself.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Figure, Limit, Measured
from benchmarks.scripted import completed, scripted
from harness import jobs, runner
from harness.errors import HarnessError
from harness.vocabulary import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.vocabulary import NoiseReading

    Readings = Mapping[str, NoiseReading]

FLAGGED, FALSE = Limit(low=19), Limit(high=2)
LAUNCHES = 20
"""Beside busy loops, and as many without."""
_LOOPS = 2
_PROCESSORS = 2
_DETECTORS = {"run_queue_wait": "run-queue wait", "other_processes": "other processes"}
_LIMITS = jobs.Limits(minimum_iterations=100, minimum_s=1.0, maximum_s=1.0, warmup_s=0.2)
# It ends by itself, should nobody be left to end it.
_LOOP = "import time\nuntil_s = time.monotonic() + 60\nwhile time.monotonic() < until_s: pass"
_SEED = 20_261_126


def measure(told: Callable[[str], None], launches: int = LAUNCHES) -> Measured:
    """Return how many launches were flagged. Raises ``HarnessError`` where the kernel does not tell."""
    beside = [True] * launches + [False] * launches
    random.Random(_SEED).shuffle(beside)
    told(f"{len(beside)} launches, {_LOOPS} busy loops beside {launches} of them")
    rest = f"""
matrix: {{engine: fake, precision: fp32, device: cpu, scenario: [latency], threads: [1]}}
options: {{fake: {{latency_us: 5000}}}}
launches: {len(beside)}
"""
    with few_processors() as processors, scripted(rest, _LIMITS) as run:
        readings: dict[bool, list[Readings]] = {True: [], False: []}
        for busy, reading in _readings(run.events, beside):
            readings[busy].append(reading)
    figures = [_flagged("beside two busy loops: flagged", readings[True], FLAGGED)]
    figures += [_flagged("without them: flagged", readings[False], FALSE)]
    for detector, words in _DETECTORS.items():
        for name, busy in (("beside them", True), ("without them", False)):
            figures.append(_typical(f"{name}: {words}", [each[detector] for each in readings[busy]]))
    return Measured(tuple(figures), (f"launches and loops shared {processors} processors",))


@contextmanager
def few_processors(count: int = _PROCESSORS) -> Iterator[int]:
    """Keep this process and those that it starts on ``count`` processors at most; yield how many there are."""
    if not hasattr(os, "sched_setaffinity"):
        raise HarnessError("this system keeps no process on chosen processors", "run it on Linux")
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[:count]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def busy_loops(count: int = _LOOPS) -> Iterator[None]:
    """Have ``count`` processes spin."""
    with ExitStack() as stack:
        for _ in range(count):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", _LOOP], stdin=subprocess.DEVNULL))
            stack.callback(loop.kill)
        yield


def _readings(
    events: Iterator[runner.Started | runner.Finished], beside: list[bool]
) -> Iterator[tuple[bool, Readings]]:
    """Yield whether loops spun beside a latency launch, and what the detectors said of it."""
    drawn = iter(beside)
    busy: bool | None = None
    with ExitStack() as stack:
        for event in events:
            if isinstance(event, runner.Finished):
                stack.close()
                record = completed(event.record)
                if busy is not None:
                    yield busy, record.noise
                busy = None
            elif event.cell.scenario.name == "latency":
                busy = next(drawn)
                if busy:
                    stack.enter_context(busy_loops())


def _flagged(name: str, launches: list[Readings], limit: Limit) -> Figure:
    count = 0
    for readings in launches:
        told = [readings[detector] for detector in _DETECTORS]
        flagged = any(reading.state is State.BAD for reading in told)
        silent = next((reading for reading in told if reading.state is State.UNAVAILABLE), None)
        if silent is not None and not flagged:
            raise HarnessError(f"whether a launch was disturbed is not to be had here: {silent.detail}")
        count += flagged
    return Figure(name, float(count), None, None, f"of {len(launches)}", limit, len(launches))


def _typical(name: str, readings: list[NoiseReading]) -> Figure:
    shares = [100 * (reading.value or 0.0) for reading in readings]
    note = f"{name}, least {min(shares):.2f} % and most {max(shares):.2f} %"
    return Figure(note, float(np.median(shares)), None, None, "%", Limit(), len(shares))
