"""Random arrivals and the search for the highest rate; whole launches of the fake engine in this process."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import durations, jobs, scenarios
from harness.measure import noise
from harness.measure.samples import STEADY, WARMUP, Samples
from harness.presets import PRESETS
from harness.scenarios import KINDS, ServerSettings
from harness.suite_model import Suite
from harness.vocabulary import Artifact, Cell, Goal, PlannedCell, Precision, Scenario, TensorSpec
from harness.worker import launch as launching
from harness.worker.scenarios import server
from harness.worker.scenarios.server import FIRST, LEAST, PRECISE, items_per_s, poisson, search, stretch_s
from harness.worker.stage import Stages

ENOUGH = 60_000.0
"""Milliseconds that no answer takes, however busy the machine is."""


def tried(keeps, trials, capacity=100.0):
    """The rates that a search tries, and why it ended."""
    rates = []
    reason = search(lambda rate: rates.append(rate) or keeps(rate), capacity, trials)
    return rates, reason


@given(st.floats(0.11, 2.0))
def test_a_search_ends_at_the_highest_rate_that_is_kept(highest):
    rates, reason = tried(lambda rate: rate <= 100 * highest, 20)
    kept = max(rate for rate in rates if rate <= 100 * highest)
    failed = min(rate for rate in rates if rate > 100 * highest)
    assert reason == "precise"
    assert failed / kept <= PRECISE
    assert len(rates) <= 12


@given(st.integers(1, 8), st.floats(0.01, 3.0))
def test_a_search_tries_no_more_rates_than_it_may(trials, highest):
    rates, _ = tried(lambda rate: rate <= 100 * highest, trials)
    assert len(rates) <= trials
    assert len(set(rates)) == len(rates)


def test_a_search_gives_up_where_queries_hardly_wait_any_more():
    rates, reason = tried(lambda _: False, 20)
    assert reason == "no_rate"
    assert rates[0] == pytest.approx(100 * FIRST)
    assert rates[-1] <= 100 * LEAST < rates[-2]
    assert tried(lambda _: False, 1)[1] == "no_rate"


def test_a_closed_loop_that_was_disturbed_limits_no_search():
    rates, reason = tried(lambda _: True, 8)
    assert reason == "max_trials"
    assert rates[-1] > 300


@given(st.floats(1.0, 5000.0), st.floats(0.01, 2.0), st.integers(0, 9))
def test_arrivals_are_those_of_another_rate_scaled(rate, seconds, seed):
    one, other = poisson(rate, seconds, (seed, 0)), poisson(2 * rate, seconds, (seed, 0))
    shared = min(len(one), len(other))
    assert np.abs(one.due_ns[:shared] - 2 * other.due_ns[:shared]).max(initial=0) <= 2
    assert (np.diff(one.due_ns) >= 0).all()
    assert (one.due_ns < seconds * 1e9).all()
    assert not one.source.any()


def test_arrivals_are_independent_and_as_many_as_asked():
    gaps = np.diff(poisson(1000.0, 100.0, (3, 1)).due_ns) / 1e6
    assert len(gaps) == pytest.approx(100_000, abs=4 * math.sqrt(100_000))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)  # as of an exponential distribution
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.015


def test_launches_draw_arrivals_of_their_own():
    assert poisson(100.0, 1.0, (0, 0)).due_ns.tolist() != poisson(100.0, 1.0, (0, 1)).due_ns.tolist()
    assert poisson(100.0, 1.0, (0, 1)).due_ns.tolist() == poisson(100.0, 1.0, (0, 1)).due_ns.tolist()


def test_the_rate_of_a_closed_loop_is_that_of_all_streams_over_their_own_time():
    phase = np.array([WARMUP, STEADY, STEADY, STEADY])
    start = np.array([0, 100, 200, 100])
    end = np.array([90, 200, 300, 600])
    closed = Samples(phase, np.array([0, 0, 0, 1]), start, start, start, end, end)
    assert items_per_s(closed, 4) == pytest.approx(4 * (2 / 200e-9 + 1 / 500e-9))


@pytest.fixture
def job(tmp_path):
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"outputs": [{"name": "scores", "shape": [2, 5]}]}))
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).random((4, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text(json.dumps([{"width": 4, "height": 4}] * 4))
    given_, gives = TensorSpec("input", "float32", (2, 3, 4, 4)), TensorSpec("scores", "float32", (2, 5))

    def of(latency_us, streams=1, **parameters):
        options = {"latency_us": latency_us, "asleep": True}
        return jobs.LaunchJob(
            engine="engines.fake:FakeEngine",
            artifact=Artifact("fake", Precision.FP32, model, "hash", 10, (given_,), (gives,)),
            session=jobs.SessionSpec(
                "cpu", Precision.FP32, 2, None, streams, Goal.THROUGHPUT, strict=False, options=options
            ),
            scenario="server",
            parameters=parameters,
            task={"name": "raw"},
            inputs=jobs.Inputs(tmp_path, "hash of the inputs", 4),
            reference=None,
            limits=jobs.Limits(8, 0.02, 0.1, warmup_s=0.0, warmup_maximum_s=0.1),
            samples=tmp_path / "samples.npz",
            shape=(3, 4, 4),
            seed=(5, 1),
        )

    return of


def launched(job, tmp_path):
    answer = launching.launch(job, Stages(tmp_path / "stage"))
    samples = Samples.load(tmp_path / "samples.npz")
    assert answer.samples_rows == len(samples)
    return answer, samples


@pytest.mark.parametrize("streams", [1, 2])
def test_a_given_rate_is_one_trial_with_a_row_for_every_query(job, tmp_path, streams):
    asked = job(1000, streams, rate=200, slo_ms=ENOUGH, seconds=0.4, max_delay_ms=2)
    answer, samples = launched(asked, tmp_path)
    (trial,) = answer.trials
    due = poisson(200.0, 0.4, (5, 1))
    assert (trial.rate_hz, trial.seconds, trial.offered, trial.rows) == (200, 0.4, len(due), len(due))
    assert (samples.phase[: trial.first] == WARMUP).all()
    rows = slice(trial.first, trial.first + trial.rows)
    assert (samples.phase[rows] == STEADY).all()
    assert np.array_equal(np.diff(samples.scheduled_ns[rows]), np.diff(due.due_ns))
    assert set(samples.stream[rows].tolist()) <= set(range(streams))
    assert answer.timing.stop_reason == "max_time"
    assert answer.timing.steady_iterations == len(due)
    assert answer.timing.streams == streams
    assert trial.kept


def test_a_backlog_without_end_ends_a_trial_early(job, tmp_path, monkeypatch):
    monkeypatch.setattr(scenarios, "PATIENCE_S", 0.03)
    answer, samples = launched(job(10_000, rate=2000, slo_ms=1, seconds=20), tmp_path)
    (trial,) = answer.trials
    assert answer.timing.stop_reason == "backlog"
    assert trial.kept is False
    assert trial.rows < trial.offered
    assert trial.seconds < 20
    assert len(samples) == trial.first + trial.rows


def test_an_slo_that_nobody_can_meet_is_an_answer(job, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "CLOSED_S", 0.05)
    answer, samples = launched(job(2000, slo_ms=1, seconds=0.1, trials=6), tmp_path)
    assert answer.timing.stop_reason == "no_rate"
    rates = [trial.rate_hz for trial in answer.trials]
    assert rates == sorted(rates, reverse=True)
    assert {trial.kept for trial in answer.trials} == {False}
    assert [trial.first for trial in answer.trials[1:]] == [trial.first + trial.rows for trial in answer.trials[:-1]]
    last = answer.trials[-1]
    assert last.first + last.rows == len(samples)


def test_an_slo_that_every_rate_meets_ends_with_the_trials(job, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "CLOSED_S", 0.05)
    # So few queries that no trend is looked for, and nothing is late.
    answer, _ = launched(job(20_000, slo_ms=ENOUGH, seconds=0.1, trials=3), tmp_path)
    assert answer.timing.stop_reason == "max_trials"
    rates = [trial.rate_hz for trial in answer.trials]
    assert rates == pytest.approx([rates[0] * server.STEP**power for power in range(3)])


def test_no_trial_is_longer_than_the_rows_of_a_closed_loop(job, tmp_path, monkeypatch):
    monkeypatch.setattr(server.loop, "MAXIMUM_ROWS", 50)
    answer, _ = launched(job(0, rate=1000, slo_ms=ENOUGH, seconds=3600), tmp_path)
    assert answer.trials[0].seconds == pytest.approx(0.05)


def test_threads_of_each_rate_are_read_while_they_live(job, tmp_path, monkeypatch):
    """Two streams at three rates are six threads; what they wait for one another is not held against others."""
    monkeypatch.setattr(server, "CLOSED_S", 0.05)
    seen = []
    read = noise.threads

    def watched(*given):
        found = read(*given)
        seen.append(set(found.times))
        return found

    monkeypatch.setitem(noise.DETECTORS, "run_queue_wait", replace(noise.DETECTORS["run_queue_wait"], read=watched))
    answer, _ = launched(job(2000, 2, slo_ms=ENOUGH, seconds=0.1, trials=3), tmp_path)
    assert len(answer.trials) == 3
    before, after = seen[::2], seen[1::2]
    assert before == after
    assert len(set.union(*before) - set.intersection(*before)) == 6
    assert "ended meanwhile" not in answer.noise["run_queue_wait"].detail


@st.composite
def planned_searches(draw):
    """A server cell as it is planned, its suite, and the rates that a search happens to try."""
    searched = draw(st.booleans())
    given_ = {
        "slo_ms": draw(st.floats(0.1, 5000.0)),
        "slo_percentile": draw(st.sampled_from([50.0, 90.0, 99.0, 99.9])),
        "max_delay_ms": draw(st.floats(0.0, 2000.0)),
        "seconds": draw(st.floats(0.1, 200.0)),
        **({"trials": draw(st.integers(1, 30))} if searched else {"rate": draw(st.floats(0.1, 1e4))}),
    }
    suite = Suite.model_validate(
        {
            "version": 1,
            "workloads": {"a": {"source": {"onnx": "a"}, "task": "classify", "input": [3, 8, 8]}},
            "matrix": {"engine": "fake", "scenario": "server"},
            "preset": draw(st.sampled_from(sorted(PRESETS))),
            "timeout": draw(st.floats(70.0, 5000.0)),
        }
    )
    cell = Cell("a", "h", {}, (3,), "fake", Precision.FP32, "cpu", Scenario("server", given_), streams=draw(STREAMS))
    settings = ServerSettings(**given_)
    rates = draw(st.lists(st.floats(0.01, 1e5), min_size=settings.trials, max_size=settings.trials))
    return cell, suite, rates if searched else [settings.rate]


STREAMS = st.none() | st.integers(1, 64)


@given(planned_searches())
def test_no_search_lasts_longer_than_its_plan_says(planned):
    """Every trial at its longest, each with a backlog that is waited for to the end."""
    cell, suite, rates = planned
    settings = KINDS["server"].configured(cell.scenario.parameters)
    limits = durations.limits(PlannedCell(cell, 5, 1.0), suite)
    carried = settings.rate is None or settings.rate * settings.seconds >= durations.iterations(
        settings.slo_percentile, 1
    )
    assume(carried)  # else it is refused
    waited_s = settings.patience_s + settings.max_delay_ms / 1e3
    longest_s = sum(stretch_s(settings, rate, limits.maximum_s) + waited_s for rate in rates)
    longest_s += 0.0 if settings.rate else scenarios.CLOSED_S
    told_s = durations.lasting_s(cell, suite)
    assert longest_s <= told_s * (1 + 1e-9)
    assert durations.guessed_s(cell, suite, 0) >= durations.START_S + told_s
    least_s = KINDS["server"].lasting(settings)
    if least_s + durations.warmup_maximum_s(suite) + durations.START_S <= suite.timeout:
        # What the plan lets through ends in time, however much the percentile asks for.
        assert max(told_s, least_s) + durations.warmup_maximum_s(suite) + durations.START_S <= suite.timeout * (
            1 + 1e-9
        )


def test_a_search_is_given_the_time_that_its_percentile_takes():
    cell = Cell("a", "h", {}, (3,), "fake", Precision.FP32, "cpu", Scenario("server"))
    suite = Suite.model_validate(
        {
            "version": 1,
            "workloads": {"a": {"source": {"onnx": "a"}, "task": "classify", "input": [3, 8, 8]}},
            "matrix": {"engine": "fake", "scenario": "server"},
        }
    )
    longest_s = durations.limits(PlannedCell(cell, 5, 1.0), suite).maximum_s
    assert longest_s == 30.0  # of the preset: eight trials of it are well within ten minutes
    assert stretch_s(ServerSettings(), 20.0, longest_s) == pytest.approx(460 / 20)
    assert stretch_s(ServerSettings(), 5.0, longest_s) == longest_s
    assert stretch_s(ServerSettings(), 1e4, longest_s) == 10.0
    assert stretch_s(ServerSettings(seconds=40.0), 5.0, longest_s) == 40.0
    hasty = suite.model_copy(update={"timeout": 140.0})
    assert 10.0 < durations.limits(PlannedCell(cell, 5, 1.0), hasty).maximum_s < 30.0
