"""``--format`` of a report: printed or written whole, and every wrong wish one message."""

from __future__ import annotations

import csv
import io
import json

import pytest

from harness.cli.report_formats import FORMATS, TEXTS, known, written
from harness.errors import HarnessError
from harness.vocabulary import Cell, Completed, Precision, Scenario
from reports.view import build
from results.rank import standings
from results.row import Interval, Row, Throughput

PNG = b"\x89PNG\r\n\x1a\n"


def row(engine, per_s, workload="toy"):
    cell = Cell(workload, "a" * 64, {"name": "raw"}, (3, 8, 8), engine, Precision.FP32, "cpu", Scenario("throughput"))
    rate = Throughput(Interval(per_s, per_s * 0.99, per_s * 1.01, 5), 2)
    return Row(cell.variant_id, cell, f"{engine} fp32", {"throughput": Completed()}, throughput=rate)


@pytest.fixture
def rows():
    return row("a", 90.0), row("b", 120.0)


@pytest.fixture
def view(rows):
    return build({}, rows, standings(rows))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_returned_to_be_printed_or_written(name, rows, view, tmp_path):
    text = written(name, rows, view, None)
    assert isinstance(text, str)
    assert text.endswith("\n")
    file = tmp_path / f"report.{name}"
    assert written(name, rows, view, file) == [file]
    assert file.read_bytes().decode() == text


def test_data_holds_every_row_in_the_order_of_the_page(rows, view):
    lines = list(csv.DictReader(io.StringIO(written("csv", rows, view, None))))
    told = json.loads(written("json", rows, view, None))
    order = [name.engine for name in view.rows]
    assert [line["engine"] for line in lines] == [line["engine"] for line in told] == order
    assert {line["throughput_items_per_s"] for line in told} == {90.0, 120.0}


def test_pictures_go_into_a_folder_that_is_made(rows, view, tmp_path):
    made = written("png", rows, view, tmp_path / "charts" / "new")
    assert made
    assert all(path.parent == tmp_path / "charts" / "new" for path in made)
    assert all(path.read_bytes().startswith(PNG) for path in made)


def test_a_picture_needs_a_place(rows, view):
    with pytest.raises(HarnessError, match="png needs a place"):
        written("png", rows, view, None)


def test_the_frontier_alone_needs_a_frontier(rows, view, tmp_path):
    with pytest.raises(HarnessError, match="no chart of latency against accuracy"):
        written("png", rows, view, tmp_path / "one.png")
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_for_pictures(rows, view, tmp_path):
    (tmp_path / "charts").write_text("mine")
    with pytest.raises(HarnessError, match="is a file"):
        written("png", rows, view, tmp_path / "charts")
    assert (tmp_path / "charts").read_text() == "mine"


def test_without_a_chart_nothing_is_made(tmp_path):
    with pytest.raises(HarnessError, match="no chart"):
        written("png", (), build({}, (), ()), tmp_path / "charts")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "meant"), [("mdd", "; did you mean 'md'"), ("x" * 9000, ""), ("", "")])
def test_an_unknown_format_is_one_message(name, meant, rows, view, tmp_path):
    with pytest.raises(HarnessError, match="no report is written as") as told:
        written(name, rows, view, tmp_path / "x")
    assert meant in told.value.message
    assert len(told.value.message) < 200
    assert told.value.hint == "--format takes md, json, csv, png"


def test_every_format_is_known():
    for name in FORMATS:
        known(name)


@pytest.mark.parametrize("place", [".", "absent/report.md"])
def test_a_place_that_cannot_be_written_is_one_message(place, rows, view, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    with pytest.raises(HarnessError, match=r"is a folder|there is no folder") as told:
        written("md", rows, view, Path(place))
    assert told.value.hint


def test_a_full_disk_is_said_and_leaves_the_old_file(rows, view, tmp_path, monkeypatch):
    (tmp_path / "report.md").write_text("old")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.files.write_whole", full)
    with pytest.raises(HarnessError, match="cannot be written: No space left"):
        written("md", rows, view, tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == "old"


def test_halves_of_characters_break_no_file(tmp_path):
    odd = (row("a\ud800", 90.0), row("b", 80.0))
    view = build({}, odd, standings(odd))
    for name in TEXTS:
        text = written(name, odd, view, None)
        text.encode()
        assert written(name, odd, view, tmp_path / name) == [tmp_path / name]
