"""The raw samples of a launch: columns of int64 nanoseconds, preallocated, one row per inference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WARMUP, STEADY, DROPPED = 0, 1, 2
"""Values of the ``phase`` column. What was due and never started is ``DROPPED``: its later times are -1."""


@dataclass(frozen=True)
class Samples:
    """Columns of equal length; times are of the monotonic clock, comparable within one launch only.

    Of one row: ``start`` → ``bound`` is ``bind``; ``bound`` → ``synced`` is ``run`` + ``sync`` (compute);
    ``synced`` → ``end`` is ``fetch`` and the task's post-processing. ``scheduled`` equals ``start`` in a closed loop.
    In an open one it is when the query or frame was due, and the latency counts from there; in ``end_to_end`` it is
    when decoding began. ``stream`` is the source of a query in an open loop: the camera in ``camera``.
    """

    phase: np.ndarray
    stream: np.ndarray
    scheduled_ns: np.ndarray
    start_ns: np.ndarray
    bound_ns: np.ndarray
    synced_ns: np.ndarray
    end_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.start_ns)

    def steady(self) -> Samples:
        """Return the rows of the steady phase, in order of start."""
        return self._take(np.flatnonzero(self.phase == STEADY))

    def _take(self, rows: np.ndarray) -> Samples:
        return Samples(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the rows of all parts, one part after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @property
    def host_to_host_ns(self) -> np.ndarray:
        """From a pre-processed tensor in host memory to the task's final output: the headline latency."""
        return np.asarray(self.end_ns - self.start_ns)

    @property
    def compute_ns(self) -> np.ndarray:
        """``run`` + ``sync`` alone: a diagnostic, without copies and post-processing."""
        return np.asarray(self.synced_ns - self.bound_ns)

    @property
    def response_ns(self) -> np.ndarray:
        """From when it was due to the task's final output: without coordinated omission."""
        return np.asarray(self.end_ns - self.scheduled_ns)

    def save(self, path: Path) -> None:
        """Write the columns as a compressed ``.npz`` of int64."""
        columns = {f.name: np.asarray(getattr(self, f.name), dtype=np.int64) for f in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]  # numpy types its keywords as bool

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what ``save`` wrote. Raises ``OSError``, ``KeyError`` or ``ValueError`` for anything else."""
        with np.load(path, allow_pickle=False) as archive:
            return cls(**{f.name: archive[f.name] for f in fields(cls)})
