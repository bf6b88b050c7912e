"""The two sides of a run that interleaved two environments or two revisions, as a snapshot each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.arms import BASE, HEAD
from harness.errors import HarnessError
from harness.host import short_id
from harness.interleaved import key_of, label_of
from results.comparison import Design
from results.snapshots import snapshot

if TYPE_CHECKING:
    from results.snapshot import Snapshot
    from results.store import RunStore

AB = "ab"
"""The manifest's key of what the sides of such a run are: by arm, what was written and what was found there."""


def is_of_two(store: RunStore) -> bool:
    """Whether a run interleaved two sides."""
    return isinstance(store.manifest.get(AB), dict)


def sides(store: RunStore) -> tuple[Snapshot, Snapshot]:
    """Return what base and head gave, their cells with the labels that they share and a key made of it.

    The cells of two revisions are others by identity where the model or its settings changed; here the name is what
    pairs them. Raises ``HarnessError`` for a run that did not interleave anything, ``StoreError`` for one that cannot
    be read.
    """
    if not is_of_two(store):
        hint = "`harness compare RUN RUN` compares two runs"
        raise HarnessError(f"{store.run_id} measured one environment, there are no two sides to it", hint)
    whole = snapshot(store)
    base, head = (_side(store, whole, name) for name in (BASE, HEAD))
    return base, head


def design_of(before: Snapshot, after: Snapshot) -> Design:
    """Return how the launches of two snapshots lie in time: interleaved where they are the two sides of one run."""
    (first, _, one), (second, _, other) = (each.run_id.rpartition("@") for each in (before, after))
    return Design.INTERLEAVED if first and first == second and {one, other} == {BASE, HEAD} else Design.APART


def _side(store: RunStore, whole: Snapshot, name: str) -> Snapshot:
    named = {
        planned.cell.cell_id: (key_of(planned.cell), label_of(planned.cell))
        for planned in store.plan.cells
        if planned.cell.environment == name
    }
    own = store.manifest[AB].get(name, {}).get("environment", {})
    # Versions of the whole run are those of both: a side has its own alone.
    environment = {**whole.environment, **own}
    cells = tuple(
        replace(state, key=named[state.cell_id][0], label=named[state.cell_id][1])
        for state in whole.cells
        if state.cell_id in named
    )
    return replace(
        whole, run_id=f"{whole.run_id}@{name}", cells=cells, environment=environment, env_id=short_id(environment)
    )


def notes(store: RunStore) -> tuple[str, ...]:
    """Return what a reader must know of the run of both: rounds that there was no time for, artifacts that differ."""
    made = {(record.cell_id, record.launch.index) for record in store.records()}
    planned = {slot.round for slot in store.plan.order}
    begun = {slot.round for slot in store.plan.order if (slot.cell_id, slot.index) in made}
    found = [f"there was time for {len(begun)} of {len(planned)} rounds"] if len(begun) < len(planned) else []
    artifacts: dict[str, set[str]] = {}
    for record in store.records():
        if record.artifact is not None:
            row = label_of(record.cell).rpartition("/")[0]
            artifacts.setdefault(row, set()).add(record.artifact.content_hash)
    found += [f"{row}: the two sides ran different artifacts" for row, hashes in artifacts.items() if len(hashes) > 1]
    return tuple(found)
