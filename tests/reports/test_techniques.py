"""The section on what the engine did: the graph, and what each technique gave."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from harness.vocabulary import Agreement, Precision, TensorSpec, Unknowable
from reports.html import render
from reports.techniques import fused, sentence
from reports.view import build
from results.certificate import Asked, Certificate, Contents
from results.row import Interval
from results.techniques import Effect, Points

CONFIGURATIONS = {"onnxruntime": {"fusion-off": {"options": {"x": 1}, "technique": "fusion"}, "spin": {}}}


@pytest.fixture
def rows(make):
    """A default row, one without fusion and one of INT8, all told in full."""
    plain, int8 = (
        make.row(engine="onnxruntime"),
        make.row(engine="onnxruntime", precision=Precision.INT8, median_ms=8.0),
    )
    execution = replace(
        plain.execution,
        nodes_by_precision={"fp32": 64},
        operators={"Conv": 12, "FusedConv": 40, "Conv+Sigmoid+Mul": 8, "MaxPool": 2, "Concat": 1, "Resize": 1},
        graph_nodes=310,
        inputs=(TensorSpec("images", "float32", (1, 3, 224, 224)),),
        outputs=(TensorSpec("scores", "float32", (1, 1000)),),
    )
    plain = replace(plain, execution=execution, artifact=replace(plain.artifact, export_ns=3_000_000_000))
    return (plain, configured(make, "fusion-off", 28.4), int8)


def configured(make, name, median_ms, **changes):
    row = make.row(engine="onnxruntime", median_ms=median_ms, **changes)
    cell = replace(row.cell, configuration=name, options={"name": name})
    peak = row.memory.peak + 12 * 2**20
    return replace(
        row,
        cell=cell,
        variant_id=cell.variant_id,
        label=f"onnxruntime+{name} fp32 cpu b1",
        memory=replace(row.memory, peak=peak),
    )


def view_of(make, rows, **suite):
    made = make.manifest(suite={"configurations": CONFIGURATIONS, **suite})
    return build(made, rows, make.standings(rows))


def section(view):
    return next(part for part in view.sections if part.id == "executed")


def panel(view, title):
    return next((part for part in section(view).panels if part.title == title), None)


def lines(view, title):
    """Return, by the label of its row, the values of each line by the title of their column."""
    (table,) = panel(view, title).tables
    heads = [column.title for column in table.columns]
    return {view.rows[line.row].label: dict(zip(heads, line.values, strict=True)) for line in table.lines}


def test_the_graph_is_told_before_and_after(make, rows):
    told = lines(view_of(make, rows), "Graph, build and memory")
    plain = told["onnxruntime fp32"]
    assert [plain[head].text for head in ("nodes loaded", "nodes executed", "fused")] == ["310", "64", "48"]
    assert plain["operators"].text == "FusedConv 40, Conv 12, Conv+Sigmoid+Mul 8, MaxPool 2"
    assert plain["operators"].aside == "and 2 more kinds"
    assert plain["layers"].text == "fp32 64"
    assert (plain["export"].sort, plain["load"].sort) == (3_000_000_000, 200e6)
    other = told["onnxruntime int8"]
    assert [other[head].text for head in ("nodes loaded", "fused", "operators")] == ["not told"] * 3
    assert other["nodes executed"].text == "310", "the devices tell it too"
    assert other["export"].text == "—"


@pytest.mark.parametrize(("loaded", "told"), [(12, 0), (94, None), (Unknowable("no graph"), 0)])
def test_no_fused_name_is_no_zero_where_the_graph_shrank(make, rows, loaded, told):
    execution = next(row.execution for row in rows if row.execution)
    plain = replace(execution, operators={"Conv": 12}, graph_nodes=loaded, nodes_by_precision={"fp32": 12})
    assert (None if isinstance(found := fused(plain), Unknowable) else found) == told


def test_a_setting_is_told_without_a_word_on_what_is_better(make, rows):
    view = view_of(make, rows)
    told = lines(view, "What each technique gave")
    assert list(told) == ["onnxruntime fp32 +fusion-off", "onnxruntime int8"], "fusion before precision"
    fusion = told["onnxruntime fp32 +fusion-off"]
    assert (fusion["technique"].text, fusion["technique"].aside) == ("fusion", "fusion-off")
    assert fusion["against"].text == "onnxruntime fp32"
    assert fusion["latency"].text == "1.42"
    assert fusion["peak memory"].text == "+12.0"
    assert fusion["accuracy"].text == "0.00"
    facts = {view.rows[item.row].label: dict(item.facts) for item in view.particulars}
    assert facts["onnxruntime fp32 +fusion-off"]["technique, fusion"] == (
        "with fusion-off: latency ×\u00a01.42 [1.42, 1.42], peak memory +12.0\u00a0MiB, accuracy 0.00 points, "
        "against onnxruntime fp32"
    )
    assert facts["onnxruntime fp32 +fusion-off"]["configuration"] == "fusion-off"


def test_the_chart_has_a_line_at_no_difference(make, rows):
    (chart,) = panel(view_of(make, rows), "What each technique gave").charts
    assert [round(dot.value, 2) for dot in chart.dots] == [1.42, 0.4]
    assert chart.rule == 1.0
    page = render(view_of(make, rows))
    figure = next(
        each for each in re.findall(r'<figure class="chart">.*?</figure>', page, re.DOTALL) if "setting" in each
    )
    assert "no difference" in figure


def test_without_configurations_and_precisions_the_graph_stands_alone(make, rows):
    view = build(make.manifest(), rows[:1], make.standings(rows[:1]))
    assert [part.title for part in section(view).panels] == ["What ran", "Graph, build and memory"]


def test_a_configuration_that_the_manifest_does_not_name_is_shown_without_its_technique(make, rows):
    view = build(make.manifest(), rows[:2], make.standings(rows[:2]))
    assert lines(view, "What each technique gave")["onnxruntime fp32 +fusion-off"]["technique"].text == "not said"


def test_many_effects_are_all_in_the_table(make, rows):
    many = (rows[0], *(configured(make, f"c{index}", 20.0 + index) for index in range(30)))
    found = panel(view_of(make, many), "What each technique gave")
    assert len(found.tables[0].lines) == 30
    assert len(found.charts[0].dots) == 24
    assert found.notes[-1] == "The chart has the first 24 of 30 rows; the table has all."


def test_a_pair_without_latency_has_a_table_and_no_chart(make, rows):
    bare = [replace(row, latency=None) for row in rows[:2]]
    found = panel(view_of(make, bare), "What each technique gave")
    assert found.charts == ()
    assert len(found.tables[0].lines) == 1


def test_workloads_have_their_own_effects(make, rows):
    other = configured(make, "fusion-off", 70.0, workload="yolo")
    view = view_of(make, (*rows, make.row("yolo", engine="onnxruntime", median_ms=50.0), other))
    told = [part for part in section(view).panels if part.title == "What each technique gave"]
    assert [(part.workload, len(part.tables[0].lines)) for part in told] == [("lite0", 2), ("yolo", 1)]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (
            Effect(
                "memory", "arena-off", "a", "b", None, None, Interval(-12.5 * 2**20, -13 * 2**20, -12 * 2**20, 3), None
            ),
            "with arena-off: peak memory −12.5\u00a0MiB [−13.0, −12.0]",
        ),
        (
            Effect("tuning", "max", "a", "b", Interval(0.8, None, None, 1), Interval(1.25, 1.2, 1.3, 5), None, None),
            "with max: latency ×\u00a00.800, throughput ×\u00a01.25 [1.20, 1.30]",
        ),
        (
            Effect("precision", "int8", "a", "b", None, None, None, Points(-0.041, -0.06, -0.023)),
            "with int8: accuracy −4.1 points [−6.0, −2.3]",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_sentences(effect, words):
    assert sentence(effect) == words


def test_what_each_kind_of_operator_did_is_in_the_particulars(make, rows):
    facts = dict(view_of(make, rows).particulars[1].facts)
    assert facts["operators executed"].startswith("FusedConv 40, Conv 12, Conv+Sigmoid+Mul 8")
    assert facts["nodes loaded"] == "310"
    assert facts["boundary as read back"] == "images float32 1×3×224×224 → scores float32 1×1000"
    untold = replace(rows[0], execution=replace(rows[0].execution, graph_nodes=Unknowable("it does not say")))
    assert dict(view_of(make, [untold]).particulars[0].facts)["nodes loaded"] == "not told: it does not say"


def test_the_certificate_is_named_in_the_particulars_and_whole_in_the_data(make, rows):
    cell = rows[0].cell
    asked = Asked(**{name: getattr(cell, name) for name in Asked.__dataclass_fields__})
    images, tensors = Contents("e" * 64, 200), Contents("f" * 64, 64)
    certificate = Certificate(
        run_id="01J",
        variant_id=cell.variant_id,
        hw_id="hw",
        env_id="env",
        asked=asked,
        versions={},
        artifacts=(),
        executed=None,
        inputs=tensors,
        evaluation=images,
        calibration=None,
        agreement=Agreement(1.0, 0.0, 200.0, 8),
        launches=Contents("a" * 64, 17),
    )
    view = view_of(make, [replace(rows[0], certificate=certificate)])
    facts = dict(view.particulars[0].facts)
    assert facts["certificate"] == f"sha256 {certificate.digest}"
    assert facts["inputs in rotation"] == f"64, sha256 {'f' * 16}"
    assert facts["evaluated on"] == f"200, sha256 {'e' * 16}"
    assert "calibrated on" not in facts
    (row,) = json.loads(view.downloads.json)
    assert row["certificate_sha256"] == certificate.digest
    assert row["certificate"]["launches"] == {"content_hash": "a" * 64, "count": 17}
