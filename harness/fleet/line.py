"""A client's connection to the scheduler of a fleet: who is there, and one question to one host over Dask."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from distributed import Client, KilledWorker
from distributed.client import ClosedClientError

from harness.errors import HarnessError
from harness.fleet import settings
from harness.fleet.contract import FleetError
from harness.fleet.questions import perform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from harness.fleet.config import Address

T = TypeVar("T")

_FIRST_LOOK_S, _LOOK_S = 0.5, 5.0  # how long until it is looked whether a host that is asked is there still


@dataclass(frozen=True)
class Seen:
    """A host as the scheduler knows it; nothing of it was asked."""

    name: str
    address: str
    card: Mapping[str, Any]  # versions, machine, engines, devices: as its worker said when it registered
    held: tuple[str, ...] = ()  # ids of the runs that it holds, as of its last word to the scheduler
    busy: bool = False  # a question is being answered or waits


class AwayError(Exception):
    """The scheduler or a host cannot be reached now; the message says which, and why."""


class NoSchedulerError(AwayError):
    """The scheduler cannot be reached now: nothing is known of the hosts."""


class SilentError(NoSchedulerError):
    """The scheduler does not answer, on a connection that is not known to be broken."""


class Line:
    """A connection that is made anew where it broke. To be used in one event loop."""

    def __init__(self, scheduler: Address, security: Any) -> None:
        """Take where the scheduler is and what ``settings.security`` returned; nothing is connected yet."""
        self._scheduler, self._security = scheduler, security
        self._client: Any = None
        self._making, self._looking = asyncio.Lock(), asyncio.Lock()
        self._view: tuple[Seen, ...] = ()
        self._viewed = -math.inf

    async def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(Exception):
                await asyncio.wait_for(client.close(), settings.CONNECT_S)

    async def seen(self, *, busy: bool = False) -> tuple[Seen, ...]:
        """Return every host by name; whether it is ``busy`` is looked up where that is asked for.

        Raises ``AwayError``, and ``FleetError`` for a scheduler of another version or certificates that do not fit.
        """
        client = await self._connected()
        told = await self._told(client.scheduler.identity(n_workers=-1))
        settings.check_versions(f"the scheduler {self._scheduler}", told.get(settings.CARD))
        asked = await self._told(client.scheduler.processing(workers=None)) if busy else {}
        found = [
            Seen(
                str(worker["name"]),
                address,
                worker.get(settings.CARD) or {},
                tuple(worker["metrics"].get(settings.HELD, ())),
                bool(asked.get(address)),
            )
            for address, worker in told["workers"].items()
        ]
        self._view = tuple(sorted(found, key=lambda seen: seen.name))
        self._viewed = time.monotonic()
        return self._view

    async def host(self, name: str, *, age_s: float = math.inf) -> Seen:
        """Return one host, as it was seen no longer than ``age_s`` ago: a fleet is not looked at for each question.

        Raises what ``seen`` raises, and ``AwayError`` where it is not there.
        """
        async with self._looking:
            view = self._view if time.monotonic() - self._viewed < age_s else await self.seen()
        for seen in view:
            if seen.name == name:
                return seen
        self._viewed = -math.inf
        raise AwayError("the scheduler does not know it now")

    async def perform(self, seen: Seen, method: str, arguments: bytes, patience_s: float) -> bytes:
        """Ask a host and wait for its answer, however long that takes.

        Raises ``AwayError`` where the host, the scheduler or the connection is lost meanwhile, or silent for longer
        than ``patience_s``.
        """
        try:
            # Whatever it raises, the next look must not be at what was seen before.
            client = await self._connected()
            return await self._performed(client, seen, method, arguments, patience_s)
        except KilledWorker as error:
            self._viewed = -math.inf
            raise AwayError("it was lost while it answered") from error
        except (CancelledError, ClosedClientError, OSError) as error:
            self._viewed = -math.inf
            raise NoSchedulerError("the connection to the scheduler was lost") from error
        except (AwayError, HarnessError):
            self._viewed = -math.inf
            raise
        except Exception as error:
            hint = "what `harness fleet scheduler` and `harness fleet worker` printed says where"
            raise FleetError(f"{seen.name}: {type(error).__name__}: {error}", hint) from error

    async def _performed(self, client: Any, seen: Seen, method: str, arguments: bytes, patience_s: float) -> bytes:
        future = client.submit(
            perform,
            method,
            arguments,
            workers=[seen.address],
            allow_other_workers=False,
            retries=0,
            pure=False,
            resources={settings.LANE: 1},
        )
        reply = asyncio.ensure_future(_result(future))
        try:
            heard, look_s = time.monotonic(), _FIRST_LOOK_S
            while not (await asyncio.wait({reply}, timeout=look_s))[0]:
                heard = await self._looked(seen, heard, patience_s)
                look_s = min(2 * look_s, _LOOK_S)
            return reply.result()
        finally:
            reply.cancel()
            future.release()

    async def _looked(self, seen: Seen, heard: float, patience_s: float) -> float:
        """Return when the host was heard of last. Raises ``AwayError`` where it is not there any more.

        A cut that the connection outlives is silence for a while: the answer comes after it.
        """
        try:
            now = await self.host(seen.name, age_s=_FIRST_LOOK_S)
        except SilentError:
            if time.monotonic() - heard > patience_s:
                raise
            return heard
        if now.address != seen.address:
            raise AwayError("it connected anew while it answered")
        return time.monotonic()

    async def _connected(self) -> Any:
        async with self._making:
            if self._client is not None:
                if self._client.status == "running":
                    return self._client
                if self._client.status != "closed":  # Dask tries by itself for a while
                    raise NoSchedulerError("the connection to the scheduler was lost")
                self._client = None
            try:
                self._client = await Client(
                    str(self._scheduler),
                    asynchronous=True,
                    security=self._security,
                    timeout=settings.CONNECT_S,
                    set_as_default=False,
                    direct_to_workers=False,
                )
            except (OSError, *settings.BROKEN) as error:
                raise self._explained(error) from error
            return self._client

    async def _told(self, question: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(question, settings.CONNECT_S)
        except TimeoutError as error:
            raise SilentError("the scheduler does not answer") from error
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        refused = settings.refusal(error)
        if refused is not None:
            return FleetError(f"{self._scheduler}: the certificates do not fit: {refused}", settings.TRUST_HINT)
        return NoSchedulerError(f"the scheduler cannot be reached: {str(error) or type(error).__name__}")


async def _result(future: Any) -> bytes:
    found: bytes = await future
    return found
