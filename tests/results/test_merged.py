"""Runs put together: of one machine and of many, in whatever order they are given."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.vocabulary import Completed, Failed, Skipped, Stage
from results.comparison import Verdict
from results.merged import NEVER_PAIRED, merged, own_launch
from results.row import Interval
from results.sources import NO_CELLS, NO_PLAN, UNNAMED, Source, labels, load, machine_label, shortest
from results.statistics import welch_log_ratio
from results.store import RunStore

HARDWARE = {"cpu": {"name": "AMD EPYC 7B13"}, "topology": {"cores": 2}}


def source(rows, run="01A", machine="AMD EPYC 7B13, 2 cores", hw_id="aaaaaaaaaaaa", **changes):
    """Return a run by hand; ``run`` orders it in time."""
    manifest = {"run_id": run, "host": {"environment": {"kernel": "6.1", "versions": {"onnxruntime": "1.30"}}}}
    made = Source(
        run_id=run,
        created_at=f"2026-01-{ord(run[-1]) - 54:02d}T00:00:00+00:00",
        suite="synthetic",
        hw_id=hw_id,
        env_id="e",
        machine=machine,
        manifest=manifest,
        rows=tuple(rows),
        records=9,
        folder=Path(run),
    )
    return dataclasses.replace(made, **changes)


def slower(row, factor):
    """Return a row whose launches all took ``factor`` times as long."""
    found = row.latency
    if found is None:
        return row
    whole = found.host_to_host
    interval = Interval(
        whole.estimate * factor, whole.low and whole.low * factor, whole.high and whole.high * factor, whole.launches
    )
    medians = tuple(median * factor for median in found.launch_medians_ns)
    return dataclasses.replace(
        row, latency=dataclasses.replace(found, host_to_host=interval, launch_medians_ns=medians)
    )


def failed(row):
    """Return a row of which nothing completed."""
    lost = Failed(Stage.LOAD, "crash", "it crashed", "")
    return dataclasses.replace(row, latency=None, accuracy=None, outcomes=dict.fromkeys(row.outcomes, lost))


@pytest.fixture
def rows(synthetic_rows):
    """The rows of one workload."""
    return tuple(row for row in synthetic_rows if row.cell.workload == "lite0")


def measured(rows):
    return next(row for row in rows if row.latency and row.ranked)


# --- one run -----------------------------------------------------------------------------------------------------


def test_a_single_run_stays_as_it_is(synthetic_rows):
    alone = merged([source(synthetic_rows)])
    assert alone.rows == synthetic_rows
    assert all(row.machine == row.run_id == "" for row in alone.rows)
    assert (alone.earlier, alone.notes) == ((), ())
    assert alone.source(alone.rows[0]).run_id == "01A"


def test_no_source_at_all_is_no_page():
    assert merged([]).rows == ()


# --- runs of one machine -----------------------------------------------------------------------------------------


def test_of_a_row_that_two_runs_measured_the_newest_stands(rows):
    found = merged([source(rows, "01A"), source([slower(row, 1.5) for row in rows], "01B")])
    assert {row.run_id for row in found.rows} == {"01B"}
    assert [row.variant_id for row in found.rows] == [row.variant_id for row in rows], "one machine: ids as they were"
    assert {row.machine for row in found.rows} == {""}
    one = measured(rows)
    earlier = next(each for each in found.earlier if each.variant_id == one.variant_id)
    assert (earlier.run_id, earlier.stands_run_id, earlier.newer, earlier.state) == ("01A", "01B", False, "completed")
    assert earlier.latency == one.latency.host_to_host
    assert earlier.ratio.estimate == pytest.approx(1.5)
    assert earlier.verdict is Verdict.REGRESSED


def test_runs_are_never_paired(rows):
    """Their launches have indices of their own, and the ratio is Welch's, though equal rounds would pair."""
    one = measured(rows)
    again = slower(one, 1.0)
    medians = [median * (1.1 if place % 2 else 0.9) for place, median in enumerate(one.latency.launch_medians_ns)]
    again = dataclasses.replace(again, latency=dataclasses.replace(again.latency, launch_medians_ns=tuple(medians)))
    found = merged([source([one], "01A"), source([again], "01B")])
    assert not set(found.rows[0].latency.launch_indices) & set(one.latency.launch_indices)
    told = welch_log_ratio(list(one.latency.launch_medians_ns), medians)
    assert found.earlier[0].ratio.low == pytest.approx(told.low)
    assert found.earlier[0].ratio.high == pytest.approx(told.high)


