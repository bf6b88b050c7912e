"""Queries that arrive at random, as from many independent callers: at one rate, or at the highest that meets an SLO."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.measure import loop
from harness.measure.noise import NoiseWatch
from harness.measure.open_loop import Arrivals, Batching, open_loop
from harness.measure.samples import WARMUP, Samples
from harness.measure.slo import backlog_grows, kept
from harness.scenarios import CLOSED_S, KINDS
from harness.statistics import ample_samples
from harness.vocabulary import Stage, Trial
from harness.worker.scenarios import opened as opening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.engine import Stream
    from harness.jobs import LaunchAnswer, LaunchJob
    from harness.scenarios import ServerSettings
    from harness.vocabulary import NoiseReading
    from harness.worker.scenarios.opened import Opened
    from harness.worker.stage import Stages

FIRST, STEP, LEAST = 0.7, 1.25, 0.1
"""Of that rate: what a search tries first; by how much it rises; below what a query hardly ever waits for another."""
PRECISE = 1.02
"""Ratio of the lowest rate that failed to the highest that did not, at which a search ends."""


def drive(job: LaunchJob, stages: Stages) -> LaunchAnswer:
    """Offer queries at one rate, or at several in search of the highest that keeps the SLO.

    That no rate does is an answer too. Rows of the warm-up and of the closed loop come first, then each trial's.
    """
    settings: ServerSettings = KINDS["server"].configured(job.parameters)
    opened = opening.opened(job, stages)
    streams = opening.streams_of(job, opened)
    first_ns = opening.first(opened, stages)
    agreement = opening.verify(job, opened, stages)
    stages.enter(Stage.WARMUP)
    closed = loop.concurrent(
        streams,
        opened.work,
        opened.task.postprocess,
        lambda stream, columns: opening.warm(job, opened, stream, columns, len(streams)),
        CLOSED_S if settings.rate is None else 0.0,
    ).samples
    stages.enter(Stage.STEADY)
    trials = _Trials(job, settings, opened, streams, [replace(closed, phase=np.full_like(closed.phase, WARMUP))])
    if settings.rate is None:
        reason = search(trials.keeps, items_per_s(closed, job.session.batch), settings.trials)
    else:
        reason = "max_time" if trials.keeps(settings.rate) or not trials.given_up else "backlog"
    stages.enter(Stage.RECORD)
    samples = Samples.joined(trials.parts)
    timing = opening.timing(opened, first_ns, samples, streams=len(streams), reason=reason)
    return opening.filed(
        job, opened, timing, samples, agreement=agreement, noise=trials.noise, trials=tuple(trials.done)
    )


@dataclass
class _Trials:
    """Stretches of arrivals at one rate each, the queue empty before each."""

    job: LaunchJob
    settings: ServerSettings
    opened: Opened
    streams: Sequence[Stream]
    parts: list[Samples]
    done: list[Trial] = field(default_factory=list)
    given_up: int = 0
    noise: dict[str, NoiseReading] = field(default_factory=dict)  # over all of them
    watch: NoiseWatch = field(default_factory=NoiseWatch)

    def keeps(self, rate_hz: float) -> bool:
        """Return whether the SLO was kept at this rate, all of whose rows are noted."""
        settings = self.settings
        slo_ns = settings.slo_ms * 1e6
        seconds = stretch_s(settings, rate_hz, self.job.limits.maximum_s)
        arrivals = poisson(rate_hz, seconds, self.job.seed)
        done = open_loop(
            self.streams,
            self.opened.work,
            self.opened.task.postprocess,
            arrivals,
            Batching(self.job.session.batch, round(settings.max_delay_ms * 1e6)),
            give_up_ns=round(settings.patience_s * 1e9),
            # Each rate has threads of its own, which end with it.
            around=loop.Around(self.watch.start, lambda: self.noise.update(self.watch.stop())),
        )
        samples = replace(done.samples, stream=done.stream)
        offered = len(samples) + done.given_up
        if done.given_up:
            seconds = float(arrivals.due_ns[offered - 1]) / 1e9
        first = sum(map(len, self.parts))
        self.parts.append(samples)
        self.given_up += done.given_up
        late = int(np.count_nonzero(samples.response_ns > slo_ns)) + done.given_up
        endless = done.given_up > 0 or backlog_grows(samples.scheduled_ns, samples.response_ns)
        keeps = not endless and kept(late, offered, settings.slo_percentile / 100)
        self.done.append(Trial(rate_hz, seconds, offered, first, len(samples), keeps))
        return keeps


def stretch_s(settings: ServerSettings, rate_hz: float, longest_s: float) -> float:
    """Return how long queries arrive at one rate: as set, or longer where the SLO's percentile needs more of them.

    ``longest_s``: beyond which it is not made longer. There are never more queries than a closed loop has rows.
    """
    needed_s = ample_samples(settings.slo_percentile / 100) / rate_hz
    return min(max(settings.seconds, min(needed_s, longest_s)), loop.MAXIMUM_ROWS / rate_hz)


def search(keeps: Callable[[float], bool], capacity_hz: float, trials: int) -> str:
    """Look for the highest rate that ``keeps``, and return why it ended: ``precise``, ``no_rate`` or ``max_trials``.

    From 70 % of the rate of a closed loop upwards by a quarter, or downwards by half, until one is kept and a higher
    one is not; then between them, in the middle of their logarithms. ``no_rate``: not even one is kept at which
    queries hardly wait for each other.
    """
    low = high = None
    rate_hz = FIRST * capacity_hz
    for _ in range(trials):
        if keeps(rate_hz):
            low = rate_hz
        else:
            high = rate_hz
        if low is None:
            if rate_hz <= LEAST * capacity_hz:
                return "no_rate"
            rate_hz /= 2
        elif high is None:
            rate_hz *= STEP
        elif high <= PRECISE * low:
            return "precise"
        else:
            rate_hz = math.sqrt(low * high)
    return "max_trials" if low is not None else "no_rate"


def poisson(rate_hz: float, seconds: float, seed: Sequence[int]) -> Arrivals:
    """Return independent arrivals, ``rate_hz`` per second on average, as far as they are due within ``seconds``.

    Gaps are drawn once per seed and scaled: another rate, or another engine, sees the same pattern.
    """
    expected = rate_hz * seconds
    # Eight standard deviations more than are expected; of a longer row of draws the beginning is the same.
    count = math.ceil(expected + 8 * math.sqrt(expected) + 8)
    due_s = np.random.default_rng(seed).standard_exponential(count).cumsum() / rate_hz
    due_ns = (due_s[due_s < seconds] * 1e9).astype(np.int64)
    return Arrivals(due_ns, np.zeros_like(due_ns))


def items_per_s(closed: Samples, batch: int) -> float:
    """Return what streams did in a closed loop, all together, each over its own time from first start to last end."""
    steady = closed.steady()
    rates = []
    for stream in np.unique(steady.stream):
        rows = steady.stream == stream
        took_ns = int(steady.end_ns[rows].max() - steady.start_ns[rows].min())
        rates.append(batch * np.count_nonzero(rows) * 1e9 / max(took_ns, 1))
    return float(sum(rates))
