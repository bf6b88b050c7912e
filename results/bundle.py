"""One file that a run travels in: a zip archive whose first member lists every other by size and SHA-256.

It holds what was measured and said: the manifest, the journal, samples, sensors and logs, the folders of this machine
cut from the logs. What can be made again (report, snapshot) and what is of this machine alone (how to resume, tags)
stays. The same run gives the same bytes. What is read is trusted in nothing: every name, size and hash is checked
before a file is called whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.places import unplaced
from results.files import explained, sync
from results.locks import at_rest, busy
from results.store import JOURNAL, MANIFEST, RunStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIX = ".run.zip"
LISTING = "bundle.json"
_FORM = 1
"""Version of the form. 1: first edition."""
_FOLDERS = ("logs", "samples", "telemetry")
_NAME = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(JOURNAL)}|(?:{'|'.join(_FOLDERS)})/[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*"
)
_RUN_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip archive can tell
_LISTING_BYTES = 64 << 20
_RATIO, _FREE_BYTES = 100, 64 << 20  # what grows by more, the first of it aside, is a bomb
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file of a bundle."""

    size_bytes: int
    sha256: str


def contents(folder: Path) -> dict[str, Member]:
    """Return every file of a run that a bundle holds, by name, as it would be there. Raises ``StoreError``."""
    return {name: _measured(_source(folder, name)) for name in _names(folder)}


def write(store: RunStore, path: Path) -> dict[str, Member]:
    """Write the bundle of a run whole or not at all, and return what it holds.

    Raises ``StoreError`` where the run is being written, a file is not what its record says, or ``path`` is taken.
    """
    if path.exists():
        raise StoreError(f"{path} exists already", "give another name with -o, or remove it first")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"there is no folder {path.absolute().parent} for {path.name}", "make it first")
    with at_rest(store.folder) as quiet:
        if not quiet:
            raise busy(store.run_id)
        store.check()
        members = contents(store.folder)
        unborn = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with explained(path):
            try:
                _pack(store, members, unborn)
                sync(unborn)
                unborn.replace(path)
                sync(path.absolute().parent)
            finally:
                unborn.unlink(missing_ok=True)
    return members


def is_bundle(path: Path) -> bool:
    """Return whether a file looks like a bundle: a zip archive."""
    return path.is_file() and zipfile.is_zipfile(path)


def unpack(path: Path, into: Path) -> Path:
    """Write the run of a bundle as a folder below ``into``, named by its id, and return that folder.

    Raises ``StoreError`` that names the file inside which is missing, changed, too large, or not of a run. What was
    written by then is removed.
    """
    with explained(path), _opened(path) as archive:
        run_id, members = _listed(archive, path)
        infos = _checked(archive, members, path)
        folder = into / run_id
        needed = sum(member.size_bytes for member in members.values())
        with explained(into):
            into.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(into).free
            if needed > free:
                message = f"{path.name} needs {needed:,} bytes, {needed - free:,} more than are free in {into}"
                raise StoreError(message, "free some, or name another folder with --runs")
            folder.mkdir()
            try:
                for name, member in members.items():
                    _extract(archive, infos[name], member, folder / name, path)
                _agree(folder, run_id, path)
                for part in (*_FOLDERS[:2], ""):
                    (folder / part).mkdir(exist_ok=True)
                    sync(folder / part)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder


def _names(folder: Path) -> Iterator[str]:
    """Yield the files of a run that travel, in the order of a bundle. Raises ``StoreError`` for a link."""
    with explained(folder):
        found = [Path(MANIFEST), Path(JOURNAL)]
        for part in _FOLDERS:
            if (folder / part).is_dir():
                found += sorted(file.relative_to(folder) for file in (folder / part).iterdir())
        for file in found:
            if file.name.startswith(".") or (file.name == JOURNAL and not (folder / file).exists()):
                continue  # what a killed writer left unfinished; a run that was ended before its first launch
            mode = (folder / file).lstat().st_mode
            if not stat.S_ISREG(mode) or not _NAME.fullmatch(file.as_posix()):
                raise StoreError(f"{folder / file} is no file of a run", "take it out of the run folder")
            yield file.as_posix()


def _source(folder: Path, name: str) -> Iterator[bytes]:
    """Yield what a bundle holds of one file, in blocks."""
    with explained(folder / name):
        if name.startswith("logs/"):
            yield _without_places((folder / name).read_bytes())
            return
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def _without_places(log: bytes) -> bytes:
    """Return a log with each folder of this machine cut from it, and nothing more to cut: twice is as once."""
    text = log.decode("utf-8", "surrogateescape")
    while (cut := unplaced(text)) != text:
        text = cut
    return text.encode("utf-8", "surrogateescape")


def _measured(blocks: Iterator[bytes]) -> Member:
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        digest.update(block)
    return Member(size, digest.hexdigest())


