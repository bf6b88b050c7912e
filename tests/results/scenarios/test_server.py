"""What launches of random arrivals say: which rates kept the SLO, how sure that is, and how late the harness was."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.samples import STEADY, WARMUP, Samples
from harness.vocabulary import Trial
from results.driven import RateTried, Share
from results.row import Quantile
from results.scenarios.server import lateness_ns, server

MS = 1_000_000


def samples_of(due_ns, start_ns, end_ns, phase=STEADY):
    due, start, end = (np.asarray(column, dtype=np.int64) for column in (due_ns, start_ns, end_ns))
    return Samples(np.full_like(due, phase), np.zeros_like(due), due, start, start, end, end)


def launch(index, *trials, streams=1, batch=1, **parameters):
    """A launch whose trials are (rate, responses in ms, queries given up); queries come evenly, warm-up rows before."""
    parts, made = [samples_of([0] * 5, [0] * 5, [10**12] * 5, WARMUP)], []
    for rate, responses_ms, given_up in trials:
        due = np.arange(len(responses_ms)) * 1e9 / rate
        end = due + np.asarray(responses_ms, dtype=float) * MS
        offered, first = len(responses_ms) + given_up, sum(map(len, parts))
        made.append(Trial(rate, offered / rate, offered, first, len(responses_ms)))
        parts.append(samples_of(due, due, end))
    record = SimpleNamespace(
        cell=SimpleNamespace(batch=batch, scenario=SimpleNamespace(title="busy hour", parameters=parameters)),
        cell_id="cell",
        launch=SimpleNamespace(index=index),
        timing=SimpleNamespace(streams=streams),
        trials=tuple(made),
    )
    return SimpleNamespace(samples=Samples.joined(parts), record=record)


def responses(count, late, *, quick_ms=10, slow_ms=200):
    """So many responses, so many of them slow and at drawn places."""
    values = np.full(count, float(quick_ms))
    values[np.random.default_rng(count).choice(count, late, replace=False)] = slow_ms
    return values


def test_a_searched_rate_is_the_highest_of_each_launch_that_kept_the_slo():
    found = server(
        [
            launch(0, (100, responses(1000, 0), 0), (200, responses(1000, 10), 0), (250, responses(1000, 11), 0)),
            launch(1, (100, responses(1000, 0), 0), (220, responses(1000, 0), 0), (210, responses(1000, 500), 0)),
        ]
    )
    assert found.searched
    assert found.verdict == "meets"
    assert found.rate_hz.estimate == pytest.approx(210)
    assert found.rate_hz.launches == 2
    assert found.rate_hz.low < 210 < found.rate_hz.high
    assert found.message == "p99 ≤ 100 ms up to 210 queries per second"
    assert [one.meets for one in found.tried] == [True, True, False, True, True, False]
    assert (found.cell_id, found.title, found.streams, found.batch) == ("cell", "busy hour", 1, 1)


def test_a_launch_that_found_no_rate_leaves_it_undecided():
    found = server(
        [launch(0, (100, responses(1000, 0), 0)), launch(1, (70, responses(1000, 90), 0), (35, responses(500, 60), 0))]
    )
    assert found.verdict == "undecided"
    assert found.message == (
        "p99 ≤ 100 ms up to 100 queries per second, in 1 of 2 launches alone; no higher rate was tried"
    )
    assert found.rate_hz.launches == 1


def test_an_slo_that_nobody_can_meet_names_the_lowest_that_was_seen():
    slow = responses(1000, 0, quick_ms=21)
    found = server([launch(0, (50, slow + 60, 0), (25, slow, 0), slo_ms=5), launch(1, (50, slow + 7, 400), slo_ms=5)])
    assert found.verdict == "misses"
    assert found.rate_hz is None
    assert found.message == "no rate meets p99 ≤ 5 ms; the lowest seen was 21 ms"


def test_too_few_queries_name_no_percentile():
    found = server([launch(0, (5, responses(20, 0, quick_ms=1234.4), 0), slo_ms=5)])
    assert found.tried[0].response.value_ns is None
    assert found.message == (
        "no rate meets p99 ≤ 5 ms; n is too small for that percentile, the lowest median was 1,234 ms"
    )


def test_a_rate_that_offered_nothing_meets_nothing():
    found = server([launch(0, (0.01, [], 0), slo_ms=5)])
    assert found.verdict == "misses"
    assert found.message == "no rate meets p99 ≤ 5 ms; no query was answered"
    assert found.lateness_ns == 0


def test_what_was_given_up_is_late_and_has_no_quantile():
    (tried,) = server([launch(0, (100, responses(1000, 0), 50))]).tried
    assert not tried.stable
    assert not tried.meets
    assert tried.response.value_ns is None
    assert (tried.late.count, tried.late.of) == (50, 1050)
    assert (tried.offered, tried.answered) == (1050, 1000)


def test_a_backlog_that_grows_is_not_stable_even_within_the_slo():
    (tried,) = server([launch(0, (100, np.linspace(10, 500, 1000), 0), slo_ms=1000)]).tried
    assert tried.late.count == 0
    assert not tried.stable
    assert not tried.meets


@pytest.mark.parametrize(
    ("late", "launches", "verdict"), [(0, 1, "meets"), (10, 3, "undecided"), (100, 3, "misses"), (2, 5, "meets")]
)
def test_a_given_rate_is_judged_by_the_interval_of_what_was_late(late, launches, verdict):
    found = server([launch(index, (100, responses(1000, late), 0), rate=100) for index in range(launches)])
    assert not found.searched
    assert found.verdict == verdict
    assert found.message.startswith("p99 ≤ 100 ms at 100 queries per second: ")
    assert f"{late / 1000:.2%} of {1000 * launches:,} queries were late" in found.message


def test_few_queries_decide_nothing():
    assert server([launch(0, (100, responses(50, 0), 0), rate=100)]).verdict == "undecided"


def test_a_backlog_that_grew_in_one_launch_leaves_a_given_rate_undecided():
    growing = launch(1, (100, np.linspace(10, 90, 1000) + np.linspace(0, 400, 1000), 0), rate=100, slo_ms=1000)
    quiet = launch(0, (100, responses(1000, 0), 0), rate=100, slo_ms=1000)
    found = server([quiet, growing])
    assert found.verdict == "undecided"
    assert found.message.endswith("; the backlog grew in 1 of 2 launches")
    assert server([growing]).verdict == "misses"


@given(st.integers(1, 2000), st.data())
def test_a_rate_meets_the_slo_just_where_its_quantile_does(of, data):
    late = data.draw(st.integers(0, of))
    slow = np.arange(of) < late
    value = np.quantile(slow, 0.99, method="inverted_cdf")
    quantile = Quantile(0.99, None, None, None, 0.0, 368)
    tried = RateTried(0, 100.0, quantile, Share(late, of, 0.0, 1.0), stable=True, offered=of, answered=of)
    assert tried.meets == (not value)


def test_the_generator_is_late_only_where_a_stream_was_waiting():
    # The second query waits for the engine; the third finds it idle and begins 3 late.
    one = samples_of([0, 10, 60], [2, 22, 63], [22, 42, 83])
    assert lateness_ns(one, 1, 1, 0).tolist() == [2, 3]
    # With two streams nobody waited for the engine.
    two = samples_of([0, 10, 60], [2, 11, 63], [22, 42, 83])
    assert lateness_ns(two, 2, 1, 0).tolist() == [2, 1, 3]


def test_a_query_that_comes_between_two_services_is_not_the_generators():
    # Due at 21, when the first is done and the second, which waited, has not begun yet.
    queued = samples_of([0, 10, 21], [0, 22, 42], [20, 42, 62])
    assert lateness_ns(queued, 1, 1, 0).tolist() == [0]


def test_a_batch_is_late_from_when_it_was_ready():
    # Full at 4, and begun at 6; then one that waits in vain for another until 30.
    batches = samples_of([0, 4, 20], [6, 6, 33], [9, 9, 40])
    assert lateness_ns(batches, 1, 2, 10).tolist() == [2, 3]
    # Full after its delay had passed: it was ready before.
    assert lateness_ns(samples_of([0, 15], [17, 17], [20, 20]), 1, 2, 10).tolist() == [7]


def test_the_lateness_of_a_cell_is_the_99th_percentile_over_launches():
    exact, late = launch(0, (10, responses(50, 0), 0)), launch(1, (10, responses(50, 0), 0))
    late.samples.start_ns[-50:] += 5 * MS
    assert server([exact]).lateness_ns == 0
    assert server([exact, late]).lateness_ns == 5 * MS


def test_a_rate_that_too_few_queries_tell_of_is_no_promise():
    few = [launch(index, (20, responses(100, 0), 0), (25, responses(125, 40), 0)) for index in (0, 1)]
    found = server(few)
    assert found.verdict == "undecided"
    assert found.message.endswith("; n is too small for p99")


def test_a_given_rate_that_misses_is_published_as_no_rate():
    cell = [launch(index, (50, responses(1000, 60), 0), rate=50.0) for index in (0, 1)]
    found = server(cell)
    assert (found.verdict, found.rate_hz) == ("misses", None)
