"""Encoded images in memory, and how they become a model's input: what a camera or a request brings."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import DataError
from harness.layout import laid_out
from harness.measure import loop
from harness.tasks.images import decode_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import Stream
    from harness.jobs import LaunchJob
    from harness.measure.samples import Samples
    from harness.tasks.task import Frame, Task
    from harness.vocabulary import TensorSpec
    from harness.worker.scenarios.opened import Step

ROTATED = 64
"""Images in rotation, where there are as many: one image repeated measures the cache."""


@dataclass(frozen=True)
class Encoded:
    """Image files as they are stored, and what makes inputs of them."""

    files: tuple[tuple[Path, bytes], ...]
    task: Task
    shape: tuple[int, ...]  # of one input, without the batch: (C, H, W)
    taken: TensorSpec
    batch: int

    @classmethod
    def read(cls, job: LaunchJob, task: Task) -> Encoded:
        """Return the first images of a job, read whole, so that no disk is timed. Raises ``DataError``."""
        if not job.items:
            raise DataError("there is no image to decode", "give the workload `data:`")
        size = job.session.batch
        files = tuple((item.path, _bytes(item.path)) for item in job.items[: max(ROTATED, size)])
        return cls(files, task, tuple(job.shape), job.artifact.inputs[0], size)

    def item(self, index: int) -> tuple[Mapping[str, np.ndarray], tuple[Frame, ...]]:
        """Return image ``index`` of the rotation as a part of a batch: one row, and its frame. Raises ``DataError``."""
        path, encoded = self.files[index % len(self.files)]
        tensor, frame = self.task.preprocess(decode_bytes(encoded, path), self.shape)
        row = laid_out(tensor[np.newaxis], self.taken.shape, self.batch)
        return {self.taken.name: np.ascontiguousarray(row)}, (frame,)

    def prepare(self, index: int) -> tuple[Mapping[str, np.ndarray], tuple[Frame, ...]]:
        """Return batch ``index`` of the rotation, decoded and pre-processed. Raises ``DataError``."""
        if self.batch == 1:
            return self.item(index)
        items = [self.item(index * self.batch + number) for number in range(self.batch)]
        name = self.taken.name
        rows = np.concatenate([tensors[name] for tensors, _ in items])
        return {name: rows}, tuple(frame for _, frames in items for frame in frames)

    def stepping(self, stream: Stream, columns: Columns) -> Step:
        """Return the step that runs inferences from encoded images, as ``loop.closed_loop`` does from tensors."""
        clock, finish = time.perf_counter_ns, self.task.postprocess

        def step(count: int, until_ns: int) -> None:
            for row in range(columns.filled, min(columns.filled + count, columns.capacity)):
                decoding_ns = clock()
                tensors, frames = self.prepare(row)
                started_ns = clock()
                stream.bind(tensors)
                bound_ns = clock()
                stream.run()
                stream.sync()
                synced_ns = clock()
                finish(stream.fetch(), frames)
                ended_ns = clock()
                columns.decoding[row] = decoding_ns
                columns.start[row] = started_ns
                columns.bound[row] = bound_ns
                columns.synced[row] = synced_ns
                columns.end[row] = ended_ns
                columns.filled = row + 1
                if ended_ns >= until_ns:
                    break

        return step


class Columns(loop.Columns):
    """One more column than a closed loop has: when decoding began, from which the latency counts."""

    def __init__(self, capacity: int = loop.MAXIMUM_ROWS) -> None:
        super().__init__(capacity)
        self._decoding = np.full(capacity, -1, dtype=np.int64)
        self.decoding = self._decoding.data

    def latencies_ns(self, first: int) -> np.ndarray:
        """Return latencies from encoded image to final output, of the rows from ``first`` on."""
        return self._data[3, first : self.filled] - self._decoding[first : self.filled]

    def samples(self, stream: int = 0) -> Samples:
        """Return the filled rows; ``scheduled_ns`` is when decoding began."""
        return replace(super().samples(stream), scheduled_ns=self._decoding[: self.filled].copy())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "check the data set's folder, or remove it from the list"
        raise DataError(f"{path}: cannot be read: {error.strerror}", hint) from None
