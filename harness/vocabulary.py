"""The nouns of the project: frozen dataclasses over the standard library, serialised by ``harness.codec``.

Code that the worker process loads keeps to Python 3.10 syntax, since some edge images have no newer one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path  # noqa: TC003 - as above
from typing import Any, Union

SCHEMA_VERSION = 1
"""Version of the record schema. 1: first edition (0.1.0)."""

Format = str
"""Name of an artifact format, for example ``onnx``; open, since third parties add exporters."""

FORMAT_ULTRALYTICS: Format = "ultralytics"  # an Ultralytics checkpoint, a pickle
FORMAT_TORCH_MODULE: Format = "torch-module"  # JSON naming a factory by import path
FORMAT_TORCH_ZOO: Format = "torch-zoo"  # JSON naming a model of timm or torchvision
FORMAT_TORCH_EXPORT: Format = "torch-export"  # .pt2 of torch.export
FORMAT_TORCH_AOTI: Format = "torch-aoti"  # .pt2 of AOTInductor, compiled for one processor
FORMAT_TORCHSCRIPT: Format = "torchscript"
FORMAT_ONNX_FILE: Format = "onnx-file"  # as the user gave it: any batch, shapes not inferred
FORMAT_ONNX: Format = "onnx"  # static shapes
FORMAT_ONNX_SYMMETRIC: Format = "onnx-symmetric"  # static shapes, INT8 with zero points of 0 and float biases
FORMAT_OPENVINO_IR: Format = "openvino-ir"
FORMAT_TENSORRT: Format = "tensorrt-engine"  # built for one GPU by one TensorRT
FORMAT_TENSORRT_WEAK: Format = "tensorrt-engine-weak"  # of a weakly typed network, which TensorRT 11 no longer builds
FORMAT_TENSORRT_RTX: Format = "tensorrt-rtx-engine"  # of TensorRT for RTX
FORMAT_KERAS_FILE: Format = "keras-file"  # .keras, as the user gave it
FORMAT_SAVED_MODEL_FILE: Format = "saved-model-file"  # a folder, as the user gave it: any batch
FORMAT_SAVED_MODEL: Format = "saved-model"  # static shapes
FORMAT_TFLITE_FILE: Format = "tflite-file"  # as the user gave it
FORMAT_TFLITE: Format = "tflite"  # static shapes
FORMAT_EXECUTORCH: Format = "executorch"
FORMAT_NCNN: Format = "ncnn"
FORMAT_MNN: Format = "mnn"
FORMAT_FAKE_SCRIPT: Format = "fake-script"  # JSON that scripts the fake engine
FORMAT_FAKE: Format = "fake"
FORMAT_FAKE_BUILT: Format = "fake-built"  # bound to its device


class Precision(str, Enum):
    """What the weights and the arithmetic are."""

    FP32 = "fp32"
    TF32 = "tf32"  # FP32 tensors, multiplied with 10 bits of mantissa
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"

    def __str__(self) -> str:
        return self.value


class Level(str, Enum):
    """How a device executes a precision."""

    NATIVE = "native"
    EMULATED = "emulated"
    UNSUPPORTED = "unsupported"


class Goal(str, Enum):
    """What a session is tuned for at load."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


class Stage(str, Enum):
    """Where in the life of a cell something failed."""

    IDENTIFY = "identify"
    PROBE = "probe"
    EXPORT = "export"
    PREPARE = "prepare"
    REFERENCE = "reference"
    IMPORT = "import"
    LOAD = "load"
    FIRST = "first"
    VERIFY = "verify"
    WARMUP = "warmup"
    STEADY = "steady"
    POSTPROCESS = "postprocess"
    PROVE = "prove"
    EVALUATE = "evaluate"
    RECORD = "record"


def canonical_json(value: object) -> str:
    """Return the one JSON text of a JSON-able value: sorted keys, no spaces, no NaN. Raises ``ValueError`` on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: object) -> str:
    """Return the SHA-256 hex digest of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


