"""Whether the machine was quiet around the steady phase: one reading per detector, ``unavailable`` with its reason."""

from __future__ import annotations

import operator
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.system import (
    ROOT,
    Unavailable,
    allowed_processors,
    busy_ticks,
    cpu_times,
    own_ticks,
    read,
    throttled_periods,
)
from harness.vocabulary import NoiseReading, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

RUN_QUEUE_LIMIT = 0.02
"""Share of the time that own threads were runnable, in which others had the CPU: tells who was kept waiting."""
IDLE_SHARE = 0.1
"""Of wall time, that own threads count as runnable at least: one that hardly works is not convicted by little."""
WAKING_NS = 50_000
"""Of waiting, that waking up may take by itself: a processor has to be told, and to come out of its own sleep.

Tens of microseconds where nobody disturbs. Behind another task it is the rest of its time slice besides: 1 ms and more.
"""
OTHERS_LIMIT = 0.05
"""Share of the processors that may be used which others keep busy: of two, a tenth of one."""
STEAL_LIMIT = 0.05
"""Share of CPU time taken by the hypervisor; idle virtual machines show 1-2 %."""
_TICKS = 4
"""By which the kernel's counts may be off together: each of its columns is rounded down by itself."""


@dataclass(frozen=True)
class Stretch:
    """What one detector read before and after a part of the steady phase; ``Unavailable`` where it could not."""

    before: Any
    after: Any
    wall_ns: int


@dataclass(frozen=True)
class _Detector:
    """How to read a counter, and how to judge its changes over one or more stretches, all together."""

    read: Callable[[Path], Any]
    judge: Callable[[Sequence[Stretch]], NoiseReading]


