"""A gate: a comparison judged in one look or in two, and how often it accuses launches of one and the same code."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from results.changes import STATUS, Allowance, Rules
from results.compared import compared
from results.comparison import LOOKS, Design, Verdict
from results.quantities import Rule, quantity
from results.resolution import POWER
from results.scenarios.shares import exact_share
from results.snapshot import COMPLETED, FAILED
from results.snapshots import select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import date

    from harness.gating import Gating
    from results.changes import Change, Comparison
    from results.driven import Share
    from results.snapshot import CellState, Reading, Snapshot

RELABELINGS = 1000
"""Most ways to split the launches of one side in two of which the alarms are counted."""
_JUDGED = 20_000
"""Readings that are judged for that: of a large matrix fewer ways are tried, so that it stays a matter of seconds."""
_LEAST = 100
FEWEST = 3
"""Launches that each half must have for that."""
_LAUNCHED = frozenset({Rule.FAMILY, Rule.ALONE, Rule.BOUNDS})
"""Rules that more launches can answer."""
_SEED = 20_261_130


class Outcome(StrEnum):
    """What a gate comes to."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"  # nothing failed, and of something nothing can be said
    NOTHING = "nothing"  # nothing that is gated was compared


@dataclass(frozen=True)
class Power:
    """The chance of the tests of a family to find a change of their margin. What has no known spread has none."""

    least: float
    median: float
    able: int  # tests that have ``POWER``
    tests: int


@dataclass(frozen=True)
class Gate:
    """A comparison judged."""

    comparison: Comparison
    looks: int = 1  # how many it took
    expired: tuple[Allowance, ...] = ()  # whose day has passed
    notes: tuple[str, ...] = ()  # such as that there was no time for a second look

    @property
    def failing(self) -> tuple[Change, ...]:
        """Gated changes for the worse that nothing allows."""
        return self.comparison.failing

    @property
    def open(self) -> tuple[Change, ...]:
        """Gated changes of which nothing can be said."""
        return self.comparison.open

    @property
    def allowed(self) -> tuple[Change, ...]:
        """Gated changes for the worse that are suffered."""
        return tuple(change for change in self.comparison.changes if change.gated and change.allowed)

    @property
    def missing(self) -> tuple[str, ...]:
        """Labels of cells that were measured before and that the other side does not even plan."""
        before, rules = self.comparison.before, self.comparison.rules
        measured = {cell.label for cell in select(before, rules.only).cells if cell.status == COMPLETED}
        return tuple(label for label in self.comparison.removed if label in measured)

    @property
    def outcome(self) -> Outcome:
        """One word for it."""
        if self.failing:
            return Outcome.FAILED
        if self.open:
            return Outcome.INCONCLUSIVE
        compared_any = any(change.gated for change in self.comparison.changes) or self._fates_alone
        return Outcome.PASSED if compared_any else Outcome.NOTHING

    @property
    def _fates_alone(self) -> bool:
        """Whether what became of the cells was compared, and there was nothing else to compare.

        That the proofs of two runs completed is no answer where the figures that are gated met none on the other side.
        """
        comparison = self.comparison
        rules = comparison.rules
        if STATUS not in rules.gated:
            return False
        tried = [cell for cell in comparison.before.cells if cell.status in {COMPLETED, FAILED}]
        before = {rules.identity(cell) for cell in tried}
        cells = select(comparison.after, rules.only).cells
        gated_figures = any(
            quantity(reading.quantity).rule_name in rules.gated for cell in cells for reading in cell.readings
        )
        return not gated_figures and any(rules.identity(cell) in before for cell in cells)

    @property
    def power(self) -> Power | None:
        """The power at the margin, over latency and throughput of the gated cells; ``None`` where there are none."""
        family = [c for c in self.comparison.changes if c.gated and _rule(c) is Rule.FAMILY]
        if not family:
            return None
        powers = [0.0 if change.power is None else change.power for change in family]
        able = sum(power >= POWER for power in powers)
        return Power(min(powers), float(np.median(powers)), able, len(powers))


@dataclass(frozen=True)
class AlarmRate:
    """How often a gate accused one half of the launches of one code, with its exact 95 % interval over the splits."""

    share: Share  # of the splits, which have their launches in common
    launches: int  # of the smaller half
    every: bool  # whether these are all the splits that there are


