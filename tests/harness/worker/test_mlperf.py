"""The official LoadGen drives the fake engine: each scenario, both modes, what fails, and how its logs are read."""

import itertools
import json
import sys
from array import array
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import durations, jobs
from harness.engine import Stream
from harness.errors import EngineUnavailable, Unsupported
from harness.measure.samples import STEADY, WARMUP, Samples
from harness.presets import PRESETS
from harness.scenarios import KINDS, MlPerfSettings
from harness.settings import SettingError
from harness.settings import settings as checked
from harness.vocabulary import Artifact, Cell, Goal, Precision, Scenario, Skipped, Stage, TensorSpec
from harness.worker import __main__ as worker
from harness.worker import launch as launching
from harness.worker import loadgen
from harness.worker.scenarios import mlperf
from harness.worker.stage import Stages

IMAGES = 5
MODES = {"single_stream": {}, "multi_stream": {}, "server": {"target_latency_ms": 50.0}, "offline": {}}


@pytest.fixture
def lg():
    return pytest.importorskip("mlperf_loadgen")


@pytest.fixture
def job(tmp_path):
    def of(mode, batch=1, streams=None, options=None, function="", **parameters):
        model = tmp_path / "model.json"
        model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [batch, 5]}], "function": function}))
        np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((IMAGES, 3, 4, 4), np.float32))
        (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * IMAGES))
        given_, gives = (
            TensorSpec("input", "float32", (batch, 3, 4, 4)),
            TensorSpec("scores", "float32", (batch, 5)),
        )
        session = jobs.SessionSpec(
            "cpu", Precision.FP32, batch, None, streams, Goal.LATENCY, strict=False, options=options or {}
        )
        return jobs.LaunchJob(
            engine="engines.fake:FakeEngine",
            artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given_,), (gives,)),
            session=session,
            scenario="mlperf",
            parameters={"mode": mode, **MODES[mode], **parameters},
            task={"name": "raw"},
            inputs=jobs.Inputs(tmp_path, "hash of the inputs", IMAGES),
            reference=None,
            limits=jobs.Limits(8, 0.05, 0.1, warmup_s=0.0),
            samples=tmp_path / "samples.npz",
            shape=(3, 4, 4),
        )

    return of


def launched(job):
    answer = launching.launch(job, Stages(job.samples.parent / "stage"))
    samples = Samples.load(job.samples)
    assert answer.samples_rows == len(samples)
    assert set(samples.phase.tolist()) <= {WARMUP, STEADY}
    steady = samples.steady()
    times = [steady.scheduled_ns, steady.start_ns, steady.bound_ns, steady.synced_ns, steady.end_ns]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(times))
    return answer, answer.loadgen, steady


