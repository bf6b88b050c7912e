"""``harness history`` over a small index: what it shows, what it ends with, and what acknowledging leaves behind."""

import csv
import io
import json
from contextlib import redirect_stdout
from datetime import date, timedelta

import numpy as np
import pytest
import typer
from sqlalchemy.orm import Session

from harness.cli import history as command
from harness.cli.sparkline import BLOCKS
from harness.errors import HarnessError, StoreError
from results.index import building, models
from results.index.building import Updated
from results.index.database import filling

STEADY, SLOWED, FASTER, RATE = (
    "toy/fake/fp32/cpu/b1/latency",
    "toy/fake/int8/cpu/b1/latency",
    "toy/other/fp32/cpu/b1/latency",
    "toy/fake/fp32/cpu/b1/throughput",
)
LEVELS = {
    STEADY: ("latency", [(50, 10e6)]),
    SLOWED: ("latency", [(40, 5e6), (10, 5.5e6)]),
    FASTER: ("latency", [(30, 8e6), (20, 6e6)]),
    RATE: ("throughput", [(35, 100.0), (15, 70.0)]),
}
HARDWARE, OTHER = "feedc0ffee12", "0ddba11c0de5"


def cell_id(label):
    return f"{list(LEVELS).index(label):x}" * 64


def run_id(index):
    return f"01K{index:023d}"


def day(index):
    return (date(2026, 3, 1) + timedelta(days=index)).isoformat()


