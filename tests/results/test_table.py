import csv
import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from harness.vocabulary import digest
from results.table import frame, to_csv, to_json


@pytest.fixture
def found(synthetic_rows):
    return synthetic_rows


def test_the_three_forms_say_the_same(found):
    table = frame(found)
    parsed = json.loads(to_json(found), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [*table.columns, "certificate"] == list(parsed[0]) == [*lines[0], "certificate"]
    assert len(table) == len(parsed) == len(lines) == len(found)
    for row, record, line, name in zip(found, parsed, lines, table["variant_id"], strict=True):
        assert row.variant_id == record["variant_id"] == line["variant_id"] == name
        expected = row.latency.host_to_host.estimate / 1e6 if row.latency else None
        assert record["latency_ms"] == (pytest.approx(expected) if row.latency else None)
        assert line["latency_ms"] == ("" if record["latency_ms"] is None else str(record["latency_ms"]))


def test_what_was_not_measured_is_missing_never_zero(found):
    table = frame(found)
    skipped = table[table["latency_outcome"].str.startswith("skipped")]
    assert len(skipped) == 1
    assert skipped[["latency_ms", "throughput_items_per_s", "memory_peak_mib", "accuracy"]].isna().all(axis=None)
    too_few = table[table["latency_launches"] == 2]
    assert too_few["latency_p99_ms"].isna().all()


def test_columns_have_the_same_types_whatever_was_measured(found):
    whole, empty = frame(found), frame([row for row in found if row.latency is None])
    shared = [name for name in whole.columns if name in empty.columns]
    assert "latency_ms" in shared
    assert whole[shared].dtypes.to_dict() == empty[shared].dtypes.to_dict()
    assert whole["batch"].dtype == pd.Int64Dtype()


def test_outcomes_are_words(found):
    table = frame(found)
    assert "failed at verify: VerifyFailed" in set(table["latency_outcome"].dropna())
    assert "completed" in set(table["latency_outcome"].dropna())
    assert table["accuracy_outcome"].isna().any()  # not asked


def test_a_certificate_stands_beside_its_digest(found):
    for row, record in zip(found, json.loads(to_json(found)), strict=True):
        told = record["certificate"]
        assert (told is None) == (row.certificate is None) == (record["certificate_sha256"] is None)
        assert told is None or digest(told) == record["certificate_sha256"] == row.certificate.digest


def test_a_spreadsheet_takes_nothing_for_a_formula(found):
    evil = replace(found[0], cell=replace(found[0].cell, workload="=cmd|'/c calc'!A0"))
    (line,) = csv.DictReader(io.StringIO(to_csv([evil])))
    assert line["workload"].startswith("'=")
    assert json.loads(to_json([evil]))[0]["workload"].startswith("=")


def test_no_rows_are_an_empty_table():
    assert len(frame([])) == 0
    assert json.loads(to_json([])) == []
    assert to_csv([]).strip() == ""
