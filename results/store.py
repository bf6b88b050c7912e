"""A run on disk: a manifest, an append-only journal of records, and the raw samples and logs beside them.

``<root>/<ulid>/``: ``manifest.json``, ``records.jsonl``, ``samples/``, ``logs/``. The files are the truth; whatever
else the project shows is derived from them. POSIX only: one writer at a time is ensured by ``flock`` on the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ulid import ULID

from harness.codec import CodecError, decode, encode
from harness.errors import StoreError
from harness.measure.samples import Samples
from harness.vocabulary import SCHEMA_VERSION, Cell, Launch, Plan, Record, SamplesRef, digest
from results.files import explained, sync, write_whole
from results.journal import Journal, content_id
from results.locks import busy, hold
from results.migration import record_of, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from results.journal import Entry

MANIFEST, JOURNAL = "manifest.json", "records.jsonl"
_ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_LAST_MS = (1 << 48) - 1  # the last time that a ULID can tell


@dataclass(frozen=True)
class Attempt:
    """A launch attempt that was begun; one that has not ``ended`` crashed, or is running still."""

    cell_id: str
    label: str
    launch: Launch
    started_at: str
    ended: bool


def record_id(record: Record) -> str:
    """Return the 16 hex digits that name a record by its content: what the ``supersedes`` of a correction holds."""
    return content_id({"finished": encode(record)})


def runs_in(root: Path) -> tuple[Path, ...]:
    """Return the run folders under ``root``, oldest first; none where ``root`` does not exist."""
    if not root.is_dir():
        return ()
    with explained(root):
        return tuple(sorted(p for p in root.iterdir() if _ULID.fullmatch(p.name) and (p / MANIFEST).is_file()))


def _next_id(root: Path) -> str:
    """Return a new ULID that sorts after every run under ``root``, also where the clock was set back since.

    ``latest`` and every history go by the ids: what is made later comes later. When it was made by the clock is what
    ``created_at`` says.
    """
    made = str(ULID())
    newest = max((run.name for run in runs_in(root) if run.name[0] <= "7"), default="")
    if made > newest:
        return made
    after_ms = min(ULID.from_str(newest).milliseconds + 1, _LAST_MS)
    return str(ULID(after_ms.to_bytes(6, "big") + os.urandom(10)))


class RunStore:
    """One run. Readers need nothing; the first write, or ``acquire``, makes this process the run's only writer."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self._folder = folder
        self._manifest = manifest
        self._journal = Journal(folder / JOURNAL)
        self._lock: int | None = None
        self._taken = 0  # entries of the journal that the fields below hold
        self._begun: list[dict[str, Any]] = []
        self._records: list[Record] = []
        self._place: dict[str, int] = {}  # digest of a line → index of the record that it became
        self._wrong: list[str] = []

    @classmethod
    def create(cls, root: Path, manifest: Mapping[str, Any]) -> RunStore:
        """Make a new run folder under ``root`` and hold it for writing.

        Dataclasses in the manifest are encoded; ``schema``, ``run_id`` and ``created_at`` are added. The folder
        appears whole, by one rename. Raises ``StoreError`` where it cannot be written.
        """
        run_id = _next_id(root)
        stamps = {"schema": SCHEMA_VERSION, "run_id": run_id, "created_at": now()}
        resolved = {**encode(manifest), **stamps}
        store = cls(_born(root, run_id, resolved), resolved)
        store.acquire()
        return store

    @classmethod
    def adopt(cls, root: Path, manifest: Mapping[str, Any]) -> RunStore:
        """Make the folder of a run that was begun elsewhere, under the id that its manifest has; or open it.

        One that is there already must be the same but for its plan, which is lengthened to that of the manifest. The
        folder appears whole, by one rename. Raises ``StoreError`` where the manifest is of no run or of another one
        than what is there, or where the folder cannot be written.
        """
        run_id = manifest.get("run_id")
        if not isinstance(run_id, str) or not _ULID.fullmatch(run_id) or not isinstance(manifest.get("schema"), int):
            raise StoreError(f"a manifest of no run: its id is {str(run_id)[:80]!r}", "give that of a stored run")
        resolved = json.loads(_text(encode(manifest)))
        refuse_newer(resolved["schema"], root / run_id)
        if not (root / run_id / MANIFEST).is_file():
            try:
                return cls(_born(root, run_id, resolved), resolved)
            except StoreError:
                if not (root / run_id / MANIFEST).is_file():  # else another process was quicker
                    raise
        store = cls.open(root / run_id)
        differing = sorted(
            key
            for key in (resolved.keys() | store.manifest.keys()) - {"plan"}
            if resolved.get(key) != store.manifest.get(key)
        )
        if differing:
            hint = "remove the folder if that run is not wanted any more"
            raise StoreError(f"the run {run_id} that is in {root} is another: it differs in {differing[0]}", hint)
        if resolved.get("plan") != store.manifest.get("plan"):
            try:
                store.lengthen(decode(Plan, resolved.get("plan"), "plan"))
            except (ValueError, CodecError) as error:
                raise StoreError(f"the plan of {run_id} does not go on where that in {root} ends: {error}") from error
        return store

    @classmethod
    def open(cls, name: str | Path, root: Path = Path("runs")) -> RunStore:
        """Open a run for reading by its folder, its id, a unique beginning of its id, or ``latest``.

        Raises ``StoreError`` where there is none or several, or where a newer harness wrote it.
        """
        with explained(root):
            folder = _find(name, root)
        with explained(folder):
            data = (folder / MANIFEST).read_bytes()
        try:
            manifest = json.loads(data)
        except ValueError as error:
            raise StoreError(f"{folder / MANIFEST} is not JSON: {error}", "restore it from a copy of the run") from None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
            raise StoreError(f"{folder / MANIFEST} has no schema version", "this folder is not a run of the harness")
        refuse_newer(manifest["schema"], folder)
        return cls(folder, manifest)

    def acquire(self) -> None:
        """Become the only writer and drop a line that a killed writer left unfinished. Safe to call twice.

        Raises ``StoreError`` where another process writes this run.
        """
        if self._lock is not None:
            return
        with explained(self._folder):
            lock = hold(self._folder)
            if lock is None:
                raise busy(self.run_id)
            try:
                self._journal.repair()
            except BaseException:
                os.close(lock)
                raise
        self._lock = lock

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
    def run_id(self) -> str:
        """The ULID of the run."""
        return str(self._manifest.get("run_id", self._folder.name))

    @property
    def folder(self) -> Path:
        """The run folder; paths in records are relative to it."""
        return self._folder

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was resolved before the first launch: suite, plan, host, engines, command, overhead."""
        return self._manifest

    @property
    def plan(self) -> Plan:
        """The plan of the manifest. Raises ``StoreError`` where it cannot be read."""
        try:
            return decode(Plan, self._manifest["plan"], "plan")
        except (KeyError, CodecError) as error:
            raise StoreError(f"{self._folder / MANIFEST} holds no readable plan: {error}") from error

    def lengthen(self, plan: Plan) -> None:
        """Replace the plan by one that goes on where it ends. Raises ``StoreError`` where it cannot be written.

        ``ValueError`` for a plan that does not begin with the launches of this one: what was measured follows that.
        """
        before = self.plan.order
        if plan.order[: len(before)] != before:
            raise ValueError("a longer plan begins with the launches of the one that it replaces")
        self.acquire()
        manifest = {**self._manifest, "plan": encode(plan)}
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
        with explained(self._folder):
            write_whole(self._folder / MANIFEST, text.encode())
        self._manifest = manifest

    @property
    def damage(self) -> tuple[str, ...]:
        """What of the journal could not be read, one sentence each, by file and line."""
        self._refresh()
        return (*self._journal.damage, *self._wrong)

    def started(self, cell: Cell, launch: Launch) -> None:
        """Note durably that this launch attempt begins. Raises ``StoreError``."""
        body = {"cell_id": cell.cell_id, "label": cell.label, "launch": encode(launch), "at": now()}
        self._append({"started": body})

    def finished(self, record: Record) -> None:
        """Store the terminal record of a launch attempt durably, after the files that it refers to.

        Raises ``StoreError`` where it cannot be written, or where such a file is missing or of another content.
        """
        for ref in _references(record):
            self._read(ref)
            with explained(self._folder):
                sync(self._inside(ref.path))
                sync(self._inside(ref.path).parent)
        self._append({"finished": encode(record)})

    def records(self) -> tuple[Record, ...]:
        """Return every terminal record, oldest first; a correction stands in the place of what it supersedes."""
        self._refresh()
        return tuple(self._records)

    def digests(self) -> tuple[str, ...]:
        """Return the SHA-256 of the journal's text of each of ``records()``; its line begins with 16 digits of it."""
        self._refresh()
        texts = {self._place[e.digest]: e.payload for e in self._journal.entries if e.digest in self._place}
        return tuple(digest(texts[index]) for index in range(len(self._records)))

    def attempts(self) -> tuple[Attempt, ...]:
        """Return every launch attempt that was begun, oldest first."""
        ended = {(r.cell_id, r.launch.index, r.launch.attempt) for r in self.records()}
        found = []
        for body in self._begun:
            launch = decode(Launch, body["launch"], "started.launch")
            key = (body["cell_id"], launch.index, launch.attempt)
            found.append(Attempt(body["cell_id"], body["label"], launch, body["at"], key in ended))
        return tuple(found)

    def check(self) -> None:
        """Raise ``StoreError`` for the first file that a record refers to and that is missing or of another content."""
        for record in self.records():
            for ref in _references(record):
                self._read(ref)

    def samples(self, ref: SamplesRef) -> Samples:
        """Return the raw samples of a launch. Raises ``StoreError`` where the file is not what the record says."""
        columns = self.arrays(ref)
        names = [f.name for f in fields(Samples)]
        missing = [name for name in names if name not in columns]
        if missing:
            raise StoreError(f"{self._named(ref)} lacks the column {missing[0]!r}", "it holds no raw samples")
        shapes = {columns[name].shape for name in names}
        if shapes != {(ref.rows,)}:
            found = ", ".join(map(str, sorted(shapes)))
            raise StoreError(f"{self._named(ref)} has columns of shape {found}, its record says {ref.rows} rows")
        return Samples(**{name: columns[name] for name in names})

    def arrays(self, ref: SamplesRef) -> dict[str, np.ndarray]:
        """Return the arrays of an ``.npz`` that a record refers to, after checking its SHA-256.

        Raises ``StoreError`` where the file is missing, outside the run folder, changed or not an ``.npz``.
        """
        data = self._read(ref)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (ValueError, OSError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise StoreError(f"{self._named(ref)} is not a file of arrays: {error}") from error

    def _read(self, ref: SamplesRef) -> bytes:
        try:
            data = self._inside(ref.path).read_bytes()
        except OSError as error:
            hint = "restore it from a copy of the run"
            raise StoreError(f"{self._named(ref)} cannot be read: {error.strerror}", hint) from error
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            hint = "the file was changed after it was measured; restore it from a copy of the run"
            raise StoreError(f"{self._named(ref)} does not match the SHA-256 of its record", hint)
        return data

    def _named(self, ref: SamplesRef) -> str:
        """Return a file's name for messages that reports repeat: without the folders of this machine."""
        return f"{ref.path} of run {self.run_id}"

    def _inside(self, relative: str) -> Path:
        """Return the path of a file of this run; a record from elsewhere may not point out of its folder."""
        path = (self._folder / relative).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise StoreError(f"a record of run {self.run_id} points outside its folder: {relative!r}")
        return path

    def _append(self, payload: Mapping[str, Any]) -> None:
        self.acquire()
        try:
            with explained(self._folder):
                self._journal.append(payload)
        except StoreError as error:
            raise StoreError(f"{error.message}; {self._kept()}", error.hint) from error
        except (ValueError, TypeError) as error:
            raise StoreError(f"a record of run {self.run_id} has a value without JSON form: {error}") from error

    def _kept(self) -> str:
        """Return how much of what was planned is stored, and how much is missing."""
        stored = len({(record.cell_id, record.launch.index) for record in self.records()})
        planned = len(self.plan.order) if "plan" in self._manifest else stored
        return f"launches of run {self.run_id}: {stored} stored, {max(0, planned - stored)} missing"

    def _refresh(self) -> None:
        """Take in what the journal gained since the last look."""
        with explained(self._folder):
            self._journal.refresh()
        for entry in self._journal.entries[self._taken :]:
            self._taken = entry.place
            if "started" in entry.payload:
                self._begun.append(entry.payload["started"])
            elif "finished" in entry.payload:
                self._take(entry)
            else:
                self._wrong.append(f"{JOURNAL}:{entry.number}: neither the start nor the end of a launch")

    def _take(self, entry: Entry) -> None:
        """Put a record at its place: at the end, or where the record stands that it supersedes."""
        if entry.digest in self._place:
            return  # the same record twice, as after merging two copies of a run
        try:
            record = record_of(entry.payload["finished"], self._folder)
        except CodecError as error:
            self._wrong.append(f"{JOURNAL}:{entry.number}: record left out: {error.message}")
            return
        index = self._place.get(record.supersedes) if record.supersedes else None
        if record.supersedes and index is None:
            self._wrong.append(f"{JOURNAL}:{entry.number}: corrects {record.supersedes}, which is not in this run")
        if index is None:
            index = len(self._records)
            self._records.append(record)
        self._place[entry.digest] = index
        self._records[index] = record


def _text(resolved: Mapping[str, Any]) -> str:
    try:
        return json.dumps(resolved, indent=1, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise StoreError(f"the manifest of a run has a value without JSON form: {error}") from error


def _born(root: Path, run_id: str, resolved: Mapping[str, Any]) -> Path:
    """Return the new folder of a run; it appears whole, by one rename. Raises ``StoreError``."""
    text, folder, unborn = _text(resolved), root / run_id, root / f".{run_id}.tmp"
    with explained(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            for made in (unborn, unborn / "samples", unborn / "logs"):
                made.mkdir()
            write_whole(unborn / MANIFEST, text.encode())
            unborn.rename(folder)
        finally:
            shutil.rmtree(unborn, ignore_errors=True)
        sync(root)
    return folder


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _references(record: Record) -> Iterator[SamplesRef]:
    if record.samples is not None:
        yield record.samples
    if record.telemetry is not None:
        yield record.telemetry
    if record.accuracy is not None and record.accuracy.per_image is not None:
        yield record.accuracy.per_image


def _find(name: str | Path, root: Path) -> Path:
    runs = runs_in(root)
    if str(name) == "latest":
        if not runs:
            raise StoreError(f"there is no run in {root}", "run a suite first: harness run quickstart")
        return runs[-1]
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    matching = [run for run in runs if run.name.startswith(str(name).upper())]
    if len(matching) == 1:
        return matching[0]
    if matching:
        listed = ", ".join(run.name for run in matching[:5])
        raise StoreError(f"{len(matching)} runs in {root} begin with {str(name)!r}: {listed}", "give more of the id")
    raise StoreError(f"no run {str(name)!r} in {root}", "give a run folder, the beginning of a run id, or `latest`")
