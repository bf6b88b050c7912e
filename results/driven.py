"""What the scenarios beyond latency, throughput, memory and accuracy say of a row, derived on read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.slo import kept

if TYPE_CHECKING:
    from harness.vocabulary import LoadGenRun
    from results.row import Interval, Quantile


@dataclass(frozen=True)
class Share:
    """How many of how many, with the 95 % interval of the share, see ``results.scenarios.shares``."""

    count: int
    of: int
    low: float
    high: float

    @property
    def estimate(self) -> float:
        """The share itself, in 0..1."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True)
class EndToEnd:
    """From an encoded image in memory to the task's final output, one at a time; nanoseconds, over launches."""

    total: Interval
    preparation: Interval  # decoding and pre-processing
    inference: Interval  # bind, run, sync
    finish: Interval  # fetch and post-processing
    quantiles: tuple[Quantile, ...]  # of the total
    launch_medians_ns: tuple[float, ...]
    launch_indices: tuple[int, ...]
    iterations: int


@dataclass(frozen=True)
class RateTried:
    """One rate of arrivals of one launch."""

    launch: int
    rate_hz: float
    response: Quantile  # at the percentile of the SLO, from when each query was due; no value where n is too small
    late: Share  # queries beyond the SLO, those given up included
    stable: bool  # False: the backlog grew without end
    offered: int
    answered: int

    @property
    def meets(self) -> bool:
        """Whether the SLO was seen to hold: its percentile lies within it, and the backlog had an end.

        Told by the share that was late, which says the same of any number of queries.
        """
        return self.stable and kept(self.late.count, self.late.of, self.response.q)


@dataclass(frozen=True)
class Server:
    """Queries that arrive at random, under an SLO."""

    cell_id: str
    title: str
    streams: int
    batch: int
    slo_ms: float
    slo_percentile: float
    searched: bool  # False: the suite gave the rate
    rate_hz: Interval | None  # the highest that met the SLO, over launches; None: none of them did
    tried: tuple[RateTried, ...]
    lateness_ns: float  # 99th percentile of how late the generator itself was
    verdict: str  # meets | misses | undecided
    message: str  # for example "no rate meets p99 ≤ 5 ms; the lowest seen was 21 ms"


@dataclass(frozen=True)
class Camera:
    """Frames that arrive by the clock, under a deadline."""

    cell_id: str
    title: str
    cameras: int
    fps: float
    deadline_ms: float
    phase: str
    drop: str
    decode: bool
    streams: int
    launches: int
    missed: Share  # frames not done by their deadline, those dropped included, over all launches
    launch_misses: tuple[float, ...]  # share by launch
    dropped: int
    overruns: int  # frames that were not done when their camera's next one arrived
    response: Interval | None  # median from arrival to final output, nanoseconds; None: no frame was worked on
    quantiles: tuple[Quantile, ...]  # of the response
    worst_lateness_ns: float  # beyond the deadline; 0 where every frame that was worked on made it
    verdict: str  # holds | misses


@dataclass(frozen=True)
class Soak:
    """Full load for long: what is left of the first seconds' speed."""

    cell_id: str
    title: str
    streams: int
    seconds: float
    burst: float  # items per second over the first 10 seconds
    sustained: float  # over the last third
    ratio: Interval  # sustained / burst; the interval is over time, in one launch
    slowed_after_s: float | None  # when the rate fell below 97 % of the burst for good; None: it did not
    series: tuple[tuple[float, float], ...]  # (seconds since the start, items per second), thinned
    energy: tuple[Energy, ...] = ()  # at full load, one per counter


@dataclass(frozen=True)
class Growth:
    """Whether the resident set grows with every inference."""

    inferences: int
    bytes_per_inference: Interval  # slope over launches; over the series where there is one launch
    leaks: bool  # the whole interval lies above zero, and over 1,000 inferences it comes to more than 1 MiB


@dataclass(frozen=True)
class Beside:
    """One percentile of the same queries by two clocks, nanoseconds."""

    q: float  # in (0, 1)
    ours_ns: float
    theirs_ns: float  # LoadGen's

    @property
    def ratio(self) -> float:
        """Ours / theirs."""
        return self.ours_ns / self.theirs_ns


@dataclass(frozen=True)
class LoadGenResult:
    """What the official LoadGen said; always unverified."""

    cell_id: str
    title: str
    run: LoadGenRun
    beside: tuple[Beside, ...] = ()  # p50 and p90 of the queries


@dataclass(frozen=True)
class Energy:
    """Joules per inference in the steady phase, from one counter; scopes are never compared with each other."""

    scope: str  # package | dram | gpu | board | soc
    source: str  # rapl, nvml, ...
    joules_per_inference: Interval | None  # None: not to be had
    watts: float | None
    reason: str = ""  # why it is not to be had


@dataclass(frozen=True)
class Sensed:
    """What one sensor of the machine told while a row was timed; the samples of all its launches together."""

    name: str  # for example "GPU clock"
    unit: str  # MHz | °C | B
    spread: tuple[float, float, float] | None = None  # least, median, most; None: not to be had
    samples: int = 0
    launches: int = 0  # that the samples are of
    reason: str = ""  # why it is not to be had
