"""The recommendation on the page: its words, its numbers, and what stands around the choice."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from reports import recommendation_words as words
from reports.field import fields
from reports.names import named, ordered
from reports.recommendation import SHOWN, answer
from reports.recommendation_words import Called
from reports.text import showable
from results.procurement.offers import Constraint, Span

GOLDEN = Path(__file__).parent / "golden" / "answer.json"


@pytest.fixture(scope="module")
def groups(make):
    """The fields of a page with every kind of row."""
    standings = make.standings(make.varied())
    rows = ordered(make.varied(), standings)
    return fields(rows, named(rows, standings), standings)


@pytest.fixture(scope="module")
def ids(groups):
    """Variant ids of the first workload by label."""
    return {name.label: name.variant_id for name, _ in groups[0]}


@pytest.fixture(scope="module")
def best(ids):
    return ids["openvino int8 cpu"] if "openvino int8 cpu" in ids else ids["openvino int8"]


NAMES = {"a": Called("openvino int8 cpu b1", "AMD EPYC"), "b": Called("onnxruntime int8 cpu b1"), "c": Called("c")}


def texts(value):
    """Yield every text of a section."""
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from texts(item)


def plain(text):
    return text.replace("\u00a0", " ")


# --- in words ----------------------------------------------------------------------------------------------------


def test_a_choice_says_how_many_of_what_at_what_cost(offered):
    found = offered.recommendation(offered.offer("a"))
    assert plain(words.headline(found, NAMES)) == (
        "Buy 3 × Example box: openvino int8 cpu b1, 4 streams: 1,240 EUR a year [1,240, 1,653]."
    )


def test_spares_are_bought_and_said(offered):
    found = offered.recommendation(offered.offer("a", spares=1))
    assert words.headline(found, NAMES).startswith("Buy 4 × Example box (3 and 1 spare): openvino int8")


def test_what_is_rented_is_not_bought(offered):
    rented = dataclasses.replace(offered.cost(), parts={"rent": 1240.0})
    free = dataclasses.replace(rented, parts={"rent": 0.0})
    for cost in (rented, free):
        assert words.headline(offered.recommendation(offered.offer("a", cost=cost)), NAMES).startswith("Rent 3 × ")


def test_without_a_load_the_cost_is_per_million(offered):
    alone = offered.offer("a", devices=None, cost=dataclasses.replace(offered.cost(), per_year=None))
    said = plain(words.headline(offered.recommendation(alone, demand=offered.ASKED_FOR_NOTHING), NAMES))
    assert said == "Example box: openvino int8 cpu b1, 4 streams: 0.164 EUR per million inferences [0.164, 0.218]."


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (3, "Take 3 × AMD EPYC: openvino int8 cpu b1, 4 streams: 212 items/s sustained each [201, 223]."),
        (None, "AMD EPYC: openvino int8 cpu b1, 4 streams: 212 items/s sustained [201, 223]."),
    ],
)
def test_without_prices_devices_are_counted_or_speed_is_said(offered, devices, said):
    alone = offered.unpriced("a", devices=devices and Span(devices, devices, devices))
    assert words.headline(offered.recommendation(alone, currency=None), NAMES) == said


@pytest.mark.parametrize("tied", [2, 3, 5])
def test_a_tie_is_called_a_tie(offered, tied):
    found = offered.recommendation(*(offered.offer("abc"[place % 3]) for place in range(tied + 1)), tied=tied)
    said = plain(words.headline(found, NAMES))
    assert said.startswith(f"A tie of {tied} by cost per year: 3 × Example box: openvino int8 cpu b1, 4 streams; ")
    assert "cannot be told apart; the first comes to 1,240 EUR a year [1,240, 1,653]." in said
    assert ("2 more" in said) == (tied == 5)
    assert "Buy" not in said


def test_nothing_to_offer_says_the_first_thing_to_do(offered):
    nearest = offered.relaxation("a", saves=None)
    out = (offered.excluded("a", slo="no rate met it"), offered.excluded("b", slo="no rate met it", trust="noisy"))
    found = offered.recommendation(excluded=out, relaxations=(nearest,))
    assert words.headline(found, NAMES) == "Nothing to recommend: no row keeps every constraint."
    said = plain(words.first_step(found, NAMES))
    assert said.startswith("SLO → p99 ≤ 41 ms: 2 rows come in; the best would be openvino int8 cpu b1. First: ")
    alone = words.first_step(dataclasses.replace(found, relaxations=()), NAMES)
    assert alone.startswith("First: run the scenario `server`")
    assert "2 rows left out by it: no rate met it." in alone
    assert "No row of this workload" in words.first_step(offered.recommendation(), NAMES)


def test_what_failed_is_to_be_mended_before_it_is_measured_again(offered):
    found = offered.recommendation(excluded=(offered.excluded("a", trust="latency failed at load: no memory"),))
    said = words.first_step(found, NAMES)
    assert said.startswith("First: mend what failed")
    assert said.endswith("latency failed at load: no memory.")


def test_the_demand_is_repeated_as_it_was_asked(offered):
    said = [plain(text) for text in words.demanded(offered.recommendation())]
    assert said == [
        "p99 ≤ 33 ms",
        "at least 99 % of FP32’s accuracy",
        "8 cameras at 30 fps",
        "ranked by cost per year",
    ]


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (Span(300, 300, 400), "[300, 400]"),
        (Span(3, None, None), ""),
        (Span(300, 300, None), "[300, ∞)"),
        (Span(300, 300, math.inf), "[300, ∞)"),
        (Span(300, None, 400), "[—, 400]"),
        (Span(0.0412, 0.0399, 0.05), "[0.0399, 0.0500]"),
    ],
)
def test_an_end_that_is_not_known_is_no_number(span, said):
    assert words.bounds(span) == said


def test_what_each_constraint_leaves_out_is_counted(offered):
    found = offered.recommendation(
        excluded=(
            offered.excluded("a", slo="late", accuracy="low"),
            offered.excluded("b", slo="late"),
            offered.excluded("c", slo="not measured"),
            offered.excluded("d", trust="noisy"),
        )
    )
    left = words.left_out(found)
    assert [(each.constraint, each.rows, each.alone) for each in left] == [
        (Constraint.SLO, 3, 2),
        (Constraint.TRUST, 1, 1),
        (Constraint.ACCURACY, 1, 0),
    ]
    assert left[0].reasons == (("late", 2), ("not measured", 1))


@pytest.mark.parametrize(
    ("saves", "said"),
    [(0.12, "saves 12 % of the cost per year."), (0.0, "saves nothing"), (-0.1, "saves nothing"), (None, "b1.")],
)
def test_what_relaxing_saves_is_said_where_it_is_known(offered, saves, said):
    found = offered.recommendation(offered.offer("b"))
    sentence = plain(words.relaxed(found, offered.relaxation("a", saves=saves), NAMES))
    assert sentence.startswith("SLO → p99 ≤ 41 ms: 2 more rows come in; the best would be openvino int8 cpu b1")
    assert said in sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criterion": "devices needed"}, "saves 50 % of the devices."),
        ({"criterion": "sustained throughput"}, "saves 50 % of the devices that a throughput takes."),
    ],
)
def test_what_is_saved_is_never_throughput(offered, changes, said):
    demand = offered.DEMAND if changes["criterion"] == "devices needed" else offered.ASKED_FOR_NOTHING
    found = offered.recommendation(offered.unpriced("b"), demand=demand, **changes)
    assert plain(words.relaxed(found, offered.relaxation("a", saves=0.5), NAMES)).endswith(said)


def test_power_that_was_measured_is_not_that_of_full_load(offered):
    assert plain(words.energy(offered.offer("a"))).startswith("61.0 W (at full load, as stated with its price)")
    measured = offered.offer("a", watts_source="measured with one stream (rapl, package)")
    assert plain(words.energy(measured)).startswith("61.0 W (measured with one stream (rapl, package))")


def test_where_power_and_energy_are_known_from_is_said_once_or_twice(offered):
    soaked = "measured at full load, in its soak (rapl, package)"
    both = offered.offer("a", watts_source=soaked, joules_source=soaked)
    assert plain(words.energy(both)).count(soaked) == 1
    stated = plain(words.energy(offered.offer("a", joules_source=soaked)))
    assert stated.startswith("61.0 W (at full load, as stated with its price), 0.410 J per inference [0.400, 0.420] (")
    assert stated.count(soaked) == 1


# --- on the page -------------------------------------------------------------------------------------------------


def test_the_card_holds_the_answer_and_its_large_numbers(offered, groups, best, ids):
    runner = offered.offer(ids["torch fp32"], cost=offered.cost(2000.0, "Other box"))
    section = answer([offered.recommendation(offered.offer(best, spares=1), runner)], groups)
    (panel,) = section.panels
    card = panel.card
    assert (section.id, section.title, panel.workload) == ("recommendation", "Recommendation", "lite0")
    assert card.headline.startswith("Buy 4 × Example box (3 and 1 spare): openvino int8")
    assert card.leaders == tuple(name.index for name, _ in groups[0] if name.variant_id == best)
    figures = {plain(figure.label): figure for figure in card.figures}
    assert list(figures) == [
        "devices",
        "cost per year",
        "cost per million inferences at p99 ≤ 33 ms",
        "capacity of one device",
    ]
    shown = {label: (figure.value, figure.unit, figure.bounds) for label, figure in figures.items()}
    assert shown["devices"] == ("4", "", "")
    assert plain(figures["devices"].note).startswith("3 [3, 4] for the load and 1 spare; ")
    assert shown["cost per year"] == ("1,240", "EUR", "[1,240, 1,653]")
    assert shown["cost per million inferences at p99 ≤ 33 ms"] == ("0.164", "EUR", "[0.164, 0.218]")
    assert shown["capacity of one device"] == ("212", "items/s", "[201, 223]")
    said = plain(" ".join(card.sentences))
    assert "The next best: 3 × Other box: torch fp32, 4 streams, 2,000 EUR a year" in said
    assert f"{offered.SUSTAINED}; power mode: governor performance." in said
    assert "It keeps 99.8 % of FP32’s accuracy." in said
    assert panel.notes == (offered.UNITS_TESTED,)


def test_the_answer_and_its_cost_are_golden(make, offered):
    """``HARNESS_GOLDEN=write`` writes the file anew; read the difference before it is committed."""
    view = make.answered(offered)
    parts = [view.answer, next(section for section in view.sections if section.id == "cost")]
    text = json.dumps([dataclasses.asdict(part) for part in parts], indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("HARNESS_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_blank_costs_say_how_to_fill_them(offered, groups, best):
    found = offered.recommendation(
        offered.unpriced(best, devices=None), currency=None, demand=offered.ASKED_FOR_NOTHING
    )
    (panel,) = answer([found], groups).panels
    blank = {figure.label: figure for figure in panel.card.figures if figure.value == "—"}
    assert set(blank) == {"devices", "cost per year", "cost per million inferences"}
    assert "--load" in blank["devices"].note
    assert "--example-prices" in blank["cost per million inferences"].note
    assert "Nothing says what it draws." in panel.card.sentences


def test_the_offers_stand_by_row_and_a_tie_shares_its_rank(offered, groups, best, ids):
    found = offered.recommendation(
        offered.offer(best), offered.offer(ids["torch fp32"]), offered.offer(ids["openvino fp32"]), tied=2
    )
    (table,) = answer([found], groups).panels[0].tables
    index = {name.variant_id: name.index for name, _ in groups[0]}
    assert [line.row for line in table.lines] == [index[each.variant_id] for each in found.offers]
    assert [(line.values[0].text, line.values[0].aside) for line in table.lines] == [
        ("1", "tie"),
        ("1", "tie"),
        ("3", ""),
    ]
    assert all(len(line.values) == len(table.columns) for line in table.lines)


def test_the_sheets_say_what_was_left_out_what_relaxing_buys_and_how_sure_it_is(offered, groups, best, ids):
    found = offered.recommendation(
        offered.offer(best),
        excluded=(
            offered.excluded(ids["torch fp32"], trust="noisy: 3 of 5 launches", slo="late"),
            offered.excluded(ids["torch int8"], trust="failed at load"),
        ),
        relaxations=(offered.relaxation(ids["torch fp32"]),),
        sensitivities=(
            offered.sensitivity(),
            offered.sensitivity(ids["torch fp32"], holds=False, of="load", words="changes above 300 items/s"),
        ),
    )
    (panel,) = answer([found], groups).panels
    sheets = {sheet.caption: [[value.text for value in line] for line in sheet.lines] for sheet in panel.sheets}
    assert sheets["What each constraint leaves out"] == [
        ["trust", "2", "1", "noisy: 3 of 5 launches"],
        ["SLO", "1", "0", "late"],
    ]
    assert sheets["What relaxing a constraint buys"] == [["SLO", "p99 ≤ 41 ms", "2", "12.0", "torch fp32"]]
    assert [line[1] for line in sheets["How sure the choice is"]] == ["holds", "may change"]
    assert [line[3] for line in sheets["How sure the choice is"]] == ["—", "torch fp32"]
    for sheet in panel.sheets:
        assert all(len(line) == len(sheet.columns) for line in sheet.lines)
    left = panel.tables[1]
    assert [value.text for value in left.lines[0].values] == [
        "trust, SLO",
        "noisy: 3 of 5 launches; late",
    ]
    said = " ".join(panel.card.sentences)
    assert "2 rows left out: 2 by trust, 1 by SLO." in said
    assert "The choice may change with load: changes above 300 items/s." in said


def test_nothing_to_offer_has_a_card_too(offered, groups, ids):
    found = offered.recommendation(excluded=(offered.excluded(ids["torch fp32"], sustained="it has no soak"),))
    (panel,) = answer([found], groups).panels
    assert panel.card.headline.startswith("Nothing to recommend")
    assert panel.card.figures == panel.card.leaders == ()
    assert panel.card.sentences[0].startswith("First: run the scenario `soak`")
    assert [table.id for table in panel.tables] == ["t-excluded-0"]


def test_ids_are_unique_and_the_same_input_gives_the_same_section(offered, groups, best):
    found = offered.recommendation(
        offered.offer(best), excluded=(offered.excluded("gone", price="none"),), relaxations=(offered.relaxation(best),)
    )
    section = answer([found, found], groups)
    made = [each.id for panel in section.panels for each in (*panel.tables, *panel.sheets)]
    assert len(made) == len(set(made))
    assert section == answer([found, found], groups)


def test_a_row_that_is_not_on_the_page_is_named_and_breaks_nothing(offered, groups):
    (panel,) = answer([offered.recommendation(offered.offer("f" * 64))], groups).panels
    assert panel.tables == ()
    assert panel.card.leaders == ()
    assert "ffffffffffff, 4 streams" in panel.card.headline


def test_many_offers_are_cut_with_a_word(offered, make):
    rows = make.many(2 * SHOWN + 20)
    standings = make.standings(rows)
    rows = ordered(rows, standings)
    groups = fields(rows, named(rows, standings), standings)
    found = offered.recommendation(*(offered.offer(name.variant_id) for name, _ in groups[0]))
    (panel,) = answer([found], groups).panels
    assert len(panel.tables[0].lines) == SHOWN
    assert f"The first {SHOWN} of {len(found.offers)} offers" in panel.notes[-1]


def test_hostile_words_are_short_and_showable(offered, groups, best, make):
    for text in make.HOSTILE:
        priced = dataclasses.replace(offered.cost(unit=text), parts={text: 1.0})
        hostile = offered.offer(
            best, cost=priced, watts_source=text, capacity=offered.capacity(basis=(text,), power_mode=text)
        )
        found = offered.recommendation(
            hostile,
            currency=text,
            criterion=text,
            notes=(text,),
            excluded=(offered.excluded(best, slo=text),),
            relaxations=(offered.relaxation(best, to=text),),
            sensitivities=(offered.sensitivity(best, of=text, words=text),),
        )
        for said in texts(answer([found], groups)):
            assert showable(said) == said
            assert len(said) < 2000
