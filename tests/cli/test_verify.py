"""``harness verify`` over a real run of the fake engine: what it says, and what it ends with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROW = "toy fake fp32 cpu b1"
LATENCY = "toy/fake/fp32/cpu/b1/latency"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, new_place):
    """A place with one run of two precisions."""
    place = new_place(tmp_path_factory.mktemp("verify"))
    said = place.say("run", "suite.yaml", "--quiet", "--set", "matrix.precision=[fp32,fp16]")
    assert said.code == 0, said.err
    return place


@pytest.fixture
def at(ran, tmp_path, new_place):
    """A copy of that place to tamper with."""
    return type(ran)(shutil.copytree(ran.folder, tmp_path / "copy"))


def test_a_run_as_it_was_made_is_verified(ran):
    said = ran.say("verify")
    assert said.code == 0, said.out + said.err
    assert f"run {ran.store.run_id}: 2 of 2 rows verified, 4 records" in said.out
    assert said.out.count("verified\n") == 2
    assert "not checked" not in said.out, "the fake engine tells everything, and the cache is whole"
    assert max(map(len, said.out.splitlines())) <= 80


def test_certificates_are_those_of_the_report(ran):
    told = json.loads(ran.say("verify", "--json").out)
    assert (told["verified"], told["report"], told["damage"]) == (True, "report.html", [])
    shown = {row["variant_id"]: row for row in json.loads(ran.say("report", "--json").out)["rows"]}
    for row in told["rows"]:
        assert shown[row["variant_id"]]["certificate_sha256"] == row["certificate_sha256"]
        assert row["certificate_sha256"] in ran.page
        assert {check["state"] for check in row["checks"]} == {"ok"}


def test_the_documented_way_to_recompute_a_certificate_needs_no_harness(ran):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    program = re.search(r"^python3 -c '(.*)'$", page, re.MULTILINE)[1]
    (ran.folder / "rows.json").write_text(ran.say("report", "--json").out)
    command = [sys.executable, "-IS", "-c", program]
    said = subprocess.run(command, cwd=ran.folder, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True"]


def test_only_the_cells_that_are_named(ran):
    said = ran.say("verify", "latest", "*/fp16/*", "--json")
    assert [row["row"] for row in json.loads(said.out)["rows"]] == ["toy fake fp16 cpu b1"]
    said = ran.say("verify", "latest", LATENCY, "*/fp16/*/prove")
    assert "2 of 2 rows verified" in said.out


def test_an_artifact_edited_in_the_cache_is_named(at):
    for model in (at.folder / "cache" / "artifacts").rglob("content/model.json"):
        model.write_text(model.read_text() + " ")
    said = at.say("verify")
    assert said.code == 3
    assert "FAILED: cache" in said.out
    assert f"{ROW}: cache: the fake fp32 in the cache has been changed since" in said.out
    assert "0 of 2 rows verified" in said.out


def test_an_artifact_gone_from_the_cache_is_a_word_and_no_failure(at):
    assert at.say("cache", "prune").code == 0
    said = at.say("verify")
    assert said.code == 0
    assert "not checked, cache: gone from the cache (every row)" in said.out


def test_a_flipped_byte_of_the_samples_is_named(at):
    record = next(r for r in at.store.records() if r.cell.label == LATENCY)
    path = at.store.folder / record.samples.path
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    said = at.say("verify")
    assert said.code == 3
    assert f"{ROW}: files: {record.samples.path} of run" in said.out
    assert "1 of 2 rows verified" in said.out
    assert at.say("verify", "latest", "*/fp16/*").code == 0, "the other row is what it was"


def test_a_damaged_journal_fails_whatever_is_asked(at):
    journal = at.store.folder / "records.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"attempt":0', b'"attempt":1', 1))
    said = at.say("verify", "latest", "*/fp16/*")
    assert said.code == 3
    assert "damaged: records.jsonl:1: line does not match its checksum" in said.out
    assert json.loads(at.say("verify", "--json").out)["verified"] is False


def test_a_report_that_was_handed_out_is_held_against_the_records(at):
    page = at.store.folder / "report.html"
    handed_out = at.write("theirs.json", at.say("report", "--json").out)
    assert at.say("verify", "--report", str(handed_out)).code == 0
    assert at.say("rerun", "latest", LATENCY).code == 0
    assert at.say("verify").out.count("report: report.html names the certificate") == 1
    assert at.say("report").code == 0
    assert at.say("verify").code == 0, "the page is of these records again"
    said = at.say("verify", "--report", str(handed_out))
    assert said.code == 3
    assert "theirs.json names the certificate" in said.out
    page.unlink()
    said = at.say("verify")
    assert said.code == 0
    assert "not checked, report: no report to compare with (every row)" in said.out


def test_a_number_changed_in_a_table_of_the_page_is_named(at):
    report = next(
        check
        for row in json.loads(at.say("verify", "--json").out)["rows"]
        for check in row["checks"]
        if check["name"] == "report"
    )
    assert int(re.fullmatch(r"(\d+) visible numbers agree", report["detail"])[1]) >= 8
    page = at.store.folder / "report.html"
    whole = page.read_text(encoding="utf-8")
    table = re.search(r'<table id="t-glance-[^"]*" class="data">.*?</table>', whole, re.DOTALL)
    tampered = re.sub(r"(<td[^>]*>)[\d.,]+", r"\g<1>0.123", table[0], count=1)
    page.write_text(whole.replace(table[0], tampered), encoding="utf-8")
    said = at.say("verify")
    assert said.code == 3
    assert "report: report.html shows median latency 0.123" in said.out
    assert "1 of 2 rows verified" in said.out


def test_a_row_added_to_a_report_is_named_whatever_is_asked(at):
    lines = json.loads(at.say("report", "--json").out)["rows"]
    added = at.write("theirs.json", json.dumps([*lines, {**lines[0], "engine": "better", "variant_id": "f" * 64}]))
    said = at.say("verify", "latest", "*/fp16/*", "--report", str(added))
    assert said.code == 3
    assert "theirs.json has the row ffffffffffff, which is not of this run" in said.out


def test_a_run_that_measured_nothing_has_nothing_to_verify(at):
    said = at.say("run", "suite.yaml", "--quiet", "--set", "matrix.precision=[bf16]")
    assert said.code == 5
    said = at.say("verify")
    assert said.code == 5
    assert "nothing to verify: no launch completed" in said.out
    assert json.loads(at.say("verify", "--json").out)["verified"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "01ABC"], "no run '01ABC' in"),
        (["verify", "latest", "toy/*/int4/*"], "no cell matches 'toy/*/int4/*'"),
        (["verify", "--report", "gone.html"], "gone.html cannot be read"),
        (["verify", "--report", "suite.yaml"], "suite.yaml holds no rows of a report"),
        (["verify", "--strict"], "No such option"),
    ],
    ids=" ".join,
)
def test_bad_arguments_are_one_message_and_exit_code_4(ran, arguments, message):
    said = ran.say(*arguments)
    assert (said.code, said.out) == (4, "")
    assert message in said.err
    assert "hint: " in said.err


def test_nothing_is_written_by_looking(ran):
    before = sorted((path, path.stat().st_mtime_ns) for path in ran.folder.rglob("*") if path.is_file())
    assert ran.say("verify").code == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in ran.folder.rglob("*") if path.is_file()) == before
