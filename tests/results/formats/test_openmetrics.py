"""OpenMetrics text, read by the parser of Prometheus' own client where that is installed."""

from __future__ import annotations

import re

import pytest

from results.formats.openmetrics import OpenMetrics

LABELS = {
    "cell": "yolo11n/onnxruntime/int8/cpu/b1/fast",
    "workload": "yolo11n",
    "engine": "onnxruntime",
    "precision": "int8",
    "device": "cpu",
    "scenario": "latency",
}


def _families(text):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def test_figures_are_gauges_in_base_units(run):
    families = _families(OpenMetrics().of_run(run))
    latency = families["harness_latency_seconds"]
    assert (latency.type, latency.unit) == ("gauge", "seconds")
    values = {sample.labels["cell"].rpartition("/")[2]: sample.value for sample in latency.samples}
    assert values == {"fast": pytest.approx(3.212e-3, rel=1e-4), "one": 7e-3}
    low, high = (families[f"harness_latency_{end}_seconds"].samples[0].value for end in ("lower", "upper"))
    assert low < values["fast"] < high
    assert families["harness_latency_p99_9_seconds"].samples[0].value == pytest.approx(5.1e-3)
    assert families["harness_throughput_items_per_second"].samples[0].value == 310.5
    assert families["harness_peak_memory_bytes"].samples[0].value == 2**28 + 2048
    assert families["harness_accuracy_ratio"].samples[0].labels["kind"] == "top1"
    assert latency.samples[0].labels == LABELS


def test_what_became_of_cells_and_which_run_it_is(run):
    families = _families(OpenMetrics().of_run(run))
    completed = {sample.labels["cell"]: sample.value for sample in families["harness_cell_completed"].samples}
    assert len(completed) == len(run.cells)
    assert completed["yolo11n/onnxruntime/int8/cpu/b1/broken"] == 0
    [info] = families["harness_run"].samples
    assert (info.name, info.labels["run_id"], info.labels["hw_id"]) == ("harness_run_info", "01JAFTER", "0123456789ab")


def test_changes_have_an_effect_and_whether_they_fail(compared):
    families = _families(OpenMetrics().of_comparison(compared))
    fails = {
        (sample.labels["cell"].rpartition("/")[2], sample.labels["quantity"]): sample.value
        for sample in families["harness_change_fails_gate"].samples
    }
    assert {key for key, value in fails.items() if value} == {
        ("fast", "latency"),
        ("broken", "status"),
        ("gone", "status"),
    }
    effects = {sample.labels["quantity"]: sample.value for sample in families["harness_change_ratio"].samples}
    assert effects["latency"] == 1.059
    assert families["harness_change_difference"].samples[0].value == -0.008


def test_label_values_are_escaped(made):
    name = 'a "quoted" \\ name\nand more'
    run = made.snapshot([made.cell("x", made.of_launches("latency", 1e6), label=name, workload=name)], suite=name)
    text = OpenMetrics().of_run(run)
    families = _families(text)
    assert families["harness_latency_seconds"].samples[0].labels["cell"] == 'a "quoted" \\ name and more'


def test_the_form_is_that_of_the_specification(run, compared):
    """By hand, for where the parser is absent: metadata before samples, families whole, units as suffixes."""
    for text in (OpenMetrics().of_run(run), OpenMetrics().of_comparison(compared)):
        lines = text.splitlines()
        assert lines[-1] == "# EOF"
        assert text.endswith("# EOF\n")
        families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        assert len(set(families)) == len(families)
        current = ""
        for line in lines[:-1]:
            if line.startswith("# TYPE"):
                current = line.split()[2]
            elif line.startswith("# UNIT"):
                assert line.split()[2] == current
                assert current.endswith(f"_{line.split()[3]}")
            elif not line.startswith("# HELP"):
                assert re.fullmatch(rf'{current}(_info)?\{{(\w+="(?:[^"\\\n]|\\.)*",?)+\}} -?[0-9.e+-]+', line), line