# --- the model and what is made of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy dtype name and static shape of one input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Artifact:
    """An exported model on disk. ``path`` is the file or folder that the engine loads."""

    format: Format
    precision: Precision
    path: Path
    content_hash: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    exporter: str = ""  # name of the exporter that made it; empty for a source the user gave
    versions: Mapping[str, str] = field(default_factory=dict)
    route: tuple[str, ...] = ()  # names of every exporter from the source to here
    notes: tuple[str, ...] = ()  # what a reader must know, such as "detection head kept in float"
    export_ns: int = 0


@dataclass(frozen=True)
class Source:
    """A model as the user gave it, identified by content."""

    format: Format
    reference: str  # what the suite said: a path or an import path
    content_hash: str


# --- the cell and its identity -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A way of driving a session, with its parameters; part of a cell's identity. ``title`` is a label."""

    name: str  # a key of ``harness.scenarios.KINDS``
    parameters: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""  # the suite's own name for these parameters; empty where it gives none

    @property
    def label(self) -> str:
        """What readers know it by."""
        return self.title or self.name


@dataclass(frozen=True)
class Cell:
    """One thing to measure. ``workload`` and ``configuration`` are labels; every other field is identity."""

    workload: str
    source_hash: str
    task: Mapping[str, Any]  # {"name": "detect", ...parameters that change the work done}
    shape: tuple[int, ...]  # of one item, without the batch: (C, H, W)
    engine: str
    precision: Precision
    device: str
    scenario: Scenario
    batch: int = 1
    threads: int | None = None  # None: what the runtime takes by itself
    streams: int | None = None  # None: one for latency, what the runtime recommends for throughput
    environment: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by exporter of its route
    configuration: str = "default"  # the suite's name for ``options`` and ``export``; a label
    evaluation_hash: str | None = None
    calibration_hash: str | None = None  # set only where the precision is calibrated

    def identity(self) -> dict[str, Any]:
        """Return the JSON-able fields that make this cell what it is: no version, path, preset, launch or seed."""
        identity = {
            "source": self.source_hash,
            "task": dict(self.task),
            "shape": list(self.shape),
            "evaluation": self.evaluation_hash,
            "calibration": self.calibration_hash,
            "engine": self.engine,
            "environment": self.environment,
            "precision": self.precision.value,
            "device": self.device,
            "batch": self.batch,
            "options": dict(self.options),
            "threads": self.threads,
            "streams": self.streams,
            "scenario": {"name": self.scenario.name, "parameters": dict(self.scenario.parameters)},
        }
        # Absent where there is nothing to say, so that the usual cell keeps its name when keys are added here.
        if self.export:
            identity["export"] = {name: dict(options) for name, options in self.export.items()}
        return identity

    @property
    def cell_id(self) -> str:
        """SHA-256 of the canonical JSON of ``identity()``."""
        return digest(self.identity())

    @property
    def variant_id(self) -> str:
        """Identity without scenario and streams: the row of a report that several scenarios fill."""
        identity = self.identity()
        del identity["scenario"], identity["streams"]
        return digest(identity)

    @property
    def label(self) -> str:
        """Readable name, unique within a run in practice: ``yolo11n/onnxruntime/int8/cpu/b1/latency``."""
        threads = f"/t{self.threads}" if self.threads is not None else ""
        streams = f"/s{self.streams}" if self.streams is not None else ""
        environment = f"@{self.environment}" if self.environment != "default" else ""
        configuration = f"+{self.configuration}" if self.configuration != "default" else ""
        engine = f"{self.engine}{environment}{configuration}"
        head = f"{self.workload}/{engine}/{self.precision.value}/{self.device}"
        return f"{head}/b{self.batch}{threads}{streams}/{self.scenario.label}"


# --- what happened -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Completed:
    """The launch did all that was asked of it."""


