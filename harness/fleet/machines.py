"""The hosts of a fleet as a plan needs them: asked what they can do, told apart by kind, refused by name."""

from __future__ import annotations

import itertools
import queue
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import harness
from harness.fleet.contract import FleetError
from harness.matrix import AUTO
from harness.vocabulary import EngineFacts, Failed, Skipped, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.fleet.contract import About, Host
    from harness.vocabulary import Cell

T = TypeVar("T")
_SHOWN = 6


@dataclass(frozen=True)
class Machine:
    """A host with what it said of itself and of the engines."""

    host: Host
    about: About
    engines: Mapping[str, EngineFacts | Failed | Skipped]

    @property
    def name(self) -> str:
        """Its name in the fleet."""
        return self.about.name


@dataclass(frozen=True)
class Kind:
    """Hosts whose figures stand for each other: of one hardware, with the same versions of the engines."""

    hw_id: str
    machines: tuple[Machine, ...]  # by name; at least one

    @property
    def name(self) -> str:
        """What tells it from the others: the name of its first host."""
        return self.machines[0].name

    @property
    def engines(self) -> Mapping[str, EngineFacts | Failed | Skipped]:
        """What each of its hosts can execute."""
        return self.machines[0].engines


def ask(hosts: Sequence[Host], engines: Sequence[str], cpus: Sequence[int] | None) -> tuple[Machine, ...]:
    """Return what all hosts say of themselves and of the engines, by name; they are asked at the same time.

    Raises ``FleetError`` for a fleet without hosts, for two of one name, and for one of another version;
    ``HostLostError`` for one that does not answer.
    """
    if not hosts:
        hint = "start `harness fleet worker` on each; `harness fleet status` lists them"
        raise FleetError("the fleet has no hosts", hint)

    def asked(host: Host) -> Machine:
        about = host.about()
        _check_version(about)
        return Machine(host, about, host.probe(engines, cpus))

    found = sorted(together(hosts, asked), key=lambda machine: machine.name)
    for one, other in itertools.pairwise(found):
        if one.name == other.name:
            raise FleetError(f"two hosts are called {one.name!r}", "start one of them with another --name")
    return tuple(found)


def _check_version(about: About) -> None:
    if about.harness_version != harness.__version__:
        message = f"the host {about.name} has harness {about.harness_version}, this is {harness.__version__}"
        raise FleetError(message, "install the same version on both, then start its worker again")


def together(items: Iterable[T], do: Callable[[T], Any]) -> list[Any]:
    """Return what ``do`` gives for each item, in their order, one thread for each. Raises what the first raised.

    The threads end with the program, whatever they wait for: an interrupt need not wait for a host.
    """
    answers: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def one(place: int, item: T) -> None:
        try:
            answers.put((place, do(item), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answers.put((place, None, error))

    given = list(items)
    for place, item in enumerate(given):
        threading.Thread(target=one, args=(place, item), daemon=True).start()
    found: dict[int, Any] = {}
    while len(found) < len(given):
        place, answer, error = answers.get()
        if error is not None:
            raise error
        found[place] = answer
    return [found[place] for place in range(len(given))]


def kinds(machines: Iterable[Machine]) -> tuple[Kind, ...]:
    """Return the machines by kind, in the order of their names.

    Hosts of one hardware whose engines have other versions, or can do other things, are kinds of their own: no row
    mixes versions, and a plan for one is none for the other.
    """
    alike: dict[tuple[str, str], list[Machine]] = defaultdict(list)
    for machine in sorted(machines, key=lambda machine: machine.name):
        alike[machine.about.hw_id, digest(_ability(machine))].append(machine)
    return tuple(Kind(hw_id, tuple(among)) for (hw_id, _), among in alike.items())


def _ability(machine: Machine) -> dict[str, Any]:
    return {name: _told(facts) for name, facts in machine.engines.items()}


def _told(facts: EngineFacts | Failed | Skipped) -> list[Any]:
    if not isinstance(facts, EngineFacts):
        return [type(facts).__name__]
    devices = [
        [device.name, device.on_request, {name: support.level.value for name, support in device.precisions.items()}]
        for device in facts.devices
    ]
    return [facts.version, dict(facts.versions), devices]


def differing(found: Sequence[Kind]) -> tuple[str, ...]:
    """Return a sentence for each hardware of which there are several kinds: what tells them apart is of the engines."""
    by_hardware: dict[str, list[Kind]] = defaultdict(list)
    for kind in found:
        by_hardware[kind.hw_id].append(kind)
    return tuple(
        f"{_listed(_names(among))} are of one hardware and differ in {_listed(_differences(among))}: "
        "each measures the whole suite, and no row mixes them."
        for among in by_hardware.values()
        if len(among) > 1
    )


def _names(among: Sequence[Kind]) -> list[str]:
    return [" and ".join(machine.name for machine in kind.machines) for kind in among]


def _differences(among: Sequence[Kind]) -> list[str]:
    """Return the engines that differ, with each version."""
    said = []
    for name in among[0].engines:
        told = [kind.engines.get(name) for kind in among]
        if len({digest(_told(facts)) for facts in told if facts is not None}) < 2 and None not in told:
            continue
        versions = [facts.version if isinstance(facts, EngineFacts) else "none" for facts in told]
        said.append(f"{name} ({', '.join(versions)})")
    return said


def check_offered(cells: Iterable[Cell], found: Sequence[Kind]) -> None:
    """Raise ``FleetError`` naming the first engine or device that cells ask for and no host offers.

    An engine that crashed when it was probed is offered: its rows say so.
    """
    machines = [machine for kind in found for machine in kind.machines]
    asked = list(cells)
    for engine in dict.fromkeys(cell.engine for cell in asked):
        told = {machine.name: machine.engines.get(engine) for machine in machines}
        if not any(isinstance(facts, EngineFacts | Failed) for facts in told.values()):
            reasons = [
                f"{name}: {facts.reason if isinstance(facts, Skipped) else 'not asked'}" for name, facts in told.items()
            ]
            hint = f"install it on a host, or leave it out; {_listed(reasons)}"
            raise FleetError(f"no host of the fleet offers the engine {engine!r}", hint)
    offered = {
        device.name
        for machine in machines
        for facts in machine.engines.values()
        if isinstance(facts, EngineFacts)
        for device in facts.devices
    }
    broken = any(isinstance(facts, Failed) for machine in machines for facts in machine.engines.values())
    for device in dict.fromkeys(cell.device for cell in asked):
        if device not in offered and device != AUTO and not broken:
            hint = f"the hosts offer {_listed(sorted(offered))}; `harness fleet status` tells which offers what"
            raise FleetError(f"no host of the fleet offers the device {device!r}", hint)


def _listed(words: Sequence[str]) -> str:
    more = [f"{len(words) - _SHOWN} more"] if len(words) > _SHOWN else []
    return ", ".join([*words[:_SHOWN], *more])
