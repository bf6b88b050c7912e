"""The comparison with OpenVINO's ``benchmark_app``: its command line, its report, and what is said without it."""

from pathlib import Path

import pytest

from benchmarks import benchmark_app, benchmark_app_side, preparation, side
from harness.errors import HarnessError
from harness.jobs import SessionSpec
from harness.tiny_model import tiny_onnx
from harness.vocabulary import Goal, Precision


@pytest.mark.parametrize(("goal", "api"), [(Goal.LATENCY, "sync"), (Goal.THROUGHPUT, "async")])
def test_the_vendors_program_gets_the_same_settings(goal, api, tmp_path):
    python, _, *words = benchmark_app.vendor_arguments(Path("model.xml"), goal, tmp_path)
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert python == "-c"
    assert (given["-hint"], given["-api"]) == (goal.value, api)
    assert given["-infer_precision"] == "f32"
    assert Path(given["-load_config"]).parent == Path(given["-report_folder"]) == tmp_path


def test_the_report_is_read_by_its_own_words():
    report = {"execution_results": {"latency (ms)": "12.34", "throughput": "81.00"}}
    assert benchmark_app.reported(report, Goal.LATENCY) == 12.34
    assert benchmark_app.reported(report, Goal.THROUGHPUT) == 81
    with pytest.raises(HarnessError, match="reports no 'throughput'"):
        benchmark_app.reported({"execution_results": {}}, Goal.THROUGHPUT)


def test_ratios_are_of_pairs_and_what_drifts_cancels(monkeypatch):
    """Both sides grow slower from pair to pair; the harness's is 1 % slower throughout."""
    calls = {"harness": 0, "vendor": 0}

    def reading(side, factor):
        def read(*_):
            calls[side] += 1
            return factor * (10 + calls[side])

        return read

    monkeypatch.setattr(benchmark_app, "_harness", reading("harness", 1.01))
    monkeypatch.setattr(benchmark_app, "_vendor", reading("vendor", 1.0))
    figure = benchmark_app._figure(None, Goal.LATENCY, lambda _: None)
    assert figure.value == pytest.approx(1.01)
    assert (figure.low, figure.high) == pytest.approx((1.01, 1.01))
    assert figure.samples == calls["harness"] == calls["vendor"] >= 10
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
    session = SessionSpec("cpu", Precision.FP32, 1, 2, None, goal, strict=False)
    job = benchmark_app_side.Job("engines.openvino:OpenVINOEngine", artifact, session, 0.1)
    assert benchmark_app_side.drive(job, tmp_path) > 0
    monkeypatch.setattr(benchmark_app, "_SECONDS", 1)
    bench = type("Bench", (), {"artifact": artifact})
    assert benchmark_app._vendor(bench, goal, 2) > 0


def test_a_side_that_fails_is_named_with_its_last_words(tmp_path):
    with pytest.raises(HarnessError, match="benchmark_app: ValueError: no"):
        side.run("benchmark_app", ["-c", "raise ValueError('no')"], tmp_path, 1)
