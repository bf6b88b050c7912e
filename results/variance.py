"""Where the spread of a latency comes from: build to build, launch to launch, iteration to iteration."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics import integrated_autocorrelation_time

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from results.launches import Measured


@dataclass(frozen=True)
class Split:
    """Standard deviations of the logarithm of a latency, 0.02 being 2 %, by where they arise.

    ``None`` where nothing tells them: builds need two of them, launches two of one build. Never negative: an estimate
    below nothing is 0, the spread there being too small to show beside the others.
    """

    build: float | None
    launch: float | None
    iteration: float | None
    launches: int
    builds: int


@dataclass(frozen=True)
class _Launch:
    """One launch: the mean of its logarithms, and what iterations alone make it vary by."""

    mean: float
    variance: float  # of the mean
    squares: float  # sum of squared deviations of the iterations
    degrees: float  # of freedom of ``squares``


def split(launches: Sequence[tuple[Hashable, np.ndarray]]) -> Split:
    """Return the components of variance of log latency over launches: (build, steady latencies in order of time).

    A nested random model: an effect of the build, of the launch within it, of the iteration within that. Method of
    moments for unequal numbers: expected mean squares are set equal to those observed. Source: Searle, Casella and
    McCulloch, Variance Components, Wiley, 1992, chapters 3 and 5. Iterations depend on each other: a mean over n of
    them varies as one over n / τ does, and their sum of squares is worth n - τ degrees. Raises ``ValueError`` for a
    latency that is not positive.
    """
    builds: dict[Hashable, list[_Launch]] = defaultdict(list)
    for build, latencies_ns in launches:
        if len(latencies_ns):
            builds[build].append(_launch(np.asarray(latencies_ns, dtype=np.float64)))
    every = [launch for group in builds.values() for launch in group]
    degrees = math.fsum(launch.degrees for launch in every)
    iteration = math.fsum(launch.squares for launch in every) / degrees if degrees > 0 else None
    within, between = _components(list(builds.values()))
    return Split(_deviation(between), _deviation(within), _deviation(iteration), len(every), len(builds))


def split_of(measured: Sequence[Measured]) -> Split:
    """Return the components over the launches of one timed cell; a build is known by the hash of its artifact."""
    return split(
        [
            (
                launch.record.artifact.content_hash if launch.record.artifact else None,
                np.maximum(launch.samples.host_to_host_ns, 1),
            )
            for launch in measured
        ]
    )


def _launch(latencies_ns: np.ndarray) -> _Launch:
    if np.any(~np.isfinite(latencies_ns)) or np.any(latencies_ns <= 0):
        raise ValueError("a duration is positive")
    logs, n = np.log(latencies_ns), len(latencies_ns)
    mean = float(logs.mean())
    squares = float(((logs - mean) ** 2).sum())
    time = integrated_autocorrelation_time(logs)
    # E[squares] = (n - τ) times the variance of one: n of it, less n times that of their mean.
    degrees = n - time
    if degrees <= 0:
        return _Launch(mean, 0.0, 0.0, 0.0)
    return _Launch(mean, squares / degrees * time / n, squares, degrees)


def _components(builds: Sequence[Sequence[_Launch]]) -> tuple[float | None, float | None]:
    """Return the variance of launches within a build, and of builds, from the means of launches."""
    sizes = [len(group) for group in builds]
    total, degrees = sum(sizes), sum(sizes) - len(builds)
    if degrees < 1:
        return None, None  # each launch has a build of its own: the two cannot be told apart
    means = [math.fsum(launch.mean for launch in group) / len(group) for group in builds]
    grand = math.fsum(size * mean for size, mean in zip(sizes, means, strict=True)) / total
    inside = math.fsum((launch.mean - mean) ** 2 for group, mean in zip(builds, means, strict=True) for launch in group)
    # What iterations add to the expectation of each sum of squares.
    noise = [math.fsum(launch.variance for launch in group) for group in builds]
    within = (inside - math.fsum(v * (1 - 1 / n) for v, n in zip(noise, sizes, strict=True))) / degrees
    if len(builds) < 2:
        return within, None
    across = math.fsum(size * (mean - grand) ** 2 for size, mean in zip(sizes, means, strict=True))
    added = math.fsum(v * (1 / n - 1 / total) for v, n in zip(noise, sizes, strict=True))
    weight = total - sum(size**2 for size in sizes) / total
    return within, (across - (len(builds) - 1) * within - added) / weight


def _deviation(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(max(variance, 0.0))
