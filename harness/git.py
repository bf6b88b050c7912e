"""Git, asked about the repository that a folder lies in, whichever repository a hook around this process is for."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# A hook of git's sets them to the repository that it runs for.
_LOCAL = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
)


def asked(folder: Path, *words: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Return how a git command ended, with what it said. It takes no lock that it can do without.

    Raises ``OSError`` where there is no git, ``subprocess.TimeoutExpired`` where it does not end.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _LOCAL}
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False)
