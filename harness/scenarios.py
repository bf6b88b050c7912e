"""The ways of driving a session: what a suite may set of each, and what the plan and the runner must know of it.

How each is driven lives in ``harness.worker.scenarios``, what its samples say in ``results.scenarios``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.vocabulary import Goal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PHASES = ("staggered", "synchronous", "random")
DROPS = ("never", "stale")
MODES = ("single_stream", "multi_stream", "server", "offline")
_NS_PER_MS = 1e6
_MULTI_STREAM_QUERIES = 662  # min_query_count of MultiStream in LoadGen's mlperf.conf
CLOSED_S = 1.0
"""Of the closed loop that tells a search how many queries per second there could be at most."""
PATIENCE, PATIENCE_S = 10, 1.0
"""How many times the SLO, and at least how long, the oldest query waits before its rate is given up.

Far beyond the SLO, since a machine that stands still for a moment recovers and may keep a percentile all the same.
"""


@dataclass(frozen=True)
class NoSettings:
    """The settings of a scenario that has none."""


@dataclass(frozen=True)
class MemorySettings:
    """Of ``memory``."""

    growth: int | None = None  # inferences over which growth is watched; null: 1000 in `publish`, none below it

    def __post_init__(self) -> None:
        _check(self.growth is None or self.growth == 0 or self.growth >= 100, "growth", "0, or at least 100 inferences")


@dataclass(frozen=True)
class ServerSettings:
    """Of ``server``: queries arrive at random, independently (Poisson); latency counts from when each was due."""

    rate: float | None = None  # queries per second; null: the highest that meets the SLO is searched for
    slo_ms: float = 100.0
    slo_percentile: float = 99.0
    max_delay_ms: float = 0.0  # how long the first query of a batch may wait for others; a batch holds `batch` queries
    seconds: float = 10.0  # of arrivals at each rate that is tried
    trials: int = 8  # rates to try at most

    def __post_init__(self) -> None:
        _check(self.rate is None or self.rate > 0, "rate", "above 0")
        _check(self.slo_ms > 0, "slo_ms", "above 0")
        _check(0 < self.slo_percentile < 100, "slo_percentile", "between 0 and 100")
        _check(self.max_delay_ms >= 0, "max_delay_ms", "0 or above")
        _check(self.seconds > 0, "seconds", "above 0")
        _check(self.trials >= 1, "trials", "1 or above")
        _check(self.rate is None or self.trials == 8, "trials", "left out: a given rate is not searched for")

    @property
    def patience_s(self) -> float:
        """How long the oldest query waits before its rate is given up."""
        return max(PATIENCE * self.slo_ms / 1e3, PATIENCE_S)


@dataclass(frozen=True)
class CameraSettings:
    """Of ``camera``: frames arrive by the clock, whether or not the last one is done."""

    cameras: int = 1
    fps: float = 30.0
    deadline_ms: float | None = None  # from a frame's arrival to its final output; null: until the next frame arrives
    phase: str = "staggered"  # staggered | synchronous, as with one trigger | random
    drop: str = "stale"  # stale: a frame gives way to its camera's next one; never: each frame is worked on
    decode: bool = False  # each frame comes as an encoded image
    seconds: float = 10.0

    def __post_init__(self) -> None:
        _check(self.cameras >= 1, "cameras", "1 or above")
        _check(self.fps > 0, "fps", "above 0")
        _check(self.deadline_ms is None or self.deadline_ms > 0, "deadline_ms", "above 0")
        _check(self.phase in PHASES, "phase", f"one of {', '.join(PHASES)}")
        _check(self.drop in DROPS, "drop", f"one of {', '.join(DROPS)}")
        _check(self.seconds * self.fps >= 2, "seconds", "long enough for two frames of a camera")

    @property
    def deadline_ns(self) -> int:
        """From a frame's arrival, in nanoseconds."""
        return round((1e3 / self.fps if self.deadline_ms is None else self.deadline_ms) * _NS_PER_MS)


@dataclass(frozen=True)
class SoakSettings:
    """Of ``soak``: one long stretch of full load."""

    seconds: float = 600.0

    def __post_init__(self) -> None:
        _check(self.seconds >= 30, "seconds", "30 or above: less shows no throttling")


@dataclass(frozen=True)
class MlPerfSettings:
    """Of ``mlperf``: the official LoadGen drives the session."""

    mode: str = "single_stream"  # single_stream | multi_stream | server | offline
    accuracy: bool = False  # AccuracyOnly instead of Performance
    seconds: float | None = None  # null: the official minimum, 600; with less it may not be called MLPerf
    queries: int | None = None  # null: the official minimum; with less it may not be called MLPerf
    target_qps: float | None = None  # of server and offline; null: from a short measurement
    target_latency_ms: float | None = None  # of server
    samples: int = 8  # of a query of multi_stream

    def __post_init__(self) -> None:
        _check(self.mode in MODES, "mode", f"one of {', '.join(MODES)}")
        _check(self.seconds is None or self.seconds > 0, "seconds", "above 0")
        _check(self.queries is None or self.queries >= 1, "queries", "1 or above")
        _check(self.target_qps is None or self.target_qps > 0, "target_qps", "above 0")
        _check(self.target_latency_ms is None or self.target_latency_ms > 0, "target_latency_ms", "above 0")
        _check(self.mode != "server" or self.target_latency_ms is not None, "target_latency_ms", "given with `server`")
        _check(self.samples >= 1, "samples", "1 or above")
        # What has no effect would make another cell of the same work.
        rated = self.mode in {"server", "offline"}
        _check(self.target_qps is None or rated, "target_qps", "left out: `server` and `offline` alone take it")
        bounded = self.target_latency_ms is None or self.mode == "server"
        _check(bounded, "target_latency_ms", "left out: `server` alone takes it")
        _check(self.samples == 8 or self.mode == "multi_stream", "samples", "left out: `multi_stream` alone takes it")
        for key in ("seconds", "queries"):
            unused = self.accuracy and getattr(self, key) is not None
            _check(not unused, key, "left out: with `accuracy` every image is asked for once, however long that takes")


