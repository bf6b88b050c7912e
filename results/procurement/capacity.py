"""How much one device holds for long: what a soak sustained, and under an SLO what arrivals showed as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from results.procurement import arrivals
from results.procurement.arrivals import Held, Missing
from results.procurement.offers import Capacity, Constraint
from results.procurement.power import power_mode
from results.procurement.trust import untold
from results.row import Interval
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from results.driven import Soak
    from results.procurement.demand import Slo
    from results.row import Row
    from results.sources import Source

__all__ = ["Missing", "capacity", "ceiling", "least_limit"]


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


def _sustained(row: Row) -> Held | Missing:
    """Return the best sustained rate, or why there is none."""
    soaks = _usable(row.soaks)
    if soaks:
        return max(map(_held, soaks), key=lambda one: one.items_per_s.estimate)
    add = "add the scenario soak to the suite"
    if row.soaks:
        return Missing(Constraint.SUSTAINED, "nothing was inferred at the end of its soak", "see the log of its soak")
    why = untold(row, "soak")
    if why is None:
        return Missing(Constraint.SUSTAINED, "its sustained throughput was not measured: it has no soak", add)
    hint = getattr(row.outcomes["soak"], "hint", "") or "see the log of its soak"
    return Missing(Constraint.SUSTAINED, f"its sustained throughput is not known: {why}", hint)


def _soak_for(row: Row, streams: int, best: Held) -> Held:
    """Return the best sustained rate with so many streams, else the best of all."""
    alike = [_held(soak) for soak in _usable(row.soaks) if soak.streams == streams]
    return max(alike, key=lambda one: one.items_per_s.estimate, default=best)


def _usable(soaks: Sequence[Soak]) -> list[Soak]:
    return [soak for soak in soaks if 0 < soak.sustained < math.inf]


def _held(soak: Soak) -> Held:
    """Return the sustained rate with its interval over time; its launch is one."""
    ends = (soak.ratio.low, soak.ratio.high)
    low, high = (end * soak.burst if end is not None and math.isfinite(end * soak.burst) else None for end in ends)
    words = f"sustained over {soak.seconds:.0f} s (soak, {counted(soak.streams, 'stream')})"
    return Held(Interval(soak.sustained, low, high, 1), words, soak.streams)


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
