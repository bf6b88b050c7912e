"""How much one device holds for long: what a soak sustained, and under an SLO what arrivals showed as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from results.findings import MINIMUM_LAUNCHES
from results.procurement import arrivals
from results.procurement.arrivals import Held, Missing
from results.procurement.offers import Capacity, Constraint
from results.procurement.power import power_mode
from results.procurement.trust import untold
from results.row import Interval
from results.statistics import launch_interval
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from results.driven import Soak
    from results.procurement.demand import Slo
    from results.row import Row
    from results.sources import Source

__all__ = ["Missing", "capacity", "ceiling", "least_limit", "spread"]


@dataclass(frozen=True)
class _Within:
    """What was held under arrivals, and the sustained rate that goes with it."""

    held: Held
    sustained: Held

    @property
    def limiting(self) -> Held:
        """The lower of the two."""
        return min(self.sustained, self.held, key=lambda one: one.items_per_s.estimate)


def capacity(row: Row, slo: Slo | None, source: Source | None) -> Capacity | tuple[Missing, ...]:
    """Return the items per second that one device holds for long, within the SLO where there is one.

    Without an SLO it is the best sustained rate of the row's soaks, never that of a burst. With one it is the lower of
    that and of what ``server`` or ``camera`` held within the SLO, whichever of them held more; the soak with as many
    streams goes with each, where there is one. Everything that is not known is named, at least one thing. ``source``:
    the run, for the power mode that it states.
    """
    best = _sustained(row)
    if slo is None:
        return (best,) if isinstance(best, Missing) else _capacity(best, (best,), row, source)
    held = arrivals.held(row, slo)
    if isinstance(held, Missing) or isinstance(best, Missing):
        return tuple(each for each in (best, held) if isinstance(each, Missing))
    pairs = [_Within(one, _soak_for(row, one.streams, best)) for one in held]
    most = max(pairs, key=lambda pair: pair.limiting.items_per_s.estimate)
    other = most.held if most.limiting is most.sustained else most.sustained
    return _capacity(most.limiting, (most.limiting, other), row, source)


def ceiling(row: Row) -> float | None:
    """Return what one device could hold at most: the high end of its best sustained rate; ``None`` without a soak."""
    best = _sustained(row)
    if isinstance(best, Missing):
        return None
    high = best.items_per_s.high
    return best.items_per_s.estimate if high is None else max(high, best.items_per_s.estimate)


def least_limit(
    row: Row, slo: Slo, source: Source | None, enough: Callable[[Capacity], bool]
) -> tuple[Slo, Capacity] | None:
    """Return the lowest limit above that of ``slo`` at which a row has a capacity that is ``enough``, and that.

    Capacities grow with the limit, and only at limits that were seen, so that the search is exact; the limit is rounded
    up to three digits. ``None`` where no limit gives that, or where none was tried.
    """
    limits = sorted({_rounded_up(limit) for limit in arrivals.limits(row, slo.percentile) if limit > slo.limit_ns})
    found = None
    low, high = 0, len(limits)
    while low < high:
        middle = (low + high) // 2
        asked = replace(slo, limit_ns=limits[middle])
        at_limit = capacity(row, asked, source)
        if isinstance(at_limit, Capacity) and enough(at_limit):
            found, high = (asked, at_limit), middle
        else:
            low = middle + 1
    return found


def spread(row: Row, streams: int) -> float | None:
    """Return how far the rate of one launch with so many streams may be off: a half-width, natural logarithms.

    Student's t × the spread of the logarithms of throughput launches at 95 %; ``None`` where fewer than five show it.
    """
    told = max((rate.launch_rates for rate in row.throughputs if rate.streams == streams), key=len, default=())
    if len(told) < MINIMUM_LAUNCHES or not all(0 < rate < math.inf for rate in told):
        return None
    mean = launch_interval(told)
    # The interval of the mean is narrower by the root of the launches than that of one of them.
    return None if mean.high is None else math.log(mean.high / mean.estimate) * math.sqrt(mean.launches)


def _sustained(row: Row) -> Held | Missing:
    """Return the best sustained rate, or why there is none."""
    soaks = _usable(row.soaks)
    replicated = [soak for soak in soaks if _launches_beside(row, soak) >= MINIMUM_LAUNCHES]
    if replicated:
        return max((_held(row, soak) for soak in replicated), key=lambda one: one.items_per_s.estimate)
    if soaks:
        return _alone(row, max(soaks, key=lambda soak: _launches_beside(row, soak)))
    add = "add the scenario soak to the suite"
    if row.soaks:
        return Missing(Constraint.SUSTAINED, "nothing was inferred at the end of its soak", "see the log of its soak")
    why = untold(row, "soak")
    if why is None:
        return Missing(Constraint.SUSTAINED, "its sustained throughput was not measured: it has no soak", add)
    hint = getattr(row.outcomes["soak"], "hint", "") or "see the log of its soak"
    return Missing(Constraint.SUSTAINED, f"its sustained throughput is not known: {why}", hint)


def _launches_beside(row: Row, soak: Soak) -> int:
    """Return how many launches of one scenario had the row under load beside its soak, which is a single one.

    Those of ``throughput`` with as many streams, which are what a soak begins with, or those under arrivals.
    """
    return max(
        (
            *(len(rate.launch_rates) for rate in row.throughputs if rate.streams == soak.streams),
            *(len({one.launch for one in server.tried}) for server in row.servers),
            *(camera.launches for camera in row.cameras),
        ),
        default=0,
    )


def _alone(row: Row, soak: Soak) -> Missing:
    beside = _launches_beside(row, soak)
    words = (
        f"its soak is one launch, and beside it {counted(beside, 'launch', 'launches') if beside else 'no launch'} of "
        f"throughput with {counted(soak.streams, 'stream')}, server or camera: {MINIMUM_LAUNCHES} are needed for a "
        "recommendation"
    )
    to_do = "run throughput beside its soak, with as many streams and the preset `default` or above"
    return Missing(Constraint.TRUST, words, to_do)


def _soak_for(row: Row, streams: int, best: Held) -> Held:
    """Return the best sustained rate with so many streams, else the best of all."""
    alike = [_held(row, soak) for soak in _usable(row.soaks) if soak.streams == streams]
    return max(alike, key=lambda one: one.items_per_s.estimate, default=best)


def _usable(soaks: Sequence[Soak]) -> list[Soak]:
    return [soak for soak in soaks if 0 < soak.sustained < math.inf]


def _held(row: Row, soak: Soak) -> Held:
    """Return the sustained rate with the interval that time and, where it is known, the spread of launches leave.

    The soak's own interval is over time, in one launch. Another launch might have been as far off as those of
    throughput are; the two are independent, so that their half-widths add in squares.
    """
    between = spread(row, soak.streams) or 0.0
    low, high = (_end(soak, end, sign, between) for end, sign in ((soak.ratio.low, -1.0), (soak.ratio.high, 1.0)))
    words = f"sustained over {soak.seconds:.0f} s (soak, {counted(soak.streams, 'stream')})"
    return Held(Interval(soak.sustained, low, high, 1), words, soak.streams)


def _end(soak: Soak, end: float | None, sign: float, between: float) -> float | None:
    ratio = soak.ratio.estimate
    if end is None or not 0 < end < math.inf or not 0 < ratio < math.inf:
        return None
    return soak.sustained * math.exp(sign * math.hypot(math.log(end / ratio), between))


def _capacity(limiting: Held, both: tuple[Held, ...], row: Row, source: Source | None) -> Capacity:
    found = limiting.items_per_s
    ends = [one.items_per_s for one in both if one.items_per_s.low is not None and one.items_per_s.high is not None]
    if found.low is not None and found.high is not None:
        # The other one may be the lower in truth.
        low = min(each.low for each in ends if each.low is not None)
        found = replace(found, low=min(low, found.estimate))
    return Capacity(
        items_per_s=found,
        basis=tuple(one.words for one in both),
        at_least=limiting.at_least,
        streams=limiting.streams,
        power_mode=power_mode(source, row.cell.device),
        by_launch=limiting.by_launch if found.low == limiting.items_per_s.low else None,
    )


def _rounded_up(limit_ns: float) -> float:
    """Return a limit with three significant digits, not below what it was."""
    if not 0 < limit_ns < math.inf:
        return limit_ns
    unit = 10.0 ** (math.floor(math.log10(limit_ns)) - 2)
    return math.ceil(limit_ns / unit * (1 - 1e-12)) * unit
