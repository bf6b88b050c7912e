import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.journal import Journal, content_id, format_line, parse_line

PAYLOADS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=4), max_size=6)


def read(path):
    journal = Journal(path)
    journal.refresh()
    return journal


@given(PAYLOADS)
def test_what_is_written_is_read(tmp_path_factory, payloads):
    path = tmp_path_factory.mktemp("journal") / "records.jsonl"
    writer = Journal(path)
    for payload in payloads:
        writer.append(payload)
    journal = read(path)
    assert [entry.payload for entry in journal.entries] == payloads
    assert [entry.digest for entry in journal.entries] == [content_id(payload) for payload in payloads]
    assert journal.damage == ()


@given(PAYLOADS.filter(bool), st.data())
def test_truncation_at_any_byte_loses_only_lines_beyond_it(tmp_path_factory, payloads, data):
    path = tmp_path_factory.mktemp("journal") / "records.jsonl"
    lines = [format_line(payload) for payload in payloads]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    complete = sum(len(b"".join(lines[: i + 1])) <= cut for i in range(len(lines)))
    journal = read(path)
    assert [entry.payload for entry in journal.entries] == payloads[:complete]
    torn = cut != sum(map(len, lines[:complete]))
    assert len(journal.damage) == torn
    journal.repair()
    journal.append({"after": 1})
    again = read(path)
    assert [entry.payload for entry in again.entries] == [*payloads[:complete], {"after": 1}]
    assert again.damage == ()


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_costs_one_line_and_is_told(tmp_path_factory, position, flip):
    path = tmp_path_factory.mktemp("journal") / "records.jsonl"
    lines = [format_line({"value": "x" * 20, "number": number}) for number in range(3)]
    whole = bytearray(b"".join(lines))
    position %= len(lines[0]) + len(lines[1]) - 1  # anywhere in the first two but the newline between two and three
    whole[position] ^= flip
    path.write_bytes(whole)
    journal = read(path)
    assert journal.entries[-1].payload["number"] == 2
    lost = 2 if position == len(lines[0]) - 1 else 1  # without their newline two lines are one
    assert len(journal.entries) >= 3 - lost
    assert journal.damage
    assert all(note.startswith("records.jsonl:") for note in journal.damage)


def test_reading_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "records.jsonl"
    reader, writer = Journal(path), Journal(path)
    reader.refresh()
    assert reader.entries == []
    for number in range(3):
        writer.append({"number": number})
        reader.refresh()
        assert [entry.number for entry in reader.entries] == list(range(1, number + 2))


@pytest.mark.parametrize("fault", ["write", "short", "fsync"])
def test_a_failed_append_leaves_no_fragment(tmp_path, monkeypatch, fault):
    path = tmp_path / "records.jsonl"
    journal = Journal(path)
    journal.append({"number": 1})
    write = os.write

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def short(descriptor, data):
        return write(descriptor, data[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write" if fault != "fsync" else "fsync", short if fault == "short" else full)
        with pytest.raises(OSError) as caught:
            journal.append({"number": 2})
    assert caught.value.errno == errno.ENOSPC
    journal.append({"number": 3})
    again = read(path)
    assert [entry.payload["number"] for entry in again.entries] == [1, 3]
    assert again.damage == ()


def test_nan_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "records.jsonl"
    with pytest.raises(ValueError):
        Journal(path).append({"value": float("nan")})
    assert not path.exists()


@pytest.mark.parametrize("line", [b"", b"short", b"0" * 16 + b" {}", b"\xff" * 40])
def test_what_is_no_line_of_ours_is_not_read(line):
    assert parse_line(line) is None


def test_a_checksummed_line_that_is_no_object_is_not_read():
    import hashlib

    text = b"[1]"
    assert parse_line(hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text) is None
