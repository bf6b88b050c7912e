"""Which runs may go, by age or number, and how they go: whole, and never one that something still leans on."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from harness.errors import StoreError
from results.files import explained, sync
from results.fleets import PREFIX
from results.locks import busy, hold, is_written
from results.store import MANIFEST, runs_in
from results.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from results.fleets import FleetRun

_GONE = ".removed"


@dataclass(frozen=True)
class Limits:
    """What makes a run old: both, where both are given."""

    older: timedelta | None = None
    keep: int | None = None  # newest ones that stay


@dataclass(frozen=True)
class Candidate:
    """A run that is old, and why it stays nevertheless."""

    folder: Path
    created_at: str
    size_bytes: int
    kept: str = ""

    @property
    def run_id(self) -> str:
        """The name of its folder."""
        return self.folder.name


def candidates(runs: Path, limits: Limits, now: datetime, leaned_on: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Return the old runs of a folder, oldest first. ``leaned_on``: run id → what refers to it, such as a baseline.

    The newest are those made last, whatever the clock said; a run from the future is not old. Raises ``StoreError``.
    """
    found = runs_in(runs)
    old = found[: max(0, len(found) - limits.keep)] if limits.keep is not None else found
    made = []
    for folder in old:
        created_at = _created_at(folder)
        if created_at is None:
            made.append(Candidate(folder, "", _size(folder), "nothing says when it was made"))
        elif limits.older is None or now - created_at > limits.older:
            made.append(Candidate(folder, created_at.isoformat(), _size(folder), _support(folder, leaned_on)))
    return tuple(made)


def _support(folder: Path, leaned_on: Mapping[str, str]) -> str:
    """Return what a run is needed for, or nothing."""
    try:
        tags = tags_of(folder)
    except StoreError as error:
        return error.message
    if tags:
        return f"tagged {', '.join(tags)}"
    if folder.name in leaned_on:
        return leaned_on[folder.name]
    return "it is being written" if is_written(folder) else ""


def kept_together(found: Sequence[Candidate], fleets: Sequence[FleetRun]) -> tuple[Candidate, ...]:
    """Return old runs so that none goes while another of its fleet stays: their report is of all of them."""
    going = {each.run_id for each in found if not each.kept}
    why: dict[str, str] = {}
    for fleet in fleets:
        there = _there(fleet)
        staying = [run_id for run_id in there if run_id not in going]
        if staying:
            why |= dict.fromkeys(there, f"{fleet.fleet_id} has run {staying[0]} besides, which stays")
    return tuple(replace(each, kept=each.kept or why.get(each.run_id, "")) for each in found)


def emptied(fleets: Sequence[FleetRun], going: Collection[str]) -> tuple[FleetRun, ...]:
    """Return the fleets that had runs, and have none once some are gone; ``going``: the ids of these."""
    return tuple(
        fleet for fleet in fleets if fleet.runs and not set(_there(fleet)) - set(going) and not is_written(fleet.folder)
    )


def _there(fleet: FleetRun) -> list[str]:
    return [folder.name for folder in fleet.folders if folder.is_dir()]


def remove(folder: Path) -> None:
    """Delete a run or the folder of a fleet: first from sight, by one rename, then from the disk.

    Raises ``StoreError`` where it is being written.
    """
    with explained(folder):
        descriptor = hold(folder)
        if descriptor is None:
            raise busy(folder.name)
        try:
            gone = folder.with_name(f".{folder.name}{_GONE}")
            folder.rename(gone)
            sync(gone.parent)
            for each in _gone_in(gone.parent):  # those too that a killed removal left
                shutil.rmtree(each, ignore_errors=each != gone)
        finally:
            os.close(descriptor)


def _gone_in(root: Path) -> list[Path]:
    ulid = "[0-9A-Z]" * 26
    return [each for prefix in ("", PREFIX) for each in root.glob(f".{prefix}{ulid}{_GONE}")]


def _created_at(folder: Path) -> datetime | None:
    try:
        created_at = datetime.fromisoformat(json.loads((folder / MANIFEST).read_bytes())["created_at"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return created_at if created_at.tzinfo else None


def _size(folder: Path) -> int:
    with explained(folder):
        return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