def _pack(store: RunStore, members: Mapping[str, Member], target: Path) -> None:
    files = {name: {"bytes": member.size_bytes, "sha256": member.sha256} for name, member in members.items()}
    listing = json.dumps({"bundle": _FORM, "run_id": store.run_id, "files": files}, indent=1, sort_keys=True).encode()
    with zipfile.ZipFile(target, "x") as archive:
        archive.writestr(_info(LISTING, len(listing)), listing)
        for name, member in members.items():
            digest = hashlib.sha256()
            with archive.open(_info(name, member.size_bytes), "w") as file:
                for block in _source(store.folder, name):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != member.sha256:
                raise StoreError(f"{name} of run {store.run_id} changed while it was read", "bundle it again")


def _info(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, wherever it is made
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".npz") else zipfile.ZIP_DEFLATED  # .npz is packed already
    info.file_size = size
    return info


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise StoreError(f"{path} is no whole bundle: {error}", "copy it again from where it was made") from None


def _listed(archive: zipfile.ZipFile, path: Path) -> tuple[str, dict[str, Member]]:
    """Return the id of the run and what the bundle says that it holds."""
    first = archive.infolist()[0] if archive.infolist() else None
    if first is None or first.filename != LISTING:
        raise StoreError(f"{path} is no bundle of a run", "make one where the run is: harness results bundle RUN")
    _refuse_packing(first, path)
    if first.file_size > _LISTING_BYTES:
        raise StoreError(f"{path}: {LISTING} is too large to be one", "copy it again from where it was made")
    try:
        listing: Any = json.loads(b"".join(_blocks(archive, first, path)))
        form, run_id = listing["bundle"], listing["run_id"]
        members = {name: _member(fact) for name, fact in listing["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{path}: {LISTING} is none: {type(error).__name__}: {error}"
        raise StoreError(message, "copy it again from where it was made") from None
    if form != _FORM:
        message = f"{path} is a bundle of form {form!r}, this harness reads {_FORM}"
        raise StoreError(message, "upgrade the harness: pip install --upgrade inference-harness")
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id) or not {MANIFEST} <= members.keys():
        raise StoreError(f"{path}: {LISTING} names no run", "make one where the run is: harness results bundle RUN")
    return run_id, members


def _member(fact: Any) -> Member:
    size, sha256 = fact["bytes"], fact["sha256"]
    if type(size) is not int or size < 0 or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("a size or a hash in it is none")
    return Member(size, sha256)


def _checked(archive: zipfile.ZipFile, members: Mapping[str, Member], path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of the archive by name, each of them a file of a run and of the size that the list says."""
    infos: dict[str, zipfile.ZipInfo] = {}
    hint = "it is damaged, or was made to do harm: copy it again from where it was made"
    for info in archive.infolist()[1:]:
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        if not _NAME.fullmatch(name) or name in infos:
            raise StoreError(f"{path} holds {name[:200]!r}, which is no file of a run", hint)
        if kind not in {0, stat.S_IFREG}:
            raise StoreError(f"{path}: {name} is a link or a device", hint)
        if name not in members:
            raise StoreError(f"{path} holds {name}, which its list does not name", hint)
        _refuse_packing(info, path)
        if info.file_size != members[name].size_bytes:
            message = f"{path}: {name} has {info.file_size:,} bytes, its list says {members[name].size_bytes:,}"
            raise StoreError(message, hint)
        infos[name] = info
    missing = sorted(members.keys() - infos.keys())
    if missing:
        raise StoreError(f"{path}: {missing[0][:200]!r} is missing", hint)
    total, packed = sum(member.size_bytes for member in members.values()), path.stat().st_size
    if total > _FREE_BYTES + _RATIO * packed:
        raise StoreError(f"{path} would unpack {packed:,} bytes to {total:,}", hint)
    return infos


def _refuse_packing(info: zipfile.ZipInfo, path: Path) -> None:
    """Raise for a way of packing that no bundle has; others may ask for gigabytes of memory to unpack a few bytes."""
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise StoreError(
            f"{path}: {info.filename} is packed as no bundle is", "make it anew: harness results bundle RUN"
        )


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member, target: Path, path: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        for block in _blocks(archive, info, path):
            size += len(block)
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if (size, digest.hexdigest()) != (member.size_bytes, member.sha256):
        hint = "it was changed after it was made: copy it again from there"
        raise StoreError(f"{path}: {info.filename} does not match its SHA-256", hint)


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """Yield the content of an entry, never more than its declared size."""
    try:
        with archive.open(info) as file:
            left = info.file_size
            while left and (block := _some(file, left)):
                left -= len(block)
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        hint = "it is damaged: copy it again from where it was made"
        raise StoreError(f"{path}: {info.filename} cannot be read: {error}", hint) from None


def _some(file: IO[bytes], left: int) -> bytes:
    return file.read(min(left, _BLOCK))


def _agree(folder: Path, run_id: str, path: Path) -> None:
    """Raise unless the files are those of the run that the list names, and what their records say."""
    store = RunStore.open(folder)
    if store.run_id != run_id:
        raise StoreError(f"{path}: {MANIFEST} is of the run {store.run_id}, its list names {run_id}", "make it anew")
    store.check()
