"""``harness recommend``: what it prints, what its JSON holds, and what it ends with."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.cli import demand_options, recommendation_text
from results.driven import Soak
from results.procurement.offers import Span
from results.row import Interval

PRICES = """
currency: EUR
prices:
  - {name: Invented box, match: {machine: "*"}, dated: 2026-01-15, price: 900, watts: 100}
"""


@pytest.fixture
def sustained(monkeypatch):
    """Rows of stored runs have a soak, whose rate is what their latency leaves to two streams."""
    from results import sources

    derive = sources.rows

    def soaked(*arguments, **known):
        return tuple(
            replace(row, soaks=(soak(2e9 / row.latency.host_to_host.estimate),)) if row.latency else row
            for row in derive(*arguments, **known)
        )

    monkeypatch.setattr(sources, "rows", soaked)


def soak(rate):
    return Soak("k", "", 2, 600.0, rate / 0.95, rate, Interval(0.95, 0.94, 0.96, 1), None, ())


@pytest.fixture
def run(synthetic_run, place):
    """A stored run in the user's folder."""
    return synthetic_run.name


@pytest.fixture
def ask(run, sustained, place):
    place.write("prices.yaml", PRICES)
    return lambda *words: place.say("recommend", *words)


def told(said):
    """Return what was printed, whatever the width it was wrapped at."""
    return " ".join(said.out.split())


# --- the command -------------------------------------------------------------------------------------------------


def test_the_answer_stands_first_and_the_rest_follows(ask):
    said = ask("--workload", "lite0", "--load", "8x30fps", "--prices", "prices.yaml")
    assert said.code == 0, said.err
    words = told(said)
    assert words.startswith("lite0: Buy ")
    assert "× Invented box" in words
    assert "EUR a year" in words
    assert "asked: 8 cameras at 30 fps, ranked by" in words
    assert "stands on" in words
    assert "sustained over 600 s (soak, 2 streams)" in words
    assert "left out: " in words
    assert "unit-to-unit" in words
    assert max(map(len, said.out.splitlines())) <= 80


def test_json_holds_everything_and_names_every_row(ask, run):
    said = ask(run, "--load", "8x30fps", "--prices", "prices.yaml", "--json")
    found = json.loads(said.out)
    by_workload = {each["workload"]: each for each in found["recommendations"]}
    choice = by_workload["lite0"]
    assert choice["answered"]
    assert choice["headline"].startswith("Buy ")
    assert choice["currency"] == "EUR"
    assert choice["demand"]["load"] == {"rate_hz": 30.0, "sources": 8, "cameras": True}
    mentioned = {offer["variant_id"] for offer in choice["offers"]}
    mentioned |= {row["variant_id"] for row in choice["excluded"]}
    assert mentioned <= found["rows"].keys()
    assert found["rows"][choice["offers"][0]["variant_id"]]["run_id"] == run
    assert [source["run_id"] for source in found["sources"]] == [run]
    assert set(choice["excluded"][0]["reasons"]) <= {"trust", "sustained", "slo", "accuracy", "load", "price"}


def test_without_a_soak_nothing_is_recommended(run, place):
    said = place.say("recommend", run, "--workload", "lite0")
    assert said.code == 5
    assert "lite0: Nothing to recommend" in told(said)
    assert "soak" in said.out
    assert said.err == ""
    assert not any(
        each["answered"] for each in json.loads(place.say("recommend", run, "--json").out)["recommendations"]
    )


def test_no_run_at_all_is_nothing_to_recommend(place):
    said = place.say("recommend")
    assert (said.code, said.out) == (5, "")
    assert "there is no run" in said.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--slo", "33ms"], "--slo"),
        (["--min-accuracy", "140%"], "--min-accuracy"),
        (["--load", "many"], "--load"),
        (["--utilisation", "0"], "--utilisation"),
        (["--prices", "none.yaml"], "none.yaml"),
        (["--workload", "<script>"], "no workload is called"),
        (["01NOSUCHRUN"], "01NOSUCHRUN"),
    ],
)
def test_wrong_input_is_one_message_and_4(ask, words, part):
    said = ask(*words)
    assert (said.code, said.out) == (4, "")
    assert part in said.err
    assert "hint:" in said.err
    assert "Traceback" not in said.err


def test_prices_are_the_users_own(ask, place):
    place.write("prices.yaml", "prices: []\n")
    said = ask("--prices", "prices.yaml")
    assert said.code == 4
    assert "currency" in said.err


def test_an_example_and_a_schema_of_prices_are_printed_alone(place):
    example, schema = place.say("recommend", "--example-prices"), place.say("recommend", "--prices-schema")
    assert (example.code, schema.code) == (0, 0)
    assert "currency:" in example.out
    assert json.loads(schema.out)["properties"]["currency"]
    place.write("prices.yaml", example.out)
    assert demand_options.asked(None, None, None, place.folder / "prices.yaml", None, None).prices is not None


def test_nothing_is_asked_where_no_option_is_given():
    assert demand_options.asked(None, None, None, None, None, None) is None


# --- its words ---------------------------------------------------------------------------------------------------


