"""Snapshots as files: exact, small in a diff, and refused by place where they are not what they should be."""

import difflib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.codec import encode
from harness.errors import StoreError
from results import snapshot_files
from results.snapshot import COMPLETED, FAILED, SNAPSHOT_SCHEMA, CellState, Reading, Snapshot
from results.snapshot_files import from_json, read, to_json, write


def head(*cells, **changes):
    fields = {
        "run_id": "01RUN",
        "created_at": "2026-12-01T00:00:00.000+00:00",
        "suite": "ci",
        "preset": "default",
        "hw_id": "hw",
        "env_id": "env",
        "harness_version": "0.1.0",
        "hardware": {"cpu": {"name": "EPYC"}},
        "environment": {"versions": {"torch": "2.13"}, "affinity": [0, 1]},
        **changes,
    }
    return Snapshot(**fields, cells=tuple(cells))


def cell(number=0, **changes):
    fields = {
        "cell_id": f"{number:064x}",
        "key": f"{number:064x}",
        "label": f"toy/fake/fp32/cpu/b{number}/latency",
        "workload": "toy",
        "engine": "fake",
        "precision": "fp32",
        "device": "cpu",
        "scenario": "latency",
        "status": COMPLETED,
        "readings": (Reading("latency", (3.25e6, 3.1e6), (0, 1), (1,)), Reading("p99", (4e6,), low=3.9e6, high=5e6)),
        "planned": 2,
    }
    return CellState(**{**fields, **changes})


words = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
facts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def readings(draw):
    values = draw(st.lists(numbers.filter(lambda value: abs(value) < 1e300), min_size=1, max_size=5))
    launches = draw(st.just(()) | st.permutations(range(len(values))).map(tuple))
    noisy = draw(st.lists(st.sampled_from(launches), unique=True)) if launches else []
    name = draw(st.sampled_from(["latency", "throughput", "memory", "accuracy", "p99", "p99.9", "misses"]))
    bounds = st.none() | numbers
    return Reading(name, tuple(values), launches, tuple(noisy), draw(bounds), draw(bounds), draw(words))


@st.composite
def cells(draw, number):
    return CellState(
        f"{number}{draw(words)}",
        *draw(st.tuples(*[words] * 7)),
        draw(st.sampled_from(["completed", "failed", "skipped", "not run"])),
        draw(words),
        tuple(draw(st.lists(readings(), max_size=3))),
        tuple(draw(st.lists(words, max_size=2))),
        draw(st.integers(0, 20)),
    )


@st.composite
def runs(draw):
    count = draw(st.integers(0, 3))
    mapping = st.dictionaries(words, facts, max_size=3)
    return replace(
        head(*(draw(cells(f"{number}-")) for number in range(count))),
        hardware=draw(mapping),
        environment=draw(mapping),
        tags=tuple(draw(st.lists(words, max_size=2))),
        notes=tuple(draw(st.lists(words, max_size=2))),
        drift=draw(words),
        derived_from=draw(words),
    )


@given(runs())
def test_what_is_written_is_read(run):
    assert from_json(to_json(run)) == run
    assert to_json(from_json(to_json(run))) == to_json(run)


@given(runs())
def test_the_fast_way_reads_what_the_codec_reads(run):
    def odd(data):
        raise snapshot_files._Odd

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshot_files, "_plain_cell", odd)
        by_codec = from_json(to_json(run))
    assert by_codec == from_json(to_json(run))


def test_what_the_codec_makes_of_a_snapshot_is_read_too():
    run = head(cell(0), cell(1, status=FAILED, why="crash", readings=()))
    assert from_json(json.dumps(encode(run))) == run


def test_launches_that_failed_are_kept():
    some = head(cell(0, failed=3), cell(1))
    assert from_json(to_json(some)) == some


def test_floats_are_exact(tmp_path):
    value = 0.1 + 0.2
    write(tmp_path / "s.json", head(cell(readings=(Reading("latency", (value, 5e-324, 1e308), (0, 1, 2)),))))
    assert read(tmp_path / "s.json").cells[0].readings[0].values == (0.30000000000000004, 5e-324, 1e308)


def test_a_cell_is_a_line_so_that_a_diff_is_small():
    before = head(*(cell(number) for number in range(50)))
    slower = cell(7, readings=(Reading("latency", (4e6, 4.1e6), (0, 1)),))
    after = head(*(slower if number == 7 else cell(number) for number in range(50)))
    changed = [
        line
        for line in difflib.unified_diff(to_json(before).splitlines(), to_json(after).splitlines(), n=0, lineterm="")
        if line[0] in "+-" and line[:3] not in {"+++", "---"}
    ]
    assert len(changed) == 2
    assert all("toy/fake/fp32/cpu/b7/latency" in line for line in changed)
    assert to_json(before).splitlines()[1] == f'"schema": {SNAPSHOT_SCHEMA},'


def broken(change):
    """Return the text of a run after something was done to its data."""
    data = json.loads(to_json(head(cell(0), cell(1))))
    change(data)
    return json.dumps(data)


