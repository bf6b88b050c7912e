"""Who else uses the machine: processor time of every other process, and pages that went to the disk and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.system import ROOT, Unavailable, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Ticks = Mapping[tuple[int, int], tuple[str, int]]


@dataclass(frozen=True)
class Busy:
    """A process of others, and how many processors it kept busy on average."""

    name: str
    cores: float


def ticks(root: Path = ROOT) -> Ticks:
    """Return name and clock ticks so far of every process but this one, by its number and the time that it began.

    User and system time of ``/proc/PID/stat`` (proc_pid_stat(5)). Names are no part of the key: the kernel's workers
    take that of their task.
    """
    own = int(read("proc/self/stat", root).split()[0])
    found = {}
    for folder in (root / "proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == own:
            continue
        try:
            # The name may hold spaces and brackets: it ends at the last closing one.
            left, _, right = read(f"proc/{folder.name}/stat", root).rpartition(")")
        except Unavailable:
            continue  # it ended meanwhile
        words = right.split()
        key = int(folder.name), int(words[19])
        found[key] = left.partition("(")[2], int(words[11]) + int(words[12])
    return found


def others(before: Ticks, after: Ticks, seconds: float) -> list[Busy]:
    """Return the processes that worked between two looks, ``seconds`` apart, busiest first."""
    per_core = seconds * os.sysconf("SC_CLK_TCK")
    found = [Busy(name, (count - before.get(key, ("", 0))[1]) / per_core) for key, (name, count) in after.items()]
    return sorted((each for each in found if each.cores > 0), key=lambda each: -each.cores)


def swapped_pages(root: Path = ROOT) -> int:
    """Return how many pages went to the disk or came back since boot (``pswpout``, ``pswpin`` of ``/proc/vmstat``)."""
    values = dict(line.split(maxsplit=1) for line in read("proc/vmstat", root).splitlines())
    if not {"pswpin", "pswpout"} <= values.keys():
        raise Unavailable("/proc/vmstat does not count swapped pages")
    return int(values["pswpin"]) + int(values["pswpout"])
