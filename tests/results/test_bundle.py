import hashlib
import io
import json
import os
import shutil
import stat
import zipfile

import pytest

from harness.errors import StoreError
from harness.vocabulary import Launch, Precision
from results import bundle
from results.importing import sources, take_in
from results.store import RunStore, runs_in
from results.tags import tag


@pytest.fixture(scope="module")
def written(factory, tmp_path_factory):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=2, scenarios=("latency", "memory", "accuracy"))
    folder = factory.write_run(tmp_path_factory.mktemp("bundled") / "runs", (recipe,))
    (folder / "logs" / "one.log").write_bytes(b"loaded /home/someone/models/net.onnx, 'a b' \xff\n")
    (folder / "resume.json").write_text('{"base": "/home/someone"}')
    (folder / "report.html").write_text("<html>")
    return folder


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "runs" / written.name)


@pytest.fixture
def packed(run, tmp_path):
    path = tmp_path / f"one{bundle.SUFFIX}"
    bundle.write(RunStore.open(run), path)
    return path


def texts(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_run_travels_as_one_file(run, packed, tmp_path):
    there = tmp_path / "there"
    brought = take_in(packed, there)
    assert (brought.run_id, brought.new, brought.damage) == (run.name, True, ())
    before, after = RunStore.open(run), RunStore.open("latest", there)
    assert after.records() == before.records()
    assert after.manifest == before.manifest
    assert [after.samples(r.samples).end_ns.sum() for r in after.records() if r.samples] == [
        before.samples(r.samples).end_ns.sum() for r in before.records() if r.samples
    ]
    assert sorted(file.name for file in there.iterdir()) == [run.name]
    with RunStore.open("latest", there) as writer:  # it can be added to, as by a correction
        writer.started(writer.plan.cells[0].cell, Launch(7))


def test_no_place_of_the_machine_is_in_it_and_nothing_derived(run, packed):
    tag(run, "main")
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        log = archive.read("logs/one.log")
        whole = b"".join(archive.read(name) for name in names)
    assert names[:3] == ["bundle.json", "manifest.json", "records.jsonl"]
    assert {name.partition("/")[0] for name in names[3:]} == {"logs", "samples"}
    assert log == b"loaded net.onnx, 'a b' \xff\n"
    assert b"/home" not in whole
    assert str(run.parent).encode() not in whole


def test_the_same_run_gives_the_same_bytes_also_from_where_it_was_taken_in(run, packed, tmp_path):
    take_in(packed, tmp_path / "there")
    for number, folder in enumerate((run, tmp_path / "there" / run.name)):
        for file in folder.rglob("*"):
            os.utime(file, (number, number))
        again = tmp_path / f"again{number}.zip"
        bundle.write(RunStore.open(folder), again)
        assert again.read_bytes() == packed.read_bytes()


def test_the_same_run_twice_is_fine_and_another_of_its_id_is_refused(run, packed, tmp_path):
    there = tmp_path / "there"
    assert [take_in(packed, there).new, take_in(packed, there).new, take_in(run, there).new] == [True, False, False]
    assert not take_in(packed, run.parent).new  # where it is from
    with RunStore.open("latest", there) as writer:
        writer.started(writer.plan.cells[0].cell, Launch(7))
    before = texts(there)
    for source in (packed, run):
        with pytest.raises(StoreError, match=r"are the same run and differ in records\.jsonl") as caught:
            take_in(source, there)
        assert caught.value.hint
    assert texts(there) == before


def test_folders_of_runs_are_taken_in(run, packed, factory, tmp_path):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("latency",))
    second = factory.write_run(run.parent, (recipe,))
    shutil.copy(packed, run.parent)
    assert sources(run.parent) == (run, second, run.parent / packed.name)
    assert sources(run) == (run,)
    there = tmp_path / "there"
    assert [take_in(source, there).new for source in sources(run.parent)] == [True, True, False]
    assert [found.name for found in runs_in(there)] == [run.name, second.name]
    assert (there / run.name / "logs" / "one.log").read_bytes() == (run / "logs" / "one.log").read_bytes()
    assert not (there / run.name / "resume.json").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "there is no run in"),
        (lambda path: path.write_bytes(b"PK nothing"), "is no bundle of a run"),
        (lambda _: None, "does not exist"),
    ],
)
def test_what_holds_no_run_is_explained(tmp_path, make, words):
    make(tmp_path / "thing")
    with pytest.raises(StoreError, match=words) as caught:
        sources(tmp_path / "thing")
    assert caught.value.hint


