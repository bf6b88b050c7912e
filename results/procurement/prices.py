"""What machines cost, as the user says in a dated file of their own; nothing here is known by the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date


@dataclass(frozen=True)
class Match:
    """Which machine or device a price is of: every pattern given (``fnmatch``, case ignored) must hold."""

    machine: str | None = None  # against its label: processor and accelerators
    hw_id: str | None = None
    device: str | None = None  # against the cell's device: cpu, cuda:*


@dataclass(frozen=True)
class Price:
    """One unit that is bought or rented."""

    name: str
    match: Match
    dated: date
    price: float | None = None  # to buy; None: rented
    per_hour: float | None = None  # to rent; None: bought
    host: float = 0.0  # price of what carries ``devices_per_host`` devices
    devices_per_host: int = 1
    watts: float | None = None  # at full load, host's share included, as the user states it
    source: str = ""


@dataclass(frozen=True)
class Prices:
    """The whole file."""

    currency: str  # ISO 4217
    prices: tuple[Price, ...]
    years: float = 3.0
    utilisation: float = 0.7  # the most of its sustained throughput that a device is to be loaded with
    spares: float = 0.0  # share of the devices needed, rounded up
    electricity_per_kwh: float | None = None
    pue: float = 1.0  # power usage effectiveness: power of the site / power of its machines
