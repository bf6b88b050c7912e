"""Baselines: what a suite is held to on one kind of hardware, a small file each, fit to live in a repository."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError, StoreError
from harness.plan_order import PROVE
from harness.vocabulary import digest
from results.files import explained
from results.findings import MINIMUM_LAUNCHES
from results.quantities import Rule, quantity
from results.snapshot import COMPLETED, SKIPPED
from results.snapshot_files import read, write

if TYPE_CHECKING:
    from pathlib import Path

    from results.snapshot import CellState, Reading, Snapshot

FOLDER = "baselines"
"""Where they lie, in the folder that commands are given in."""
UNFIT = {
    "throttled": "launches were throttled",
    "fell-back": "the work ran elsewhere than asked",
    "other-precision": "the work ran at another precision than asked",
}
"""Kinds of findings that bar a cell, in words."""
_TIMED = frozenset({Rule.FAMILY, Rule.ALONE})
"""Rules of what is judged launch by launch."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_+-]+")


@dataclass(frozen=True)
class Refused:
    """A cell that no baseline takes, and why."""

    label: str
    why: str


@dataclass(frozen=True)
class Accepted:
    """What of a run makes a baseline: its quiet launches; nothing flagged is in it."""

    snapshot: Snapshot
    refused: tuple[Refused, ...]
    measured: bool = True  # whether the run has anything but proofs

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to compare by: proofs alone are not it where more was measured, and refused."""
        kept = [cell for cell in self.snapshot.cells if cell.readings]
        return not kept or (self.measured and all(cell.scenario == PROVE for cell in kept))


@dataclass(frozen=True)
class Saved:
    """A baseline that was written, and the one that it replaced."""

    path: Path
    replaced: Snapshot | None


def accepted(run: Snapshot) -> Accepted:
    """Return what of a run may be a baseline.

    Noisy launches are left out, and with them whatever was pooled over all launches of the cell. A cell is refused that
    did not pass, that was throttled or did not run as asked, whose launch values or intervals are not finite, or that
    keeps fewer than ``MINIMUM_LAUNCHES`` quiet launches of anything timed.
    """
    kept, refused, notes = [], [], []
    for cell in run.cells:
        why = _unfit(cell)
        quiet = _quiet(cell)
        why = why or _thin(quiet)
        if why:
            refused.append(Refused(cell.label, why))
            continue
        kept.append(quiet)
        noisy = sorted({launch for reading in cell.readings for launch in reading.noisy})
        if noisy:
            notes.append(f"{cell.label}: noisy launches left out: {', '.join(map(str, noisy))}")
    skipped = {cell.label for cell in run.cells if cell.status == SKIPPED}
    notes += [f"{each.label}: refused: {each.why}" for each in refused if each.label not in skipped]
    if run.drift:
        notes.append(run.drift)
    measured = any(cell.scenario != PROVE and cell.status == COMPLETED for cell in run.cells)
    return Accepted(replace(run, cells=tuple(kept), notes=(*run.notes, *notes)), tuple(refused), measured)


def path_of(root: Path, suite: str, hw_id: str, name: str = "") -> Path:
    """Return the file of a suite's baseline for one kind of hardware; ``name``: in the place of the suite's.

    Raises ``HarnessError`` where a baseline cannot be called so.
    """
    if name and _plain(name) != name:
        message = f"a baseline cannot be called {name[:60]!r}"
        raise HarnessError(message, "a name has letters, digits, '_', '+' and '-'")
    return root / (name or _plain(suite)) / f"{_plain(hw_id)}.json"


def save(root: Path, baseline: Snapshot, name: str = "") -> Saved:
    """Write a baseline in the place of the one that its suite has on its hardware.

    Raises ``HarnessError`` where the file is another suite's, ``StoreError`` where it cannot be read or written.
    """
    path = path_of(root, baseline.suite, baseline.hw_id, name)
    replaced = read(path) if path.is_file() else None
    if replaced is not None and (replaced.suite, replaced.hw_id) != (baseline.suite, baseline.hw_id):
        message = f"{path} is the baseline of the suite {replaced.suite!r}, not of {baseline.suite!r}"
        raise HarnessError(message, "give another --name, or remove the file")
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, baseline)
    return Saved(path, replaced)


def baselines_in(root: Path, suite: str | None = None, name: str = "") -> tuple[tuple[Path, Snapshot], ...]:
    """Return every baseline under a folder, by path; of one suite or name where it is given.

    Raises ``StoreError`` where a file there is none.
    """
    if not root.is_dir():
        return ()
    folder = path_of(root, suite or "", "", name).parent.name if suite or name else "*"
    with explained(root):
        paths = sorted(root.glob(f"{folder}/*.json"))
    return tuple((path, read(path)) for path in paths)


def find(root: Path, suite: str, hw_id: str, name: str = "") -> tuple[Path, Snapshot] | None:
    """Return the baseline of a suite on one kind of hardware, ``None`` where none is set.

    Raises ``StoreError`` where the file cannot be read, or holds what its place does not say.
    """
    path = path_of(root, suite, hw_id, name)
    if not path.is_file():
        return None
    found = read(path)
    if found.hw_id != hw_id or (not name and found.suite != suite):
        message = f"{path} holds a baseline of the suite {found.suite!r} on {found.hw_id}"
        raise StoreError(message, "remove it, and set the baseline anew: harness baseline set RUN")
    return path, found


def _unfit(cell: CellState) -> str:
    """Return what bars a cell whatever its launches, or nothing."""
    if cell.status != COMPLETED:
        return f"{cell.status}: {cell.why}" if cell.why else cell.status
    kind = next((kind for kind in cell.findings if kind in UNFIT), None)
    if kind is not None and cell.readings:
        return UNFIT[kind]
    for reading in cell.readings:
        bounds = [bound for bound in (reading.low, reading.high) if bound is not None]
        if not all(map(math.isfinite, (*reading.values, *bounds))):
            return f"its {_title(reading)} has no finite interval"
        if _is_timed(reading) and not all(value > 0 for value in reading.values):
            return f"its {_title(reading)} has a launch at zero"
    return ""


def _quiet(cell: CellState) -> CellState:
    """Return a cell without its noisy launches, and without what they were pooled into."""
    noisy = any(reading.noisy for reading in cell.readings)
    pooled = {Rule.BOUNDS} if noisy else set()
    readings = (
        _without(reading, frozenset(reading.noisy))
        for reading in cell.readings
        if quantity(reading.quantity).rule not in pooled
    )
    return replace(
        cell,
        readings=tuple(reading for reading in readings if reading.values or _is_timed(reading)),
        findings=tuple(kind for kind in cell.findings if kind != "noisy"),
    )


def _without(reading: Reading, launches: frozenset[int]) -> Reading:
    if not launches:
        return reading
    kept = [place for place, launch in enumerate(reading.launches) if launch not in launches]
    return replace(
        reading,
        values=tuple(reading.values[place] for place in kept),
        launches=tuple(reading.launches[place] for place in kept),
        noisy=(),
    )


def _thin(quiet: CellState) -> str:
    """Return which timed quantity has too few launches left, or nothing."""
    for reading in quiet.readings:
        if _is_timed(reading) and len(reading.launches) < MINIMUM_LAUNCHES:
            count = len(reading.launches)
            return f"{count} quiet launches of its {_title(reading)}, {MINIMUM_LAUNCHES} are needed"
    return ""


def _is_timed(reading: Reading) -> bool:
    return quantity(reading.quantity).rule in _TIMED


def _title(reading: Reading) -> str:
    return quantity(reading.quantity).title


def _plain(name: str) -> str:
    """Return a name as a folder can be called; where that changes it, told apart from others that read alike."""
    plain = _UNSAFE.sub("-", name).strip("-")[:80]
    return plain if plain == name else f"{plain}-{digest(name)[:8]}".lstrip("-")
