"""A recommendation in words, for the page and the terminal alike: what to buy, what it costs, what would change it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import units
from reports.text import clamp, counted, listed
from results.procurement.demand_text import shown_load, shown_slo
from results.procurement.offers import Constraint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.procurement.demand import Demand
    from results.procurement.offers import Cost, Offer, Recommendation, Relaxation, Sensitivity, Span

CONSTRAINTS: Mapping[Constraint, str] = {
    Constraint.TRUST: "trust",
    Constraint.SUSTAINED: "sustained throughput",
    Constraint.SLO: "SLO",
    Constraint.ACCURACY: "accuracy",
    Constraint.LOAD: "load",
    Constraint.PRICE: "price",
}
"""What each constraint is called."""
PARTS: Mapping[str, str] = {"device": "devices", "host": "hosts", "rent": "rent", "energy": "energy"}
"""Parts of a yearly cost that have a name of their own, in the order in which they are shown."""
NO_PRICES = (
    "No prices were given, so that costs are blank: `harness recommend --example-prices` prints a file to start from, "
    "--prices FILE takes it."
)
_ADVICE: Mapping[Constraint, str] = {
    Constraint.TRUST: "mend what failed or fell back, and measure again with --preset default or above; "
    "`harness doctor` says what would be quieter",
    Constraint.SUSTAINED: "run the scenario `soak` for it, as the suite `procurement` does",
    Constraint.SLO: "run the scenario `server` with this SLO, or allow a later answer",
    Constraint.ACCURACY: "measure accuracy on more images, or ask for less of it",
    Constraint.LOAD: "measure a faster device, or a larger batch",
    Constraint.PRICE: "give it a price in the prices file",
}
_LABEL, _REASON = 80, 200
_NAMED = 3
"""Rows of a tie that are named one by one."""


@dataclass(frozen=True)
class Called:
    """What a row is called: its label, and the machine that it ran on where that is known."""

    label: str
    machine: str = ""
    located: str = ""  # with its machine, where rows are of several and the label does not tell


@dataclass(frozen=True)
class LeftOut:
    """What one constraint leaves out."""

    constraint: Constraint
    rows: int
    alone: int  # rows that keep every other constraint
    reasons: tuple[tuple[str, int], ...]  # and how many rows each is of, the commonest first


# --- the answer --------------------------------------------------------------------------------------------------


def headline(found: Recommendation, names: Mapping[str, Called]) -> str:
    """Return the answer in one sentence."""
    if not found.offers:
        return "Nothing to recommend: no row keeps every constraint."
    best = found.offers[0]
    if found.tied < 2:
        return f"{_imperative(best)}{chosen(best, names)}: {amount(found, best)}."
    tied = [chosen(offer, names) for offer in found.offers[: min(found.tied, _NAMED)]]
    if found.tied > _NAMED:
        tied.append(f"{found.tied - _NAMED} more")
    return (
        f"A tie of {found.tied} by {clamp(found.criterion, _LABEL)}: {'; '.join(tied)}. They cannot be told apart; the "
        f"first comes to {amount(found, best)}."
    )


def first_step(found: Recommendation, names: Mapping[str, Called]) -> str:
    """Return what to do first where there is nothing to offer."""
    if not found.excluded:
        return "No row of this workload is on record: run a suite that measures it."
    nearest = next((each for each in found.relaxations if each.admits), None)
    if nearest is not None:
        advice = _ADVICE[nearest.constraint]
        return f"{relaxed(found, nearest, names)} First: {advice}."
    heaviest = left_out(found)[0]
    reason, _ = heaviest.reasons[0]
    return f"First: {_ADVICE[heaviest.constraint]}. {counted(heaviest.rows, 'row')} left out by it: {reason}."


def chosen(offer: Offer, names: Mapping[str, Called]) -> str:
    """Return how many of what, running what: ``3 × NAME: openvino int8 cpu b1, 4 streams``."""
    what = configured(offer, names)
    unit = unit_of(offer, names)
    if offer.devices is None:
        return f"{unit}: {what}" if unit else what
    spare = f" ({_whole(offer.devices.value)} and {counted(offer.spares, 'spare')})" if offer.spares else ""
    return f"{_whole(bought(offer))} × {unit or 'this machine'}{spare}: {what}"


def configured(offer: Offer, names: Mapping[str, Called]) -> str:
    """Return what runs on the device: ``openvino int8 cpu b1, 4 streams``."""
    return f"{label(offer.variant_id, names)}, {counted(offer.capacity.streams, 'stream')}"


def label(variant_id: str, names: Mapping[str, Called]) -> str:
    """Return what a row is called; the beginning of its id where nobody knows."""
    called = names.get(variant_id)
    return clamp(called.label, _LABEL) if called else clamp(variant_id[:12], _LABEL)


def located(variant_id: str, names: Mapping[str, Called]) -> str:
    """Return what a row is called among those of other machines."""
    called = names.get(variant_id)
    return clamp(called.located, 2 * _LABEL) if called and called.located else label(variant_id, names)


def unit_of(offer: Offer, names: Mapping[str, Called]) -> str:
    """Return what is bought: the name that its price has, else the machine's, else nothing."""
    called = names.get(offer.variant_id)
    return clamp((offer.cost.unit if offer.cost else "") or (called.machine if called else ""), _LABEL)


