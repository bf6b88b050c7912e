"""Every part of a stored run, tampered with in turn: each is caught, by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from harness.codec import encode
from harness.errors import DataError
from harness.measure.samples import Samples
from harness.telemetry.sensor import Column
from harness.telemetry.table import Table
from harness.vocabulary import Precision, State, Unknowable
from results.journal import format_line, parse_line
from results.published import Published, published
from results.rows import rows
from results.store import RunStore
from results.table import to_json
from results.verification import verify

FP32, INT8 = Precision.FP32, Precision.INT8


def reported(folder):
    """What a report of the run says, as it was handed out."""
    lines = json.loads(to_json(rows(RunStore.open(folder))))
    return Published("report.html", {line["variant_id"]: line for line in lines})


@pytest.fixture(scope="module")
def whole(factory, tmp_path_factory):
    """A run of two rows that nobody touches, and its report."""
    recipes = (
        factory.Recipe("lite0", "openvino", FP32, 14.0, launches=2),
        factory.Recipe("yolo11n", "onnxruntime", INT8, 9.0, 0.45, launches=2, noisy_launches=(1,)),
    )
    folder = factory.write_run(tmp_path_factory.mktemp("whole"), recipes)
    return folder, reported(folder)


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the run to tamper with."""
    return shutil.copytree(whole[0], tmp_path / whole[0].name)


@pytest.fixture
def checked(whole, run):
    """Verify the tampered run and return, by row, what failed: name → detail."""

    def check(said=whole[1], cached=lambda content_hash: (content_hash,), state=State.BAD):
        store = RunStore.open(run)
        found = verify(store, rows(store), said, cached)
        return [{c.name: c.detail for c in each.checks if c.state is state} for each in found]

    return check


def lines_of(run):
    return (run / "records.jsonl").read_bytes().splitlines()


def rewritten(run, change):
    """Change the payloads of the journal and give each line the checksum that it would have."""
    payloads = [parse_line(line)[1] for line in lines_of(run)]
    (run / "records.jsonl").write_bytes(b"".join(map(format_line, change(payloads) or payloads)))


def ends(payloads, scenario, engine="openvino"):
    found = [payload["finished"] for payload in payloads if "finished" in payload]
    return [e for e in found if e["cell"]["scenario"]["name"] == scenario and e["cell"]["engine"] == engine]


def test_what_nobody_touched_is_verified(checked):
    assert checked() == [{}, {}]
    untold = {"boundary": "the outputs were not told"}
    assert checked(state=State.UNAVAILABLE)[0] == untold


