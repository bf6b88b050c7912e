"""What a host gives for a launch is held against its record before any of it is written."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from harness.fleet.contract import FleetError

if TYPE_CHECKING:
    from harness.fleet.contract import Packed
    from harness.vocabulary import Record

_FOLDERS = frozenset({"samples", "telemetry", "logs"})  # of a run, for the files that records refer to


def check_files(host: str, record: Record, packed: Packed) -> None:
    """Raise ``FleetError`` unless a host gave what its record refers to, as the record says, and nothing besides.

    Whatever else it named could stand in the place of the run's own files, such as its journal.
    """
    per_image = record.accuracy.per_image if record.accuracy is not None else None
    sums = {each.path: each.sha256 for each in (record.samples, record.telemetry, per_image) if each is not None}
    for name in packed.files:
        path = PurePosixPath(name)
        if len(path.parts) != 2 or path.parts[0] not in _FOLDERS or path.name == "..":
            raise FleetError(f"{name[:200]!r} is no file of a run folder", "are both sides of the same version?")
        if name != record.log and name not in sums:
            message = f"{host} gave {name[:200]!r}, which its record does not refer to"
            raise FleetError(message, "are both sides of the same version?")
    for name, sha256 in sums.items():
        if hashlib.sha256(packed.files.get(name, b"")).hexdigest() != sha256:
            hint = "is its disk sound? remove that run from its state folder, then `harness run --resume`"
            raise FleetError(f"{host} gave {name} otherwise than its record says", hint)
