"""A run in small: what became of each cell, and each quantity by launch. Comparisons, baselines and history read it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from typing import Any

SNAPSHOT_SCHEMA = 1
"""Version of the form. 1: first edition."""

COMPLETED, FAILED, SKIPPED, NOT_RUN = "completed", "failed", "skipped", "not run"


@dataclass(frozen=True)
class Reading:
    """One quantity of one cell, in the unit of ``results.quantities``."""

    quantity: str
    values: tuple[float, ...]  # one per launch; a single one where launches have none of their own (accuracy, tails)
    launches: tuple[int, ...] = ()  # which replicate each value is of, where there is one per launch
    noisy: tuple[int, ...] = ()  # those of ``launches`` that a detector flagged
    low: float | None = None  # 95 % interval over launches, where it is not derived from ``values``
    high: float | None = None
    name: str = ""  # what exactly, where the quantity has kinds: the metric of ``accuracy``


@dataclass(frozen=True)
class CellState:
    """What became of one cell, all scenarios but the sentinel's."""

    cell_id: str
    key: str  # the identity without the environment label: what two arms of one run share
    label: str
    workload: str
    engine: str
    precision: str
    device: str
    scenario: str  # its kind
    status: str  # completed, failed, skipped or not run
    why: str = ""  # of failed and skipped
    readings: tuple[Reading, ...] = ()
    findings: tuple[str, ...] = ()  # kinds of findings on its row, such as noisy, fell-back, screening
    planned: int = 0  # launches
    failed: int = 0  # of them, where others completed

    def reading(self, quantity: str) -> Reading | None:
        """Return the reading of a quantity, ``None`` where there is none."""
        return next((reading for reading in self.readings if reading.quantity == quantity), None)


@dataclass(frozen=True)
class Snapshot:
    """A run in small."""

    run_id: str
    created_at: str  # ISO 8601, UTC
    suite: str
    preset: str
    hw_id: str
    env_id: str
    harness_version: str
    hardware: Mapping[str, Any]  # as ``harness.host.hardware`` told
    environment: Mapping[str, Any]  # as ``harness.host.environment`` told: versions of engines, revision, governor, ...
    cells: tuple[CellState, ...]
    tags: tuple[str, ...] = ()
    drift: str = ""  # what the sentinel says where it saw one
    derived_from: str = ""  # digest of manifest and journal, by which a kept snapshot is known to be out of date
    schema: int = SNAPSHOT_SCHEMA
    notes: tuple[str, ...] = field(default=())  # such as launches that a baseline left out