def test_a_launch_keeps_the_index_of_its_own_run_for_a_reader(rows):
    one = measured(rows)
    found = merged([source(rows, "01A"), source([one], "01B")])
    stands = next(row for row in found.rows if row.run_id == "01B")
    assert stands.latency.launch_indices != one.latency.launch_indices
    assert tuple(map(own_launch, stands.latency.launch_indices)) == one.latency.launch_indices


def test_launches_without_indices_get_some(rows):
    one = measured(rows)
    bare = dataclasses.replace(one, latency=dataclasses.replace(one.latency, launch_indices=()))
    other = dataclasses.replace(bare, variant_id="another")
    found = merged([source([bare], "01A"), source([other], "01B")])
    first, second = (set(row.latency.launch_indices) for row in found.rows)
    assert len(first) == len(one.latency.launch_medians_ns)
    assert not first & second


def test_a_newer_run_that_completed_nothing_does_not_take_the_place(rows):
    one = measured(rows)
    found = merged([source([one], "01A"), source([failed(one)], "01B")])
    assert found.rows[0].run_id == "01A"
    assert found.rows[0].latency is not None
    told = found.earlier[0]
    assert (told.run_id, told.newer, told.state, told.ratio) == ("01B", True, "failed", None)


def test_a_newer_run_that_ended_after_its_proof_does_not_take_the_place(rows):
    one = measured(rows)
    proof = dataclasses.replace(failed(one), outcomes={**failed(one).outcomes, "prove": Completed()})
    found = merged([source([one], "01A"), source([proof], "01B")])
    assert found.rows[0].run_id == "01A"
    assert (found.earlier[0].newer, found.earlier[0].state) == (True, "completed")
    assert merged([source([failed(one)], "01A"), source([proof], "01B")]).rows[0].run_id == "01B"


def test_where_none_completed_the_newest_says_why(rows):
    skipped = dataclasses.replace(failed(rows[0]), outcomes={"latency": Skipped("no such device", "")})
    found = merged([source([failed(rows[0])], "01A"), source([skipped], "01B")])
    assert found.rows[0].run_id == "01B"
    assert [told.state for told in found.earlier] == ["failed"]


def test_what_differs_around_two_runs_is_told(rows):
    newer = source(rows, "01B")
    newer = dataclasses.replace(
        newer, manifest={"host": {"environment": {"kernel": "6.1", "versions": {"onnxruntime": "1.31"}}}}
    )
    found = merged([source(rows, "01A"), newer])
    assert [(each.place, each.before, each.after) for each in found.earlier[0].differences] == [
        ("versions.onnxruntime", "1.30", "1.31")
    ]


def test_rows_of_several_runs_say_that_they_are_not_paired(rows):
    half = len(rows) // 2
    assert NEVER_PAIRED in merged([source(rows[:half], "01A"), source(rows[half:], "01B")]).notes
    assert NEVER_PAIRED not in merged([source(rows, "01A"), source(rows, "01B")]).notes, "one run stands"


# --- machines ----------------------------------------------------------------------------------------------------


