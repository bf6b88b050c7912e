"""From a job's plain data to a loaded session, with the durations of import and load."""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from collections.abc import Mapping  # noqa: TC003 - a dataclass field's annotation
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream
from harness.errors import HarnessError, InvalidInput, Unsupported
from harness.layout import laid_out
from harness.tasks.task import Frame
from harness.vocabulary import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from harness.jobs import Inputs, SessionSpec
    from harness.vocabulary import Artifact
    from harness.worker.stage import Stages


_FLOATS_PER_PAGE = 1024


def adapter(target: str) -> Engine:
    """Return the engine at ``module:attribute``; no entry point is scanned. Raises whatever the module raises."""
    module, _, attribute = target.partition(":")
    made = getattr(importlib.import_module(module), attribute)()
    if not isinstance(made, Engine):
        raise HarnessError(f"{target} is no harness.engine.Engine", "its entry point must name a class derived from it")
    return made


def import_runtime(engine: Engine, stages: Stages) -> int:
    """Import the vendor's modules and return how long that took, in nanoseconds."""
    stages.enter(Stage.IMPORT)
    started_ns = time.perf_counter_ns()
    for module in engine.modules:
        importlib.import_module(module)
    return time.perf_counter_ns() - started_ns


def load(
    engine: Engine, artifact: Artifact, spec: SessionSpec, scratch: Path, stages: Stages
) -> tuple[Session, Stream, int]:
    """Load the artifact, open a stream, and return both and how long that took, in nanoseconds.

    The stream belongs to it: some runtimes take the memory that they work in only then. Raises ``Unsupported``.
    """
    stages.enter(Stage.LOAD)
    if artifact.format not in engine.formats:
        raise Unsupported(f"{engine.name} does not load {artifact.format}", f"it loads {', '.join(engine.formats)}")
    config = SessionConfig(
        device=spec.device,
        precision=spec.precision,
        batch=spec.batch,
        threads=spec.threads,
        streams=spec.streams,
        goal=spec.goal,
        strict=spec.strict,
        options=options(engine, spec.options),
        scratch=scratch,
    )
    started_ns = time.perf_counter_ns()
    session = engine.load(artifact, config)
    stream = session.stream()
    return session, stream, time.perf_counter_ns() - started_ns


def options(engine: Engine, given: Mapping[str, Any]) -> object:
    """Return an instance of the engine's own options. Raises ``HarnessError`` for an unknown name."""
    known = {field.name for field in dataclasses.fields(engine.options)}
    unknown = sorted(set(given) - known)
    if unknown:
        hint = f"it has: {', '.join(sorted(known)) or 'none'}"
        raise HarnessError(f"{engine.name} has no option {unknown[0]!r}", hint)
    return engine.options(**given)


@dataclass(frozen=True)
class Batch:
    """One input as the stream takes it, and the frames of its items."""

    tensors: Mapping[str, np.ndarray]
    frames: tuple[Frame, ...]


def batches(inputs: Inputs, artifact: Artifact, size: int, limit: int | None = None) -> tuple[Batch, ...]:
    """Return the inputs in batches of ``size``, contiguous, each item in as many batches as it takes to fill the last.

    For a model that takes channels last the images are laid out so. Raises ``InvalidInput`` where the model does not
    take exactly one float32 input of that shape.
    """
    # Mapped copy-on-write: reading 40 MB into fresh pages would cost each launch 50 ms and more.
    images = np.asarray(np.load(inputs.path / "inputs.npy", mmap_mode="c"))
    frames = [Frame(**frame) for frame in json.loads((inputs.path / "frames.json").read_text(encoding="utf-8"))]
    if len(artifact.inputs) != 1:
        names = ", ".join(spec.name for spec in artifact.inputs) or "none"
        message = f"the model takes {len(artifact.inputs)} inputs ({names}); one image tensor is given"
        raise InvalidInput(message, "export the model with one input, its others as constants")
    expected = artifact.inputs[0]
    images = laid_out(images, expected.shape, size)
    given = (size, *images.shape[1:])
    if tuple(expected.shape) != given or expected.dtype != str(images.dtype):
        message = f"the model takes {expected.name} {expected.dtype}{list(expected.shape)}, the workload gives"
        raise InvalidInput(f"{message} {images.dtype}{list(given)}", "set `input:` of the workload, or the batch")
    count = len(images)
    starts = range(0, count, size)
    made = []
    for start in starts if limit is None else starts[:limit]:
        rows = [index % count for index in range(start, start + size)]
        stacked = images[rows[0] : rows[0] + 1] if size == 1 else images[rows]
        tensors = {expected.name: np.ascontiguousarray(stacked)}
        # Every page is touched now, so that no timed ``bind`` meets one that is not mapped yet.
        tensors[expected.name].reshape(-1)[::_FLOATS_PER_PAGE].sum()
        made.append(Batch(tensors, tuple(frames[row] for row in rows)))
    return tuple(made)
