"""What is made of LoadGen's word: its name, the words that stand beside it, its metric, our clock beside its own."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.samples import STEADY, WARMUP, Samples
from harness.vocabulary import LoadGenRun, Scenario
from results.scenarios import loadgen as of


def run(scenario="SingleStream", figures=None, *, official=False, valid=True, mode="PerformanceOnly", reasons=()):
    return LoadGenRun(scenario, mode, valid, reasons, figures or {}, {}, official, "6.0", "text")


def samples(*rows, phase=STEADY):
    """Samples of (scheduled, start, end) in nanoseconds."""
    scheduled, start, end = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Samples(np.full(len(start), phase), np.zeros_like(start), scheduled, start, start, end, end)


def launch(said, taken):
    cell = SimpleNamespace(scenario=Scenario("mlperf", {}, "one camera"))
    return SimpleNamespace(record=SimpleNamespace(loadgen=said, cell=cell, cell_id="id"), samples=taken)


def test_a_result_carries_the_run_whole_with_its_reasons():
    said = run(valid=False, reasons=("Min duration satisfied: NO",))
    (result,) = of.loadgen([launch(said, samples((0, 0, 5))), launch(None, samples())])
    assert (result.cell_id, result.title) == ("id", "one camera")
    assert result.run is said


@pytest.mark.parametrize("official", [True, False])
def test_every_score_is_unverified_and_only_official_settings_bear_the_name(official):
    said = run(official=official)
    assert of.name(said).endswith("unverified")
    assert "Result not verified by MLCommons Association" in of.words(said)
    assert ("MLPerf" in of.name(said)) is official
    assert ("shortened" in of.name(said)) is not official
    assert (of.SHORTENED in of.words(said)) is not official
    assert any("MLPerf" in text for text in (of.name(said), *of.words(said))) is official


@pytest.mark.parametrize(
    ("said", "headline"),
    [
        (
            run(figures={"90.0th percentile latency (ns)": 2e6, "Early stopping 90th percentile estimate": 3e6}),
            ("p90 latency, early-stopping estimate", 3.0, "ms"),
        ),
        (
            run(figures={"90.0th percentile latency (ns)": 2e6, "Early stopping 99th percentile estimate": 3e6}),
            ("p90 latency", 2.0, "ms"),
        ),
        (
            run(
                "MultiStream", {"99.0th percentile latency (ns)": 2e6, "Early stopping 99.0th percentile estimate": 4e6}
            ),
            ("p99 latency, early-stopping estimate", 4.0, "ms"),
        ),
        (run("Server", {"Completed samples per second": 55.5}), ("completed samples per second", 55.5, "samples/s")),
        (run("Offline", {"Samples per second": 99.0}), ("samples per second", 99.0, "samples/s")),
        (run(figures={"Samples answered": 20.0}, mode="AccuracyOnly"), ("samples answered", 20.0, "samples")),
        (run(figures={"QPS w/ loadgen overhead": 1.0}), None),
    ],
)
def test_the_metric_is_that_of_the_scenario(said, headline):
    assert of.headline(said) == headline


def test_our_clock_stands_beside_theirs():
    said = run(figures={"50.00 percentile latency (ns)": 20.0, "90.00 percentile latency (ns)": 40.0})
    taken = samples(*((100 * index, 100 * index + 1, 100 * index + 10 + index) for index in range(10)))
    warm = samples((0, 0, 10**6), phase=WARMUP)
    (half, most) = of.beside(said, Samples.joined([warm, taken]))
    assert (half.q, half.ours_ns, half.theirs_ns) == (0.5, 15, 20)
    assert (most.q, most.ours_ns, most.theirs_ns) == (0.9, 19, 40)
    assert half.ratio == 0.75
    assert of.beside(run(), taken) == ()
    assert of.beside(said, warm) == ()


def test_a_query_of_multi_stream_ends_with_its_last_sample():
    taken = samples((0, 1, 5), (0, 5, 9), (20, 21, 30), (20, 30, 33))
    assert of.query_latencies_ns("MultiStream", taken).tolist() == [9, 13]
    assert of.query_latencies_ns("Offline", taken).tolist() == [5, 9, 10, 13]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300), st.floats(0, 1, exclude_max=True))
def test_a_percentile_is_one_of_the_samples(values, q):
    value = of.percentile_ns(np.array(values), q)
    assert value in values
    assert sum(one <= value for one in values) > int(len(values) * q)