@dataclass(frozen=True)
class Failed:
    """The launch failed at ``stage``. ``kind`` is a short class such as ``timeout``, ``crash``, ``UnicodeError``."""

    stage: Stage
    kind: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Skipped:
    """Never attempted, for a reason that the report shows."""

    reason: str
    hint: str = ""


Outcome = Union[Completed, Failed, Skipped]  # noqa: UP007 - evaluated under Python 3.10 too


@dataclass(frozen=True)
class Unknowable:
    """A fact that the runtime does not tell; shown as such, never guessed."""

    reason: str


@dataclass(frozen=True)
class Execution:
    """What really ran, read back from the runtime in a ``prove`` launch.

    MAC shares cover Conv, MatMul and Gemm nodes and sum to 1 where any ran; keys are a ``Precision`` value or the
    runtime's own word for anything else, and a device name of this engine (or a provider name).
    """

    device: str
    nodes_by_device: Mapping[str, int] | Unknowable
    macs_by_device: Mapping[str, float] | Unknowable
    nodes_by_precision: Mapping[str, int] | Unknowable
    macs_by_precision: Mapping[str, float] | Unknowable
    threads: int | Unknowable
    streams: int | Unknowable
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    operators: Mapping[str, int] | Unknowable = field(default_factory=lambda: Unknowable("the engine does not tell"))
    """Executed operators by kind, in the runtime's own words; a fused one shows what it holds, as "Conv+Sigmoid+Mul"
    or ``FusedConv``, where the runtime tells."""
    graph_nodes: int | Unknowable = field(default_factory=lambda: Unknowable("the engine does not tell"))
    """Operators of the graph as it was loaded, constants not counted, before the runtime changed it."""
    flags: Mapping[str, str] = field(default_factory=dict)  # anything else worth showing: {"tf32": "off"}


@dataclass(frozen=True)
class Timing:
    """Durations of the phases of a launch, in nanoseconds of the monotonic clock, and why the steady phase ended."""

    import_ns: int
    load_ns: int
    first_ns: int
    warmup_iterations: int = 0
    steady_iterations: int = 0
    steady_ns: int = 0  # from the first start to the last end of the steady phase
    streams: int = 1
    stop_reason: str = (
        ""  # precise | max_time | max_iterations; of others also max_trials | no_rate | backlog | loadgen
    )
    median_ns: int = 0  # steady, from when each was scheduled; what a budget is spent by, derived anew on read


@dataclass(frozen=True)
class SamplesRef:
    """Raw samples of a launch, columns as in ``harness.measure.samples``; ``path`` is relative to the run folder."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Memory:
    """Resident set by phase and the kernel's high-water mark, in bytes, all of one process."""

    baseline_bytes: int
    imported_bytes: int
    loaded_bytes: int
    first_bytes: int
    peak_bytes: int  # VmHWM after the steady phase
    growth: tuple[tuple[int, int], ...] = ()  # (inferences done, resident bytes), where growth was watched
    method: str = "VmRSS and VmHWM of /proc/self/status"


@dataclass(frozen=True)
class Agreement:
    """Closeness to the FP32 reference over the verified inputs, without labels."""

    cosine: float  # lowest over outputs
    max_relative: float  # max |a-b| / max |b|, highest over outputs
    snr_db: float  # lowest over outputs; capped at 200 where the difference is zero
    inputs: int


