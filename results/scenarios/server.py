"""What the launches of a ``server`` cell say: at which rates of arrivals the SLO was kept, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.samples import Samples
from harness.measure.slo import backlog_grows
from harness.scenarios import KINDS
from harness.statistics import minimum_effective_samples
from results.driven import RateTried, Server
from results.row import Interval, Quantile
from results.scenarios.shares import pooled_share
from results.statistics import pooled_quantile, rate_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.scenarios import ServerSettings
    from harness.vocabulary import Trial
    from results.driven import Share
    from results.launches import Measured

MEETS, MISSES, UNDECIDED = "meets", "misses", "undecided"


@dataclass(frozen=True)
class _Stretch:
    """One trial of one launch: its settings and its queries in order of due time."""

    launch: int
    trial: Trial
    samples: Samples  # of those that were answered
    late: np.ndarray  # (offered,) bool; those given up, the last ones, are late

    @property
    def given_up(self) -> int:
        return self.trial.offered - self.trial.rows

    @property
    def stable(self) -> bool:
        """Whether the backlog had an end, and did not grow towards none."""
        return not self.given_up and not backlog_grows(self.samples.scheduled_ns, self.samples.response_ns)

    def tried(self, q: float) -> RateTried:
        """Return what it says; ``q`` in (0, 1).

        Where queries were given up there is no quantile: that of the others would be the best of a queue without end.
        """
        response = Quantile(q, None, None, None, 0.0, minimum_effective_samples(q))
        if not self.given_up:
            response = pooled_quantile([self.samples.response_ns], q)
        late = pooled_share([self.late])
        trial = self.trial
        return RateTried(self.launch, trial.rate_hz, response, late, self.stable, trial.offered, trial.rows)


def server(launches: Sequence[Measured]) -> Server:
    """Return what at least one launch of one cell says of the SLO.

    A searched rate is the highest of a launch that kept the SLO, by the count of late queries; the interval is over
    launches. Searched, a cell ``meets`` where every launch found such a rate with queries enough for the percentile,
    and ``misses`` where none did. At a given rate it ``meets`` where
    the whole interval of the share of late queries, over launches (see ``pooled_share``), lies within what it may be,
    and no backlog grew; it ``misses`` where none of the interval does, or the backlog grew in every launch.
    """
    record = launches[0].record
    settings: ServerSettings = KINDS["server"].configured(record.cell.scenario.parameters)
    q = settings.slo_percentile / 100
    by_launch = [list(_stretches(launch, settings)) for launch in launches]
    stretches = [stretch for each in by_launch for stretch in each]
    tried = tuple(stretch.tried(q) for stretch in stretches)
    timings = [launch.record.timing for launch in launches]
    streams = next((timing.streams for timing in timings if timing is not None), 0)
    delay_ns = round(settings.max_delay_ms * 1e6)
    late_starts = [lateness_ns(stretch.samples, streams, record.cell.batch, delay_ns) for stretch in stretches]
    lateness = np.concatenate([*late_starts, np.zeros(0)])
    if settings.rate is None:
        best = list(highest_met(tried).values())
        rates = [one.rate_hz for one in best]
        carried = all(one.response.value_ns is not None for one in best)
        verdict = MEETS if len(best) == len(launches) and carried else UNDECIDED if best else MISSES
        message = _found(settings, rates, len(launches)) if rates else _none_met(settings, tried, stretches)
        if best and not carried:
            message += f"; n is too small for p{settings.slo_percentile:g}"
        if any(all(one.meets for one in tried if one.launch == top.launch) for top in best):
            message += "; no higher rate was tried"
        rate = rate_interval(rates) if rates else None
    else:
        late = pooled_share([stretch.late for stretch in stretches])
        verdict = _judged(late, [one.stable for one in tried], q)
        # The suite's own number has no spread: what is uncertain is the share of late queries.
        rate = Interval(settings.rate, None, None, len(launches)) if verdict == MEETS else None
        message = _share_late(settings, late, sum(not one.stable for one in tried), len(launches))
    return Server(
        cell_id=record.cell_id,
        title=record.cell.scenario.title,
        streams=streams,
        batch=record.cell.batch,
        slo_ms=settings.slo_ms,
        slo_percentile=settings.slo_percentile,
        searched=settings.rate is None,
        rate_hz=rate,
        tried=tried,
        lateness_ns=float(np.quantile(lateness, 0.99, method="inverted_cdf")) if len(lateness) else 0.0,
        verdict=verdict,
        message=message,
    )


def lateness_ns(samples: Samples, streams: int, size: int, delay_ns: int) -> np.ndarray:
    """Return how late each batch began that a stream was waiting for: the harness's own doing, not the engine's.

    ``samples``: of one trial, in order of due time, so that rows with one start are one batch. It is ready when its
    last query is due where it is full, and ``delay_ns`` after its first one at the latest. A stream was waiting where
    fewer batches before it than there are ``streams`` were not done by then.
    """
    if not len(samples):
        return np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.concatenate([[True], np.diff(samples.start_ns) != 0]))
    after = np.append(first[1:], len(samples))
    closes_ns = samples.scheduled_ns[first] + delay_ns
    full = after - first == size
    ready_ns = np.where(full, np.minimum(samples.scheduled_ns[after - 1], closes_ns), closes_ns)
    # What comes after a batch is not done before it begins, so all that is done by then was before it.
    done = np.searchsorted(np.sort(samples.end_ns[first]), ready_ns, side="right")
    waiting = np.arange(len(first)) - done < streams
    return np.asarray((samples.start_ns[first] - ready_ns)[waiting])


def _stretches(launch: Measured, settings: ServerSettings) -> Iterator[_Stretch]:
    for trial in launch.record.trials:
        rows = slice(trial.first, trial.first + trial.rows)
        samples = Samples(**{column.name: getattr(launch.samples, column.name)[rows] for column in fields(Samples)})
        late = np.ones(trial.offered, dtype=bool)
        late[: trial.rows] = samples.response_ns > settings.slo_ms * 1e6
        yield _Stretch(launch.record.launch.index, trial, samples, late)


def highest_met(tried: Sequence[RateTried]) -> dict[int, RateTried]:
    """Return the highest rate of each launch that kept the SLO, by launch, of those that found one."""
    highest: dict[int, RateTried] = {}
    for one in sorted(tried, key=lambda one: one.rate_hz):
        if one.meets:
            highest[one.launch] = one
    return highest


def _judged(late: Share, stable: Sequence[bool], q: float) -> str:
    allowed = 1 - q
    if late.low > allowed or not any(stable):
        return MISSES
    return MEETS if late.high <= allowed and all(stable) else UNDECIDED


def _found(settings: ServerSettings, rates: Sequence[float], launches: int) -> str:
    some = f", in {len(rates)} of {launches} launches alone" if len(rates) < launches else ""
    return f"{_slo(settings)} up to {rate_interval(rates).estimate:.4g} queries per second{some}"


def _none_met(settings: ServerSettings, tried: Sequence[RateTried], stretches: Sequence[_Stretch]) -> str:
    none = f"no rate meets {_slo(settings)}"
    seen = [one.response.value_ns for one in tried if one.response.value_ns is not None]
    if seen:
        return f"{none}; the lowest seen was {_ms(min(seen))}"
    medians = [float(np.median(stretch.samples.response_ns)) for stretch in stretches if len(stretch.samples)]
    if medians:
        return f"{none}; n is too small for that percentile, the lowest median was {_ms(min(medians))}"
    return f"{none}; no query was answered"


def _share_late(settings: ServerSettings, late: Share, growing: int, launches: int) -> str:
    grew = f"; the backlog grew in {growing} of {launches} launches" if growing else ""
    share = f"{late.estimate:.2%} of {late.of:,} queries were late, at most {late.high:.2%}"
    return f"{_slo(settings)} at {settings.rate:g} queries per second: {share}{grew}"


def _slo(settings: ServerSettings) -> str:
    return f"p{settings.slo_percentile:g} ≤ {settings.slo_ms:g} ms"


def _ms(value_ns: float) -> str:
    value = value_ns / 1e6
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
