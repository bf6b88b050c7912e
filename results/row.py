"""One row of a report: everything that the records of one variant say, derived on read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Agreement, Artifact, Cell, Execution, Finding, NoiseReading, Outcome
    from results.certificate import Certificate
    from results.driven import Camera, EndToEnd, Energy, Growth, LoadGenResult, Sensed, Server, Soak


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval over launches; bounds are ``None`` where the data carry none."""

    estimate: float
    low: float | None
    high: float | None
    launches: int


@dataclass(frozen=True)
class Quantile:
    """A latency quantile over the steady samples of all launches, only as far as the effective sample carries it."""

    q: float  # in (0, 1), for example 0.99
    value_ns: float | None  # None: n too small
    low_ns: float | None
    high_ns: float | None
    effective_samples: float
    required_samples: int


@dataclass(frozen=True)
class Latency:
    """Single-stream latency of one variant, nanoseconds."""

    host_to_host: Interval
    compute: Interval
    bind: Interval
    finish: Interval  # fetch and post-processing
    quantiles: tuple[Quantile, ...]
    mean_ns: float
    minimum_ns: float
    maximum_ns: float
    iqr_ns: float
    iterations: int
    launch_medians_ns: tuple[float, ...]
    tail: tuple[tuple[float, float], ...]  # (latency_ns, share of samples that exceed it), thinned, n-limited
    unsteady_launches: int
    launch_indices: tuple[int, ...] = ()  # which replicate each median is of; equal ones ran in the same round


@dataclass(frozen=True)
class Throughput:
    """Items per second with ``streams`` concurrent streams."""

    items_per_s: Interval
    streams: int
    launch_rates: tuple[float, ...] = ()
    launch_indices: tuple[int, ...] = ()  # which replicate each rate is of
    latency: Interval | None = None  # median host→host time of a batch under this load, nanoseconds


@dataclass(frozen=True)
class ColdStart:
    """Import, load and first inference, nanoseconds, over the latency launches."""

    imported: Interval
    load: Interval
    first: Interval


@dataclass(frozen=True)
class MemoryUse:
    """Median over memory launches, bytes."""

    baseline: float
    imported: float
    loaded: float
    first: float
    peak: float
    launches: int
    launch_peaks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Change:
    """Accuracy against the FP32 reference row on the same images, in metric units (0.01 = one point)."""

    estimate: float
    low: float
    high: float
    method: str  # for example "paired score interval (Tango)" or "bootstrap by image multiplicity, 1000 resamples"
    images: int
    reference: str  # label of the row compared with


@dataclass(frozen=True)
class AccuracyResult:
    """Metrics of a row; ``verdict`` is against ``target`` (share of the reference metric, 0.99 by default)."""

    metrics: Mapping[str, float]
    primary: str
    images: int
    notes: tuple[str, ...] = ()
    change: Change | None = None
    target: float = 0.99
    verdict: str = "reference"  # reference | passes | fails | undecided | not measured


@dataclass(frozen=True)
class Row:
    """A variant: one cell without its scenario."""

    variant_id: str
    cell: Cell  # one of its cells, for the labels
    label: str  # "onnxruntime int8 cpu b1"
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)  # by scenario name; the worst where several
    cell_ids: Mapping[str, str] = field(default_factory=dict)  # by scenario name
    latency: Latency | None = None
    throughput: Throughput | None = None  # the fastest of ``throughputs``
    cold_start: ColdStart | None = None
    memory: MemoryUse | None = None
    accuracy: AccuracyResult | None = None
    end_to_end: EndToEnd | None = None
    servers: tuple[Server, ...] = ()
    cameras: tuple[Camera, ...] = ()
    soaks: tuple[Soak, ...] = ()
    growth: Growth | None = None
    loadgen: tuple[LoadGenResult, ...] = ()
    energy: tuple[Energy, ...] = ()
    sensors: tuple[Sensed, ...] = ()  # beside the launches that were timed
    agreement: Agreement | None = None
    execution: Execution | None = None
    artifact: Artifact | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    noise: Mapping[str, NoiseReading] = field(default_factory=dict)  # the worst reading per detector
    findings: tuple[Finding, ...] = ()
    certificate: Certificate | None = None  # None: no launch completed
    throughputs: tuple[Throughput, ...] = ()  # every number of streams that was driven, fewest first
    machine: str = ""  # label, where rows of several machines stand together
    run_id: str = ""  # the run that it is of, where rows of several runs do

    @property
    def timed(self) -> bool:
        """Whether anything of it was timed."""
        alone = (self.latency, self.throughput, self.end_to_end)
        return any((*(each is not None for each in alone), self.servers, self.cameras, self.soaks, self.loadgen))

    @property
    def ranked(self) -> bool:
        """Whether the row may be ranked for what was asked of it."""
        return self.latency is not None and not any(finding.unranked for finding in self.findings)


@dataclass(frozen=True)
class Standing:
    """The ranking of one workload by headline latency."""

    workload: str
    best: tuple[str, ...]  # variant ids not worse than the best; more than one is a tie
    rest: tuple[str, ...]  # ranked rows that are worse, fastest first
    frontier: tuple[str, ...]  # variant ids on the latency-accuracy Pareto frontier, by point estimate
    excluded: tuple[str, ...]  # rows left out of the ranking
    screening: bool  # too few launches to recommend anything
    ratio_to_best: Mapping[str, Interval] = field(default_factory=dict)  # latency ratio against the fastest, by variant
