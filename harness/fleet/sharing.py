"""Who measures what: the variants of a plan among the hosts of one kind, and what moves when one is lost. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import plan_order
from harness.plan_order import ACCURACY, SENTINEL
from harness.vocabulary import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from harness.vocabulary import Cell, Plan, PlannedCell


@dataclass(frozen=True)
class Unit:
    """Variants that one host measures together; most units are of one."""

    variants: tuple[str, ...]  # ids, in the order of the plan
    seconds: float


def units(plan: Plan) -> tuple[Unit, ...]:
    """Return the variants of a plan that have launches, in its order, those together that must be.

    A row's accuracy is compared with that of an FP32 row on the same images, image by image, and never with that of
    another run: both are measured by one host. Whatever else is compared needs no common host.
    """
    cells = [planned.cell for planned in plan.cells if planned.skipped is None]
    seconds = {planned.cell.cell_id: planned.seconds for planned in plan.cells if not is_sentinel(planned)}
    variant_of = {cell.cell_id: cell.variant_id for cell in cells}
    total: dict[str, list[float]] = defaultdict(list)
    for slot in plan.order:
        if slot.cell_id in seconds:
            total[variant_of[slot.cell_id]].append(seconds[slot.cell_id])
    leader = _leaders(cells)
    grouped: dict[str, list[str]] = defaultdict(list)
    for variant in dict.fromkeys(variant_of.values()):
        if variant in total:
            grouped[leader.get(variant, variant)].append(variant)
    return tuple(
        Unit(tuple(variants), math.fsum(each for variant in variants for each in total[variant]))
        for variants in grouped.values()
    )


def _leaders(cells: Sequence[Cell]) -> dict[str, str]:
    """Return, by variant, the FP32 variant that its accuracy is compared with, as ``results.accuracy`` chooses it."""
    evaluated = {cell.variant_id: cell for cell in cells if cell.scenario.name == ACCURACY}
    references = [cell for cell in evaluated.values() if cell.precision is Precision.FP32]
    leaders = {}
    for variant, cell in evaluated.items():
        if cell.precision is Precision.FP32:
            continue
        fitting = [other for other in references if _same_images(other, cell)]
        if fitting:
            leaders[variant] = max(fitting, key=lambda other: _likeness(other, cell)).variant_id
    return leaders


def _same_images(one: Cell, other: Cell) -> bool:
    return (one.workload, one.source_hash, one.shape, one.evaluation_hash) == (
        other.workload,
        other.source_hash,
        other.shape,
        other.evaluation_hash,
    )


def _likeness(one: Cell, other: Cell) -> tuple[bool, bool, bool, bool]:
    same = (one.engine == other.engine, one.device == other.device, one.batch == other.batch)
    return (*same, one.environment == other.environment)


def share(pieces: Iterable[Unit], left_s: Mapping[str, float]) -> dict[str, tuple[Unit, ...]]:
    """Return what each host is given: the longest first, always to the one that has least to do by then.

    ``left_s``: seconds that each host has to do already. No host has more than another by over the longest unit, where
    all begin alike. Equal cases go by the ids and names, so that the same question has the same answer.
    """
    given: dict[str, list[Unit]] = {name: [] for name in sorted(left_s)}
    load = dict(left_s)
    for unit in sorted(pieces, key=lambda unit: (-unit.seconds, unit.variants)):
        name = min(given, key=lambda name: (load[name], name))
        given[name].append(unit)
        load[name] += unit.seconds
    return {name: tuple(each) for name, each in given.items()}


def shares(plan: Plan, hosts: Collection[str], trusted: Callable[[Cell], bool]) -> dict[str, Plan]:
    """Return the plan of each host of a kind: every cell once, in the order of the whole plan.

    Each has a sentinel of its own, among the latency cells that are ``trusted`` to run. Cells that are skipped stand
    where others of their variant do, else with the first host, so that each is told of once. A host for which nothing
    is left has an empty plan.
    """
    given = share(units(plan), dict.fromkeys(hosts, 0.0))
    chosen = {name: {variant for unit in each for variant in unit.variants} for name, each in given.items()}
    busy = set().union(*chosen.values())
    first = min(hosts)
    # Where nothing is measured elsewhere but all is skipped, it is said once.
    chosen[first] |= {planned.cell.variant_id for planned in plan.cells} - busy
    return {name: part(plan, variants, trusted) for name, variants in chosen.items()}


def part(plan: Plan, variants: Collection[str], trusted: Callable[[Cell], bool]) -> Plan:
    """Return the part of a plan that is of some variants, with a sentinel of its own where it is long enough."""
    cells = tuple(planned for planned in plan.cells if planned.cell.variant_id in variants and not is_sentinel(planned))
    kept = {planned.cell.cell_id for planned in cells}
    bare = replace(plan, cells=cells, order=tuple(slot for slot in plan.order if slot.cell_id in kept))
    watch = plan_order.sentinel(planned for planned in cells if trusted(planned.cell))
    return plan_order.watched(bare, watch) if watch is not None else bare


def is_sentinel(planned: PlannedCell) -> bool:
    """Whether a cell watches the machine, and is no measurement of its row."""
    return planned.cell.scenario.name == SENTINEL