def test_single_stream_asks_one_after_the_other(lg, job):
    answer, run, steady = launched(job("single_stream", options={"latency_us": 300}, seconds=0.05, queries=70))
    assert (run.scenario, run.mode, run.valid, run.reasons) == ("SingleStream", "PerformanceOnly", True, ())
    assert not run.official
    assert len(steady) >= 70
    assert (steady.scheduled_ns[1:] >= steady.end_ns[:-1]).all()
    assert run.settings["min_query_count"] == "70"
    assert run.settings["performance_sample_count"] == str(IMAGES)
    # Each of its times holds ours, so its median does.
    ours_ns = np.sort(steady.response_ns)[len(steady) // 2]
    assert ours_ns <= 1.01 * run.figures["50.00 percentile latency (ns)"]
    assert run.figures["Min latency (ns)"] >= 300_000
    assert "MLPerf Results Summary" in run.summary
    assert run.version
    assert answer.versions["mlcommons-loadgen"] == run.version
    assert answer.timing.streams == 1
    assert answer.timing.steady_iterations == len(steady)
    assert answer.noise["steal"]


def test_a_query_of_multi_stream_is_answered_in_batches_and_the_last_is_filled_up(lg, job):
    _, run, steady = launched(job("multi_stream", batch=3, seconds=0.02, queries=10))
    assert run.scenario == "MultiStream"
    queries = np.unique(steady.scheduled_ns)
    assert len(queries) >= 10
    for issued in queries:
        rows = steady.scheduled_ns == issued
        assert rows.sum() == 8
        assert sorted(np.unique(steady.start_ns[rows], return_counts=True)[1]) == [2, 3, 3]
    assert not run.valid  # 10 queries carry no 99th percentile
    assert "Early stopping satisfied: NO" in run.reasons
    assert any("Need to process at least 662 queries" in reason for reason in run.reasons)


def test_server_is_answered_by_every_stream_and_too_few_queries_are_invalid(lg, job):
    asked = job("server", streams=2, options={"latency_us": 3000, "asleep": True}, seconds=0.3, target_qps=300.0)
    answer, run, steady = launched(asked)
    assert run.scenario == "Server"
    assert answer.timing.streams == 2
    assert set(steady.stream.tolist()) == {0, 1}
    assert len(np.unique(steady.scheduled_ns)) == len(steady) >= 50
    assert float(run.settings["target_qps"]) == 300
    assert float(run.settings["target_latency (ns)"]) == 50e6
    assert not run.valid
    assert any("more queries" in reason for reason in run.reasons)


def test_server_batches_what_has_come_meanwhile(lg, job):
    asked = job(
        "server", batch=4, streams=1, options={"latency_us": 20_000, "asleep": True}, seconds=0.3, target_qps=150.0
    )
    _, _, steady = launched(asked)
    sizes = np.unique(steady.start_ns, return_counts=True)[1]
    assert sizes.max() > 1
    assert sizes.max() <= 4


def test_offline_is_one_query_in_batches_over_the_streams(lg, job):
    asked = job(
        "offline",
        batch=4,
        streams=2,
        options={"latency_us": 10_000, "asleep": True},
        seconds=0.04,
        queries=42,
        target_qps=100.0,
    )
    _, run, steady = launched(asked)
    assert (run.scenario, run.valid) == ("Offline", True)
    assert len(steady) == 42
    assert len(np.unique(steady.scheduled_ns)) == 1
    assert sorted(np.unique(steady.start_ns, return_counts=True)[1])[:2] == [2, 4]
    assert set(steady.stream.tolist()) == {0, 1}
    assert run.figures["Samples per second"] > 0


@pytest.mark.parametrize("mode", ["server", "offline"])
def test_a_rate_that_is_not_given_is_measured(lg, job, mode):
    asked = job(mode, streams=1, options={"latency_us": 5000, "asleep": True}, seconds=0.1, queries=10)
    _, run, _ = launched(asked)
    share = mlperf.SERVER_LOAD if mode == "server" else mlperf.OFFLINE_MARGIN
    assert 0.1 * share * 200 < float(run.settings["target_qps"]) <= share * 200


@pytest.mark.parametrize("mode", MODES)
def test_accuracy_answers_every_image(lg, job, mode):
    rate = {"target_qps": 500.0} if mode in {"server", "offline"} else {}
    _, run, steady = launched(job(mode, accuracy=True, **rate))
    assert (run.mode, run.valid, run.reasons) == ("AccuracyOnly", True, ())
    assert run.figures == {loadgen.ANSWERED: IMAGES}
    assert len(steady) >= IMAGES
    assert run.official


@pytest.mark.parametrize("mode", MODES)
def test_an_error_of_the_engine_ends_the_launch(lg, job, mode, tmp_path, monkeypatch):
    (tmp_path / "failing_model.py").write_text(
        "import numpy as np\n"
        "armed, calls = False, 0\n"
        "def scores(inputs):\n"
        "    global calls\n"
        "    calls += armed\n"
        "    if calls == 5:\n"
        "        raise RuntimeError('the fifth inference fails')\n"
        "    return {'scores': np.arange(5, dtype=np.float32).reshape(1, 5)}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_model", raising=False)
    play = loadgen.play

    def armed(*given_):
        sys.modules["failing_model"].armed = True
        return play(*given_)

    monkeypatch.setattr(loadgen, "play", armed)
    rate = {"target_qps": 500.0} if mode in {"server", "offline"} else {}
    asked = job(mode, streams=1, function="failing_model:scores", seconds=0.2, queries=100, **rate)
    stages = Stages(tmp_path / "stage")
    with pytest.raises(RuntimeError, match="the fifth inference fails"):
        launching.launch(asked, stages)
    assert stages.current is Stage.STEADY
    assert sys.modules["failing_model"].calls == 5


def test_an_error_of_the_warm_up_is_raised(lg, job, tmp_path, monkeypatch):
    def failing(*_):
        raise RuntimeError("no warm-up")

    monkeypatch.setattr(mlperf, "_warm", failing)
    with pytest.raises(RuntimeError, match="no warm-up"):
        launching.launch(job("offline", streams=3, target_qps=10.0), Stages(tmp_path / "stage"))


def test_without_loadgen_the_cell_is_skipped_with_the_command(job, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(EngineUnavailable, match="the official LoadGen is not to be had") as caught:
        launching.launch(job("single_stream"), Stages(tmp_path / "stage"))
    assert caught.value.hint == "pip install mlcommons-loadgen"
    refusal = worker._refusal(caught.value, Stage.IMPORT)
    assert isinstance(refusal.skipped, Skipped)
    assert refusal.skipped.hint == "pip install mlcommons-loadgen"


@pytest.mark.parametrize(
    ("mode", "asked", "message"),
    [
        ("single_stream", {"streams": 3}, "SingleStream has one query at a time, 3 streams were asked"),
        ("multi_stream", {"streams": 2}, "MultiStream has one query at a time"),
        ("single_stream", {"batch": 8}, "a batch of 8 was asked"),
    ],
)
def test_what_loadgen_would_leave_without_use_is_refused(lg, job, tmp_path, mode, asked, message):
    with pytest.raises(Unsupported, match=message) as caught:
        launching.launch(job(mode, **asked), Stages(tmp_path / "stage"))
    assert "mode: " in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "samples", "minimum_ms", "queries", "official"),
    [
        ({"mode": "single_stream"}, 20, 600_000, 100, True),
        ({"mode": "multi_stream"}, 20, 600_000, 662, True),
        ({"mode": "server", "target_latency_ms": 15.0}, 20, 600_000, 100, True),
        ({"mode": "offline"}, 5000, 600_000, 5000, True),
        ({"mode": "offline"}, 100_000, 600_000, 24_576, True),
        ({"mode": "multi_stream", "seconds": 700.0, "queries": 1000}, 20, 700_000, 1000, True),
        ({"mode": "multi_stream", "seconds": 599.0}, 20, 599_000, 662, False),
        ({"mode": "multi_stream", "queries": 661}, 20, 600_000, 661, False),
        ({"mode": "multi_stream", "samples": 4}, 20, 600_000, 662, False),
        ({"mode": "single_stream", "seconds": 0.0001}, 20, 1, 100, False),
    ],
)
def test_the_settings_are_those_inside_loadgen(lg, asked, samples, minimum_ms, queries, official):
    settings, found = loadgen.official_settings(lg, MlPerfSettings(**asked), samples)
    assert found is official
    assert (settings.min_duration_ms, settings.min_query_count) == (minimum_ms, queries)
    if asked["mode"] == "server":
        assert settings.server_target_latency_ns == 15_000_000
        assert settings.server_target_latency_percentile == pytest.approx(0.99)
    if asked["mode"] == "single_stream":
        assert settings.single_stream_target_latency_percentile == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [({}, 600), ({"seconds": 3.0}, 3), ({"mode": "offline"}, 726), ({"accuracy": True}, 0)],
)
def test_the_plan_knows_how_long_it_lasts(asked, seconds):
    kind = KINDS["mlperf"]
    assert kind.lasting(kind.configured(asked)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ({"seconds": 3.0}, 3),
        ({"seconds": 3.0, "queries": 1000}, 20),
        ({"mode": "multi_stream", "seconds": 3.0}, 662 * 8 * 0.02),
        ({"mode": "multi_stream", "seconds": 3.0, "queries": 50, "samples": 2}, 3),
        ({"mode": "multi_stream", "accuracy": True}, 0),
    ],
)
def test_the_first_guess_counts_queries_that_must_be_made(asked, seconds):
    cell = Cell("w", "h", {"name": "raw"}, (3,), "fake", Precision.FP32, "cpu", Scenario("mlperf", asked))
    suite, warmup_s = SimpleNamespace(preset="quick", timeout=600.0), PRESETS["quick"].warmup_s
    assert durations.guessed_s(cell, suite, 0) == pytest.approx(durations.START_S + warmup_s + seconds)
    streams = replace(cell, streams=4)
    assert durations.guessed_s(streams, suite, 0) == pytest.approx(durations.START_S + 4 * warmup_s + seconds)