class NoiseWatch:
    """Reads every detector at ``start`` and at ``stop``, and nothing in between. ``root`` stands for ``/``.

    A steady phase of several stretches has several of both: detectors that read by thread see those that live at both
    ends of a stretch.
    """

    def __init__(self, root: Path = ROOT, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._root = root
        self._clock = clock
        self._before: dict[str, Any] = {}
        self._begun_ns: int | None = None
        self._stretches: dict[str, list[Stretch]] = {name: [] for name in DETECTORS}

    def start(self) -> None:
        """Read every counter. To be called right before the steady phase, or a stretch of it."""
        self._before = self._read()
        self._begun_ns = self._clock()

    def stop(self) -> dict[str, NoiseReading]:
        """Return one reading per detector over all stretches so far. Raises ``RuntimeError`` where none was begun."""
        if self._begun_ns is None:
            raise RuntimeError("NoiseWatch.stop called before start")
        wall_ns = max(self._clock() - self._begun_ns, 1)
        self._begun_ns = None
        for name, after in self._read().items():
            self._stretches[name].append(Stretch(self._before[name], after, wall_ns))
        return {name: _judged(detector, self._stretches[name]) for name, detector in DETECTORS.items()}

    def _read(self) -> dict[str, Any]:
        return {name: _reading(detector, self._root) for name, detector in DETECTORS.items()}


def _judged(detector: _Detector, stretches: Sequence[Stretch]) -> NoiseReading:
    try:
        for stretch in stretches:
            for reading in (stretch.before, stretch.after):
                if isinstance(reading, Unavailable):
                    raise reading
        return detector.judge(stretches)
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


class Times(NamedTuple):
    """Of one thread, since it began."""

    ran_ns: int  # on a processor
    waited_ns: int  # runnable, without one
    turns: int  # on a processor: one for each waking up, and for each time that another task took it in between


_NEVER = Times(0, 0, 0)


@dataclass(frozen=True)
class Threads:
    """What the scheduler counted by thread of this process, and the processors that they may use."""

    times: Mapping[str, Times]
    processors: frozenset[int]


def threads(root: Path = ROOT) -> Threads:
    """Return what the scheduler counted so far.

    The words of ``/proc/self/task/*/schedstat`` (Documentation/scheduler/sched-stats).
    """
    times: dict[str, Times] = {}
    processors: set[int] = set()
    for name in _tasks(root):
        try:
            words = read(f"proc/self/task/{name}/schedstat", root).split()
            allowed = allowed_processors(root, name)
        except Unavailable:
            continue  # the thread ended while the folder was read
        times[name] = Times(int(words[0]), int(words[1]), int(words[2]))
        processors |= allowed
    if not times:
        raise Unavailable("/proc/self/task tells of no thread when it ran, and where it may")
    if not any(each.ran_ns for each in times.values()):
        raise Unavailable("the kernel keeps no scheduling statistics of threads")
    return Threads(times, frozenset(processors))


def _tasks(root: Path) -> list[str]:
    try:
        return sorted(folder.name for folder in (root / "proc/self/task").iterdir())
    except OSError as error:
        raise Unavailable(f"/proc/self/task: {error.strerror}") from None


@dataclass(frozen=True)
class Work:
    """Clock ticks since boot: of work by processor, and of this process; processors that its threads may use."""

    busy: Mapping[int, int]
    own: int
    processors: frozenset[int]


def work(root: Path = ROOT) -> Work:
    """Return what was worked so far, on each processor and by this process, and which of them its threads may use."""
    allowed = frozenset[int]().union(*(_allowed(name, root) for name in _tasks(root)))
    if not allowed:
        raise Unavailable("/proc/self/task tells of no thread where it may run")
    return Work(busy_ticks(root), own_ticks(root), allowed)


def _allowed(thread: str, root: Path) -> frozenset[int]:
    try:
        return frozenset(allowed_processors(root, thread))
    except Unavailable:  # it ended while the folder was read
        return frozenset()


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


@dataclass(frozen=True)
class _Waits:
    """What own threads did in one stretch."""

    runnable_ns: int
    waited_ns: int
    waking_ns: int  # of which by waking up, at most
    own_ns: int  # and for each other, at most
    busy: int  # threads that had work, or may have had
    ended: int
    processors: int


def _waits(stretch: Stretch) -> _Waits:
    """Return how long own threads were kept waiting, and how much of it they can have done to each other.

    While r own threads are runnable on p processors, at most max(0, r − p) of them wait for each other, and at least as
    many of the runnable ones are not among the p that were so longest. So the time that all but these p were runnable
    bounds what was waited for each other, however the threads alternate.
    """
    before, after = stretch.before, stretch.after
    waited_ns = waking_ns = 0
    runnable_ns: list[int] = []
    for name, now in after.times.items():
        then = before.times.get(name, _NEVER)
        if not all(map(operator.ge, now, then)):
            then = _NEVER  # a thread that shows less than before is a new one under a reused number
        waited = now.waited_ns - then.waited_ns
        waited_ns += waited
        waking_ns += min(waited, WAKING_NS * (now.turns - then.turns))
        runnable_ns.append(now.ran_ns - then.ran_ns + waited)
    ended = len(before.times.keys() - after.times.keys())
    # A thread that ended may have been runnable all the time.
    longest = sorted([*runnable_ns, *[stretch.wall_ns] * ended], reverse=True)
    own_ns = sum(longest[len(after.processors) :])
    busy = sum(each > 0 for each in longest)
    return _Waits(sum(runnable_ns), waited_ns, waking_ns, own_ns, busy, ended, len(after.processors))


def _judge_run_queue(stretches: Sequence[Stretch]) -> NoiseReading:
    """Convict others alone: what own threads may have waited for each other is taken off.

    An engine that idles between frames waits for the CPU only when it has work: what it waited is held against that
    time, and never against more than the wall's. Each time that it wakes up it waits a little by that alone, which is
    taken off as far as it idles: what always has work does not wake up.
    """
    found = [_waits(stretch) for stretch in stretches]
    wall_ns = sum(stretch.wall_ns for stretch in stretches)
    runnable_ns = sum(each.runnable_ns for each in found)
    time_ns = min(max(runnable_ns, IDLE_SHARE * wall_ns), wall_ns)
    waking = max(0.0, 1 - runnable_ns / wall_ns) * sum(each.waking_ns for each in found) / time_ns
    share = sum(each.waited_ns for each in found) / time_ns - waking
    own = sum(each.own_ns for each in found) / time_ns
    ended = sum(each.ended for each in found)
    if share > RUN_QUEUE_LIMIT >= share - own:
        most = max(found, key=lambda each: each.busy - each.processors)
        where = f"{most.busy} had work, on {most.processors} processors"
        raise Unavailable(f"own threads waited {share:.1%} of the time, maybe all for each other: {where}")
    told = [f"{ended} threads ended meanwhile and are not counted"] if ended else []
    told += [f"at most {own:.1%} of it for each other"] if share > RUN_QUEUE_LIMIT and own else []
    told += [f"{waking:.1%} more by waking up"] if share + waking > RUN_QUEUE_LIMIT >= share else []
    return _limited(share, RUN_QUEUE_LIMIT, "share", "; ".join(told))


def _judge_others(stretches: Sequence[Stretch]) -> NoiseReading:
    """Hold what others worked against all that the processors could have done.

    Others on a processor that this process leaves idle keep none of its threads waiting, and take clock, cache and
    memory from it all the same: the more so, the more of the processors they have.
    """
    per_second = os.sysconf("SC_CLK_TCK")
    possible = others = 0.0
    for stretch in stretches:
        before, after = stretch.before, stretch.after
        # Affinity may have changed meanwhile: own work is anywhere that it was allowed at either end.
        numbers = before.processors | after.processors
        if not numbers <= before.busy.keys() & after.busy.keys():
            raise Unavailable("/proc/stat has no line of some processor that this process may use")
        possible += len(numbers) * stretch.wall_ns * per_second / 1e9
        others += sum(after.busy[number] - before.busy[number] for number in numbers) - (after.own - before.own)
    if OTHERS_LIMIT * possible < _TICKS:
        raise Unavailable("the steady phase was too short for the kernel's clock ticks")
    share = others / possible
    if share < -OTHERS_LIMIT:
        raise Unavailable("/proc/stat counts less work than this process did: it tells of other processors")
    return _limited(max(share, 0.0), OTHERS_LIMIT, "share")


def _judge_steal(stretches: Sequence[Stretch]) -> NoiseReading:
    stolen, total = (sum(each.after[column] - each.before[column] for each in stretches) for column in (0, 1))
    if total <= 0:
        raise Unavailable("the steady phase was shorter than a clock tick")
    return _limited(max(stolen, 0) / total, STEAL_LIMIT, "share")


def _judge_throttle(stretches: Sequence[Stretch]) -> NoiseReading:
    return _limited(float(sum(each.after - each.before for each in stretches)), 0.0, "events")


def _judge_thermal(stretches: Sequence[Stretch]) -> NoiseReading:
    events = 0
    for each in stretches:
        rises = {name: count - each.before.get(name, count) for name, count in each.after.items()}
        packages = [rise for name, rise in rises.items() if "package" in name]
        events += sum(rises.values()) - sum(packages) + max(packages, default=0)
    return _limited(float(events), 0.0, "events")


def _judge_pressure(stretches: Sequence[Stretch]) -> NoiseReading:
    # The whole machine's, the measured process included: it explains, but convicts nobody.
    share = sum(each.after - each.before for each in stretches) * 1e3 / sum(each.wall_ns for each in stretches)
    return NoiseReading(State.OK, share, None, "share", "has no limit: includes this process")


def _judge_frequency(stretches: Sequence[Stretch]) -> NoiseReading:
    first, last = (sum(values) / len(values) for values in (stretches[0].before, stretches[-1].after))
    return NoiseReading(State.OK, last, None, "MHz", f"has no limit: mean of CPUs, {first:.0f} before")


def _limited(value: float, limit: float, unit: str, detail: str = "") -> NoiseReading:
    return NoiseReading(State.BAD if value > limit else State.OK, value, limit, unit, detail)


DETECTORS: dict[str, _Detector] = {
    "run_queue_wait": _Detector(threads, _judge_run_queue),
    "other_processes": _Detector(work, _judge_others),
    "steal": _Detector(cpu_times, _judge_steal),
    "cgroup_throttle": _Detector(throttled_periods, _judge_throttle),
    "thermal_throttle": _Detector(thermal_events, _judge_thermal),
    "psi_cpu": _Detector(pressure_us, _judge_pressure),
    "cpu_frequency": _Detector(frequencies_mhz, _judge_frequency),
}
"""Every detector by the name that a record stores."""