def test_machines_compete(rows):
    one = measured(rows)
    quick = source([one], "01A")
    slow = source([slower(one, 3.0)], "01B", "Intel Xeon, 8 cores", "bbbbbbbbbbbb")
    found = merged([quick, slow])
    assert [row.machine for row in found.rows] == ["AMD EPYC 7B13, 2 cores", "Intel Xeon, 8 cores"]
    assert [row.variant_id for row in found.rows] == [f"{one.variant_id}-aaaaaa", f"{one.variant_id}-bbbbbb"]
    assert found.earlier == (), "what another machine measured is no earlier run"
    (standing,) = found.standings
    assert standing.best == (f"{one.variant_id}-aaaaaa",), "told apart without a round in common"
    assert standing.rest == (f"{one.variant_id}-bbbbbb",)
    assert standing.ratio_to_best[standing.rest[0]].estimate == pytest.approx(3.0)
    assert found.machines == ("AMD EPYC 7B13, 2 cores", "Intel Xeon, 8 cores")
    assert found.source(found.rows[1]) is slow


def test_ids_of_machines_that_begin_alike_are_longer(rows):
    one = measured(rows)
    found = merged([source([one], "01A", hw_id="aaaaaaa1"), source([one], "01B", "other", "aaaaaaa2")])
    assert [row.variant_id[-8:] for row in found.rows] == ["aaaaaaa1", "aaaaaaa2"]


def test_accuracy_is_compared_within_its_own_run(rows):
    quantised = [row for row in rows if row.accuracy and row.accuracy.change]
    found = merged([source(rows, "01A"), source(rows, "01B", "Intel Xeon, 8 cores", "bbbbbbbbbbbb")])
    told = [row.accuracy for row in found.rows if row.accuracy and row.accuracy.change]
    assert len(told) == 2 * len(quantised) > 0
    assert {result.change for result in told} == {row.accuracy.change for row in quantised}


def test_an_accuracy_against_a_row_that_no_longer_stands_is_said(rows):
    changed = next(row for row in rows if row.accuracy and row.accuracy.change)
    newer = [row for row in rows if row.label == changed.accuracy.change.reference]
    said = "compared with an FP32 row of the same run"
    assert any(said in note for note in merged([source(rows, "01A"), source(newer, "01B")]).notes)
    assert not any(said in note for note in merged([source(rows, "01A"), source(rows, "01B")]).notes)
    apart = merged([source(rows, "01A"), source(newer, "01B", "Intel Xeon, 8 cores", "bbbbbbbbbbbb")])
    assert not any(said in note for note in apart.notes), "each machine has its own"


def test_runs_that_do_not_say_their_machine_are_of_machines_of_their_own(rows):
    found = merged([source(rows, "01A", UNNAMED, ""), source(rows, "01B", f"{UNNAMED} #?01B", "")])
    assert len(found.rows) == 2 * len(rows)
    assert len({row.variant_id for row in found.rows}) == len(found.rows)


# --- workloads ---------------------------------------------------------------------------------------------------


def other_model(row):
    cell = dataclasses.replace(row.cell, source_hash="f" * 64)
    return dataclasses.replace(row, cell=cell, variant_id=cell.variant_id)


def test_another_model_of_the_same_name_is_another_workload(rows):
    found = merged([source(rows, "01A"), source(map(other_model, rows), "01B")])
    names = [standing.workload for standing in found.standings]
    model = rows[0].cell.source_hash[:6]
    assert set(names) == {f"lite0 (model {model})", "lite0 (model ffffff)"}, "with what completed nowhere"
    ranked = {standing.workload: set(standing.best) for standing in found.standings}
    assert not ranked[f"lite0 (model {model})"] & ranked["lite0 (model ffffff)"]
    (note,) = [note for note in found.notes if "lite0" in note]
    assert "its model differs" in note
    assert "in run 01A" in note
    assert "in run 01B" in note


def test_what_differs_is_in_the_name(rows):
    one = measured(rows)
    cell = dataclasses.replace(one.cell, shape=(3, 320, 320))
    other = dataclasses.replace(one, cell=cell, variant_id=cell.variant_id)
    found = merged([source([one], "01A"), source([other], "01B")])
    assert [standing.workload for standing in found.standings] == ["lite0 (3×224×224)", "lite0 (3×320×320)"]


