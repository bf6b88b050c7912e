"""Whether this machine is fit to measure on: what ``harness doctor`` checks, each with the command that sets it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.noise import NoiseWatch
from harness.measure.system import ROOT, Unavailable, cpu_quota_cores, read, throttled_periods
from harness.vocabulary import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CPU = "sys/devices/system/cpu"
_LOAD_LIMIT = 0.5  # runnable tasks besides ours: half a core busy with something else
_PRESSURE_LIMIT = 0.10  # share of the last 10 s in which some task waited for a CPU


@dataclass(frozen=True)
class Check:
    """One thing that makes timings noisy. ``advice`` is a command or a sentence, empty where all is well."""

    name: str
    state: State
    value: str
    advice: str = ""


def quietness(root: Path = ROOT, watch_s: float = 1.0, sleep: Callable[[float], None] = time.sleep) -> list[Check]:
    """Return every check, after watching the machine do nothing of ours for ``watch_s``."""
    watch = NoiseWatch(root)
    watch.start()
    sleep(watch_s)
    steal = watch.stop()["steal"]
    stolen = f"{steal.value:.1%}" if steal.value is not None else steal.detail
    return [
        _checked("governor", lambda: _governor(root)),
        _checked("turbo", lambda: _turbo(root)),
        _checked("smt", lambda: _smt(root)),
        _checked("load", _load),
        Check("steal", steal.state, stolen, _advice(steal.state, "use a machine of its own, or a dedicated host")),
        _checked("pressure", lambda: _pressure(root)),
        _checked("cgroup quota", lambda: _quota(root)),
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
    advice = "stop what `ps -eo pcpu,comm --sort=-pcpu | head` lists"
    return _state(bad=load > _LOAD_LIMIT), f"{load:.2f} over the last minute", advice


def _pressure(root: Path) -> tuple[State, str, str]:
    line = next(line for line in read("proc/pressure/cpu", root).splitlines() if line.startswith("some "))
    share = float(dict(word.split("=") for word in line.split()[1:])["avg10"]) / 100
    advice = "stop what `ps -eo pcpu,comm --sort=-pcpu | head` lists"
    return _state(bad=share > _PRESSURE_LIMIT), f"{share:.1%} of the last 10 s", advice


def _quota(root: Path) -> tuple[State, str, str]:
    quota, throttled = cpu_quota_cores(root), throttled_periods(root)
    value = "none" if quota is None else f"{quota:g} cores, {throttled} periods cut short so far"
    advice = "raise the limit of the container (docker: --cpus), or ask the suite for fewer threads than the quota"
    return _state(bad=quota is not None and throttled > 0), value, advice
