"""The tables of the index: what every run said, small enough that a million launches can be asked.

They are a cache: everything in them comes from run folders and can be made from those again. No type is SQLite's own,
so the same models serve PostgreSQL. Durations are nanoseconds, values are in the unit of ``results.quantities``.
"""

# Without `from __future__ import annotations`: the mapping is made of the annotations as they stand.
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from results.snapshot import SNAPSHOT_SCHEMA

INDEX_SCHEMA = 1
"""Version of the tables. 1: first edition."""
EDITION = f"{INDEX_SCHEMA}.{SNAPSHOT_SCHEMA}"
"""What an index must say that it is, or it is made anew: its tables and what they were filled from."""

# SQLite numbers rows by itself only where the key is INTEGER, PostgreSQL's holds two thousand million of those.
_ID = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """What the tables share."""


class About(Base):
    """What the index says of itself: its ``edition``."""

    __tablename__ = "about"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Run(Base):
    """One run folder, named by its ``run_id``, which sorts by when it was made, also where the clock was set back."""

    __tablename__ = "runs"
    __table_args__ = (Index("runs_by_hardware", "hw_id", "run_id"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(String(26), unique=True)
    created_at: Mapped[str] = mapped_column(String(32))  # ISO 8601, UTC
    suite: Mapped[str] = mapped_column(Text)
    preset: Mapped[str] = mapped_column(Text)
    hw_id: Mapped[str] = mapped_column(String(64))
    env_id: Mapped[str] = mapped_column(String(64))
    revision: Mapped[str] = mapped_column(String(64))  # SHA of the suite's repository, empty where there is none
    dirty: Mapped[bool]  # whether files of the repository were changed beside it
    harness_version: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON)
    environment: Mapped[dict[str, Any]] = mapped_column(JSON)
    hardware: Mapped[dict[str, Any]] = mapped_column(JSON)
    drift: Mapped[str] = mapped_column(Text)
    damage: Mapped[list[str]] = mapped_column(JSON)  # what of its journal could not be read
    trouble: Mapped[str] = mapped_column(Text)  # why nothing of it could be read, empty where it could
    journal: Mapped[str] = mapped_column(Text)  # digest of its journal
    seen: Mapped[str] = mapped_column(Text)  # sizes and times of the files that all this was read from


class Cell(Base):
    """One cell, whichever runs measured it. ``label`` is what the newest of them calls it."""

    __tablename__ = "cells"

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    cell_id: Mapped[str] = mapped_column(String(64), unique=True)
    key: Mapped[str] = mapped_column(String(64), index=True)  # identity without the environment's label
    label: Mapped[str] = mapped_column(Text)
    workload: Mapped[str] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    precision: Mapped[str] = mapped_column(String(16))
    device: Mapped[str] = mapped_column(Text)
    scenario: Mapped[str] = mapped_column(Text)  # its kind
    named_by: Mapped[str] = mapped_column(String(26))  # run_id of the run that ``label`` is from


class Launch(Base):
    """One attempt of one launch, as its record says; ``unfinished`` where it began and left none."""

    __tablename__ = "launches"
    __table_args__ = (Index("launches_by_run", "run"), Index("launches_by_cell", "cell", "run"))

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    run: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    cell: Mapped[int] = mapped_column(ForeignKey("cells.id"))
    launch: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str] = mapped_column(String(16))  # completed, failed, skipped or unfinished
    stage: Mapped[str] = mapped_column(String(16))  # of failed
    kind: Mapped[str] = mapped_column(Text)  # of failed
    message: Mapped[str] = mapped_column(Text)  # of failed and skipped
    started_at: Mapped[str] = mapped_column(String(32))  # ISO 8601, UTC
    duration_ns: Mapped[int | None] = mapped_column(BigInteger)
    noisy: Mapped[bool]


class Reading(Base):
    """One value of one quantity: of one launch, or of the cell where ``launch`` is null."""

    __tablename__ = "readings"
    __table_args__ = (
        Index("readings_by_run", "run"),
        Index("readings_by_cell", "cell", "quantity", "run"),
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    run: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    cell: Mapped[int] = mapped_column(ForeignKey("cells.id"))
    quantity: Mapped[str] = mapped_column(String(16))
    launch: Mapped[int | None] = mapped_column(Integer)
    value: Mapped[float] = mapped_column(Float(53))
    noisy: Mapped[bool]
    low: Mapped[float | None] = mapped_column(Float(53))  # 95 % interval, where it is not derived from the launches
    high: Mapped[float | None] = mapped_column(Float(53))
    name: Mapped[str] = mapped_column(Text)  # the metric of ``accuracy``


class State(Base):
    """What became of one cell in one run."""

    __tablename__ = "states"
    __table_args__ = (Index("states_by_cell", "cell", "run"),)

    run: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    cell: Mapped[int] = mapped_column(ForeignKey("cells.id"), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    why: Mapped[str] = mapped_column(Text)
    findings: Mapped[list[str]] = mapped_column(JSON)
    planned: Mapped[int] = mapped_column(Integer)  # launches


BY_RUN = (Launch, Reading, State)
"""The tables whose rows go with their run."""
