"""How often a gate accuses code that did not change (simulated).

1,000 gates for each design: 20 cells, the same code on both sides, 10 launches a side, launches that differ by 2 %
(standard deviation of the log median), judged by ``results.comparison.compare`` at a margin of 3 %. The figure is the
share of gates with any cell ``regressed``, and with any ``regressed`` or ``improved``. Two looks: at 1 % after 10
launches, and at 4 % after 20 where a cell was inconclusive. Without limit: the share of cells called ``equivalent``.

Apart also with launches that differ by 10 %, where the margin bars nothing and the tests alone hold the level: each of
the two directions is a family of its own at 5 %, so that either of them alarms in up to twice as many gates, which has
no limit. A gate fails for one direction.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Limit, Measured
from benchmarks.simulated import LAUNCH_SPREAD, share
from results.comparison import LEVEL, LOOKS, Design, Side, Verdict, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from results.comparison import Compared

LIMIT = Limit(high=0.05)
GATES = 1000
CELLS, LAUNCHES = 20, 10
WIDE, WIDE_NAME = 0.10, "apart, launches that differ by 10 %"
_SEED = 20_261_123


def measure(told: Callable[[str], None], gates: int = GATES) -> Measured:
    """Return the shares of gates with a false alarm, by design."""
    figures = []
    judges = {"apart": _apart, "interleaved": _interleaved, "two looks": _two_looks, WIDE_NAME: _wide}
    for index, (name, judge) in enumerate(judges.items()):
        told(f"{name}: {gates} gates")
        generator = np.random.default_rng([_SEED, index])
        gates_with: Counter[str] = Counter()
        cells: Counter[Verdict] = Counter()
        for _ in range(gates):
            verdicts = [compared.verdict for compared in judge(generator).values()]
            cells.update(verdicts)
            gates_with["regressed"] += Verdict.REGRESSED in verdicts
            gates_with["either"] += Verdict.REGRESSED in verdicts or Verdict.IMPROVED in verdicts
        figures += [
            share(f"{name}: gates with a cell regressed", gates_with["regressed"], gates, LIMIT),
            share(f"{name}: gates with a cell regressed or improved", gates_with["either"], gates, _either(name)),
            share(f"{name}: cells equivalent", cells[Verdict.EQUIVALENT], gates * CELLS, Limit()),
        ]
    return Measured(tuple(figures))


def _either(name: str) -> Limit:
    return Limit() if name == WIDE_NAME else LIMIT


def family(
    generator: np.random.Generator,
    launches: int,
    changes: Mapping[int, float] | None = None,
    spread: float | None = None,
) -> dict[str, tuple[Side, Side]]:
    """Return a family of ``CELLS`` pairs of sides, unchanged but for ``changes``: cell → true ratio after / before."""
    values = np.exp(generator.normal(0, LAUNCH_SPREAD if spread is None else spread, (CELLS, 2, launches)))
    for cell, ratio in (changes or {}).items():
        values[cell, 1] *= ratio
    return {
        f"cell {cell}": (Side(dict(enumerate(before))), Side(dict(enumerate(after))))
        for cell, (before, after) in enumerate(values.tolist())
    }


def _apart(generator: np.random.Generator) -> dict[str, Compared]:
    return compare(family(generator, LAUNCHES), level=LEVEL)


def _wide(generator: np.random.Generator) -> dict[str, Compared]:
    return compare(family(generator, LAUNCHES, spread=WIDE), level=LEVEL)


def _interleaved(generator: np.random.Generator) -> dict[str, Compared]:
    return compare(family(generator, LAUNCHES), level=LEVEL, design=Design.INTERLEAVED)


def _two_looks(generator: np.random.Generator) -> dict[str, Compared]:
    whole = family(generator, 2 * LAUNCHES)
    first = compare({name: (_first(before), _first(after)) for name, (before, after) in whole.items()}, level=LOOKS[0])
    second = compare(whole, level=LOOKS[1])
    return {
        name: second[name] if compared.verdict is Verdict.INCONCLUSIVE else compared for name, compared in first.items()
    }


def _first(side: Side) -> Side:
    return Side({index: value for index, value in side.launches.items() if index < LAUNCHES})
