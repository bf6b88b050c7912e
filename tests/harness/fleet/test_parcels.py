"""Files on their way to a host: what is taken, in what order, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cache import hash_tree
from harness.fleet import parcels
from harness.fleet.contract import Chunk, FleetError, Parcel
from harness.fleet.parcels import chunks, entry, parcel_of
from harness.fleet.shelf import Shelf

PARTS = st.text(st.sampled_from("ab-.é "), min_size=1, max_size=4).filter(lambda part: part not in {".", ".."})
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES, st.binary(max_size=40), max_size=6)


def written(folder, tree):
    """Make a folder of these files, those left out whose name is a folder of another's."""
    for name, data in tree.items():
        if any(other.startswith(f"{name}/") for other in tree):
            continue
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sent(shelf, files):
    """Bring a file or folder, and return its parcel."""
    parcel = parcel_of(files)
    for chunk in chunks(files, parcel, shelf.lacks([parcel])):
        shelf.put(chunk)
    shelf.assemble(parcel)
    return parcel


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "given", {"graph.xml": b"<net/>", "weights/0.bin": b"\x00" * 50, "weights/1.bin": b"one"})


@settings(max_examples=40)
@given(tree=TREES)
def test_a_parcel_is_known_by_the_hash_of_the_cache(tree):
    with tempfile.TemporaryDirectory() as place:
        made = written(Path(place) / "tree", tree | {"z": b"end"})
        parcel = parcel_of(made)
        assert parcel.content_hash == hash_tree(made)[0]
        assert list(parcel.files) == sorted((name, len(data), sha256(data)) for name, data in contents(made).items())


def test_a_lone_file_has_no_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    parcel = parcel_of(tmp_path / "model.onnx")
    assert parcel == Parcel(hash_tree(tmp_path / "model.onnx")[0], (("", 5, sha256(b"model")),))