def rules_of(gating: Gating, only: Sequence[str] = ()) -> Rules:
    """Return the rules that a suite's ``gate`` says; ``only``: patterns of labels in the place of its own."""
    return Rules(
        margins=gating.margins,
        gated=gating.gated,
        only=tuple(only) or gating.only or (),
        allowances=tuple(Allowance(each.cells, each.until, each.rule or "", each.reason) for each in gating.allow),
    )


def judge(comparison: Comparison, *, today: date, looks: int = 1, notes: tuple[str, ...] = ()) -> Gate:
    """Return a comparison judged, after so many looks."""
    expired = tuple(each for each in comparison.rules.allowances if each.until < today)
    return Gate(comparison, looks, expired, notes)


def look(before: Snapshot, after: Snapshot, rules: Rules, number: int, *, today: date) -> Comparison:
    """Return the first or the second look of two: each takes its part of the level, which was split beforehand.

    Raises ``ValueError`` for another number, ``HarnessError`` as ``compared`` does.
    """
    if number not in range(1, len(LOOKS) + 1):
        raise ValueError(f"there are {len(LOOKS)} looks, and no look {number}")
    return compared(before, after, replace(rules, level=LOOKS[number - 1]), today=today)


def is_open(first: Comparison) -> bool:
    """Whether a first look leaves open what more launches may answer; a regression is final and fails in any case."""
    return not first.failing and any(_rule(change) in _LAUNCHED for change in first.open)


def joined(first: Comparison, second: Comparison) -> Comparison:
    """Return the second look, in which what the first one answered stays as it was answered."""
    answered = {
        (change.key, change.quantity): change for change in first.changes if change.verdict is not Verdict.INCONCLUSIVE
    }
    return replace(
        second, changes=tuple(answered.get((change.key, change.quantity), change) for change in second.changes)
    )


def shadow_alarm_rate(base: Snapshot, rules: Rules, *, splits: int | None = None) -> AlarmRate | str:
    """Return how often these rules accuse one half of a side's own launches, or why that cannot be told.

    The launches are split in two halves, the same replicates of every cell together, since what a round had in common
    it had for all; every way there is, or as many as ``splits`` (by default what takes seconds), drawn by a fixed seed.
    Nothing changed between the halves: each accusation is a false alarm of this gate on this machine, with half the
    launches of the gate.
    """
    replicates = sorted({launch for cell in base.cells for reading in cell.readings for launch in reading.launches})
    if len(replicates) < 2 * FEWEST:
        return f"{len(replicates)} launches of one code are too few to be split in two: {2 * FEWEST} are needed"
    if splits is None:
        readings = sum(len(cell.readings) for cell in base.cells)
        splits = min(RELABELINGS, max(_LEAST, _JUDGED // readings))
    rules = replace(rules, allowances=(), design=Design.APART)
    half = len(replicates) // 2
    ways = math.comb(len(replicates), half)
    chosen = list(_every(replicates, half) if ways <= splits else _drawn(replicates, half, splits))
    alarms = sum(
        bool(compared(_part(base, set(replicates) - ours), _part(base, ours), rules).failing) for ours in chosen
    )
    return AlarmRate(exact_share(alarms, len(chosen)), half, every=ways <= splits)


def _every(replicates: Sequence[int], half: int) -> Iterator[set[int]]:
    return (set(chosen) for chosen in itertools.combinations(replicates, half))


def _drawn(replicates: Sequence[int], half: int, splits: int) -> Iterator[set[int]]:
    generator = np.random.default_rng(_SEED)
    for _ in range(splits):
        yield {int(each) for each in generator.permutation(replicates)[:half]}


def _part(base: Snapshot, replicates: Collection[int]) -> Snapshot:
    """Return a snapshot with some launches only, without what is not known by launch."""
    return replace(base, cells=tuple(_part_of_cell(cell, replicates) for cell in base.cells))


def _part_of_cell(cell: CellState, replicates: Collection[int]) -> CellState:
    parts = (_part_of_reading(reading, replicates) for reading in cell.readings if reading.launches)
    return replace(cell, readings=tuple(part for part in parts if part.values))


def _part_of_reading(reading: Reading, replicates: Collection[int]) -> Reading:
    kept = [place for place, launch in enumerate(reading.launches) if launch in replicates]
    return replace(
        reading,
        values=tuple(reading.values[place] for place in kept),
        launches=tuple(reading.launches[place] for place in kept),
        noisy=tuple(launch for launch in reading.noisy if launch in replicates),
        low=None,
        high=None,
    )


def _rule(change: Change) -> Rule | None:
    """Return how a change was judged; ``None`` for what became of a cell."""
    try:
        return quantity(change.quantity).rule
    except KeyError:
        return None
