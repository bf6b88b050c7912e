"""What a row held of an SLO while items arrived: at random in ``server``, by the clock in ``camera``."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.measure.slo import kept
from harness.statistics import minimum_effective_samples
from results.findings import MINIMUM_LAUNCHES
from results.formats.amounts import amount
from results.procurement.demand_text import shown_slo
from results.procurement.offers import Constraint
from results.procurement.retained import percent
from results.procurement.trust import untold
from results.row import Interval
from results.statistics import rate_interval
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from results.driven import Camera, RateTried, Server
    from results.procurement.demand import Slo
    from results.row import Row

_NS_PER_MS = 1e6
_LOWER = "raise the limit, or offer lower rates"
_EQUAL = 1 + 1e-9
"""Limits that differ by less are one: milliseconds in decimals, and nanoseconds."""


@dataclass(frozen=True)
class Held:
    """Items per second that were held, and by what."""

    items_per_s: Interval
    words: str
    streams: int
    at_least: bool = False  # more may be held: no higher load was tried
    by_launch: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Missing:
    """Why a row has no capacity, and what would give it one."""

    constraint: Constraint
    reason: str
    to_do: str


def held(row: Row, slo: Slo) -> tuple[Held, ...] | Missing:
    """Return all that a row held within an SLO, or the one thing that says best why that is nothing.

    ``server`` counts queries and ``camera`` frames, each of one item, whatever their batches.
    """
    found = [
        *(_of_server(server, slo) for server in row.servers),
        *(_of_camera(camera, slo) for camera in row.cameras),
    ]
    good = tuple(one for one in found if isinstance(one, Held))
    if good:
        return good
    missing = [one for one in found if isinstance(one, Missing)]
    if missing:
        # What was held, if in too few launches, is nearer than what was not.
        return min(missing, key=lambda one: one.constraint is not Constraint.TRUST)
    failed = [why for why in (untold(row, "server"), untold(row, "camera")) if why is not None]
    why = "; ".join(failed) or "no scenario with arrivals was run for it"
    return Missing(Constraint.SLO, why, "add server or camera to the suite, with the SLO that is asked for")


def limits(row: Row, percentile: float) -> Iterator[float]:
    """Yield every limit, in nanoseconds, at which more might be held than just below it; ``percentile`` in (0, 100)."""
    for server in row.servers:
        yield server.slo_ms * _NS_PER_MS
        for one in server.tried:
            if one.stable and one.response.value_ns is not None and _covers(one.response.q, percentile):
                yield one.response.value_ns
    for camera in row.cameras:
        yield camera.deadline_ms * _NS_PER_MS
        yield from (
            each.high_ns for each in camera.quantiles if each.high_ns is not None and _covers(each.q, percentile)
        )


def _of_server(server: Server, slo: Slo) -> Held | Missing:
    """Return what every launch held whose percentile lies within the limit.

    At a rate that the suite gives, launches carry the percentile together. Those that search find rates of their own:
    the mean of these counts where each of them carries it alone; else the highest rate at or above which they carry it
    together, each with a part.
    """
    tried: dict[int, list[RateTried]] = defaultdict(list)
    for one in server.tried:
        tried[one.launch].append(one)
    within = {launch: [one for one in each if _within(one, server, slo)] for launch, each in tried.items()}
    required = minimum_effective_samples(slo.percentile / 100)
    met = sum(map(bool, within.values()))
    longer = "raise `seconds` of its server scenario"
    if not met:
        return _none_met(server, slo)
    if met < len(tried):
        words = f"only {met} of {len(tried)} launches met {_shown(slo)} at a rate that was tried"
        return Missing(Constraint.SLO, words, _LOWER)
    together = _together(within.values(), required)
    if together is None:
        return Missing(Constraint.SLO, _too_few(within.values(), required, slo), longer)
    # What keeps a narrower limit keeps its own, which at a given rate is judged by the bound of its late queries.
    narrower = _like(server, slo) and _at_most(slo.limit_ns, server.slo_ms * _NS_PER_MS)
    if not server.searched and narrower and server.verdict != "meets":
        return Missing(Constraint.SLO, server.message or f"{_shown(slo)} is {server.verdict}", longer)
    if met < MINIMUM_LAUNCHES:
        return _few(met, "server")
    if not server.searched:  # the suite's own number has no spread
        words = f"{_shown(slo)} (server, {counted(server.streams, 'stream')})"
        return Held(Interval(together, None, None, met), words, server.streams, at_least=True)
    return _searched(server, slo, within, together)


def _searched(server: Server, slo: Slo, within: Mapping[int, Sequence[RateTried]], together: float) -> Held:
    """Return what launches found that carry the percentile alone, or ``together``, whichever is more.

    ``within``: what each launch kept, at least one rate. What they carry together has the interval of the highest rates
    that they kept.
    """
    required = minimum_effective_samples(slo.percentile / 100)
    highest = {launch: max(map(_rate_hz, each)) for launch, each in within.items()}
    able = {
        launch: [one for one in each if one.response.effective_samples >= required] for launch, each in within.items()
    }
    # No higher rate was tried, or what kept one was too few queries to tell.
    more = any(rate == max(one.rate_hz for one in server.tried if one.launch == of) for of, rate in highest.items())
    how = f"{_shown(slo)} (server, {counted(server.streams, 'stream')}"
    found = []
    if all(able.values()):
        alone = {launch: max(map(_rate_hz, each)) for launch, each in able.items()}
        found.append(
            Held(rate_interval(list(alone.values())), f"{how})", server.streams, more or alone != highest, alone)
        )
    seen = rate_interval(list(highest.values()))
    rate = replace(seen, estimate=together, low=None if seen.low is None else min(seen.low, together))
    words = f"{how}, at the lowest rate that launches kept: only together they carry p{slo.percentile:g})"
    found.append(Held(rate, words, server.streams, more, highest))
    return max(found, key=lambda one: one.items_per_s.estimate)


def _rate_hz(one: RateTried) -> float:
    return one.rate_hz


def _together(within: Iterable[Sequence[RateTried]], required: float) -> float | None:
    """Return the highest rate that every launch kept, or one above it, with queries enough at it and above together.

    What is kept at a rate is kept at a lower one. ``within``: of each launch what it kept, at least one rate.
    """
    each = [list(kept_by) for kept_by in within]
    for rate_hz in sorted({one.rate_hz for kept_by in each for one in kept_by}, reverse=True):
        counting = [[one for one in kept_by if one.rate_hz >= rate_hz] for kept_by in each]
        if all(counting) and sum(one.response.effective_samples for some in counting for one in some) >= required:
            return rate_hz
    return None


def _too_few(within: Iterable[Sequence[RateTried]], required: float, slo: Slo) -> str:
    """Return that what launches kept has too few queries, and by how much longer they would have to arrive."""
    carried = sum(one.response.effective_samples for each in within for one in each)
    words = (
        f"undecided, n is too small for p{slo.percentile:g}: {math.floor(carried):,} independent queries, "
        f"{math.ceil(required):,} are needed"
    )
    return f"{words}, about {required / carried:.2g} times as many" if carried > 0 else words


def _of_camera(camera: Camera, slo: Slo) -> Held | Missing:
    """Return cameras × frames per second, where frames are known to have been late seldom enough."""
    decoding = ", decoding included" if camera.decode else ""
    load = f"{counted(camera.cameras, 'camera')} at {camera.fps:g} fps{decoding}"
    allowed = 1 - slo.percentile / 100
    by_deadline = _at_most(camera.deadline_ms * _NS_PER_MS, slo.limit_ns) and camera.missed.high <= allowed + 1e-12
    if not (camera.missed.of and (by_deadline or _by_quantile(camera, slo))):
        return Missing(Constraint.SLO, _late(camera, slo, load), "raise the limit, or try fewer cameras")
    if camera.launches < MINIMUM_LAUNCHES:
        return _few(camera.launches, "camera")
    words = f"{_shown(slo)} ({load})"
    rate = Interval(camera.cameras * camera.fps, None, None, camera.launches)
    return Held(rate, words, camera.streams, at_least=True)


def _within(one: RateTried, server: Server, slo: Slo) -> bool:
    """Whether a rate was seen to keep the SLO: by its late queries, of a limit no wider, or by its own percentile."""
    if not one.stable:
        return False
    few_late = kept(one.late.count, one.late.of, slo.percentile / 100)
    if few_late and _at_most(server.slo_ms * _NS_PER_MS, slo.limit_ns):
        return True
    if one.response.value_ns is None or _same(server, slo):
        return False
    return _covers(one.response.q, slo.percentile) and _at_most(one.response.value_ns, slo.limit_ns)


def _same(server: Server, slo: Slo) -> bool:
    own_ns = server.slo_ms * _NS_PER_MS
    return _like(server, slo) and _at_most(own_ns, slo.limit_ns) and _at_most(slo.limit_ns, own_ns)


def _like(server: Server, slo: Slo) -> bool:
    return abs(server.slo_percentile - slo.percentile) < 1e-9


def _none_met(server: Server, slo: Slo) -> Missing:
    covering = [one.response for one in server.tried if _covers(one.response.q, slo.percentile)]
    if server.tried and not covering:
        words = f"its server scenario looked at p{server.slo_percentile:g}, which does not tell p{slo.percentile:g}"
        return Missing(Constraint.SLO, words, f"run its server scenario with slo_percentile: {slo.percentile:g}")
    seen = [each.value_ns for each in covering if each.value_ns is not None]
    lowest = f"; the lowest seen was {amount(min(seen), 'ns')}" if seen else ""
    return Missing(Constraint.SLO, f"no rate meets {_shown(slo)}{lowest}", _LOWER)


def _by_quantile(camera: Camera, slo: Slo) -> bool:
    """Whether every frame was worked on, and the percentile surely lies within the limit."""
    within = (
        each.high_ns is not None and _covers(each.q, slo.percentile) and _at_most(each.high_ns, slo.limit_ns)
        for each in camera.quantiles
    )
    return not camera.dropped and any(within)


def _late(camera: Camera, slo: Slo, load: str) -> str:
    if not camera.missed.of:
        return f"no frame of {load} was due"
    deadline = amount(camera.deadline_ms * _NS_PER_MS, "ns")
    if not _at_most(camera.deadline_ms * _NS_PER_MS, slo.limit_ns):
        return f"its deadline with {load} was {deadline}, which does not tell {_shown(slo)}"
    share = f"{percent(camera.missed.estimate)} of frames missed {deadline}, at most {percent(camera.missed.high)}"
    return f"{_shown(slo)} is not kept with {load}: {share}"


def _few(launches: int, scenario: str) -> Missing:
    words = f"{counted(launches, f'{scenario} launch', f'{scenario} launches')}, {MINIMUM_LAUNCHES} are needed"
    return Missing(Constraint.TRUST, f"{words} for a recommendation", "run it with the preset `default` or above")


def _shown(slo: Slo) -> str:
    return shown_slo(slo) if math.isfinite(slo.limit_ns) else f"p{slo.percentile:g}"


def _covers(q: float, percentile: float) -> bool:
    """Whether a quantile in (0, 1) lies at or above a percentile: what it keeps, that keeps as well."""
    return 100 * q >= percentile - 1e-9


def _at_most(value_ns: float, limit_ns: float) -> bool:
    return value_ns <= limit_ns * _EQUAL
