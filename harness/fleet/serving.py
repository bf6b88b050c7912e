"""The two processes that a client of a fleet speaks to: the scheduler, and the worker that is a host.

A worker's questions are answered in its main thread, one after another, as a local run makes its launches: an
interrupt reaches whoever waits for a child there. Dask has a thread of its own, comes and goes with its connection,
and what is being answered goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, Worker, rpc

from harness.fleet import settings
from harness.fleet.config import Address, check_encrypted, check_name
from harness.fleet.contract import FleetError, Host
from harness.fleet.questions import answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.fleet.config import Tls

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_CLOSE_S = 5.0


@dataclass(frozen=True)
class Station:
    """What a worker is to the fleet."""

    name: str
    scheduler: Address
    folder: Path  # an existing one, for what Dask writes
    tls: Tls | None = None
    devices: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)  # plain data that `harness fleet status` shows
    listen: Address | None = None  # where the scheduler reaches it; None: a free port of the way to the scheduler
    held: Callable[[], Sequence[str]] = tuple  # ids of the runs whose records are here


def serve_scheduler(listen: Address, tls: Tls | None, told: Callable[[str], None]) -> None:
    """Run a scheduler until SIGINT or SIGTERM; ``told`` is called with its address once it listens.

    Port 0 takes a free one. Raises ``HarnessError`` where it cannot listen there, or may not.
    """
    check_encrypted(listen, tls)
    settings.apply()
    asyncio.run(_schedule(listen, settings.security(tls), told))


def serve_worker(host: Host, station: Station, told: Callable[[str], None]) -> None:
    """Answer a fleet's questions to ``host`` until SIGINT or SIGTERM, which end a running launch first.

    Call it in the main thread. Where the scheduler is gone it says so by ``told`` and tries again, with growing waits.
    Raises ``HarnessError`` where the scheduler refuses it from the start: a taken name, another version, a
    certificate of another authority.
    """
    check_encrypted(station.scheduler, station.tls)
    check_name(station.name)
    if station.listen is not None:
        check_encrypted(station.listen, station.tls)
    settings.apply()
    desk = _Desk()
    line = _Line(station, settings.security(station.tls), desk, told)
    with answering(host), _termination_as_interrupt():
        try:
            line.begin()
            desk.serve()
        except KeyboardInterrupt:
            told(f"{station.name} ends")
        finally:
            line.end()


class _Scheduler(Scheduler):  # type: ignore[misc]  # without types where the checker does not look into distributed
    """Dask's, without its web server, which knows no certificates; it says which harness it is of."""

    def start_http_server(self, *_arguments: object, **_options: object) -> None:
        """Start none."""

    def identity(self, n_workers: int = -1) -> dict[str, Any]:
        """Return what Dask says of itself and its workers, and the versions."""
        return {**super().identity(n_workers), settings.CARD: settings.versions()}


class _Worker(Worker):  # type: ignore[misc]  # as above
    """Dask's, without its web server and with less that wakes beside a measured process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in ("find-missing", "shift_counters"):  # of results that workers fetch from each other; of a dashboard
            self.periodic_callbacks.pop(name)

    def start_http_server(self, *_arguments: object, **_options: object) -> None:
        """Start none."""

    async def heartbeat(self) -> None:
        """Tell the scheduler that it is there, less often than the scheduler proposes."""
        await super().heartbeat()
        self.periodic_callbacks["heartbeat"].callback_time = settings.HEARTBEAT_S * 1000


class _Desk(Executor):
    """An executor whose work is done by the thread that called ``serve``, one piece after another."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | BaseException] = queue.SimpleQueue()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Put a call at the end of the queue."""
        done: Future[Any] = Future()
        self._waiting.put((done, partial(call, *arguments, **options)))
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the protocol
        """Do nothing: Dask's workers come and go with their connection, the desk stays."""

    def forget(self) -> None:
        """Drop what was asked over a connection that is gone, but for what is being done."""
        with suppress(queue.Empty):
            while True:
                entry = self._waiting.get_nowait()
                if isinstance(entry, BaseException):
                    self._waiting.put(entry)
                    return
                entry[0].cancel()

    def close(self, error: BaseException) -> None:
        """Have ``serve`` raise."""
        self._waiting.put(error)

    def serve(self) -> None:
        """Do what is asked until something is raised here: an interrupt, or what ``close`` was given."""
        while True:
            entry = self._waiting.get()
            if isinstance(entry, BaseException):
                raise entry
            done, call = entry
            if not done.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - Dask is to know
                done.set_exception(error)
            else:
                done.set_result(result)


class _AwayError(Exception):
    """The scheduler cannot be reached now."""


