"""The rows that a page carries: read back as they were, few of them to the last digit, many to the tenth."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from reports.embedded import carried, compressed, packed
from results.published import published

LINES = [{"variant_id": "a", "x": 1 / 3, "n": 7, "ranked": True}, {"variant_id": "</script>", "x": None, "new": "é"}]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(-1e300, 1e300), st.text())


def expanded(text):
    return json.loads(zlib.decompress(base64.b64decode(text, validate=True)))


def page(text, kind='type="application/zlib" id="rows" data-encoding="base64"'):
    return f"<p>page</p><script {kind}>{text}</script>"


def read(tmp_path, text):
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    return published(path)


def test_packed_rows_name_each_column_once():
    lines = [{"a": 1, "b": None}, {"a": 2, "b": "x", "c": 3}]
    assert json.loads(packed(lines)) == {"columns": ["a", "b", "c"], "rows": [[1, None, None], [2, "x", 3]]}


def test_few_rows_are_plain_and_inert():
    found = carried(LINES, whole=True)
    assert found.plain
    assert "</script>" not in found.text
    assert json.loads(found.text)["rows"][0][1] == 1 / 3


def test_many_rows_are_compressed_by_column_without_their_certificates():
    found = carried([{**line, "certificate": {"a": 1}, "certificate_sha256": "b"} for line in LINES], whole=False)
    assert not found.plain
    columns = expanded(found.text)["columns"]
    assert "certificate" not in columns
    assert columns["certificate_sha256"] == ["b", "b"]
    assert columns["x"] == [0.3333333333, None]
    assert columns["n"] == [7, None]
    assert columns["ranked"] == [True, None]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), max_size=5))
def test_any_rows_come_back_to_ten_digits(lines):
    found = expanded(compressed(lines))
    assert found["size"] == len(lines)
    for row, line in enumerate(lines):
        for name, value in line.items():
            told = found["columns"][name][row]
            assert told == (pytest.approx(value, rel=1e-9, abs=0) if isinstance(value, float) else value)


def test_verification_reads_compressed_rows(tmp_path):
    found = read(tmp_path, page(compressed(LINES)))
    assert list(found.rows) == ["a", "</script>"]
    assert found.rows["a"]["x"] == pytest.approx(1 / 3, rel=1e-9)
    assert found.rows["</script>"]["new"] == "é"


def test_verification_reads_the_plain_rows_of_pages_made_before(tmp_path):
    old = page(packed(LINES).replace("<", "\\u003c"), 'type="application/json" id="rows"')
    assert read(tmp_path, old).rows["a"]["x"] == 1 / 3


def damaged():
    text = compressed(LINES)
    whole = base64.b64decode(text)
    return {
        "no base64": "%%%",
        "no zlib": base64.b64encode(b"no zlib").decode(),
        "cut off": base64.b64encode(whole[:-6]).decode(),
        "more behind it": base64.b64encode(whole + b"more").decode(),
        "changed": base64.b64encode(whole[:12] + bytes([whole[12] ^ 0x55]) + whole[13:]).decode(),
        "no JSON": base64.b64encode(zlib.compress(b"\xff{")).decode(),
        "NaN": base64.b64encode(zlib.compress(b'{"size":1,"columns":{"variant_id":[NaN]}}')).decode(),
        "columns of other lengths": base64.b64encode(
            zlib.compress(b'{"size":1,"columns":{"variant_id":["a"],"x":[1,2]}}')
        ).decode(),
        "no list": base64.b64encode(zlib.compress(b'{"size":1,"columns":{"variant_id":"a"}}')).decode(),
        "no size": base64.b64encode(zlib.compress(b'{"columns":{"variant_id":["a"]}}')).decode(),
    }


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in damaged().items()])
def test_rows_that_were_damaged_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="holds no rows of a report"):
        read(tmp_path, page(text))


def test_rows_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("results.published._MOST", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read(tmp_path, page(compressed([{"variant_id": "a" * 100_000}])))