@pytest.fixture
def printed(monkeypatch, capsys, synthetic_rows):
    """Print recommendations at a width, and return the lines."""

    def shown(found, width=80, **how):
        console = Console(soft_wrap=True, emoji=False, width=width)
        monkeypatch.setattr(recommendation_text, "out", console)
        recommendation_text.show([found], synthetic_rows, (), **how)
        return capsys.readouterr().out

    return shown


@pytest.fixture
def full(offered, synthetic_rows):
    """A recommendation with everything that there can be."""
    first, second, third = (row.variant_id for row in synthetic_rows[:3])
    return offered.recommendation(
        offered.offer(first, spares=1),
        offered.offer(second, capacity=offered.capacity(at_least=True)),
        excluded=tuple(
            offered.excluded(row.variant_id, slo=f"no rate met it, reason {place}")
            for place, row in enumerate(synthetic_rows[3:])
        ),
        relaxations=(offered.relaxation(third),),
        sensitivities=(offered.sensitivity(), offered.sensitivity(second, holds=False, of="load", words="changes")),
        tied=2,
    )


def test_eighty_columns_are_enough(printed, full):
    lines = printed(full).splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert "1,240" in words
    assert "[1,240, 1,653]" in words, "a number is never broken"
    assert "3 + 1" in words
    assert "≥ 212" in words
    assert "99.8 %" in words
    assert sum(line.lstrip().startswith("1= ") for line in lines) == 4, "two offers in two tables"


def test_a_wide_terminal_has_one_table(printed, full):
    lines = printed(full, width=180).splitlines()
    (head,) = [line for line in lines if "machine and row" in line]
    assert "stands on" in head


def test_reasons_relaxations_and_sensitivities_follow(printed, full):
    brief, whole = printed(full), printed(full, everything=True)
    assert "more reasons with --all" in " ".join(brief.split())
    assert "with --all" not in whole
    words = " ".join(whole.split())
    assert f"left out: {len(full.excluded)} of {len(full.excluded) + 2} rows" in words
    assert "SLO → p99 ≤ 41 ms: 2 more rows come in" in words
    assert "holds: price of Example box: stays the choice" in words
    assert "may change: load: changes" in words


def test_many_offers_are_counted(printed, offered, synthetic_rows):
    most = recommendation_text.MOST
    found = offered.recommendation(*(offered.offer(synthetic_rows[0].variant_id) for _ in range(most + 3)))
    assert "3 more offers with --all" in printed(found)
    assert "more offers" not in printed(found, everything=True)


def test_markup_and_controls_of_others_stay_text(printed, offered, synthetic_rows):
    hostile = "[bold red]x[/] \x1b[31m </script> \u202e"
    basis = offered.capacity(basis=(hostile,), power_mode=hostile)
    row = offered.offer(synthetic_rows[0].variant_id, cost=offered.cost(unit=hostile), capacity=basis)
    found = offered.recommendation(
        row, workload=hostile, notes=(hostile,), excluded=(offered.excluded("x", slo=hostile),)
    )
    said = printed(found)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "[bold red]x[/]" in said


def test_json_has_no_number_without_bound(offered, synthetic_rows):
    row = offered.offer(synthetic_rows[0].variant_id, devices=Span(3, 3, math.inf))
    source = SimpleNamespace(run_id="R", created_at="", suite="s", machine="m", hw_id="h", env_id="e")
    found = recommendation_text.data([offered.recommendation(row)], synthetic_rows, [source])
    assert found["recommendations"][0]["offers"][0]["devices"] == {"value": 3, "low": 3, "high": None}
    assert found["rows"][row.variant_id]["machine"] == "m"
    json.dumps(found, allow_nan=False)


def test_rows_of_several_machines_say_where_they_ran(offered, synthetic_rows, capsys):
    rows = [replace(row, machine=f"machine {place}") for place, row in enumerate(synthetic_rows[:2])]
    first, second = (row.variant_id for row in rows)
    found = offered.recommendation(offered.unpriced(first), relaxations=(offered.relaxation(second),), currency=None)
    recommendation_text.show([found], rows, ())
    words = " ".join(capsys.readouterr().out.split())
    assert "Take 3 × machine 0: " in words
    assert f"the best would be {rows[1].label} on machine 1" in words


# --- bad input ---------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script>\"'&amp;"
ASKED = ("--slo", "p99=33ms", "--min-accuracy", "99%", "--load", "8x30fps", "--prices", "prices.yaml")


