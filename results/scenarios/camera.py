"""What the launches of a ``camera`` cell say: how many frames missed their deadline, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.samples import STEADY, WARMUP
from harness.scenarios import KINDS
from results.driven import Camera
from results.scenarios.shares import pooled_share
from results.statistics import launch_interval, pooled_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measure.samples import Samples
    from harness.scenarios import CameraSettings
    from results.launches import Measured

_QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""p99.9 is what MLPerf Automotive's ConstantStream judges."""


@dataclass(frozen=True)
class _Frames:
    """The frames of one launch in the order in which they were due."""

    missed: np.ndarray  # (n,) bool: not done by the deadline, or never
    dropped: np.ndarray  # (n,) bool: given up for a later one
    overrun: np.ndarray  # (n,) bool: not done when the next one of its camera was due, or never
    response_ns: np.ndarray  # of those that were worked on
    worst_lateness_ns: int


def camera(launches: Sequence[Measured]) -> Camera:
    """Return how frames that came by the clock fared, over at least one launch.

    A frame that was dropped missed its deadline, but has no response: response and quantiles are of the frames that
    were worked on, and flatter a row that drops. Misses are rare and come in bursts, so the share is over the frames of
    all launches with an interval that knows both (see ``pooled_share``); that of each launch stands beside it, for one
    bad launch and a few misses in each are not the same machine. ``holds``: not one frame missed. How much that says
    is the upper bound of ``missed``, at most 3 / n.
    """
    record = launches[0].record
    settings: CameraSettings = KINDS["camera"].configured(record.cell.scenario.parameters)
    fared = [_fared(launch.samples, settings) for launch in launches]
    responses = [frames.response_ns for frames in fared]
    medians = [max(float(np.median(values)), 1.0) for values in responses if len(values)]
    missed = pooled_share([frames.missed for frames in fared])
    timings = [launch.record.timing for launch in launches]
    return Camera(
        cell_id=record.cell_id,
        title=record.cell.scenario.title,
        cameras=settings.cameras,
        fps=settings.fps,
        deadline_ms=settings.deadline_ns / 1e6,
        phase=settings.phase,
        drop=settings.drop,
        decode=settings.decode,
        streams=next((timing.streams for timing in timings if timing is not None), 0),
        launches=len(launches),
        missed=missed,
        launch_misses=tuple(float(frames.missed.mean()) if len(frames.missed) else 0.0 for frames in fared),
        dropped=sum(int(frames.dropped.sum()) for frames in fared),
        overruns=sum(int(frames.overrun.sum()) for frames in fared),
        response=launch_interval(medians) if medians else None,
        quantiles=tuple(pooled_quantile(responses, q) for q in _QUANTILES),
        worst_lateness_ns=float(max(frames.worst_lateness_ns for frames in fared)),
        verdict="holds" if missed.of and not missed.count else "misses",
    )


def _fared(samples: Samples, settings: CameraSettings) -> _Frames:
    rows = np.flatnonzero(samples.phase != WARMUP)
    rows = rows[np.argsort(samples.scheduled_ns[rows], kind="stable")]
    scheduled_ns = samples.scheduled_ns[rows]
    worked = samples.phase[rows] == STEADY
    response_ns = samples.end_ns[rows] - scheduled_ns
    lateness_ns = response_ns[worked] - settings.deadline_ns
    return _Frames(
        missed=~worked | (response_ns > settings.deadline_ns),
        dropped=~worked,
        overrun=~worked | (response_ns > _until_next_ns(scheduled_ns, samples.stream[rows], settings.fps)),
        response_ns=response_ns[worked],
        worst_lateness_ns=max(int(lateness_ns.max(initial=0)), 0),
    )


def _until_next_ns(scheduled_ns: np.ndarray, camera: np.ndarray, fps: float) -> np.ndarray:
    """Return how long after each frame its camera's next one is due; after the last one that is an interval."""
    until_ns = np.full(len(scheduled_ns), round(1e9 / fps), dtype=np.int64)
    for index in np.unique(camera):
        own = np.flatnonzero(camera == index)
        until_ns[own[:-1]] = np.diff(scheduled_ns[own])
    return until_ns
