"""The accuracy pass: every evaluation image through the same artifact that is timed, in an untimed process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import DataError
from harness.layout import laid_out
from harness.tasks.images import decode
from harness.vocabulary import Accuracy

if TYPE_CHECKING:
    from harness.engine import Stream
    from harness.jobs import LaunchJob
    from harness.tasks.task import Task


def evaluate(job: LaunchJob, stream: Stream, task: Task) -> tuple[Accuracy, str, int]:
    """Return the metrics, and hash and number of arrays of the per-image facts left at ``job.samples``.

    Raises ``DataError`` where there is nothing to evaluate on or an image cannot be decoded.
    """
    if not job.items:
        raise DataError("there is no evaluation image", "give the workload `data:` with an `evaluate:` selection")
    taken = job.artifact.inputs[0]
    size = job.session.batch
    predictions: list[Any] = []
    for start in range(0, len(job.items), size):
        chunk = job.items[start : start + size]
        prepared = [task.preprocess(decode(item.path), job.shape) for item in chunk]
        # The last batch is filled up by repetition, since shapes are static; the surplus is not counted.
        tensors = [prepared[index % len(prepared)][0] for index in range(size)]
        frames = [prepared[index % len(prepared)][1] for index in range(size)]
        stream.bind({taken.name: np.ascontiguousarray(laid_out(np.stack(tensors), taken.shape))})
        stream.run()
        stream.sync()
        predictions += task.postprocess(stream.fetch(), frames)[: len(chunk)]
    classes = {int(key): value for key, value in job.classes.items()}
    evaluation = task.evaluate(predictions, [item.label for item in job.items], classes)
    digest, count = "", 0
    if evaluation.per_image:
        with job.samples.open("wb") as file:
            np.savez_compressed(file, **evaluation.per_image)  # type: ignore[arg-type]  # numpy types keywords as bool
        digest = hashlib.sha256(job.samples.read_bytes()).hexdigest()
        count = len(evaluation.per_image)
    accuracy = Accuracy(dict(evaluation.metrics), evaluation.primary, len(job.items), notes=evaluation.notes)
    return accuracy, digest, count
