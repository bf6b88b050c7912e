"""The runs of a fleet as sides of comparisons: of each hardware one, as if one machine had measured all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.host import short_id
from results.snapshot import COMPLETED, FAILED
from results.snapshots import snapshot
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from results.fleets import FleetRun, Part
    from results.snapshot import CellState, Snapshot

    _Run = tuple[Part, Snapshot]

_MEASURED = frozenset({COMPLETED, FAILED})
_ABSENT = "absent"


def sides_of(fleet: FleetRun) -> tuple[Snapshot, ...]:
    """Return what a fleet measured as one snapshot for each hardware, in the order of its runs.

    Hosts of one hardware share a suite: their cells stand together, and a fact of the environment that they do not
    agree in says what each has. What a host took over stands as that measured it. Raises ``StoreError`` where a run is
    gone or cannot be read, and where two hosts of one hardware measured the same cell, as those with other versions of
    an engine do: neither stands for both.
    """
    alike: dict[str, list[_Run]] = defaultdict(list)
    for part, folder in zip(fleet.runs, fleet.stored(), strict=True):
        found = snapshot(RunStore.open(folder))
        alike[found.hw_id].append((part, found))
    return tuple(_together(fleet, runs) for runs in alike.values())


def _together(fleet: FleetRun, runs: Sequence[_Run]) -> Snapshot:
    first = runs[0][1]
    if len(runs) == 1:
        return first
    environment = _facts([(part.host, found.environment) for part, found in runs])
    same = {found.env_id for _, found in runs} == {first.env_id}
    return replace(
        first,
        run_id=fleet.fleet_id,
        env_id=first.env_id if same else short_id(environment),
        environment=environment,
        cells=_cells(fleet, runs),
        tags=(),
        drift="; ".join(f"{part.host}: {found.drift}" for part, found in runs if found.drift),
        derived_from="",
        notes=(
            f"the runs {', '.join(f'{found.run_id} ({part.host})' for part, found in runs)} together",
            *(f"{part.host}: {note}" for part, found in runs for note in found.notes),
        ),
    )


def _cells(fleet: FleetRun, runs: Sequence[_Run]) -> tuple[CellState, ...]:
    stand: dict[str, tuple[Part, CellState]] = {}
    for part, found in runs:
        for cell in found.cells:
            other, before = stand.get(cell.cell_id, (part, cell))
            if before is not cell and {cell.status, before.status} <= _MEASURED and not part.taken_from:
                message = f"{other.host} and {part.host} of {fleet.fleet_id} have one hardware, and differ otherwise"
                raise StoreError(f"{message}: both measured {cell.label}", f"name the runs to compare: {fleet.named}")
            # A host that took a row over measures it from the start, unless the run was ended before.
            if cell.status in _MEASURED or before.status not in _MEASURED:
                stand[cell.cell_id] = (part, cell)
    return tuple(cell for _, cell in stand.values())


def _facts(told: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return what hosts say of themselves as one: each fact that they agree in, else what each says."""
    known = list(told)
    keys = dict.fromkeys(key for _, facts in known for key in facts)
    return {key: _fact([(host, facts.get(key, _ABSENT)) for host, facts in known]) for key in keys}


def _fact(told: Sequence[tuple[str, Any]]) -> Any:
    values = [value for _, value in told]
    if all(isinstance(value, Mapping) for value in values):
        return _facts(told)
    if all(value == values[0] for value in values):
        return values[0]
    return "; ".join(dict.fromkeys(f"{value} on {host}" for host, value in told))
