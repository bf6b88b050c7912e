"""When the choice would be another: at which price, at which end of its measurement, at which load or utilisation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from results.formats.amounts import amount, fixed
from results.procurement.candidates import loss
from results.procurement.load_range import load_range
from results.procurement.money import money
from results.procurement.offers import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.procurement.prices import Price
    from results.procurement.ranking import Ranked

PRICE_RANGE = 2.0
"""How far a price is thought to move, as a factor, up or down."""
_UTILISATIONS = (0.5, 0.6, 0.7, 0.8, 0.9)


def sensitivities(order: Ranked, terms: Terms) -> tuple[Sensitivity, ...]:
    """Return how sure the choice is: what its price, its rivals', its interval, the load and the utilisation may do.

    The choice is the best by its estimate, whether or not others cannot be told from it. Prices are looked at from half
    to twice what they are, loads from an eighth to eight times what was asked, utilisations from 50 to 90 %.
    """
    if order.choice is None:
        return ()
    choice, rivals = order.choice, order.candidates[1:]
    found = [*_prices(choice, rivals, terms)]
    if rivals:
        found.append(_interval(choice, rivals, terms))
    if terms.prices is not None and terms.demand.load is not None and rivals:
        found.append(load_range(choice, rivals, terms))
        found.append(_utilisation(choice, rivals, terms))
    return tuple(found)


def _prices(choice: Candidate, rivals: Sequence[Candidate], terms: Terms) -> Iterator[Sensitivity]:
    if terms.prices is None or choice.price is None:
        return
    others = [one for one in rivals if one.price is not None and one.price.name != choice.price.name]
    if not others:
        words = "stays the choice at any price: nothing else with a price of its own is on offer"
        yield Sensitivity(f"price of {choice.price.name}", holds=True, words=words)
        return
    yield _own_price(choice, choice.price, rivals, terms)
    yield from _other_price(choice, others, terms)


def _own_price(choice: Candidate, price: Price, rivals: Sequence[Candidate], terms: Terms) -> Sensitivity:
    """Return by how much the price of the choice may rise; what has the same price moves with it."""
    of = f"price of {price.name}"
    mine, rise = loss(choice, terms), _rise(choice, terms)
    crossings: list[tuple[float, Candidate]] = []
    for rival in rivals:
        slower = _rise(rival, terms) if rival.price is not None and rival.price.name == price.name else 0.0
        if rise > slower:
            crossings.append((_amount(price) + _step(price) * (loss(rival, terms) - mine) / (rise - slower), rival))
    if not crossings:
        return Sensitivity(of, holds=True, words="stays the choice at any price")
    highest, rival = min(crossings, key=lambda found: (found[0], found[1].variant_id))
    words = f"stays the choice until its price rises above {_shown(price, highest, terms)}; then it is {rival.label}"
    return Sensitivity(of, highest > PRICE_RANGE * _amount(price) > 0, words, rival.variant_id)


def _other_price(choice: Candidate, others: Sequence[Candidate], terms: Terms) -> Iterator[Sensitivity]:
    """Yield by how much the price has to fall of the rival that needs the least of it."""
    mine = loss(choice, terms)
    falls: list[tuple[float, Candidate, Price]] = []
    for rival in others:
        rise = _rise(rival, terms)
        if rival.price is not None and 0 < rise < math.inf and _amount(rival.price):
            falls.append((1 + (mine - loss(rival, terms)) / rise, rival, rival.price))
    if not falls:
        return
    factor, rival, price = max(falls, key=lambda found: (found[0], found[1].variant_id))
    of, lowest = f"price of {price.name}", factor * _amount(price)
    if lowest <= 0:
        words = f"stays the choice at any price of {price.name}: what goes with that costs more"
        yield Sensitivity(of, holds=True, words=words)
        return
    words = f"stays the choice until that price falls below {_shown(price, lowest, terms)}; then it is {rival.label}"
    yield Sensitivity(of, factor < 1 / PRICE_RANGE, words, rival.variant_id)


def _interval(choice: Candidate, rivals: Sequence[Candidate], terms: Terms) -> Sensitivity:
    """Return whether the choice holds at the low end of its interval, against the high end of each other's.

    Another without an interval counts at its estimate.
    """
    of = "interval of the measurement"
    low = choice.ends[0]
    if low is None:
        words = "cannot be told: the capacity of the choice has no interval"
        return Sensitivity(of, holds=False, words=words)
    bar = loss(choice, terms, low)
    at_best = [(loss(one, terms, one.ends[1]), one) for one in rivals]
    best, rival = min(at_best, key=lambda found: (found[0], found[1].variant_id))
    if bar <= best:
        words = (
            f"stays the choice at the low end of its interval, {amount(low, '1/s')}, with every other at its high end"
        )
        return Sensitivity(of, holds=True, words=words)
    high = rival.ends[1] or rival.items_per_s
    ends = f"{amount(low, '1/s')} of the choice and {amount(high, '1/s')} of the other"
    words = f"at the worst ends of both intervals, {ends}, it is {rival.label}"
    return Sensitivity(of, holds=False, words=words, rival=rival.variant_id)


def _utilisation(choice: Candidate, rivals: Sequence[Candidate], terms: Terms) -> Sensitivity:
    """Return whether the choice holds at other shares that a device may be loaded with."""
    of = "utilisation"
    for share in sorted(_UTILISATIONS, key=lambda each: abs(each - terms.utilisation)):
        other = replace(terms, utilisation=share)
        best, rival = min(
            ((loss(one, other), one) for one in rivals), key=lambda found: (found[0], found[1].variant_id)
        )
        if best < loss(choice, other):
            words = f"with devices loaded to {100 * share:g} % it is {rival.label}"
            return Sensitivity(of, holds=False, words=words, rival=rival.variant_id)
    words = f"stays the choice with devices loaded to anything of {_listed()} %"
    return Sensitivity(of, holds=True, words=words)


def _listed() -> str:
    return ", ".join(f"{100 * share:g}" for share in _UTILISATIONS)


def _rise(one: Candidate, terms: Terms) -> float:
    """Return by how much the criterion rises with a step of the price, that of its host staying; it is linear."""
    if one.price is None:
        return 0.0
    value = _amount(one.price) + _step(one.price)
    dearer = replace(one.price, price=value) if one.price.per_hour is None else replace(one.price, per_hour=value)
    return loss(replace(one, price=dearer), terms) - loss(one, terms)


def _amount(price: Price) -> float:
    return price.per_hour if price.per_hour is not None else price.price or 0.0


def _step(price: Price) -> float:
    """Return by how much a price is changed to see what that does: doubled, where it is more than nothing."""
    return _amount(price) or 1.0


def _shown(price: Price, value: float, terms: Terms) -> str:
    """Return a price that was changed to ``value``, and by how much, ``1,480 EUR (+23 %)``."""
    currency = terms.prices.currency if terms.prices is not None else ""
    shown = f"{money(value, currency)}{' per hour' if price.per_hour is not None else ''}"
    if not _amount(price):
        return shown
    change = value / _amount(price) - 1
    return f"{shown} ({fixed(100 * change, 1 if abs(change) < 0.1 else 0, signed=True)} %)"
