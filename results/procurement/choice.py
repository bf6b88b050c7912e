"""The ranked answer: which device, how many of it, at what cost; what was left out and why; how sure the choice is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from results.procurement import costs
from results.procurement.candidates import comparable, judged, terms_of
from results.procurement.notes import notes
from results.procurement.offers import STATED, Excluded, Offer, Recommendation
from results.procurement.ranking import ranked
from results.procurement.relaxing import relaxations
from results.procurement.retained import retained
from results.procurement.sensitivity import sensitivities
from results.words import listed, showable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.procurement.demand import Demand
    from results.procurement.prices import Prices
    from results.row import Row
    from results.sources import Source


def recommended(
    rows: Sequence[Row],
    sources: Sequence[Source],
    demand: Demand,
    prices: Prices | None,
    utilisation: float | None = None,
) -> tuple[Recommendation, ...]:
    """Return the answer for every workload, in the order of the rows; only for that of the demand where it names one.

    ``sources``: the runs that the rows are of, by ``Row.run_id``; a row without one is of the first. ``utilisation``:
    the most of its capacity that a device may be loaded with, in (0, 1]; else as the prices say, else 70 %. Offers are
    ranked by cost per year, without a load by cost per million inferences, without prices by the devices needed, with
    neither by throughput. Raises ``HarnessError`` for a workload that the runs do not hold, for a utilisation that is
    no share, and where two prices match a machine equally well.
    """
    terms = terms_of(demand, prices, utilisation)
    by_workload: dict[str, list[Row]] = {}
    for row in rows:
        by_workload.setdefault(row.cell.workload, []).append(row)
    if demand.workload is not None and demand.workload not in by_workload:
        there = f"there are: {showable(listed(list(by_workload)))}" if by_workload else "the runs hold no row at all"
        raise HarnessError(f"no workload is called {showable(demand.workload)[:80]!r}", there)
    asked = by_workload if demand.workload is None else {demand.workload: by_workload[demand.workload]}
    return tuple(_recommended(name, group, sources, terms) for name, group in asked.items())


def _recommended(workload: str, rows: Sequence[Row], sources: Sequence[Source], asked: Terms) -> Recommendation:
    by_run = {source.run_id: source for source in sources}
    first = sources[0] if sources else None
    candidates = [judged(row, by_run.get(row.run_id) if row.run_id else first, asked) for row in rows]
    terms, apart = comparable([one for one in candidates if not one.reasons], asked)
    order = ranked(candidates, terms)
    return Recommendation(
        workload=workload,
        demand=asked.demand,
        currency=asked.prices.currency if asked.prices is not None else None,
        offers=tuple(_offer(one, terms) for one in order.candidates),
        tied=order.tied,
        excluded=tuple(Excluded(one.variant_id, one.reasons) for one in candidates if one.reasons),
        relaxations=relaxations(candidates, order.choice, terms),
        sensitivities=sensitivities(order, terms),
        criterion=terms.criterion,
        notes=(*((apart,) if apart else ()), *notes(order, candidates, terms)),
    )


def _offer(one: Candidate, terms: Terms) -> Offer:
    if one.capacity is None:
        raise ValueError(f"{one.label} has no capacity and is no offer")
    held, load, accounts = one.capacity.items_per_s, terms.demand.load, terms.accounts
    needed = costs.devices_needed(load, held, terms.utilisation, accounts.spares) if load is not None else None
    devices, spares = needed if needed is not None else (None, 0)
    stated = one.price.watts if one.price is not None else None
    metered, kept = one.metered, retained(one.row)
    measured = metered.words if metered is not None else ""
    read = metered.energy.watts if metered is not None else None
    return Offer(
        variant_id=one.variant_id,
        capacity=one.capacity,
        devices=devices,
        spares=spares,
        utilisation=costs.utilisation(load, held, devices) if load is not None and devices is not None else None,
        watts=stated if stated is not None else read,
        watts_source=STATED if stated is not None else measured,
        joules_per_inference=metered.energy.joules_per_inference if metered is not None else None,
        joules_source=measured,
        energy_kwh_per_year=(
            costs.energy_kwh_per_year(one.price, accounts, load, held, one.watts) if load is not None else None
        ),
        cost=costs.cost(one.price, accounts, load, held, one.watts) if one.price is not None else None,
        retained_accuracy=kept.value if kept is not None else None,
    )
