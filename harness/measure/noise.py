"""Whether the machine was quiet around the steady phase: one reading per detector, ``unavailable`` with its reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.measure.system import ROOT, Unavailable, cpu_times, read, throttled_periods
from harness.vocabulary import NoiseReading, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

RUN_QUEUE_LIMIT = 0.02
"""Share of wall time that threads of this process may be runnable without a CPU: the best unprivileged detector."""
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


def run_queue_wait_ns(root: Path = ROOT) -> dict[str, int]:
    """Return, by thread of this process, the time it was runnable but waited for a CPU, so far.

    Second word of ``/proc/self/task/*/schedstat``, nanoseconds (Documentation/scheduler/sched-stats).
    """
    tasks = root / "proc/self/task"
    waits, ran_ns = {}, 0
    try:
        threads = sorted(folder.name for folder in tasks.iterdir())
    except OSError as error:
        raise Unavailable(f"/proc/self/task: {error.strerror}") from None
    for thread in threads:
        try:
            words = read(f"proc/self/task/{thread}/schedstat", root).split()
        except Unavailable:
            continue  # the thread ended while the folder was read
        waits[thread] = int(words[1])
        ran_ns += int(words[0])
    if not ran_ns:
        raise Unavailable("the kernel keeps no scheduling statistics of threads")
    return waits


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


def _judge_run_queue(before: Mapping[str, int], after: Mapping[str, int], wall_ns: int) -> NoiseReading:
    waited_ns = 0
    for thread, wait_ns in after.items():
        earlier_ns = before.get(thread, 0)
        # A thread that shows less than before is a new one under a reused number.
        waited_ns += wait_ns - earlier_ns if wait_ns >= earlier_ns else wait_ns
    ended = len(before.keys() - after.keys())
    detail = f"{ended} threads ended meanwhile and are not counted" if ended else ""
    return _limited(waited_ns / wall_ns, RUN_QUEUE_LIMIT, "share", detail)


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
    "run_queue_wait": _Detector(run_queue_wait_ns, _judge_run_queue),
    "steal": _Detector(cpu_times, _judge_steal),
    "cgroup_throttle": _Detector(throttled_periods, _judge_throttle),
    "thermal_throttle": _Detector(thermal_events, _judge_thermal),
    "psi_cpu": _Detector(pressure_us, _judge_pressure),
    "cpu_frequency": _Detector(frequencies_mhz, _judge_frequency),
}
"""Every detector by the name that a record stores."""
