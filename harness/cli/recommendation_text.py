"""A recommendation in the terminal and as JSON: the answer, the offers, what was left out, what would change it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from harness.cli.console import out, say
from harness.codec import encode
from reports import recommendation_words as words
from reports import units
from reports.recommendation_words import CONSTRAINTS, Called
from reports.text import clamp, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from results.merged import Merged
    from results.procurement.offers import Offer, Recommendation
    from results.row import Row
    from results.sources import Source

MOST = 10
"""Offers, and reasons of one constraint, that are shown where not everything is asked for."""
WIDE = 150
"""Columns from which one table has room for everything."""
_REASONS = 2
_NOTE = 400


def show_sources(together: Merged) -> None:
    """Print which runs the answer is from, where they are several, and what must be known of them."""
    several = len(together.sources) > 1
    for source in together.sources:
        if several:
            said = f"{source.run_id}, {source.suite}, {source.machine}, {source.created_at[:10]}"
            say(f"from {clamp(said, 200)}")
        for trouble in (*((source.trouble,) if source.trouble else ()), *source.damage):
            _say(f"note: run {source.run_id}: {clamp(trouble, _NOTE)}")
    for note in together.notes:
        _say(f"note: {clamp(note, _NOTE)}")
    if several:
        say("")


def show(
    found: Sequence[Recommendation], rows: Iterable[Row], sources: Sequence[Source], *, everything: bool = False
) -> None:
    """Print each recommendation; ``everything`` shows every offer and every reason."""
    called = _called(rows, sources)
    for place, each in enumerate(found):
        if place:
            say("")
        _show(each, called, everything=everything)


def data(found: Sequence[Recommendation], rows: Sequence[Row], sources: Sequence[Source]) -> dict[str, Any]:
    """Return the recommendations as JSON-able data, with what each row is called; what is without bound is null."""
    mentioned = {variant for each in found for variant in _variants(each)}
    called = _called(rows, sources)
    run = sources[0].run_id if len(sources) == 1 else ""
    finite: dict[str, Any] = _finite(
        {
            "recommendations": [
                {**encode(each), "headline": words.headline(each, called), "answered": bool(each.offers)}
                for each in found
            ],
            "rows": {
                row.variant_id: _row(row, called[row.variant_id], run) for row in rows if row.variant_id in mentioned
            },
            "sources": [
                {
                    "run_id": source.run_id,
                    "created_at": source.created_at,
                    "suite": source.suite,
                    "machine": source.machine,
                    "hw_id": source.hw_id,
                    "env_id": source.env_id,
                }
                for source in sources
            ],
        }
    )
    return finite


def _called(rows: Iterable[Row], sources: Sequence[Source]) -> dict[str, Called]:
    """Return what each row is called; where all are of one machine, by that machine."""
    machines = {source.machine for source in sources}
    only = next(iter(machines)) if len(machines) == 1 else ""
    return {
        row.variant_id: Called(row.label, row.machine or only, f"{row.label} on {row.machine}" if row.machine else "")
        for row in rows
    }


def _row(row: Row, called: Called, run: str) -> dict[str, Any]:
    cell = row.cell
    return {
        "label": row.label,
        "machine": called.machine,
        "run_id": row.run_id or run,
        "workload": cell.workload,
        "engine": cell.engine,
        "precision": cell.precision.value,
        "device": cell.device,
        "batch": cell.batch,
        "threads": cell.threads,
    }


def _variants(found: Recommendation) -> Iterable[str]:
    yield from (offer.variant_id for offer in found.offers)
    yield from (row.variant_id for row in found.excluded)
    yield from (each.variant_id for each in found.relaxations)
    yield from (each.rival for each in found.sensitivities if each.rival)


def _finite(value: Any) -> Any:
    """Return JSON-able data without numbers that JSON has no form for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


# --- one workload ------------------------------------------------------------------------------------------------


def _show(found: Recommendation, called: Mapping[str, Called], *, everything: bool) -> None:
    style = "bold green" if found.tied == 1 else "bold yellow"
    head = f"{clamp(found.workload, 80)}: "
    out.print(Text.assemble((head, "bold"), (words.headline(found, called), style)), soft_wrap=False)
    _say(f"asked: {', '.join(words.demanded(found))}")
    if not found.offers:
        _say(words.first_step(found, called))
    if found.offers:
        _show_offers(found, called, len(found.offers) if everything else MOST)
    _show_left_out(found, everything=everything)
    if found.relaxations:
        _listed("relaxing", (words.relaxed(found, each, called) for each in found.relaxations))
    if found.sensitivities:
        verdicts = ("holds" if each.holds else "may change" for each in found.sensitivities)
        said = (words.swayed(each) for each in found.sensitivities)
        _listed("how sure", (f"{verdict}: {text}" for verdict, text in zip(verdicts, said, strict=True)))
    notes = [clamp(note, _NOTE) for note in found.notes]
    if found.offers and all(offer.cost is None for offer in found.offers):
        notes.insert(0, words.NO_PRICES)
    if notes:
        _listed("notes", notes)


