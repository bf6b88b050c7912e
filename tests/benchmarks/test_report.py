"""The report's own figures at a fraction of their size: what is made, and what the figures are called."""

import pytest

from benchmarks import report
from harness.errors import HarnessError


def test_the_rows_are_of_every_kind_and_always_the_same():
    rows = report.simulated(60)
    assert rows == report.simulated(60)
    assert len({row.variant_id for row in rows}) == 60
    assert sum(row.latency is None for row in rows) == 3
    assert {row.accuracy.verdict for row in rows if row.accuracy} >= {"reference", "passes"}
    assert {finding.kind for row in rows for finding in row.findings} >= {"noisy"}
    assert len({row.certificate.digest for row in rows if row.certificate}) == 57


def test_the_figures_have_the_limits_of_the_issue(monkeypatch):
    def browsed(_first, _path, _chromium, _told, repeats):
        return report._Browsed(*([value] * repeats for value in (90.0, 120.0, 300.0, 20.0)))

    monkeypatch.setattr(report, "_browsed", browsed)
    monkeypatch.setattr(report.shutil, "which", lambda _name: "chromium")
    measured = report.measure(lambda _words: None, rows=4, large=6, repeats=2)
    assert [(figure.unit, figure.limit.high) for figure in measured.figures] == [
        ("MB", 3.0),
        ("s", 10.0),
        ("ms", 200.0),
        ("ms", 200.0),
        ("ms", None),
        ("ms", 200.0),
    ]
    assert [figure.value for figure in measured.figures[2:]] == pytest.approx([90, 120, 300, 20])
    assert "6 rows has" in measured.notes[0]


def test_without_a_browser_there_is_a_hint(monkeypatch):
    monkeypatch.setattr(report.shutil, "which", lambda _name: None)
    with pytest.raises(HarnessError, match="Chromium") as raised:
        report.measure(lambda _words: None)
    assert raised.value.hint
