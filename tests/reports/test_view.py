"""What the page says about each kind of run: golden for the whole, and one test per sentence that matters."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from harness.vocabulary import Completed, Failed, Finding, Precision, Stage
from reports.coverage import inside
from reports.view import build

GOLDEN = Path(__file__).parent / "golden" / "view.json"


def view_of(make, rows, **options):
    return build(make.manifest(), rows, make.standings(rows, options.pop("ties", 1)), **options)


def table(view, section, panel=0):
    found = next(part for part in view.sections if part.id == section)
    return found.panels[panel].tables[0]


def column(found, title):
    at = [head.title for head in found.columns].index(title)
    return [line.values[at] for line in found.lines]


def test_the_view_of_every_kind_of_row_is_golden(make):
    """``HARNESS_GOLDEN=write`` writes the file anew; read the difference before it is committed."""
    view = view_of(make, make.varied(), records=321)
    told = {name: value for name, value in dataclasses.asdict(view).items() if name != "downloads"}
    text = json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("HARNESS_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_fastest_is_named_with_its_lead_and_its_price(make):
    first = view_of(make, make.varied()).verdicts[0]
    assert first.headline == "openvino int8 is the fastest."
    assert [figure.value for figure in first.figures] == ["5.00", "4.00", "2.80", "−1.2"]
    assert first.figures[-1].bounds == "[−3.1, +0.6]"
    said = " ".join(first.sentences)
    assert "where the FP32 baseline, torch fp32, takes 20.0\u00a0ms" in said
    assert "undecided on 200 images" in said
    assert "The fastest row shown to keep the accuracy target is onnxruntime fp32" in said
    assert "Faster on the clock, but not ranked: onnxruntime int8 at 4.00\u00a0ms (−18.0 points: misses 99 %)" in said


def test_a_tie_is_called_a_tie(make):
    rows = (make.row(engine="a", median_ms=10.0), make.row(engine="b", median_ms=10.1), make.row(engine="c"))
    verdict = view_of(make, rows, ties=2).verdicts[0]
    assert verdict.headline == "A tie: a fp32 and b fp32 are the fastest, and cannot be told apart."
    assert len(verdict.leaders) == 2
    assert "The FP32 baseline, a fp32, is among the fastest." in verdict.sentences


def test_a_tie_of_many_is_told_in_short(make):
    rows = [make.row(engine=f"e{place}", median_ms=10.0 + place, accuracy=None) for place in range(9)]
    verdict = view_of(make, rows, ties=9).verdicts[0]
    headline = "A tie of 9 rows: e0 fp32 is the fastest on the clock, and they cannot be told apart."
    assert verdict.headline == headline
    assert len(verdict.leaders) == 9
    assert "Their medians lie from 10.0\u00a0ms to 18.0\u00a0ms." in verdict.sentences
    assert sum("e5" in sentence for sentence in verdict.sentences) == 0
    said = "The accuracy target by these 9 rows: 9 not measured, and speed alone is no reason to choose."
    assert [sentence for sentence in verdict.sentences if "not measured" in sentence] == [said]


def test_screening_recommends_nothing(make):
    findings = (Finding("screening", "2 launches"),)
    rows = [
        make.row(engine=name, median_ms=ms, launches=2, findings=findings) for name, ms in (("a", 9.0), ("b", 12.0))
    ]
    view = view_of(make, rows)
    assert view.verdicts[0].headline == "a fp32 is the fastest measured."
    assert view.banner == "Screening: 2 launches per cell; nothing here is a recommendation."
    assert view.verdicts[0].sentences[-1] == "Screening: 2 launches a cell; nothing here is a recommendation."
    assert {value.text for value in column(table(view, "latency"), "p99")} == {"n too small"}
    assert {value.aside for value in column(table(view, "latency"), "p99")} == {"30 of 368"}


def test_one_launch_has_no_interval_and_says_so(make):
    view = view_of(make, [make.row(launches=1)])
    assert view.verdicts[0].figures[0].note == "1 launch: no interval"
    assert column(table(view, "latency"), "median")[0].aside == "no interval"


def test_without_accuracy_speed_is_no_reason(make):
    view = view_of(make, [make.row(engine="a", accuracy=None), make.row(engine="b", median_ms=3.0, accuracy=None)])
    assert "its speed alone is no reason to choose it" in " ".join(view.verdicts[0].sentences)
    assert next(part for part in view.sections if part.id == "pareto").empty


def test_nothing_completed(make):
    rows = make.varied()[6:9]
    view = view_of(make, rows)
    assert view.verdicts[0].headline == "Nothing can be said about speed."
    assert all(section.empty for section in view.sections if not section.panels)
    assert view.coverage.summary == "3 rows: 0 of 15 cells completed, 5 failed and 10 skipped."


def test_everything_that_did_not_complete_has_its_reason_and_hint(make):
    rows = make.varied()
    logs = {rows[6].cell_ids["latency"]: "logs/a-0.log", rows[6].cell_ids["memory"]: "../../etc/passwd"}
    incidents = view_of(make, rows, logs=logs).coverage.incidents
    by_reason = {incident.reason: incident for incident in incidents}
    crash = by_reason["the worker ended by signal 11 (segmentation fault)"]
    assert (crash.where, crash.hint, crash.logs) == ("steady: crash", "see its log", ("logs/a-0.log",))
    absent = by_reason["tensorrt is not installed"]
    assert len(absent.rows) == 2, "one reason, told once for both rows"
    assert by_reason["loading took longer than 600 s"].scenarios == "accuracy"
    assert by_reason["operator aten::grid_sampler has no ONNX form"].where == "export: ExportFailed"


@pytest.mark.parametrize("path", ["logs/ab12-0.log", "a.log", "logs/with space/x=1.log"])
def test_links_inside_the_run_are_kept(path):
    assert inside(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "javascript:alert(1)",
        "//host/x",
        "a\\b",
        "a?b",
        "a#b",
        "http://x",
    ],
)
def test_links_that_lead_out_are_not(path):
    assert not inside(path)


def test_the_matrix_says_what_each_cell_came_to(make):
    lite, yolo = view_of(make, make.varied()).coverage.matrices
    words = {engine: [[slot.words for slot in cell] for cell in cells] for engine, cells in lite.lines}
    assert lite.columns == ("fp32 cpu", "fp16 cpu", "int8 cpu")
    assert words["openvino"] == [["completed"], ["other precision"], ["completed, accuracy undecided"]]
    assert words["torch"] == [["completed"], [], ["failed at steady"]]
    assert words["onnxruntime"][0] == ["failed at load (accuracy)"]
    assert words["tensorrt"] == [["skipped"], [], ["skipped"]]
    assert ("gpu.0" in yolo.columns[-1], yolo.lines[1][0]) == (True, "openvino")


def test_what_differs_is_in_the_label_and_nothing_else(make):
    rows = [
        make.row(engine="a", threads=1),
        make.row(engine="a", threads=2),
        make.row(engine="a", threads=2, device="gpu.0"),
    ]
    assert sorted(name.label for name in view_of(make, rows).rows) == [
        "a fp32 cpu t1",
        "a fp32 cpu t2",
        "a fp32 gpu.0 t2",
    ]
    assert view_of(make, rows[:1]).rows[0].label == "a fp32"


def test_batches_of_a_workload_are_apart(make):
    rows = [make.row(engine="a"), make.row(engine="a", batch=8, median_ms=99.0)]
    stands = [
        dataclasses.replace(make.standing([each], each.cell.workload), workload=f"lite0 b{each.cell.batch}")
        for each in rows
    ]
    view = build(make.manifest(), rows, stands)
    assert [verdict.workload for verdict in view.verdicts] == ["lite0 b1", "lite0 b8"]
    assert {key: values for key, _, values in view.facets}["workload"] == ("lite0 b1", "lite0 b8")


def test_rows_without_a_standing_are_still_shown(make):
    view = build(make.manifest(), [make.row(), make.row("other", engine="b")], ())
    assert [name.workload for name in view.rows] == ["lite0", "other"]
    assert all(verdict.headline == "Nothing can be said about speed." for verdict in view.verdicts)


def test_an_unranked_row_is_drawn_hollow(make):
    names = {name.label: name for name in view_of(make, make.varied()).rows}
    assert names["onnxruntime int8"].doubted
    assert not names["openvino fp32"].doubted
    assert names["onnxruntime fp32 cpu"].doubted, "noisy"


def test_frontier_and_metric_of_the_plane(make):
    chart = next(part for part in view_of(make, make.varied()).sections if part.id == "pareto").panels[0].charts[0]
    spots = {spot.row: spot for spot in chart.spots}
    spot = next(spot for spot in spots.values() if spot.tip.startswith("openvino int8"))
    assert spot.y == pytest.approx(79.0)
    assert spot.y_bounds == pytest.approx((77.1, 80.8))
    assert chart.rule == pytest.approx(80.0)


def test_shares_read_back_are_never_rounded_to_all_or_nothing(make):
    execution = dataclasses.replace(make.row().execution, macs_by_precision={"int8": 0.9999, "fp32": 0.0001})
    row = make.row(precision=Precision.INT8, execution=execution)
    values = column(table(view_of(make, [row]), "executed"), "executed")
    assert values[0].text == "int8 99.9\u00a0%, fp32 0.1\u00a0%"


def test_an_empty_manifest_and_no_rows_are_a_page_too():
    view = build({}, (), ())
    assert (view.rows, view.verdicts, view.facts) == ((), (), ())


def test_the_manifest_is_told_in_readable_units(make):
    method = view_of(make, [make.row()], records=12).method
    facts = {key: value for _, pairs in method.fingerprint for key, value in pairs}
    assert facts["memory limit"] == "2.00\u00a0GiB"
    assert facts["accelerators 0 · name"] == "NVIDIA L4"
    assert facts["launches on record"] == "12"
    assert method.overhead == (("with 1 stream", "330\u00a0ns per inference"),)
    assert dict(method.engines)["tensorrt"] == "not installed, pip install tensorrt"


def test_partly_failed_rows_are_partial(make):
    failed = Failed(Stage.VERIFY, "VerifyFailed", "constant output", "")
    rows = [make.row(outcomes={"latency": Completed(), "memory": failed})]
    assert view_of(make, rows).rows[0].state == "partial"


def test_no_path_of_the_machine_is_published(make):
    view = view_of(make, [make.row()])
    assert "cache/model" not in repr(dataclasses.replace(view, downloads=None))
