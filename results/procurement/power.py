"""At which power mode a run was measured, and what it drew, as far as its records tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.words import showable

if TYPE_CHECKING:
    from results.driven import Energy
    from results.row import Row
    from results.sources import Source

NOT_STATED = "not stated"
_WHOLE = ("board", "soc")
"""Scopes that hold the processor and what goes with it."""


def power_mode(source: Source | None, device: str) -> str:
    """Return what the manifest of a run states of power: governor and turbo, of an accelerator its power limit."""
    host = _mapping(source.manifest.get("host")) if source is not None else {}
    environment, hardware = _mapping(host.get("environment")), _mapping(host.get("hardware"))
    told = [f"{name} {value}" for name in ("governor", "turbo") if (value := _fact(environment.get(name))) is not None]
    if not device.startswith("cpu"):
        told = [f"power limit {watts:g} W" for watts in _limits_w(hardware.get("accelerators"), device)] + told
    return showable(", ".join(told)) or NOT_STATED


def metered(row: Row) -> Energy | None:
    """Return the energy of the counter that holds most of what a row's device draws, of those that could be read.

    A counter of memory alone, or for an accelerator of the processor beside it, says nothing of the device.
    """
    scopes = (*_WHOLE, "package") if row.cell.device.startswith("cpu") else (*_WHOLE, "gpu")
    read = {each.scope: each for each in row.energy if each.joules_per_inference is not None and each.watts}
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
