"""Whether this machine is fit to measure on: what ``harness doctor`` checks, each with the command that sets it."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness import busy, nvidia
from harness.measure.noise import NoiseWatch
from harness.system import (
    ROOT,
    Unavailable,
    allowed_processors,
    cpu_quota_cores,
    processor_list,
    read,
    throttled_periods,
)
from harness.vocabulary import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_T = TypeVar("_T")
_CPU = "sys/devices/system/cpu"
_LOAD_LIMIT = 0.5  # runnable tasks besides ours: half a core busy with something else
_PRESSURE_LIMIT = 0.10  # share of the last 10 s in which some task waited for a CPU
_NAMED = 3  # processes that a check names
_STOP = "stop what `ps -eo pcpu,comm --sort=-pcpu | head` lists"


@dataclass(frozen=True)
class Check:
    """One thing that makes timings noisy. ``advice`` is a command or a sentence, empty where all is well."""

    name: str
    state: State
    value: str
    advice: str = ""


def quietness(
    root: Path = ROOT,
    watch_s: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    ask: nvidia.Ask = nvidia.ask,
) -> list[Check]:
    """Return every check, after watching the machine do nothing of ours for ``watch_s``.

    ``ask`` asks the driver of NVIDIA's GPUs, which have checks of their own where there are any. What else is worth a
    check is what the tuning guides of pyperf (``system tune``), Google Benchmark ("Reducing variance") and TensorRT
    ("GPU clock locking") name, as far as it moves an inference of milliseconds.
    """
    watch = NoiseWatch(root)
    ticks, pages = _tried(lambda: busy.ticks(root)), _tried(lambda: busy.swapped_pages(root))
    watch.start()
    sleep(watch_s)
    steal = watch.stop()["steal"]
    stolen = f"{steal.value:.1%}" if steal.value is not None else steal.detail
    return [
        _checked("governor", lambda: _governor(root)),
        _checked("turbo", lambda: _turbo(root)),
        _checked("smt", lambda: _smt(root)),
        _checked("load", _load),
        _checked("other processes", lambda: _others(_told(ticks), busy.ticks(root), watch_s)),
        Check("steal", steal.state, stolen, _advice(steal.state, "use a machine of its own, or a dedicated host")),
        _checked("pressure", lambda: _pressure(root)),
        _checked("swap", lambda: _swap(busy.swapped_pages(root) - _told(pages))),
        _checked("pinning", lambda: _pinning(root)),
        _checked("cgroup quota", lambda: _quota(root)),
        *(Check(told.name, told.state, told.value, told.advice) for told in nvidia.checks(ask)),
    ]


def governors(root: Path = ROOT) -> str:
    """Return the frequency governors in use, joined. Raises ``Unavailable`` where the system sets no frequency."""
    places = sorted((root / _CPU).glob("cpu[0-9]*/cpufreq/scaling_governor"))
    if not places:
        raise Unavailable("no cpufreq: the frequency is not this system's to set")
    return ", ".join(sorted({read(str(place.relative_to(root)), root) for place in places}))


def turbo(root: Path = ROOT) -> tuple[bool, str]:
    """Return whether the clock may rise above its base, and the command that stops it. Raises ``Unavailable``."""
    for switch, on, off in (("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")):
        try:
            value = read(f"{_CPU}/{switch}", root)
        except Unavailable:
            continue
        return value == on, f"echo {off} | sudo tee /{_CPU}/{switch}"
    raise Unavailable("neither intel_pstate/no_turbo nor cpufreq/boost is there")


def _checked(name: str, check: Callable[[], tuple[State, str, str]]) -> Check:
    try:
        state, value, advice = check()
    except Unavailable as unavailable:
        return Check(name, State.UNAVAILABLE, str(unavailable))
    except (OSError, AttributeError, ValueError, LookupError) as error:
        return Check(name, State.UNAVAILABLE, f"cannot be read: {type(error).__name__}")
    return Check(name, state, value, _advice(state, advice))


def _tried(tell: Callable[[], _T]) -> _T | Unavailable:
    """Return an answer, or why there is none, for later."""
    try:
        return tell()
    except Unavailable as unavailable:
        return unavailable
    except (OSError, ValueError, LookupError) as error:
        return Unavailable(f"cannot be read: {type(error).__name__}")


def _told(answer: _T | Unavailable) -> _T:
    if isinstance(answer, Unavailable):
        raise answer
    return answer


def _advice(state: State, advice: str) -> str:
    return advice if state is State.BAD else ""


def _state(*, bad: bool) -> State:
    return State.BAD if bad else State.OK


def _governor(root: Path) -> tuple[State, str, str]:
    value = governors(root)
    return _state(bad=value != "performance"), value, "sudo cpupower frequency-set --governor performance"


def _turbo(root: Path) -> tuple[State, str, str]:
    on, command = turbo(root)
    return _state(bad=on), "on" if on else "off", command


def _smt(root: Path) -> tuple[State, str, str]:
    on = read(f"{_CPU}/smt/active", root) == "1"
    return _state(bad=on), "on" if on else "off", f"echo off | sudo tee /{_CPU}/smt/control"


def _load() -> tuple[State, str, str]:
    load = os.getloadavg()[0]
    return _state(bad=load > _LOAD_LIMIT), f"{load:.2f} over the last minute", _STOP


def _others(before: busy.Ticks, after: busy.Ticks, watched_s: float) -> tuple[State, str, str]:
    """Name who else is at work right now, which the mean over a minute does not tell."""
    found = busy.others(before, after, watched_s)
    cores = sum(each.cores for each in found)
    names = ", ".join(f"{each.name} {each.cores:.2f}" for each in found[:_NAMED] if each.cores >= 0.01)
    value = f"{cores:.2f} processors while watched" + (f": {names}" if names else "")
    named = ", ".join(each.name for each in found[:_NAMED])
    return _state(bad=cores > _LOAD_LIMIT), value, f"stop them, or wait until they are done: {named}"


def _pressure(root: Path) -> tuple[State, str, str]:
    line = next(line for line in read("proc/pressure/cpu", root).splitlines() if line.startswith("some "))
    share = float(dict(word.split("=") for word in line.split()[1:])["avg10"]) / 100
    return _state(bad=share > _PRESSURE_LIMIT), f"{share:.1%} of the last 10 s", _STOP


def _swap(pages: int) -> tuple[State, str, str]:
    """Tell whether memory is short now: pages that went to the disk come back in the middle of an inference."""
    advice = "close what holds the memory, then: sudo swapoff --all && sudo swapon --all"
    return _state(bad=pages > 0), f"{pages} pages while watched", advice


def _pinning(root: Path) -> tuple[State, str, str]:
    """Tell whether the process stays on processors of its own: moved, it leaves its caches behind."""
    online = processor_list(read(f"{_CPU}/online", root))
    allowed = allowed_processors(root)
    isolated = processor_list(read(f"{_CPU}/isolated", root))
    value = f"{len(allowed)} of {len(online)} processors" + (f", {_ranges(isolated)} isolated" if isolated else "")
    own = _ranges(isolated or sorted(online)[len(online) // 2 :])
    advice = f"taskset --cpu-list {own} harness run ..."
    if not isolated:
        advice += f"; to keep others off them too, boot with isolcpus={own}"
    return _state(bad=len(online) > 1 and allowed == online), value, advice


def _quota(root: Path) -> tuple[State, str, str]:
    quota, throttled = cpu_quota_cores(root), throttled_periods(root)
    if quota is None:
        return State.OK, "none", ""
    allowed = len(allowed_processors(root))
    value = f"{quota:g} cores for {allowed} processors, {throttled} periods cut short so far"
    whole = max(1, math.floor(quota))
    advice = f"ask the suite for `threads: [{whole}]`, or raise the limit of the container (docker: --cpus {allowed})"
    return _state(bad=throttled > 0 or quota < allowed), value, advice


def _ranges(processors: Iterable[int]) -> str:
    """Return processors as ``taskset`` and the kernel write them, such as ``0-2,8``."""
    parts: list[list[int]] = []
    for each in sorted(processors):
        if parts and each == parts[-1][-1] + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
