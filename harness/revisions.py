"""Revisions of a git repository, each checked out in a place of its own for as long as it is needed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness import git
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TIMEOUT_S = 600.0


def repository_of(folder: Path) -> Path:
    """Return the top folder of the repository that a folder lies in. Raises ``HarnessError``."""
    top = _git(folder, "rev-parse", "--show-toplevel", hint="revisions are those of the suite's repository")
    return Path(top)


def resolved(repository: Path, revision: str) -> str:
    """Return the commit that a revision means. Raises ``HarnessError``."""
    hint = "fetch it; a checkout of a CI is often shallow, and has its own commit alone"
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    try:
        return _git(repository, *words, hint=hint)
    except HarnessError as error:
        raise HarnessError(f"{repository.name} has no revision {revision[:80]!r}", hint) from error


@contextmanager
def checked_out(repository: Path, commits: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """Yield a worktree of each commit, in the same order, with nothing of the working folder in it."""
    with tempfile.TemporaryDirectory(prefix="harness-ab-", ignore_cleanup_errors=True) as place, ExitStack() as stack:
        found = []
        for number, commit in enumerate(commits):
            folder = Path(place).resolve() / str(number) / repository.name
            folder.parent.mkdir()
            stack.callback(_remove, repository, folder)
            hooks = ("-c", f"core.hooksPath={os.devnull}")
            hint = "is there space in the folder for temporary files?"
            _git(repository, *hooks, "worktree", "add", "--detach", "--quiet", str(folder), commit, hint=hint)
            found.append(folder)
        yield tuple(found)


def _remove(repository: Path, folder: Path) -> None:
    with suppress(HarnessError):  # the temporary folder goes all the same, and git prunes what it knows of it
        _git(repository, "worktree", "remove", "--force", str(folder), hint="")


def _git(folder: Path, *words: str, hint: str) -> str:
    """Return what git says. Raises ``HarnessError`` with its own last words."""
    try:
        done = git.asked(folder, *words, timeout_s=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"git cannot be run: {error}", "install git, or compare two environments") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"git {words[0]} ended with {done.returncode}"]
        raise HarnessError(said[-1][:300], hint)
    return done.stdout.strip()
