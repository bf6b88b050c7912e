"""One number that a machine tells of itself: what it means, how it is read, and why others cannot be."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.system import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

ENERGY, POWER, TEMPERATURE, CLOCK = "energy", "power", "temperature", "clock"
REASONS, MEMORY, OWN, FOREIGN = "reasons", "memory", "own", "foreign"
"""Values of ``Column.quantity``. ``reasons``: NVML's clock event reasons; ``own`` and ``foreign`` count processes."""
RAPL, NVML = "rapl", "nvml"
"""Sources, as keys of ``Sensors.absent``: why there is no energy of a processor, or of a GPU."""


@dataclass(frozen=True)
class Column:
    """What one column of the rows holds, as the sensor gives it: nothing is converted before it is read again."""

    name: str  # unique, for example rapl/intel-rapl:0
    source: str  # rapl | nvml | acpi | ina3221 | temperature | cpufreq
    quantity: str
    scope: str  # of energy and power: package | dram | board | gpu; else cpu | gpu
    unit: str
    device: str = ""  # which GPU, by NVML's index
    wraps: float | None = None  # a counter begins anew at this value


@dataclass(frozen=True)
class Sensor:
    """A column and how to read it now. ``read`` raises ``Unavailable``, ``OSError`` or ``ValueError``."""

    column: Column
    read: Callable[[], float]


@dataclass
class Sensors:
    """Those that can be read, open until this is closed; ``absent``: source or column → why it cannot."""

    found: list[Sensor] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    def add(self, column: Column, read: Callable[[], float]) -> None:
        """Keep a sensor that answers now; of another, why it does not."""
        try:
            read()
        except (Unavailable, OSError, ValueError) as error:
            self.absent[column.name] = _reason(error)
        else:
            self.found.append(Sensor(column, read))

    def read(self) -> list[float | None]:
        """Return what each sensor says now, in order; ``None`` where one does not answer this time."""
        return [_value(sensor) for sensor in self.found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, t: TracebackType | None) -> None:
        self.stack.close()


def _value(sensor: Sensor) -> float | None:
    try:
        return sensor.read()
    except (Unavailable, OSError, ValueError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, Unavailable) else "the answer is no number"