def _show_offers(found: Recommendation, called: Mapping[str, Called], most: int) -> None:
    shown = found.offers[:most]
    whole = out.width >= WIDE
    say("")
    out.print(_offers(found, shown, called, whole=whole), soft_wrap=False)
    if not whole:
        say("")
        out.print(_behind(found, shown), soft_wrap=False)
    if len(found.offers) > most:
        say(f"{len(found.offers) - most} more offers with --all")
    say("")


def _offers(found: Recommendation, shown: Sequence[Offer], called: Mapping[str, Called], *, whole: bool) -> Table:
    """Return what each offer is and costs; where there is room, with what stands behind it."""
    currency = clamp(found.currency or "", 12)
    table = _table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("machine and row", overflow="fold")
    for head in ("items/s", "devices", *((f"{currency} a year", f"{currency} per million") if currency else ())):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for head, justify in _BEHIND if whole else ():
        table.add_column(head, justify=justify, overflow="fold", no_wrap=justify == "right")
    for place, offer in enumerate(shown, start=1):
        held = offer.capacity.items_per_s
        unit = words.unit_of(offer, called)
        least = "≥ " if offer.capacity.at_least else ""
        cost = offer.cost
        costs = (_span(cost.per_year if cost else None), _span(cost.per_million if cost else None))
        table.add_row(
            _rank(found, place),
            Text("\n".join(part for part in (unit, words.configured(offer, called)) if part)),
            _over(f"{least}{units.significant(held.estimate)}", units.PLAIN.bounds(held)),
            _devices(offer),
            *(costs if currency else ()),
            *(_behind_of(offer) if whole else ()),
        )
    return table


_BEHIND: tuple[tuple[str, Any], ...] = (
    ("used", "right"),
    ("power", "right"),
    ("J each", "right"),
    ("accuracy kept", "right"),
    ("stands on", "left"),
)


def _behind(found: Recommendation, shown: Sequence[Offer]) -> Table:
    """Return what stands behind each offer, in a table of its own for narrow terminals."""
    table = _table()
    table.add_column("#", justify="right", no_wrap=True)
    for head, justify in _BEHIND:
        table.add_column(head, justify=justify, overflow="fold", no_wrap=justify == "right")
    for place, offer in enumerate(shown, start=1):
        table.add_row(_rank(found, place), *_behind_of(offer))
    return table


def _behind_of(offer: Offer) -> tuple[str | Text, ...]:
    joules = offer.joules_per_inference
    return (
        units.MISSING if offer.utilisation is None else f"{100 * offer.utilisation:.0f} %",
        units.MISSING if offer.watts is None else f"{units.significant(offer.watts)} W",
        units.MISSING if joules is None else _over(units.significant(joules.estimate), units.PLAIN.bounds(joules)),
        units.MISSING if offer.retained_accuracy is None else f"{100 * offer.retained_accuracy:.1f} %",
        Text(words.basis(offer)),
    )


def _rank(found: Recommendation, place: int) -> str:
    return "1=" if place <= found.tied > 1 else str(place)


def _devices(offer: Offer) -> Text | str:
    if offer.devices is None:
        return units.MISSING
    spares = f" + {offer.spares}" if offer.spares else ""
    return _over(f"{words.count(offer.devices)}{spares}", words.bounds(offer.devices, 0))


def _span(span: Any) -> Text | str:
    return units.MISSING if span is None else _over(words.cash(span), words.bounds(span, words.cents(span.value)))


def _over(value: str, below: str) -> Text:
    """Return a value with its interval in the line below it."""
    return Text(f"{value}\n{below}" if below else value)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


# --- around the choice -------------------------------------------------------------------------------------------


def _show_left_out(found: Recommendation, *, everything: bool) -> None:
    if not found.excluded:
        return
    rows = len(found.excluded) + len(found.offers)
    say(f"left out: {len(found.excluded):,} of {counted(rows, 'row')}")
    table = _table()
    for head, justify in (("", "left"), ("rows", "right"), ("alone", "right")):
        table.add_column(head, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # both are of its literals
    table.add_column("why", overflow="fold")
    for each in words.left_out(found):
        most = len(each.reasons) if everything else _REASONS
        reasons = [f"{reason} ({number:,})" if number > 1 else reason for reason, number in each.reasons[:most]]
        if len(each.reasons) > most:
            reasons.append(f"{len(each.reasons) - most} more reasons with --all")
        why = Text("\n".join(reasons))
        table.add_row(f"  {CONSTRAINTS[each.constraint]}", f"{each.rows:,}", f"{each.alone:,}", why)
    out.print(table, soft_wrap=False)


def _listed(title: str, sentences: Iterable[str]) -> None:
    """Print sentences under a title, each with a dash; what is wrapped stands under its beginning."""
    say(f"{title}:")
    listing = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        listing.add_row(" -", Text(sentence))
    out.print(listing, soft_wrap=False)


def _say(text: str) -> None:
    """Print a sentence, wrapped at words where the terminal ends."""
    out.print(text, markup=False, highlight=False, soft_wrap=False)
