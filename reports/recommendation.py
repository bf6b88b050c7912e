"""The section that answers the buyer: what to take for the demand, what was left out, what would change the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import recommendation_words as words
from reports import units
from reports.model import Column, Figure, Line, Panel, Section, Sheet, Table, Value, Verdict
from reports.recommendation_words import CONSTRAINTS, PARTS, Called
from reports.speed import estimated
from reports.text import clamp, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.procurement.offers import Offer, Recommendation, Span

SHOWN = 200
"""Rows of a table on the page; the JSON of ``harness recommend`` has them all."""
_LEADERS = 4
"""Rows that the card points to."""
_REASON = 200


def answer(recommendations: Sequence[Recommendation], fields: Sequence[Field]) -> Section:
    """Return the recommendation of each workload: its card, the offers, and what lies around the choice."""
    names = row_names(fields)
    called = called_by(fields)
    panels = tuple(_panel(str(place), found, names, called) for place, found in enumerate(recommendations))
    return Section(
        id="recommendation",
        title="Recommendation",
        short="Recommendation",
        lead="The rows that keep every constraint, best first. Capacity is what a device sustained host→host at the "
        "stated power mode, never a burst. Brackets hold what the 95 % interval of the measurement leaves open; prices "
        "have none.",
        panels=panels,
        empty="Nothing was asked for. “harness report RUN --slo p99=33ms --load 8x30fps --prices prices.yaml” asks.",
    )


def row_names(fields: Sequence[Field]) -> dict[str, RowName]:
    """Return the name of every row of the page by variant id."""
    return {name.variant_id: name for field in fields for name, _ in field}


def called_by(fields: Sequence[Field]) -> dict[str, Called]:
    """Return what every row of the page is called in a sentence, by variant id."""
    return {name.variant_id: Called(name.label, row.machine) for field in fields for name, row in field}


def _panel(anchor: str, found: Recommendation, names: Mapping[str, RowName], called: Mapping[str, Called]) -> Panel:
    shown = [(names[offer.variant_id], offer) for offer in found.offers if offer.variant_id in names]
    notes = [clamp(note, 400) for note in found.notes]
    if len(shown) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(shown):,} offers are listed; `harness recommend --json` has them all.")
    offers = (_offers(anchor, found, shown[:SHOWN], called),) if shown else ()
    return Panel(
        found.workload,
        tables=(*offers, *_excluded(anchor, found, names)),
        notes=tuple(notes),
        card=_card(found, names, called),
        sheets=tuple(_sheets(anchor, found, called)),
    )


# --- the card ----------------------------------------------------------------------------------------------------


def _card(found: Recommendation, names: Mapping[str, RowName], called: Mapping[str, Called]) -> Verdict:
    leaders = [names[offer.variant_id].index for offer in found.offers[: found.tied] if offer.variant_id in names]
    return Verdict(
        workload=found.workload,
        about=" · ".join(words.demanded(found)),
        headline=words.headline(found, called),
        leaders=tuple(leaders[:_LEADERS]),
        figures=tuple(_figures(found, found.offers[0])) if found.offers else (),
        sentences=tuple(text for text in _sentences(found, called) if text),
    )


def _figures(found: Recommendation, best: Offer) -> Iterator[Figure]:
    yield _devices(best)
    yield from _costs(found, best)
    held = best.capacity.items_per_s
    least = "at least; " if best.capacity.at_least else ""
    note = f"{least}{clamp(next(iter(best.capacity.basis), ''), 120)}"
    yield Figure("capacity of one device", units.significant(held.estimate), "items/s", units.PLAIN.bounds(held), note)


def _devices(best: Offer) -> Figure:
    devices = best.devices
    if devices is None:
        return Figure("devices", units.MISSING, note="no load was asked for: --load 8x30fps")
    ends = words.bounds(devices, 0)
    note = []
    if best.spares:  # of which there would be another number at the ends
        needed = f"{words.count(devices)} {ends}".rstrip()
        note, ends = [f"{needed} for the load and {counted(best.spares, 'spare')}"], ""
    if best.utilisation is not None:
        note.append(f"{words.percent(round(best.utilisation, 3))} of their capacity used")
    value = units.fixed(words.bought(best) or 0.0, 0)
    return Figure("devices", value, "", ends, "; ".join(note))


def _costs(found: Recommendation, best: Offer) -> Iterator[Figure]:
    cost, currency = best.cost, clamp(found.currency or "", 12)
    million = cost_title(found)
    if cost is None:
        yield Figure("cost per year", units.MISSING, note="no price is known")
        yield Figure(million, units.MISSING, note=words.NO_PRICES)
        return
    if cost.per_year is None:
        yield Figure("cost per year", units.MISSING, note="no load was asked for: --load 8x30fps")
    else:
        parts = "; ".join(f"{PARTS.get(p, clamp(p, 20))} {units.significant(cost.parts[p])}" for p in _parts(best))
        value = words.cash(cost.per_year)
        yield Figure(
            "cost per year", value, currency, words.bounds(cost.per_year, words.cents(cost.per_year.value)), parts
        )
    per_million = cost.per_million
    at = "at the load asked for" if cost.per_year else "at the allowed utilisation of one device"
    ends = words.bounds(per_million, words.cents(per_million.value))
    yield Figure(million, words.cash(per_million), currency, ends, at)


def cost_title(found: Recommendation) -> str:
    """Return what the cost per million is called: with the SLO that it holds at, where there is one."""
    within = words.demanded(found)[0] if found.demand.slo else ""
    return f"cost per million inferences{f' at {within}' if within else ''}"


def _parts(offer: Offer) -> list[str]:
    return words.cost_parts(offer.cost) if offer.cost else []


def _sentences(found: Recommendation, called: Mapping[str, Called]) -> Iterator[str]:
    if not found.offers:
        yield words.first_step(found, called)
    else:
        best = found.offers[0]
        yield words.alternatives(found, called)
        yield f"The capacity stands on: {words.basis(best)}."
        energy = words.energy(best)
        yield f"Energy: {energy}." if energy else "Nothing says what it draws."
        if best.retained_accuracy is not None:
            yield f"It keeps {words.percent(best.retained_accuracy)} of FP32’s accuracy."
    left = len(found.excluded)
    if left:
        counts = ", ".join(f"{each.rows:,} by {CONSTRAINTS[each.constraint]}" for each in words.left_out(found))
        yield f"{counted(left, 'row')} left out: {counts}. A row may break several constraints."
    if found.offers:
        yield from (words.relaxed(found, each, called) for each in found.relaxations if each.saves and each.saves > 0)
        yield from (
            f"The choice may change with {words.swayed(each)}." for each in found.sensitivities if not each.holds
        )


# --- tables about rows -------------------------------------------------------------------------------------------


def _offers(
    anchor: str, found: Recommendation, shown: Sequence[tuple[RowName, Offer]], called: Mapping[str, Called]
) -> Table:
    currency = clamp(found.currency or "", 12)
    columns = (
        Column("rank", hint="equal ranks cannot be told apart"),
        Column("machine", numeric=False, hint="the name of its price, or of the machine that was measured"),
        Column("capacity", "items/s", hint="sustained by one device, within the SLO where there is one"),
        Column("streams"),
        Column("devices", hint="for the load at the allowed utilisation; spares beside"),
        Column("used", "%", hint="of the devices’ capacity at the load"),
        Column("cost per year", currency),
        Column("cost per million", currency, hint="inferences"),
        Column("power", "W", hint="of one device, as stated with its price, else as measured; see beside it"),
        Column("energy", "J per inference"),
        Column("accuracy kept", "%", hint="of the FP32 row’s metric"),
        Column("stands on", numeric=False),
    )
    lines = []
    for rank, (name, offer) in enumerate(shown, start=1):
        cost = offer.cost
        joules = offer.joules_per_inference
        values = (
            _rank(rank, found.tied),
            Value(words.unit_of(offer, called) or units.MISSING, words.unit_of(offer, called)),
            estimated(offer.capacity.items_per_s, units.PLAIN),
            Value(str(offer.capacity.streams), offer.capacity.streams),
            devices_of(offer),
            _share(offer.utilisation),
            paid(cost.per_year if cost else None),
            paid(cost.per_million if cost else None),
            Value(units.PLAIN.number(offer.watts), offer.watts, clamp(offer.watts_source, 60)),
            estimated(joules, units.PLAIN) if joules else Value(units.MISSING),
            _share(offer.retained_accuracy),
            Value(words.basis(offer), words.basis(offer)),
        )
        lines.append(Line(name.index, values))
    return Table(f"t-recommendation-{anchor}", f"Offers, best first, {found.workload}", columns, tuple(lines))


def _rank(rank: int, tied: int) -> Value:
    return Value("1", 1, "tie") if rank <= tied > 1 else Value(str(rank), rank)


def devices_of(offer: Offer) -> Value:
    """Return the devices that an offer needs, with the interval and the spares beside."""
    if offer.devices is None:
        return Value(units.MISSING)
    aside = " ".join(
        part for part in (words.bounds(offer.devices, 0), f"+ {offer.spares}" if offer.spares else "") if part
    )
    return Value(words.count(offer.devices), offer.devices.value, aside)


def paid(span: Span | None) -> Value:
    """Return an amount of money with its interval beside it."""
    if span is None:
        return Value(units.MISSING)
    return Value(words.cash(span), span.value, words.bounds(span, words.cents(span.value)))


def _share(value: float | None) -> Value:
    return Value(units.MISSING) if value is None else Value(units.fixed(100 * value, 1), value)


def _excluded(anchor: str, found: Recommendation, names: Mapping[str, RowName]) -> Iterator[Table]:
    rows = [(names[each.variant_id], each.reasons) for each in found.excluded if each.variant_id in names]
    if not rows:
        return
    more = f", the first {SHOWN} of {len(rows):,}" if len(rows) > SHOWN else ""
    lines = tuple(
        Line(
            name.index,
            (
                Value(", ".join(CONSTRAINTS[constraint] for constraint in reasons), CONSTRAINTS[next(iter(reasons))]),
                Value("; ".join(clamp(reason, _REASON) for reason in reasons.values())),
            ),
        )
        for name, reasons in rows[:SHOWN]
        if reasons
    )
    columns = (Column("breaks", numeric=False), Column("why", numeric=False))
    yield Table(f"t-excluded-{anchor}", f"Left out{more}, {found.workload}", columns, lines)


# --- sheets about the choice -------------------------------------------------------------------------------------


def _sheets(anchor: str, found: Recommendation, called: Mapping[str, Called]) -> Iterator[Sheet]:
    left = words.left_out(found)
    columns: tuple[Column, ...]
    if left:
        columns = (
            Column("constraint", numeric=False),
            Column("rows", hint="that break it"),
            Column("alone", hint="rows that keep every other constraint"),
            Column("why", numeric=False, hint="the commonest reason"),
        )
        lines = []
        for each in left:
            (first, _), *others = each.reasons
            aside = f"and {counted(len(others), 'other reason')}" if others else ""
            values = (Value(CONSTRAINTS[each.constraint]), Value(f"{each.rows:,}", each.rows))
            lines.append((*values, Value(f"{each.alone:,}", each.alone), Value(first, None, aside)))
        yield Sheet(f"s-excludes-{anchor}", "What each constraint leaves out", columns, tuple(lines))
    if found.relaxations:
        columns = (
            Column("constraint", numeric=False),
            Column("relaxed to", numeric=False),
            Column("rows it lets in"),
            Column("saves", "%", hint=f"of {words.saved_of(found)}, compared with the choice"),
            Column("the best would be", numeric=False),
        )
        relaxations = tuple(
            (
                Value(CONSTRAINTS[each.constraint]),
                Value(clamp(each.to, _REASON)),
                Value(f"{each.admits:,}", each.admits),
                _share(each.saves),
                Value(words.label(each.variant_id, called)),
            )
            for each in found.relaxations
        )
        yield Sheet(f"s-relaxing-{anchor}", "What relaxing a constraint buys", columns, relaxations)
    if found.sensitivities:
        columns = (
            Column("what varies", numeric=False),
            Column("the choice", numeric=False),
            Column("how far", numeric=False),
            Column("else", numeric=False, hint="what would be chosen then"),
        )
        sensitivities = tuple(
            (
                Value(clamp(each.of, 80)),
                Value("holds", tone="good") if each.holds else Value("may change", tone="warn"),
                Value(clamp(each.words, _REASON)),
                Value(words.label(each.rival, called) if each.rival else units.MISSING),
            )
            for each in found.sensitivities
        )
        yield Sheet(f"s-sensitivity-{anchor}", "How sure the choice is", columns, sensitivities)
