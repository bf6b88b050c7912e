"""How often a gate finds a cell that became 5 % slower, at 2 % launch spread and 10 launches a side.

Simulated: 2,000 gates for each design, families of 20 cells of which one is slower by 5 %; the figure is the share of
gates that call it ``regressed``. The chance that ``results.resolution`` states beforehand stands in the notes. Launches
of one round have nothing in common here, so that pairing costs degrees of freedom and cancels nothing: its worst case.

Real: 8 gates by the runner with the fake engine, whose options make one configuration slower by 5 % and spread the
latency of its processes by 2 %; the launches of the two sides are interleaved, and what this machine adds is in them.
The other 19 cells of each family are simulated without a change, so that the one is tested as strictly. Without limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.false_alarms import CELLS, LAUNCHES, family
from benchmarks.figure import Figure, Limit, Measured
from benchmarks.scripted import completed, scripted
from benchmarks.simulated import LAUNCH_SPREAD, share
from harness import jobs, runner
from harness.errors import HarnessError
from results.comparison import LEVEL, MARGIN, Design, Side, Verdict, compare
from results.resolution import Spread, detection
from results.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from results.row import Latency

LIMIT = Limit(low=0.90)
GATES, REAL_GATES = 2000, 8
_RATIO = 1.05
_LATENCY_US = 2000.0
_LIMITS = jobs.Limits(minimum_iterations=50, minimum_s=0.1, maximum_s=0.1, warmup_s=0.02)
_SEED = 20_261_125


def measure(told: Callable[[str], None], gates: int = GATES, real_gates: int = REAL_GATES) -> Measured:
    """Return the shares of gates that find the slower cell, simulated and real."""
    figures, notes = [], []
    for index, design in enumerate(Design):
        told(f"{design}: {gates} gates")
        found = _found(np.random.default_rng([_SEED, index]), design, gates)
        figures.append(share(f"{design}: +5 % found", found, gates, LIMIT))
        spread = Spread((LAUNCH_SPREAD**2, LAUNCH_SPREAD**2) if design is Design.APART else (2 * LAUNCH_SPREAD**2,))
        stated = detection(float(np.log(_RATIO)), spread.error(LAUNCHES), spread.degrees(LAUNCHES), LEVEL / CELLS)
        notes.append(f"{design}: {stated:.1%} of such cells differ significantly from no change, by the t distribution")
    figures += _real(told, real_gates)
    return Measured(tuple(figures), (*notes, f"a change counts as found where it is also seen as ≥ {MARGIN.share:.0%}"))


def _found(generator: np.random.Generator, design: Design, gates: int) -> int:
    found = 0
    for _ in range(gates):
        judged = compare(family(generator, LAUNCHES, {0: _RATIO}), design=design)
        found += judged["cell 0"].verdict is Verdict.REGRESSED
    return found


def _real(told: Callable[[str], None], gates: int) -> list[Figure]:
    """Return the share of real gates that found the slower configuration, and the launch spread that they met."""
    launches = gates * LAUNCHES
    told(f"fake engine: {gates} gates, {2 * launches} launches")
    options = f"{{latency_us: {_LATENCY_US}, spread: {LAUNCH_SPREAD}}}"
    rest = f"""
matrix: {{engine: fake, precision: fp32, device: cpu, scenario: [latency]}}
launches: {launches}
options: {{fake: {options}}}
configurations: {{fake: {{slower: {{options: {{latency_us: {_LATENCY_US * _RATIO}}}}}}}}}
"""
    with scripted(rest, _LIMITS) as run:
        for event in run.events:
            if isinstance(event, runner.Finished):
                completed(event.record)
        medians = {row.cell.configuration: _medians(row.latency) for row in rows(run.store)}
    before, after = medians["default"], medians["slower"]
    generator = np.random.default_rng([_SEED, len(Design)])
    found = 0
    for gate in range(gates):
        indices = range(gate * LAUNCHES, (gate + 1) * LAUNCHES)
        sides = {"injected": (_side(before, indices), _side(after, indices))}
        others = family(generator, LAUNCHES)
        del others["cell 0"]
        found += compare(sides | others, design=Design.INTERLEAVED)["injected"].verdict is Verdict.REGRESSED
    spread = float(np.std(np.log(list(before.values())), ddof=1))
    return [
        share("fake engine, real launches: +5 % found", found, gates, Limit()),
        Figure("fake engine: launch spread met", 100 * spread, None, None, "%", Limit(), launches),
    ]


def _side(medians_ns: Mapping[int, float], indices: range) -> Side:
    return Side({index - indices.start: medians_ns[index] for index in indices})


def _medians(latency: Latency | None) -> dict[int, float]:
    if latency is None:
        raise HarnessError("a configuration of the fake engine has no latency")
    return dict(zip(latency.launch_indices, latency.launch_medians_ns, strict=True))
