"""What the suite adds to a launch beyond starting Python with numpy and beyond the engine's own time.

Whole launches of the fake engine, which takes no time of its own, by ``harness.runner`` into a run folder on disk: from
asking the policy to the stored record. From each are taken off: the time of ``python -c "import numpy"`` in the same
environment, measured right before or after it as drawn by lot; the engine's import, load and first inference; and every
inference of the warm-up and the steady phase, as the record tells them. What is left is the suite's: its modules, 64
inputs of 3 x 224 x 224 read from disk, the comparison with the reference, the sample buffer, the noise detectors, the
files that come back, the journal. The figure is the median over pairs.

Both sides find their bytecode compiled, as installed packages do: it is kept in a folder of this measurement's own,
whatever PYTHONDONTWRITEBYTECODE says. A checkout run with that variable compiles the harness anew at every launch.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.estimate import paired_difference
from benchmarks.figure import Figure, Limit, Measured
from harness import jobs, process, runner, suite
from harness.errors import HarnessError
from harness.vocabulary import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.cli.campaign import Campaign
    from harness.vocabulary import Record
    from results.store import RunStore

LIMIT = Limit(high=150)
_PAIRS = 40
_SUITE = f"""
version: 1
workloads:
  fake:
    source: {{file: script.json, format: fake-script}}
    task: raw
    input: [3, 224, 224]
matrix: {{engine: fake, precision: fp32, device: cpu, scenario: [latency]}}
launches: {_PAIRS + 1}
"""
_SHORTEST = jobs.Limits(minimum_iterations=1, minimum_s=0.0, maximum_s=0.0, warmup_s=0.0)


def measure(told: Callable[[str], None]) -> Measured:
    """Return the milliseconds that a launch costs besides Python, numpy and the engine."""
    from harness.cli import campaign as campaigns

    with (
        tempfile.TemporaryDirectory(prefix="launch-") as name,
        bytecode_kept(Path(name) / "bytecode"),
        campaigns.opened_workshop(300.0) as workshop,
    ):
        folder = Path(name)
        (folder / "script.json").write_text(json.dumps({"outputs": {"output": [1000]}}), encoding="utf-8")
        (folder / "suite.yaml").write_text(_SUITE, encoding="utf-8")
        campaign = campaigns.look(suite.load(folder / "suite.yaml"), folder, workshop, lambda _: None)
        with campaigns.create(campaign, folder / "runs", suite_text=_SUITE, command="") as store:
            told(f"{_PAIRS} launches")
            launches_ms, starts_ms = zip(*_pairs(campaign, store), strict=True)
    # The first pair writes bytecode and warms the page cache for all that follow.
    added = paired_difference(np.asarray(launches_ms[1:]), np.asarray(starts_ms[1:]))
    return Measured(
        (Figure("added to a launch", added.value, added.low, added.high, "ms", LIMIT, added.samples),),
        (f"python with numpy alone took {np.median(starts_ms[1:]):.0f} ms",),
    )


@contextlib.contextmanager
def bytecode_kept(folder: Path) -> Iterator[None]:
    """Have the processes that are started meanwhile write bytecode to ``folder`` and find it there."""
    before = dict(os.environ)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _pairs(campaign: Campaign, store: RunStore) -> Iterator[tuple[float, float]]:
    """Yield the milliseconds of a launch less the engine's, and those of a bare start of Python beside it."""
    from harness.cli import campaign as campaigns

    benches = campaigns.prepared(campaign, campaigns.runnable(campaign.plan), lambda _: None)
    setting = campaigns.setting(campaign, store, benches)
    setting = replace(setting, limits=dict.fromkeys(setting.limits, _SHORTEST))
    run = runner.run(campaigns.order_of(campaign, store), store, setting)
    lot = random.Random(0)
    while True:
        start_first = lot.random() < 0.5
        start_ms = _bare_start_ms() if start_first else 0.0
        started_ns = time.perf_counter_ns()
        record = next((event.record for event in run if isinstance(event, runner.Finished)), None)
        took_ns = time.perf_counter_ns() - started_ns
        if record is None:
            return
        if not start_first:
            start_ms = _bare_start_ms()
        if record.cell.scenario.name == "latency":
            yield (took_ns - _engines_ns(record, store)) / 1e6, start_ms


def _bare_start_ms() -> float:
    environment = process.environment(os.environ, None)
    started_ns = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", "import numpy"], env=environment, stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter_ns() - started_ns) / 1e6


def _engines_ns(record: Record, store: RunStore) -> int:
    """Return what the engine took of a launch. Raises ``HarnessError`` where it did not complete."""
    if not isinstance(record.outcome, Completed) or record.timing is None or record.samples is None:
        raise HarnessError(f"a launch of the fake engine did not complete: {record.outcome}")
    inferences_ns = int(store.samples(record.samples).host_to_host_ns.sum())
    return record.timing.import_ns + record.timing.load_ns + record.timing.first_ns + inferences_ns
