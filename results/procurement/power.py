"""At which power mode a run was measured, and what it drew, as far as its records tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.words import showable

if TYPE_CHECKING:
    from results.driven import Energy
    from results.row import Row
    from results.sources import Source

NOT_STATED = "not stated"
FULL_LOAD, ONE_STREAM = "at full load, in its soak", "with one stream"
"""What a device was doing while its counters were read."""
_WHOLE = ("board", "soc")
"""Scopes that hold the processor and what goes with it."""


@dataclass(frozen=True)
class Metered:
    """What a counter said of a row, and under which load."""

    energy: Energy
    load: str  # ``FULL_LOAD`` or ``ONE_STREAM``
    items_per_s: float | None = None  # at full load; None: with one stream

    @property
    def words(self) -> str:
        """Say how it is known: ``measured with one stream (rapl, package)``."""
        return f"measured {self.load} ({self.energy.source}, {self.energy.scope})"

    def watts(self, items_per_s: float) -> float | None:
        """Return what so many items per second take at least: of full load the part that they are of it.

        What was measured with one stream is returned as it is: any capacity takes no less.
        """
        watts = self.energy.watts
        if watts is None or not self.items_per_s or not 0 < items_per_s < self.items_per_s:
            return watts
        return watts * items_per_s / self.items_per_s


def power_mode(source: Source | None, device: str) -> str:
    """Return what the manifest of a run states of power: governor and turbo, of an accelerator its power limit."""
    host = _mapping(source.manifest.get("host")) if source is not None else {}
    environment, hardware = _mapping(host.get("environment")), _mapping(host.get("hardware"))
    told = [f"{name} {value}" for name in ("governor", "turbo") if (value := _fact(environment.get(name))) is not None]
    if not device.startswith("cpu"):
        told = [f"power limit {watts:g} W" for watts in _limits_w(hardware.get("accelerators"), device)] + told
    return showable(", ".join(told)) or NOT_STATED


def metered(row: Row, streams: int | None = None) -> Metered | None:
    """Return what counters said of a row at full load, in a soak; of latency launches where no soak was metered.

    Of several soaks the one with as many ``streams`` comes first.
    """
    soaks = sorted(row.soaks, key=lambda soak: (soak.streams != streams, -soak.sustained))
    for soak in soaks:
        found = of_device(soak.energy, row.cell.device)
        if found is not None:
            return Metered(found, FULL_LOAD, soak.sustained)
    found = of_device(row.energy, row.cell.device)
    return Metered(found, ONE_STREAM) if found is not None else None


def of_device(told: Sequence[Energy], device: str) -> Energy | None:
    """Return what the counter says that holds most of what a device draws; ``None`` where none could be read.

    A counter of memory alone, or for an accelerator of the processor beside it, says nothing of the device.
    """
    scopes = (*_WHOLE, "package") if device.startswith("cpu") else (*_WHOLE, "gpu")
    read = {each.scope: each for each in told if each.joules_per_inference is not None and each.watts}
    return next((read[scope] for scope in scopes if scope in read), None)


def _limits_w(accelerators: object, device: str) -> list[float]:
    """Return the power limits of the accelerator that a device names by its number, else of all, each once."""
    if not isinstance(accelerators, Sequence) or isinstance(accelerators, str):
        return []
    limits = [_mapping(each).get("power_limit_w") for each in accelerators]
    number = re.search(r"[:.](\d+)$", device)
    if number is not None and int(number[1]) < len(limits):
        limits = [limits[int(number[1])]]
    known = [float(limit) for limit in limits if isinstance(limit, int | float)]
    return list(dict.fromkeys(known))


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _fact(value: object) -> str | None:
    return value if isinstance(value, str) and value and not value.startswith("unavailable") else None