def test_a_run_whose_samples_changed_goes_nowhere(run, tmp_path):
    name = next(record.samples.path for record in RunStore.open(run).records() if record.samples)
    (run / name).write_bytes(b"changed")
    for act in (
        lambda: bundle.write(RunStore.open(run), tmp_path / "x.zip"),
        lambda: take_in(run, tmp_path / "there"),
    ):
        with pytest.raises(StoreError, match=name):
            act()
    assert not (tmp_path / "x.zip").exists()
    assert not list((tmp_path / "there").iterdir())


def test_a_damaged_journal_travels_as_it_is_and_says_so(run, tmp_path):
    path = run / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"torch", b"t0rch", 1)
    path.write_bytes(b"".join(lines) + b"torn")
    bundle.write(RunStore.open(run), tmp_path / "x.zip")
    brought = take_in(tmp_path / "x.zip", tmp_path / "there")
    assert brought.damage == RunStore.open(run).damage
    assert len(brought.damage) == 2


def test_a_run_that_is_being_written_is_not_bundled(run, tmp_path):
    with RunStore.open(run) as writer:
        writer.acquire()
        for act in (
            lambda: bundle.write(RunStore.open(run), tmp_path / "x.zip"),
            lambda: take_in(run, tmp_path / "there"),
        ):
            with pytest.raises(StoreError, match=f"run {run.name} is being written"):
                act()
    bundle.write(RunStore.open(run), tmp_path / "x.zip")


def test_a_name_that_is_taken_is_left_alone(run, packed):
    before = packed.read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        bundle.write(RunStore.open(run), packed)
    assert packed.read_bytes() == before


def test_a_bundle_for_no_folder_is_refused(run, tmp_path):
    with pytest.raises(StoreError, match=r"there is no folder .*absent for a\.run\.zip"):
        bundle.write(RunStore.open(run), tmp_path / "absent" / "a.run.zip")


def test_a_link_in_a_run_is_not_followed(run, tmp_path):
    (run / "logs" / "link.log").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match=r"link\.log is no file of a run"):
        bundle.write(RunStore.open(run), tmp_path / "x.zip")


def remade(packed, change):
    """Write a bundle anew after ``change(entries, listing)``; entries: name → [content, ZipInfo]."""
    with zipfile.ZipFile(packed) as archive:
        entries = {info.filename: [archive.read(info), info] for info in archive.infolist()}
    listing = json.loads(entries["bundle.json"][0])
    change(entries, listing)
    entries["bundle.json"][0] = json.dumps(listing).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, (content, info) in entries.items():
            made = zipfile.ZipInfo(name, info.date_time)
            made.external_attr, made.compress_type = info.external_attr, info.compress_type
            archive.writestr(made, content)
    packed.write_bytes(target.getvalue())


def fact(content):
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def add(name, content=b"x", *, listed=True, mode=stat.S_IFREG | 0o644, packing=zipfile.ZIP_DEFLATED):
    def change(entries, listing):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = packing
        entries[name] = [content, info]
        if listed:
            listing["files"][name] = fact(content)

    return change


def alter(name):
    def change(entries, _listing):
        entries[name][0] = b"\n" + entries[name][0][1:]

    return change


def replace_whole(name, content):
    def change(entries, listing):
        entries[name][0] = content
        listing["files"][name] = fact(content)

    return change


def repacked(name):
    def change(entries, _listing):
        entries[name][1].compress_type = zipfile.ZIP_LZMA

    return change


def listed_otherwise(**facts):
    def change(_entries, listing):
        listing.update(facts)

    return change


def resized(_entries, listing):
    listing["files"]["manifest.json"]["bytes"] += 1


def left_out(entries, _listing):
    del entries["records.jsonl"]


def without_listing(entries, _listing):
    entries["logs/first.log"] = entries.pop("bundle.json")
    entries["bundle.json"] = entries["logs/first.log"]


def samples_in(entries):
    return next(name for name in entries if name.startswith("samples/"))