def test_files_from_anywhere_make_the_parcel_of_a_folder(tmp_path, folder, shelf):
    files = {"graph.xml": folder / "graph.xml", "w.bin": folder / "weights/1.bin"}
    parcel = sent(shelf, files)
    assert parcel == parcel_of(written(tmp_path / "alike", {"graph.xml": b"<net/>", "w.bin": b"one"}))
    assert contents(shelf.path_of(parcel.content_hash)) == {"graph.xml": b"<net/>", "w.bin": b"one"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(tree=TREES, data=st.data(), size=st.integers(1, 9))
def test_pieces_arrive_in_any_order_and_some_of_them_twice(tree, data, size):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patched:
        patched.setattr(parcels, "CHUNK_BYTES", size)
        made = written(Path(place) / "tree", tree)
        made.mkdir(exist_ok=True)
        parcel, shelf = parcel_of(made), Shelf(Path(place) / "shelf")
        pieces = list(chunks(made, parcel, shelf.lacks([parcel])))
        again = data.draw(st.lists(st.sampled_from(pieces), max_size=5)) if pieces else []
        for piece in data.draw(st.permutations(pieces + again)):
            shelf.put(piece)
        assert shelf.lacks([parcel]) == ()
        shelf.assemble(parcel)
        assert contents(shelf.path_of(parcel.content_hash)) == contents(made)
        assert not list(shelf._folder.glob(".*"))


@settings(max_examples=40)
@given(cuts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_a_file_is_whole_when_every_byte_has_come_and_no_sooner(cuts):
    whole = bytes(range(30))
    parcel = Parcel("0" * 64, (("", 30, sha256(whole)),))
    with tempfile.TemporaryDirectory() as place:
        shelf = Shelf(Path(place))
        assert shelf.lacks([parcel]) == (sha256(whole),)
        covered = set()
        for start, end in cuts:
            shelf.put(Chunk(sha256(whole), start, whole[start:end]))
            covered |= set(range(start, end))
            assert (shelf.lacks([parcel]) == ()) == (len(covered) == 30)


def test_only_what_is_wanted_is_sent_and_what_is_alike_once(folder):
    (folder / "copy.xml").write_bytes(b"<net/>")
    parcel = parcel_of(folder)
    wanted = {sha256(b"<net/>")}
    assert [(chunk.sha256, chunk.data) for chunk in chunks(folder, parcel, wanted)] == [(sha256(b"<net/>"), b"<net/>")]


def test_no_piece_is_larger_than_eight_mebibytes(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (parcels.CHUNK_BYTES + 1))
    parcel = parcel_of(tmp_path / "large")
    sizes = [len(chunk.data) for chunk in chunks(tmp_path / "large", parcel, {parcel.files[0][2]})]
    assert sizes == [8 << 20, 1]


@pytest.mark.parametrize("change", [b"<net />", b"<n/>", b"<NET/>", None], ids=["longer", "shorter", "as long", "gone"])
def test_a_file_that_changes_while_it_is_sent_is_told(folder, change):
    parcel = parcel_of(folder)
    (folder / "graph.xml").unlink()
    if change is not None:
        (folder / "graph.xml").write_bytes(change)
    with pytest.raises(FleetError, match=r"graph.xml was changed while it was sent"):
        list(chunks(folder, parcel, {sha256(b"<net/>")}))


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FleetError, match="absent cannot be read: No such file"):
        parcel_of(tmp_path / "absent")


def test_a_broken_file_is_lacking_still_and_arrives_the_second_time(shelf, folder):
    parcel = parcel_of(folder)
    pieces = list(chunks(folder, parcel, shelf.lacks([parcel])))
    broken = pieces[0].sha256
    for piece in pieces:
        data = b"?" * len(piece.data) if piece.sha256 == broken else piece.data
        shelf.put(Chunk(piece.sha256, piece.offset, data))
    assert shelf.lacks([parcel]) == (broken,)
    with pytest.raises(FleetError, match=r"1 files of the parcel \w{12} are lacking, the first 'graph.xml'"):
        shelf.assemble(parcel)
    for piece in pieces:
        shelf.put(piece)
    shelf.assemble(parcel)
    assert contents(shelf.path_of(parcel.content_hash)) == contents(folder)


def test_files_of_two_parcels_are_kept_once(shelf, folder):
    one = sent(shelf, folder)
    (folder / "graph.xml").write_bytes(b"<other/>")
    other = parcel_of(folder)
    assert shelf.lacks([other]) == (sha256(b"<other/>"),)
    sent(shelf, folder)
    first, second = (shelf.path_of(parcel.content_hash) / "weights/0.bin" for parcel in (one, other))
    assert first.samefile(second)
    assert contents(first.parents[1])["graph.xml"] == b"<net/>"


def test_a_disk_without_links_holds_copies(shelf, folder, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    parcel = sent(shelf, folder)
    assert contents(shelf.path_of(parcel.content_hash)) == contents(folder)


def test_a_parcel_that_is_there_needs_no_file_and_stays(shelf, folder):
    parcel = sent(shelf, folder)
    place = shelf.path_of(parcel.content_hash)
    before = place.stat().st_ino
    assert shelf.lacks([parcel]) == ()
    shelf.assemble(parcel)
    assert place.stat().st_ino == before


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "a/../../out",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "a\0b",
        "",
        "x" * 300,
        "é" * 130,
        "ab/" * 1200 + "c",
        "\udcff",
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_a_name_that_leads_elsewhere_or_cannot_be_made_is_refused(shelf, name):
    facts = (3, sha256(b"abc"))
    parcel = Parcel("0" * 64, (("good", *facts), (name, *facts)))
    for ask in (lambda: shelf.lacks([parcel]), lambda: shelf.assemble(parcel)):
        with pytest.raises(FleetError, match="is no name for a file of a parcel") as caught:
            ask()
        assert caught.value.hint


@pytest.mark.parametrize(
    "parcel",
    [
        Parcel("../../etc", (("a", 0, sha256(b"")),)),
        Parcel("0" * 64, (("a", 0, "../../etc"),)),
        Parcel("0" * 64, (("a", -1, sha256(b"")),)),
        Parcel("0" * 64, (("a", 0, sha256(b"")), ("a", 0, sha256(b"")))),
        Parcel("0" * 64, (("a", 0, sha256(b"")), ("a/b", 0, sha256(b"")))),
    ],
    ids=["hash", "file's hash", "size", "twice", "file and folder"],
)
def test_a_parcel_that_is_none_is_refused(shelf, parcel):
    with pytest.raises(FleetError):
        shelf.lacks([parcel])
    with pytest.raises(FleetError):
        shelf.assemble(parcel)


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk("../../etc/passwd", 0, b"x"),
        Chunk(sha256(b"abc"), -1, b"x"),
        Chunk(sha256(b"abc"), 2, b"xy"),
        Chunk(sha256(b"abc"), 1 << 60, b"x"),
        Chunk(sha256(b"abc"), 0, b"x" * ((8 << 20) + 1)),
    ],
    ids=["hash", "before", "beyond", "far beyond", "size"],
)
def test_a_piece_that_is_none_is_refused(shelf, chunk):
    shelf.lacks([Parcel("0" * 64, (("", 3, sha256(b"abc")),))])
    with pytest.raises(FleetError):
        shelf.put(chunk)
    assert not list(shelf._folder.rglob(".arriving-*"))


