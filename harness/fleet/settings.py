"""How Dask is set for a fleet: one launch at a time, no wandering work, no dashboard, as little beside as can be.

Imported by what speaks to a fleet alone: `distributed` must never be loaded by an ordinary run.
"""

from __future__ import annotations

import logging
import os
import ssl
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, Any

import dask
from distributed import Security
from distributed.comm.core import FatalCommClosedError
from distributed.versions import VersionMismatchWarning

import harness
from harness.fleet.contract import FleetError

if TYPE_CHECKING:
    from harness.fleet.config import Tls

TCP_TIMEOUT_S = 60
"""How long what was sent may go without an answer before a connection counts as dead.

TCP sends again after waits that double: of a cut of 30 s the next attempt may come 51 s after its beginning.
"""
WORKER_TTL_S = 90
"""How long a host may be silent before the scheduler forgets it: longer than it takes a connection to recover."""
HEARTBEAT_S = 5
CONNECT_S = 30
"""How long a connection may take; the first attempt of Dask gets a fifth of it, which a busy machine needs."""

BROKEN = (ValueError,)
"""What connecting raises besides ``OSError``: Tornado, of a connection that ended before TLS began on it."""

CARD = "harness"
"""Key under which a scheduler and its hosts say who they are, in what Dask tells of them."""
HELD = "harness_runs"
"""Under which a host says, from time to time, which runs it holds."""
LANE = "host"
"""The resource that every question takes: a host has one."""
TRUST_HINT = "both ends need certificates of one `harness fleet init`, and the scheduler's must be for that name"

_OFF = False
_SETTINGS: dict[str, Any] = {
    "scheduler-address": None,
    # What runs where is the harness's to decide, and what is lost is asked for again by the harness.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": _OFF,
    "distributed.scheduler.active-memory-manager.start": _OFF,
    "distributed.scheduler.worker-ttl": f"{WORKER_TTL_S}s",
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.no-workers-timeout": None,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.resources": {},
    "distributed.worker.lifetime.duration": None,
    # Nothing may wake beside a measured process without need.
    "distributed.worker.profile.enabled": _OFF,
    "distributed.diagnostics.nvml": _OFF,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "30s",
    "distributed.admin.system-monitor.interval": "30s",
    "distributed.admin.system-monitor.disk": _OFF,
    "distributed.admin.system-monitor.gil.enabled": _OFF,
    "distributed.admin.system-monitor.log-length": 10,
    "distributed.worker.memory.transfer": _OFF,
    "distributed.worker.memory.target": _OFF,
    "distributed.worker.memory.spill": _OFF,
    "distributed.worker.memory.pause": _OFF,
    "distributed.worker.memory.terminate": _OFF,
    # Code that the user's own Dask configuration brings along has no business here.
    "distributed.scheduler.preload": [],
    "distributed.worker.preload": [],
    "distributed.client.preload": [],
    "distributed.client.security-loader": None,
    "distributed.client.direct-to-workers": _OFF,
    "distributed.client.heartbeat": f"{HEARTBEAT_S}s",
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    "distributed.comm.timeouts.tcp": f"{TCP_TIMEOUT_S}s",
    "distributed.comm.retry.count": 0,
    "distributed.comm.compression": None,  # samples and models are compressed already
    "distributed.admin.large-graph-warning-threshold": "1GiB",  # a question may carry a piece of a model
    "distributed.admin.log-length": 1000,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.erred-tasks.max-history": 10,
}


def apply() -> None:
    """Set Dask for a fleet in this process, over whatever its user has set."""
    dask.config.set(_SETTINGS)
    level = logging.INFO if os.environ.get("HARNESS_DEBUG") else logging.CRITICAL
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(level)
    # Who was refused is for the one who runs the scheduler to know.
    logging.getLogger("distributed.comm.tcp").setLevel(logging.WARNING)
    # The versions that matter are compared by name; others may differ from host to host.
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)


def versions() -> dict[str, str]:
    """Return the versions that must be equal at both ends."""
    return {"harness": harness.__version__, "distributed": metadata.version("distributed")}


class _Security(Security):  # type: ignore[misc]  # without types where the checker does not look into distributed
    """Dask's TLS, with the scheduler's name checked too by whoever connects to it.

    Dask checks that a certificate is of the fleet's authority, at both ends, and no name; the scheduler is the one
    end that is connected to by name.
    """

    def get_connection_args(self, role: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super().get_connection_args(role)
        if role != "scheduler" and arguments["ssl_context"] is not None:
            arguments["ssl_context"].check_hostname = True
            arguments["ssl_context"].hostname_checks_common_name = False
        return arguments


def security(tls: Tls | None) -> Security:
    """Return how connections are secured; ``None``: of this machine alone, not at all.

    Raises ``FleetError`` for files that cannot be used.
    """
    if tls is None:
        return Security(require_encryption=False)
    ends = ("client", "scheduler", "worker")
    made = _Security(
        require_encryption=True,
        tls_ca_file=str(tls.ca),
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        tls_max_version=None,
        tls_ciphers=None,
        **{f"tls_{end}_cert": str(tls.certificate) for end in ends},
        **{f"tls_{end}_key": str(tls.key) for end in ends},
    )
    try:
        made.get_connection_args("client")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give the folder that `harness fleet init` made for this end"
        raise FleetError(
            f"{tls.certificate.parent}: the certificate or its key cannot be used: {reason}", hint
        ) from error
    return made


def check_versions(who: str, card: Any) -> None:
    """Raise ``FleetError`` where what says who it is by ``card`` is not of this version, both versions named."""
    if not isinstance(card, dict):
        hint = "a fleet's scheduler and hosts are begun by `harness fleet scheduler` and `harness fleet worker`"
        raise FleetError(f"{who} is of Dask, but of no fleet", hint)
    for package, here in versions().items():
        there = card.get(package)
        if there != here:
            raise FleetError(f"{who} has {package} {there}, this is {here}", "install the same version at both ends")


def refusal(error: BaseException) -> str | None:
    """Return what TLS said where it is the reason of an error: one end did not take the other's certificate."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return getattr(seen, "verify_message", None) or str(seen.reason or seen)
        if isinstance(seen, FatalCommClosedError) and seen.__cause__ is None:
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    return None
