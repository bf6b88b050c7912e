"""What a reader must know of an answer: what was assumed, what was not asked, and what nobody measured."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.vocabulary import Failed
from results.procurement.capacity import spread
from results.procurement.power import NOT_STATED
from results.procurement.trust import untold
from results.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.procurement.ranking import Ranked

_NO_MATTER = "retried"
"""All other findings that leave a row trusted should have been read by whoever orders by it."""


def notes(order: Ranked, candidates: Sequence[Candidate], terms: Terms) -> tuple[str, ...]:
    """Return the notes on an answer, each once; what would give more rows a place stands last."""
    return tuple(dict.fromkeys((*_of_offers(order, terms), *_to_do(candidates))))


def _of_offers(order: Ranked, terms: Terms) -> Iterator[str]:
    if not order.candidates:
        return
    best = order.candidates[: order.tied]
    yield _units(order)
    yield from _assumed(terms)
    yield from _unasked(terms)
    yield from _of_soaks([one for one in best if _by_soak(one)])
    if any(one.capacity is not None and one.capacity.at_least for one in best):
        yield (
            "Of a capacity marked as at least, no higher load was tried, or too few queries came at it to tell: fewer "
            "devices may do."
        )
    for one in best:
        if one.capacity is not None and one.capacity.power_mode == NOT_STATED:
            yield f"{one.label}: its run does not state the power mode."
        metered = one.metered
        if metered is not None and (one.price is None or one.price.watts is None):
            scope = f"the {metered.energy.scope} alone ({metered.energy.source})"
            yield (
                f"{one.label}: its power is that of {scope}, measured {metered.load} and taken to fall with the load: "
                "the energy is a lower bound."
            )
        if one.source is not None and one.source.drift is not None and one.source.drift.found:
            yield f"{one.label}: {one.source.drift.message}"
        for finding in one.row.findings:
            if finding.kind != _NO_MATTER:
                yield f"{one.label}: {finding.message or finding.kind}"
        for scenario, outcome in one.row.outcomes.items():
            if isinstance(outcome, Failed) and (scenario != "accuracy" or not _finds_accuracy(one)):
                yield f"{one.label}: {untold(one.row, scenario)}"
    yield from _of_prices(order, terms)


def _units(order: Ranked) -> str:
    # Equal hardware has one identity: of each, no more than one unit is known to have been measured.
    machines = {one.source.machine_id for one in order.candidates if one.source is not None}
    tested = "Units tested: 1" if len(machines) < 2 else f"Units tested: 1 of each of {len(machines)} machines"
    return f"{tested}; unit-to-unit spread not measured"


def _assumed(terms: Terms) -> Iterator[str]:
    yield f"A device is loaded with at most {100 * terms.utilisation:.4g} % of its capacity."
    if terms.demand.load is None:
        return
    spares = terms.prices.spares if terms.prices is not None else 0.0
    if spares:
        yield f"Spares: {100 * spares:.4g} % of the devices needed, rounded up."
    else:
        yield "No spare devices are counted."


def _unasked(terms: Terms) -> Iterator[str]:
    if terms.demand.slo is None:
        yield "No SLO was asked for: capacities are those of full load, however late an answer comes."
    if terms.demand.minimum_accuracy is None:
        yield "No minimum accuracy was asked for: only what misses the target of its own suite is left out."


def _of_prices(order: Ranked, terms: Terms) -> Iterator[str]:
    """Yield when the prices of the best are of and what is in their costs, and how old the others are."""
    if terms.prices is None:
        return
    yield f"Bought devices are written off over {terms.prices.years:g} years, without interest or a value left."
    best = {one.price.name: (one.price, one.watts) for one in order.candidates[: order.tied] if one.price is not None}
    for price, watts in best.values():
        yield f"The price of {price.name} is dated {price.dated.isoformat()}."
        if price.per_hour is not None:
            yield f"{price.name}: the rent is taken to hold the electricity."
        elif terms.prices.electricity_per_kwh is None:
            continue  # energy is in no cost, which is said once
        elif price.watts is not None:
            yield f"{price.name}: energy is counted at the power stated with its price, at any load."
        elif watts is None:
            yield f"{price.name}: energy is not in the cost, the power was neither measured nor stated."
    others = {one.price.dated for one in order.candidates if one.price is not None and one.price.name not in best}
    if others:
        first, last = min(others).isoformat(), max(others).isoformat()
        yield f"The other prices are dated {first if first == last else f'{first} to {last}'}."


def _to_do(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yield what would tell the capacity of rows where it is not known, what helps most of them first."""
    wanting = Counter(each for one in candidates for each in dict.fromkeys(missing.to_do for missing in one.missing))
    for to_do, count in wanting.most_common():
        yield f"The capacity of {counted(count, 'row')} is not known; to learn it, {to_do}."


def _finds_accuracy(one: Candidate) -> bool:
    return any(finding.kind == "accuracy-unknown" for finding in one.row.findings)


def _of_soaks(decided: Sequence[Candidate]) -> Iterator[str]:
    """Yield what the intervals hold of capacities that a soak decides, which is one launch."""
    told = {spread(one.row, one.capacity.streams) is not None for one in decided if one.capacity is not None}
    if True in told:
        yield (
            "Where one soak decides, its interval holds how its rate varied over time, and how launches of throughput "
            "differ from each other."
        )
    if False in told:
        yield "Where one soak decides, its interval is over time: how launches differ from each other was not measured."


def _by_soak(one: Candidate) -> bool:
    return one.capacity is not None and one.capacity.by_launch is None and not one.capacity.at_least
