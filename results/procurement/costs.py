"""From capacity, load and prices to devices, energy and money: plain arithmetic, every formula with its units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from results.procurement.offers import Cost, Span
from results.words import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from results.procurement.demand import Load
    from results.procurement.prices import Match, Price, Prices
    from results.row import Interval

HOURS_PER_YEAR = 8_766.0
"""365.25 days, the mean of a calendar with leap years."""
SECONDS_PER_YEAR = HOURS_PER_YEAR * 3_600.0
_SLACK = 1e-9
"""No device is ordered for a billionth of what one holds: binary fractions miss exact multiples by less than that."""


def priced(prices: Prices, machine: str, hw_id: str, device: str) -> Price | None:
    """Return the price of a device on a machine, or ``None`` where none is given.

    Every pattern of a price must hold (``fnmatch``, case ignored). Of several prices the most specific one counts: one
    that names the ``hw_id`` before one that names the machine, that before one that names the device alone; of two
    that are alike so far, the one that names more. Raises ``HarnessError``, which names them, where two say as much.
    """
    fitting = [price for price in prices.prices if _fits(price.match, machine, hw_id, device)]
    if not fitting:
        return None
    most = max(_specificity(price.match) for price in fitting)
    best = [price for price in fitting if _specificity(price.match) == most]
    if len(best) > 1:
        names = listed([repr(price.name) for price in best])
        raise HarnessError(
            f"{machine} ({hw_id}), {device}: the prices {names} match it equally well",
            "narrow the patterns of one of them, or name the machine by its hw_id: that wins",
        )
    return best[0]


def devices_needed(load: Load, capacity: Interval, utilisation: float, spares: float) -> tuple[Span, int] | None:
    """Return how many devices carry a load, and how many spares beside them; ``None`` where no number of them does.

    ``capacity``: items per second of one device. Of cameras a device takes ⌊capacity × utilisation / fps⌋ whole ones,
    so that ⌈cameras / that⌉ devices are needed; a rate is split at will: ⌈rate / (capacity × utilisation)⌉. Spares are
    ⌈devices × share⌉. The ends of the span come from those of the capacity's interval, the lower capacity giving more
    devices; ``high`` is ``None`` too where at that end a device would not take a single source.
    """
    needed = _needed(load, capacity.estimate, utilisation)
    if needed is None:
        return None
    ends = [None if end is None else _needed(load, end, utilisation) for end in (capacity.high, capacity.low)]
    return Span(needed, ends[0], ends[1]), _spares(needed, spares)


def utilisation(load: Load, capacity: Interval, devices: Span) -> float:
    """Return the share of their capacity that the load takes of the devices: items per second / (devices × capacity).

    Spares carry nothing. It is at most the share allowed, and less of it the more is lost to whole devices.
    """
    return load.items_per_s / (devices.value * capacity.estimate)


def cost(price: Price, prices: Prices, load: Load | None, capacity: Interval, watts: float | None) -> Cost | None:
    """Return what the devices that carry a load cost, or one device where none is asked for.

    ``capacity``: items per second of one device; ``watts``: as in ``energy_kwh_per_year``.
    ``None`` where one source is more than a device holds.

    Per year, in the currency of the file:

    - device = (devices + spares) × price / years
    - host = ⌈(devices + spares) / devices per host⌉ × host / years
    - rent = (devices + spares) × price per hour × 8,766 h
    - energy = kWh per year, of ``energy_kwh_per_year``, × price of electricity per kWh; absent where either is not
      known, and for what is rented, whose rent holds it

    Per million items = per year × 10⁶ / (items per second × 31,557,600 s). Without a load it is that of one device at
    the allowed utilisation, with its share of spares and of a host in fractions: what a large load comes to.

    The ends of the spans are the costs at the ends of the capacity's interval, the higher capacity giving the lower
    cost; prices have no interval. ``high`` is ``None`` too where at that end a device would not take a single source.
    Money is straight-line: no interest, no value left after the years.
    """

    def parts(capacity_per_s: float) -> dict[str, float] | None:
        fleet = _fleet(price, prices, load, capacity_per_s)
        return None if fleet is None else _parts(price, prices, fleet, watts)

    def per_million(capacity_per_s: float) -> float | None:
        paid = parts(capacity_per_s)
        items_per_s = prices.utilisation * capacity_per_s if load is None else load.items_per_s
        return None if paid is None else sum(paid.values()) / (items_per_s * SECONDS_PER_YEAR) * 1e6

    def per_year(capacity_per_s: float) -> float | None:
        paid = parts(capacity_per_s)
        return None if paid is None else sum(paid.values())

    at_estimate = parts(capacity.estimate)
    million = _span(per_million, capacity)
    if at_estimate is None or million is None:
        return None
    return Cost(_span(per_year, capacity) if load else None, million, at_estimate, price.name)


def energy_kwh_per_year(
    price: Price | None, prices: Prices, load: Load | None, capacity: Interval, watts: float | None
) -> float | None:
    """Return the energy that the site draws in a year of 8,766 h, kWh; ``None`` where the power is not known.

    kWh = devices × watts drawn / 1,000 × 8,766 h × PUE. A device draws what its price states, in full and at any load;
    else ``watts``, which the capacity takes at least as measured, × the share of the capacity that is used. That is a
    lower bound: only an ideal machine draws in proportion to its work (Barroso and Hölzle, The Case for
    Energy-Proportional Computing, IEEE Computer 40(12), 2007). Spares are switched off.
    PUE is the energy of the site / that of its machines (ISO/IEC 30134-2). Without a load it is one device at the
    allowed utilisation.
    """
    fleet = _fleet(price, prices, load, capacity.estimate)
    return None if fleet is None else _kwh(price, prices, fleet, watts)


@dataclass(frozen=True)
class _Fleet:
    """Devices at work, whole numbers for a load; fractions for the share of one device."""

    devices: float
    spares: float
    hosts: float
    utilisation: float  # of each device at work


def _fits(match: Match, machine: str, hw_id: str, device: str) -> bool:
    pairs = ((match.machine, machine), (match.hw_id, hw_id), (match.device, device))
    return all(pattern is None or fnmatchcase(text.casefold(), pattern.casefold()) for pattern, text in pairs)


def _specificity(match: Match) -> tuple[bool, bool, bool]:
    return match.hw_id is not None, match.machine is not None, match.device is not None


def _needed(load: Load, capacity_per_s: float, utilisation: float) -> int | None:
    usable = capacity_per_s * utilisation
    # Not a number, nothing and everything are no capacity to plan with.
    if not 0 < usable < math.inf:
        return None
    if load.cameras:
        each = _quotient(usable, load.rate_hz)
        cameras = math.floor(each * (1 + _SLACK)) if each is not None else 0
        return -(-load.sources // cameras) if cameras else None
    devices = _quotient(load.items_per_s, usable)
    return None if devices is None else max(1, math.ceil(devices * (1 - _SLACK)))


def _quotient(dividend: float, divisor: float) -> float | None:
    found = dividend / divisor if divisor else math.inf
    return found if math.isfinite(found * (1 + _SLACK)) else None


def _spares(devices: int, share: float) -> int:
    return math.ceil(devices * share * (1 - _SLACK))


def _fleet(price: Price | None, prices: Prices, load: Load | None, capacity_per_s: float) -> _Fleet | None:
    per_host = price.devices_per_host if price else 1
    if load is None:
        if not 0 < capacity_per_s * prices.utilisation < math.inf:
            return None
        return _Fleet(1.0, prices.spares, (1.0 + prices.spares) / per_host, prices.utilisation)
    devices = _needed(load, capacity_per_s, prices.utilisation)
    if devices is None:
        return None
    spares = _spares(devices, prices.spares)
    return _Fleet(devices, spares, -(-(devices + spares) // per_host), load.items_per_s / (devices * capacity_per_s))


def _kwh(price: Price | None, prices: Prices, fleet: _Fleet, watts: float | None) -> float | None:
    drawn = price.watts if price else None
    if drawn is None and watts is not None:
        drawn = watts * fleet.utilisation
    return None if drawn is None else fleet.devices * drawn / 1_000 * HOURS_PER_YEAR * prices.pue


def _parts(price: Price, prices: Prices, fleet: _Fleet, watts: float | None) -> dict[str, float]:
    units = fleet.devices + fleet.spares
    if price.per_hour is not None:
        return {"rent": units * price.per_hour * HOURS_PER_YEAR}
    if price.price is None:
        raise HarnessError(f"{price.name}: neither bought nor rented", "give it a price or a per_hour")
    parts = {"device": units * price.price / prices.years}
    if price.host:
        parts["host"] = fleet.hosts * price.host / prices.years
    kwh = _kwh(price, prices, fleet, watts)
    if kwh is not None and prices.electricity_per_kwh is not None:
        parts["energy"] = kwh * prices.electricity_per_kwh
    return parts


def _span(of: Callable[[float], float | None], capacity: Interval) -> Span | None:
    """Return a value that falls as the capacity rises, with its ends."""
    value = of(capacity.estimate)
    low, high = (None if end is None else of(end) for end in (capacity.high, capacity.low))
    return None if value is None else Span(value, low, high)