@pytest.mark.parametrize("unused", [{"seconds": 60.0}, {"queries": 5}])
def test_what_an_accuracy_run_makes_no_use_of_is_refused(unused):
    with pytest.raises(SettingError, match="every image is asked for once") as caught:
        checked(MlPerfSettings, {"accuracy": True, **unused})
    assert caught.value.key == next(iter(unused))


class Recording(Stream):
    """Keeps what it was given."""

    def __init__(self):
        self.bound = []

    def bind(self, inputs):
        self.bound.append({name: value.copy() for name, value in inputs.items()})

    def run(self):
        pass

    def fetch(self):
        return {}


def test_a_batch_holds_the_images_that_were_asked_and_earlier_ones_besides():
    images = np.arange(8, dtype=np.float32)
    work = [({"input": images[first : first + 4].copy()}, tuple(range(first, first + 4))) for first in (0, 4)]
    frames, done = [], []
    shared = mlperf.Shared(work, lambda _, given_: frames.append(list(given_)), done.append, 4)
    stream = Recording()
    answerer = mlperf.Answerer(shared, stream)
    answerer.answer([11, 12, 13, 14], [7, 0, 5, 2], [1, 2, 3, 4])
    answerer.answer([15, 16], [6, 6], [5, 6])
    assert [bound["input"].tolist() for bound in stream.bound] == [[7, 0, 5, 2], [6, 6, 5, 2]]
    assert frames == [[7, 0, 5, 2], [6, 6, 5, 2]]
    assert done == [[11, 12, 13, 14], [15, 16]]
    _, samples = answerer.samples(3)
    assert samples.scheduled_ns.tolist() == [1, 2, 3, 4, 5, 6]
    assert samples.stream.tolist() == [3] * 6
    assert len(np.unique(samples.start_ns)) == 2
    assert work[0][0]["input"].tolist() == [0, 1, 2, 3]


