"""One plan of two: each round holds both arms of each cell next to each other. Pure: no disk, no clock, no process."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.arms import BASE, HEAD
from harness.plan_order import ACCURACY, PROVE, SENTINEL
from harness.vocabulary import Skipped, Slot, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.vocabulary import Cell, Plan, PlannedCell


@dataclass(frozen=True)
class Pair:
    """One cell in both arms, in the order base, head; ``None`` where an arm does not have it."""

    key: str  # see ``key_of``
    members: tuple[PlannedCell | None, PlannedCell | None]

    @property
    def runnable(self) -> tuple[PlannedCell | None, PlannedCell | None]:
        """Those that will be launched."""
        base, head = (each if each is not None and each.skipped is None else None for each in self.members)
        return base, head

    @property
    def scenario(self) -> str:
        """The kind of its scenario, the same in both."""
        return next(each.cell.scenario.name for each in self.members if each is not None)


def label_of(cell: Cell) -> str:
    """Return the label of a cell without its environment: what the two arms of a pair share."""
    return replace(cell, environment="default").label


def key_of(cell: Cell) -> str:
    """Return what pairs two cells: the label, and the settings of the scenario, which a label may not tell apart."""
    parameters = cell.scenario.parameters
    return f"{label_of(cell)} {digest(dict(parameters))[:8]}" if parameters else label_of(cell)


def interleaved(base: Plan, head: Plan) -> Plan:
    """Return the plan of both, their cells under the environments ``BASE`` and ``HEAD``, paired by key.

    Proofs come first, then timed and memory launches round by round, accuracy last. In a round the pairs stand in an
    order drawn from the seed, the two launches of a pair next to each other; which of them is first alternates from
    round to round, so that neither gains by its place. No sentinel watches: what drifts meets both alike. A cell that
    one arm alone has is kept and skipped.
    """
    pairs = pairs_of(base, head)
    cells = tuple(member for pair in pairs for member in pair.members if member is not None)
    return replace(head, cells=cells, order=_order(pairs, head.seed))


def pairs_of(base: Plan, head: Plan) -> tuple[Pair, ...]:
    """Return every cell of either plan, by key, those that head has in its order first."""
    mine, theirs = dict(_named(base, BASE)), dict(_named(head, HEAD))
    pairs = []
    for key in dict.fromkeys((*theirs, *mine)):
        before, after = mine.get(key), theirs.get(key)
        if after is None and before is not None:
            before = _alone(before, BASE)
        if before is None and after is not None:
            after = _alone(after, HEAD)
        pairs.append(Pair(key[0], (before, after)))
    return tuple(pairs)


def _named(plan: Plan, name: str) -> Iterator[tuple[tuple[str, int], PlannedCell]]:
    """Yield the cells of an arm by key; one that several share, also by their order."""
    seen: Counter[str] = Counter()
    for planned in plan.cells:
        if planned.cell.scenario.name != SENTINEL:
            key = key_of(planned.cell)
            yield (key, seen[key]), replace(planned, cell=replace(planned.cell, environment=name))
            seen[key] += 1


def _alone(planned: PlannedCell, name: str) -> PlannedCell:
    return planned if planned.skipped else replace(planned, skipped=Skipped(f"only {name} has this cell"))


def _order(pairs: Sequence[Pair], seed: int) -> tuple[Slot, ...]:
    # By key, so that the order of the suite's keys does not matter.
    ordered = sorted(pairs, key=lambda pair: pair.key)
    timed = [pair for pair in ordered if pair.scenario not in {PROVE, ACCURACY}]
    launches = [each.launches for pair in timed for each in pair.runnable if each is not None]
    rounds = max(launches, default=1)
    slots = _round([pair for pair in ordered if pair.scenario == PROVE], Slot("", 0, 0), seed, "prove")
    for number in range(rounds):
        slots += _round(timed, Slot("", number, number), seed, str(number))
    last = Slot("", 0, rounds - 1)
    slots += _round([pair for pair in ordered if pair.scenario == ACCURACY], last, seed, "accuracy")
    return tuple(slots)


def _round(pairs: Sequence[Pair], place: Slot, seed: int, salt: str) -> list[Slot]:
    """Return the launches of one round; ``place`` says which replicate and which round."""
    drawn = list(pairs)
    # A text seed goes through SHA-512: the same order in every process.
    random.Random(f"{seed}/{salt}").shuffle(drawn)  # noqa: S311 - no secret
    slots = []
    for pair in drawn:
        turned = (random.Random(f"{seed}/{pair.key}").random() < 0.5) ^ (place.round % 2 == 1)  # noqa: S311 - as above
        both = reversed(pair.runnable) if turned else pair.runnable
        launched = (each.cell.cell_id for each in both if each is not None and each.launches > place.index)
        slots += [replace(place, cell_id=cell_id) for cell_id in launched]
    return slots
