"""Every sensor of this machine that can be read, and why the others cannot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from harness.system import ROOT, Unavailable
from harness.telemetry import files
from harness.telemetry.nvml import nvml
from harness.telemetry.sensor import ENERGY, NVML, RAPL, Sensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def opened(root: Path = ROOT, ancestor: int | None = None) -> Sensors:
    """Return the sensors, open, energy counters first: they are read right after the clock.

    ``root`` stands for ``/``. Processes on a GPU that descend from ``ancestor``, this one where absent, are ours.
    """
    sensors = Sensors()
    kin = os.getpid() if ancestor is None else ancestor
    sources: Mapping[str, Callable[[], None]] = {
        RAPL: lambda: files.rapl(sensors, root),
        NVML: lambda: nvml(sensors, root, kin),
        "board": lambda: files.board(sensors, root),
        "temperature": lambda: files.temperatures(sensors, root),
        "cpufreq": lambda: files.cpufreq(sensors, root),
    }
    for name, source in sources.items():
        try:
            source()
        except Unavailable as unavailable:
            sensors.absent[name] = str(unavailable)
    sensors.found.sort(key=lambda sensor: sensor.column.quantity != ENERGY)
    return sensors


def survey(root: Path = ROOT) -> dict[str, Any]:
    """Return what can be sampled here and why the rest cannot, as the manifest of a run holds it."""
    with opened(root) as sensors:
        return {"columns": [sensor.column.name for sensor in sensors.found], "absent": dict(sensors.absent)}