def test_a_model_that_could_not_be_read_is_no_other_model(rows):
    one = measured(rows)
    found = merged([source([one], "01A"), source([other_model(failed(one))], "01B")])
    assert [standing.workload for standing in found.standings] == ["lite0"]
    assert not [note for note in found.notes if "lite0" in note]


def test_accuracy_on_other_images_is_said_and_not_compared(rows):
    one = next(row for row in rows if row.latency and row.accuracy and row.ranked)
    cell = dataclasses.replace(one.cell, evaluation_hash="0" * 64)
    better = dataclasses.replace(one.accuracy, metrics={one.accuracy.primary: 1.0})
    other = dataclasses.replace(slower(one, 2.0), cell=cell, variant_id=cell.variant_id, accuracy=better)
    found = merged([source([one], "01A"), source([other], "01B")])
    assert found.standings[0].frontier == (one.variant_id,)
    assert any("2 sets of images" in note for note in found.notes)


# --- from disk ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(factory, tmp_path_factory):
    """The folders of two runs of three rows, on two machines that have one label."""
    root = tmp_path_factory.mktemp("two")
    folders = [factory.write_run(root, factory.RECIPES[:3]) for _ in range(2)]
    for folder, hw_id in zip(folders, ("abcd0000", "abce0000"), strict=True):
        told(folder, host={"hw_id": hw_id, "env_id": "e", "hardware": HARDWARE})
    return folders


def told(folder, **changes):
    """Change what the manifest of a run says; ``None`` takes a key out."""
    file = folder / "manifest.json"
    manifest = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    return folder