@dataclass(frozen=True)
class Accuracy:
    """Metrics on the evaluation images. ``per_image`` is a file of per-image facts for paired intervals."""

    metrics: Mapping[str, float]  # for example {"top1": 0.85, "top5": 0.95} or {"map50_95": 0.45, "map50": 0.60}
    primary: str  # key of the headline metric
    images: int
    per_image: SamplesRef | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One stretch of a ``server`` launch at one rate of arrivals; its rows of the samples follow each other."""

    rate_hz: float  # queries per second, on average
    seconds: float  # over which queries were due
    offered: int  # queries that were due; those without a row were given up when the backlog had no end
    first: int  # its first row
    rows: int
    kept: bool | None = None  # whether the SLO was kept, as the search took it; not known of 0.1.0


@dataclass(frozen=True)
class LoadGenRun:
    """What the official LoadGen said of one launch, in its own words and units."""

    scenario: str  # SingleStream, MultiStream, Server or Offline
    mode: str  # PerformanceOnly or AccuracyOnly
    valid: bool  # its verdict
    reasons: tuple[str, ...]  # why it is invalid
    figures: Mapping[str, float]  # key of its summary → value
    settings: Mapping[str, str]  # test parameters of its summary
    official: bool  # whether durations and query counts were those of the official mlperf.conf
    version: str
    summary: str  # its text, whole


class State(str, Enum):
    """A detector's word; ``unavailable`` is not ``ok``."""

    OK = "ok"
    BAD = "bad"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class NoiseReading:
    """One detector around the steady phase."""

    state: State
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Launch:
    """One fresh process that measures one cell; the unit of replication."""

    index: int  # 0-based replicate of its cell
    attempt: int = 0  # 0 for the first try of this replicate
    round: int = 0  # interleaving round that it ran in
    seed: int = 0


@dataclass(frozen=True)
class Record:
    """One terminal line of a run: what one launch of one cell gave. Key: (hw_id, cell_id, launch.index, attempt)."""

    run_id: str
    cell: Cell
    launch: Launch
    outcome: Outcome
    hw_id: str
    env_id: str
    started_at: str  # ISO 8601, UTC
    duration_ns: int
    schema: int = SCHEMA_VERSION
    cell_id: str = ""
    variant_id: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    artifact: Artifact | None = None
    execution: Execution | None = None
    timing: Timing | None = None
    samples: SamplesRef | None = None
    memory: Memory | None = None
    accuracy: Accuracy | None = None
    agreement: Agreement | None = None
    noise: Mapping[str, NoiseReading] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()  # of ``server``
    loadgen: LoadGenRun | None = None  # of ``mlperf``
    telemetry: SamplesRef | None = None  # what the machine's sensors said meanwhile, see ``harness.telemetry``
    unsampled: str = ""  # why they said nothing, where there are sensors that could have
    inputs_hash: str | None = None
    inputs_count: int = 0
    log: str = ""  # path relative to the run folder
    supersedes: str = ""


# --- what can run here -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Support:
    """Whether a device executes a precision, and why not."""

    level: Level
    reason: str = ""


@dataclass(frozen=True)
class DeviceFacts:
    """One device of one engine. Absent precisions are unsupported."""

    name: str  # as the suite says it: cpu, cuda:0, gpu.0
    description: str
    precisions: Mapping[str, Support]
    on_request: bool = False  # only where it is named: ``device: auto`` leaves it out


@dataclass(frozen=True)
class EngineFacts:
    """What ``Engine.probe`` found."""

    name: str
    version: str
    devices: tuple[DeviceFacts, ...]
    versions: Mapping[str, str] = field(default_factory=dict)


# --- the plan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlannedCell:
    """A cell with what will be done about it; ``skipped`` says why nothing will."""

    cell: Cell
    launches: int
    seconds: float = 0.0  # estimate for one launch
    skipped: Skipped | None = None
    level: Level = Level.NATIVE
    percentiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Slot:
    """A place in the order of launches: which cell, which replicate, in which round."""

    cell_id: str
    index: int
    round: int


@dataclass(frozen=True)
class Plan:
    """The cells, and the launches in the order they will run; pure data."""

    suite: str
    preset: str
    seed: int
    cells: tuple[PlannedCell, ...]
    order: tuple[Slot, ...]


@dataclass(frozen=True)
class Finding:
    """Something a reader must know about a row; derived on read, never stored in a record."""

    kind: str  # stable word: fell-back, other-precision, emulated, noisy, screening, unsteady, drift, overlap, ...
    message: str
    unranked: bool = False  # True: the row is left out of the ranking for what was asked