def test_a_piece_of_what_nobody_asked_about_is_dropped(shelf):
    shelf.put(Chunk(sha256(b"abc"), 0, b"abc"))
    assert shelf.lacks([Parcel("0" * 64, (("", 3, sha256(b"abc")),))]) == (sha256(b"abc"),)


def test_a_list_that_does_not_fit_its_hash_makes_no_parcel(shelf, folder):
    parcel = sent(shelf, folder)
    swapped = Parcel("1" * 64, parcel.files)
    with pytest.raises(FleetError, match=r"the files of the parcel 111111111111 make \w{12}"):
        shelf.assemble(swapped)
    assert not shelf.has("1" * 64)
    assert not list(shelf._folder.glob(".*"))


@pytest.mark.parametrize("how", ["refused", "short"])
def test_a_full_disk_is_told_and_leaves_nothing(shelf, folder, monkeypatch, how):
    parcel = parcel_of(folder)
    pieces = list(chunks(folder, parcel, shelf.lacks([parcel])))

    def full(*_):
        if how == "short":
            return 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(FleetError, match="no space left for parcels") as caught:
            shelf.put(pieces[-1])
    assert caught.value.hint
    assert not list(shelf._folder.glob(".*"))
    assert len(shelf.lacks([parcel])) == 3
    assert sent(shelf, folder) == parcel


def test_a_process_that_starts_again_keeps_what_was_whole(shelf, folder, monkeypatch):
    monkeypatch.setattr(parcels, "CHUNK_BYTES", 20)
    parcel = parcel_of(folder)
    pieces = list(chunks(folder, parcel, shelf.lacks([parcel])))
    for piece in pieces:
        if piece.offset == 0:
            shelf.put(piece)
    again = Shelf(shelf._folder)
    assert again.lacks([parcel]) == (sha256(b"\x00" * 50),)
    sent(again, folder)
    assert again.has(parcel.content_hash)


def test_what_was_left_long_ago_is_removed(shelf, folder):
    parcel = parcel_of(folder)
    shelf.lacks([parcel])
    shelf.put(Chunk(sha256(b"\x00" * 50), 0, b"\x00"))
    (left,) = shelf._folder.glob(".arriving-*")
    Shelf(shelf._folder)
    assert left.exists()
    os.utime(left, (0, time.time() - 2 * 24 * 3600))
    Shelf(shelf._folder)
    assert not left.exists()


def test_an_empty_file_and_an_empty_folder_need_no_piece(shelf, tmp_path):
    empty = written(tmp_path / "empty", {"marker": b""})
    assert shelf.lacks([parcel_of(empty)]) == ()
    assert contents(shelf.path_of(sent(shelf, empty).content_hash)) == {"marker": b""}
    (tmp_path / "bare").mkdir()
    assert shelf.path_of(sent(shelf, tmp_path / "bare").content_hash).is_dir()


