"""What is asked of a machine: how late an answer may be, how accurate it must be, how much there is to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slo:
    """A percentile of the response and its limit: ``p99 ≤ 33 ms``."""

    percentile: float  # in (0, 100)
    limit_ns: float


@dataclass(frozen=True)
class Load:
    """Items that arrive; those of one source go to one device."""

    rate_hz: float  # of one source
    sources: int = 1  # cameras
    cameras: bool = False  # False: a rate that may be split over devices at will

    @property
    def items_per_s(self) -> float:
        """Items per second of all sources."""
        return self.rate_hz * self.sources


@dataclass(frozen=True)
class Demand:
    """The whole of it; what is ``None`` is not asked for."""

    slo: Slo | None = None
    minimum_accuracy: float | None = None  # share of the FP32 row's metric
    load: Load | None = None
    workload: str | None = None  # of several in the runs
