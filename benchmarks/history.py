"""How long ``harness history`` takes over an index of 1,000,000 launches, and how much memory.

The index is made afresh of simulated runs and read by a process of its own, which tells the peak of its resident set.
Durations are from the opened index to the histories, without the start of the interpreter and its imports.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, Limit, Measured
from harness.errors import HarnessError
from results.histories import Asked, histories
from results.history import LAST
from results.index import asking
from results.index.database import reading

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = 1_000_000
CELLS = 100
ONE, ALL = Limit(high=1.0), Limit(high=20.0)
MEMORY = Limit(high=1.0)
_SINGLE = 10  # cells that are asked for one by one
_TIMEOUT_S = 900.0
_ROOT = Path(__file__).parents[1]


def measure(told: Callable[[str], None], records: int = RECORDS, cells: int = CELLS) -> Measured:
    """Return the time of one history and of ``cells``, and the peak memory. Raises ``HarnessError``."""
    from benchmarks.history_index import LAUNCHES, build

    with tempfile.TemporaryDirectory(prefix="harness-history-") as folder:
        place = Path(folder) / "index.sqlite"
        told(f"making an index of {records} launches")
        build(place, records=records, cells=max(cells, records // (LAUNCHES * LAST)))
        told(f"the histories of {_SINGLE} cells one by one, then of {cells}")
        command = [sys.executable, "-m", "benchmarks.history", str(place), str(cells)]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        size_bytes = place.stat().st_size
    if done.returncode:
        raise HarnessError(f"the reading process failed: {done.stderr[-300:]}", "run it by itself to see why")
    answer = json.loads(done.stdout)
    single_s = answer["single_s"]
    figures = (
        Figure("one history, the slowest of those asked for alone", max(single_s), None, None, "s", ONE, len(single_s)),
        Figure(f"{answer['cells']} histories in one go", answer["all_s"], None, None, "s", ALL, 1),
        Figure("peak memory", answer["peak_bytes"] / 2**30, None, None, "GiB", MEMORY, 1),
    )
    notes = (
        f"{answer['points']} points in {answer['cells']} histories, {answer['changes']} changes of level",
        f"the index takes {size_bytes / 1e6:.0f} MB",
    )
    return Measured(figures, notes)


def read(place: Path, cells: int) -> dict[str, object]:
    """Return what the reading process tells: seconds of each single history and of all, its peak, what it found."""
    with reading(place) as session:
        ids = [cell.cell_id for cell in asking.cells(session)]
    single_s = []
    for cell_id in ids[:_SINGLE]:
        begin = time.perf_counter()
        with reading(place) as session:
            list(histories(session, Asked(cell_id)))
        single_s.append(time.perf_counter() - begin)
    points = changes = 0
    begin = time.perf_counter()
    with reading(place) as session:
        for one in itertools.islice(histories(session), cells):
            points += len(one.spots)
            changes += len(one.shifts)
    return {
        "single_s": single_s,
        "all_s": time.perf_counter() - begin,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "cells": min(cells, len(ids)),
        "points": points,
        "changes": changes,
    }


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1]), int(sys.argv[2]))))
