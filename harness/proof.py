"""Whether what ran is what was asked: by the share of the multiply-accumulates, as the runtime reports them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.vocabulary import Unknowable

if TYPE_CHECKING:
    from harness.vocabulary import Execution, Precision

MAC_SHARE = 0.9
"""Share of the multiply-accumulates that must run as asked for a row to be what it says."""


@dataclass(frozen=True)
class Difference:
    """Something that was asked and not executed. ``kind``: ``fell-back`` or ``other-precision``."""

    kind: str
    message: str


def differences(execution: Execution, device: str, precision: Precision) -> tuple[Difference, ...]:
    """Return what makes an execution another thing than was asked; what is unknowable makes no difference."""
    found = (_of_device(execution, device), _of_precision(execution, precision))
    return tuple(difference for difference in found if difference is not None)


def _of_device(execution: Execution, device: str) -> Difference | None:
    shares = execution.macs_by_device
    if isinstance(shares, Unknowable) or not shares:
        return None
    there = sum(share for name, share in shares.items() if on_device(name, device))
    if there >= MAC_SHARE:
        return None
    elsewhere = ", ".join(sorted(name for name in shares if not on_device(name, device)))
    return Difference("fell-back", f"fell back to {elsewhere}: {there:.0%} of the multiply-accumulates ran on {device}")


def _of_precision(execution: Execution, precision: Precision) -> Difference | None:
    shares = execution.macs_by_precision
    if isinstance(shares, Unknowable) or not shares:
        return None
    there = shares.get(precision.value, 0.0)
    if there >= MAC_SHARE:
        return None
    others = {name: share for name, share in shares.items() if name != precision.value and share > 0}
    main = max(others, key=others.__getitem__, default="nothing")
    message = f"ran {main}: {there:.0%} of the multiply-accumulates ran at {precision.value}"
    return Difference("other-precision", message)


def on_device(name: str, device: str) -> bool:
    """Return whether a device or provider name of a runtime means the device that the suite asked for.

    ``gpu`` is any ``gpu.0``, ``gpu.0`` is not ``gpu.1``; ``CPUExecutionProvider`` is ``cpu``.
    """
    names = [re.fullmatch(r"([a-z_]+)\W?(\d*)", _plain(each)) for each in (name, device)]
    if None in names:
        return _plain(name) == _plain(device)
    (kind, number), (asked_kind, asked_number) = (match.groups() for match in names if match)
    return kind == asked_kind and (number == asked_number or not number or not asked_number)


def _plain(name: str) -> str:
    return name.casefold().removesuffix("executionprovider")
