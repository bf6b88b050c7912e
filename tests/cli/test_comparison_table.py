"""How a comparison is told in the terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from harness.cli import comparison_table as tables
from results.changes import STATUS, Allowance, Change, Comparison, Difference, Rules
from results.comparison import Verdict
from results.row import Interval
from results.snapshot import Snapshot

SIDE = Snapshot("01BEFORE", "2026-12-01T10:00:00.000+00:00", "ci", "default", "hw", "env", "0.1.0", {}, {}, ())


def change(verdict, label="toy/fake", quantity="latency", **fields):
    usual = {"gated": True, "before": 3e6, "after": 3.3e6, "effect": Interval(1.1, 1.08, 1.12, 10), "power": 0.97}
    return Change("k", label, quantity, verdict, "median latency +10.0 %", **{**usual, **fields})


def comparison(*changes, **fields):
    after = replace(SIDE, run_id="02AFTER", tags=("candidate",))
    return Comparison(SIDE, after, Rules(), changes, family=len(changes), **fields)


@pytest.fixture
def printed(capsys):
    def shown(found, **how):
        tables.show(found, **how)
        return capsys.readouterr().out.splitlines()

    return shown


def test_changes_stand_by_verdict_and_what_is_equivalent_is_counted(printed):
    order = [Verdict.EQUIVALENT, Verdict.INCONCLUSIVE, Verdict.IMPROVED, Verdict.REGRESSED]
    found = comparison(*(change(verdict, f"cell-{verdict}") for verdict in order))
    lines = printed(found)
    assert lines[:2] == [
        "before  01BEFORE, ci, default, 2026-12-01T10:00",
        "after   02AFTER (candidate), ci, default, 2026-12-01T10:00",
    ]
    words = [line.split()[:2] for line in lines[2:5]]
    assert words == [[verdict, f"cell-{verdict}"] for verdict in ("regressed", "improved", "inconclusive")]
    assert lines[2].endswith("median latency  3.00 ms → 3.30 ms  +10.0 % [+8.0, +12.0]")
    assert lines[5].strip() == "median latency +10.0 %", "an open question says why below its figures"
    assert "1 regressed, 1 improved, 1 inconclusive, 1 equivalent" in lines
    assert "1 more with --all" in lines
    assert [line for line in printed(found, everything=True) if line.startswith("equivalent")]


def test_what_is_open_and_not_gated_is_not_in_the_way(printed):
    found = comparison(change(Verdict.INCONCLUSIVE, gated=False), change(Verdict.REGRESSED, gated=False))
    lines = printed(found)
    assert not [line for line in lines if line.startswith("inconclusive")]
    assert [line for line in lines if line.startswith("regressed")]


def test_many_open_questions_are_cut_and_counted(printed):
    found = comparison(*(change(Verdict.INCONCLUSIVE, f"cell-{n}") for n in range(50)))
    assert f"{50 - tables.MOST} more with --all" in printed(found)


def test_status_and_allowances_are_told(printed):
    status = change(Verdict.REGRESSED, quantity=STATUS, effect=None, before=None, after=None, power=None)
    allowed = change(Verdict.REGRESSED, allowance=Allowance("*", date(2030, 1, 1), reason="new allocator"))
    lines = printed(comparison(replace(status, message="it failed: crash"), allowed))
    assert lines[2].split(maxsplit=2)[2].split() == ["status", "it", "failed:", "crash"]
    assert "allowed until 2030-01-01: new allocator" in lines[4]


def test_what_stands_around_is_told(printed):
    found = comparison(
        change(Verdict.EQUIVALENT),
        change(Verdict.EQUIVALENT, "weakest", power=0.31),
        added=("new",),
        removed=tuple(f"old-{n}" for n in range(30)),
        hardware=(Difference("memory_gib", 16, 32),),
        causes=(Difference("versions.torch", "2.13", None),),
        notes=("both are one run",),
    )
    text = "\n".join(printed(found))
    assert "only after: new" in text
    assert "old-19 and 10 more" in text
    assert "  memory_gib: 16 → 32" in text
    assert "  versions.torch: 2.13 → absent" in text
    assert "note: both are one run" in text
    power = "power to find a change of the margin: 64%, lowest 31% at weakest (2 tests together, at 5 %)"
    assert power in text
    assert "old-29" in "\n".join(printed(found, everything=True))


def test_nothing_that_changed_is_said(printed):
    assert "nothing changed" in printed(comparison())
    assert tables.power_line(comparison()) == ""


def test_what_came_from_outside_moves_no_cursor(printed):
    hostile = "cell\x1b[2J\u202e\n\rx"
    found = comparison(
        change(Verdict.REGRESSED, hostile, notes=(hostile,)),
        change(Verdict.REGRESSED, hostile, quantity=STATUS, effect=None),
        notes=(hostile,),
        added=(hostile,),
        causes=(Difference(hostile, hostile, hostile),),
    )
    text = "\n".join(printed(found))
    assert not {"\x1b", "\u202e", "\r"} & set(text)
    assert "[2J" in text, "it is shown, as text"


def test_the_data_holds_everything_and_is_json():
    found = comparison(
        change(Verdict.REGRESSED, allowance=Allowance("*", date(2030, 1, 1), "latency", "known"), notes=("a note",)),
        change(Verdict.INCONCLUSIVE, quantity=STATUS, effect=None, before=None, after=None),
        causes=(Difference("governor", ["a"], None),),
    )
    told = json.loads(json.dumps(tables.data(found), allow_nan=False))
    assert told["verdicts"] == {"regressed": 1, "improved": 0, "inconclusive": 1, "equivalent": 0}
    first, second = told["changes"]
    assert first["effect"] == {"estimate": 1.1, "low": 1.08, "high": 1.12, "launches": 10}
    assert first["allowance"] == {"cells": "*", "until": "2030-01-01", "rule": "latency", "reason": "known"}
    assert (first["notes"], second["effect"], second["allowance"]) == (["a note"], None, None)
    assert told["causes"] == [{"place": "governor", "before": ["a"], "after": None}]
    assert told["before"]["run_id"] == "01BEFORE"
    assert told["after"]["tags"] == ["candidate"]
