"""``python -m benchmarks.fleet_plan ROWS HOSTS``: what a large plan costs its client, on hosts that answer at once.

Two cells a row, its proof and its latency. Prints JSON: cells, launches, seconds and processor seconds, peak memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fleet_scripted import Made, ScriptedHost
from benchmarks.fleet_work import MATRIX, SHORTEST, work
from benchmarks.scripted import completed, scripted
from harness import codec, host, runner
from harness.errors import HarnessError
from harness.vocabulary import EngineFacts


def measured(folder: Path, rows: int, hosts: int) -> dict[str, float]:
    """Return what the plan of so many rows cost this process. Raises ``HarnessError``."""
    machines = scripted_hosts(hosts)
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    with work(folder, MATRIX.format(threads=list(range(1, rows + 1))) + "launches: 1\n", machines) as begun:
        planned_s, planned_cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
        made = sum(1 for _ in begun.records())
        if made != begun.launches:
            raise HarnessError(f"{made} of {begun.launches} launches were filed", "this is a defect of the harness")
        return {
            "cells": begun.cells,
            "launches": begun.launches,
            "planned_s": planned_s,
            "planned_cpu_s": planned_cpu_s,
            "made_s": time.perf_counter() - begin_s - planned_s,
            "made_cpu_s": time.process_time() - begin_cpu_s - planned_cpu_s,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def scripted_hosts(count: int) -> tuple[ScriptedHost, ...]:
    """Return hosts of one kind that answer with the records of two launches that are really made here, and now."""
    with scripted(MATRIX.format(threads=[1]) + "launches: 1\n", SHORTEST) as run:
        records = [completed(event.record) for event in run.events if isinstance(event, runner.Finished)]
        files = [(run.store.folder / each.samples.path).read_bytes() if each.samples else b"" for each in records]
        facts = codec.decode(EngineFacts, run.store.manifest["engines"]["fake"])
    made = {each.cell.scenario.name: Made(each, file) for each, file in zip(records, files, strict=True)}
    fingerprint = host.fingerprint({})
    names = [f"host-{number}" for number in range(1, count + 1)]
    return tuple(ScriptedHost(name, fingerprint, {"fake": facts}, made) for name in names)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fleet-plan-") as place:
        print(json.dumps(measured(Path(place), *map(int, sys.argv[1:3]))))
