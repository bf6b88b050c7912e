"""What a host is told of a run's launches, with paths of its own in the place of parcels; and kept over a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import codec, jobs, registry
from harness.fleet.contract import FleetError, Load, Terms
from harness.runner import Bench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.fleet.shelf import Shelf
    from harness.vocabulary import Artifact, Failed, Skipped


class Benches:
    """Benches of loads. What several variants share is made once."""

    def __init__(self, shelf: Shelf, offered: Mapping[str, registry.Registered]) -> None:
        self._shelf = shelf
        self._offered = offered
        self._items: dict[int, tuple[jobs.Item, ...]] = {}

    def made(self, terms: Terms) -> dict[str, Bench | Failed | Skipped]:
        """Return what stands for each load, by variant.

        Raises ``FleetError`` where a parcel is not here or an engine is not offered.
        """
        made = {}
        for variant, load in terms.loads.items():
            made[variant] = self._bench(load) if isinstance(load, Load) else load
        return made

    def task_places(self, terms: Terms) -> dict[str, dict[str, object]]:
        """Return where the user's code lies, by variant and by the task's name for it. Raises ``FleetError``."""
        return {
            variant: {key: str(self._shelf.path_of(parcel)) for key, parcel in load.task_parcels.items()}
            for variant, load in terms.loads.items()
            if isinstance(load, Load)
        }

    def _bench(self, load: Load) -> Bench:
        if load.engine not in self._offered:
            raise FleetError(f"no engine is called {load.engine!r} here", "is it registered there any more?")
        inputs = self._shelf.path_of(load.inputs_parcel)
        reference = load.reference_parcel
        return Bench(
            engine=self._offered[load.engine].target,
            artifact=self._artifact(load.artifact, load.artifact_parcel),
            inputs=jobs.Inputs(inputs, load.inputs_hash, load.inputs_count),
            reference=self._shelf.path_of(reference, Path("outputs.npz")) if reference else None,
            items=self._shared(load.items),
            classes=load.classes,
            rebuilt=tuple(self._artifact(artifact, parcel) for artifact, parcel in load.rebuilt),
        )

    def _artifact(self, artifact: Artifact, parcel: str) -> Artifact:
        return replace(artifact, path=self._shelf.path_of(parcel, artifact.path))

    def _shared(self, items: tuple[tuple[str, Any], ...]) -> tuple[jobs.Item, ...]:
        if id(items) not in self._items:
            self._items[id(items)] = tuple(jobs.Item(self._shelf.referred(place), label) for place, label in items)
        return self._items[id(items)]


def written(terms: Terms) -> str:
    """Return terms as JSON; images that variants have in common are written once."""
    tables: dict[str, Any] = {}
    of: dict[str, str] = {}
    bare: dict[str, Load | Failed | Skipped] = {}
    for variant, load in terms.loads.items():
        bare[variant] = load
        if isinstance(load, Load):
            of[variant] = str(id(load.items))
            tables.setdefault(of[variant], codec.encode(load.items))
            bare[variant] = replace(load, items=())
    return json.dumps({"terms": codec.encode(replace(terms, loads=bare)), "items": tables, "of": of}, allow_nan=False)


def read(text: str) -> Terms:
    """Return what ``written`` was given. Raises ``FleetError`` for another text."""
    try:
        data = json.loads(text)
        terms = codec.decode(Terms, data["terms"], "terms")
        tables = {key: tuple((place, label) for place, label in table) for key, table in data["items"].items()}
        loads = {
            variant: replace(load, items=tables[data["of"][variant]]) if isinstance(load, Load) else load
            for variant, load in terms.loads.items()
        }
    except (ValueError, KeyError, TypeError, codec.CodecError) as error:
        message = f"the terms of the run cannot be read: {type(error).__name__}: {error}"
        raise FleetError(message, "begin it again") from error
    return replace(terms, loads=loads)
