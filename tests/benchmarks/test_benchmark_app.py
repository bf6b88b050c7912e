"""The comparison with OpenVINO's ``benchmark_app``: its command line, its report, and what is said without it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import benchmark_app, preparation, side
from harness.errors import HarnessError
from harness.tiny_model import tiny_onnx
from harness.vocabulary import Goal, Precision


@pytest.mark.parametrize(("goal", "api"), [(Goal.LATENCY, "sync"), (Goal.THROUGHPUT, "async")])
def test_the_vendors_program_gets_the_same_settings(goal, api, tmp_path):
    python, _, *words = benchmark_app.vendor_arguments(Path("model.xml"), goal, tmp_path, 2)
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert python == "-c"
    assert (given["-hint"], given["-api"]) == (goal.value, api)
    assert given["-infer_precision"] == "f32"
    assert Path(given["-load_config"]).parent == Path(given["-report_folder"]) == tmp_path
    assert json.loads(Path(given["-load_config"]).read_text())["CPU"]["INFERENCE_NUM_THREADS"] == 2


def test_the_report_is_read_by_its_own_words():
    report = {"execution_results": {"latency (ms)": "12.34", "throughput": "81.00"}}
    assert benchmark_app.reported(report, Goal.LATENCY) == 12.34
    assert benchmark_app.reported(report, Goal.THROUGHPUT) == 81
    with pytest.raises(HarnessError, match="reports no 'throughput'"):
        benchmark_app.reported({"execution_results": {}}, Goal.THROUGHPUT)


def test_ratios_are_of_pairs_and_what_drifts_cancels(monkeypatch):
    """Both sides grow slower from pair to pair; the harness's is 1 % slower throughout."""
    firsts = []

    def pair(bench, goal, threads, *, ours_first):
        firsts.append(ours_first)
        return 1.01 * (10 + len(firsts)), 10.0 + len(firsts)

    monkeypatch.setattr(benchmark_app, "_pair", pair)
    figure = benchmark_app._figure(None, Goal.LATENCY, lambda _: None)
    assert figure.value == pytest.approx(1.01)
    assert (figure.low, figure.high) == pytest.approx((1.01, 1.01))
    assert figure.samples == len(firsts) >= 10
    assert 0 < sum(firsts) < len(firsts)
    assert benchmark_app.LATENCY_LIMIT.holds(figure.value)


def test_what_is_absent_is_not_measured(monkeypatch):
    def absent(*_):
        raise HarnessError("openvino cannot be imported", "pip install it")

    monkeypatch.setattr(preparation, "prepared", absent)
    with pytest.raises(HarnessError, match="not measured: openvino cannot be imported") as caught:
        benchmark_app.measure(lambda _: None)
    assert caught.value.hint == "pip install it"


@pytest.mark.engine
@pytest.mark.parametrize("goal", list(Goal))
def test_both_sides_measure_a_model(goal, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    from engines.exporters.onnx_openvino import OnnxToOpenVINO
    from harness.engine import ExportSpec
    from harness.tiny_model import tiny_artifact
    from harness.vocabulary import FORMAT_OPENVINO_IR

    made = tmp_path / "made"
    made.mkdir()
    exported = OnnxToOpenVINO().export(tiny_onnx(tmp_path), ExportSpec(Precision.FP32, 1, (3, 16, 16)), made)
    artifact = tiny_artifact(made / exported.entry, FORMAT_OPENVINO_IR, Precision.FP32)
    monkeypatch.setattr(benchmark_app, "_SECONDS", dict.fromkeys(Goal, 1))
    monkeypatch.setattr(benchmark_app, "_TURN_S", 0.25)
    bench = SimpleNamespace(engine="engines.openvino:OpenVINOEngine", artifact=artifact)
    ours, theirs = benchmark_app._pair(bench, goal, 2, ours_first=False)
    assert ours > 0
    assert theirs > 0


def test_a_side_that_fails_is_named_with_its_last_words(tmp_path):
    with pytest.raises(HarnessError, match="benchmark_app: ValueError: no"):
        side.run("benchmark_app", ["-c", "raise ValueError('no')"], tmp_path, 1)
