"""The process in which our loop and the official LoadGen take turns: ``python -m benchmarks.loadgen_side JOB``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import codec
from harness.errors import HarnessError
from harness.jobs import Inputs, SessionSpec  # noqa: TC001 - the codec evaluates annotations at run time
from harness.measure.loop import Columns, closed_loop, without_collector
from harness.scenarios import MlPerfSettings
from harness.vocabulary import Artifact  # noqa: TC001 - as above
from harness.worker import loadgen
from harness.worker.opening import adapter, batches, import_runtime, load
from harness.worker.scenarios.mlperf import Answerer, Shared, at_once
from harness.worker.stage import Stages
from results.scenarios.loadgen import percentile_ns

if TYPE_CHECKING:
    from collections.abc import Callable

PERCENTILES = (50.0, 90.0)
_FOREVER = 2**62


@dataclass(frozen=True)
class Job:
    """What is to be compared. ``target`` is the adapter's module:attribute."""

    target: str
    artifact: Artifact
    session: SessionSpec
    inputs: Inputs
    warmup_s: float
    pairs: int
    queries: int  # of each block
    seed: int


@dataclass(frozen=True)
class Answer:
    """The percentiles of each block, nanoseconds, one tuple per pair, in order of time."""

    ours_ns: tuple[tuple[float, ...], ...]
    theirs_ns: tuple[tuple[float, ...], ...]
    version: str


def alternated(job: Job, scratch: Path) -> Answer:
    """Alternate blocks of queries over one loaded model, who goes first drawn by lot for each pair."""
    lg = loadgen.imported()
    engine = adapter(job.target)
    stages = Stages(scratch / "stage")
    import_runtime(engine, stages)
    session, stream, _ = load(engine, job.artifact, job.session, scratch, stages)
    work = [(batch.tensors, batch.frames) for batch in batches(job.inputs, job.artifact, 1)]
    columns = Columns(job.queries)

    def ours() -> tuple[float, ...]:
        columns.filled = 0
        closed_loop(stream, work, _finish, columns, job.queries, _FOREVER)
        return tuple(percentile_ns(columns.latencies_ns(0), percentile / 100) for percentile in PERCENTILES)

    with without_collector():
        until_ns = time.perf_counter_ns() + int(job.warmup_s * 1e9)
        while time.perf_counter_ns() < until_ns:
            ours()
        fastest_ns = int(columns.latencies_ns(0).min())
        shared = Shared(work, _finish, loadgen.answering(lg), 1)
        tests = _Tests(lg, at_once(Answerer(shared, stream)), len(work), scratch)
        theirs = tests.block(job.queries, fastest_ns)
        theirs()  # its first test of a process loads what the others find
        pairs = _taking_turns(ours, theirs, job.pairs, job.seed)
    if shared.errors:
        raise shared.errors[0]
    session.close()
    return Answer(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), tests.version)


def _taking_turns(
    ours: Callable[[], tuple[float, ...]], theirs: Callable[[], tuple[float, ...]], pairs: int, seed: int
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    found = []
    for ours_first in np.random.default_rng(seed).random(pairs) < 0.5:
        if ours_first:
            mine, other = ours(), theirs()
        else:
            other, mine = theirs(), ours()
        found.append((mine, other))
    return found


class _Tests:
    """Tests of LoadGen's SingleStream, one after the other, each with a folder of its own."""

    def __init__(self, lg: Any, issue: loadgen.Issue, samples: int, scratch: Path) -> None:
        self._lg, self._issue, self._samples, self._scratch = lg, issue, samples, scratch
        self._played = 0
        self.version = ""

    def block(self, queries: int, fastest_ns: int) -> Callable[[], tuple[float, ...]]:
        """Return what plays a test of this many queries and gives the percentiles of its summary."""
        settings, _ = loadgen.official_settings(self._lg, MlPerfSettings(seconds=1e-3, queries=queries), self._samples)
        settings.single_stream_expected_latency_ns = fastest_ns

        def play() -> tuple[float, ...]:
            self._played += 1
            logs = loadgen.play(self._lg, settings, self._issue, self._samples, self._scratch / f"test{self._played}")
            run = loadgen.run_of(logs, settings, self._samples, official=False)
            self.version = run.version
            if not run.valid:
                raise HarnessError(f"LoadGen says INVALID: {'; '.join(run.reasons)}")
            return tuple(run.figures[f"{percentile:.2f} percentile latency (ns)"] for percentile in PERCENTILES)

        return play


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""


def main(folder: Path) -> None:
    """Do the job in ``folder`` and leave the answer there."""
    job = codec.decode(Job, json.loads((folder / "job.json").read_text(encoding="utf-8")))
    answer = alternated(job, folder)
    (folder / "answer.json").write_text(json.dumps(codec.encode(answer)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