def test_a_lone_file_has_the_name_that_one_asks_for(shelf, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    parcel = sent(shelf, tmp_path / "model.onnx")
    named = shelf.path_of(parcel.content_hash, entry(tmp_path / "model.onnx", tmp_path / "model.onnx"))
    assert (named.name, named.read_bytes()) == ("model.onnx", b"model")
    assert shelf.path_of(parcel.content_hash, Path("model.onnx")) == named
    assert shelf.referred(parcel.content_hash).read_bytes() == b"model"


def test_a_folder_as_a_whole_has_its_name_too(shelf, folder):
    parcel = sent(shelf, folder)
    named = shelf.path_of(parcel.content_hash, entry(folder, folder))
    assert (named.name, contents(named)) == ("given", contents(folder))
    assert shelf.path_of(parcel.content_hash, Path("content")) == shelf.path_of(parcel.content_hash)


def test_a_file_of_a_parcel_is_found_by_its_path(shelf, folder):
    parcel = sent(shelf, folder)
    inside = entry(folder / "weights/1.bin", folder)
    assert shelf.path_of(parcel.content_hash, inside).read_bytes() == b"one"
    assert shelf.referred(f"{parcel.content_hash}/weights/1.bin").read_bytes() == b"one"


@pytest.mark.parametrize("reference", ["weights/2.bin", "../../files", "/etc/passwd", "weights/../graph.xml"])
def test_no_path_leads_out_of_a_parcel(shelf, folder, reference):
    parcel = sent(shelf, folder)
    with pytest.raises(FleetError):
        shelf.path_of(parcel.content_hash, Path(reference))


@pytest.mark.parametrize("reference", ["0" * 64, "../../etc", "", "graph.xml"])
def test_what_is_not_here_is_told(shelf, reference):
    with pytest.raises(FleetError, match="is not here"):
        shelf.referred(reference)


def test_what_was_made_here_is_taken_as_it_is(shelf, folder):
    made = hash_tree(folder)[0]
    shelf.take(folder, made)
    shelf.take(folder, made)
    assert contents(shelf.path_of(made)) == contents(folder)
    with pytest.raises(FleetError, match="the files of the parcel 000000000000 make"):
        shelf.take(folder, "0" * 64)


def test_a_file_that_rotted_on_the_disk_is_sent_again(shelf, folder):
    kept = sent(shelf, {"weights.bin": folder / "weights/1.bin"})
    (file,) = shelf._folder.glob(f"files/*/{kept.files[0][2]}")
    file.chmod(0o644)
    file.write_bytes(b"0ne")
    parcel = parcel_of(folder)
    for chunk in chunks(folder, parcel, shelf.lacks([parcel])):
        shelf.put(chunk)
    with pytest.raises(FleetError, match="send it again"):
        shelf.assemble(parcel)
    assert shelf.lacks([parcel]) == (sha256(b"one"),)
    assert contents(shelf.path_of(sent(shelf, folder).content_hash)) == contents(folder)


def aged(path, days=31):
    os.utime(path, (0, time.time() - days * 24 * 3600))


def test_what_nobody_asks_for_goes_after_thirty_days(shelf, folder):
    old = sent(shelf, folder)
    shelf.path_of(old.content_hash, Path("named"))
    (folder / "graph.xml").write_bytes(b"<other/>")
    new = sent(shelf, folder)
    for file in shelf._folder.glob("files/*/*"):
        aged(file)
    aged(shelf.path_of(old.content_hash).parent)
    shelf.tidy()
    assert not shelf.has(old.content_hash)
    assert contents(shelf.path_of(new.content_hash)) == contents(folder)
    kept = {file.name for file in shelf._folder.glob("files/*/*")}
    assert kept == {sha256(data) for data in contents(folder).values()}
    assert list((shelf._folder / "named").iterdir()) == list(shelf._folder.glob(".*")) == []


def test_what_is_asked_for_again_is_not_old(shelf, folder):
    parcel = sent(shelf, folder)
    aged(shelf.path_of(parcel.content_hash).parent)
    shelf.assemble(parcel)
    shelf.tidy()
    assert shelf.has(parcel.content_hash)
