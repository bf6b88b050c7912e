"""Images to tensors, once for all engines: every engine gets the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import DataError
from harness.jobs import PrepareAnswer
from harness.tasks import catalog
from harness.tasks.task import Frame
from harness.vocabulary import Stage

if TYPE_CHECKING:
    from harness.jobs import PrepareJob
    from harness.worker.stage import Stages


def prepare(job: PrepareJob, stages: Stages) -> PrepareAnswer:
    """Write ``inputs.npy`` (N, C, H, W) float32 and ``frames.json`` to the destination. Raises ``DataError``."""
    stages.enter(Stage.PREPARE)
    tensors, frames = _images(job) if job.items else _drawn(job)
    np.save(job.destination / "inputs.npy", tensors)
    text = json.dumps([dataclasses.asdict(frame) for frame in frames])
    (job.destination / "frames.json").write_text(text, encoding="utf-8")
    content = hashlib.sha256(tensors.tobytes())
    content.update(text.encode())
    return PrepareAnswer(content.hexdigest(), len(tensors))


def _images(job: PrepareJob) -> tuple[np.ndarray, list[Frame]]:
    from harness.tasks.images import decode

    task = catalog.create(job.task)
    tensors = np.empty((len(job.items), *job.shape), dtype=np.float32)
    frames = []
    for index, item in enumerate(job.items):
        tensor, frame = task.preprocess(decode(item.path), job.shape)
        if tensor.shape != job.shape:
            message = f"{item.path.name}: pre-processed to {tensor.shape}, the workload says {job.shape}"
            raise DataError(message, "set `input:` of the workload to what its task makes of an image")
        tensors[index] = tensor
        frames.append(frame)
    return tensors, frames


def _drawn(job: PrepareJob) -> tuple[np.ndarray, list[Frame]]:
    generator = np.random.default_rng(job.seed)
    tensors = generator.random((job.count, *job.shape), dtype=np.float32)
    return tensors, [Frame(width=job.shape[-1], height=job.shape[-2] if len(job.shape) > 1 else 1)] * job.count