def _server_seconds(settings: ServerSettings) -> float:
    """Return how long a launch lasts at most where no trial is made longer.

    After the last arrival its batch may wait for others, and then be part of a backlog that is waited for.
    """
    each = settings.seconds + settings.max_delay_ms / 1e3 + settings.patience_s
    return each if settings.rate else CLOSED_S + each * settings.trials


def _server_trials(settings: ServerSettings) -> tuple[int, float]:
    return (0 if settings.rate else settings.trials), settings.seconds


def _latency(_settings: Any) -> Goal:
    return Goal.LATENCY


def _throughput(_settings: Any) -> Goal:
    return Goal.THROUGHPUT


def _mlperf_goal(settings: MlPerfSettings) -> Goal:
    return Goal.THROUGHPUT if settings.mode in {"server", "offline"} else Goal.LATENCY


def _mlperf_seconds(settings: MlPerfSettings) -> float:
    if settings.accuracy:
        return 0.0  # as long as the images take
    seconds = 600.0 if settings.seconds is None else settings.seconds
    # LoadGen makes 1.1 times the samples that fit in, of a rate that is taken 1.1 times too high to be safe.
    return 1.21 * seconds if settings.mode == "offline" else seconds


def _mlperf_inferences(settings: MlPerfSettings) -> int:
    if settings.accuracy:
        return 0  # as many as there are images
    if settings.mode == "multi_stream":
        return (settings.queries or _MULTI_STREAM_QUERIES) * settings.samples
    return settings.queries or 0


@dataclass(frozen=True)
class Kind:
    """One way of driving a session."""

    name: str
    driver: str  # module:function of the worker that makes one launch: (LaunchJob, Stages) → LaunchAnswer
    settings: type = NoSettings
    timed: bool = False  # leaves raw samples, and its row needs a proof of what was executed
    replicated: bool = False  # in as many launches as the preset says; otherwise one
    streams: bool = False  # drives more than one stream
    images: bool = False  # works on the encoded images themselves
    goal: Callable[[Any], Goal] = _latency
    lasting: Callable[[Any], float] | None = None  # settings → seconds of driving; absent: as the preset says
    inferences: Callable[[Any], int] | None = None  # settings → how many there are at least, however long each takes
    lengthened: Callable[[Any], tuple[int, float]] | None = None
    """Settings → how many stretches of it may be made longer for a percentile, and the seconds of each otherwise."""

    def configured(self, parameters: Mapping[str, Any]) -> Any:
        """Return the settings that a cell's parameters say; those that are not this kind's are left out."""
        known = self.settings.__dataclass_fields__  # type: ignore[attr-defined]  # it is a dataclass
        return self.settings(**{key: value for key, value in parameters.items() if key in known})


_ROOM = "harness.worker.scenarios"

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("prove", f"{_ROOM}.prove:drive"),
        Kind("latency", f"{_ROOM}.latency:drive", timed=True, replicated=True),
        Kind("sentinel", f"{_ROOM}.latency:drive", timed=True),
        Kind(
            "throughput",
            f"{_ROOM}.throughput:drive",
            timed=True,
            replicated=True,
            streams=True,
            goal=_throughput,
        ),
        Kind("end_to_end", f"{_ROOM}.end_to_end:drive", timed=True, replicated=True, images=True),
        Kind(
            "server",
            f"{_ROOM}.server:drive",
            ServerSettings,
            timed=True,
            replicated=True,
            streams=True,
            goal=_throughput,
            lasting=_server_seconds,
            lengthened=_server_trials,
        ),
        Kind(
            "camera",
            f"{_ROOM}.camera:drive",
            CameraSettings,
            timed=True,
            replicated=True,
            streams=True,
            images=True,
            lasting=lambda settings: settings.seconds,
        ),
        Kind(
            "soak",
            f"{_ROOM}.soak:drive",
            SoakSettings,
            timed=True,
            streams=True,
            goal=_throughput,
            lasting=lambda settings: settings.seconds,
        ),
        Kind(
            "mlperf",
            f"{_ROOM}.mlperf:drive",
            MlPerfSettings,
            timed=True,
            streams=True,
            goal=_mlperf_goal,
            lasting=_mlperf_seconds,
            inferences=_mlperf_inferences,
        ),
        Kind("memory", f"{_ROOM}.memory:drive", MemorySettings, replicated=True),
        Kind("accuracy", f"{_ROOM}.accuracy:drive", images=True),
    )
}
"""By name. ``sentinel`` is the plan's own."""

ASKED = tuple(name for name in KINDS if name != "sentinel")
"""Those that a suite may ask for."""


def _check(holds: bool, key: str, expected: str) -> None:  # noqa: FBT001 - a plain assertion
    if not holds:
        # In the form of the codec's messages, from which ``harness.settings`` takes the key.
        raise HarnessError(f"$.{key}: it must be {expected}")