class _Line:
    """The connection of a worker to its scheduler, kept up by a thread."""

    def __init__(self, station: Station, security: Any, desk: _Desk, told: Callable[[str], None]) -> None:
        self._station, self._security, self._desk, self._told = station, security, desk, told
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def begin(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()
        self._begun.wait()

    def end(self) -> None:
        """Close the connection."""
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(2 * _CLOSE_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._stay())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - the thread that serves raises it
            self._desk.close(error)
        finally:
            self._begun.set()

    async def _stay(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        scheduler, name = self._station.scheduler, self._station.name
        known, wait_s, said = False, _FIRST_WAIT_S, ""
        while True:
            try:
                worker = await self._registered()
            except (_AwayError, FleetError) as error:
                if isinstance(error, FleetError) and not known:
                    raise
                why = error.message if isinstance(error, FleetError) else str(error)
                if why != said:
                    self._told(f"{scheduler} cannot be reached: {why}; {name} goes on trying")
                said = why
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            known, wait_s, said = True, _FIRST_WAIT_S, ""
            self._told(f"{name} is registered at {scheduler}")
            try:
                await worker.finished()
            finally:
                await _closed(worker)
            self._told(f"the connection to {scheduler} is gone; a launch that is running goes on")
            self._desk.forget()

    async def _registered(self) -> Any:
        """Return a worker that the scheduler knows. Raises ``_AwayError``, or ``FleetError`` where it refuses."""
        station = self._station
        taken = f"{station.scheduler} has a host called {station.name} already"
        hint = (
            "give this one another by --name; if it is the same machine, the scheduler forgets a silent one "
            f"after {settings.WORKER_TTL_S} s"
        )
        with self._reached():
            if station.name in await self._names():
                raise FleetError(taken, hint)
            worker = self._made()
            try:
                await worker
            except Exception as error:
                await _closed(worker)
                if "name taken" in str(error.__cause__):
                    raise FleetError(taken, hint) from error
                if isinstance(error, OSError):
                    raise
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from None
                what = f"{type(error).__name__}: {error.__cause__ or error}"
                raise FleetError(f"{station.scheduler} did not take this host: {what}", "see the scheduler") from error
        return worker

    @contextmanager
    def _reached(self) -> Iterator[None]:
        scheduler = self._station.scheduler
        try:
            yield
        except (OSError, TimeoutError, *settings.BROKEN) as error:
            if (refused := settings.refusal(error)) is not None:
                raise FleetError(f"{scheduler}: the certificates do not fit: {refused}", settings.TRUST_HINT) from error
            raise _AwayError(str(error) or type(error).__name__) from error

    async def _names(self) -> set[str]:
        """Return the names of the scheduler's hosts. Raises ``FleetError`` where it is of another version."""
        scheduler = rpc(str(self._station.scheduler), connection_args=self._security.get_connection_args("worker"))
        try:
            told = await asyncio.wait_for(scheduler.identity(), 2 * settings.CONNECT_S)
        finally:
            await scheduler.close_rpc()
        settings.check_versions(f"the scheduler {self._station.scheduler}", told.get(settings.CARD))
        return {str(worker["name"]) for worker in told["workers"].values()}

    def _made(self) -> _Worker:
        station = self._station
        listen = station.listen
        if listen is None:
            host = _bracketed(station.scheduler.host) if station.scheduler.loopback else None
            # Nobody off this machine is to reach what needs no certificate.
            listen_on: dict[str, Any] = {"host": "127.0.0.1" if host == "localhost" else host}
        else:
            listen_on = {"host": _bracketed(listen.host), "port": listen.port}
        card = {**settings.versions(), **station.card, "devices": list(station.devices)}
        return _Worker(
            str(station.scheduler),
            name=station.name,
            nthreads=1,
            resources={settings.LANE: 1, **dict.fromkeys(station.devices, 1)},
            executor=self._desk,
            security=self._security,
            protocol=station.scheduler.scheme,
            local_directory=str(station.folder),
            memory_limit=0,
            heartbeat_interval=f"{settings.HEARTBEAT_S}s",
            death_timeout=f"{2 * settings.CONNECT_S}s",
            startup_information={settings.CARD: lambda _worker: card},
            metrics={settings.HELD: lambda _worker: list(station.held())},
            dashboard=False,
            **listen_on,
        )


async def _schedule(listen: Address, security: Any, told: Callable[[str], None]) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        scheduler = await _Scheduler(
            host=_bracketed(listen.host),
            port=listen.port,
            protocol=listen.scheme,
            security=security,
            dashboard=False,
        )
    except (OSError, RuntimeError) as error:
        cause = error.__cause__ or error
        reason = getattr(cause, "strerror", None) or str(cause)
        raise FleetError(f"{listen}: cannot listen there: {reason}", "choose another --port or --host") from error
    told(f"the scheduler listens at {Address(listen.scheme, listen.host, scheduler.port)}")
    try:
        await ended.wait()
    finally:
        told("the scheduler ends")
        await scheduler.close(reason="ended")


async def _closed(worker: Any) -> None:
    """Close a worker, whose connection may be dead, in bounded time."""
    with suppress(Exception):
        await asyncio.wait_for(worker.close(timeout=_CLOSE_S / 2, executor_wait=False, nanny=False), _CLOSE_S)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