def test_after_an_error_samples_are_answered_and_leave_no_row():
    done = []

    def failing(*_):
        raise ValueError("post-processing fails")

    shared = mlperf.Shared([({"input": np.zeros(1)}, (0,))], failing, done.append, 1)
    answerer = mlperf.Answerer(shared, Recording())
    answerer.answer([1], [0], [1])
    answerer.answer([2], [0], [2])
    assert done == [[1], [2]]
    assert len(shared.errors) == 1
    assert len(answerer.samples(0)[1]) == 0
    assert len(answerer.stream.bound) == 1


def test_rows_are_64_bits_wide():
    assert array("q").itemsize == 8


# A summary of LoadGen 6.0.17, PerformanceOnly, as it wrote it.
SUMMARY = """\
================================================
MLPerf Results Summary
================================================
SUT name : PyFastSUT
Scenario : SingleStream
Mode     : PerformanceOnly
90.0th percentile latency (ns) : 1104194
Result is : VALID
  Min duration satisfied : Yes
  Min queries satisfied : Yes
  Early stopping satisfied: Yes
Early Stopping Result:
 * Processed at least 64 queries (174).
 * Would discard 7 highest latency queries.
 * Early stopping 90.0th percentile estimate: 1299603
 * Not enough queries processed for 99.0th percentile
 early stopping estimate (would need to process at
 least 662 total queries).

================================================
Additional Stats
================================================
QPS w/ loadgen overhead         : 864.18
QPS w/o loadgen overhead        : 868.10

Min latency (ns)                : 1044275
Max latency (ns)                : 4957828
Mean latency (ns)               : 1151939
50.00 percentile latency (ns)   : 1090464
90.00 percentile latency (ns)   : 1104194
95.00 percentile latency (ns)   : 1147518
97.00 percentile latency (ns)   : 1610844
99.00 percentile latency (ns)   : 2804621
99.90 percentile latency (ns)   : 4957828

================================================
Test Parameters Used
================================================
samples_per_query : 1
target_qps : 1000
target_latency (ns): 0
max_async_queries : 1
min_duration (ms): 200
max_duration (ms): 0
min_query_count : 70
max_query_count : 0
qsl_rng_seed : 2085463073848966840
sample_index_rng_seed : 2747215439041700203
schedule_rng_seed : 16159082839903944936
accuracy_log_rng_seed : 0
accuracy_log_probability : 0
accuracy_log_sampling_target : 0
print_timestamps : 0
performance_issue_unique : 0
performance_issue_same : 0
performance_issue_same_index : 0
performance_sample_count : 5
accuracy_sample_count : 5

No warnings encountered during test.

No errors encountered during test.
"""

# The head of another, of Server.
INVALID = """\
================================================
MLPerf Results Summary
================================================
SUT name : PyFastSUT
Scenario : Server
Mode     : PerformanceOnly
Completed samples per second    : 201.68
Result is : INVALID
  Performance constraints satisfied : Yes
  Min duration satisfied : Yes
  Min queries satisfied : Yes
  Early stopping satisfied: NO
Recommendations:
Early Stopping Result:
 * Run unsuccessful.
 * Processed 42 queries.
 * Would need to run at least 417 more queries,
 with the run being successful if every additional
 query were under latency.
"""


