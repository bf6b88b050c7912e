"""pytest-benchmark's JSON: its statistics are its own class's, and its own commands read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.formats.benchmark_statistics import stored
from results.formats.pytest_benchmark import PytestBenchmark

stats = pytest.importorskip("pytest_benchmark.stats")

SECONDS = st.lists(st.floats(1e-9, 1e4), min_size=1, max_size=40)


@given(SECONDS)
def test_the_statistics_are_those_of_its_class(data):
    theirs = stats.Stats()
    for value in data:
        theirs.update(value)
    ours = stored(data)
    assert {name: ours[name] for name in stats.Stats.fields} == theirs.as_dict()
    assert ours["data"] == data


def _benchmarks(text):
    return {bench["fullname"]: bench for bench in json.loads(text)["benchmarks"]}


def test_a_round_is_a_launch_in_seconds(run):
    found = _benchmarks(PytestBenchmark().of_run(run))
    latency = found["yolo11n/onnxruntime/int8/cpu/b1/fast: latency"]
    assert latency["stats"]["data"] == pytest.approx([3.20e-3, 3.21e-3, 3.24e-3, 3.19e-3, 3.22e-3])
    assert latency["stats"]["rounds"] == 5
    assert latency["group"] == "median latency"
    assert latency["extra_info"]["unit"] == "ns"
    assert latency["extra_info"]["p99"] == {"value": 4.1e6, "unit": "ns"}
    low, high = latency["extra_info"]["interval_95"]
    assert low < latency["extra_info"]["estimate"] < high


def test_throughput_is_the_time_of_an_item_so_that_ops_are_items(run):
    found = _benchmarks(PytestBenchmark().of_run(run))
    throughput = found["yolo11n/onnxruntime/int8/cpu/b1/streams: throughput"]
    assert throughput["stats"]["ops"] == pytest.approx(310.5, rel=1e-3)
    assert not [name for name in found if name.endswith((": memory", ": accuracy", ": p99", ": sustained"))]


def test_the_machine_is_the_fingerprint_and_the_commit_the_suites(run):
    written = json.loads(PytestBenchmark().of_run(run))
    assert written["machine_info"]["node"] == "0123456789ab"
    assert written["machine_info"]["processor"] == "A Processor"
    assert written["commit_info"]["id"] == "a" * 40
    assert written["commit_info"]["dirty"] is True


def test_a_run_outside_a_repository_is_unversioned(made):
    run = made.snapshot(environment={"revision": "unavailable: the suite is in no repository"})
    assert json.loads(PytestBenchmark().of_run(run))["commit_info"]["id"] == "unversioned"


def test_its_own_command_compares_two_runs(tmp_path, run, compared):
    (tmp_path / "0001_before.json").write_text(PytestBenchmark().of_run(compared.before))
    (tmp_path / "0002_after.json").write_text(PytestBenchmark().of_run(run))
    said = _command(tmp_path, "compare", "0001_before.json", "0002_after.json", "--csv=out.csv")
    assert "benchmark 'median latency'" in said
    assert "benchmark 'throughput'" in said
    assert "yolo11n/onnxruntime/int8/cpu/b1/fast (0002_after)" in said
    assert "3.2" in said
    assert "b1/fast" in (tmp_path / "out.csv").read_text()


def test_its_own_command_lists_a_stored_run(tmp_path, run):
    folder = tmp_path / ".benchmarks" / "Linux"
    folder.mkdir(parents=True)
    (folder / "0001_run.json").write_text(PytestBenchmark().of_run(run))
    assert "0001_run.json" in _command(tmp_path, "list")
    assert "median latency" in _command(tmp_path, "compare", "0001")


def _command(folder, *arguments):
    program = Path(sys.executable).with_name("pytest-benchmark")
    # Coverage or plugins of the tests around must not start in it.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    return done.stdout
