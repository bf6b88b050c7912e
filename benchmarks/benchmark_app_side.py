"""The harness's side of a comparison with ``benchmark_app``: ``python -m benchmarks.benchmark_app_side FOLDER``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import codec
from harness.jobs import SessionSpec  # noqa: TC001 - the codec evaluates annotations at run time
from harness.measure.loop import MAXIMUM_ROWS, Columns, closed_loop, concurrent, without_collector
from harness.vocabulary import Artifact, Goal
from harness.worker.opening import adapter, import_runtime, load
from harness.worker.stage import Stages

if TYPE_CHECKING:
    from harness.engine import Stream

_FOREVER = 2**62


@dataclass(frozen=True)
class Job:
    """What is to be driven, and for how long. ``target`` is the adapter's module:attribute."""

    target: str
    artifact: Artifact
    session: SessionSpec
    seconds: float


def drive(job: Job, scratch: Path) -> float:
    """Return the median of ``run`` and ``sync`` in milliseconds, or inferences per second at the recommended streams.

    After one inference, as ``benchmark_app`` begins, over one input of floats from 0 to 255, as it draws them.
    """
    engine = adapter(job.target)
    stages = Stages(scratch / "stage")
    import_runtime(engine, stages)
    session, stream, _ = load(engine, job.artifact, job.session, scratch, stages)
    draws = np.random.default_rng(0)
    work = [({spec.name: draws.uniform(0, 255, spec.shape).astype(spec.dtype) for spec in job.artifact.inputs}, None)]
    if job.session.goal is Goal.LATENCY:
        columns = Columns()
        with without_collector():
            _first(stream, columns, work)
            first = columns.filled
            until_ns = time.perf_counter_ns() + int(job.seconds * 1e9)
            closed_loop(stream, work, _finish, columns, MAXIMUM_ROWS, until_ns)
        return float(np.median(columns.samples().compute_ns[first:])) / 1e6
    streams = [stream, *(session.stream() for _ in range(session.recommended_streams - 1))]
    done = concurrent(streams, work, _finish, lambda one, columns: _first(one, columns, work), job.seconds)
    steady = done.samples.steady()
    return float(len(steady) * 1e9 / (steady.end_ns.max() - steady.start_ns.min()))


def _first(stream: Stream, columns: Columns, work: list[tuple[dict[str, np.ndarray], None]]) -> None:
    closed_loop(stream, work, _finish, columns, 1, _FOREVER)


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""


def main(folder: Path) -> None:
    """Do the job in ``folder`` and leave the answer there."""
    job = codec.decode(Job, json.loads((folder / "job.json").read_text(encoding="utf-8")))
    (folder / "answer.json").write_text(json.dumps(drive(job, folder)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