def bought(offer: Offer) -> float | None:
    """Return how many devices are needed, spares included."""
    return None if offer.devices is None else offer.devices.value + offer.spares


def amount(found: Recommendation, offer: Offer) -> str:
    """Return what an offer comes to in the terms that offers are ranked by, with its interval."""
    cost, currency = offer.cost, found.currency or ""
    if cost is not None and cost.per_year is not None:
        return f"{money(cost.per_year, currency)} a year{_bounds_after(cost.per_year)}"
    if cost is not None:
        return f"{money(cost.per_million, currency)} per million inferences{_bounds_after(cost.per_million)}"
    held = offer.capacity.items_per_s
    ends = units.PLAIN.bounds(held)
    each = " each" if offer.devices is not None else ""
    return f"{units.significant(held.estimate)} items/s sustained{each}{f' {ends}' if ends else ''}"


def demanded(found: Recommendation) -> tuple[str, ...]:
    """Return what was asked for, in words, and what the offers are ranked by."""
    return (*_asked(found.demand), f"ranked by {clamp(found.criterion, _LABEL)}")


def _asked(demand: Demand) -> tuple[str, ...]:
    parts = (
        shown_slo(demand.slo) if demand.slo else "",
        f"at least {percent(demand.minimum_accuracy)} of FP32’s accuracy" if demand.minimum_accuracy else "",
        shown_load(demand.load) if demand.load else "",
    )
    return tuple(part for part in parts if part)


def _imperative(offer: Offer) -> str:
    """Return the verb before ``3 × NAME``; nothing where no number of devices is known."""
    if offer.devices is None:
        return ""
    if offer.cost is None:
        return "Take "
    return "Rent " if "rent" in offer.cost.parts else "Buy "


# --- what stands behind it ---------------------------------------------------------------------------------------


def basis(offer: Offer) -> str:
    """Return what a capacity stands on, the limiting measurement first, and the power mode."""
    words = [clamp(each, _REASON) for each in offer.capacity.basis]
    if offer.capacity.at_least:
        words.append("a higher load was not tried, or with too few queries to tell, so that there may be more")
    return "; ".join((*words, f"power mode: {clamp(offer.capacity.power_mode, _LABEL)}"))


def energy(offer: Offer) -> str:
    """Return what a device draws, an inference takes and the load uses in a year; empty where nothing says."""
    words = []
    if offer.watts is not None:
        source = f" ({clamp(offer.watts_source, _LABEL)})" if offer.watts_source else ""
        words.append(f"{units.significant(offer.watts)}\u00a0W{source}")
    joules = offer.joules_per_inference
    if joules is not None:
        ends = units.PLAIN.bounds(joules)
        own = offer.joules_source if offer.joules_source != offer.watts_source else ""  # said once where both are of it
        told = " ".join(part for part in (ends, f"({clamp(own, _LABEL)})" if own else "") if part)
        words.append(f"{units.significant(joules.estimate)}\u00a0J per inference {told}".rstrip())
    if offer.energy_kwh_per_year is not None:
        words.append(f"{units.significant(offer.energy_kwh_per_year)}\u00a0kWh a year")
    return ", ".join(words)


