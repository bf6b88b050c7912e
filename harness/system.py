"""What Linux tells about itself under ``/proc`` and ``/sys``: files read by relative path, control groups resolved.

Every function takes ``root``, the folder that stands for ``/``, and raises ``Unavailable`` with the reason, but for
``usable_processors``, which always has an answer.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

ROOT = Path("/")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as the largest page-aligned integer


class Unavailable(Exception):  # noqa: N818 - it is an answer, not an error of the program
    """The system does not tell; the message says why."""


def read(relative: str, root: Path = ROOT) -> str:
    """Return the text of a file under ``root``, stripped."""
    try:
        return (root / relative).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise Unavailable(f"/{relative}: {error.strerror}") from None


def cpu_times(root: Path = ROOT) -> tuple[int, int]:
    """Return the stolen and the total clock ticks of all CPUs since boot, from the first line of ``/proc/stat``.

    Guest time is left out of the total: the kernel counts it in user time already (proc_stat(5)).
    """
    words = read("proc/stat", root).partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        raise Unavailable("/proc/stat has no steal column")
    ticks = [int(word) for word in words[1:9]]
    return ticks[7], sum(ticks)


def busy_ticks(root: Path = ROOT) -> dict[int, int]:
    """Return the clock ticks since boot in which each processor worked, by its number, from ``/proc/stat``.

    user + nice + system + irq + softirq (proc_stat(5)). What the hypervisor took is not in it.
    """
    found: dict[int, int] = {}
    counts = False
    for line in read("proc/stat", root).splitlines():
        name, *words = line.split()
        number = name.removeprefix("cpu")
        if name.startswith("cpu") and number.isdigit():
            user, nice, system, idle, waits, irq, softirq = map(int, words[:7])
            found[int(number)] = user + nice + system + irq + softirq
            counts = counts or any((user, nice, system, idle, waits, irq, softirq))
    if not counts:
        raise Unavailable("/proc/stat counts no time of single processors")
    return found


def own_ticks(root: Path = ROOT) -> int:
    """Return the clock ticks that all threads of this process, those that ended too, have worked so far.

    utime + stime of ``/proc/self/stat`` (proc_pid_stat(5)).
    """
    # The name may hold spaces and brackets: it ends at the last closing one.
    words = read("proc/self/stat", root).rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def processor_list(text: str) -> set[int]:
    """Return the numbers in a list such as ``0-2,8`` (cpuset(7), "List format"). Raises ``ValueError``."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def allowed_processors(root: Path = ROOT, thread: str = "") -> set[int]:
    """Return the processors that this process, or one of its threads, may run on: affinity within its cpuset.

    ``Cpus_allowed_list`` of ``/proc/self/status`` (proc_pid_status(5)), which names processors that are not there too.
    """
    place = f"proc/self/task/{thread}/status" if thread else "proc/self/status"
    for line in read(place, root).splitlines():
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list":
            allowed = processor_list(value)
            break
    else:
        raise Unavailable(f"/{place} has no Cpus_allowed_list")
    try:
        return allowed & processor_list(read("sys/devices/system/cpu/online", root))
    except Unavailable:
        return allowed


def usable_processors(root: Path = ROOT) -> int:
    """Return how many threads can run at once without being cut short: affinity and cpuset, cut to whole quota cores.

    At least 1. A quota of 1.5 cores gives 1: two threads would use it up in three quarters of each period, and stand
    still for the rest (Documentation/scheduler/sched-bwc of the kernel). What the system does not tell limits nothing.
    """
    try:
        allowed = len(allowed_processors(root))
    except (Unavailable, ValueError):
        allowed = _known_processors()
    try:
        quota = cpu_quota_cores(root)
    except (Unavailable, ValueError, LookupError):  # no control groups, or none of a form that is known
        quota = None
    return max(1, allowed if quota is None else min(allowed, math.floor(quota)))


def _known_processors() -> int:
    """Return what Python knows where there is no ``/proc``: affinity on Linux, elsewhere all that there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_folders(controller: str, root: Path = ROOT) -> list[Path]:
    """Return the control group of this process and its visible ancestors, innermost first.

    A version 1 hierarchy is taken where the controller is attached to one, version 2 otherwise (cgroups(7)).
    """
    legacy: str | None = None
    unified: str | None = None
    for line in read("proc/self/cgroup", root).splitlines():
        _, controllers, group = line.split(":", 2)
        if controller in controllers.split(","):
            legacy = group
        elif not controllers:
            unified = group
    path = unified if legacy is None else legacy
    if path is None:
        raise Unavailable(f"this process is in no control group with {controller}")
    mount, mounted = _cgroup_mount(None if legacy is None else controller, root)
    inside = path[len(mounted.rstrip("/")) :] if path.startswith(mounted) else "/"
    here = mount.joinpath(*(part for part in inside.split("/") if part not in ("", "..")))
    return [folder for folder in (here, *here.parents) if folder.is_relative_to(mount) and folder.is_dir()]


def throttled_periods(root: Path = ROOT) -> int:
    """Return how many periods the CPU quota of this process, or of a group around it, has cut short so far."""
    found = []
    for folder in cgroup_folders("cpu", root):
        try:
            lines = read(str((folder / "cpu.stat").relative_to(root)), root).splitlines()
        except Unavailable:
            continue
        found += [int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")]
    if not found:
        raise Unavailable("no control group around this process counts throttled periods")
    return sum(found)


def cpu_quota_cores(root: Path = ROOT) -> float | None:
    """Return the tightest CPU quota around this process, in cores; ``None``: no limit."""
    quotas = [_quota(folder) for folder in cgroup_folders("cpu", root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path = ROOT) -> int | None:
    """Return the tightest memory limit around this process; ``None``: no limit."""
    limits = []
    for folder in cgroup_folders("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            words = _words(folder / name)
            limits += [int(word) for word in words[:1] if word.isdigit() and int(word) < _UNLIMITED_BYTES]
    return min(limits, default=None)


def _quota(folder: Path) -> float | None:
    words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None  # "max", "-1", or the root group, which has no limit
    return int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _cgroup_mount(controller: str | None, root: Path) -> tuple[Path, str]:
    """Return where a hierarchy is mounted, and which of its groups is seen there (proc_pid_mountinfo(5))."""
    for line in read("proc/self/mountinfo", root).splitlines():
        left, _, right = line.partition(" - ")
        mounted, point = left.split()[3:5]
        kind, *_, superblock = right.split()
        if (controller is None and kind == "cgroup2") or (kind == "cgroup" and controller in superblock.split(",")):
            return root / point.lstrip("/"), mounted
    raise Unavailable("control groups are not mounted")
