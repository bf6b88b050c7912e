"""Files on their way to a host, known by what is in them: what is sent of them, and what is refused.

A name that comes over the wire is checked before it is joined to a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from harness.fleet.contract import Chunk, FleetError, Parcel

CHUNK_BYTES = 8 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
_NAME_BYTES, _PATH_BYTES = 255, 3000  # of one component, of a relative path: what Linux takes, with room for ours

Files = Path | Mapping[str, Path]
"""A file, a folder, or files by the names that they are to have."""


def parcel_of(files: Files) -> Parcel:
    """Return the parcel of a file, a folder, or files by name; its content hash is that of ``cache.hash_tree``.

    Raises ``FleetError`` where one cannot be read or has a name that does not travel.
    """
    sources = named(files)
    whole, found = hashlib.sha256(), []
    # In the order of ``hash_tree``: by the parts of the path.
    for name in sorted(sources, key=Path):
        check_name(name, lone=isinstance(files, Path) and len(sources) == 1)
        with _reading(sources[name]), sources[name].open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            own, read = hashlib.sha256(), 0
            whole.update(f"{name}\0{size}\0".encode())
            while block := file.read(_BLOCK):
                own.update(block)
                whole.update(block)
                read += len(block)
        if read != size:
            raise _changed(sources[name])
        found.append((name, size, own.hexdigest()))
    return Parcel(whole.hexdigest(), tuple(sorted(found)))


def chunks(files: Files, parcel: Parcel, wanted: Collection[str]) -> Iterator[Chunk]:
    """Yield the pieces of those files of a parcel whose SHA-256 is wanted, each file once.

    Raises ``FleetError`` where a file is not any more what the parcel says.
    """
    sources, left = named(files), set(wanted)
    for name, size, sha256 in parcel.files:
        if sha256 not in left:
            continue
        left.remove(sha256)
        if name not in sources:
            raise _changed(Path(name))
        with _reading(sources[name]), sources[name].open("rb") as file:
            own = hashlib.sha256()
            for offset in range(0, max(size, 1), CHUNK_BYTES):
                data = file.read(min(CHUNK_BYTES, size - offset))
                own.update(data)
                if len(data) != min(CHUNK_BYTES, size - offset):
                    raise _changed(sources[name])
                yield Chunk(sha256, offset, data)
            if file.read(1) or own.hexdigest() != sha256:
                raise _changed(sources[name])


def entry(path: Path, root: Path) -> Path:
    """Return how to point at a file of the parcel of ``root``: the path in it, or the name of ``root`` itself."""
    return path.relative_to(root) if path != root else Path(root.name)


def named(files: Files) -> dict[str, Path]:
    """Return files by the names that they have in a parcel. Raises ``FleetError`` where a folder cannot be read."""
    if not isinstance(files, Path):
        return dict(files)
    if not files.is_dir():
        return {"": files}
    with _reading(files):
        return {file.relative_to(files).as_posix(): file for file in files.rglob("*") if file.is_file()}


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise FleetError(message, "check the file and its permissions") from error


def _changed(path: Path) -> FleetError:
    return FleetError(f"{path} was changed while it was sent", "leave files alone while a run uses them; run it again")


def check_name(name: str, *, lone: bool) -> None:
    """Raise unless a relative path names a file below the folder that it is joined to, and can be made there."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        encoded = b""
    parts = name.split("/")
    good = (
        0 < len(encoded) <= _PATH_BYTES
        and "\0" not in name
        and not any(part in {"", ".", ".."} or len(part.encode()) > _NAME_BYTES for part in parts)
    )
    if not good and not (lone and name == ""):
        hint = "a name is relative and in UTF-8, without `..`, and of at most 255 bytes between its slashes"
        raise FleetError(f"{name[:200]!r} is no name for a file of a parcel", hint)


def check(parcel: Parcel) -> None:
    """Raise ``FleetError`` unless a parcel can be made below a folder of its own, and nothing beside it."""
    if not SHA256.fullmatch(parcel.content_hash):
        raise FleetError(f"{parcel.content_hash[:80]!r} is no content hash", "are both sides of the same version?")
    folders: set[str] = set()
    names: set[str] = set()
    for name, size, sha256 in parcel.files:
        check_name(name, lone=is_lone(parcel))
        if not SHA256.fullmatch(sha256) or size < 0:
            raise FleetError(f"{name[:200]!r} has no size or no SHA-256", "are both sides of the same version?")
        names.add(name)
        folders.update(parent.as_posix() for parent in Path(name).parents)
    if len(names) < len(parcel.files) or names & folders:
        raise FleetError("a parcel names a file twice, or as a folder too", "are both sides of the same version?")


def is_lone(parcel: Parcel) -> bool:
    """Whether a parcel is a file and no folder."""
    return [name for name, _, _ in parcel.files] == [""]
