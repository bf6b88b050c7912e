"""What the terminal says at the end of a run: the verdict, what failed and was skipped, what to do next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import summary
from harness.vocabulary import Completed, Failed, Skipped, Stage
from results.driven import Camera, Server, Share, Soak
from results.row import Interval

STORE = SimpleNamespace(
    run_id="01RUN", folder=Path("runs/01RUN"), damage=(), manifest={}, plan=SimpleNamespace(suite="mine")
)
SOAK = Soak("k", "", 2, 600.0, 100.0, 92.0, Interval(0.92, 0.9, 0.94, 1), 60.0, ())


def camera(missed, verdict, **changes):
    made = Camera(
        *("c", "", 1, 30.0, 33.3333, "staggered", "stale", False, 1, 5),
        missed=missed,
        launch_misses=(),
        dropped=0,
        overruns=0,
        response=Interval(20e6, None, None, 1),
        quantiles=(),
        worst_lateness_ns=0.0,
        verdict=verdict,
    )
    return replace(made, **changes)


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """A machine that did not drift: the store of these tests holds no launch of a sentinel."""
    monkeypatch.setattr(summary, "drift_of", lambda _store: None)


def test_a_machine_that_drifted_is_told_of(synthetic_rows, capsys, monkeypatch):
    found = SimpleNamespace(found=True, message="the sentinel became 6 % slower")
    monkeypatch.setattr(summary, "drift_of", lambda _store: found)
    summary.show(STORE, synthetic_rows, Path("report.html"))
    assert "drift: the sentinel became 6 % slower" in capsys.readouterr().out


def test_each_camera_and_server_has_one_line(synthetic_rows, capsys):
    none = "no rate meets p99 ≤ 5 ms; the lowest seen was 21 ms"
    found = {"rate_hz": None, "tried": (), "lateness_ns": 0.0, "verdict": "misses", "message": none}
    row = replace(
        synthetic_rows[0],
        cameras=(
            camera(Share(0, 1500, 0.0, 0.002), "holds"),
            camera(Share(120, 1500, 0.067, 0.095), "misses", title="night"),
        ),
        servers=(Server(*("s", "", 2, 1, 5.0, 99.0), searched=True, **found),),
        soaks=(SOAK,),
    )
    summary.show(STORE, [row], Path("report.html"))
    said = " ".join(capsys.readouterr().out.split())
    who = f"{row.cell.workload} {row.label}"
    assert f"camera, {who}: holds, 0 % of 1,500 frames later than 33.3 ms (95 %: ≤ 0.200 %)" in said
    assert f"camera night, {who}: misses, 8.00 % of 1,500 frames later than 33.3 ms (95 %: [6.70, 9.50] %)" in said
    assert f"server, {who}: misses, {none}" in said
    assert f"soak, {who}: 92% [0.900, 0.940] of the burst is sustained, slower after 60 s" in said


def test_rows_without_them_are_told_as_before(synthetic_rows, capsys):
    summary.show(STORE, synthetic_rows, Path("report.html"))
    said = capsys.readouterr().out
    assert "report: report.html" in said
    assert "camera" not in said


# --- what a run comes to -----------------------------------------------------------------------------------------


@pytest.fixture
def lite0(synthetic_rows):
    """The rows of one workload that completed."""
    return [row for row in synthetic_rows if row.cell.workload == "lite0" and row.timed]


def said_of(rows, capsys, store=STORE):
    summary.show(store, rows, Path("report.html"))
    return " ".join(capsys.readouterr().out.split())


def test_the_verdict_its_figures_and_the_frontier(lite0, capsys):
    said = said_of(lite0, capsys)
    assert "verdict: openvino int8 is the fastest." in said
    assert "median latency, host→host" in said
    assert "× [" in said, "how much faster, with its interval"
    assert said.count("verdict:") == 1
    slower = replace(lite0[0].accuracy, metrics={**lite0[0].accuracy.metrics, lite0[0].accuracy.primary: 0.999})
    better = [replace(row, accuracy=slower) if row is lite0[0] else row for row in lite0]
    assert "frontier of latency and accuracy: openvino int8 (5." in said_of(better, capsys)


def test_what_failed_is_grouped_by_its_reason(lite0, capsys):
    crash = Failed(Stage.STEADY, "crash", "signal 11", "see its log")
    rows = [replace(row, outcomes={**row.outcomes, "throughput": crash, "memory": crash}) for row in lite0]
    said = said_of(rows, capsys)
    assert said.count("FAILED in steady, crash: signal 11 (hint: see its log)") == 1
    assert f"and {2 * len(rows) - 3} more" in said


def test_a_workload_of_which_nothing_was_measured_says_so(synthetic_rows, capsys):
    crash = Failed(Stage.LOAD, "crash", "signal 11\x1b[2J", "see its log")
    (row,) = [row for row in synthetic_rows if not row.timed and row.cell.workload == "lite0"][:1]
    said = said_of([replace(row, outcomes=dict.fromkeys(("latency", "memory"), crash))], capsys)
    assert said.startswith("lite0: nothing was measured; why stands below FAILED in load, crash: signal 11‹U+001B›[2J")
    assert said.endswith("report: report.html")


def test_what_was_skipped_takes_one_line(lite0, capsys):
    reasons = [f"engine {number} is not installed" for number in range(12)]
    rows = [replace(lite0[0], outcomes={reason: Skipped(reason, "pip install it") for reason in reasons})]
    summary.show(STORE, rows, Path("report.html"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert line.startswith("skipped: engine 0 is not installed (1 cell); ")
    assert line.endswith("; and 4 other reasons, under Coverage in the report")


def test_the_next_step_is_the_one_that_is_due(lite0, capsys):
    failed = replace(lite0[0], outcomes={"latency": Failed(Stage.LOAD, "x", "y")})
    assert f"harness rerun 01RUN {failed.cell_ids['latency'][:12]}" in said_of([failed, *lite0[1:]], capsys)
    completed = [replace(row, outcomes=dict.fromkeys(row.outcomes, Completed())) for row in lite0]
    fastest = min(completed, key=lambda row: row.latency.host_to_host.estimate)
    assert f"harness take 01RUN {fastest.cell_ids['latency'][:12]} -o model" in said_of(completed, capsys)
    soaked = [replace(row, soaks=(SOAK,)) for row in completed]
    assert "harness recommend 01RUN --slo p99=33ms --load 8x30fps" in said_of(soaked, capsys)


def test_a_screening_is_run_again_as_it_was_with_more_launches(lite0, capsys):
    few = [
        replace(row, latency=replace(row.latency, host_to_host=replace(row.latency.host_to_host, launches=2)))
        for row in lite0
    ]
    rows = [replace(row, outcomes=dict.fromkeys(row.outcomes, Completed())) for row in few]
    assert "next, for a decision: harness run mine --preset default" in said_of(rows, capsys)
    asked = SimpleNamespace(**{**vars(STORE), "manifest": {"command": "harness run suite.yaml --only x"}})
    assert "next, for a decision: harness run suite.yaml --only x --preset default" in said_of(rows, capsys, asked)


def test_many_rows_leave_the_rest_to_the_report(lite0, capsys):
    rows = [replace(lite0[0], variant_id=f"{number:064d}") for number in range(45)]
    assert "and 5 slower rows in the report" in said_of(rows, capsys)


def test_the_data_hold_the_verdict(lite0):
    (standing,) = summary.summary_data(STORE, lite0)["standings"]
    assert standing["verdict"].endswith("is the fastest.")
    assert standing["best"] == [min(lite0, key=lambda row: row.latency.host_to_host.estimate).label]
