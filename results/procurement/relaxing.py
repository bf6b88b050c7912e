"""What each constraint costs: the best that it keeps out, and the least that it would have to give for that."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from results.numbers import significant
from results.procurement import costs
from results.procurement.candidates import comparable, judged, loss
from results.procurement.capacity import least_limit
from results.procurement.demand_text import shown_slo
from results.procurement.money import money
from results.procurement.offers import Constraint, Relaxation
from results.procurement.prices import Match, Price
from results.procurement.retained import percent_below, retained
from results.procurement.trust import remeasurable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.procurement.demand import Slo
    from results.procurement.offers import Capacity

_HALVINGS = 60


def relaxations(candidates: Sequence[Candidate], choice: Candidate | None, terms: Terms) -> tuple[Relaxation, ...]:
    """Return what giving up one constraint alone would bring, for each that keeps something out or costs something.

    ``choice``: the best offer as things are. ``saves`` is of what the terms rank by, without prices or a load of the
    devices that a unit of it takes; it is negative where the best that would come in is worse than the choice, and
    ``None`` where nothing is chosen yet or where nobody knows. Distrust is only relaxed by measuring anew.
    """
    found = (relax(candidates, choice, terms) for relax in _RELAXED)
    return tuple(one for one in found if one is not None)


def _trust(candidates: Sequence[Candidate], choice: Candidate | None, terms: Terms) -> Relaxation | None:
    able = [one for one in _alone(candidates, Constraint.TRUST) if remeasurable(one.row) and one.capacity is not None]
    best = _best(able, terms)
    if best is None:
        return None
    to = f"measured anew, and found as fast: {best.reasons[Constraint.TRUST]}"
    return Relaxation(Constraint.TRUST, to, best.variant_id, len(able), _saves(best, choice, terms))


def _sustained(candidates: Sequence[Candidate], _choice: Candidate | None, _terms: Terms) -> Relaxation | None:
    able = _alone(candidates, Constraint.SUSTAINED)
    # Which to measure first is all that a burst is good for.
    first = max(able, key=lambda one: (_burst(one), one.variant_id), default=None)
    if first is None:
        return None
    return Relaxation(Constraint.SUSTAINED, "sustained throughput measured", first.variant_id, len(able), None)


def _slo(candidates: Sequence[Candidate], choice: Candidate | None, terms: Terms) -> Relaxation | None:
    asked = terms.demand.slo
    if asked is None:
        return None
    held_up = [one for one in candidates if one.reasons.keys() <= {Constraint.SLO, Constraint.LOAD}]
    loosest = _at(held_up, terms, replace(asked, limit_ns=math.inf))
    before = {one.variant_id for one in candidates if not one.reasons}
    admitted = [one for one in loosest if one.variant_id not in before]
    best = _best(loosest, terms)
    bar = loss(choice, terms) if choice is not None else math.inf
    if best is None or loss(best, terms) >= bar:
        best = _best(admitted, terms)
    if best is None:
        return _unmeasured(held_up, terms)
    worth = bar if loss(best, terms) < bar else math.inf
    able = best

    def enough(held: Capacity) -> bool:
        return loss(able, terms, held.items_per_s.estimate) < worth

    least = least_limit(best.row, asked, best.source, enough)
    if least is None:
        return _unmeasured(held_up, terms)
    slo, held = least
    saves = _saves(best, choice, terms, held.items_per_s.estimate)
    return Relaxation(Constraint.SLO, shown_slo(slo), best.variant_id, len(admitted), saves)


def _unmeasured(held_up: Sequence[Candidate], terms: Terms) -> Relaxation | None:
    """Return what nobody looked at under arrivals; how it would fare there is not known."""
    unseen = [one for one in held_up if Constraint.SLO in one.reasons and not one.row.servers and not one.row.cameras]
    able = _at(unseen, terms, None)
    best = _best(able, terms)
    if best is None:
        return None
    return Relaxation(Constraint.SLO, "measured under arrivals", best.variant_id, len(able), None)


def _accuracy(candidates: Sequence[Candidate], choice: Candidate | None, terms: Terms) -> Relaxation | None:
    able = _alone(candidates, Constraint.ACCURACY)
    best = _best(able, terms)
    if best is None:
        return None
    to, kept, minimum = "accuracy measured, and found enough", retained(best.row), terms.demand.minimum_accuracy
    if kept is not None and kept.low is not None:
        # Of few images the interval may reach below nothing, which no minimum is.
        to = f"at least {percent_below(kept.low)} of FP32's accuracy" if kept.low >= 0.001 else "no minimum"
        if best.row.accuracy is not None and (minimum is None or kept.low >= minimum):
            to += f", as the target of the suite instead of {100 * best.row.accuracy.target:g} %"
    saves = _saves(best, choice, terms)
    return Relaxation(Constraint.ACCURACY, to, best.variant_id, len(able), saves)


def _load(candidates: Sequence[Candidate], _choice: Candidate | None, terms: Terms) -> Relaxation | None:
    load = terms.demand.load
    able = [one for one in _alone(candidates, Constraint.LOAD) if one.capacity is not None]
    most = max(able, key=lambda one: (one.items_per_s, one.variant_id), default=None)
    if load is None or most is None or most.capacity is None:
        return None
    held = most.capacity.items_per_s
    low, high = 0.0, load.rate_hz
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if costs.devices_needed(replace(load, rate_hz=middle), held, terms.utilisation, 0.0) is None:
            high = middle
        else:
            low = middle
    unit = 10.0 ** (math.floor(math.log10(low)) - 2) if low > 0 else 1.0
    fits = math.floor(low / unit * (1 + 1e-9)) * unit
    noun = "fps of one camera" if load.cameras else "items per second of one source"
    return Relaxation(Constraint.LOAD, f"at most {significant(fits)} {noun}", most.variant_id, len(able), None)


def _price(candidates: Sequence[Candidate], choice: Candidate | None, terms: Terms) -> Relaxation | None:
    able = [one for one in _alone(candidates, Constraint.PRICE) if one.capacity is not None]
    most = max(able, key=lambda one: (one.items_per_s, one.variant_id), default=None)
    if most is None or terms.prices is None:
        return None
    to = "a price given for it"
    if choice is not None and choice.price is not None:
        worth = _worth(most, loss(choice, terms), terms, choice.price)
        to = f"a price given for it; up to {money(worth, terms.prices.currency)} it would cost no more than the choice"
        if worth <= 0:
            to = "a price given for it, though at none would it cost less than the choice"
    return Relaxation(Constraint.PRICE, to, most.variant_id, len(able), None)


def _worth(one: Candidate, bar: float, terms: Terms, like: Price) -> float:
    """Return the price of a device, bought without a host, at which it costs as much as the choice: cost is linear."""

    def at(price: float) -> float:
        bought = Price(name=one.label, match=Match(), dated=like.dated, price=price)
        return loss(replace(one, price=bought), terms)

    nothing, some = at(0.0), at(1_000.0)
    rise = (some - nothing) / 1_000.0
    return (bar - nothing) / rise if 0 < rise < math.inf else 0.0


_RELAXED: tuple[Callable[[Sequence[Candidate], Candidate | None, Terms], Relaxation | None], ...] = (
    _trust,
    _sustained,
    _slo,
    _accuracy,
    _load,
    _price,
)


def _alone(candidates: Iterable[Candidate], constraint: Constraint) -> list[Candidate]:
    """Return the candidates that this constraint alone keeps out."""
    return [one for one in candidates if one.reasons.keys() == {constraint}]


def _at(candidates: Iterable[Candidate], terms: Terms, slo: Slo | None) -> list[Candidate]:
    """Return the candidates that would keep every constraint with another SLO."""
    other = replace(terms, demand=replace(terms.demand, slo=slo))
    found = (judged(one.row, one.source, other) for one in candidates)
    return [one for one in found if not one.reasons]


def _best(candidates: Sequence[Candidate], terms: Terms) -> Candidate | None:
    able = [one for one in candidates if loss(one, terms) < math.inf]
    return min(able, key=lambda one: (loss(one, terms), -one.items_per_s, one.variant_id), default=None)


def _saves(one: Candidate, choice: Candidate | None, terms: Terms, items_per_s: float | None = None) -> float | None:
    """Return by which share one would be better than the choice, energy left out where the two do not know it alike."""
    if choice is None:
        return None
    alike, _ = comparable((one, choice), terms)
    now = loss(choice, alike)
    return 1 - loss(one, alike, items_per_s) / now if 0 < now < math.inf else None


def _burst(one: Candidate) -> float:
    """Return the items per second that were seen for a moment."""
    row = one.row
    rates = [row.throughput.items_per_s.estimate] if row.throughput is not None else []
    if row.latency is not None and row.latency.host_to_host.estimate > 0:
        rates.append(row.cell.batch * 1e9 / row.latency.host_to_host.estimate)
    return max(rates, default=0.0)
