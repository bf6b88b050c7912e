"""Three gates of a real engine against itself, on this machine: how each of their cells is judged.

EfficientNet-Lite0 of the quickstart suite, FP32, with one thread and with two: latency and throughput. One run of 60
launches a cell, interleaved as every run's: 20 launches in a row are a gate, two neighbouring rounds are a pair, and a
lot drawn for each pair says which of the two is ``before``. They are judged as an interleaved gate at a margin of 3 %.
The figures describe a machine and have no limit.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Figure, Limit, Measured
from harness import runner
from harness.errors import HarnessError
from results.comparison import Design, Measure, Side, Verdict, compare
from results.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.preparation import Prepared
    from results.comparison import Compared
    from results.row import Row

GATES, LAUNCHES = 3, 10
_SEED = 20_261_127
_UNLIMITED = Limit()


def measure(told: Callable[[str], None], engines: Sequence[str]) -> Measured:
    """Return how the cells of each gate were judged. Raises ``HarnessError`` where an engine or model is absent."""
    from benchmarks.preparation import prepared

    overrides = [
        "matrix.scenario=[latency, throughput]",
        "matrix.threads=[1, 2]",
        "preset=quick",
        f"launches={2 * LAUNCHES * GATES}",
    ]
    with prepared("quickstart", overrides, engines or ("onnxruntime",), told) as ready:
        cells = _cells(ready, told)
    judged = [compare(family, design=Design.INTERLEAVED) for family in gates(cells)]
    figures = [figure for number, gate in enumerate(judged, 1) for figure in _figures(f"gate {number}", gate)]
    figures += [_spread(name, side) for name, side in cells.items()]
    return Measured(
        tuple(figures), tuple(note for number, gate in enumerate(judged, 1) for note in _notes(number, gate))
    )


def _cells(ready: Prepared, told: Callable[[str], None]) -> dict[str, Side]:
    """Return every launch of every cell of the run."""
    from harness.cli import campaign as campaigns

    campaign = ready.campaign
    with (
        tempfile.TemporaryDirectory(prefix="aa-gates-") as runs,
        campaigns.create(campaign, Path(runs), suite_text="", command="") as store,
    ):
        setting = campaigns.setting(campaign, store, ready.benches)
        for event in runner.run(campaigns.order_of(campaign, store), store, setting):
            if isinstance(event, runner.Started):
                told(f"round {event.launch.round + 1}: {event.cell.label}")
        return {name: side for row in rows(store) for name, side in _sides(row)}


def _sides(row: Row) -> Iterator[tuple[str, Side]]:
    """Yield latency and throughput by launch. Raises ``HarnessError`` where a launch did not complete."""
    found = []
    if row.latency is not None:
        launches = zip(row.latency.launch_indices, row.latency.launch_medians_ns, strict=True)
        found.append(Side(dict(launches), Measure.LATENCY))
    if row.throughput is not None:
        launches = zip(row.throughput.launch_indices, row.throughput.launch_rates, strict=True)
        found.append(Side(dict(launches), Measure.THROUGHPUT))
    for side in found:
        if len(side.launches) != 2 * LAUNCHES * GATES:
            raise HarnessError(f"{row.label}: {len(side.launches)} launches of {side.measure} completed")
        yield f"{row.label} {side.measure}", side


def gates(cells: Mapping[str, Side]) -> list[dict[str, tuple[Side, Side]]]:
    """Return the families of the gates: neighbouring launches are a pair, and a lot says which of them is before."""
    lot = random.Random(_SEED)
    families: list[dict[str, tuple[Side, Side]]] = []
    for gate in range(GATES):
        swapped = [lot.random() < 0.5 for _ in range(LAUNCHES)]
        family = {}
        for name, side in cells.items():
            halves: tuple[dict[int, float], dict[int, float]] = ({}, {})
            for pair, swap in enumerate(swapped):
                index = 2 * (gate * LAUNCHES + pair)
                halves[swap][pair], halves[not swap][pair] = side.launches[index], side.launches[index + 1]
            family[name] = (Side(halves[0], side.measure), Side(halves[1], side.measure))
        families.append(family)
    return families


def _figures(name: str, gate: Mapping[str, Compared]) -> Iterator[Figure]:
    verdicts = [compared.verdict for compared in gate.values()]
    for verdict in Verdict:
        count = float(verdicts.count(verdict))
        yield Figure(f"{name}: {verdict}", count, None, None, f"of {len(verdicts)}", _UNLIMITED, LAUNCHES)


def _spread(name: str, side: Side) -> Figure:
    spread = float(np.std(np.log(list(side.launches.values())), ddof=1))
    return Figure(f"{name}: launch spread", 100 * spread, None, None, "%", _UNLIMITED, len(side.launches))


def _notes(number: int, gate: Mapping[str, Compared]) -> Iterator[str]:
    for name, compared in gate.items():
        yield f"gate {number}, {name}: {compared.verdict}: {compared.message}"
