"""The folder of a run on a fleet: which runs it is made of, and what happened to its hosts on the way.

``<root>/fleet-<ulid>/``: ``fleet.json``, and the page of all its runs. The runs themselves lie beside it, one for each
host and one more for whatever a host took over; the name of the folder keeps it from being taken for a run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulid import ULID

from harness.codec import CodecError, decode, encode
from harness.errors import StoreError
from harness.places import unplaced
from results.files import explained, write_whole
from results.locks import busy, hold
from results.store import MANIFEST, now, runs_in
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

PREFIX = "fleet-"
FLEET = "fleet.json"
SCHEMA = 1
"""Version of ``fleet.json``. 1: first edition."""

LOST, MOVED, UNMEASURED, NOTED, BACK, INTERRUPTED, RESUMED, DIFFERING = (
    "lost", "moved", "unmeasured", "noted", "back", "interrupted", "resumed", "differing",
)  # fmt: skip
"""Kinds of happenings."""

_TIME = 10  # digits of a ULID that tell when it was made
_NAME = re.compile(rf"{PREFIX}[0-9A-HJKMNP-TV-Z]{{26}}")
_LISTED = 5  # fleets that a message names
_NAMED = 16  # runs of a fleet that a message names


@dataclass(frozen=True)
class Part:
    """One run of a fleet."""

    run_id: str
    host: str
    taken_from: str = ""  # the run of a lost host whose rows it measures


@dataclass(frozen=True)
class Happening:
    """Something that befell a host, in a sentence for the reader of the results."""

    at: str  # ISO 8601, UTC
    kind: str
    host: str
    text: str
    cell_id: str = ""  # that was being measured when the host was lost


@dataclass(frozen=True)
class _File:
    """What ``fleet.json`` holds."""

    schema: int
    fleet_id: str
    created_at: str
    suite: str
    command: str
    harness_version: str
    hosts: Mapping[str, str] = field(default_factory=dict)  # name → hw_id
    runs: tuple[Part, ...] = ()
    happenings: tuple[Happening, ...] = ()


def is_fleet(name: str) -> bool:
    """Whether a name is meant for a fleet's run: its folder, its id or the beginning of that."""
    return Path(name).name.startswith(PREFIX)


def fleets_in(root: Path) -> tuple[Path, ...]:
    """Return the folders of fleets' runs under ``root``, oldest first; none where ``root`` does not exist."""
    if not root.is_dir():
        return ()
    with explained(root):
        return tuple(sorted(each for each in root.iterdir() if _NAME.fullmatch(each.name) and (each / FLEET).is_file()))


def part_of(run: Path) -> tuple[str, str]:
    """Return the id of the fleet that the run of a folder is of, and its host; empty where it is of none."""
    of = _fleet_of(run)
    return str(of.get("id", "")), str(of.get("host", ""))