def without_samples(entries, listing):
    name = samples_in(entries)
    del entries[name], listing["files"][name]


def other_samples(entries, listing):
    replace_whole(samples_in(entries), b"other")(entries, listing)


HARM = {
    "out of the folder": (add("../../evil.txt"), "evil.txt"),
    "out by a folder": (add("samples/../../../evil.npz"), "evil.npz"),
    "an absolute path": (add("/tmp/evil.npz"), "evil.npz"),
    "a drive": (add("samples/C:evil.npz"), "evil.npz"),
    "backslashes": (add("samples\\..\\..\\evil.npz"), "evil.npz"),
    "a hidden file": (add("samples/.evil"), "evil"),
    "a deeper folder": (add("samples/more/evil.npz"), "evil.npz"),
    "a folder": (add("samples/evil/"), "evil"),
    "something else": (add("resume.json", b"{}"), "resume.json"),
    "a link": (add("samples/evil.npz", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "evil.npz is a link"),
    "a device": (add("samples/evil.npz", mode=stat.S_IFIFO | 0o644), "evil.npz is a link or a device"),
    "a bomb": (add("logs/bomb.log", bytes(80 << 20)), "would unpack"),
    "packed in another way": (add("samples/x.npz", packing=zipfile.ZIP_LZMA), "x.npz is packed as no bundle is"),
    "a listing packed in another way": (repacked("bundle.json"), "bundle.json is packed as no bundle is"),
    "not listed": (add("samples/more.npz", listed=False), "more.npz, which its list does not name"),
    "changed": (alter("records.jsonl"), r"records.jsonl does not match its SHA-256"),
    "another size": (resized, r"manifest\.json has"),
    "missing": (left_out, r"'records\.jsonl' is missing"),
    "no listing": (without_listing, "is no bundle of a run"),
    "another form": (listed_otherwise(bundle=99), "form 99"),
    "another run": (listed_otherwise(run_id="01ARZ3NDEKTSV4RRFFQ69G5FA0"), r"manifest\.json is of the run"),
    "a run by a path": (listed_otherwise(run_id="../../../../../evil"), "names no run"),
    "no files": (listed_otherwise(files=[]), "AttributeError"),
    "no size": (listed_otherwise(files={"manifest.json": {"bytes": "9", "sha256": "0" * 64}}), "is none"),
    "no hash": (listed_otherwise(files={"manifest.json": {"bytes": 9, "sha256": "../"}}), "is none"),
    "no manifest": (replace_whole("manifest.json", b"{}"), "no schema version"),
    "a record without its samples": (without_samples, "cannot be read: No such file"),
    "samples of another content": (other_samples, "does not match the SHA-256 of its record"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_bundle_that_was_tampered_with_is_refused_by_name_and_leaves_nothing(packed, tmp_path, harm):
    change, words = HARM[harm]
    remade(packed, change)
    there = tmp_path / "a" / "b" / "there"
    with pytest.raises(StoreError, match=words) as caught:
        take_in(packed, there)
    assert caught.value.hint
    assert list(there.iterdir()) == []
    assert not [file for file in tmp_path.rglob("*evil*") if "runs" not in file.parts]


def test_a_bundle_cut_at_any_place_or_with_a_changed_byte_is_refused(run, packed, tmp_path):
    data = packed.read_bytes()
    there = tmp_path / "there"
    for cut in range(0, len(data) - 1, max(1, len(data) // 40)):
        packed.write_bytes(data[:cut])
        with pytest.raises(StoreError):
            take_in(packed, there)
    changed = 0
    for place in range(0, len(data), max(1, len(data) // 150)):
        flipped = bytearray(data)
        flipped[place] ^= 0x41
        packed.write_bytes(flipped)
        try:
            take_in(packed, there)
        except StoreError as error:
            assert str(packed) in error.message  # noqa: PT017 - either ending is right
        else:  # a byte that says nothing, such as a time of the archive: what came out is what went in
            changed += 1
            assert bundle.contents(there / run.name) == bundle.contents(run)
            shutil.rmtree(there)
        assert not there.exists() or list(there.iterdir()) == []
    assert changed < 40


def test_a_bundle_for_which_there_is_no_room_is_refused_before_anything_is_written(packed, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(1, 1, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"needs .* bytes, .* more than are free"):
        take_in(packed, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
