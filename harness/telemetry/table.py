"""The rows of one launch: the clock, a column per sensor, and what could not be read."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness import codec
from harness.system import Unavailable
from harness.telemetry.sensor import OWN, Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Table:
    """``values`` is (rows, columns), NaN where a sensor did not answer; ``time_ns`` is of the samples' own clock."""

    columns: tuple[Column, ...]
    time_ns: np.ndarray
    values: np.ndarray
    absent: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def of_lines(cls, header: bytes, lines: Iterable[bytes]) -> Table:
        """Return what the sampling process wrote. Raises ``ValueError`` or ``CodecError`` for anything else."""
        about = json.loads(header)
        rows = [json.loads(line) for line in lines]
        columns = codec.decode(tuple[Column, ...], about["columns"])
        values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), len(columns))
        return cls(columns, np.array([row[0] for row in rows], dtype=np.int64), values, about["absent"])

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Table:
        """Return what ``save`` wrote. Raises ``KeyError``, ``ValueError`` or ``CodecError`` for anything else."""
        about = json.loads(str(arrays["about"]))
        columns = codec.decode(tuple[Column, ...], about["columns"])
        time_ns, values = arrays["time_ns"], arrays["values"]
        if values.shape != (len(time_ns), len(columns)):
            raise ValueError(f"{values.shape} values of {len(columns)} columns at {len(time_ns)} times")
        return cls(columns, time_ns, values, about["absent"])

    def save(self, path: Path) -> str:
        """Write a compressed ``.npz`` of ``time_ns``, ``values`` and ``about``, a JSON text; return its SHA-256."""
        about = json.dumps({"columns": [codec.encode(column) for column in self.columns], "absent": dict(self.absent)})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, time_ns=self.time_ns, values=self.values, about=np.array(about))
        path.write_bytes(buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    def within(self, begin_ns: int, end_ns: int) -> Table:
        """Return the rows of a stretch of time, its ends included."""
        return self._rows((self.time_ns >= begin_ns) & (self.time_ns <= end_ns))

    def around(self, begin_ns: int, end_ns: int) -> Table:
        """Return the rows of a stretch of time and the nearest one on either side of it."""
        first = max(int(np.searchsorted(self.time_ns, begin_ns, "right")) - 1, 0)
        last = int(np.searchsorted(self.time_ns, end_ns, "left"))
        rows = np.arange(len(self))
        return self._rows((rows >= first) & (rows <= last))

    def of(self, quantity: str, devices: Sequence[str] | None = None) -> list[tuple[Column, np.ndarray]]:
        """Return the columns of a quantity with their values; ``devices``: of these GPUs alone."""
        return [
            (column, self.values[:, place])
            for place, column in enumerate(self.columns)
            if column.quantity == quantity and (devices is None or not column.device or column.device in devices)
        ]

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that were sampled."""
        return tuple(dict.fromkeys(column.device for column in self.columns if column.device))

    def at_work(self, device: str) -> tuple[str, ...]:
        """Return the GPUs that held a process of ours, for a cell of ``device``; none where it used none.

        Raises ``Unavailable`` where processes cannot be told and several GPUs, or a name that is not CUDA's, leave it
        open which one it was.
        """
        own = {column.device: values for column, values in self.of(OWN)}
        unknown = [gpu for gpu in self.gpus if gpu not in own]
        if not unknown:
            return tuple(gpu for gpu, values in own.items() if np.nanmax(values, initial=0.0) > 0)
        if device == "cpu":
            return ()
        if len(self.gpus) == 1 and "cuda" in device:
            return self.gpus
        why = self.absent.get(f"nvml/{unknown[0]}/{OWN}", "its processes cannot be read")
        raise Unavailable(f"which of {len(self.gpus)} GPUs was at work is not known: {why}")

    def _rows(self, rows: np.ndarray) -> Table:
        return Table(self.columns, self.time_ns[rows], self.values[rows], self.absent)
