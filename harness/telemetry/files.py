"""Sensors that are files of the kernel: RAPL energy, power of a board, temperatures and clocks of the processors."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from harness.system import Unavailable, read
from harness.telemetry.sensor import CLOCK, ENERGY, POWER, RAPL, TEMPERATURE, Column

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.telemetry.sensor import Sensors

_POWERCAP, _HWMON, _THERMAL = "sys/class/powercap", "sys/class/hwmon", "sys/class/thermal"
_POLICIES = "sys/devices/system/cpu/cpufreq"

RAPL_DENIED = (
    "since Linux 5.10 only root may read energy_uj (CVE-2020-8694: fast readers can guess other processes' secrets); "
    "until the next boot: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj; for good, a udev rule: "
    'SUBSYSTEM=="powercap", KERNEL=="intel-rapl:*", RUN+="/bin/chmod a+r /sys%p/energy_uj"'
)
RAPL_ABSENT = (
    "no RAPL counter under /sys/class/powercap: virtual machines, most containers and processors other than "
    "Intel's and AMD's show none"
)

# Rails that feed a whole module, as NVIDIA labels them on Jetson Orin NX, Orin Nano, Xavier NX, TX2 and Nano. The other
# rails are parts of these; an AGX module measures parts alone.
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")
# The zones and chips of processors. ACPI's own zones run code of the firmware at each read, and are left alone.
_PROCESSOR_ZONE = re.compile(r"x86_pkg_temp|(cpu|soc|gpu|package|cluster|big|little|tj)", re.IGNORECASE)
_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def rapl(sensors: Sensors, root: Path) -> None:
    """Add the energy counters of packages, memory and platform. Raises ``Unavailable`` where there is none.

    ``intel-rapl`` serves AMD's processors too. ``intel-rapl-mmio`` counts a package a second time and is left out, as
    are cores and uncore, which are parts of a package (Documentation/power/powercap/powercap.rst).
    """
    denied = False
    before = len(sensors.found)
    for zone in _matching(root / _POWERCAP, "intel-rapl:*"):
        try:
            scope = _rapl_scope(read(f"{_POWERCAP}/{zone.name}/name", root))
            wraps = float(read(f"{_POWERCAP}/{zone.name}/max_energy_range_uj", root))
            number = _number(sensors, zone / "energy_uj") if scope else None
        except PermissionError:
            denied = True
        except (Unavailable, OSError, ValueError):
            continue
        else:
            if scope and number:
                sensors.add(Column(f"rapl/{zone.name}", RAPL, ENERGY, scope, "uJ", wraps=wraps), number)
    if len(sensors.found) == before:
        raise Unavailable(RAPL_DENIED if denied else RAPL_ABSENT)


def _rapl_scope(name: str) -> str:
    """Return what a zone covers; empty for the parts of one."""
    return "package" if name.startswith("package") else {"dram": "dram", "psys": "board"}.get(name, "")


def board(sensors: Sensors, root: Path) -> None:
    """Add the power of the whole board, of ACPI's meter or a Jetson's input rail. Raises ``Unavailable``."""
    before = len(sensors.found)
    for chip in _matching(root / _HWMON, "hwmon*"):
        name = _text(chip / "name")
        if name == "power_meter":
            _try(sensors, Column(f"board/{chip.name}", "acpi", POWER, "board", "uW"), chip / "power1_average")
        elif name == "ina3221":
            for label in _matching(chip, "in*_label"):
                if _text(label) in _WHOLE_BOARD:
                    _rail(sensors, chip, label.name[2 : -len("_label")])
    if len(sensors.found) == before:
        raise Unavailable("no power meter of the whole board under /sys/class/hwmon")


def _rail(sensors: Sensors, chip: Path, index: str) -> None:
    column = Column(f"board/{chip.name}/{index}", "ina3221", POWER, "board", "uW")
    try:
        millivolts = _number(sensors, chip / f"in{index}_input")
        milliamperes = _number(sensors, chip / f"curr{index}_input")
    except OSError as error:
        sensors.absent[column.name] = error.strerror or type(error).__name__
        return
    sensors.add(column, lambda: millivolts() * milliamperes())


def temperatures(sensors: Sensors, root: Path) -> None:
    """Add the temperatures of processors. Raises ``Unavailable`` where there is none."""
    before = len(sensors.found)
    for zone in _matching(root / _THERMAL, "thermal_zone*"):
        if _PROCESSOR_ZONE.search(_text(zone / "type")):
            _try(sensors, _temperature(f"{zone.name} {_text(zone / 'type')}"), zone / "temp")
    for chip in _matching(root / _HWMON, "hwmon*"):
        if _text(chip / "name") in _PROCESSOR_CHIPS:
            _try(sensors, _temperature(f"{chip.name} {_text(chip / 'name')}"), chip / "temp1_input")
    if len(sensors.found) == before:
        raise Unavailable("this machine shows no temperature of its processors")


def _temperature(name: str) -> Column:
    return Column(f"temperature/{name}", "temperature", TEMPERATURE, "cpu", "m°C")


def cpufreq(sensors: Sensors, root: Path) -> None:
    """Add the clock of the processors, the mean of all. Raises ``Unavailable`` where cpufreq shows none."""
    numbers = []
    for policy in _matching(root / _POLICIES, "policy*"):
        try:
            numbers.append(_number(sensors, policy / "scaling_cur_freq"))
        except OSError:
            continue
    if not numbers:
        raise Unavailable("this machine shows no CPU frequencies")
    column = Column("cpufreq/mean", "cpufreq", CLOCK, "cpu", "kHz")
    sensors.add(column, lambda: sum(number() for number in numbers) / len(numbers))


def _try(sensors: Sensors, column: Column, path: Path) -> None:
    try:
        number = _number(sensors, path)
    except OSError as error:
        sensors.absent[column.name] = error.strerror or type(error).__name__
    else:
        sensors.add(column, number)


def _number(sensors: Sensors, path: Path) -> Callable[[], float]:
    """Return how to read a file that holds one number, kept open: a read is one call. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    sensors.stack.callback(os.close, descriptor)
    return lambda: float(os.pread(descriptor, 64, 0))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _matching(place: Path, pattern: str) -> list[Path]:
    return sorted(place.glob(pattern))
