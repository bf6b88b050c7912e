"""A large index of synthetic runs, written straight through its tables: what questions to it cost is measured on it.

``python -m benchmarks.history_index FILE [RECORDS] [CELLS]`` writes one, for looking at.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, Index, insert
from ulid import ULID

from harness.vocabulary import digest
from results.index import models
from results.index.database import opened, prepare, remove, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS, CELLS = 1_000_000, 1000
LAUNCHES = 5
"""Of each cell in each run."""
HW_ID = "hw-synthetic"
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_BETWEEN = timedelta(hours=6)
_SPREAD, _LAUNCH_SPREAD, _STEP = 0.01, 0.01, 1.05  # of runs, of launches in one run, of a cell whose level changes
_ENGINES = ("onnxruntime", "openvino", "torch", "litert", "ncnn")
_PRECISIONS = ("fp32", "int8")
_DURATION_NS = 4_000_000_000


@dataclass(frozen=True)
class Size:
    """What was written."""

    path: Path
    runs: int
    cells: int
    records: int
    readings: int


def build(path: Path, records: int = RECORDS, cells: int = CELLS, seed: int = 1) -> Size:
    """Write an index of ``records`` launches, ``cells`` cells in each run, in the place of what lies there.

    Half of the cells are of latency (median, load time, first inference, 99th percentile), the others of throughput and
    memory. A tenth of the cells change their level by 5 % for good, the environment changes every 50 runs.
    """
    rng = np.random.default_rng(seed)
    runs = max(1, round(records / (cells * LAUNCHES)))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    engine = opened(path)
    readings = 0
    try:
        prepare(engine)
        with translated(path), engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
            later = _without_indices(connection)
            drawn = _drawn(rng, runs, cells)
            connection.execute(insert(models.Cell), [_cell(number) for number in range(cells)])
            ids = _ids(runs, rng)
            for run in range(runs):
                connection.execute(insert(models.Run), [_run(run, ids[run])])
                connection.execute(insert(models.State), [_state(run, cell) for cell in range(cells)])
                connection.execute(insert(models.Launch), list(_launches(run, cells)))
                made = list(_readings(run, drawn[run], rng))
                connection.execute(insert(models.Reading), made)
                readings += len(made)
            for index in later:
                index.create(connection)
    finally:
        engine.dispose()
    return Size(path, runs, cells, runs * cells * LAUNCHES, readings)


def _without_indices(connection: Connection) -> list[Index]:
    """Drop the indices of the large tables and return them: made at the end, they cost a sort and no search."""
    found = sorted(
        (index for table in models.BY_RUN for index in models.Base.metadata.tables[table.__tablename__].indexes),
        key=lambda index: str(index.name),
    )
    for index in found:
        index.drop(connection)
    return found


def _drawn(rng: np.random.Generator, runs: int, cells: int) -> np.ndarray:
    """Return the level of each cell in each run, relative to its first: shape (runs, cells)."""
    levels = np.exp(rng.normal(0.0, _SPREAD, (runs, cells)))
    changing = rng.permutation(cells)[: cells // 10]
    for cell, begin in zip(
        changing, rng.integers(runs // 4, max(runs // 4 + 1, 3 * runs // 4), len(changing)), strict=True
    ):
        levels[begin:, cell] *= _STEP
    return levels


def _ids(runs: int, rng: np.random.Generator) -> list[str]:
    milliseconds = [int((_BEGIN + run * _BETWEEN).timestamp() * 1000) for run in range(runs)]
    return [str(ULID(ms.to_bytes(6, "big") + rng.bytes(10))) for ms in milliseconds]


def _cell(number: int) -> dict[str, Any]:
    scenario = ("latency", "throughput", "latency", "memory")[number % 4]
    workload = f"model{number // 40:03d}"
    engine, precision = _ENGINES[number // 4 % 5], _PRECISIONS[number // 20 % 2]
    cell_id = digest({"cell": number})
    return {
        "id": number + 1,
        "cell_id": cell_id,
        "key": cell_id,
        "label": f"{workload}/{engine}/{precision}/cpu/b{1 + number % 4 // 2}/{scenario}",
        "workload": workload,
        "engine": engine,
        "precision": precision,
        "device": "cpu",
        "scenario": scenario,
        "named_by": "",
    }


def _run(run: int, run_id: str) -> dict[str, Any]:
    environment = {
        "kernel": "6.18.44",
        "governor": "performance",
        "versions": dict.fromkeys(_ENGINES, f"1.{run // 50}.0"),
        "thread_variables": {f"VARIABLE_{number}": str(number) for number in range(20)},
        "revision": {"sha": digest({"revision": run})[:40], "dirty": False},
    }
    return {
        "id": run + 1,
        "run_id": run_id,
        "created_at": (_BEGIN + run * _BETWEEN).isoformat(timespec="milliseconds"),
        "suite": "synthetic",
        "preset": "default",
        "hw_id": HW_ID,
        "env_id": digest({**environment, "revision": ""})[:12],
        "revision": environment["revision"]["sha"],  # type: ignore[index]  # the values are of several types
        "dirty": False,
        "harness_version": "0.1.0",
        "tags": [],
        "environment": environment,
        "hardware": {"architecture": "x86_64"},
        "drift": "",
        "damage": [],
        "trouble": "",
        "journal": digest({"journal": run}),
        "seen": "",
    }


def _state(run: int, cell: int) -> dict[str, Any]:
    return {"run": run + 1, "cell": cell + 1, "status": "completed", "why": "", "findings": [], "planned": LAUNCHES}


def _launches(run: int, cells: int) -> Iterator[dict[str, Any]]:
    started_at = (_BEGIN + run * _BETWEEN).isoformat(timespec="milliseconds")
    for launch in range(LAUNCHES):
        for cell in range(cells):
            yield {
                "run": run + 1,
                "cell": cell + 1,
                "launch": launch,
                "attempt": 0,
                "outcome": "completed",
                "stage": "",
                "kind": "",
                "message": "",
                "started_at": started_at,
                "duration_ns": _DURATION_NS,
                "noisy": False,
            }


def _readings(run: int, levels: np.ndarray, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    spread = np.exp(rng.normal(0.0, _LAUNCH_SPREAD, (len(levels), LAUNCHES)))
    for cell, values in enumerate((levels[:, None] * spread).tolist()):
        common = {"run": run + 1, "cell": cell + 1, "low": None, "high": None, "name": "", "noisy": False}
        for quantity, base in _quantities(cell):
            for launch, value in enumerate(values):
                yield {**common, "quantity": quantity, "launch": launch, "value": base * value}
        if cell % 2 == 0:
            tail = 1.3e7 * max(values)
            yield {**common, "quantity": "p99", "launch": None, "value": tail, "low": 0.98 * tail, "high": 1.03 * tail}


def _quantities(cell: int) -> tuple[tuple[str, float], ...]:
    if cell % 2 == 0:
        return ("latency", 1e7), ("load", 2e8), ("first", 3e7)
    return (("throughput", 150.0),) if cell % 4 == 1 else (("memory", 3e8),)


def main(arguments: list[str]) -> None:
    """Write one where the arguments say, and print what is in it."""
    records, cells = (*map(int, arguments[1:]), *(RECORDS, CELLS)[len(arguments) - 1 :])
    sys.stdout.write(f"{build(Path(arguments[0]), records, cells)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
