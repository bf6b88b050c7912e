"""Which run is meant by a word of the user's: a folder, a file, an id, a tag, a revision of the code."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import git
from harness.arms import BASE, HEAD
from harness.errors import StoreError
from results.arms import AB, sides
from results.bundle import is_bundle, unpack
from results.fleets import FleetRun, fleets_in, is_fleet
from results.snapshots import read, snapshot
from results.store import MANIFEST, RunStore, runs_in
from results.tags import holder, tag, tags_in, tags_of, untag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from results.snapshot import Snapshot

__all__ = [
    "Named",
    "NoRun",
    "any_folder_of",
    "find",
    "fleet_of",
    "folder_of",
    "tag",
    "tags_of",
    "untag",
]

LATEST = "latest"


class NoRun(StoreError):  # noqa: N818 - no error of the program, and named as users read it
    """What was named exists, but there is no run of it."""


@dataclass(frozen=True)
class Named:
    """What a name stands for."""

    snapshot: Snapshot
    folder: Path | None  # of the run; None: the snapshot is all that there is


@dataclass(frozen=True)
class _Revision:
    """The commit that a run was made at."""

    sha: str
    dirty: bool


def find(name: str, root: Path, repository: Path) -> Named:
    """Return the run that ``name`` means; ``root`` holds the runs, ``repository`` is any folder of the repository.

    Tried in this order, and the first that there is counts: a run folder; a bundle; a snapshot file, such as a
    baseline; ``latest``; ``latest:REF``, the newest run of a commit that REF contains; a tag; an id, or the beginning
    of one, of a run or of a fleet that has one run; a git ref, which means the newest run of exactly that commit. A ref
    that is there as ``origin/REF`` alone is that. A run with changes that were not committed is of no commit. A run
    that interleaved two sides is meant only by its own name, and ``RUN@base`` or ``RUN@head`` is a side of it. Raises
    ``NoRun`` where the name is good and nothing was measured, ``StoreError`` for a name that means nothing, or several
    runs, or that cannot be read.
    """
    whole, _, side = name.rpartition("@")
    if whole and side in {BASE, HEAD}:
        return _side(_folder(whole, root, repository), side)
    path = _path(name)
    if path is not None and is_bundle(path):
        with tempfile.TemporaryDirectory() as folder:
            return Named(_of(unpack(path, Path(folder))).snapshot, None)
    if path is not None and path.is_file():
        return Named(read(path), None)
    return _of(_folder(name, root, repository))


def folder_of(name: str, root: Path, repository: Path) -> Path:
    """Return the folder of the run that ``find`` would return, without reading what the run says.

    Raises as ``find`` does, and ``StoreError`` for a file, which is no run.
    """
    whole, _, side = name.rpartition("@")
    name = whole if whole and side in {BASE, HEAD} else name
    path = _path(name)
    if path is not None and path.is_file():
        raise StoreError(f"{name} is a file without its run", "name the run itself")
    return _folder(name, root, repository)


def any_folder_of(name: str, root: Path, repository: Path) -> Path:
    """Return the folder of the run that a name means to what takes a run of any sort.

    As ``folder_of``, but the latest is the latest also where it interleaved two sides. Raises as that does.
    """
    fleet = fleet_of(name, root)
    if fleet is not None:
        return fleet.only()
    try:
        return RunStore.open(name, root).folder
    except StoreError as error:
        try:
            return folder_of(name, root, repository)
        except NoRun:
            raise
        except StoreError:
            raise error from None


def fleet_of(name: str, root: Path) -> FleetRun | None:
    """Return the fleet that a name means, by its folder, its id or a unique beginning of that; ``None`` for any other.

    A tag stands before an id. Raises ``StoreError`` where several begin so, or where it cannot be read.
    """
    if not is_fleet(name) or holder(name, root) is not None:
        return None
    return FleetRun.find(name, root)


def _folder(name: str, root: Path, repository: Path) -> Path:
    path = _path(name)
    if path is not None and (path / MANIFEST).is_file():
        return path
    if name == LATEST:
        return _newest(root)
    if name.startswith(f"{LATEST}:"):
        return _contained_in(name.removeprefix(f"{LATEST}:"), root, repository)
    fleet = fleet_of(name, root)
    if fleet is not None:
        return fleet.only()
    return holder(name, root) or _by_id(name, root) or _of_commit(name, root, repository)


def _side(run: Path, side: str) -> Named:
    store = RunStore.open(run)
    base, head = sides(store)
    return Named(base if side == BASE else head, store.folder)


def _path(name: str) -> Path | None:
    """Return the path that a name may be; ``None`` where no file system could hold it."""
    if not name or "\0" in name:
        raise StoreError(f"{name!r} names no run", "give a run folder, its id, a tag, a git ref, or `latest`")
    try:
        Path(name).is_file()
    except OSError:  # too long a name for a file
        return None
    return Path(name)


def _of(run: Path) -> Named:
    store = RunStore.open(run)
    return Named(snapshot(store), store.folder)


def _newest(root: Path) -> Path:
    for run in reversed(runs_in(root)):
        if AB not in _manifest(run):
            return run
    raise NoRun(f"there is no run in {root}", "run a suite first: harness run quickstart")


def _by_id(name: str, root: Path) -> Path | None:
    matching = [run for run in runs_in(root) if run.name.startswith(name.upper())]
    if len(matching) > 1:
        listed = ", ".join(run.name for run in matching[:5])
        raise StoreError(f"{len(matching)} runs in {root} begin with {name!r}: {listed}", "give more of the id")
    return matching[0] if matching else None


def _of_commit(name: str, root: Path, repository: Path) -> Path:
    sha = _commit(name, root, repository)
    changed = ""
    for run, revision in _revisions(root):
        if revision.sha == sha and not revision.dirty:
            return run
        if revision.sha == sha:
            changed = changed or run.name
    hint = f"check it out and run the suite: {_there(root)}"
    if changed:
        hint = f"run {changed} is of it, with changes that were not committed: name that, or commit and run again"
    raise NoRun(f"there is no run of {name} ({sha[:10]}) in {root}", hint)


def _contained_in(ref: str, root: Path, repository: Path) -> Path:
    tip = _commit(ref, root, repository)
    contained: dict[str, bool] = {}
    for run, revision in _revisions(root):
        if revision.dirty:
            continue
        if revision.sha not in contained:
            # 1: it is not; 128: this repository does not know the commit.
            asked = _git(repository, "merge-base", "--is-ancestor", revision.sha, tip)
            contained[revision.sha] = asked.returncode == 0
        if contained[revision.sha]:
            return run
    raise NoRun(f"no run in {root} is of a commit that {ref} contains", f"run the suite there first: {_there(root)}")


def _commit(ref: str, root: Path, repository: Path) -> str:
    """Return the commit of a ref. Raises ``StoreError`` where it is none, with what there is instead."""
    words = f"{ref[:200]!r} is no file, run, tag or git ref here"
    if ref.startswith("-") or not ref:
        raise StoreError(words, _there(root))
    for candidate in (ref, f"origin/{ref}"):
        asked = _git(repository, "rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}", why=words)
        if asked.returncode == 0:
            return asked.stdout.strip()
    if _git(repository, "rev-parse", "--git-dir").returncode:
        words += ": this folder is in no git repository"
    raise StoreError(words, _there(root))


def _git(repository: Path, *arguments: str, why: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return git.asked(repository, *arguments)
    except (OSError, subprocess.TimeoutExpired) as error:
        said = "git is not installed" if isinstance(error, FileNotFoundError) else f"git: {type(error).__name__}"
        raise StoreError(f"{why}: {said}" if why else said, "name the run by its folder, its id or a tag") from None


def _revisions(root: Path) -> Iterator[tuple[Path, _Revision]]:
    """Yield the runs that know which commit they are of, newest first; one that cannot be read is of none."""
    for run in reversed(runs_in(root)):
        manifest = _manifest(run)
        try:
            revision = manifest["host"]["environment"]["revision"]
            found = _Revision(str(revision["sha"]), bool(revision["dirty"]))
        except (KeyError, TypeError):
            continue
        if AB not in manifest:
            yield run, found


def _manifest(run: Path) -> Mapping[str, Any]:
    """Return what a run's manifest says, nothing where it cannot be read: reading the run itself tells why."""
    try:
        found = json.loads((run / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _there(root: Path) -> str:
    """Return what there is to be named."""
    runs = runs_in(root)
    if not runs:
        return f"there is no run in {root}"
    tags, fleets = tags_in(root), fleets_in(root)
    tagged = f"; tags: {', '.join(list(tags)[:8])}" if tags else ""
    together = f"; fleets: {', '.join(each.name for each in fleets[:-4:-1])}" if fleets else ""
    count = "is 1 run" if len(runs) == 1 else f"are {len(runs):,} runs, the newest"
    return f"in {root} there {count} {runs[-1].name}{tagged}{together}"
