"""Names that people give to runs: kept in the run folder, and held by one run at a time."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from results.files import explained, write_whole
from results.store import now, runs_in

if TYPE_CHECKING:
    from pathlib import Path

TAGS = "tags.json"
"""Its name in a run folder: {"tags": {name: when it was given}}."""

# A letter first: the beginning of a run's id is a digit, so that neither is taken for the other.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_TAKEN = frozenset({"latest"})


def tag(run: Path, name: str) -> Path | None:
    """Give a run a name, and take it from the run beside it that had it, whose folder is returned.

    The new one is written first: should the power fail in between, the later of two holders counts (see ``holder``).
    Raises ``StoreError`` for a name that cannot be one, and where it cannot be written.
    """
    checked(name)
    _write(run, {**_given(run), name: now()})
    moved = None
    for other in runs_in(run.parent):
        if other.name != run.name and name in _readable(other):
            untag(other, name)
            moved = other
    return moved


def untag(run: Path, name: str) -> bool:
    """Take a name from a run, and return whether it had it. Raises ``StoreError``."""
    given = _given(run)
    if name not in given:
        return False
    _write(run, {key: when for key, when in given.items() if key != name})
    return True


def tags_of(run: Path) -> tuple[str, ...]:
    """Return the names of a run, oldest first. Raises ``StoreError`` where they cannot be read."""
    given = _given(run)
    return tuple(sorted(given, key=lambda name: (given[name], name)))


def holder(name: str, root: Path) -> Path | None:
    """Return the run under ``root`` that has a name: of several the one that was given it last."""
    return tags_in(root).get(name)


def tags_in(root: Path) -> dict[str, Path]:
    """Return every name that is given under ``root``, with the run that holds it; tags that cannot be read are none."""
    newest: dict[str, tuple[str, Path]] = {}
    for run in runs_in(root):
        for name, when in _readable(run).items():
            newest[name] = max(newest.get(name, ("", run)), (when, run))
    return {name: run for name, (_, run) in sorted(newest.items())}


def checked(name: str) -> str:
    """Return a name that can be a tag. Raises ``StoreError`` for one that cannot."""
    if name in _TAKEN:
        raise StoreError(f"{name!r} is always the newest run, and no tag", "give another name")
    if not _NAME.fullmatch(name):
        hint = "a tag begins with a letter and has letters, digits, '.', '_' or '-', at most 64"
        raise StoreError(f"{name[:80]!r} cannot be a tag", hint)
    return name


def _given(run: Path) -> dict[str, str]:
    path = run / TAGS
    if not path.is_file():
        return {}
    with explained(path):
        data = path.read_bytes()
    try:
        found: Any = json.loads(data)
        tags = found["tags"]
        given = {str(name): str(when) for name, when in tags.items() if datetime.fromisoformat(when)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} holds no tags: {error}", "remove the file, then tag the run again") from None
    return given


def _readable(run: Path) -> dict[str, str]:
    """Return the names of one run among many: that its own cannot be read is no reason not to find another."""
    with contextlib.suppress(StoreError):
        return _given(run)
    return {}


def _write(run: Path, given: dict[str, str]) -> None:
    with explained(run):
        write_whole(run / TAGS, json.dumps({"tags": given}, indent=1, sort_keys=True).encode())
