"""What exporters of plain figures write, held against what their consumers document."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from results.formats.amounts import bounded
from results.formats.bencher import Bencher, slug
from results.formats.comma_separated import CommaSeparated
from results.formats.github_action_benchmark import BiggerIsBetter, SmallerIsBetter
from results.quantities import QUANTITIES, quantity
from results.row import Interval
from results.statistics import launch_interval

FAST = "yolo11n/onnxruntime/int8/cpu/b1/fast"


def test_there_is_no_part_of_a_byte():
    assert bounded(Interval(51.0, 50.6, 51.4, 9), "bytes") == "51 [51, 51] B"
    assert bounded(Interval(51.0, None, None, 9), "bytes") == "51 B"


def test_bencher_has_its_own_measures_in_its_units(run):
    written = json.loads(Bencher().of_run(run))
    latency = written[FAST]["latency"]
    assert latency["value"] == pytest.approx(3.212e6, rel=1e-4)
    assert latency["lower_value"] < latency["value"] < latency["upper_value"]
    assert written["yolo11n/onnxruntime/int8/cpu/b1/streams"]["throughput"]["value"] == 310.5
    assert written["yolo11n/onnxruntime/int8/cpu/b1/size"] == {"file-size": {"value": 6_400_000.0}}
    assert written["lite0/openvino/int8/cpu/b1/one"] == {"latency": {"value": 7e6}}
    assert written[FAST]["latency-p99-9"] == {"value": 5.1e6, "lower_value": 4.9e6, "upper_value": 6.4e6}
    assert not {name for name in written if name.endswith(("/broken", "/tensorrt"))}


def test_bencher_matches_the_schema_it_publishes(run, compared):
    jsonschema = pytest.importorskip("jsonschema")
    number = {"type": "number"}
    metric = {
        "type": "object",
        "properties": {"value": number, "lower_value": number, "upper_value": number},
        "required": ["value"],
        "additionalProperties": False,
    }
    schema = {"type": "object", "patternProperties": {".+": {"type": "object", "patternProperties": {".+": metric}}}}
    for text in (Bencher().of_run(run), Bencher().of_comparison(compared)):
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("name", [*QUANTITIES, "p50", "p99.9"])
def test_a_slug_of_bencher_is_one(name):
    assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", slug(quantity(name)))


def test_slugs_of_bencher_differ():
    names = [*QUANTITIES, "p9", "p99", "p99.9"]
    assert len({slug(quantity(name)) for name in names}) == len(names)


def test_the_two_tools_of_github_action_benchmark_share_the_figures(run):
    smaller, bigger = json.loads(SmallerIsBetter().of_run(run)), json.loads(BiggerIsBetter().of_run(run))
    assert {entry["unit"] for entry in smaller} == {"ns", "bytes", "share"}
    assert {entry["unit"] for entry in bigger} == {"items/s", "share"}
    entries = {entry["name"]: entry for entry in (*smaller, *bigger)}
    assert len(entries) == len(smaller) + len(bigger) == 13
    latency = entries[f"{FAST}: median latency"]
    found = launch_interval([3.20e6, 3.21e6, 3.24e6, 3.19e6, 3.22e6])
    assert latency["range"] == f"95 % in [{found.low:.6g}, {found.high:.6g}]"
    assert latency["extra"].splitlines() == [
        *("launches: 5", "run: 01JAFTER"),
        *("hardware: 0123456789ab", "environment: ba9876543210"),
    ]
    assert "range" not in entries["lite0/openvino/int8/cpu/b1/one: median latency"]
    for entry in entries.values():
        assert entry.keys() <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], float)


def _read(text):
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_of_a_run_has_a_row_per_figure_and_one_per_cell_without(run):
    rows = _read(CommaSeparated().of_run(run))
    by = {(row["cell"].rpartition("/")[2], row["quantity"]): row for row in rows}
    assert len(by) == len(rows)
    latency = by["fast", "latency"]
    assert float(latency["low"]) < float(latency["value"]) < float(latency["high"])
    assert [latency[key] for key in ("unit", "better", "launches", "noisy_launches")] == ["ns", "smaller", "5", "1"]
    assert by["accuracy", "accuracy"]["kind"] == "top1"
    assert by["one", "latency"]["low"] == ""
    assert by["tensorrt", ""]["why"] == "no NVIDIA GPU here"
    assert by["late", ""]["value"] == ""


def test_csv_of_a_comparison_has_a_row_per_change(compared):
    rows = _read(CommaSeparated().of_comparison(compared))
    assert len(rows) == len(compared.changes)
    by = {(row["cell"].rpartition("/")[2], row["quantity"]): row for row in rows}
    latency = by["fast", "latency"]
    assert [float(latency[key]) for key in ("before", "after", "effect", "effect_low")] == [
        3.03e6,
        3.212e6,
        1.059,
        1.041,
    ]
    assert (latency["verdict"], latency["gated"], latency["before_run_id"]) == ("regressed", "true", "01JBEFORE")
    assert float(latency["value"]) == pytest.approx(3.212e6, rel=1e-4)
    assert by["accuracy", "accuracy"]["allowed_until"] == "2026-12-01"
    gone = by["gone", "status"]
    assert (gone["verdict"], gone["workload"], gone["status"], gone["value"]) == ("regressed", "yolo11n", "", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r@x"])
def test_text_in_csv_is_never_a_formula_and_numbers_stay_numbers(made, text):
    cell = made.cell("x", made.of_launches("accuracy", -0.5), label=text, engine=text)
    [row] = _read(CommaSeparated().of_run(made.snapshot([cell])))
    assert not row["engine"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not row["cell"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row["value"] == "-0.5"


def test_csv_survives_quotes_commas_and_line_ends(made):
    cell = made.cell("x", status="failed", why='a "quoted", split\nreason')
    [row] = _read(CommaSeparated().of_run(made.snapshot([cell])))
    assert row["why"] == 'a "quoted", split reason'