def test_a_flipped_byte_of_the_samples(run, checked):
    path = next((run / "samples").glob("*-0-0.npz"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    first, second = checked()
    found = first or second
    assert f"samples/{path.name} of run" in found["files"]
    assert "does not match the SHA-256 of its record" in found["files"]
    assert "names the certificate" in found["report"], "the row was made without that launch"


def test_samples_that_are_gone(run, checked):
    (record,) = ends([parse_line(line)[1] for line in lines_of(run)], "latency")[:1]
    (run / record["samples"]["path"]).unlink()
    assert "cannot be read: No such file" in checked()[0]["files"]


def test_facts_per_image_that_are_gone(run, checked):
    (record,) = ends([parse_line(line)[1] for line in lines_of(run)], "accuracy", "onnxruntime")
    (run / record["accuracy"]["per_image"]["path"]).unlink()
    assert "cannot be read: No such file" in checked()[1]["files"]


@pytest.mark.parametrize(
    ("scenario", "path", "value", "found"),
    [
        ("memory", ("memory", "peak_bytes"), 1, "report: names the certificate"),
        ("latency", ("timing", "steady_ns"), 1, "numbers: says 1 nanoseconds of steady phase"),
        ("latency", ("timing", "steady_iterations"), 7, "numbers: says 7 steady inferences, its samples 120"),
        ("accuracy", ("accuracy", "metrics", "top1"), 0.99, "numbers: says top1 0.99, its facts per image 0.8"),
        ("accuracy", ("accuracy", "images"), 5000, "numbers: says 5000 images"),
        ("latency", ("samples", "rows"), 1, "files: rows"),
        ("latency", ("cell", "precision"), "fp16", "records: describes another cell than its id names"),
        ("latency", ("hw_id",), "another", "records: is of other hardware than the run"),
        ("latency", ("run_id",), "another", "records: is of run another"),
        ("latency", ("versions", "openvino"), "0.1", "records: its launches ran different versions of openvino"),
        ("latency", ("artifact", "content_hash"), "0" * 64, "artifact: 2 different artifacts"),
        ("prove", ("artifact", "content_hash"), "0" * 64, "artifact: not the same for its proof"),
        ("latency", ("artifact",), None, "artifact: names no artifact"),
        ("latency", ("inputs_hash",), "0" * 64, "inputs: 2 different sets of inputs"),
        ("latency", ("inputs_count",), 1, "inputs: 2 different sets of inputs"),
        ("prove", ("execution", "macs_by_precision"), {"fp16": 1.0}, "report: names the certificate"),
        ("prove", ("execution", "macs_by_device"), {"gpu": 1.0}, "report: names the certificate"),
        ("prove", ("execution", "inputs", 0, "shape"), [1, 3, 8, 8], "boundary: read as images float32 1×3×8×8"),
    ],
)
def test_an_edited_record_with_a_checksum_made_for_it(run, checked, scenario, path, value, found):
    def change(payloads):
        target = ends(payloads, scenario)[0]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    rewritten(run, change)
    first, second = checked()
    name, words = found.split(": ", 1)
    assert words in first[name]
    assert "report" in first, "whatever is edited, the published certificate is another one"
    assert second == {}


def test_an_edited_record_without_one_is_damage(run):
    data = (run / "records.jsonl").read_bytes()
    (run / "records.jsonl").write_bytes(data.replace(b'"peak_bytes":2', b'"peak_bytes":1', 1))
    assert "line does not match its checksum and was left out" in RunStore.open(run).damage[0]


def test_two_records_that_changed_places(run, checked):
    data = lines_of(run)
    ended = [at for at, line in enumerate(data) if line[17:].startswith(b'{"finished"')]
    data[ended[0]], data[ended[1]] = data[ended[1]], data[ended[0]]
    (run / "records.jsonl").write_bytes(b"\n".join(data) + b"\n")
    assert "ends a launch that had not begun" in checked()[0]["records"]


def test_two_records_that_changed_their_samples(run, checked):
    def change(payloads):
        one, other = ends(payloads, "latency")
        one["samples"], other["samples"] = other["samples"], one["samples"]

    rewritten(run, change)
    found = checked()[0]
    assert "which is of another launch" in found["files"]
    assert "nanoseconds of steady phase" in found["numbers"]


def test_one_file_of_samples_for_two_launches(run, checked):
    def change(payloads):
        one, other = ends(payloads, "latency")
        one["samples"] = other["samples"]

    rewritten(run, change)
    assert "is named by latency #0 and latency #1" in checked()[0]["files"]


def test_a_launch_counted_twice(run, checked):
    def change(payloads):
        copy = json.loads(json.dumps(ends(payloads, "memory")[0]))
        copy["duration_ns"] += 1
        return [*payloads, {"finished": copy}]

    rewritten(run, change)
    assert "memory #0 has several records" in checked()[0]["records"]


def test_a_launch_taken_out_whole(run, checked):
    def change(payloads):
        gone = ends(payloads, "latency")[0]["launch"]["index"], ends(payloads, "latency")[0]["cell_id"]
        keys = ((payload.get("finished") or payload.get("started")) for payload in payloads)
        return [
            payload
            for payload, body in zip(payloads, keys, strict=True)
            if (body["launch"]["index"], body["cell_id"]) != gone
        ]

    rewritten(run, change)
    assert "names the certificate" in checked()[0]["report"]


def test_samples_made_anew_with_a_record_made_for_them(run, checked, factory):
    """Whoever forges a file, its hash and its record still meets the report that was handed out."""

    def change(payloads):
        record = ends(payloads, "latency")[0]
        path = run / record["samples"]["path"]
        with np.load(path) as archive:
            columns = {name: archive[name] for name in archive.files}
        shorter = Samples(**{**columns, "end_ns": columns["end_ns"] - 1_000_000})
        record["samples"] = encode(factory.save(run, record["samples"]["path"], shorter))
        rows_ = shorter.steady()
        record["timing"]["steady_ns"] = int(rows_.end_ns.max() - rows_.start_ns.min())

    rewritten(run, change)
    found = checked()[0]
    assert set(found) == {"report"}
    assert "names the certificate" in found["report"]
    assert "ms, the samples" in found["report"]


@pytest.mark.parametrize(
    "edited",
    [
        {"latency_ms": 1.0},
        {"latency_ms": None},
        {"latency_ms": "fast"},
        {"certificate_sha256": "0" * 64},
        {"certificate": {}},
        {"throughput_items_per_s": 1e9},
        {"memory_peak_mib": None},
        {"accuracy": 0.99},
        {"engine": "another"},
        {"ranked": None},
        {"findings": None},
    ],
)
def test_a_report_that_says_something_else(whole, checked, edited):
    said = Published("page.html", {key: {**line, **edited} for key, line in whole[1].rows.items()})
    assert all("page.html" in each["report"] for each in checked(said))


def test_a_report_made_before_rows_had_certificates_is_no_difference(whole, checked):
    new = {"certificate", "certificate_sha256", "configuration"}
    lines = {key: {name: line[name] for name in line.keys() - new} for key, line in whole[1].rows.items()}
    assert checked(Published("page.html", lines)) == [{}, {}]
    told = checked(Published("page.html", lines), state=State.UNAVAILABLE)
    assert all(each["report"] == "page.html was made before rows had certificates" for each in told)


def test_a_report_of_another_run_or_none(checked):
    assert all(each["report"] == "page.html has no such row" for each in checked(Published("page.html")))
    assert checked(None, state=State.UNAVAILABLE)[0]["report"] == "no report to compare with"


@pytest.mark.parametrize(("field", "words"), [("launch_medians_ns", "not that of the row"), ("host_to_host", "mean")])
def test_a_row_that_is_not_made_of_its_samples(whole, field, words):
    """The figures are made again on another path: an error in the first one shows."""
    store = RunStore.open(whole[0])
    row = rows(store)[0]
    value = getattr(row.latency, field)
    wrong = tuple(1.001 * ns for ns in value) if field == "launch_medians_ns" else replace(value, estimate=1.0)
    (found,) = verify(store, [replace(row, latency=replace(row.latency, **{field: wrong}))], None, lambda _hash: ())
    assert [check.name for check in found.failed] == ["numbers"]
    assert words in found.failed[0].detail


def test_an_artifact_edited_in_the_cache_or_gone_from_it(checked):
    changed = checked(cached=lambda _hash: ("f" * 64,))[0]
    assert changed == {"cache": "the openvino-ir fp32 in the cache has been changed since"}
    assert checked(cached=lambda _hash: ()) == [{}, {}]
    untold = checked(cached=lambda _hash: (), state=State.UNAVAILABLE)
    assert untold[0]["cache"] == "gone from the cache"
    assert untold[1]["cache"] == "the source itself was loaded, which no cache keeps"


def test_several_builds_are_no_difference_where_the_suite_asks_for_them(run, checked):
    def change(payloads):
        for payload in payloads:
            record = payload.get("finished")
            if record:
                record["artifact"]["content_hash"] = f"{record['launch']['index'] % 2}" * 64

    rewritten(run, change)
    assert "2 different artifacts" in checked()[0]["artifact"]
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["suite"]["builds"] = 2
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "artifact" not in checked()[0]
    rewritten(run, lambda payloads: ends(payloads, "prove")[0]["artifact"].update(content_hash="f" * 64))
    assert "of build 1: not the same for its proof" in checked()[0]["artifact"]


def test_what_a_runtime_does_not_tell_is_no_failure(run, checked):
    untold = encode(Unknowable("it does not say"))
    rewritten(run, lambda payloads: ends(payloads, "prove")[0]["execution"].update(macs_by_device=untold))
    assert checked(None)[0] == {}
    assert "the device is not told: it does not say" in checked(state=State.UNAVAILABLE)[0]["executed"]


def test_a_row_without_a_proof_is_not_told(run, checked):
    def change(payloads):
        ends(payloads, "prove")[0]["execution"] = None

    rewritten(run, change)
    assert checked(None)[0] == {}
    untold = checked(state=State.UNAVAILABLE)[0]
    assert untold["executed"] == "no proof: what executed is not known"
    assert untold["boundary"] == "no proof: nothing was read back"


def test_other_threads_than_were_asked(factory, tmp_path):
    recipe = replace(factory.RECIPES[0], threads=1, scenarios=("prove",))
    store = RunStore.open(factory.write_run(tmp_path, (recipe,)))
    (found,) = verify(store, rows(store), None, lambda _hash: ())
    assert not [check for check in found.failed if check.name == "executed"]
    said = {check.name: check.detail for check in found.checks if check.state is State.UNAVAILABLE}
    assert said["executed"] == "not as asked: ran with 2 threads, 1 were asked"


def test_rows_are_read_back_from_every_form_of_a_report(tmp_path, whole):
    lines = list(whole[1].rows.values())
    forms = {
        "page.html": f'<script type="application/json" id="rows">{json.dumps(lines)}</script>',
        "rows.json": json.dumps(lines),
        "said.json": json.dumps({"rows": lines, "run_id": "x"}),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        assert published(tmp_path / name) == Published(name, whole[1].rows)


@pytest.mark.parametrize(
    "text", ["", "<html></html>", "[1]", "{}", '{"rows": {}}', "\x00", "[{}]", '[{"variant_id": NaN}]']
)
def test_what_is_no_report_is_refused(tmp_path, text):
    (tmp_path / "page.html").write_text(text)
    with pytest.raises(DataError, match="no rows of a report"):
        published(tmp_path / "page.html")
    with pytest.raises(DataError, match="cannot be read"):
        published(tmp_path / "gone.html")


@pytest.mark.parametrize(("rows_said", "caught"), [(3, False), (4, True)])
def test_the_rows_of_the_sensors_are_counted(run, checked, rows_said, caught):
    said = {}

    def sampled(payloads):
        (record, *_) = ends(payloads, "latency")
        rows = Table((Column("c", "rapl", "energy", "package", "uJ"),), np.arange(3), np.ones((3, 1)))
        said["path"] = record["samples"]["path"].replace("samples/", "telemetry/")
        (run / "telemetry").mkdir()
        sha256 = rows.save(run / said["path"])
        record["telemetry"] = {"path": said["path"], "sha256": sha256, "rows": rows_said}

    rewritten(run, sampled)
    detail = checked()[0].get("files", "")
    assert (detail == f"{said['path']} holds 3 rows, its record says 4") == caught
    assert bool(detail) == caught


@pytest.mark.parametrize("form", ["{}", '{{"rows": {}}}', '<script type="application/json" id="rows">{}</script>'])
def test_a_report_with_two_rows_of_one_id_is_refused(tmp_path, whole, form):
    first, *others = whole[1].rows.values()
    lines = [first, *others, {**first, "latency_ms": 1.0}]
    (tmp_path / "page.html").write_text(form.format(json.dumps(lines)))
    with pytest.raises(DataError, match=rf"page\.html has several rows with the id {first['variant_id']}") as caught:
        published(tmp_path / "page.html")
    assert "make it anew" in caught.value.hint
