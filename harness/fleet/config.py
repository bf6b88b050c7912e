"""``fleet.yaml``: where the scheduler of a fleet is, who may speak to it, and how long a lost host is waited for."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from harness.errors import HarnessError
from harness.suite import explained
from harness.suite_values import Listed, PlainPath, SuiteModel, Word
from harness.suite_yaml import FileKind, Problem, describe, read, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FLEET_FILE = FileKind("fleet file", "`harness fleet init FOLDER` writes one that is valid")
LOCAL = "local"
"""As ``scheduler``: this machine alone, without a scheduler."""
PORT = 8786
"""Where a scheduler listens unless it is said otherwise: Dask's usual port."""

_TCP, _TLS = "tcp", "tls"
_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PATIENCE = r"^[1-9][0-9]{0,5}(s|m|h)$"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_INIT_HINT = "`harness fleet init FOLDER` makes a certificate authority, certificates and keys"

HostName = Annotated[str, Field(pattern=f"^{_NAME}$")]


@dataclass(frozen=True)
class Address:
    """Where a scheduler listens."""

    scheme: str  # tcp or tls
    host: str  # a name or an IP address, the latter without brackets
    port: int = PORT

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.scheme == _TLS

    @property
    def loopback(self) -> bool:
        """Whether it is of this machine alone, as its text says: no name is looked up."""
        return is_loopback(self.host)


@dataclass(frozen=True)
class Tls:
    """The files by which one end of a connection knows the other, and is known by it."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class FleetFile:
    """What a fleet file says, with absolute paths."""

    scheduler: Address | None  # None: this machine alone
    tls: Tls | None = None
    patience_s: float = 120.0
    hosts: tuple[str, ...] = ()  # the machines to run on, all of them expected; none: whatever hosts there are

    @property
    def local(self) -> bool:
        """Whether the fleet is this machine alone."""
        return self.scheduler is None


class TlsSaid(SuiteModel):
    """The client's certificate, its key, and the authority that every certificate of the fleet is of."""

    ca: PlainPath = Field(description="Certificate of the fleet's own authority (PEM), relative to this file.")
    certificate: PlainPath = Field(description="Certificate of this client (PEM).")
    key: PlainPath = Field(description="Private key of this client (PEM), readable by its owner alone.")


class FleetSaid(SuiteModel):
    """The machines that a suite is to run on."""

    version: Literal[1] = Field(description="Version of this format.")
    scheduler: Word = Field(
        description="Where `harness fleet scheduler` listens, such as tls://lab:8786; or local: this machine alone."
    )
    tls: TlsSaid | None = Field(None, description="Needed for tls://, which everything but loopback needs.")
    patience: Annotated[str, Field(pattern=_PATIENCE)] = Field(
        "120s", description="How long a host that is lost is waited for, such as 120s or 5m."
    )
    hosts: Annotated[tuple[HostName, ...], Listed] = Field(
        (), description="Names of the hosts to run on, every one of which must be there; all that are there if absent."
    )


def load(path: Path, environ: Mapping[str, str] | None = None) -> FleetFile:
    """Return what a fleet file says; its paths are relative to it, ``${NAME}`` is replaced from ``environ``.

    Raises ``SuiteError`` whose message begins with ``file:line:column:`` and lists up to ten problems.
    """
    document = read(path, FLEET_FILE)
    problems = document.expand(os.environ if environ is None else environ, lambda _place: False)
    if problems:
        raise document.error(problems)
    try:
        said = FleetSaid.model_validate(document.data)
    except ValidationError as error:
        whole = FleetSaid.model_json_schema()
        found = [_problem(details, whole) for details in error.errors(include_url=False)]
        raise document.error(found) from error
    base = path.absolute().parent
    tls = None
    if said.tls is not None:
        tls = Tls(*(base / Path(place).expanduser() for place in (said.tls.ca, said.tls.certificate, said.tls.key)))
    problems = [*_of_scheduler(said, tls), *_of_files(tls), *_of_hosts(said.hosts)]
    if problems:
        raise document.error(problems)
    scheduler = None if said.scheduler == LOCAL else address(said.scheduler)
    patience_s = int(said.patience[:-1]) * _SECONDS[said.patience[-1]]
    return FleetFile(scheduler, tls, patience_s, said.hosts)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a fleet file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **FleetSaid.model_json_schema()}


