"""Runs that are looked at together: of one machine or of many, each with what its page must say of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.host import short_id
from results.drift import drift_of
from results.launches import histories
from results.rows import rows
from results.store import RunStore
from results.variance import split_of
from results.words import counted, showable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from results.drift import Drift
    from results.row import Row
    from results.variance import Split

NO_PLAN = "its manifest holds no readable plan, so that nothing is known of what was asked of it"
NO_CELLS = "it has no cells: nothing was planned"
UNNAMED = "unnamed machine"

_UNKNOWN = "unavailable"  # how ``harness.host`` begins what it could not read
_NOISE = re.compile(r"\((?:R|TM|C)\)|[®™©]|\b(?:CPU|Processor|\d+-Core)\b", re.IGNORECASE)
_LONGEST = 100


@dataclass(frozen=True)
class Source:
    """One run on one machine."""

    run_id: str
    created_at: str  # ISO 8601, UTC
    suite: str
    hw_id: str
    env_id: str
    machine: str  # label, unique among the sources' machines: "AMD EPYC 7B13, 2 cores"
    manifest: Mapping[str, Any]
    rows: tuple[Row, ...]  # as ``results.rows`` derives them
    records: int
    folder: Path
    trouble: str = ""  # why there are no rows, where there are none
    damage: tuple[str, ...] = ()  # what of its journal could not be read, one sentence each
    drift: Drift | None = None  # None: no sentinel watched the machine
    splits: tuple[Split, ...] = ()  # of every latency cell that has two launches
    logs: Mapping[str, str] = field(default_factory=dict)  # cell id → its log, relative to the folder

    @property
    def machine_id(self) -> str:
        """What tells its machine from others; a run that does not say is of a machine of its own."""
        return _machine_id(self.run_id, self.hw_id)


def load(folders: Sequence[Path]) -> tuple[Source, ...]:
    """Return the runs of the folders, oldest first, in whatever order they are given; each run once.

    Of two copies of a run the one with more records counts. A run without cells, or without a readable plan, is kept
    without rows and says so (``Source.trouble``). Raises ``StoreError`` for a run that cannot be read, that a newer
    harness wrote, or whose id another run has too.
    """
    given = {folder.resolve(): folder for folder in sorted(folders, key=str, reverse=True)}
    stores: dict[str, RunStore] = {}
    for _, folder in sorted(given.items()):
        store = RunStore.open(folder)
        other = stores.get(store.run_id)
        if other is not None and _told(other) != _told(store):
            message = f"two different runs have the id {store.run_id}: {other.folder} and {store.folder}"
            raise StoreError(message, "leave one of them out")
        if other is None or len(store.records()) > len(other.records()):
            stores[store.run_id] = store
    found = sorted(map(source_of, stores.values()), key=lambda source: (source.created_at, source.run_id))
    names = labels({source.machine_id: source.machine for source in found})
    return tuple(replace(source, machine=names[source.machine_id]) for source in found)


def _told(store: RunStore) -> tuple[str, str]:
    """Return what two copies of a run agree in, however far each of them had come."""
    return str(store.manifest.get("created_at", "")), _hw_id(mapping(store.manifest.get("host")))


def source_of(store: RunStore, derived: Sequence[Row] | None = None) -> Source:
    """Return one run, with its machine's own label; ``derived``: its rows, where the caller has them already.

    Raises ``StoreError`` where its records or samples cannot be read.
    """
    host = mapping(store.manifest.get("host"))
    plan = mapping(store.manifest.get("plan"))
    bare = Source(
        run_id=store.run_id,
        created_at=_text(store.manifest.get("created_at")),
        suite=_text(plan.get("suite")),
        hw_id=_hw_id(host),
        env_id=_text(host.get("env_id")),
        machine=machine_label(mapping(host.get("hardware"))),
        manifest=store.manifest,
        rows=(),
        records=0,
        folder=store.folder,
        trouble=NO_PLAN,
    )
    if not _has_plan(store):
        return bare
    told = histories(store)
    made = tuple(rows(store, known=told) if derived is None else derived)
    timed = [history.measured for history in told if history.planned.cell.scenario.name == "latency"]
    return replace(
        bare,
        rows=made,
        records=len(store.records()),
        trouble="" if made else NO_CELLS,
        damage=store.damage,
        drift=drift_of(store, told),
        splits=tuple(split_of(launches) for launches in timed if len(launches) > 1),
        logs={record.cell_id: record.log for record in store.records() if record.log},
    )


def _has_plan(store: RunStore) -> bool:
    try:
        store.plan  # noqa: B018 - whether it can be read is the question
    except StoreError:
        return False
    return True


# --- machines ----------------------------------------------------------------------------------------------------


def machine_label(hardware: Mapping[str, Any], *, memory: bool = False) -> str:
    """Return a machine in a few words: board or processor, cores, its ``memory`` too if asked, accelerators counted.

    What the fingerprint does not say is left out; where it says nothing the machine is ``UNNAMED``.
    """
    cpu = hardware.get("cpu")
    processor = _fact(cpu.get("name") if isinstance(cpu, Mapping) else cpu)
    cores = mapping(hardware.get("topology")).get("cores")
    size, devices = hardware.get("memory_gib"), hardware.get("accelerators")
    names = [_fact(mapping(device).get("name")) for device in (devices if isinstance(devices, list) else ())]
    words = [
        _fact(hardware.get("board")) or processor or _fact(hardware.get("architecture")),
        counted(cores, "core") if isinstance(cores, int) and not isinstance(cores, bool) else "",
        f"{size} GiB" if memory and isinstance(size, int) and not isinstance(size, bool) else "",
        *(f"{count} × {name}" if count > 1 else name for name, count in sorted(Counter(filter(None, names)).items())),
    ]
    return ", ".join(filter(None, words))[:_LONGEST] or UNNAMED


def labels(machines: Mapping[str, str]) -> dict[str, str]:
    """Return a unique label by machine: its own, with the beginning of its id where another machine has it too."""
    alike: dict[str, list[str]] = defaultdict(list)
    for key, label in machines.items():
        alike[label].append(key)
    short = {key: head for keys in alike.values() for key, head in shortest(keys, least=4).items()}
    return {key: label if len(alike[label]) == 1 else f"{label} #{short[key]}" for key, label in machines.items()}


def shortest(keys: Collection[str], least: int) -> dict[str, str]:
    """Return the beginning of each key that tells it from the others: of one length, at least ``least`` characters."""
    length = least
    while len({key[:length] for key in keys}) < len(set(keys)):
        length += 1
    return {key: key[:length] for key in keys}


def machine_id_of(store: RunStore) -> str:
    """Return the ``machine_id`` of a run that is not loaded."""
    return _machine_id(store.run_id, _hw_id(mapping(store.manifest.get("host"))))


def _machine_id(run_id: str, hw_id: str) -> str:
    return hw_id or f"?{run_id}"


def _hw_id(host: Mapping[str, Any]) -> str:
    """Return the id of a machine, made of its facts where only these are on record; empty where nothing is."""
    hardware = mapping(host.get("hardware"))
    try:
        return _text(host.get("hw_id")) or (short_id(hardware) if hardware else "")
    except ValueError:  # no JSON, as a number that is none
        return ""


def _fact(value: object) -> str:
    """Return a name without trademarks and filling words; empty where it is none, or could not be read."""
    text = _text(value)
    return "" if text.startswith(_UNKNOWN) else " ".join(_NOISE.sub(" ", showable(text)).split())


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}
