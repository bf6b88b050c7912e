"""How often the published 95 % interval of a latency holds the truth (simulated).

2,000 cells of 5 launches for each rho. Launches differ by 2 % (standard deviation of the log median); within a launch
the logarithms of latencies follow an AR(1) process of correlation rho = 0, 0.5, 0.8 and standard deviation 10 %, around
10 ms. Each launch is ended by ``harness.statistics.StopRule`` with the settings of the preset ``default``, asked where
it asks to be and told the time that the latencies add up to. As in a report, what precedes the last level of a launch
is cut (``steady_segment``) and the interval is ``launch_interval`` of the medians. The figure is the share of intervals
that hold the true median; for comparison, without limit, that of t intervals over all iterations pooled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Limit, Measured
from benchmarks.simulated import DEPENDENCES, LAUNCH_SPREAD, dependent, share
from harness.presets import PRESETS
from harness.statistics import StopRule, minimum_effective_samples
from results.statistics import launch_interval, steady_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figure import Figure

LIMIT = Limit(0.93, 0.97)
CELLS = 2000
_LAUNCHES = 5
_SPREAD = 0.10
_MEDIAN_NS = 10e6
_CAPACITY = 4000  # rows of a launch: the longest that 30 s hold, with room for a fast one
_SEED = 20_261_122


def measure(told: Callable[[str], None], cells: int = CELLS) -> Measured:
    """Return the coverage at each rho."""
    figures: list[Figure] = []
    notes = []
    for index, rho in enumerate(DEPENDENCES):
        told(f"rho = {rho:g}: {cells} cells of {_LAUNCHES} launches")
        generator = np.random.default_rng([_SEED, index])
        held = pooled_held = 0
        lengths = []
        for _ in range(cells):
            launches = _cell(generator, rho)
            held += _holds(np.array([np.median(launch) for launch in launches]))
            pooled_held += _holds(np.concatenate(launches))
            lengths += [len(launch) for launch in launches]
        figures.append(share(f"coverage, rho = {rho:g}", held, cells, LIMIT))
        figures.append(share(f"coverage of pooled iterations, rho = {rho:g}", pooled_held, cells, Limit()))
        notes.append(f"rho = {rho:g}: {np.median(lengths):.0f} iterations a launch, {min(lengths)} to {max(lengths)}")
    return Measured(tuple(figures), tuple(notes))


def _cell(generator: np.random.Generator, rho: float) -> list[np.ndarray]:
    """Return the latencies of a cell's launches as a report counts them, in nanoseconds."""
    effects = generator.normal(0, LAUNCH_SPREAD, (_LAUNCHES, 1))
    latencies = _MEDIAN_NS * np.exp(effects + _SPREAD * dependent(generator, (_LAUNCHES, _CAPACITY), rho))
    launches = [ended(series, _rule()) for series in latencies]
    return [launch[steady_segment(launch)[0] :] for launch in launches]


def _rule() -> StopRule:
    preset = PRESETS["default"]
    return StopRule(
        preset.minimum_iterations,
        preset.minimum_s,
        preset.maximum_s,
        preset.relative_half_width,
        maximum_iterations=_CAPACITY,
        quantiles=tuple((p / 100, minimum_effective_samples(p / 100) / _LAUNCHES) for p in preset.percentiles),
    )


def ended(latencies_ns: np.ndarray, rule: StopRule) -> np.ndarray:
    """Return the latencies that a launch has taken when ``rule`` ends it: one after the other, no time between them."""
    elapsed_ns = np.cumsum(latencies_ns)
    last = min(int(np.searchsorted(elapsed_ns, rule.maximum_s * 1e9)) + 1, len(latencies_ns))
    done = 0
    while True:
        done = min(rule.next_look(done), last)
        # Before its minimum time the rule lets go on whatever the latencies are: it is not asked, to save time here.
        if done < last and elapsed_ns[done - 1] < rule.minimum_s * 1e9:
            continue
        if rule.should_stop(latencies_ns[:done], float(elapsed_ns[done - 1])) is not None:
            return latencies_ns[:done]


def _holds(values_ns: np.ndarray) -> bool:
    interval = launch_interval(values_ns)
    return interval.low is not None and interval.high is not None and interval.low <= _MEDIAN_NS <= interval.high
