"""The process in which one engine's harness loop and bare loop alternate: ``python -m benchmarks.duel JOB``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import bare
from harness import codec
from harness.errors import HarnessError
from harness.jobs import Inputs, SessionSpec  # noqa: TC001 - the codec evaluates annotations at run time
from harness.measure.loop import Columns, closed_loop, without_collector
from harness.vocabulary import Artifact  # noqa: TC001 - as above
from harness.worker.opening import adapter, batches, import_runtime, load
from harness.worker.stage import Stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bare import BareLoop
    from harness.engine import Stream
    from harness.measure.loop import Work

_FOREVER = 2**62
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Job:
    """What is to be compared. ``engine`` is the name of the bare loop, ``target`` the adapter's module:attribute."""

    engine: str
    target: str
    artifact: Artifact
    session: SessionSpec
    inputs: Inputs
    warmup_s: float
    seconds: float
    pairs: int  # at least; where they take longer than the seconds, the seconds are not the end
    seed: int


@dataclass(frozen=True)
class Answer:
    """Host→host nanoseconds of each pair, in order of time."""

    harness_ns: tuple[int, ...]
    bare_ns: tuple[int, ...]


def duel(job: Job, scratch: Path) -> Answer:
    """Alternate single iterations over one loaded model, who goes first drawn by lot for each pair.

    Raises ``HarnessError`` where the two do not compute the same, or where the bare loop's outputs do not survive.
    """
    engine = adapter(job.target)
    stages = Stages(scratch / "stage")
    import_runtime(engine, stages)
    session, stream, _ = load(engine, job.artifact, job.session, scratch, stages)
    plain = bare.over(job.engine, session)
    work: Work = [(batch.tensors, batch.frames) for batch in batches(job.inputs, job.artifact, job.session.batch)]
    _check_same_work(stream, plain, work)
    with without_collector():
        _alternate(stream, plain, work, job.warmup_s, 1, job.seed)
        answer = _alternate(stream, plain, work, job.seconds, job.pairs, job.seed)
    session.close()
    return answer


def _alternate(stream: Stream, plain: BareLoop, work: Work, seconds: float, pairs: int, seed: int) -> Answer:
    clock = time.perf_counter_ns
    columns = Columns()
    bare_ns: list[int] = []

    def by_harness() -> None:
        closed_loop(stream, work, _finish, columns, 1, _FOREVER)

    def by_hand(tensors: Mapping[str, np.ndarray]) -> None:
        started_ns = clock()
        plain(tensors)
        bare_ns.append(clock() - started_ns)

    harness_first = np.random.default_rng(seed).random(columns.capacity) < 0.5
    until_ns = clock() + int(seconds * 1e9)
    for row in range(columns.capacity):
        tensors = work[row % len(work)][0]
        if harness_first[row]:
            by_harness()
            by_hand(tensors)
        else:
            by_hand(tensors)
            by_harness()
        if row + 1 >= pairs and clock() >= until_ns:
            break
    return Answer(tuple(columns.latencies_ns(0).tolist()), tuple(bare_ns))


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""


def _check_same_work(stream: Stream, plain: BareLoop, work: Work) -> None:
    kept: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    for tensors, _ in work[:2]:
        stream.bind(tensors)
        stream.run()
        stream.sync()
        kept.append((stream.fetch(), plain(tensors)))
    # Compared at the end: outputs that a later inference overwrites are not the caller's.
    for ours, theirs in kept:
        if ours.keys() != theirs.keys():
            raise HarnessError(f"the bare loop gives {sorted(theirs)}, the harness {sorted(ours)}")
        for name, value in theirs.items():
            if np.abs(ours[name] - value).max() > _TOLERANCE * np.abs(value).max():
                raise HarnessError(f"output {name!r} of the bare loop is not the harness's, so they do other work")


def main(folder: Path) -> None:
    """Do the job in ``folder`` and leave the answer there."""
    job = codec.decode(Job, json.loads((folder / "job.json").read_text(encoding="utf-8")))
    answer = duel(job, folder)
    (folder / "answer.json").write_text(json.dumps(codec.encode(answer)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
