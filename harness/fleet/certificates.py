"""The certificates of a fleet: an authority of its own, and for each end a folder that can be copied there as it is.

``FOLDER/ca`` stays with whoever adds hosts; ``FOLDER/scheduler``, ``FOLDER/client`` and ``FOLDER/hosts/NAME`` hold
``ca.pem``, ``certificate.pem`` and ``key.pem``. Keys are ECDSA on P-256 (FIPS 186-5), certificates X.509 v3 (RFC 5280).
A host's certificate carries no name that a connection is checked against, so that it cannot stand for the scheduler.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from harness.errors import HarnessError
from harness.fleet.config import PORT, Address, Tls, address, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
FLEET_FILE = "fleet.yaml"
SCHEDULER, CLIENT, HOSTS = "scheduler", "client", "hosts"
DAYS = 825
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""What the scheduler's certificate holds for besides its names."""

_AUTHORITY = "ca"
_AUTHORITY_DAYS = 3650
_SKEW = timedelta(days=1)  # a clock that is behind must not refuse what was made just now
_SERVES, _ASKS = Usage.SERVER_AUTH, Usage.CLIENT_AUTH
_ADD_HINT = "`--replace` makes it anew; the old one stays valid until it expires"


@dataclass(frozen=True)
class Asked:
    """What a folder of certificates is to hold."""

    scheduler: Sequence[str] = ()  # names and IP addresses that it is reached by; the first is the one for fleet.yaml
    hosts: Sequence[str] = ()
    days: int = DAYS
    replace: bool = False  # make what is named anew where it is there already


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def init(folder: Path, asked: Asked) -> tuple[Path, ...]:
    """Make what a fleet needs and does not have yet in a folder; return the folders and files that were made.

    The authority is made once, later hosts get certificates of the same. Raises ``HarnessError``, before anything is
    written, where something that was asked for by name is there already and is not to be replaced.
    """
    for name in asked.hosts:
        check_name(name)
    if not 1 <= asked.days <= _AUTHORITY_DAYS:
        raise HarnessError(f"--days {asked.days} is no time for a certificate", f"from 1 to {_AUTHORITY_DAYS} days")
    begun = (folder / _AUTHORITY).exists()
    wanted = dict(_wanted(folder, asked, begun=begun))
    if not wanted:
        raise HarnessError(f"{folder} has all that was asked for", "name what is to be added: --host NAME")
    with _explained(folder):
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        made = []
        if begun:
            authority = _opened(folder / _AUTHORITY)
        else:
            authority = _authority()
            made.append(_kept(folder / _AUTHORITY, {CA: _pem(authority.certificate), KEY: _secret(authority.key)}))
        for place, (name, usages, names) in wanted.items():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(authority, key, name, asked.days, usages, names)
            content = {CA: _pem(authority.certificate), CERTIFICATE: _pem(certificate), KEY: _secret(key)}
            made.append(_kept(place, content))
        fleet = folder / FLEET_FILE
        if not fleet.exists():
            fleet.write_text(_example(folder, _names(asked.scheduler)), encoding="utf-8")
            made.append(fleet)
    return tuple(made)


def of_folder(folder: Path) -> Tls:
    """Return the files in a folder that ``init`` made. Raises ``HarnessError`` where one is missing."""
    files = Tls(folder / CA, folder / CERTIFICATE, folder / KEY)
    for file in (files.ca, files.certificate, files.key):
        if not file.is_file():
            hint = f"a folder that `harness fleet init` made for one end holds {CA}, {CERTIFICATE} and {KEY}"
            raise HarnessError(f"{file} does not exist", hint)
    return files


_Wanted = tuple[str, tuple[x509.ObjectIdentifier, ...], tuple[x509.GeneralName, ...]]


