"""Taking in runs from elsewhere: bundles and run folders, each checked by hash, none in the place of another."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from results import bundle
from results.files import explained, sync
from results.locks import at_rest, busy
from results.store import MANIFEST, RunStore, runs_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Brought:
    """What became of one run that was to be taken in."""

    run_id: str
    source: str  # the file or folder
    new: bool  # False: the same run was here already
    damage: tuple[str, ...]  # what of its journal cannot be read, here as there


def sources(path: Path) -> tuple[Path, ...]:
    """Return the runs that a path stands for: a bundle, a run folder, or every run in a folder.

    Raises ``StoreError`` where there is none.
    """
    if bundle.is_bundle(path) or (path / MANIFEST).is_file():
        return (path,)
    if path.is_dir():
        found = runs_in(path) + tuple(sorted(file for file in path.glob("*.zip") if bundle.is_bundle(file)))
        if found:
            return found
        raise StoreError(f"there is no run in {path}", "give a bundle, a run folder, or a folder of them")
    if path.is_file():
        raise StoreError(f"{path} is no bundle of a run", "it was cut off or is something else: copy it again")
    raise StoreError(f"{path} does not exist", "give a bundle, a run folder, or a folder of them")


def take_in(source: Path, runs: Path) -> Brought:
    """Put one run among the others, whole or not at all; the same run twice is fine.

    Raises ``StoreError`` where a file of it is missing or changed, or where a run of its id is here and differs.
    """
    with _unborn(runs) as scratch:
        folder = bundle.unpack(source, scratch) if source.is_file() else _copied(source, scratch)
        store = RunStore.open(folder)
        target, damage = runs / store.run_id, store.damage
        if not target.exists():
            with explained(target):
                try:
                    folder.rename(target)
                except OSError:
                    if not target.exists():  # else another import was quicker
                        raise
                else:
                    sync(runs)
                    return Brought(store.run_id, str(source), new=True, damage=damage)
        _compare(folder, target, source)
        return Brought(store.run_id, str(source), new=False, damage=damage)


@contextmanager
def _unborn(runs: Path) -> Iterator[Path]:
    """Yield a folder on the same disk, which no reader takes for a run."""
    with explained(runs):
        runs.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=runs))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copied(source: Path, scratch: Path) -> Path:
    """Return a copy of what of a run folder travels, its records checked against their files."""
    with at_rest(source) as quiet:
        store = RunStore.open(source)
        if not quiet:
            raise busy(store.run_id)
        store.check()
        folder = scratch / store.run_id
        with explained(folder):
            for name in bundle.contents(source):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target)
                sync(target)
            for part in ("samples", "logs", ""):
                (folder / part).mkdir(exist_ok=True)
                sync(folder / part)
    RunStore.open(folder).check()
    return folder


def _compare(folder: Path, here: Path, source: Path) -> None:
    """Raise unless both folders hold the same run."""
    theirs, ours = bundle.contents(folder), bundle.contents(here)
    differing = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if differing:
        more = f" and {len(differing) - 1} more files" if len(differing) > 1 else ""
        message = f"{source} and {here} are the same run and differ in {differing[0]}{more}"
        raise StoreError(message, "keep the one that is right: remove the run here, or leave the other out")