class FleetRun:
    """One suite on a fleet. Every change is on the disk when the method that makes it returns."""

    def __init__(self, folder: Path, told: _File) -> None:
        self._folder = folder
        self._told = told
        self._lock: int | None = None

    @classmethod
    def create(
        cls, root: Path, *, suite: str, command: str, harness_version: str, hosts: Mapping[str, str]
    ) -> FleetRun:
        """Make a new folder under ``root`` and hold it for writing. Raises ``StoreError``."""
        fleet_id = f"{PREFIX}{ULID()}"
        made = cls(root / fleet_id, _File(SCHEMA, fleet_id, now(), suite, command, harness_version, dict(hosts)))
        with explained(root):
            made.folder.mkdir(parents=True)
        made.acquire()
        made._write()
        return made

    @classmethod
    def open(cls, name: str, root: Path) -> FleetRun:
        """Open one by its folder, its id or a unique beginning of that.

        Raises ``StoreError`` where there is none or several, or where a newer harness wrote it.
        """
        found = cls.find(name, root)
        if found is None:
            known = ", ".join(each.name for each in fleets_in(root)[-_LISTED:]) or "none"
            raise StoreError(f"no runs of a fleet in {root} begin with {name[:80]!r}", f"there are: {known}")
        return found

    @classmethod
    def find(cls, name: str, root: Path) -> FleetRun | None:
        """Return the one that ``open`` would, ``None`` where there is none.

        Raises ``StoreError`` where there are several, or where it cannot be read.
        """
        if is_fleet(name) and _is_folder(Path(name)):
            return cls(Path(name), _read(Path(name) / FLEET))
        wanted = PREFIX + name.removeprefix(PREFIX).upper()
        matching = [each for each in fleets_in(root) if each.name.startswith(wanted)]
        if len(matching) > 1:
            known = ", ".join(each.name for each in matching[:_LISTED])
            message = f"{len(matching)} runs of a fleet in {root} begin with {name[:80]!r}"
            raise StoreError(message, f"give more of the name; there are: {known}")
        return cls(matching[0], _read(matching[0] / FLEET)) if matching else None

    def acquire(self) -> None:
        """Become the only writer. Safe to call twice. Raises ``StoreError`` where another process is."""
        if self._lock is None:
            with explained(self._folder):
                self._lock = hold(self._folder)
            if self._lock is None:
                raise busy(self.fleet_id)

    def close(self) -> None:
        """Let another process write. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, t: TracebackType | None) -> None:
        self.close()

    @property
    def fleet_id(self) -> str:
        """Its name: that of its folder."""
        return self._told.fleet_id

    @property
    def suite(self) -> str:
        """The name of the suite that it measures."""
        return self._told.suite

    @property
    def folder(self) -> Path:
        """Where its page lies."""
        return self._folder

    @property
    def hosts(self) -> Mapping[str, str]:
        """The hosts that it began with, each with the id of its hardware."""
        return self._told.hosts

    @property
    def runs(self) -> tuple[Part, ...]:
        """The runs that it is made of, oldest first."""
        return self._told.runs

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """What befell its hosts, oldest first."""
        return self._told.happenings

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of its runs."""
        return tuple(self._folder.parent / part.run_id for part in self.runs)

    @property
    def named(self) -> str:
        """Its runs with their hosts, as a message names them."""
        return _named(self.runs)

    def stored(self) -> tuple[Path, ...]:
        """Return the folders of its runs. Raises ``StoreError`` where it has none, or where one of them is gone."""
        if not self.runs:
            hint = "it was ended before its first run was begun: run the suite anew"
            raise StoreError(f"{self.fleet_id} has no runs", hint)
        gone = [part for part, folder in zip(self.runs, self.folders, strict=True) if not (folder / MANIFEST).is_file()]
        if gone:
            here = [part for part in self.runs if part not in gone]
            hint = "bring them back with `harness results import`"
            hint += f", or name those that are here: {_named(here)}" if here else ""
            message = f"{self.fleet_id} lacks {len(gone)} of its {counted(len(self.runs), 'run')}: {_named(gone)}"
            raise StoreError(message, hint)
        return self.folders

    def only(self) -> Path:
        """Return the folder of its one run. Raises ``StoreError`` where it has several, and names them."""
        found = self.stored()
        if len(found) > 1:
            message = f"{self.fleet_id} is {len(found)} runs, and one is meant here"
            raise StoreError(message, f"name one of them: {self.named}")
        return found[0]

    def add(self, part: Part) -> None:
        """Note that a run belongs to it. Raises ``StoreError``."""
        self._change(runs=(*self.runs, part))

    def happened(self, kind: str, text: str, *, host: str = "", cell_id: str = "") -> None:
        """Note what befell a host, without places of a machine. Raises ``StoreError``."""
        self._change(happenings=(*self.happenings, Happening(now(), kind, host, unplaced(text), cell_id)))

    def blamed(self) -> dict[str, int]:
        """Return, by cell id, how many hosts were lost while they measured it."""
        found: dict[str, int] = {}
        for each in self.happenings:
            if each.kind == LOST and each.cell_id:
                found[each.cell_id] = found.get(each.cell_id, 0) + 1
        return found

    def adopt(self) -> None:
        """Take in runs that say that they are of it: its client was ended after it made them. Raises ``StoreError``."""
        known = {part.run_id for part in self.runs}
        for folder in runs_in(self._folder.parent):
            if folder.name in known or folder.name[:_TIME] < self.fleet_id.removeprefix(PREFIX)[:_TIME]:
                continue
            of = _fleet_of(folder)
            if of.get("id") == self.fleet_id:
                self.add(Part(folder.name, str(of.get("host", "")), str(of.get("from", ""))))

    def _change(self, **changes: Any) -> None:
        self.acquire()
        told = {**vars(self._told), **changes}
        self._told = _File(**told)
        self._write()

    def _write(self) -> None:
        text = json.dumps(encode(self._told), indent=1, sort_keys=True, allow_nan=False)
        with explained(self._folder):
            write_whole(self._folder / FLEET, text.encode())


def _is_folder(path: Path) -> bool:
    """Whether a path is the folder of a fleet's run."""
    try:
        return (path / FLEET).is_file()
    except (OSError, ValueError):  # no file system could hold it
        return False


def _named(parts: Sequence[Part]) -> str:
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(f"{part.run_id} ({part.host})" for part in parts[:_NAMED]) + more


def _read(file: Path) -> _File:
    with explained(file):
        data = file.read_bytes()
    try:
        found = json.loads(data)
        schema = found["schema"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise StoreError(f"{file} was written by a newer harness", "install that version to read it")
        return decode(_File, found, FLEET)
    except (ValueError, KeyError, TypeError, CodecError) as error:
        raise StoreError(f"{file} cannot be read: {error}", "restore it from a copy") from error


def _fleet_of(folder: Path) -> Mapping[str, Any]:
    """Return what the manifest of a run says of its fleet; nothing where it is of none or cannot be read."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes()).get("fleet")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
