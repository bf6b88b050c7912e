"""The certificate of a row: what was asked, what was loaded, what executed on which inputs, and whose word it is.

It holds no figure of its own: ``launches`` is a hash of the records that the figures are made of, and those name their
samples by hash. So the digest of a certificate, kept anywhere, tells whether any of it was changed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from harness.codec import encode
from harness.vocabulary import Agreement, Precision, TensorSpec, Unknowable, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Record

FORM = 1
"""Version of the form. Its fields are its own, so that a field added to a record changes no certificate."""

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What the suite asked for: a cell without its scenario."""

    workload: str
    source_hash: str
    task: Mapping[str, Any]
    shape: tuple[int, ...]
    engine: str
    environment: str
    configuration: str
    options: Mapping[str, Any]
    export: Mapping[str, Mapping[str, Any]]
    precision: Precision
    device: str
    batch: int
    threads: int | None


@dataclass(frozen=True)
class Loaded:
    """An artifact that launches loaded, with its graph boundary."""

    format: str
    precision: Precision
    content_hash: str
    size_bytes: int
    route: tuple[str, ...]  # exporters from the source
    versions: Mapping[str, str]
    notes: tuple[str, ...]  # the method of calibration among them
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Executed:
    """What the runtime said that it executed, with the graph boundary as it read it back."""

    device: str
    nodes_by_device: Mapping[str, int] | Unknowable
    macs_by_device: Mapping[str, float] | Unknowable
    nodes_by_precision: Mapping[str, int] | Unknowable
    macs_by_precision: Mapping[str, float] | Unknowable
    threads: int | Unknowable
    streams: int | Unknowable
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Contents:
    """How many of something there are, and a hash of all of them."""

    content_hash: str
    count: int


@dataclass(frozen=True)
class Certificate:
    """The work behind one row of one run."""

    run_id: str
    variant_id: str
    hw_id: str
    env_id: str
    asked: Asked
    versions: Mapping[str, str]  # of the runtime and of what it ran with
    artifacts: tuple[Loaded, ...]  # one, or one for each build; the proven one first
    executed: Executed | None
    inputs: Contents | None  # tensors in rotation
    evaluation: Contents | None
    calibration: Contents | None
    agreement: Agreement | None  # the lowest, with the FP32 reference
    launches: Contents  # the completed ones: digest of the list of the SHA-256 of their texts in ``records.jsonl``
    form: int = FORM

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of ``codec.encode(self)``: sorted keys, no spaces, ASCII."""
        return digest(encode(self))


def certify(launches: Sequence[tuple[Record, str]], calibration_images: int = 0) -> Certificate | None:
    """Return the certificate of one variant, ``None`` where no launch completed.

    ``launches``: every completed launch that counts, in the order of plan and launch, each with the SHA-256 of its
    record's text. ``calibration_images``: how many calibrated it, where its precision is calibrated.
    """
    if not launches:
        return None
    records = [record for record, _ in launches]
    proof = next((record for record in reversed(records) if record.execution is not None), None)
    first, cell = proof or records[0], records[0].cell
    evaluated = next((record.accuracy for record in reversed(records) if record.accuracy is not None), None)
    agreements = [record.agreement for record in records if record.agreement is not None]
    loaded = {r.artifact.content_hash: _taken(Loaded, r.artifact) for r in (first, *records) if r.artifact is not None}
    return Certificate(
        run_id=first.run_id,
        variant_id=cell.variant_id,
        hw_id=first.hw_id,
        env_id=first.env_id,
        asked=_taken(Asked, cell),
        versions={name: version for record in records for name, version in record.versions.items()},
        artifacts=tuple(loaded.values()),
        executed=_taken(Executed, proof.execution) if proof is not None else None,
        inputs=_contents(first.inputs_hash, first.inputs_count),
        evaluation=_contents(cell.evaluation_hash if evaluated else None, evaluated.images if evaluated else 0),
        calibration=_contents(cell.calibration_hash, calibration_images),
        agreement=min(agreements, key=lambda agreement: agreement.cosine, default=None),
        launches=Contents(digest([text for _, text in launches]), len(launches)),
    )


def _taken(kind: type[T], source: object) -> T:
    """Return the fields of ``kind`` from an object that has fields of those names."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every kind here is a dataclass
    return kind(**{name: getattr(source, name) for name in names})


def _contents(content_hash: str | None, count: int) -> Contents | None:
    return None if content_hash is None else Contents(content_hash, count)
