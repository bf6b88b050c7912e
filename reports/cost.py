"""The section on money: what a million inferences cost, how many devices the load takes, what the sum is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import recommendation_words as words
from reports import units
from reports.model import Column, Line, Panel, Section, Table, Value
from reports.recommendation import SHOWN, called_by, cost_title, devices_of, paid, row_names
from reports.recommendation_words import PARTS
from reports.speed import estimated
from reports.text import clamp
from results.procurement.offers import Span
from results.procurement.power import ONE_STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.recommendation_words import Called
    from results.procurement.offers import Cost, Offer, Recommendation

_ELSEWHERE = "What else to know of these answers stands with the notes under Recommendation."


def cost(recommendations: Sequence[Recommendation], fields: Sequence[Field]) -> Section:
    """Return what each offer costs; blank, with the reason and what to do, where no price or no demand is known."""
    names, called = row_names(fields), called_by(fields)
    return Section(
        id="cost",
        title="What it costs",
        short="Cost",
        lead="From sustained throughput at the stated power mode, never from a burst, with the prices, years, spares "
        "and utilisation of the prices file. Brackets hold what the 95 % interval of the measurement leaves open.",
        panels=tuple(_panel(str(place), found, names, called) for place, found in enumerate(recommendations)),
        empty="Nothing was asked for, so that no cost is known. “harness report RUN --slo p99=33ms --load 8x30fps "
        "--prices prices.yaml” asks; “harness recommend --example-prices” prints a prices file to start from.",
    )


def _panel(anchor: str, found: Recommendation, names: Mapping[str, RowName], called: Mapping[str, Called]) -> Panel:
    shown = [(names[offer.variant_id], offer) for offer in found.offers if offer.variant_id in names]
    notes = [clamp(note, 400) for note in found.notes if "unit-to-unit" in note]
    if found.offers and not any(offer.cost for offer in found.offers):
        notes.insert(0, words.NO_PRICES)
    if len(found.notes) > len(notes):
        notes.append(_ELSEWHERE)
    if not found.offers:
        notes.insert(0, f"No cost, since there is nothing to offer. {words.first_step(found, called)}")
    if len(shown) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(shown):,} offers are listed; `harness recommend --json` has them all.")
    tables = (_table(anchor, found, shown[:SHOWN], called),) if shown else ()
    return Panel(found.workload, tables=tables, notes=tuple(notes))


def _table(
    anchor: str, found: Recommendation, shown: Sequence[tuple[RowName, Offer]], called: Mapping[str, Called]
) -> Table:
    currency = clamp(found.currency or "", 12)
    present = {part for _, offer in shown if offer.cost for part in words.cost_parts(offer.cost)}
    parts = [*(part for part in PARTS if part in present), *sorted(present - PARTS.keys())]
    columns = (
        Column(
            cost_title(found), currency, hint="at the load asked for, else at the allowed utilisation of one device"
        ),
        Column("inferences per currency unit", f"million per {currency}" if currency else "million"),
        Column("cost per year", currency, hint="at the load asked for"),
        *(
            Column(
                PARTS.get(part, clamp(part, 20)),
                f"{currency} a year",
                hint="part of the estimate; of one device without a load",
            )
            for part in parts
        ),
        Column("machine", numeric=False, hint="the name of its price, or of the machine that was measured"),
        Column("devices", hint="for the load at the allowed utilisation; spares beside"),
        Column("energy", "kWh a year"),
        Column("energy", "J per inference"),
        Column("capacity per power", "items/s per W", hint="where the power of full load is known, stated or measured"),
    )
    lines = tuple(
        Line(
            name.index,
            (
                paid(offer.cost.per_million if offer.cost else None),
                _per_currency(offer.cost),
                paid(offer.cost.per_year if offer.cost else None),
                *(_part(offer.cost, part) for part in parts),
                Value(words.unit_of(offer, called) or units.MISSING, words.unit_of(offer, called)),
                devices_of(offer),
                *_energy(offer),
            ),
        )
        for name, offer in shown
    )
    return Table(f"t-cost-{anchor}", f"Cost, {found.workload}", columns, lines)


def _per_currency(cost: Cost | None) -> Value:
    """Return how many million inferences one unit of the currency buys: the dearest end gives the fewest."""
    if cost is None or cost.per_million.value <= 0:
        return Value(units.MISSING)
    low, high = (1 / end if end else None for end in (cost.per_million.high, cost.per_million.low))
    bought = Span(1 / cost.per_million.value, low, high)
    return Value(units.significant(bought.value), bought.value, words.bounds(bought))


def _part(cost: Cost | None, part: str) -> Value:
    value = cost.parts.get(part) if cost else None
    return Value(units.PLAIN.number(value), value)


def _energy(offer: Offer) -> tuple[Value, Value, Value]:
    joules = offer.joules_per_inference
    held = offer.capacity.items_per_s.estimate
    # What was measured with one stream is no power of full load.
    per_watt = held / offer.watts if offer.watts and ONE_STREAM not in offer.watts_source else None
    return (
        Value(units.PLAIN.number(offer.energy_kwh_per_year), offer.energy_kwh_per_year),
        estimated(joules, units.PLAIN) if joules else Value(units.MISSING),
        Value(units.PLAIN.number(per_watt), per_watt),
    )