@pytest.fixture
def copied(two_runs, tmp_path):
    """Those folders, to be written to."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in two_runs]


def test_the_order_of_arguments_does_not_matter(two_runs):
    assert load(two_runs) == load(two_runs[::-1])
    assert merged(load(two_runs)) == merged(load(two_runs[::-1]))


def test_a_run_given_twice_counts_once(two_runs):
    first = two_runs[0]
    assert len(load([first, first, Path(first.parent, ".", first.name)])) == 1


def test_machines_of_one_label_are_told_apart_by_their_ids(two_runs):
    assert [source.machine for source in load(two_runs)] == [
        "AMD EPYC 7B13, 2 cores #abcd",
        "AMD EPYC 7B13, 2 cores #abce",
    ]
    assert load(two_runs[:1])[0].machine == "AMD EPYC 7B13, 2 cores"


def test_a_source_holds_what_its_page_says(two_runs):
    one = load(two_runs)[0]
    store = RunStore.open(one.folder)
    assert (one.run_id, one.suite, one.hw_id, one.trouble) == (store.run_id, "synthetic", "abcd0000", "")
    assert (one.records, len(one.rows)) == (len(store.records()), 3)
    assert set(one.logs) == {record.cell_id for record in store.records()}
    assert len(one.splits) == 3


def test_a_run_without_a_plan_is_kept_and_said(copied):
    told(copied[0], plan=None)
    found = {source.run_id: source for source in load(copied)}[copied[0].name]
    assert (found.rows, found.trouble) == ((), NO_PLAN)
    assert len(merged(load(copied)).rows) == 3


def test_a_run_without_cells_is_kept_and_said(tmp_path, copied):
    plan = {"suite": "bare", "preset": "quick", "seed": 1, "cells": [], "order": []}
    with RunStore.create(tmp_path / "bare", {"plan": plan}) as store:
        bare = store.folder
    found = {source.run_id: source for source in load([*copied, bare])}[bare.name]
    assert (found.rows, found.trouble, found.suite, found.machine) == ((), NO_CELLS, "bare", UNNAMED)
    assert len(merged(load([*copied, bare])).rows) == 6


@pytest.mark.parametrize("gone", ["host", "engines", "overhead", "suite", "created_at", "harness_version", "command"])
def test_keys_that_a_manifest_lacks_are_no_error(copied, gone):
    told(copied[0], **{gone: None})
    assert len(merged(load(copied)).rows) == 6


def test_a_run_that_a_newer_harness_wrote_is_an_error(copied):
    told(copied[0], schema=99)
    with pytest.raises(StoreError, match="newer harness"):
        load(copied)


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="no run"):
        load([tmp_path])


def test_of_two_copies_the_one_that_came_further_counts(two_runs, tmp_path):
    whole = two_runs[0]
    part = Path(shutil.copytree(whole, tmp_path / "part"))
    lines = (part / "records.jsonl").read_text().splitlines(keepends=True)
    (part / "records.jsonl").write_text("".join(lines[:4]))
    for order in ([whole, part], [part, whole]):
        (one,) = load(order)
        assert one.folder == whole


def test_two_runs_of_one_id_are_an_error(copied):
    told(copied[1], run_id=copied[0].name)
    with pytest.raises(StoreError, match="two different runs have the id"):
        load(copied)


# --- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hardware", "label"),
    [
        ({}, UNNAMED),
        ({"cpu": "unavailable: no /proc/cpuinfo", "architecture": "x86_64"}, "x86_64"),
        (
            {"cpu": {"name": "Intel(R) Xeon(R) CPU @ 2.20GHz"}, "topology": {"cores": 8}},
            "Intel Xeon @ 2.20GHz, 8 cores",
        ),
        ({"cpu": {"name": "AMD EPYC 7B13 64-Core Processor"}, "topology": {"cores": 1}}, "AMD EPYC 7B13, 1 core"),
        ({**HARDWARE, "accelerators": [{"name": "NVIDIA L4"}]}, "AMD EPYC 7B13, 2 cores, NVIDIA L4"),
        ({**HARDWARE, "accelerators": [{"name": "NVIDIA L4"}] * 4}, "AMD EPYC 7B13, 2 cores, 4 × NVIDIA L4"),
        ({**HARDWARE, "accelerators": "unavailable: NVML"}, "AMD EPYC 7B13, 2 cores"),
        ({"board": "NVIDIA Jetson Orin Nano", "cpu": {"name": "ARMv8"}}, "NVIDIA Jetson Orin Nano"),
        ({"cpu": {"name": "a\u202eb"}, "topology": {"cores": True}, "accelerators": [7, {}]}, "a‹U+202E›b"),
        ({"cpu": {"name": ["x"]}, "topology": "none", "board": 3}, UNNAMED),
    ],
)
def test_a_machine_in_a_few_words(hardware, label):
    assert machine_label(hardware) == label


@pytest.mark.parametrize(("told", "words"), [(24, ", 24 GiB"), ("unavailable: no /proc/meminfo", ""), (True, "")])
def test_a_machine_with_its_memory(told, words):
    hardware = {**HARDWARE, "memory_gib": told, "accelerators": [{"name": "NVIDIA L4"}]}
    assert machine_label(hardware, memory=True) == f"AMD EPYC 7B13, 2 cores{words}, NVIDIA L4"


@given(st.dictionaries(st.text(min_size=1), st.sampled_from(["a", "b", "a #x"])))
def test_labels_are_unique_unless_made_to_clash(machines):
    found = labels(machines)
    if "a #x" not in machines.values():
        assert len(set(found.values())) == len(machines)


@given(st.sets(st.text(), min_size=1))
def test_the_shortest_beginnings_tell_keys_apart(keys):
    found = shortest(sorted(keys), least=3)
    assert len(set(found.values())) == len(keys)
    assert all(key.startswith(head) for key, head in found.items())


def test_nothing_is_infinite_where_a_clock_saw_no_time_pass(rows):
    one = measured(rows)
    instant = dataclasses.replace(one.latency, launch_medians_ns=(0.0,) * len(one.latency.launch_medians_ns))
    zero = dataclasses.replace(one, latency=instant, outcomes={"latency": Completed()})
    found = merged([source([zero], "01A"), source([one], "01B")])
    assert math.isfinite(found.earlier[0].ratio.estimate)
