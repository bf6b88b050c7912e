"""The host's side of a fleet: this machine as a ``Host``, over a folder of its own.

``<state>/``: ``shelf/`` (parcels), ``cache/`` (what is built here), ``runs/`` (run folders as everywhere, written
first), ``logs/`` (what probes and builds printed). How parcels are pointed at:

- the path of a ``Load``'s artifact is relative to its parcel; where the parcel is the artifact itself, a lone file or a
  whole folder, it is the name that the artifact has where it was made (``parcels.entry`` gives either);
- an image of ``Load.items``, and the path of ``Request.calibration``, is the hash of a parcel, or ``HASH/FILE`` for a
  file of one: thousands of images travel best as one parcel.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import codec, host, jobs, machine_lock, registry, runner, survey
from harness.artifacts import Exporters, Workshop, in_child
from harness.cache import Cache
from harness.errors import HarnessError
from harness.fleet import benches
from harness.fleet.contract import About, FleetError
from harness.fleet.lane import Lane, Ledger
from harness.fleet.parcels import entry
from harness.fleet.shelf import Shelf, write_whole
from harness.places import published
from harness.telemetry import sources as telemetry
from harness.vocabulary import Artifact, EngineFacts, Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.artifacts import Request, Route
    from harness.fleet.contract import Chunk, Packed, Parcel, Terms
    from harness.fleet.lane import Stores
    from harness.ports import Step

_Facts = EngineFacts | Failed | Skipped
_RUN_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_TERMS = "terms.json"
_FRESH_S = 300.0  # as long what a probe said is held to be so
_IDLE_S = 60.0  # after that the sensors of a run are let go of, whose client may be gone for good
_LOG_BYTES = 4 << 20


@dataclass(frozen=True)
class Kit:
    """What a host has of its own; left out, it is what this machine has."""

    interpreters: Mapping[str, str] = field(default_factory=dict)  # by engine or exporter name: absolute paths
    engines: frozenset[str] | None = None  # the names that it offers; None: every one that is registered here
    versions: Mapping[str, str] = field(default_factory=dict)  # of what carries the questions: told by ``about``
    fingerprint: Callable[[Mapping[str, str]], Mapping[str, Any]] = host.fingerprint
    cache: Path | None = None  # of what is built here; None: in the state folder
    lock: Path | None = None  # the file of the machine's lock; None: the one that all processes here share
    patience_s: float = 1800.0  # how long a launch waits for another's end
    export_timeout_s: float = 1800.0


class Hosting:
    """One machine, this one. See ``harness.fleet.contract.Host`` for what each method promises."""

    def __init__(self, name: str, state: Path, stores: Stores, kit: Kit | None = None) -> None:
        """Take a name, a folder of its own, and what makes run folders there: the class ``results.store.RunStore``."""
        self._name = name
        self._state = state.absolute()
        self._stores = stores
        self._kit = kit or Kit()
        self._shelf = Shelf(self._state / "shelf")
        self._cache = Cache(self._kit.cache or self._state / "cache")
        self._lock = self._kit.lock or machine_lock.lock_file(os.environ)
        self._turn = threading.RLock()
        self._probed: dict[str, tuple[float, _Facts]] = {}  # when, what
        self._settings: dict[str, runner.Setting] = {}  # by run
        self._ledgers: dict[str, Ledger] = {}
        self._lane: tuple[str, Lane] | None = None
        self._idle: threading.Timer | None = None
        self._descriptors: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the fleet."""
        return self._name

    def close(self) -> None:
        """Let go of the run that was launched last. Safe to call twice, and to go on after it."""
        with self._turn:
            self._stop()

    def about(self) -> About:
        """Say what it is."""
        found = self._kit.fingerprint({"harness": harness.__version__})
        versions = {"python": platform.python_version(), **self._kit.versions}
        return About(self._name, harness.__version__, found["hw_id"], found, versions, telemetry.survey())

    def probe(self, engines: Sequence[str], cpus: Sequence[int] | None) -> Mapping[str, _Facts]:
        """Ask each of the engines, in a process of its own, what it can execute here."""
        offered = self._offered()
        with self._explained(), self._machine("a probe"), self._workshop(cpus) as workshop:
            for name in engines:
                self._probed[name] = (time.monotonic(), self._asked(name, offered.get(name), workshop))
        return {name: self._probed[name][1] for name in engines}

    def overhead(self, job: jobs.OverheadJob, cpus: Sequence[int] | None) -> jobs.OverheadAnswer | Failed | Skipped:
        """Measure what the harness's own loops cost here."""
        with self._explained(), self._machine("the overhead"), self._workshop(cpus) as workshop:
            return in_child("overhead", job, jobs.OverheadAnswer, workshop, "null")

    def _asked(self, name: str, engine: registry.Registered | None, workshop: Workshop) -> _Facts:
        if engine is None:
            hint = "install the distribution that offers it there"
            return Skipped(f"no engine is called {name!r} on {self._name}", hint)
        return survey.probe(engine, workshop, self._kit.interpreters.get(name, workshop.interpreter))

    def lacks(self, parcels: Sequence[Parcel]) -> tuple[str, ...]:
        """Return the SHA-256 of files of these parcels that it does not hold."""
        with self._explained():
            return self._shelf.lacks(parcels)

    def put(self, chunk: Chunk) -> None:
        """Take a piece of a file that ``lacks`` named."""
        with self._explained():
            self._shelf.put(chunk)

    def assemble(self, parcel: Parcel) -> None:
        """Make a parcel of files that it holds."""
        with self._explained():
            self._shelf.assemble(parcel)

    def build(self, source: Artifact, parcel: str, route: Route, request: Request) -> Artifact | Failed | Skipped:
        """Do the steps of a route here, by this machine's own exporters of those names, and keep what comes of it."""
        if not route.steps:
            return source
        with self._explained(), self._machine("a build"), self._workshop() as workshop:
            own = Exporters(interpreters=self._kit.interpreters).here(route)
            if isinstance(own, Skipped):
                return replace(own, reason=f"{self._name}: {own.reason}")
            given = replace(source, path=self._shelf.path_of(parcel, source.path))
            made = workshop.ensure(given, own, self._calibrated(request, parcel))
            if not isinstance(made, Artifact):
                return published(made)
            root = workshop.root(made)
            self._shelf.take(root, made.content_hash)
            return replace(made, path=entry(made.path, root))

    def begin(self, manifest: Mapping[str, Any], terms: Terms) -> None:
        """Make ready for launches of a run; once more with a longer plan or with other terms is fine."""
        with self._explained(), self._turn:
            run_id = self._checked(manifest)
            making = benches.Benches(self._shelf, self._offered())
            setting = self._setting(manifest, terms, making)
            self._stop()
            self._ledgers.pop(run_id, None)
            store = self._stores.adopt(self._state / "runs", manifest)
            try:
                write_whole(store.folder / _TERMS, benches.written(terms).encode())
            finally:
                store.close()
            self._settings[run_id] = setting

    def launch(self, run_id: str, step: Step) -> Packed:
        """Make one launch and return its record with its files; one that is stored already is not made again.

        A ``KeyboardInterrupt`` is stored as such and passed on.
        """
        with self._explained(), self._turn:
            ledger = self._ledger(run_id)
            return ledger.packed(ledger.of(step) or self._launched(run_id, step))

    def held(self, run_id: str) -> tuple[str, ...]:
        """Return the ids of the records that it holds of a run, oldest first; none where it knows no such run."""
        with self._explained(), self._turn:
            return tuple(self._ledger(run_id).records) if self._knows(run_id) else ()

    def fetch(self, run_id: str, record_id: str) -> Packed:
        """Return a record that it holds. Raises ``FleetError`` where it does not."""
        with self._explained(), self._turn:
            return self._ledger(run_id).packed(record_id)

    def forget(self, run_id: str) -> None:
        """Remove what it holds of a run; nothing where it knows no such run."""
        with self._explained(), self._turn:
            if not self._knows(run_id):
                return
            if self._lane is not None and self._lane[0] == run_id:
                self._stop()
            self._ledgers.pop(run_id, None)
            self._settings.pop(run_id, None)
            # First out of sight in one step: half a run must not be found.
            doomed = Path(tempfile.mkdtemp(prefix=".forgotten-", dir=self._state / "runs"))
            self._folder(run_id).rename(doomed / run_id)
            shutil.rmtree(doomed, ignore_errors=True)
            self._shelf.tidy()

    def _offered(self) -> dict[str, registry.Registered]:
        chosen = self._kit.engines
        found = registry.registered(registry.ENGINES_GROUP)
        return {name: entry for name, entry in found.items() if chosen is None or name in chosen}

    def _folder(self, run_id: str) -> Path:
        return self._state / "runs" / run_id

    def _knows(self, run_id: str) -> bool:
        return bool(_RUN_ID.fullmatch(run_id)) and self._folder(run_id).is_dir()

    def _ledger(self, run_id: str) -> Ledger:
        """Return what is held of a run. Raises ``FleetError`` where that is nothing at all."""
        if run_id not in self._ledgers:
            if not self._knows(run_id):
                raise FleetError(f"the run {run_id[:80]!r} was not begun there", "begin it again")
            self._ledgers[run_id] = Ledger(self._stores.open(self._folder(run_id), self._state / "runs"))
        ledger = self._ledgers[run_id]
        ledger.refresh()
        return ledger

    def _launched(self, run_id: str, step: Step) -> str:
        """Make a launch and return the id of its record."""
        lane = self._lane_of(run_id)
        try:
            if (known := lane.ledger.of(step)) is not None:
                return known  # by a process that has let go of the run meanwhile
            bench, step = lane.bench(step.cell), lane.unless_deadly(step)
            if step.settled is not None or not isinstance(bench, runner.Bench):
                return lane.launch(step)  # a word to be filed: nothing is executed
            with self._machine(f"a launch of run {run_id}") as descriptor:
                self._descriptors = (descriptor,)
                return lane.launch(step)
        except BaseException:
            self._stop()
            raise
        finally:
            self._descriptors = ()
            if self._lane is not None:
                self._idle = threading.Timer(_IDLE_S, self._rest, [lane])
                self._idle.daemon = True
                self._idle.start()

    def _lane_of(self, run_id: str) -> Lane:
        """Return the lane of a run, whose idle time ends."""
        if self._idle is not None:
            self._idle.cancel()
        if self._lane is not None and self._lane[0] == run_id:
            return self._lane[1]
        self._stop()
        ledger = self._ledger(run_id)
        if run_id not in self._settings:
            # Begun before this process was: a worker that was started again goes on, if nothing changed meanwhile.
            self._checked(ledger.store.manifest)
            try:
                terms = benches.read((self._folder(run_id) / _TERMS).read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise FleetError(f"the run {run_id} was not begun to its end there", "begin it again") from None
            making = benches.Benches(self._shelf, self._offered())
            self._settings[run_id] = self._setting(ledger.store.manifest, terms, making)
        lane = Lane(ledger, self._settings[run_id])
        ledger.refresh()  # now that nobody else can add to it
        self._lane = (run_id, lane)
        return lane

    def _rest(self, lane: Lane) -> None:
        """End a lane that was not used for a while."""
        with self._turn:
            if self._lane is not None and self._lane[1] is lane and self._idle is threading.current_thread():
                self._stop()

    def _stop(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._lane is not None:
            (_, lane), self._lane = self._lane, None
            lane.close()

    def _setting(self, manifest: Mapping[str, Any], terms: Terms, making: benches.Benches) -> runner.Setting:
        return runner.Setting(
            hw_id=manifest["host"]["hw_id"],
            env_id=manifest["host"]["env_id"],
            benches=making.made(terms),
            limits=terms.limits,
            timeout_s=terms.timeout_s,
            strict=terms.strict,
            interpreters=self._kit.interpreters,
            warm=terms.warm,
            task_places=making.task_places(terms),
            machine=lambda: contextlib.nullcontext(self._descriptors),  # `_launched` has it
        )

    def _checked(self, manifest: Mapping[str, Any]) -> str:
        """Return the id of a run that may be measured here. Raises ``FleetError``."""
        try:
            run_id, version, engines = manifest["run_id"], manifest["harness_version"], manifest["engines"]
            hw_id, stored = manifest["host"]["hw_id"], {n: f for n, f in engines.items() if "version" in f}
        except (KeyError, TypeError, AttributeError) as error:
            raise FleetError("a manifest of no run", "are both sides of the same version?") from error
        if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            raise FleetError(f"{str(run_id)[:80]!r} is no id of a run", "are both sides of the same version?")
        anew = "or run the suite anew"
        if version != harness.__version__:
            message = f"run {run_id} is measured with harness {version}, there is {harness.__version__}"
            raise FleetError(message, f"install that version there, {anew}")
        now = self._kit.fingerprint({"harness": harness.__version__})["hw_id"]
        if now != hw_id:
            message = f"run {run_id} is measured on the hardware {hw_id}, this is {now} now"
            raise FleetError(message, f"give the machine back what was taken from it, {anew}")
        for name, facts in self._facts(tuple(stored)).items():
            found = codec.encode(facts) if isinstance(facts, EngineFacts) else {}
            if (found.get("version"), found.get("versions")) != (stored[name]["version"], stored[name]["versions"]):
                there = found.get("version") or "not available"
                message = f"run {run_id} is measured with {name} {stored[name]['version']}, which is {there} there now"
                raise FleetError(message, f"install what it is measured with, {anew}")
        return run_id

    def _facts(self, engines: Sequence[str]) -> dict[str, _Facts]:
        """Return what the engines said lately, or say now."""
        oldest = time.monotonic() - _FRESH_S
        stale = [name for name in engines if name not in self._probed or self._probed[name][0] < oldest]
        if stale:
            self.probe(stale, None)
        return {name: self._probed[name][1] for name in engines}

    def _calibrated(self, request: Request, parcel: str) -> Request:
        calibration = request.calibration
        if calibration is None:
            return request
        place = calibration.path.as_posix()
        inside = not self._shelf.has(place.partition("/")[0])
        path = self._shelf.path_of(parcel, calibration.path) if inside else self._shelf.referred(place)
        return replace(request, calibration=replace(calibration, path=path))

    @contextlib.contextmanager
    def _machine(self, what: str) -> Iterator[int]:
        with machine_lock.held(self._lock, f"{what} by {self._name}", patience_s=self._kit.patience_s) as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def _workshop(self, cpus: Sequence[int] | None = None) -> Iterator[Workshop]:
        logs = self._state / "logs"
        for log in logs.glob("*.log"):
            if log.stat().st_size > _LOG_BYTES:  # of many probes, one after another
                log.unlink()
        with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
            made = Workshop(self._cache, Path(scratch), logs, self._kit.export_timeout_s)
            yield replace(made, cpus=tuple(cpus)) if cpus else made

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Let whatever goes wrong here name this host."""
        try:
            yield
        except HarnessError as error:
            if error.message.startswith(f"{self._name}: "):
                raise
            raise FleetError(f"{self._name}: {error.message}", error.hint) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message = f"{self._name}: {where}{error.strerror or error}"
            raise FleetError(message, "check the disk of that host") from error
