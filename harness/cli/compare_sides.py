"""What ``harness compare`` holds against what: two runs, or the runs of fleets, each against those of its hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.arguments import tell_of_latest
from harness.errors import HarnessError

if TYPE_CHECKING:
    from results.fleets import FleetRun
    from results.snapshot import Snapshot


@dataclass(frozen=True)
class Side:
    """What a name stands for: a run, or a fleet with a snapshot for each of its hardwares."""

    snapshots: tuple[Snapshot, ...]
    fleet: FleetRun | None = None


@dataclass(frozen=True)
class Pairs:
    """What is held against what, and what nothing answers."""

    pairs: tuple[tuple[Snapshot, Snapshot], ...]
    only_before: tuple[Snapshot, ...] = ()
    only_after: tuple[Snapshot, ...] = ()

    @property
    def machines(self) -> tuple[str, ...]:
        """Return a label for the hardware of each pair, unique among all that there is."""
        return tuple(self.label(after) for _, after in self.pairs)

    def label(self, one: Snapshot) -> str:
        """Return what the hardware of a side is called, unique among all that there is."""
        from results.sources import labels, machine_label

        every = [side for pair in self.pairs for side in pair] + [*self.only_before, *self.only_after]
        return labels({each.hw_id: machine_label(each.hardware) for each in every})[one.hw_id]


def side(name: str, runs: Path) -> Side:
    """Return what a name stands for. Raises as ``results.named.find`` and ``results.fleet_sides.sides_of`` do."""
    # Imported here: it brings SciPy, and `harness --help` should not wait for it.
    from results.fleet_sides import sides_of
    from results.named import find, fleet_of

    fleet = fleet_of(name, runs)
    if fleet is not None:
        return Side(sides_of(fleet), fleet)
    found = find(name, runs, Path())
    if found.folder is not None:
        tell_of_latest(name, found.folder)
    return Side((found.snapshot,))


def paired(before: Side, after: Side, *, across_hardware: bool) -> Pairs:
    """Return each hardware that is on both sides with itself; of one each, the two as they are.

    Raises ``ComparisonRefused`` where no hardware is on both sides, and ``HarnessError`` where several are to be
    compared across hardware.
    """
    from results.compared import ComparisonRefused  # as above

    if len(before.snapshots) == len(after.snapshots) == 1:
        return Pairs(((before.snapshots[0], after.snapshots[0]),))
    names = "; ".join(f"{each.fleet.fleet_id} has {each.fleet.named}" for each in (before, after) if each.fleet)
    if across_hardware:
        raise HarnessError("--across-hardware compares two machines, and here are more", f"name two runs: {names}")
    there = {each.hw_id: each for each in after.snapshots}
    here = {each.hw_id for each in before.snapshots}
    pairs = tuple((each, there[each.hw_id]) for each in before.snapshots if each.hw_id in there)
    if not pairs:
        hint = f"compare two runs with --across-hardware: {names}"
        raise ComparisonRefused("not compared: no hardware is on both sides", hint)
    return Pairs(
        pairs,
        tuple(each for each in before.snapshots if each.hw_id not in there),
        tuple(each for each in after.snapshots if each.hw_id not in here),
    )