def fill(place):
    """Make an index of 50 runs on one machine, and of three on another."""
    generator = np.random.default_rng(17)
    values = {
        label: np.concatenate([np.full(count, level) for count, level in levels])
        for label, (_, levels) in LEVELS.items()
    }
    with filling(place) as engine, Session(engine) as session, session.begin():
        for number, label in enumerate(LEVELS, start=1):
            workload, name, precision, device, _, scenario = label.split("/")
            session.add(
                models.Cell(
                    id=number,
                    cell_id=cell_id(label),
                    key=cell_id(label),
                    label=label,
                    workload=workload,
                    engine=name,
                    precision=precision,
                    device=device,
                    scenario=scenario,
                    named_by=run_id(49),
                )
            )
        for index in range(53):
            version = "1.31.0" if 40 <= index < 50 else "1.30.0"
            session.add(
                models.Run(
                    id=index + 1,
                    run_id=run_id(index),
                    created_at=f"{day(index)}T06:00:00+00:00",
                    suite="nightly",
                    preset="default",
                    hw_id=HARDWARE if index < 50 else OTHER,
                    env_id=f"env-{version}",
                    revision=f"{index:040x}",
                    dirty=False,
                    harness_version="0.5",
                    tags=[],
                    environment={"versions": {"fake": version}},
                    hardware={},
                    drift="",
                    damage=[],
                    trouble="",
                    journal="",
                    seen="",
                )
            )
        session.flush()
        for index in range(53):
            for number, (label, (quantity, _)) in enumerate(LEVELS.items(), start=1):
                level = values[label][min(index, 49)] * np.exp(0.01 * generator.standard_normal())
                for launch in range(3):
                    session.add(
                        models.Reading(
                            run=index + 1,
                            cell=number,
                            quantity=quantity,
                            launch=launch,
                            value=float(level * np.exp(0.002 * generator.standard_normal())),
                            noisy=label == STEADY and index == 20,
                            low=None,
                            high=None,
                            name="",
                        )
                    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    place = tmp_path_factory.mktemp("index") / "index.sqlite"
    fill(place)
    return place


@pytest.fixture
def say(index, tmp_path, monkeypatch):
    """Run the command in a folder of its own; what it prints and what it ends with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(building, "bring_up_to_date", lambda *_, **__: Updated(index, 53, (), (), {}))
    made = typer.main.get_command(command.app)

    def said(*arguments, encoding="utf-8"):
        with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as out:
            with redirect_stdout(out):
                code = made.main(list(arguments), prog_name="history", standalone_mode=False)
            out.seek(0)
            return int(code or 0), out.read()

    return said


def test_without_a_cell_what_changed_is_listed_worst_first(say):
    code, out = say()
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["worst", "change", "at", "age", "cell"]
    assert [line.split()[-4] for line in lines[1:4]] == [f"{label}:" for label in (RATE, SLOWED, FASTER)]
    assert STEADY not in out
    assert "worse" in lines[1]
    assert "better" in lines[3]
    assert lines[-1] == "3 of 8 series changed and not acknowledged"  # of four cells on two machines


def test_a_cell_is_shown_with_its_change_and_its_cause(say):
    code, out = say(SLOWED, "--hardware", HARDWARE[:6])
    assert code == 0
    assert f"{SLOWED}: median latency on {HARDWARE}" in out
    assert "50 runs" in out
    assert "3 launches each" in out
    drawn = next(line for line in out.splitlines() if BLOCKS[0] in line)
    marks = out.splitlines()[out.splitlines().index(drawn) + 1]
    assert drawn[marks.index("^")] in BLOCKS[4:]
    assert drawn[marks.index("^") - 1] in BLOCKS[:4]
    assert "% [" in out
    assert "worse" in out
    assert f"run {run_id(40)}, seen after" in out
    assert "versions.fake: 1.30.0 → 1.31.0" in out
    assert f"revisions {39:040x}"[:20] in out


def test_a_cell_is_meant_by_a_pattern_or_the_beginning_of_its_id(say):
    assert say("*/int8/*")[1] == say(cell_id(SLOWED)[:8])[1] == say("show", SLOWED)[1]


def test_hardware_is_never_mixed(say):
    out = say(SLOWED)[1]
    assert f"on {HARDWARE}" in out
    assert f"on {OTHER}" in out
    assert "3 runs" in say(SLOWED, "--hardware", OTHER)[1]


def test_a_terminal_without_unicode_gets_ascii(say):
    code, out = say(SLOWED, encoding="ascii")
    assert code == 0
    assert out.isascii()
    assert "1.30.0 -> 1.31.0" in out
    assert say(encoding="latin-1")[0] == 0


def test_noisy_points_are_marked(say):
    out = say(STEADY, "--hardware", HARDWARE)[1]
    assert "~ left out of the search" in out
    assert "1 of 50 points are left out" in out
    assert "no change of level" in out


def test_json_holds_every_point_and_change(say):
    data = json.loads(say(SLOWED, "--hardware", HARDWARE, "--json")[1])
    assert data["series"] == 1
    (one,) = data["histories"]
    assert (one["label"], one["quantity"], one["unit"], one["hw_id"]) == (SLOWED, "latency", "ns", HARDWARE)
    assert len(one["points"]) == 50
    (change,) = one["changes"]
    assert change["worse"]
    assert change["run_id"] == run_id(40)
    assert change["acknowledgement"] is None
    assert change["causes"] == [{"place": "versions.fake", "before": "1.30.0", "after": "1.31.0"}]
    assert one["level"]["launches"] == 10
    overview = json.loads(say("--json")[1])
    assert overview["series"] == 8
    assert [each["label"] for each in overview["histories"]] == [RATE, SLOWED, FASTER]


def test_csv_holds_every_point(say):
    rows = list(csv.DictReader(io.StringIO(say(SLOWED, "--hardware", HARDWARE, "--csv")[1])))
    assert len(rows) == 50
    assert [row["change"] for row in rows] == [""] * 40 + ["worse"] + [""] * 9
    assert len({row["level"] for row in rows}) == 2
    assert {row["unit"] for row in rows} == {"ns"}
    with pytest.raises(HarnessError, match="two forms"):
        say(SLOWED, "--csv", "--json")


def test_last_runs_alone_are_looked_at(say):
    data = json.loads(say(SLOWED, "--hardware", HARDWARE, "--last", "9", "--json")[1])
    assert len(data["histories"][0]["points"]) == 9
    assert data["histories"][0]["changes"] == []


def test_a_recent_change_to_the_worse_fails_where_that_is_asked(say):
    assert say(SLOWED)[0] == 0
    assert say(SLOWED, "--fail-on-change", "10")[0] == 1
    assert say(SLOWED, "--fail-on-change", "5")[0] == 0
    assert say(FASTER, "--fail-on-change", "200")[0] == 0
    assert say("--fail-on-change", "10")[0] == 1


@pytest.mark.parametrize(
    "at", [run_id(40), day(40), day(40).replace("-", ""), f"{day(41)}T00:00+02:00", day(41), day(38)]
)
def test_an_acknowledged_change_is_shown_and_alarms_no_more(say, tmp_path, at):
    code, out = say("ack", SLOWED, "--at", at, "--reason", "the new compiler is here to stay")
    assert code == 0
    assert out.startswith("acknowledged")
    (kept,) = json.loads((tmp_path / "baselines" / "acknowledged.json").read_text(encoding="utf-8"))["acknowledged"]
    assert (kept["run_id"], kept["hw_id"], kept["label"]) == (run_id(40), HARDWARE, SLOWED)
    assert set(kept) == {
        *("cell_id", "label", "quantity", "hw_id", "run_id", "created_at", "acknowledged_on", "reason"),
    }
    out = say(SLOWED, "--hardware", HARDWARE)[1]
    assert "acknowledged on" in out
    assert "the new compiler is here to stay" in out
    assert "+ acknowledged" in out
    assert SLOWED not in say()[1]
    assert say(SLOWED, "--fail-on-change", "10")[0] == 0


def test_acknowledging_twice_keeps_the_last_word(say, tmp_path):
    say("ack", SLOWED, "--at", day(40), "--reason", "one")
    code, out = say("ack", SLOWED, "--at", day(40), "--reason", "two", "--json")
    assert code == 0
    assert [each["reason"] for each in json.loads(out)] == ["two"]
    say("ack", RATE, "--at", day(35))
    kept = json.loads((tmp_path / "baselines" / "acknowledged.json").read_text(encoding="utf-8"))["acknowledged"]
    assert [(each["label"], each["reason"]) for each in kept] == [(RATE, ""), (SLOWED, "two")]


def test_the_file_may_lie_elsewhere(say, tmp_path):
    say("ack", SLOWED, "--at", day(40), "--acknowledged", "kept/acks.json")
    assert (tmp_path / "kept" / "acks.json").is_file()
    assert SLOWED not in say("--acknowledged", "kept/acks.json")[1]
    assert SLOWED in say()[1]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("no/such/cell",), "no cell matches", "cells look like"),
        (("ack", "no/such/cell", "--at", day(40)), "no cell matches", "cells look like"),
        ((SLOWED, "--quantity", "speed"), "is none", "latency"),
        ((SLOWED, "--quantity", "memory"), "no history of memory", "latency"),
        ((SLOWED, "--hardware", "beef"), "no history", HARDWARE),
        (("ack", SLOWED, "--at", day(10)), "no change at", day(40)),
        (("ack", SLOWED, "--at", "yesterday"), "no run of", day(40)),
        (("ack", STEADY, "--at", day(10)), "no change at", "never changed"),
        (("ack", SLOWED, "--at", run_id(40)[:-2]), "begins the ids of", "more of the id"),
        (("ack", SLOWED, "--at", ""), "begins the ids of", "more of the id"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(say, arguments, message, hint):
    with pytest.raises(HarnessError, match=message) as caught:
        say(*arguments)
    assert hint in caught.value.hint


def test_a_broken_file_of_acknowledgements_is_no_history(say, tmp_path):
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "acknowledged.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="acknowledged"):
        say()


def test_no_run_at_all_is_no_history(tmp_path, monkeypatch, say):
    place = tmp_path / "empty.sqlite"
    with filling(place):
        pass
    monkeypatch.setattr(building, "bring_up_to_date", lambda *_, **__: Updated(place, 0, (), (), {}))
    code, out = say()
    assert code == 5
    assert "no history yet" in out
    with pytest.raises(HarnessError, match="no cell matches") as caught:
        say(SLOWED)
    assert "harness run" in caught.value.hint
