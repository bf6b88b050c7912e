"""Clocks, temperatures and the GPU's memory while a cell was timed: least, median and most over its launches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.system import Unavailable
from harness.telemetry.sensor import CLOCK, NVML, TEMPERATURE
from results.driven import Sensed
from results.scenarios.sampled import sampled, while_steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.telemetry.table import Table
    from harness.vocabulary import SamplesRef
    from results.launches import Measured

_SILENT = "it did not answer while a launch was timed"
_TOO_SHORT = "no sample fell into a steady phase: the sensors are read once a second"
_NOT_SEEN = "no process of ours was seen on a GPU"
_FACTORS: Mapping[str, float] = {"kHz": 1e-3, "m°C": 1e-3}  # to MHz and °C; other units stay


@dataclass(frozen=True)
class _Sensor:
    name: str
    unit: str
    device: str = ""  # which GPU, by NVML's index; empty where it is not known, and for what is of no GPU


# Quantity, source and sensor; of several temperatures the hottest counts.
_OF_PROCESSOR = (
    (CLOCK, "cpufreq", _Sensor("CPU clock", "MHz")),
    (TEMPERATURE, "temperature", _Sensor("CPU temperature", "°C")),
)
# The end of the column's name, and the sensor. NVML's memory is what all processes hold on the device.
_OF_GPU = (
    ("clock", "GPU clock", "MHz"),
    ("memory-clock", "GPU memory clock", "MHz"),
    ("temperature", "GPU temperature", "°C"),
    ("memory", "GPU memory", "B"),
)


def sensors(
    launches: Sequence[Measured],
    arrays: Callable[[SamplesRef], Mapping[str, np.ndarray]],
    absent: Mapping[str, str] | None = None,
) -> tuple[Sensed, ...]:
    """Return what each sensor told over the launches of one cell, or why it did not; a GPU's where one was used.

    ``arrays`` reads a file of the run (``RunStore.arrays``); ``absent``: source → why it is not sampled, from the run's
    manifest. Samples within the steady phases count, those of all launches together. Empty where the run says nothing
    of sensors at all.
    """
    found: dict[_Sensor, list[np.ndarray | str]] = {}
    for launch in launches:
        for sensor, said in _of_launch(launch, arrays, absent or {}):
            found.setdefault(sensor, []).append(said)
    gpus = {sensor.device for sensor in found if sensor.device}
    told = {sensor.name for sensor in found if sensor.device}
    return tuple(
        _over(sensor, said, several=len(gpus) > 1)
        for sensor, said in found.items()
        if sensor.device or sensor.name not in told
    )


def _over(sensor: _Sensor, said: Sequence[np.ndarray | str], *, several: bool) -> Sensed:
    name = sensor.name.replace("GPU", f"GPU {sensor.device}", 1) if several and sensor.device else sensor.name
    read = [each for each in said if not isinstance(each, str)]
    if not read:
        reasons = [each for each in said if isinstance(each, str)]
        return Sensed(name, sensor.unit, reason=Counter(reasons).most_common(1)[0][0])
    values = np.concatenate(read)
    least, median, most = (float(value) for value in np.percentile(values, [0, 50, 100]))
    return Sensed(name, sensor.unit, (least, median, most), len(values), len(read))


def _of_launch(
    launch: Measured, arrays: Callable[[SamplesRef], Mapping[str, np.ndarray]], absent: Mapping[str, str]
) -> Iterator[tuple[_Sensor, np.ndarray | str]]:
    """Yield the values of each sensor within the steady phase of a launch, or why there are none."""
    device = launch.record.cell.device
    try:
        table = sampled(launch, arrays)
    except Unavailable as damaged:
        why = str(damaged)
        yield from _untold(device, lambda _: why)
        return
    if table is None:
        yield from _untold(device, lambda source: launch.record.unsampled or absent.get(source, ""))
        return
    inside = while_steady(table, launch)
    for quantity, source, sensor in _OF_PROCESSOR:
        columns = [values * _FACTORS.get(column.unit, 1.0) for column, values in inside.of(quantity, ())]
        yield sensor, _known(np.fmax.reduce(columns)) if columns else table.absent.get(source, _SILENT)
    yield from _of_gpus(device, table, inside)


def _of_gpus(device: str, table: Table, inside: Table) -> Iterator[tuple[_Sensor, np.ndarray | str]]:
    try:
        gpus = table.at_work(device)
    except Unavailable as unavailable:
        yield from _untold_gpu(str(unavailable))
        return
    if not gpus and "cuda" in device:
        yield from _untold_gpu(_NOT_SEEN if table.gpus else table.absent.get(NVML, _SILENT))
    columns = {column.name: values for column, values in zip(inside.columns, inside.values.T, strict=True)}
    for gpu in gpus:
        for what, name, unit in _OF_GPU:
            column = f"{NVML}/{gpu}/{what}"
            values = columns.get(column)
            said = table.absent.get(column, _SILENT) if values is None else _known(values)
            yield _Sensor(name, unit, gpu), said


def _untold(device: str, reason: Callable[[str], str]) -> Iterator[tuple[_Sensor, str]]:
    """Yield why nothing is known of each sensor of a cell; nothing where there is no reason."""
    for _, source, sensor in _OF_PROCESSOR:
        if reason(source):
            yield sensor, reason(source)
    if "cuda" in device and reason(NVML):
        yield from _untold_gpu(reason(NVML))


def _untold_gpu(reason: str) -> Iterator[tuple[_Sensor, str]]:
    for _, name, unit in _OF_GPU:
        yield _Sensor(name, unit), reason


def _known(values: np.ndarray) -> np.ndarray | str:
    """Return the values that are numbers, or why there are none."""
    if not len(values):
        return _TOO_SHORT
    numbers = values[~np.isnan(values)]
    return numbers if len(numbers) else _SILENT