def address(text: str) -> Address:
    """Return an address such as ``tls://lab:8786``. Raises ``HarnessError`` for what is none."""
    match = _ADDRESS.fullmatch(text)
    hint = "write it as tls://lab:8786, or tcp://127.0.0.1:8786 on one machine"
    if match is None:
        raise HarnessError(f"{describe(text)} is no address of a scheduler", hint)
    scheme, host, port = match.groups()
    if port is not None and not 0 < int(port) < 65536:
        raise HarnessError(f"{port} is no port: they go from 1 to 65535", hint)
    host = host.strip("[]")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise HarnessError(f"{shorten(host)} is no IPv6 address", hint) from None
    return Address(scheme, host, int(port) if port else PORT)


def is_loopback(host: str) -> bool:
    """Whether a host is of this machine alone: 127.0.0.0/8, ::1 or localhost. No name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_encrypted(where: Address, tls: Tls | None) -> None:
    """Raise ``HarnessError`` where whoever reaches a port could speak to it, or files and address contradict."""
    if where.encrypted and tls is None:
        raise HarnessError(f"{where} needs certificates, and none are given", _INIT_HINT)
    if not where.encrypted and not where.loopback:
        reason = "without TLS whoever reaches a port of the fleet can run code on its machines"
        raise HarnessError(
            f"{where} is refused: {reason}", f"write {Address(_TLS, where.host, where.port)}; {_INIT_HINT}"
        )
    if not where.encrypted and tls is not None:
        hint = f"write {Address(_TLS, where.host, where.port)}, or leave the certificates out"
        raise HarnessError(f"certificates are given, and {where} is not spoken to by TLS", hint)


def safe_name(text: str) -> str:
    """Return a name for a host made of ``text``, such as the machine's own name without its domain."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text.partition(".")[0]).strip("._-")[:63]
    return kept or "host"


def check_name(name: str) -> None:
    """Raise ``HarnessError`` where a host cannot be called so."""
    if re.fullmatch(_NAME, name) is None:
        hint = "up to 63 letters, digits, '.', '_' and '-', the first a letter or digit"
        raise HarnessError(f"{describe(name)} is no name for a host", hint)


def _problem(details: Any, whole: Mapping[str, Any]) -> Problem:
    found = explained(details, whole)
    key = details["loc"][0] if details["loc"] else ""
    if details["type"] == "string_pattern_mismatch" and key == "patience":
        message = f"{describe(details['input'])} is no time to wait"
        return Problem(found.place, message, "write it as 120s, 5m or 1h")
    if details["type"] == "string_pattern_mismatch" and key == "hosts":
        hint = "up to 63 letters, digits, '.', '_' and '-', the first a letter or digit"
        return Problem(found.place, f"{describe(details['input'])} is no name of a host", hint)
    return found


def _of_scheduler(said: FleetSaid, files: Tls | None) -> Iterator[Problem]:
    if said.scheduler == LOCAL:
        if said.tls is not None:
            hint = "leave `tls` out, or name the scheduler's address"
            yield Problem(("tls",), "a fleet of this machine alone has no connections", hint, at_key=True)
        return
    try:
        where = address(said.scheduler)
        check_encrypted(where, files)
    except HarnessError as error:
        yield Problem(("scheduler",), error.message, error.hint)


def _of_files(tls: Tls | None) -> Iterator[Problem]:
    for key in ("ca", "certificate", "key") if tls else ():
        if not getattr(tls, key).is_file():
            yield Problem(("tls", key), "there is no such file", _INIT_HINT)


def _of_hosts(hosts: tuple[str, ...]) -> Iterator[Problem]:
    for index, name in enumerate(hosts):
        if name in hosts[:index]:
            yield Problem(("hosts", index), f"{name!r} is named twice", "name every host once")


def check_installed() -> None:
    """Raise ``HarnessError`` where what a fleet needs besides is not installed. Nothing is imported."""
    missing = [name for name in ("distributed", "cryptography") if importlib.util.find_spec(name) is None]
    if missing:
        command = "pip install 'inference-harness[fleet]'"
        raise HarnessError(f"a fleet needs {' and '.join(missing)}, not installed here", command)
