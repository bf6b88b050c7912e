"""The order of launches: proofs, then timed and memory launches in rounds with a sentinel between, then accuracy."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.matrix import DEFAULT
from harness.scenarios import KINDS
from harness.vocabulary import Level, PlannedCell, Precision, Scenario, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.vocabulary import Plan

ACCURACY, LATENCY, MEMORY, PROVE, SENTINEL = "accuracy", "latency", "memory", "prove", "sentinel"

SENTINEL_EVERY = 10
"""Launches from one of the sentinel to its next."""
SENTINELS = (4, 12)
"""Its fewest launches, with which a drift can just be told from chance, and its most."""
_FEWEST_WATCHED = 8
"""Timed launches below which a sentinel is not worth its time."""


def ordered(cells: Mapping[str, PlannedCell], seed: int) -> tuple[Slot, ...]:
    """Return the launches: proofs first, where failing is cheap; timed and memory launches round by round; accuracy.

    In each round a cell runs once, at a place drawn from the seed, so that drift of the machine hits all alike.
    """
    proofs: list[tuple[str, int]] = []
    timed: list[tuple[str, int]] = []
    accuracies: list[tuple[str, int]] = []
    # By identity, so that the order of the suite's keys does not matter.
    for cell_id, planned in sorted(cells.items()):
        if planned.skipped is None:
            name = planned.cell.scenario.name
            (proofs if name == PROVE else accuracies if name == ACCURACY else timed).append((cell_id, planned.launches))
    rounds = max((launches for _, launches in timed), default=1)
    slots = _round([cell_id for cell_id, _ in proofs], 0, 0, f"{seed}/prove")
    for number in range(rounds):
        slots += _round(
            [cell_id for cell_id, launches in timed if launches > number], number, number, f"{seed}/{number}"
        )
    slots += _round([cell_id for cell_id, _ in accuracies], 0, rounds - 1, f"{seed}/accuracy")
    return tuple(slots)


def _round(cell_ids: list[str], index: int, number: int, seed: str) -> list[Slot]:
    # A text seed goes through SHA-512: the same order in every process.
    random.Random(seed).shuffle(cell_ids)  # noqa: S311 - no secret
    return [Slot(cell_id, index, number) for cell_id in cell_ids]


def sentinel(cells: Iterable[PlannedCell]) -> PlannedCell | None:
    """Return the cell that shows a drift of the machine: the cheapest and most certain latency among ``cells`` again.

    FP32 and nothing unusual before anything else, then the least work, the CPU, the identity. It measures what the
    latency cell measures, in launches of its own.
    """
    candidates = [planned for planned in cells if planned.skipped is None and planned.cell.scenario.name == LATENCY]
    if not candidates:
        return None
    chosen = min(candidates, key=_preference)
    cell = replace(chosen.cell, scenario=Scenario(SENTINEL, chosen.cell.scenario.parameters))
    return PlannedCell(cell, SENTINELS[0], chosen.seconds, level=chosen.level)


def _preference(planned: PlannedCell) -> tuple[bool, bool, bool, float, int, bool, str]:
    cell = planned.cell
    return (
        cell.precision is not Precision.FP32,
        planned.level is not Level.NATIVE,
        cell.configuration != DEFAULT,
        planned.seconds,
        cell.batch * math.prod(cell.shape),
        not cell.device.startswith("cpu"),
        cell.cell_id,
    )


def watched(plan: Plan, watch: PlannedCell) -> Plan:
    """Return a plan with the launches of a sentinel at the start, evenly between the timed ones, and at their end.

    A plan with one round or few timed launches is returned as it is: there is too little to watch over.
    """
    scenarios = {planned.cell.cell_id: planned.cell.scenario.name for planned in plan.cells}
    middle = [slot for slot in plan.order if scenarios[slot.cell_id] not in {PROVE, ACCURACY}]
    timed = [slot for slot in middle if KINDS[scenarios[slot.cell_id]].timed]
    if len(timed) < _FEWEST_WATCHED or max(slot.round for slot in timed) == 0:
        return plan
    fewest, most = SENTINELS
    count = max(fewest, min(most, 1 + len(middle) // SENTINEL_EVERY))
    cell_id = watch.cell.cell_id
    begin = plan.order.index(middle[0])
    order = list(plan.order[:begin])
    done = 0
    for index in range(count):
        upto = round(index * len(middle) / (count - 1))
        order += middle[done:upto]
        # Its replicate is its place among its own; the round is that of the launches around it.
        order.append(Slot(cell_id, index, middle[min(upto, len(middle) - 1)].round))
        done = upto
    order += plan.order[begin + len(middle) :]
    return replace(plan, cells=(*plan.cells, replace(watch, launches=count)), order=tuple(order))


def lengthened(plan: Plan, launches: int) -> Plan:
    """Return a plan that begins as this one and goes on, round by round, until replicated cells have ``launches``.

    All of them, whatever they showed so far: who gets more launches by what was seen finds what is not there. The
    rounds are those that a plan of so many launches has; the sentinel watches on between them. A plan whose cells have
    as many is returned as it is.
    """
    planned = {each.cell.cell_id: each for each in plan.cells}
    more = sorted(key for key, each in planned.items() if _is_replicated(each) and each.launches < launches)
    added: list[Slot] = []
    for number in range(min((planned[key].launches for key in more), default=launches), launches):
        cell_ids = [key for key in more if planned[key].launches <= number]
        added += _round(cell_ids, number, number, f"{plan.seed}/{number}")
    watch = next((each for each in plan.cells if each.cell.scenario.name == SENTINEL), None)
    counts = dict.fromkeys(more, launches)
    if watch is not None and added:
        times = max(1, min(SENTINELS[1], len(added) // SENTINEL_EVERY))
        counts[watch.cell.cell_id] = watch.launches + times
        for index in reversed(range(times)):
            upto = round((index + 1) * len(added) / times)
            added.insert(upto, Slot(watch.cell.cell_id, watch.launches + index, added[upto - 1].round))
    cells = tuple(
        replace(each, launches=counts[key]) if (key := each.cell.cell_id) in counts else each for each in plan.cells
    )
    return replace(plan, cells=cells, order=(*plan.order, *added))


def _is_replicated(planned: PlannedCell) -> bool:
    name = planned.cell.scenario.name
    return planned.skipped is None and name != SENTINEL and KINDS[name].timed and KINDS[name].replicated