def test_a_summary_is_read_whole():
    summary = loadgen.parsed(SUMMARY)
    assert summary.valid
    assert summary.reasons == ()
    assert summary.figures == {
        "90.0th percentile latency (ns)": 1_104_194,
        "Early stopping 90.0th percentile estimate": 1_299_603,
        "QPS w/ loadgen overhead": 864.18,
        "QPS w/o loadgen overhead": 868.1,
        "Min latency (ns)": 1_044_275,
        "Max latency (ns)": 4_957_828,
        "Mean latency (ns)": 1_151_939,
        "50.00 percentile latency (ns)": 1_090_464,
        "90.00 percentile latency (ns)": 1_104_194,
        "95.00 percentile latency (ns)": 1_147_518,
        "97.00 percentile latency (ns)": 1_610_844,
        "99.00 percentile latency (ns)": 2_804_621,
        "99.90 percentile latency (ns)": 4_957_828,
    }
    assert len(summary.parameters) == 20
    assert summary.parameters["target_latency (ns)"] == "0"
    assert summary.parameters["accuracy_sample_count"] == "5"


MORE = (
    "Would need to run at least 417 more queries, with the run being successful if every additional query were under "
    "latency."
)


def test_a_verdict_of_invalid_carries_its_reasons():
    summary = loadgen.parsed(INVALID)
    assert not summary.valid
    assert summary.reasons == (
        "Early stopping satisfied: NO",
        "Run unsuccessful.",
        "Processed 42 queries.",
        MORE,
    )
    early = SUMMARY.replace("Result is : VALID", "Result is : INVALID").replace(
        "  Min duration satisfied : Yes", "  Min duration satisfied : NO"
    )
    early = early.replace(
        "Early Stopping Result:", "Recommendations:\n * Decrease it.\n   See the log.\nEarly Stopping Result:"
    )
    assert loadgen.parsed(early).reasons == ("Min duration satisfied: NO", "Decrease it. See the log.")


@given(st.text(alphabet=st.sampled_from("=:*\n ab1.eYESNOn "), max_size=200))
def test_whatever_a_summary_holds_is_read(text):
    summary = loadgen.parsed(text)
    assert not summary.valid
    assert summary.reasons
    assert all(np.isfinite(value) for value in summary.figures.values())


@given(st.dictionaries(st.sampled_from(["p50 (ns)", "QPS w/ overhead", "x : y"]), st.floats()))
def test_only_finite_numbers_are_figures(values):
    lines = ["=" * 48, "Additional Stats", "=" * 48, *(f"{key}   : {value!r}" for key, value in values.items())]
    figures = loadgen.parsed("\n".join(lines)).figures
    expected = {key: value for key, value in values.items() if np.isfinite(value) and ":" not in key}
    assert figures == expected


def test_errors_and_version_come_from_the_detailed_log():
    lines = [
        ':::MLLOG {"key": "loadgen_version", "value": "6.0 @ 38da755", "metadata": {"is_error": false}}',
        ':::MLLOG {"key": "error_runtime", "value": " Ending early ", "metadata": {"is_error": true}}',
        ':::MLLOG {"key": "error_runtime", "value": " Ending early ", "metadata": {"is_error": true}}',
        ':::MLLOG {"key": "cut off',
        ":::MLLOG [1]",
        "something else",
        "",
    ]
    assert loadgen.noted("\n".join(lines)) == ("6.0 @ 38da755", ("Ending early",))


def test_a_sample_that_accuracy_left_out_is_told(lg):
    settings, official = loadgen.official_settings(lg, MlPerfSettings(accuracy=True), 3)
    whole = loadgen.Logs("", "", loadgen.Counter([0, 1, 2]))
    assert loadgen.run_of(whole, settings, 3, official=official).valid
    for answered in ([0, 1], [0, 1, 2, 2], []):
        run = loadgen.run_of(loadgen.Logs("", "", loadgen.Counter(answered)), settings, 3, official=official)
        assert not run.valid
        assert "of 3 samples were answered" in run.reasons[0]
    failed = ':::MLLOG {"key": "error", "value": "lost", "metadata": {"is_error": true}}'
    run = loadgen.run_of(replace(whole, detail=failed), settings, 3, official=official)
    assert (run.valid, run.reasons) == (False, ("lost",))
