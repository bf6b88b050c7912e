"""The section on money: what is blank, why, and that the parts are those of the sum."""

from __future__ import annotations

import dataclasses

import pytest

from reports.cost import cost
from reports.field import fields
from reports.names import named, ordered
from reports.text import showable
from results.procurement.offers import Span


@pytest.fixture(scope="module")
def groups(make):
    standings = make.standings(make.varied())
    rows = ordered(make.varied(), standings)
    return fields(rows, named(rows, standings), standings)


@pytest.fixture(scope="module")
def variant(groups):
    return next(name.variant_id for name, _ in groups[0])


def values(table):
    """Return the first line of a table by the heads of its columns."""
    heads = [f"{column.title} {column.unit}".strip().replace("\u00a0", " ") for column in table.columns]
    return dict(zip(heads, table.lines[0].values, strict=True))


def test_a_page_without_a_demand_says_how_to_ask(groups):
    section = cost([], groups)
    assert (section.id, section.short, section.panels) == ("cost", "Cost", ())
    assert "--example-prices" in section.empty
    assert "--slo p99=33ms" in section.empty


def test_costs_their_parts_and_what_a_unit_of_the_currency_buys(offered, groups, variant):
    parts = {"energy": 240.0, "device": 900.0, "host": 100.0, "taxes": 5.0}
    made = dataclasses.replace(offered.cost(), per_million=Span(0.2, 0.1, 0.4), parts=parts)
    (panel,) = cost([offered.recommendation(offered.offer(variant, cost=made, spares=1))], groups).panels
    found = values(panel.tables[0])
    assert list(found)[:7] == [
        "cost per million inferences at p99 ≤ 33 ms EUR",
        "inferences per currency unit million per EUR",
        "cost per year EUR",
        "devices EUR a year",
        "hosts EUR a year",
        "energy EUR a year",
        "taxes EUR a year",
    ]
    assert [value.text for value in found.values()][:7] == ["0.200", "5.00", "1,240", "900", "100", "240", "5.00"]
    assert found["inferences per currency unit million per EUR"].aside == "[2.50, 10.00]"
    assert (found["devices"].text, found["devices"].aside) == ("3", "[3, 4] + 1")
    assert found["energy kWh a year"].text == "534"
    assert found["capacity per power items/s per W"].text == "3.48"
    assert panel.notes == (offered.UNITS_TESTED,)


def test_without_prices_money_is_blank_and_the_reason_comes_first(offered, groups, variant):
    found = offered.recommendation(offered.unpriced(variant), currency=None, notes=())
    (panel,) = cost([found], groups).panels
    blank = {head for head, value in values(panel.tables[0]).items() if value.text == "—"}
    assert {"cost per million inferences at p99 ≤ 33 ms", "cost per year"} <= blank
    assert panel.notes[0].startswith("No prices were given")


def test_power_with_one_stream_is_set_against_no_capacity(offered, groups, variant):
    measured = offered.offer(variant, watts_source="measured with one stream (rapl, package)")
    (panel,) = cost([offered.recommendation(measured)], groups).panels
    assert values(panel.tables[0])["capacity per power items/s per W"].text == "—"


def test_power_that_was_measured_at_full_load_is_set_against_the_capacity(offered, groups, variant):
    measured = offered.offer(variant, watts_source="measured at full load, in its soak (rapl, package)")
    (panel,) = cost([offered.recommendation(measured)], groups).panels
    assert values(panel.tables[0])["capacity per power items/s per W"].text == "3.48"


def test_notes_on_the_answer_are_not_repeated(offered, groups, variant):
    notes = (offered.UNITS_TESTED, "a: memory grows")
    (panel,) = cost([offered.recommendation(offered.offer(variant), notes=notes)], groups).panels
    assert panel.notes == (
        offered.UNITS_TESTED,
        "What else to know of these answers stands with the notes under Recommendation.",
    )


def test_nothing_to_offer_costs_nothing_and_says_what_to_do(offered, groups, variant):
    found = offered.recommendation(excluded=(offered.excluded(variant, accuracy="undecided on 20 images"),))
    (panel,) = cost([found], groups).panels
    assert panel.tables == ()
    assert panel.notes[0].startswith("No cost, since there is nothing to offer. First: measure accuracy")


def test_a_cost_of_nothing_buys_no_number(offered, groups, variant):
    free = dataclasses.replace(offered.cost(), per_million=Span(0.0, 0.0, 0.0), parts={})
    (panel,) = cost([offered.recommendation(offered.offer(variant, cost=free))], groups).panels
    assert values(panel.tables[0])["inferences per currency unit million per EUR"].text == "—"


def test_hostile_words_are_showable(offered, groups, variant, make):
    for text in make.HOSTILE:
        priced = dataclasses.replace(offered.cost(unit=text), parts={text: 1.0})
        found = offered.recommendation(offered.offer(variant, cost=priced), currency=text, notes=(text,))
        (panel,) = cost([found], groups).panels
        table = panel.tables[0]
        shown = [*panel.notes, *(f"{column.title}{column.unit}" for column in table.columns)]
        shown += [f"{value.text}{value.aside}" for line in table.lines for value in line.values]
        assert all(showable(said) == said and len(said) < 500 for said in shown)