def _wanted(folder: Path, asked: Asked, *, begun: bool) -> Iterator[tuple[Path, _Wanted]]:
    """Yield folders to make, each with its name, what it may be used for, and the names that it holds for."""
    if begun and asked.scheduler and (folder / SCHEDULER).exists() and not asked.replace:
        raise HarnessError(f"{folder / SCHEDULER} exists already", _ADD_HINT)
    if asked.scheduler or not (folder / SCHEDULER).exists():
        yield folder / SCHEDULER, (SCHEDULER, (_SERVES, _ASKS), tuple(map(_general, _names(asked.scheduler))))
    if not (folder / CLIENT).exists():
        yield folder / CLIENT, (CLIENT, (_ASKS,), ())
    for name in dict.fromkeys(asked.hosts):
        place = folder / HOSTS / name
        if place.exists() and not asked.replace:
            raise HarnessError(f"{place} exists already", _ADD_HINT)
        # Both: the scheduler fetches answers from it.
        yield place, (f"host {name}", (_SERVES, _ASKS), ())


def _names(scheduler: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*scheduler, *LOOPBACK)))


def _general(name: str) -> x509.GeneralName:
    """Return a name as a certificate has it. Raises ``HarnessError`` for what no scheduler is reached by."""
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    with contextlib.suppress(HarnessError):
        if address(f"tls://{name}").host == name:
            return x509.DNSName(name)
    raise HarnessError(f"{name[:80]!r} is neither a host name nor an IP address", "such as lab.example or 10.0.0.7")


def _authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("authority")
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(key, certificate)


def _certificate(
    authority: _Authority,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    days: int,
    usages: tuple[x509.ObjectIdentifier, ...],
    names: tuple[x509.GeneralName, ...],
) -> x509.Certificate:
    now = datetime.now(UTC)
    # No certificate outlives its authority.
    end = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    if end <= now:
        raise HarnessError("the authority of this fleet has expired", "begin with a new folder")
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _SKEW, authority.certificate.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signer, critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    # A common name has at most 64 characters (RFC 5280, ub-common-name); nothing is checked against it.
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "harness fleet")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _opened(folder: Path) -> _Authority:
    """Return the authority in a folder. Raises ``HarnessError`` where it is none, or not whole."""
    try:
        key = load_pem_private_key((folder / KEY).read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / CA).read_bytes())
    except (FileNotFoundError, ValueError, TypeError) as error:
        hint = f"it needs {CA} and {KEY} as `harness fleet init` wrote them; without the key no host can be added"
        raise HarnessError(f"{folder} is no authority of a fleet: {error}", hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise HarnessError(f"{folder}: {KEY} is not the key of {CA}", "restore the two as they were made")
    return _Authority(key, certificate)


def _pem(certificate: x509.Certificate) -> bytes:
    encoded: bytes = certificate.public_bytes(Encoding.PEM)
    return encoded


def _secret(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded


def _kept(place: Path, content: Mapping[str, bytes]) -> Path:
    """Make a folder that is there whole or not at all; what was there before is gone only once the new one is."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))  # its mode is 0700
    try:
        for name, data in content.items():
            descriptor = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        before = made.with_name(f"{made.name}-before")
        if place.exists():
            place.rename(before)
        made.rename(place)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return place


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HarnessError(f"{folder}: cannot be written: {error.strerror}", "choose a folder that is yours") from error


def _example(folder: Path, names: Sequence[str]) -> str:
    return f"""\
# The machines of a fleet, for `harness run SUITE --fleet {FLEET_FILE}`.
version: 1
scheduler: {Address("tls", names[0], PORT)}   # where `harness fleet scheduler --tls {folder.name}/{SCHEDULER}` listens
tls:                            # of the client; paths are relative to this file
  ca: {CLIENT}/{CA}
  certificate: {CLIENT}/{CERTIFICATE}
  key: {CLIENT}/{KEY}
patience: 120s                  # how long a host that is lost is waited for, before another takes over
# hosts: [lab-1, lab-2]         # these, every one of which must be there; whatever hosts there are if left out
"""
