"""A fleet over Dask distributed: its hosts asked one question at a time, whatever the connection does meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from harness.fleet import settings
from harness.fleet.config import check_encrypted
from harness.fleet.contract import FleetError, HostLostError, UnreachableError
from harness.fleet.line import AwayError, Line, NoSchedulerError, Seen
from harness.fleet.questions import answer, question

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from harness.artifacts import Request, Route
    from harness.fleet.config import FleetFile
    from harness.fleet.contract import About, Chunk, Packed, Parcel, Terms
    from harness.jobs import OverheadAnswer, OverheadJob
    from harness.ports import Step
    from harness.vocabulary import Artifact, EngineFacts, Failed, Skipped

T = TypeVar("T")

GRACE_S = 15.0
"""How long a host that the fleet file names may take to come back before it counts as absent: its longest wait."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_ATTEMPTS = 8  # a question that a host is lost in so often is what loses it
_RESUME_HINT = "`harness run --resume` goes on once it is back; `patience:` in the fleet file says how long to wait"


class DaskFleet:
    """The hosts that are registered at a scheduler. Its methods and its hosts' may be called by any thread."""

    def __init__(
        self, fleet: FleetFile, told: Callable[[str], None] = lambda _word: None, *, grace_s: float = GRACE_S
    ) -> None:
        """Take a fleet file that names a scheduler; ``told`` is called with a word where something is waited for.

        Raises ``HarnessError`` for a connection without TLS off this machine, and for certificates of no use. The
        scheduler is connected to by the first question.
        """
        if fleet.scheduler is None:
            raise FleetError("this fleet has no scheduler", "`scheduler: local` is this machine alone")
        check_encrypted(fleet.scheduler, fleet.tls)
        settings.apply()
        security = settings.security(fleet.tls)
        self._fleet, self._told, self._grace_s = fleet, told, grace_s
        self._line = Line(fleet.scheduler, security)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def hosts(self) -> Sequence[RemoteHost]:
        """Return the hosts that can be reached now, by name; where the fleet file names some, those and no others.

        Raises ``FleetError`` for a scheduler that cannot be reached, a host that is named and absent, and one whose
        version is another.
        """
        found = {seen.name: seen for seen in self._now(self._expected())}
        named = self._fleet.hosts or sorted(found)
        for name in named:
            settings.check_versions(f"the host {name}", found[name].card)
        return tuple(RemoteHost(self, name) for name in named)

    def seen(self) -> tuple[Seen, ...]:
        """Return what the scheduler says of its hosts, by name. Raises ``FleetError`` where it cannot be reached."""
        return self._now(self._line.seen(busy=True))

    def close(self) -> None:
        """Let go of the connection; safe to call twice. What is being asked is given up."""
        if self._loop.is_closed():
            return
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result(2 * settings.CONNECT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(settings.CONNECT_S)
        if not self._loop.is_running():
            self._loop.close()

    def ask(self, host: str, method: str, arguments: tuple[Any, ...]) -> Any:
        """Return a host's answer to a question of the contract; it is asked again where a connection was lost.

        Raises ``HostLostError`` once the fleet's patience ends, ``UnreachableError`` where it ends with the scheduler.
        """
        reply = self._done(self._answered(host, method, question(arguments)))
        return answer(host, reply)

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise FleetError("the connection to the fleet was closed", "this is a defect of the harness")
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except CancelledError:
            raise FleetError("the connection to the fleet was closed", "what was asked is given up") from None
        except KeyboardInterrupt:
            waiting.cancel()
            raise

    def _now(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of asking the scheduler, which nothing is waited for here."""
        try:
            return self._done(work)
        except AwayError as error:
            hint = "start it by `harness fleet scheduler`, and check `scheduler:` of the fleet file"
            raise FleetError(f"{self._fleet.scheduler}: {error}", hint) from error

    async def _expected(self) -> tuple[Seen, ...]:
        """Return the hosts once every one that the fleet file names is there."""
        deadline = time.monotonic() + self._grace_s
        while True:
            found = await self._line.seen()
            absent = [name for name in self._fleet.hosts if name not in {seen.name for seen in found}]
            if not absent:
                return found
            if time.monotonic() > deadline:
                there = ", ".join(seen.name for seen in found) or "none"
                hint = f"start `harness fleet worker` there, or take it out of `hosts:`; there are: {there}"
                raise FleetError(f"the fleet lacks {', '.join(absent)}", hint)
            await asyncio.sleep(_LONGEST_WAIT_S / 4)

    async def _answered(self, host: str, method: str, arguments: bytes) -> bytes:
        async with self._locks[host]:
            patience = _Patience(host, self._fleet.patience_s, self._told)
            while True:
                try:
                    seen = await self._line.host(host)
                    settings.check_versions(f"the host {host}", seen.card)
                    patience.found()
                    return await self._line.perform(seen, method, arguments, self._fleet.patience_s)
                except AwayError as away:
                    await patience.wait(away)

    async def _ended(self) -> None:
        # What Dask still waits for is of no interest any more: a timeout that nobody reads is no error.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await self._line.close()
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=settings.CONNECT_S) if others else None


@dataclass(frozen=True)
class RemoteHost:
    """One machine of a fleet. See ``harness.fleet.contract.Host`` for what each method promises."""

    fleet: DaskFleet = field(repr=False)
    name: str

    def about(self) -> About:
        """Say what it is."""
        found: About = self._ask("about")
        return found

    def probe(self, engines: Sequence[str], cpus: Sequence[int] | None) -> Mapping[str, EngineFacts | Failed | Skipped]:
        """Ask each of the engines what it can execute there."""
        found: Mapping[str, EngineFacts | Failed | Skipped] = self._ask("probe", tuple(engines), cpus)
        return found

    def overhead(self, job: OverheadJob, cpus: Sequence[int] | None) -> OverheadAnswer | Failed | Skipped:
        """Measure what the loops of the harness cost there."""
        found: OverheadAnswer | Failed | Skipped = self._ask("overhead", job, cpus)
        return found

    def lacks(self, parcels: Sequence[Parcel]) -> tuple[str, ...]:
        """Return the SHA-256 of files of these parcels that it does not hold."""
        found: tuple[str, ...] = self._ask("lacks", tuple(parcels))
        return found

    def put(self, chunk: Chunk) -> None:
        """Give it a piece of a file."""
        self._ask("put", chunk)

    def assemble(self, parcel: Parcel) -> None:
        """Have it make a parcel's folder."""
        self._ask("assemble", parcel)

    def build(self, source: Artifact, parcel: str, route: Route, request: Request) -> Artifact | Failed | Skipped:
        """Have it do the steps of a route."""
        found: Artifact | Failed | Skipped = self._ask("build", source, parcel, route, request)
        return found

    def begin(self, manifest: Mapping[str, Any], terms: Terms) -> None:
        """Have it make ready for launches of a run."""
        self._ask("begin", manifest, terms)

    def launch(self, run_id: str, step: Step) -> Packed:
        """Have it make one launch, and return its record."""
        found: Packed = self._ask("launch", run_id, step)
        return found

    def held(self, run_id: str) -> tuple[str, ...]:
        """Return the ids of the records that it holds of a run."""
        found: tuple[str, ...] = self._ask("held", run_id)
        return found

    def fetch(self, run_id: str, record_id: str) -> Packed:
        """Return a record that it holds."""
        found: Packed = self._ask("fetch", run_id, record_id)
        return found

    def forget(self, run_id: str) -> None:
        """Have it remove what it holds of a run."""
        self._ask("forget", run_id)

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self.fleet.ask(self.name, method, arguments)


class _Patience:
    """How long a host was lost while it was asked a question, and how often."""

    def __init__(self, host: str, patience_s: float, told: Callable[[str], None]) -> None:
        self._host, self._patience_s, self._told = host, patience_s, told
        self._since: float | None = None
        self._lost = 0
        self._wait_s = _FIRST_WAIT_S

    def found(self) -> None:
        """Begin anew: it is there, and is asked."""
        if self._since is not None:
            self._told(f"{self._host} is back")
        self._since, self._wait_s = None, _FIRST_WAIT_S
        self._lost += 1

    async def wait(self, away: AwayError) -> None:
        """Wait a little.

        Raises ``HostLostError`` where it was lost for too long, or too often; ``UnreachableError`` where what was lost
        for too long is the scheduler: the other hosts are away then as well, and none could take over.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._told(f"{self._host}: {away}; waiting for it up to {self._patience_s:g} s")
        if self._lost >= _ATTEMPTS:
            self._give_up(f"it was lost {self._lost} times in one question, the last time because: {away}")
        left_s = self._since + self._patience_s - now
        if left_s <= 0 and isinstance(away, NoSchedulerError):
            raise UnreachableError(f"{away}; it was waited for {self._patience_s:g} s", _RESUME_HINT)
        if left_s <= 0:
            self._give_up(f"{away}; it was waited for {self._patience_s:g} s")
        await asyncio.sleep(min(self._wait_s, left_s))
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _give_up(self, why: str) -> NoReturn:
        raise HostLostError(f"the host {self._host} is lost: {why}", _RESUME_HINT)
