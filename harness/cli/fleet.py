"""``harness fleet``: many machines that measure one suite, one launch at a time on each."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import harness
from harness import registry
from harness.cli.console import as_json, errors, explain, out, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError
from harness.fleet import config
from harness.settings import did_you_mean
from harness.vocabulary import EngineFacts, Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.fleet.line import Seen

app = typer.Typer(help="Run a suite on many machines: certificates, scheduler, hosts.", no_args_is_help=True)

_EVERYWHERE, _HERE = "0.0.0.0", "127.0.0.1"  # noqa: S104 - only with certificates, which is checked
Tls = Annotated[
    Path | None,
    typer.Option("--tls", metavar="FOLDER", help="Folder with ca.pem, certificate.pem and key.pem of this end."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where certificates and keys are kept.")],
    *,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME", help="A host of the fleet, by its name. Repeatable.")
    ] = None,
    scheduler: Annotated[
        list[str] | None,
        typer.Option(
            "--scheduler",
            metavar="NAME",
            help="Host name or IP address that the scheduler is reached by; this machine's where absent. Repeatable.",
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", help="How long certificates are valid.")] = 825,
    replace: Annotated[bool, typer.Option("--replace", help="Make what is named anew where it exists.")] = False,
    json: Json = False,
) -> None:
    """Make a certificate authority, and a folder of certificate and key for each end; later, add hosts.

    Whoever holds one of the certificates can run code on every machine of the fleet.
    """
    config.check_installed()
    from harness.fleet import certificates

    names = scheduler or ([] if (folder / certificates.SCHEDULER).exists() else [platform.node() or "localhost"])
    made = certificates.init(folder, certificates.Asked(names, host or (), days, replace))
    if json:
        as_json({"made": [str(place) for place in made]})
        return
    for place in made:
        say(f"made {place}")
    say("copy each host's folder, and the scheduler's, to its machine; whoever holds one can run code in the fleet")


@app.command("scheduler")
def scheduler(
    *,
    tls: Tls = None,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="IP address to listen at: all with --tls, else 127.0.0.1."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = config.PORT,
) -> None:
    """Run the scheduler, which the hosts and the client of a fleet connect to, until it is ended."""
    config.check_installed()
    from harness.fleet.serving import serve_scheduler

    files = _files(tls)
    listen = config.Address("tls" if files else "tcp", host or (_EVERYWHERE if files else _HERE), port)
    serve_scheduler(listen, files, say)


@app.command("worker")
def worker(
    scheduler: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="Its address: tls://lab:8786, or tcp://127.0.0.1:8786.")
    ],
    *,
    tls: Tls = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Its name in the fleet, published; that of the machine where absent.")
    ] = None,
    state: Annotated[
        Path, typer.Option("--state", metavar="FOLDER", help="Folder for records, models and inputs; one per worker.")
    ] = Path("fleet-state"),
    interpreter: Annotated[
        list[str] | None,
        typer.Option(
            "--interpreter", metavar="ENGINE=PYTHON", help="Python of an engine's own environment. Repeatable."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", metavar="ENGINE", help="Offer these alone; all where absent. Repeatable."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST[:PORT]", help="Where the scheduler reaches this host; any free port."),
    ] = None,
) -> None:
    """Make this machine a host of a fleet, until it is ended: it measures what a client asks for, one at a time."""
    config.check_installed()
    from harness.fleet.hosting import Hosting, Kit
    from harness.fleet.serving import Station, serve_worker
    from results.sources import machine_label
    from results.store import RunStore

    where, files = config.address(scheduler), _files(tls)
    config.check_encrypted(where, files)
    called = name or config.safe_name(platform.node())
    config.check_name(called)
    offered = _offered(engine)
    kit = Kit(
        interpreters=_interpreters(interpreter or ()),
        engines=frozenset(offered) if engine else None,
        versions={"distributed": metadata.version("distributed")},
    )
    with _own(state):
        hosting = Hosting(called, state, RunStore, kit)
        try:
            about = hosting.about()
            found = _probed(hosting, offered)
            card = {
                "machine": machine_label(about.fingerprint["hardware"], memory=True),
                "hw_id": about.hw_id,
                "engines": {engine: _told(facts) for engine, facts in found.items()},
            }
            station = Station(
                name=called,
                scheduler=where,
                folder=state / "dask",
                tls=files,
                devices=_devices(found),
                card=card,
                listen=_listening(listen, where.scheme) if listen else None,
                held=lambda: _held(state),
            )
            serve_worker(hosting, station, _note)
        finally:
            hosting.close()


@app.command("status")
def status(
    *,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The fleet file.")] = Path("fleet.yaml"),
    json: Json = False,
) -> int:
    """List the hosts of a fleet: machine, engines, devices, version, the runs whose records they hold."""
    said = config.load(fleet)
    if said.scheduler is None:
        raise HarnessError("this fleet is this machine alone", "`harness doctor` says what it can measure")
    config.check_installed()
    from harness.fleet.dask_fleet import DaskFleet

    with DaskFleet(said) as connected:
        seen = connected.seen()
    problems = _problems(seen, said.hosts)
    if json:
        as_json({"scheduler": str(said.scheduler), "hosts": [_facts(host) for host in seen], "problems": problems})
    else:
        _show(seen)
        for problem in problems:
            explain(f"problem: {problem}")
    return ExitCode.USAGE if problems else ExitCode.OK


def _files(folder: Path | None) -> config.Tls | None:
    if folder is None:
        return None
    from harness.fleet import certificates

    return certificates.of_folder(folder)


def _listening(text: str, scheme: str) -> config.Address:
    found = config.address(f"{scheme}://{text}")
    # A port that is not given is any free one, not the scheduler's.
    return found if text.endswith(f":{found.port}") else config.Address(found.scheme, found.host, 0)


def _offered(chosen: Sequence[str] | None) -> tuple[str, ...]:
    if chosen:
        return tuple(registry.named(registry.ENGINES_GROUP, name).name for name in dict.fromkeys(chosen))
    return tuple(registry.registered(registry.ENGINES_GROUP))


def _interpreters(given: Sequence[str]) -> dict[str, str]:
    known = (*registry.registered(registry.ENGINES_GROUP), *registry.registered(registry.EXPORTERS_GROUP))
    found = {}
    for assignment in given:
        name, equals, python = assignment.partition("=")
        if not equals or not python:
            raise HarnessError(f"--interpreter {assignment!r} is not of the form ENGINE=PYTHON", "tensorrt=/opt/py")
        if name not in known:
            message = f"--interpreter: no engine or exporter is called {name[:80]!r}{did_you_mean(name, known)}"
            raise HarnessError(message, f"known here: {', '.join(known)}")
        # Not resolved: a virtual environment's python is a link, and following it would leave the environment.
        place = Path(python).expanduser().absolute()
        if not os.access(place, os.X_OK):
            raise HarnessError(f"--interpreter {name}: {python} cannot be executed", "give the path of a Python")
        found[name] = str(place)
    return found


@contextlib.contextmanager
def _own(state: Path) -> Iterator[None]:
    """Hold a state folder, so that no other worker writes to it. Raises ``HarnessError`` where one does."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)  # the client's models and images come there
    with (state / "worker.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HarnessError(f"another worker uses {state}", "give this one a folder of its own: --state") from None
        yield


def _probed(hosting: Any, names: Sequence[str]) -> dict[str, EngineFacts | Failed | Skipped]:
    found: dict[str, EngineFacts | Failed | Skipped] = {}
    for name in names:
        _note(f"probing {name}")
        found |= hosting.probe([name], None)
    return found


def _told(facts: EngineFacts | Failed | Skipped) -> dict[str, Any]:
    if isinstance(facts, EngineFacts):
        return {"version": facts.version, "devices": [device.name for device in facts.devices]}
    return {"missing": facts.message if isinstance(facts, Failed) else facts.reason}


def _devices(found: Mapping[str, EngineFacts | Failed | Skipped]) -> tuple[str, ...]:
    named = [device.name for facts in found.values() if isinstance(facts, EngineFacts) for device in facts.devices]
    return tuple(sorted(set(named)))


def _held(state: Path) -> list[str]:
    """Return the ids of the runs whose records a host holds."""
    return sorted(folder.name for folder in (state / "runs").glob("[0-9A-Z]*"))


def _problems(seen: Sequence[Seen], expected: Sequence[str]) -> list[str]:
    """Return what a run on this fleet would be refused for."""
    from harness.fleet import settings

    found = [f"{name} is named in the fleet file and is not there" for name in expected]
    found = [text for text, name in zip(found, expected, strict=True) if name not in {host.name for host in seen}]
    for host in seen:
        try:
            settings.check_versions(f"the host {host.name}", host.card)
        except HarnessError as error:
            found.append(error.message)
    return found


def _facts(host: Seen) -> dict[str, Any]:
    return {"name": host.name, "busy": host.busy, "runs": list(host.held), **host.card}


def _show(seen: Sequence[Seen]) -> None:
    if not seen:
        say("no hosts: start `harness fleet worker` on each machine")
        return
    table = Table(box=None, pad_edge=False)
    for head in ("host", "state", "machine", "devices", "engines", "harness", "runs"):
        table.add_column(head)
    for host in seen:
        engines = {name: facts for name, facts in host.card.get("engines", {}).items() if "version" in facts}
        table.add_row(
            host.name,
            "busy" if host.busy else "free",
            Text(str(host.card.get("machine", "?"))),
            Text(", ".join(host.card.get("devices", ()))),
            Text(", ".join(f"{name} {facts['version']}" for name, facts in engines.items())),
            Text(str(host.card.get("harness", "?"))),
            str(len(host.held)),
        )
    out.print(table)
    say(f"harness {harness.__version__} here")


def _note(word: str) -> None:
    errors.print(word, markup=False, highlight=False)
