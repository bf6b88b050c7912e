"""Every row as a candidate: what it holds, what it costs, and every constraint that it breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from results.formats.amounts import amount
from results.procurement import costs, power
from results.procurement.capacity import capacity, ceiling
from results.procurement.demand_text import shown_load
from results.procurement.offers import Capacity, Constraint
from results.procurement.prices import Prices
from results.procurement.retained import inaccurate
from results.procurement.trust import distrust
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.procurement.capacity import Missing
    from results.procurement.demand import Demand, Load
    from results.procurement.power import Metered
    from results.procurement.prices import Price
    from results.row import Row
    from results.sources import Source

UTILISATION = 0.7
"""The most of its capacity that a device is loaded with, where nobody says another share."""


@dataclass(frozen=True)
class Terms:
    """What is asked for, at which prices, and how far a device may be loaded."""

    demand: Demand
    prices: Prices | None
    utilisation: float = UTILISATION

    @property
    def criterion(self) -> str:
        """What offers are ranked by."""
        if self.prices is not None:
            return "cost per year" if self.demand.load else "cost per million inferences"
        return "devices needed" if self.demand.load else "sustained throughput"

    @cached_property
    def accounts(self) -> Prices:
        """The prices at this utilisation; without any, what arithmetic takes where nothing is said."""
        return replace(self.prices or Prices("", ()), utilisation=self.utilisation)


@dataclass(frozen=True)
class Candidate:
    """A row, and whatever is known of it; ``reasons`` is empty where it keeps every constraint."""

    row: Row
    source: Source | None
    capacity: Capacity | None
    price: Price | None
    reasons: Mapping[Constraint, str]
    missing: tuple[Missing, ...] = ()
    most: float | None = None  # items per second that its soak leaves to it at most
    metered: Metered | None = None  # what its counters say

    @property
    def variant_id(self) -> str:
        """Of its row."""
        return self.row.variant_id

    @property
    def label(self) -> str:
        """What readers know it by."""
        machine = self.row.machine
        return f"{self.row.label} on {machine}" if machine else self.row.label

    @property
    def watts(self) -> float | None:
        """What its capacity takes at least, as measured; what a price states comes before it."""
        return self.metered.watts(self.items_per_s) if self.metered is not None else None

    @property
    def items_per_s(self) -> float:
        """The estimate; 0 where there is none."""
        return self.capacity.items_per_s.estimate if self.capacity is not None else 0.0

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The lowest and the highest capacity that its measurement leaves; ``None`` where it leaves that open.

        What was held is surely there, and there may be more, up to what the soak held.
        """
        if self.capacity is None:
            return None, None
        found = self.capacity.items_per_s
        if self.capacity.at_least:
            return found.estimate if found.low is None else found.low, self.most
        return found.low, found.high


def terms_of(demand: Demand, prices: Prices | None, utilisation: float | None) -> Terms:
    """Return the terms: the utilisation that is given, else that of the prices, else 70 %.

    Raises ``HarnessError`` for a utilisation that is no share.
    """
    given = utilisation if utilisation is not None else (prices.utilisation if prices is not None else UTILISATION)
    if not 0 < given <= 1:
        raise HarnessError(f"a utilisation of {given:g} is no share", "give one above 0 and at most 1, such as 0.7")
    return Terms(demand, prices, given)