def put(*place, value):
    *around, last = place

    def change(data):
        for key in around:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (
            put("cells", 1, "readings", 0, "values", 1, value="3"),
            r"\$\.cells\[1\]\.readings\[0\]\.values\[1\]: expected float",
        ),
        (put("cells", 1, "readings", 0, "values", 0, value=True), r"\$\.cells\[1\]\.readings\[0\]\.values\[0\]"),
        (put("cells", 1, "readings", 0, "values", value={}), r"\$\.cells\[1\]\.readings\[0\]\.values"),
        (put("cells", 1, "readings", 0, "values", value=[]), r"\$\.cells\[1\]\.readings\[0\]\.values: there is none"),
        (put("cells", 1, "readings", 0, "launches", value=""), r"\$\.cells\[1\]\.readings\[0\]\.launches"),
        (put("cells", 1, "readings", 0, "launches", value=[0]), r"readings\[0\]\.launches: there are 1 of 2 values"),
        (put("cells", 1, "readings", 0, "launches", value=[0, 0]), r"readings\[0\]\.launches: one is there twice"),
        (put("cells", 1, "readings", 0, "launches", value=[0, 1.5]), r"\$\.cells\[1\]\.readings\[0\]\.launches\[1\]"),
        (put("cells", 1, "readings", 0, "noisy", value=[5]), r"readings\[0\]\.noisy: one is none of the launches"),
        (put("cells", 1, "readings", 1, "low", value="1"), r"\$\.cells\[1\]\.readings\[1\]\.low"),
        (put("cells", 1, "readings", 0, "quantity", value="speed"), r"readings\[0\]\.quantity: 'speed' is none"),
        (put("cells", 1, "readings", 0, "colour", value="red"), r"\$\.cells\[1\]\.readings\[0\]: Reading has no field"),
        (put("cells", 1, "readings", value=None), r"\$\.cells\[1\]\.readings"),
        (put("cells", 1, "readings", 0, value=None), r"\$\.cells\[1\]\.readings\[0\]"),
        (put("cells", 1, "status", value="fine"), r"\$\.cells\[1\]\.status: 'fine' is none of"),
        (put("cells", 1, "label", value=5), r"\$\.cells\[1\]\.label"),
        (put("cells", 1, "planned", value="5"), r"\$\.cells\[1\]\.planned"),
        (put("cells", 1, "findings", value="noisy"), r"\$\.cells\[1\]\.findings"),
        (put("cells", 1, value=[]), r"\$\.cells\[1\]: expected CellState"),
        (put("cells", 1, "cell_id", value=f"{0:064x}"), r"two of them have one cell_id"),
        (put("cells", value={}), r"\$: it has no list of cells"),
        (put("hardware", value=[]), r"\$\.hardware"),
        (put("hw_id", value=None), r"\$\.hw_id"),
        (put("extra", value=1), r"\$: Snapshot has no field 'extra'"),
        (put("schema", value=SNAPSHOT_SCHEMA + 1), r"\$\.schema: \d+ is of a newer harness"),
        (put("schema", value="1"), r"\$\.schema: it has no version"),
        (put("schema", value=True), r"\$\.schema: it has no version"),
        (lambda data: data.pop("run_id"), r"\$: Snapshot lacks 'run_id'"),
        (lambda data: data["cells"][1].pop("status"), r"\$\.cells\[1\]: CellState lacks 'status'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_place(change, place, tmp_path):
    path = tmp_path / "base.json"
    path.write_text(broken(change))
    with pytest.raises(StoreError, match=place) as caught:
        read(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_numbers_beyond_bounds_are_refused(number):
    with pytest.raises(StoreError):
        from_json(to_json(head(cell())).replace("3250000.0", number))


def test_any_cut_is_noticed(tmp_path):
    text = to_json(head(cell(0), cell(1)))
    path = tmp_path / "base.json"
    for length in range(0, len(text) - 1, 7):
        path.write_text(text[:length])
        with pytest.raises(StoreError, match=str(path)):
            read(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[" * 100_000, b"null", b'"text"', b"3"])
def test_what_is_no_snapshot_at_all_is_refused(data, tmp_path):
    path = tmp_path / "base.json"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=str(path)):
        read(path)


def test_a_file_that_is_not_there_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        read(tmp_path / "no.json")
    with pytest.raises(StoreError, match=r"file stands|does not exist"):
        write(tmp_path / "no" / "base.json", head())


def test_what_has_no_json_form_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "base.json"
    for run in (head(hardware={"x": float("nan")}), head(cell(label="\udc80")), head(environment={"x": object()})):
        with pytest.raises(StoreError, match="without JSON form"):
            write(path, run)
        assert not path.exists()


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "data" / "snapshots").iterdir()), ids=lambda p: p.stem)
def test_a_snapshot_of_every_schema_is_read_for_ever(path):
    """One stored file per version, never deleted: baselines live in other people's repositories."""
    run = read(path)
    assert [cell.status for cell in run.cells] == [COMPLETED] * 4 + [FAILED, "skipped", "not run"]
    assert [cell.reading("latency") is not None for cell in run.cells] == [True] + [False] * 6
    assert run.cells[0].reading("latency") == Reading("latency", (3.25e6, 3.1e6), (0, 1), (1,))
    assert run.cells[2].reading("accuracy").name == "top1"
    assert run.cells[3].reading("misses").high == 0.003
    assert (run.tags, run.notes) == (("release",), ("1 noisy launch left out",))
    if path.stem == f"schema-{SNAPSHOT_SCHEMA}":
        assert to_json(run) == path.read_text(encoding="utf-8")


def test_there_is_a_stored_snapshot_of_every_schema():
    kept = {path.stem for path in (Path(__file__).parent / "data" / "snapshots").iterdir()}
    assert kept == {f"schema-{version}" for version in range(1, SNAPSHOT_SCHEMA + 1)}
