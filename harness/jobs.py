"""What the parent asks of a child process and what the child answers: one JSON file each way."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - as above
from typing import Any

from harness.engine import ExportSpec  # noqa: TC001 - as above
from harness.vocabulary import (  # noqa: TC001 - as above
    Accuracy,
    Agreement,
    Artifact,
    EngineFacts,
    Execution,
    Failed,
    Goal,
    LoadGenRun,
    Memory,
    NoiseReading,
    Precision,
    Skipped,
    TensorSpec,
    Timing,
    Trial,
)


@dataclass(frozen=True)
class Item:
    """One image and its label, as the child needs them."""

    path: Path
    label: Any = None


@dataclass(frozen=True)
class Inputs:
    """Pre-processed tensors on disk: ``path`` holds ``inputs.npy`` (N, C, H, W) float32 and ``frames.json``."""

    path: Path
    content_hash: str
    count: int


@dataclass(frozen=True)
class ProbeJob:
    """Say what an engine can execute here."""

    engine: str  # module:attribute


@dataclass(frozen=True)
class ProbeAnswer:
    """What was found, or why the engine is not to be had."""

    facts: EngineFacts | None = None
    skipped: Skipped | None = None
    harness_version: str = ""


@dataclass(frozen=True)
class IdentifyJob:
    """Hash the content of a source whose file does not hold it."""

    exporter: str  # module:attribute
    source: Path


@dataclass(frozen=True)
class FetchJob:
    """Obtain a source that is no local file, through the vendor's own download."""

    exporter: str
    reference: str
    destination: Path


@dataclass(frozen=True)
class TextAnswer:
    """A hash, or a path."""

    text: str | None


@dataclass(frozen=True)
class ExportJob:
    """Make an artifact inside ``destination``."""

    exporter: str
    source: Artifact
    spec: ExportSpec
    destination: Path


@dataclass(frozen=True)
class ExportAnswer:
    """What was made, relative to the destination."""

    entry: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class BindingJob:
    """Say what of this machine and device an exporter's artifact depends on."""

    exporter: str
    device: str


@dataclass(frozen=True)
class BindingAnswer:
    """Facts that are part of the artifact's key."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class PrepareJob:
    """Decode and pre-process images into ``destination``, or draw seeded tensors where there are none."""

    task: Mapping[str, Any]
    shape: tuple[int, ...]
    items: tuple[Item, ...]
    count: int  # tensors to draw where there are no items
    seed: int
    destination: Path


@dataclass(frozen=True)
class PrepareAnswer:
    """Hash of the tensors, and how many there are."""

    content_hash: str
    count: int


@dataclass(frozen=True)
class SessionSpec:
    """A ``SessionConfig`` as data."""

    device: str
    precision: Precision
    batch: int
    threads: int | None
    streams: int | None
    goal: Goal
    strict: bool
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferenceJob:
    """Run the FP32 reference over the first ``batches`` batches of the inputs and keep the outputs."""

    engine: str
    artifact: Artifact
    session: SessionSpec
    inputs: Inputs
    batches: int
    destination: Path  # an .npz


@dataclass(frozen=True)
class Limits:
    """When a launch has measured enough; see ``harness.statistics.StopRule``."""

    minimum_iterations: int
    minimum_s: float
    maximum_s: float
    relative_half_width: float = 0.02
    warmup_iterations: int = 10
    warmup_s: float = 0.5
    warmup_maximum_s: float = 10.0
    extended_s: float = 0.0  # beyond ``maximum_s``, for the minimum and the quantiles alone
    quantiles: tuple[tuple[float, float], ...] = ()  # (q, effective samples of it that the launch must bring)
    growth_iterations: int = 0  # over which a memory launch watches the resident set


@dataclass(frozen=True)
class LaunchJob:
    """Measure one cell once."""

    engine: str
    artifact: Artifact
    session: SessionSpec
    scenario: str
    parameters: Mapping[str, Any]
    task: Mapping[str, Any]
    inputs: Inputs
    reference: Path | None
    limits: Limits
    samples: Path  # where raw samples or per-image facts go
    warm: Path | None = None  # where the runtime's own caches persist; ``None``: they begin empty
    items: tuple[Item, ...] = ()  # of the evaluation set; accuracy alone
    classes: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    seed: tuple[int, ...] = (0, 0)  # the suite's, and the launch's index: of what is drawn, alike for every engine


@dataclass(frozen=True)
class LaunchAnswer:
    """What one launch gave; the parent adds identity and files it as a ``Record``."""

    versions: Mapping[str, str]
    timing: Timing | None = None
    samples_sha256: str = ""
    samples_rows: int = 0
    memory: Memory | None = None
    accuracy: Accuracy | None = None
    agreement: Agreement | None = None
    execution: Execution | None = None
    noise: Mapping[str, NoiseReading] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    loadgen: LoadGenRun | None = None


@dataclass(frozen=True)
class Refusal:
    """The child's own word that it could not do the job."""

    failed: Failed | None = None
    skipped: Skipped | None = None


@dataclass(frozen=True)
class OverheadJob:
    """Measure what the harness's loops cost, with a stream that does nothing."""

    iterations: int  # of the closed loop of one stream
    streams: tuple[int, ...] = ()  # further counts of concurrent streams
    scenarios: tuple[str, ...] = ()  # those with a loop of their own are measured, others left out
    seconds: float = 0.5  # of each of these


@dataclass(frozen=True)
class OverheadAnswer:
    """Nanoseconds per inference: from the start of one iteration to that of the next, or the response to a query."""

    per_iteration_ns: float  # median, one stream
    by_streams: Mapping[str, float] = field(default_factory=dict)  # count of streams → mean
    by_scenario: Mapping[str, float] = field(default_factory=dict)  # scenario → see ``harness.worker.overhead``


KINDS: Mapping[str, tuple[type, type]] = {
    "probe": (ProbeJob, ProbeAnswer),
    "identify": (IdentifyJob, TextAnswer),
    "fetch": (FetchJob, TextAnswer),
    "export": (ExportJob, ExportAnswer),
    "binding": (BindingJob, BindingAnswer),
    "prepare": (PrepareJob, PrepareAnswer),
    "reference": (ReferenceJob, TextAnswer),
    "overhead": (OverheadJob, OverheadAnswer),
    "launch": (LaunchJob, LaunchAnswer),
}
"""Kind of job → its class and the class of its answer."""

ANSWER_FILE, JOB_FILE, STAGE_FILE = "answer.json", "job.json", "stage"
"""Names inside the scratch folder of a child."""
