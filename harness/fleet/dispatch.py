"""Launch after launch on every host at once: one outstanding on each, everything filed here.

A host has a thread of its own, since a question to it takes as long as a launch; a fleet of one has none, so that an
interrupt reaches whoever waits for its launch. What the threads give goes through one queue to whoever iterates, who
alone decides what moves. An interrupt leaves the hosts at what they do: they keep the record, and a resume fetches it.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.fleet import sharing
from harness.fleet.contract import FleetError, HostLostError
from harness.fleet.errands import FATAL, Errand
from harness.fleet.events import Ended, Finished, Lost, Moved, Noted, Recovered, Started, Unmeasured
from harness.fleet.sending import Sender
from harness.prepare import Portable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from harness.fleet.contract import Host, Load
    from harness.fleet.events import Event
    from harness.fleet.sending import Packing
    from harness.vocabulary import Cell, Failed, Plan, Skipped


@dataclass(frozen=True)
class Crew:
    """Who measures, and what it takes to let them."""

    hosts: Mapping[str, Host]  # by name
    kinds: Mapping[str, str]  # of each host: those of one kind stand in for each other
    packing: Packing
    further: Callable[[Errand, str, Plan], Errand]  # what a lost host left, a host, its plan → a new run there
    told: Callable[[str, str], None]  # takes a host and a word before something takes long; from any thread


@dataclass
class _Lane:
    """One host and what it still has to do."""

    host: Host
    sender: Sender
    errands: deque[Errand] = field(default_factory=deque)  # the first is being measured
    asked: queue.SimpleQueue[Errand | None] = field(default_factory=queue.SimpleQueue)
    cell: Cell | None = None  # that it measures now
    filing: threading.Lock = field(default_factory=threading.Lock)


class _StoppedError(Exception):
    """The run was ended while a host was asked: its answer is not filed any more."""


@dataclass(frozen=True)
class _Broke:
    """What no host is to blame for."""

    error: BaseException


class Dispatch:
    """All launches of a fleet. Iterate over ``run`` once."""

    def __init__(self, crew: Crew, errands: Sequence[Errand], blamed: Mapping[str, int]) -> None:
        """Take who measures and what; ``blamed``: by cell id, how many hosts were lost before in launches of it."""
        self._crew = crew
        self._blamed = Counter(blamed)
        self._lanes = {name: _Lane(host, self._sender(name, host)) for name, host in crew.hosts.items()}
        for errand in errands:
            self._lanes[errand.host].errands.append(replace(errand, fatal=self._fatal()))
        self._events: queue.SimpleQueue[Event | _Broke] = queue.SimpleQueue()
        self._stopped = False
        self._lost: set[str] = set()
        self._done: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)  # by run: as ``durations`` takes it

    def noted(self, text: str) -> None:
        """Take a word of whoever connects the hosts; any thread may call it."""
        self._events.put(Noted(text))

    def left_s(self, host: str) -> float:
        """Return how many seconds a host still has to measure, as far as is known."""
        mine = self._lanes[host].errands
        return sum(errand.left_s(self._done[errand.store.run_id]) for errand in mine)

    def run(self) -> Generator[Event, None, None]:
        """Have everything measured, and yield what happens.

        Raises what no host is to blame for, such as a full disk here.
        """
        for lane in self._lanes.values():
            for errand in lane.errands:
                for record in errand.store.records():
                    self._done[errand.store.run_id][record.cell_id, record.launch.index] = record.duration_ns / 1e9
        yield from self._alone() if len(self._lanes) == 1 else self._together()

    def _alone(self) -> Iterator[Event]:
        ((name, lane),) = self._lanes.items()
        try:
            while lane.errands:
                for event in self._measured(lane, lane.errands[0]):
                    yield from self._waiting()
                    yield from self._heard(event)
        except FleetError as error:
            yield from self._waiting()
            yield from self._heard(_lost(name, error, lane.cell))

    def _waiting(self) -> Iterator[Event]:
        """Yield what came by the queue meanwhile."""
        while not self._events.empty():
            event = self._events.get()
            assert not isinstance(event, _Broke), "there is no thread that could break"
            yield event

    def _together(self) -> Iterator[Event]:
        for name, lane in self._lanes.items():
            for errand in lane.errands:
                lane.asked.put(errand)
            # A thread that waits for a host is left behind at the end: nobody can take the question back.
            threading.Thread(target=self._serve, args=(name,), name=f"fleet {name}", daemon=True).start()
        try:
            while any(lane.errands for lane in self._lanes.values()):
                event = self._events.get()
                if isinstance(event, _Broke):
                    raise event.error
                yield from self._heard(event)
        finally:
            self._stopped = True
            for lane in self._lanes.values():
                lane.asked.put(None)
                with lane.filing:  # what is being filed is filed whole; nothing is afterwards
                    pass

    def _heard(self, event: Event) -> Iterator[Event]:
        """Take account of what happened, and yield it with what follows from it."""
        if isinstance(event, Finished | Recovered):
            record = event.record
            self._done[event.run_id][record.cell_id, record.launch.index] = record.duration_ns / 1e9
        elif isinstance(event, Ended):
            self._lanes[event.host].errands.popleft()
        yield event
        if isinstance(event, Lost):
            yield from self._moved(event)

    def _moved(self, event: Lost) -> Iterator[Event]:
        """Give what a lost host left to those of its kind: whole rows, each begun anew."""
        lane = self._lanes[event.host]
        self._lost.add(event.host)
        if event.cell is not None:
            self._blamed[event.cell.cell_id] += 1
        left, lane.errands = lane.errands, deque()
        kind = self._crew.kinds[event.host]
        others = [name for name in self._lanes if self._crew.kinds[name] == kind and name not in self._lost]
        for errand in left:
            variants = errand.left()
            if variants and not others:
                yield Unmeasured(event.host, errand.store.run_id, len(variants))
            elif variants:
                yield from self._given(errand, sharing.part(errand.plan, variants, errand.trusted), others)

    def _fatal(self) -> frozenset[str]:
        """Return the cells that took so many hosts down that none is asked for them any more."""
        return frozenset(cell_id for cell_id, times in self._blamed.items() if times >= FATAL)

    def _given(self, errand: Errand, rest: Plan, others: Sequence[str]) -> Iterator[Event]:
        fatal = self._fatal()
        shares = sharing.share(sharing.units(rest), {name: self.left_s(name) for name in others})
        for name, units in shares.items():
            variants = {variant for unit in units for variant in unit.variants}
            if variants:
                plan = sharing.part(rest, variants, errand.trusted)
                made = replace(self._crew.further(errand, name, plan), fatal=fatal)
                self._lanes[name].errands.append(made)
                self._lanes[name].asked.put(made)
                yield Moved(errand.host, name, made.store.run_id, len(variants))

    # --- one host ------------------------------------------------------------------------------------------------

    def _sender(self, name: str, host: Host) -> Sender:
        return Sender(host, self._crew.packing, lambda word: self._crew.told(name, word))

    def _serve(self, name: str) -> None:
        """Have one host do what it is given, one errand after another, in a thread of its own."""
        lane = self._lanes[name]
        try:
            while (errand := lane.asked.get()) is not None:
                for event in self._measured(lane, errand):
                    self._events.put(event)
        except _StoppedError:
            return
        except FleetError as error:
            self._events.put(_lost(name, error, lane.cell))
        except BaseException as error:  # noqa: BLE001 - it is raised where the events are waited for
            self._events.put(_Broke(error))

    def _measured(self, lane: _Lane, errand: Errand) -> Iterator[Event]:
        """Measure what is left of an errand. Raises ``FleetError`` where the host is lost or does not do it."""
        host, store, run_id = lane.host, errand.store, errand.store.run_id
        # What it holds and is not here: the client was ended before the answer came.
        for record_id in errand.missing(host.held(run_id)):
            packed = host.fetch(run_id, record_id)
            with lane.filing:
                self._go_on()
                found = errand.kept(packed)
            yield Recovered(errand.host, run_id, found)
        order = errand.order
        if order.next(store.records()) is not None:
            loads = self._loads(lane, errand)
            host.begin(store.manifest, replace(errand.terms, loads=loads))
            while (step := order.next(store.records())) is not None:
                with lane.filing:
                    self._go_on()
                    store.started(step.cell, step.launch)
                yield Started(errand.host, run_id, step.cell, step.launch)
                settled = errand.settled(step, loads)
                if settled is None:
                    lane.cell = step.cell
                    packed = host.launch(run_id, step)
                    lane.cell = None
                with lane.filing:
                    self._go_on()
                    record = errand.answered(step, packed) if settled is None else errand.noted(step, settled)
                yield Finished(errand.host, run_id, record)
        host.forget(run_id)
        yield Ended(errand.host, run_id)

    def _loads(self, lane: _Lane, errand: Errand) -> dict[str, Load | Failed | Skipped]:
        """Bring the host what it lacks, and return what each variant needs there."""
        loads: dict[str, Load | Failed | Skipped] = {}
        for planned in errand.plan.cells:
            variant = planned.cell.variant_id
            if variant in errand.portables and variant not in loads:
                self._go_on()
                portable = errand.portables[variant]
                if isinstance(portable, Portable):
                    loads[variant] = lane.sender.load(planned.cell.engine, portable)
                else:
                    loads[variant] = portable
        return loads

    def _go_on(self) -> None:
        if self._stopped:
            raise _StoppedError


def _lost(host: str, error: FleetError, cell: Cell | None) -> Lost:
    """Return why nothing more is asked of a host; a cell is to blame at most where the host is gone."""
    return Lost(host, error.message, cell if isinstance(error, HostLostError) else None)
