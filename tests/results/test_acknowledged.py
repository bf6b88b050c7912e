"""The file of acknowledged changes: read as written, small differences, and every wrong form said in words."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from results.acknowledged import Acknowledgement, added, read, write

ONE = Acknowledgement(
    cell_id="a" * 64,
    label="toy/fake/fp32/cpu/b1/latency",
    quantity="latency",
    hw_id="feedc0ffee12",
    run_id="01RUN0040",
    created_at="2026-02-12T06:00:00+00:00",
    acknowledged_on="2026-12-01",
    reason="a new compiler – slower, and right",
)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "baselines" / "acknowledged.json"
    other = replace(ONE, label="another", cell_id="b" * 64, reason="")
    write(path, [ONE, other])
    assert read(path) == (other, ONE)  # by label, whatever the order they came in
    assert "–" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_no_file_holds_nothing(tmp_path):
    assert read(tmp_path / "acknowledged.json") == ()


@given(text=st.text())
def test_a_reason_is_any_text(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("acks") / "file.json"
    kept = replace(ONE, reason=text.encode("utf-8", "replace").decode())
    write(path, [kept])
    assert read(path) == (kept,)


def test_of_one_change_the_last_word_counts():
    again = replace(ONE, reason="looked at again", acknowledged_on="2026-12-02")
    later = replace(ONE, run_id="01RUN0090")
    assert added([ONE], [again, later]) == (again, later)


@pytest.mark.parametrize(
    "held",
    [b"", b"{", b"\xff\xfe", b"[]", b"3", b"{}", b'{"schema": 1}', b'{"schema": "1", "acknowledged": []}'],
)
def test_a_file_that_is_something_else_is_said_to_be(held, tmp_path):
    path = tmp_path / "acknowledged.json"
    path.write_bytes(held)
    with pytest.raises(StoreError, match="holds no acknowledged changes") as caught:
        read(path)
    assert "version control" in caught.value.hint


@pytest.mark.parametrize("change", [{"run_id": 3}, {"user": "someone"}])
def test_an_entry_of_a_wrong_form_is_named(change, tmp_path):
    path = tmp_path / "acknowledged.json"
    write(path, [ONE])
    data = json.loads(path.read_text(encoding="utf-8"))
    data["acknowledged"][0] |= change
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(StoreError, match=r"acknowledged\[0\]"):
        read(path)


def test_a_newer_edition_is_refused(tmp_path):
    path = tmp_path / "acknowledged.json"
    path.write_text('{"schema": 2, "acknowledged": []}', encoding="utf-8")
    with pytest.raises(StoreError, match="newer"):
        read(path)


def test_a_folder_in_its_place_is_said(tmp_path):
    with pytest.raises(StoreError):
        read(tmp_path)
