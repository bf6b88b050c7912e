"""What a client may ask of one machine of a fleet, whether it is this one or another; each may be asked twice.

A connection may break after the question and before the answer. So a question that has been answered once gets the
same answer again: a launch whose record the host holds is not made a second time, a chunk that it has is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError
from harness.jobs import Limits  # noqa: TC001 - as above
from harness.vocabulary import (  # noqa: TC001 - as above
    Artifact,
    EngineFacts,
    Failed,
    Skipped,
)

if TYPE_CHECKING:
    from harness.artifacts import Request, Route
    from harness.jobs import OverheadAnswer, OverheadJob
    from harness.ports import Step


class FleetError(HarnessError):
    """A fleet cannot do what it is asked."""


class HostLostError(FleetError):
    """A host did not answer for longer than the fleet has patience with it."""


class UnreachableError(HarnessError):
    """No host can be asked any more, and none is to blame: what connects them was gone for longer than the patience."""


@dataclass(frozen=True)
class About:
    """What a host says of itself."""

    name: str  # unique in the fleet, chosen by who runs it; published
    harness_version: str
    hw_id: str
    fingerprint: Mapping[str, Any]  # as ``harness.host.fingerprint`` has it, without engines' versions
    versions: Mapping[str, str]  # of Python and of what carries the questions
    telemetry: Mapping[str, Any] = field(default_factory=dict)  # what can be sampled, as ``telemetry.sources`` tells


@dataclass(frozen=True)
class Parcel:
    """A file or a folder that a host needs, known by what is in it."""

    content_hash: str  # of ``harness.cache.hash_tree``
    files: tuple[tuple[str, int, str], ...]  # relative path ("" for a lone file), bytes, SHA-256; sorted


@dataclass(frozen=True)
class Chunk:
    """A piece of one file of a parcel."""

    sha256: str  # of the whole file
    offset: int
    data: bytes


@dataclass(frozen=True)
class Load:
    """What the launches of one variant need on a host: a ``runner.Bench`` with parcels in the place of paths."""

    engine: str  # registered name, not its target: the host has its own
    artifact: Artifact  # its path is relative to the parcel, or to what the host itself made
    artifact_parcel: str  # content hash; what the host made by ``build`` has one too
    inputs_parcel: str
    inputs_hash: str
    inputs_count: int
    reference_parcel: str  # of ``outputs.npz``; empty where there is none
    items: tuple[tuple[str, Any], ...] = ()  # parcel of an image, its label
    classes: Mapping[str, str] = field(default_factory=dict)
    rebuilt: tuple[tuple[Artifact, str], ...] = ()
    task_parcels: Mapping[str, str] = field(default_factory=dict)  # of user code, by the name that the task gives it


@dataclass(frozen=True)
class Terms:
    """What holds for every launch of a run on a host."""

    timeout_s: float
    strict: bool
    warm: bool
    loads: Mapping[str, Load | Failed | Skipped]  # by variant id
    limits: Mapping[str, Limits]  # by cell id


@dataclass(frozen=True)
class Packed:
    """A stored record with the files that it refers to and its log: all that the client keeps of a launch."""

    record_id: str
    record: Mapping[str, Any]  # encoded ``Record``
    files: Mapping[str, bytes]  # path relative to the run folder: content


class Host(Protocol):
    """One machine.

    Every method raises ``HostLostError`` where it cannot be reached any more, ``UnreachableError`` where none can.
    """

    @property
    def name(self) -> str:
        """Its name in the fleet."""

    def about(self) -> About:
        """Say what it is."""

    def probe(self, engines: Sequence[str], cpus: Sequence[int] | None) -> Mapping[str, EngineFacts | Failed | Skipped]:
        """Ask each of the engines, in a process of its own, what it can execute there.

        An engine that is not registered there is ``Skipped``, by name.
        """

    def overhead(self, job: OverheadJob, cpus: Sequence[int] | None) -> OverheadAnswer | Failed | Skipped:
        """Measure what the harness's own loops cost there, with nothing running beside it."""

    def lacks(self, parcels: Sequence[Parcel]) -> tuple[str, ...]:
        """Return the SHA-256 of files of these parcels that it does not hold."""

    def put(self, chunk: Chunk) -> None:
        """Take a piece of a file; whole files are checked by their SHA-256, a broken one is lacking still."""

    def assemble(self, parcel: Parcel) -> None:
        """Make a parcel's folder of files that it holds. Raises ``FleetError`` where one is lacking or differs."""

    def build(self, source: Artifact, parcel: str, route: Route, request: Request) -> Artifact | Failed | Skipped:
        """Do the steps of a route there, from the first that is bound to its device, and keep what comes of it.

        ``source`` is what the steps before made, its files in ``parcel``; so are ``request.calibration``'s. The
        artifact that is returned has a path relative to its own folder, whose content hash names it as a parcel.
        """

    def begin(self, manifest: Mapping[str, Any], terms: Terms) -> None:
        """Make ready for launches of a run: its folder there, whatever it holds already.

        Raises ``FleetError`` where its hardware or its versions are not those of the manifest any more.
        """

    def launch(self, run_id: str, step: Step) -> Packed:
        """Make one launch, store its record there, and return it; where it is stored already, that one.

        No two launches overlap on a machine, whoever asks for them.
        """

    def held(self, run_id: str) -> tuple[str, ...]:
        """Return the ids of the records that it holds of a run, oldest first; none where it knows no such run."""

    def fetch(self, run_id: str, record_id: str) -> Packed:
        """Return a record that it holds."""

    def forget(self, run_id: str) -> None:
        """Remove what it holds of a run that the client has whole."""


class Fleet(Protocol):
    """The machines that a suite is to run on."""

    def hosts(self) -> Sequence[Host]:
        """Return those that can be reached now, by name."""

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
