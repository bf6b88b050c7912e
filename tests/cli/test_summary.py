"""What the terminal says at the end of a run about scenarios with a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import summary
from results.driven import Camera, Server, Share, Soak
from results.row import Interval


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
    summary.show(SimpleNamespace(damage=()), synthetic_rows, Path("report.html"))
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
        soaks=(Soak("k", "", 2, 600.0, 100.0, 92.0, Interval(0.92, 0.9, 0.94, 1), 60.0, ()),),
    )
    summary.show(SimpleNamespace(damage=()), [row], Path("report.html"))
    said = " ".join(capsys.readouterr().out.split())
    who = f"{row.cell.workload} {row.label}"
    assert f"camera, {who}: holds, 0 % of 1,500 frames later than 33.3 ms (95 %: ≤ 0.200 %)" in said
    assert f"camera night, {who}: misses, 8.00 % of 1,500 frames later than 33.3 ms (95 %: [6.70, 9.50] %)" in said
    assert f"server, {who}: misses, {none}" in said
    assert f"soak, {who}: 92% [0.900, 0.940] of the burst is sustained, slower after 60 s" in said


def test_rows_without_them_are_told_as_before(synthetic_rows, capsys):
    summary.show(SimpleNamespace(damage=()), synthetic_rows, Path("report.html"))
    said = capsys.readouterr().out
    assert "report: report.html" in said
    assert "camera" not in said