def judged(row: Row, source: Source | None, terms: Terms) -> Candidate:
    """Return a row with every constraint that it breaks, in the order of ``Constraint``.

    A row of which nothing was timed breaks trust alone: all else follows from that.
    """
    reasons: dict[Constraint, str] = {}
    doubt = distrust(row)
    if doubt is not None:
        reasons[Constraint.TRUST] = doubt
        if not row.timed:
            return Candidate(row, source, None, None, reasons)
    found = capacity(row, terms.demand.slo, source)
    missing = () if isinstance(found, Capacity) else found
    for each in missing:
        reasons.setdefault(each.constraint, each.reason)
    inexact = inaccurate(row, terms.demand.minimum_accuracy)
    if inexact is not None:
        reasons[Constraint.ACCURACY] = inexact
    price = None
    if terms.prices is not None:
        price = costs.priced(terms.prices, _machine(row, source), source.hw_id if source else "", row.cell.device)
        if price is None:
            reasons[Constraint.PRICE] = f"no price matches {_machine(row, source) or 'its machine'}, {row.cell.device}"
    if isinstance(found, Capacity) and terms.demand.load is not None and not _carries(found, terms):
        reasons[Constraint.LOAD] = _too_much(found, terms.demand.load, terms.utilisation)
    ordered = {each: reasons[each] for each in Constraint if each in reasons}
    able = found if isinstance(found, Capacity) else None
    metered = power.metered(row, able.streams if able is not None else None)
    return Candidate(row, source, able, price, ordered, missing, ceiling(row), metered)


def loss(candidate: Candidate, terms: Terms, items_per_s: float | None = None) -> float:
    """Return what a candidate is ranked by, less being better, were its capacity ``items_per_s``; else at its estimate.

    Money, devices, or seconds per item; infinite where no number of devices does it. Kept to twelve digits, since sums
    of the same parts in another order differ beyond them.
    """
    rate = candidate.items_per_s if items_per_s is None else items_per_s
    if not 0 < rate < math.inf:
        return math.inf
    held, load = Interval(rate, None, None, 1), terms.demand.load
    value: float | None
    if terms.prices is not None:
        if candidate.price is None:
            return math.inf
        paid = costs.cost(candidate.price, terms.accounts, load, held, candidate.watts)
        span = None if paid is None else (paid.per_year if load else paid.per_million)
        value = None if span is None else span.value
    elif load is not None:
        needed = costs.devices_needed(load, held, terms.utilisation, 0.0)
        value = None if needed is None else needed[0].value
    else:
        value = 1 / rate
    return math.inf if value is None or not math.isfinite(value) else float(f"{value:.12g}")


def comparable(candidates: Sequence[Candidate], terms: Terms) -> tuple[Terms, str]:
    """Return the terms by which candidates may be ranked, and why energy is in no cost, where it is in none.

    It is in none where it is not known alike. Powers of different scopes, or under different loads, are no two values
    of one thing, and what is not known is not nothing: a row would win by what its counter does not see. Rent holds the
    electricity.
    """
    if terms.prices is None:
        return terms, ""
    known: dict[str, str] = {}
    for one in candidates:
        if one.price is not None and one.price.per_hour is None:
            known.setdefault(_power_of(one), one.price.name)
    if known and terms.prices.electricity_per_kwh is None:
        return terms, "Energy is in no cost: the prices file states no electricity_per_kwh."
    if len(known) < 2:
        return terms, ""
    told = "; ".join(f"that of {name} is {how}" for how, name in known.items())
    without = replace(terms, prices=replace(terms.prices, electricity_per_kwh=None))
    return without, f"Energy is in no cost, since power is not known alike: {told}. State watts with every price."


def _power_of(one: Candidate) -> str:
    if one.price is not None and one.price.watts is not None:
        return "stated with its price"
    return "not known" if one.metered is None else one.metered.words


def _machine(row: Row, source: Source | None) -> str:
    return row.machine or (source.machine if source is not None else "")


def _carries(held: Capacity, terms: Terms) -> bool:
    load = terms.demand.load
    return load is None or costs.devices_needed(load, held.items_per_s, terms.utilisation, 0.0) is not None


def _too_much(held: Capacity, load: Load, utilisation: float) -> str:
    one = shown_load(replace(load, sources=1))
    rate = held.items_per_s.estimate
    usable = f"{amount(rate * utilisation, '1/s')}, {100 * utilisation:.4g} % of {amount(rate, '1/s')}"
    return f"{one} is more than a device may be loaded with: {usable}"