def test_a_hostile_name_of_a_price_is_text_wherever_it_stands(ask, run, place):
    place.write("prices.yaml", PRICES.replace("Invented box", json.dumps(HOSTILE)))
    asked = (run, "--workload", "lite0", *ASKED[4:])
    assert HOSTILE in told(ask(*asked))
    said = place.say("report", *asked, "-o", "page.html")
    assert said.code == 0, said.err
    page = (place.folder / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert HOSTILE in html.unescape(page)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("currency: EUR\n", "", "currency"),
        ("price: 900", "price: 900, currency: USD", "a price has no currency of its own"),
        ("Invented box", '"box \\u202e xob"', "U+202E"),
        ("Invented box", "x" * 10_000, "200 characters"),
        ('machine: "*"', f'machine: "{"y" * 10_000}"', "200 characters"),
        ("2026-01-15", "soon", "dated"),
    ],
)
def test_prices_that_cannot_be_meant_are_refused_at_their_line(ask, run, place, old, new, part):
    place.write("prices.yaml", PRICES.replace(old, new))
    for command in ((), ("report", run, "-o", "page.html")):
        said = place.say(*command, *ASKED) if command else ask(*ASKED)
        assert (said.code, said.out) == (4, "")
        assert "prices.yaml:" in said.err
        assert part in " ".join(said.err.split())
        assert len(said.err) < 2000
        assert "\u202e" not in said.err
    assert not (place.folder / "page.html").exists()


def test_an_slo_that_nobody_drove_is_the_reason(ask, run, place):
    said = ask(run, "--workload", "lite0", "--slo", "p99=33ms")
    assert said.code == 5
    assert "no scenario with arrivals was run for it" in told(said)
    assert "add server or camera to the suite" in told(said)
    assert place.say("report", run, "--slo", "p99=33ms", "-o", "page.html").code == 0
    page = html.unescape((place.folder / "page.html").read_text(encoding="utf-8"))
    assert "no scenario with arrivals was run for it" in page


def answered(place, folder):
    """Ask for a run in the terminal, as JSON and on a page, and return the words of the terminal and of the page."""
    place.write("prices.yaml", PRICES)
    said = place.say("recommend", folder.name, *ASKED)
    assert (said.code, said.err) == (5, "")
    (found,) = json.loads(place.say("recommend", folder.name, *ASKED, "--json").out)["recommendations"]
    assert (found["offers"], found["answered"]) == ([], False)
    assert place.say("report", folder.name, *ASKED, "-o", "page.html").code == 0
    return told(said), html.unescape((place.folder / "page.html").read_text(encoding="utf-8"))


def test_a_run_of_which_nothing_completed_recommends_nothing_and_says_why(place, factory):
    recipe = factory.Recipe("lite0", "onnxruntime", factory.FP32, failure=factory.CRASH)
    words, page = answered(place, factory.write_run(place.folder / "runs", (recipe,)))
    assert "lite0: Nothing to recommend: no row keeps every constraint." in words
    assert "failed at steady: the worker ended by signal 11" in words
    assert "Nothing to recommend: no row keeps every constraint." in page


def test_records_with_missing_parts_are_rows_without_a_capacity(place, factory, monkeypatch):
    whole = factory.record_of

    def poor(*arguments, **known):
        gone = {"timing": None, "artifact": None, "execution": None, "versions": {}, "noise": {}, "agreement": None}
        return replace(whole(*arguments, **known), **gone)

    monkeypatch.setattr(factory, "record_of", poor)
    recipe = factory.Recipe("lite0", "onnxruntime", factory.FP32)
    words, _ = answered(place, factory.write_run(place.folder / "runs", (recipe,)))
    assert "its prove launch gave no record of it" in words
    assert "it has no soak" in words


# --- who never wins ----------------------------------------------------------------------------------------------


def test_no_speed_lets_a_row_win_that_may_not(place, factory, sustained):
    """Each is faster than the one that wins, and has a soak as well."""
    made = factory.Recipe
    fp32, fp16, int8 = factory.FP32, factory.FP16, factory.INT8
    told = [
        (made("lite0", "torch", fp32, 5.0, noisy_launches=(1, 3)), "trust", "2 of 5 latency launches were noisy"),
        (made("lite0", "torch", fp32, 5.0, batch=8, level_shift=1.2), "trust", "became over 3 % slower"),
        (made("lite0", "openvino", fp32, 5.0, launches=2), "trust", "2 launches, 5 are needed"),
        (made("lite0", "openvino", fp32, 5.0, device="gpu.0"), "trust", "cpu"),
        (made("lite0", "openvino", fp16, 5.0, ran_at={"fp32": 1.0}), "trust", "fp32"),
        (made("lite0", "onnxruntime", int8, 5.0, 0.62), "accuracy", "misses 97%"),
        (made("lite0", "openvino", int8, 5.0, scenarios=("latency", "throughput")), "trust", "not proven"),
        (made("lite0", "torch", int8, 5.0, scenarios=("latency", "prove")), "trust", "its soak is one launch"),
    ]
    sound = made("lite0", "onnxruntime", fp32, 14.0)
    folder = factory.write_run(place.folder / "runs", (sound, *(recipe for recipe, _, _ in told)))
    found = json.loads(place.say("recommend", folder.name, "--json").out)
    (answer,) = found["recommendations"]
    rows = {variant: row["label"] for variant, row in found["rows"].items()}
    assert [rows[offer["variant_id"]] for offer in answer["offers"]] == ["onnxruntime fp32 cpu b1"]
    reasons = {row["variant_id"]: row["reasons"] for row in answer["excluded"]}
    assert len(reasons) == len(told)
    for recipe, constraint, part in told:
        assert part in reasons[recipe.cell("latency").variant_id][constraint]
