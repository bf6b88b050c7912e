"""Over which loads the choice stays: searched where a device more is needed, of the choice or of a rival."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from results.procurement.candidates import loss
from results.procurement.demand_text import shown_load
from results.procurement.offers import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.procurement.demand import Load

REACH = 8.0
"""Loads from an eighth to eight times what was asked are looked at."""
_STEPS = 400
"""Of one candidate's steps that are looked at; of more of them each is too small to matter, and a grid stands for all.
"""
_BESIDE = 4e-9
"""Just above a step, as a share: what is taken for rounding in ``results.procurement.costs`` is less."""


@dataclass(frozen=True)
class End:
    """How far the choice stays in one direction."""

    factor: float  # of the load asked for
    rival: Candidate | None  # who takes over; None: nobody, as far as was looked


def load_range(choice: Candidate, rivals: Sequence[Candidate], terms: Terms) -> Sensitivity:
    """Return over which loads around the one asked for no rival costs less than the choice."""
    load = terms.demand.load
    if load is None:
        raise ValueError("without a load there is no range of loads")
    down, up = stays(choice, rivals, terms)
    span = f"from {_shown(load, down.factor)} to {_shown(load, up.factor)}"
    words = f"stays the choice {span}, {_times(down.factor)} to {_times(up.factor)} times what was asked for"
    if up.rival is not None:
        words += f"; above that it is {up.rival.label}"
    if down.rival is not None:
        words += f"; below that it is {down.rival.label}"
    if up.rival is None or down.rival is None:
        words += "; nothing beyond eight times, or an eighth, was looked at"
    rival = up.rival or down.rival
    return Sensitivity("load", rival is None, words, rival.variant_id if rival is not None else None)


def stays(choice: Candidate, rivals: Sequence[Candidate], terms: Terms) -> tuple[End, End]:
    """Return how far the choice stays for less of a load, and for more of it.

    Costs rise by steps with the load, and between steps they are linear in it, so that looking at both sides of every
    step is exact: no rival costs less in between. Raises ``ValueError`` where no load is asked for.
    """
    if terms.demand.load is None:
        raise ValueError("without a load there is no range of loads")
    points = _points(choice, _undominated(rivals), terms.demand.load, terms)
    down = _end(choice, points, terms, [each for each in sorted(points, reverse=True) if each <= 1])
    return down, _end(choice, points, terms, [each for each in sorted(points) if each >= 1])


def _end(choice: Candidate, points: Mapping[float, Sequence[Candidate]], terms: Terms, factors: Sequence[float]) -> End:
    """Return the last of ``factors``, which lead away from 1, up to which the choice stays."""
    last = 1.0
    for factor in factors:
        there = _terms_at(terms, factor)
        costs = [(loss(one, there), one) for one in points[factor]]
        best, rival = min(costs, key=lambda found: (found[0], found[1].variant_id))
        if best < loss(choice, there):
            return End(last, rival)
        last = factor
    return End(last, None)


def _terms_at(terms: Terms, factor: float) -> Terms:
    load = terms.demand.load
    return terms if load is None else replace(terms, demand=replace(terms.demand, load=_scaled(load, factor)))


def _scaled(load: Load, factor: float) -> Load:
    if load.cameras:
        return replace(load, sources=max(1, round(load.sources * factor)))
    return replace(load, rate_hz=load.rate_hz * factor)


def _points(
    choice: Candidate, rivals: Sequence[Candidate], load: Load, terms: Terms
) -> dict[float, Sequence[Candidate]]:
    """Return the loads at which to look, as factors of the one asked for, with whom to compare there.

    All at a step of the choice and at the ends; at a step of a rival that one alone, since no other's cost jumps there.
    """
    points: dict[float, Sequence[Candidate]] = {}
    for one in rivals:
        for factor in _steps(one, load, terms):
            points[factor] = (*points.get(factor, ()), one)
    ends = (1 / REACH, REACH)
    if load.cameras:
        ends = (math.ceil(load.sources / REACH) / load.sources, math.floor(load.sources * REACH) / load.sources)
    return {**points, **dict.fromkeys((1.0, *ends, *_steps(choice, load, terms)), rivals)}


def _steps(one: Candidate, load: Load, terms: Terms) -> Iterator[float]:
    """Yield both sides of every step of what a candidate costs, as factors of the load asked for."""
    each = one.items_per_s * terms.utilisation
    if load.cameras:
        yield from _camera_steps(math.floor(each / load.rate_hz * (1 + 1e-9)), load.sources)
    else:
        yield from _rate_steps(each / load.items_per_s)


def _rate_steps(each: float) -> Iterator[float]:
    """Yield both sides of every multiple of what a device carries, a share of the load asked for."""
    first, last = max(1, math.ceil(1 / REACH / each)), math.floor(REACH / each)
    for count in _thinned(first, last):
        yield count * each
        if count * each * (1 + _BESIDE) <= REACH:
            yield count * each * (1 + _BESIDE)


def _camera_steps(each: int, sources: int) -> Iterator[float]:
    if each < 1:
        return
    least, most = math.ceil(sources / REACH), math.floor(sources * REACH)
    for count in _thinned(max(1, math.ceil(least / each)), most // each):
        yield count * each / sources
        if count * each + 1 <= most:
            yield (count * each + 1) / sources


def _thinned(first: int, last: int) -> Iterator[int]:
    """Yield whole numbers from first to last; of very many a geometric grid."""
    if last - first < _STEPS:
        yield from range(first, last + 1)
        return
    for step in range(_STEPS):
        yield round(first * (last / first) ** (step / (_STEPS - 1)))


def _undominated(rivals: Sequence[Candidate]) -> list[Candidate]:
    """Return the rivals that may cost least at some load: of one price, more capacity is never dearer, unless it draws.

    Of those that share a price each must need less energy for an item than all with a higher capacity.
    """
    by_price: dict[str, list[Candidate]] = {}
    for one in sorted(rivals, key=lambda one: (-one.items_per_s, one.variant_id)):
        kept = by_price.setdefault(one.price.name if one.price is not None else "", [])
        if all(_joules(one) < _joules(other) for other in kept):
            kept.append(one)
    return [one for kept in by_price.values() for one in kept]


def _joules(one: Candidate) -> float:
    """Return the energy of an item as it is costed; nothing where the power is the same for all of a price."""
    if one.price is not None and one.price.watts is not None:
        return 0.0
    return (one.watts or 0.0) / one.items_per_s


def _shown(load: Load, factor: float) -> str:
    scaled = _scaled(load, factor)
    if not load.cameras:
        scaled = replace(scaled, rate_hz=float(f"{scaled.rate_hz:.3g}"))
    return shown_load(scaled)


def _times(factor: float) -> str:
    return f"{factor:.3g}"
