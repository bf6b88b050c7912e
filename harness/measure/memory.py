"""The memory of this process: resident now, and the kernel's high-water mark."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.system import ROOT, Unavailable, read

if TYPE_CHECKING:
    from pathlib import Path


class MemoryUnavailable(HarnessError):  # noqa: N818 - named as ``EngineUnavailable`` is
    """This system does not tell a process how much memory it holds."""


def resident_bytes(root: Path = ROOT) -> int:
    """Return the resident set, VmRSS of ``/proc/self/status``. Raises ``MemoryUnavailable`` where there is none."""
    try:
        return _status_bytes("VmRSS", root)
    except Unavailable as unavailable:
        raise MemoryUnavailable(f"resident memory: {unavailable}", "memory cells need Linux") from None


def peak_bytes(root: Path = ROOT) -> int:
    """Return the highest resident set since the process began: VmHWM of ``/proc/self/status``.

    Elsewhere than on Linux ``getrusage``'s. Raises ``MemoryUnavailable`` where neither exists.
    """
    try:
        return _status_bytes("VmHWM", root)
    except Unavailable as unavailable:
        reason = str(unavailable)
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        raise MemoryUnavailable(f"peak memory: {reason}", "memory cells need Linux") from None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024  # bytes on macOS, KiB elsewhere: getrusage(2)


def _status_bytes(field: str, root: Path) -> int:
    for line in read("proc/self/status", root).splitlines():
        name, _, value = line.partition(":")
        if name == field:
            words = value.split()
            if len(words) == 2 and words[0].isdigit() and words[1] == "kB":  # KiB in fact: proc_pid_status(5)
                return int(words[0]) * 1024
    raise Unavailable(f"/proc/self/status has no {field}")