def cost_parts(cost: Cost) -> list[str]:
    """Return the names of the parts that a year's cost has, those with a word of their own first."""
    present = [name for name, value in cost.parts.items() if value]
    return [*(name for name in PARTS if name in present), *sorted(name for name in present if name not in PARTS)]


def left_out(found: Recommendation) -> tuple[LeftOut, ...]:
    """Return what each constraint leaves out, the one that leaves out most first."""
    reasons: dict[Constraint, Counter[str]] = {}
    alone: Counter[Constraint] = Counter()
    for row in found.excluded:
        for constraint, reason in row.reasons.items():
            reasons.setdefault(constraint, Counter())[clamp(reason, _REASON)] += 1
        if len(row.reasons) == 1:
            alone.update(row.reasons.keys())
    counts = [
        LeftOut(constraint, said.total(), alone[constraint], tuple(said.most_common()))
        for constraint, said in reasons.items()
    ]
    return tuple(sorted(counts, key=lambda each: (-each.rows, list(Constraint).index(each.constraint))))


def relaxed(found: Recommendation, relaxation: Relaxation, names: Mapping[str, Called]) -> str:
    """Return what giving way in one constraint would buy."""
    more = " more" if found.offers else ""
    rows = f"{relaxation.admits:,}{more} {'row comes' if relaxation.admits == 1 else 'rows come'} in"
    to, row = clamp(relaxation.to, _REASON), located(relaxation.variant_id, names)
    return f"{CONSTRAINTS[relaxation.constraint]} → {to}: {rows}; the best would be {row}{_saved(found, relaxation)}."


def saved_of(found: Recommendation) -> str:
    """Return what a relaxation saves a share of."""
    if found.criterion.startswith("cost"):
        return f"the {clamp(found.criterion, _LABEL)}"
    return "the devices" if found.demand.load else "the devices that a throughput takes"


def _saved(found: Recommendation, relaxation: Relaxation) -> str:
    saves = relaxation.saves
    if saves is None or not math.isfinite(saves):
        return ""
    return f", which saves {percent(saves)} of {saved_of(found)}" if saves > 0 else ", which saves nothing"


def swayed(sensitivity: Sensitivity) -> str:
    """Return when the choice would be another."""
    return f"{clamp(sensitivity.of, _LABEL)}: {clamp(sensitivity.words, _REASON)}"


# --- numbers -----------------------------------------------------------------------------------------------------


def money(span: Span, currency: str) -> str:
    """Return an amount with its currency, without its interval."""
    return f"{cash(span)}\u00a0{clamp(currency, 12)}".rstrip("\u00a0")


def cash(span: Span) -> str:
    """Return an amount as prices are written: whole from a hundred, two decimals from one."""
    return units.fixed(span.value, cents(span.value))


def cents(value: float) -> int:
    """Return how many decimals an amount is written with."""
    return 2 if 1 <= abs(value) < 100 else units.decimals(value)


def bounds(span: Span, places: int | None = None) -> str:
    """Return ``[low, high]`` with the decimals of the value; nothing where there is no interval."""
    if span.low is None and span.high is None:
        return ""
    places = units.decimals(span.value) if places is None else places
    low = units.MISSING if span.low is None else units.fixed(span.low, places)
    if span.high is None or not math.isfinite(span.high):
        return f"[{low}, ∞)"
    return f"[{low}, {units.fixed(span.high, places)}]"


def percent(share: float) -> str:
    """Return a share in percent with at most four significant digits: ``99 %``, ``97.83 %``."""
    return f"{100 * share:.4g}\u00a0%"


def count(span: Span) -> str:
    """Return a whole number of devices."""
    return _whole(span.value)


def alternatives(found: Recommendation, names: Mapping[str, Called]) -> str:
    """Return the offers that tie with the first, one by one, or the next best one; empty where there is none."""
    if found.tied > 1:
        tied = [f"{chosen(offer, names)}, {amount(found, offer)}" for offer in found.offers[1 : found.tied][:_NAMED]]
        return f"As good, as far as this was measured: {listed(tied)}."
    if len(found.offers) < 2:
        return ""
    return f"The next best: {chosen(found.offers[1], names)}, {amount(found, found.offers[1])}."


def _bounds_after(span: Span) -> str:
    ends = bounds(span, cents(span.value))
    return f" {ends}" if ends else ""


def _whole(value: float | None) -> str:
    return units.MISSING if value is None else units.fixed(value, 0)
