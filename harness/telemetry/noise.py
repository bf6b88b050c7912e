"""Whether the GPU of a launch was slowed, or shared with others, while it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.system import Unavailable
from harness.telemetry.sensor import FOREIGN, REASONS, TEMPERATURE
from harness.vocabulary import NoiseReading, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.telemetry.table import Table

GPU_THROTTLE, GPU_FOREIGN = "gpu_throttle", "gpu_foreign_processes"
"""Names that a record stores the readings under."""

SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Bits of NVML's clock event reasons (nvml.h) that slow a GPU beyond what its buyer is sold."""
POWER_CAP = 0x04
"""The board's own power limit: usual under full load, and part of what is bought."""


def readings(table: Table, device: str, window_ns: tuple[int, int] | None = None) -> dict[str, NoiseReading]:
    """Return the readings of a launch on ``device``; none where no GPU was sampled, or it used none.

    ``window_ns``: begin and end of the steady phase; the whole table where absent. Reasons are those at the samples,
    one a second: a shorter slowdown may be missed.
    """
    if not table.gpus:
        return {}
    try:
        gpus = table.at_work(device)
    except Unavailable as unavailable:
        unknown = NoiseReading(State.UNAVAILABLE, detail=str(unavailable))
        return {GPU_THROTTLE: unknown, GPU_FOREIGN: unknown}
    if not gpus:
        return {}
    seen = table.around(*window_ns) if window_ns is not None else table
    return {GPU_THROTTLE: _throttle(seen, gpus), GPU_FOREIGN: _foreign(seen, gpus)}


def _throttle(table: Table, gpus: Sequence[str]) -> NoiseReading:
    masks = [_known(values).astype(np.int64) for _, values in table.of(REASONS, gpus)]
    if not sum(map(len, masks)):
        return NoiseReading(State.UNAVAILABLE, detail=_why(table, gpus, REASONS))
    bits = np.concatenate(masks)
    slow = (bits & sum(SLOWDOWNS)) != 0
    named = [name for bit, name in SLOWDOWNS.items() if np.any(bits & bit)]
    if np.any(bits & POWER_CAP):
        named.append(f"at its power limit in {np.mean((bits & POWER_CAP) != 0):.0%} of the samples")
    hottest = max((float(_known(v).max(initial=-np.inf)) for _, v in table.of(TEMPERATURE, gpus)), default=-np.inf)
    if named and np.isfinite(hottest):
        named.append(f"up to {hottest:.0f} °C")
    share = float(np.mean(slow))
    return NoiseReading(State.BAD if share > 0 else State.OK, share, 0.0, "share", ", ".join(named))


def _foreign(table: Table, gpus: Sequence[str]) -> NoiseReading:
    counts = [_known(values) for _, values in table.of(FOREIGN, gpus)]
    if not sum(map(len, counts)):
        return NoiseReading(State.UNAVAILABLE, detail=_why(table, gpus, FOREIGN))
    most = float(np.concatenate(counts).max())
    return NoiseReading(State.BAD if most > 0 else State.OK, most, 0.0, "processes")


def _known(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[~np.isnan(values)])


def _why(table: Table, gpus: Sequence[str], quantity: str) -> str:
    return table.absent.get(f"nvml/{gpus[0]}/{quantity}", "it was not told while the launch ran")
