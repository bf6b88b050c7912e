"""Whether the machine was quiet around the steady phase: one reading per detector, ``unavailable`` with its reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.measure.system import ROOT, Unavailable, allowed_processors, cpu_times, read, throttled_periods
from harness.vocabulary import NoiseReading, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

RUN_QUEUE_LIMIT = 0.02
"""Share of wall time that own threads may be runnable while others have the CPU: the best unprivileged detector."""
STEAL_LIMIT = 0.05
"""Share of CPU time taken by the hypervisor; idle virtual machines show 1-2 %."""


@dataclass(frozen=True)
class _Detector:
    """How to read a counter, and how to judge its change over ``wall_ns``."""

    read: Callable[[Path], Any]
    judge: Callable[[Any, Any, int], NoiseReading]


class NoiseWatch:
    """Reads every detector at ``start`` and at ``stop``, and nothing in between. ``root`` stands for ``/``."""

    def __init__(self, root: Path = ROOT, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._root = root
        self._clock = clock
        self._before: dict[str, Any] = {}
        self._begun_ns: int | None = None

    def start(self) -> None:
        """Read every counter. To be called right before the steady phase."""
        self._before = self._read()
        self._begun_ns = self._clock()

    def stop(self) -> dict[str, NoiseReading]:
        """Return one reading per detector since ``start``. Raises ``RuntimeError`` before it."""
        if self._begun_ns is None:
            raise RuntimeError("NoiseWatch.stop called before start")
        wall_ns = max(self._clock() - self._begun_ns, 1)
        after = self._read()
        return {name: self._judge(name, self._before[name], after[name], wall_ns) for name in DETECTORS}

    def _read(self) -> dict[str, Any]:
        return {name: _reading(detector, self._root) for name, detector in DETECTORS.items()}

    @staticmethod
    def _judge(name: str, before: Any, after: Any, wall_ns: int) -> NoiseReading:
        try:
            for reading in (before, after):
                if isinstance(reading, Unavailable):
                    raise reading
            return DETECTORS[name].judge(before, after, wall_ns)
        except Unavailable as unavailable:
            return NoiseReading(State.UNAVAILABLE, detail=str(unavailable))


def _reading(detector: _Detector, root: Path) -> Any:
    """Return what the detector reads, or the ``Unavailable`` that says why it cannot."""
    try:
        return detector.read(root)
    except Unavailable as unavailable:
        return unavailable
    except (ValueError, IndexError):
        return Unavailable("the kernel's answer has an unknown form")


@dataclass(frozen=True)
class Threads:
    """Nanoseconds on a processor, and runnable without one, by thread of this process; processors that they may use."""

    times_ns: Mapping[str, tuple[int, int]]
    processors: frozenset[int]


def threads(root: Path = ROOT) -> Threads:
    """Return what the scheduler counted so far.

    First and second word of ``/proc/self/task/*/schedstat`` (Documentation/scheduler/sched-stats).
    """
    try:
        names = sorted(folder.name for folder in (root / "proc/self/task").iterdir())
    except OSError as error:
        raise Unavailable(f"/proc/self/task: {error.strerror}") from None
    times: dict[str, tuple[int, int]] = {}
    processors: set[int] = set()
    for name in names:
        try:
            words = read(f"proc/self/task/{name}/schedstat", root).split()
            allowed = allowed_processors(root, name)
        except Unavailable:
            continue  # the thread ended while the folder was read
        times[name] = int(words[0]), int(words[1])
        processors |= allowed
    if not times:
        raise Unavailable("/proc/self/task tells of no thread when it ran, and where it may")
    if not any(ran_ns for ran_ns, _ in times.values()):
        raise Unavailable("the kernel keeps no scheduling statistics of threads")
    return Threads(times, frozenset(processors))


def pressure_us(root: Path = ROOT) -> int:
    """Return the time that at least one task of the machine waited for a CPU, microseconds since boot."""
    for line in read("proc/pressure/cpu", root).splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        if kind == "some" and "total" in values:
            return int(values["total"])
    raise Unavailable("/proc/pressure/cpu has no total")


def thermal_events(root: Path = ROOT) -> dict[str, int]:
    """Return the thermal throttle counters by file: one per core, and one per package that each of its CPUs shows."""
    found = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
    if not found:
        raise Unavailable("this machine shows no thermal throttle counters")
    return {f"{path.parts[-3]}/{path.name}": int(read(str(path.relative_to(root)), root)) for path in found}


def frequencies_mhz(root: Path = ROOT) -> list[float]:
    """Return the current frequency of each CPU, from cpufreq."""
    found = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if not found:
        raise Unavailable("this machine shows no CPU frequencies")
    return [int(read(str(path.relative_to(root)), root)) / 1e3 for path in found]


def _judge_run_queue(before: Threads, after: Threads, wall_ns: int) -> NoiseReading:
    """Convict others alone: what own threads may have waited for each other is taken off.

    While r own threads are runnable on p processors, at most max(0, r − p) of them wait for each other, and at least as
    many of the runnable ones are not among the p that were so longest. So the time that all but these p were runnable
    bounds what was waited for each other, however the threads alternate.
    """
    waited_ns = 0
    runnable_ns: list[int] = []
    for name, (ran, waited) in after.times_ns.items():
        earlier = before.times_ns.get(name, (0, 0))
        # A thread that shows less than before is a new one under a reused number.
        ran_before, waited_before = earlier if ran >= earlier[0] and waited >= earlier[1] else (0, 0)
        waited_ns += waited - waited_before
        runnable_ns.append(ran - ran_before + waited - waited_before)
    ended = len(before.times_ns.keys() - after.times_ns.keys())
    share = waited_ns / wall_ns
    # A thread that ended may have been runnable all the time.
    longest = sorted([*runnable_ns, *[wall_ns] * ended], reverse=True)
    own = sum(longest[len(after.processors) :]) / wall_ns
    if share > RUN_QUEUE_LIMIT >= share - own:
        busy = sum(each > 0 for each in longest)
        where = f"{busy} had work, on {len(after.processors)} processors"
        raise Unavailable(f"own threads waited {share:.1%} of the time, maybe all for each other: {where}")
    told = [f"{ended} threads ended meanwhile and are not counted"] if ended else []
    told += [f"at most {own:.1%} of it for each other"] if share > RUN_QUEUE_LIMIT and own else []
    return _limited(share, RUN_QUEUE_LIMIT, "share", "; ".join(told))


def _judge_steal(before: tuple[int, int], after: tuple[int, int], _wall_ns: int) -> NoiseReading:
    total = after[1] - before[1]
    if total <= 0:
        raise Unavailable("the steady phase was shorter than a clock tick")
    return _limited(max(after[0] - before[0], 0) / total, STEAL_LIMIT, "share")


def _judge_throttle(before: int, after: int, _wall_ns: int) -> NoiseReading:
    return _limited(float(after - before), 0.0, "events")


def _judge_thermal(before: Mapping[str, int], after: Mapping[str, int], _wall_ns: int) -> NoiseReading:
    rises = {name: count - before.get(name, count) for name, count in after.items()}
    packages = [rise for name, rise in rises.items() if "package" in name]
    return _limited(float(sum(rises.values()) - sum(packages) + max(packages, default=0)), 0.0, "events")


def _judge_pressure(before: int, after: int, wall_ns: int) -> NoiseReading:
    # The whole machine's, the measured process included: it explains, but convicts nobody.
    return NoiseReading(
        State.OK, (after - before) * 1e3 / wall_ns, None, "share", "has no limit: includes this process"
    )


def _judge_frequency(before: list[float], after: list[float], _wall_ns: int) -> NoiseReading:
    first, last = sum(before) / len(before), sum(after) / len(after)
    return NoiseReading(State.OK, last, None, "MHz", f"has no limit: mean of CPUs, {first:.0f} before")


def _limited(value: float, limit: float, unit: str, detail: str = "") -> NoiseReading:
    return NoiseReading(State.BAD if value > limit else State.OK, value, limit, unit, detail)


DETECTORS: dict[str, _Detector] = {
    "run_queue_wait": _Detector(threads, _judge_run_queue),
    "steal": _Detector(cpu_times, _judge_steal),
    "cgroup_throttle": _Detector(throttled_periods, _judge_throttle),
    "thermal_throttle": _Detector(thermal_events, _judge_thermal),
    "psi_cpu": _Detector(pressure_us, _judge_pressure),
    "cpu_frequency": _Detector(frequencies_mhz, _judge_frequency),
}
"""Every detector by the name that a record stores."""
