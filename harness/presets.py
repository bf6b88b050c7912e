"""How thorough a run is: the presets of a suite, and the limits of one launch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Launches of a cell and the stop rule of each; no part of a cell's identity.

    Below five launches a row is a screening: shown, without rank.
    """

    name: str
    launches: int  # of a latency or throughput cell
    memory_launches: int
    minimum_iterations: int  # steady, of one launch
    minimum_s: float
    maximum_s: float
    retries: int  # of a launch that noise spoiled
    percentiles: tuple[float, ...]  # printed where the suite names none
    relative_half_width: float = 0.02
    warmup_iterations: int = 10
    warmup_s: float = 0.5
    warmup_maximum_s: float = 10.0
    maximum_iterations: int = 200_000
    growth_iterations: int = 0  # over which a memory launch watches the resident set


SCREENING_LAUNCHES = 2
"""Launches that every replicated cell gets before a budget is spent where intervals are widest."""
BUDGET_FACTOR = 4
"""How many times the preset's launches a budget may spend on one cell."""

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("quick", 2, 2, 36, 1.0, 10.0, 0, (50.0, 90.0)),
        Preset("default", 5, 3, 100, 3.0, 30.0, 1, (50.0, 90.0, 99.0)),
        Preset("publish", 10, 3, 100, 60.0, 120.0, 1, (50.0, 90.0, 95.0, 99.0), growth_iterations=1000),
    )
}
