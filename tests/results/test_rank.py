from dataclasses import replace

import pytest

from harness.vocabulary import Finding
from results.rank import standings
from results.row import AccuracyResult
from results.statistics import launch_interval

SPREAD = (1.0, 1.01, 0.99, 1.005, 0.995)


@pytest.fixture(scope="module")
def template(synthetic_rows):
    return next(row for row in synthetic_rows if row.ranked)


@pytest.fixture
def make(template):
    def row(name, median_ms, *, launches=5, score=None, batch=1, unranked=False):
        medians = tuple(1e6 * median_ms * factor for factor in SPREAD[:launches])
        latency = replace(
            template.latency,
            host_to_host=launch_interval(medians),
            launch_medians_ns=medians,
            launch_indices=tuple(range(launches)),
        )
        accuracy = None if score is None else AccuracyResult({"top1": score}, "top1", 100)
        findings = (Finding("fell-back", "", unranked=True),) if unranked else ()
        cell = replace(template.cell, batch=batch)
        return replace(template, variant_id=name, latency=latency, accuracy=accuracy, findings=findings, cell=cell)

    return row


def test_the_best_leads_and_the_slower_follow(make):
    (standing,) = standings([make("slow", 12), make("best", 10), make("slower", 13)])
    assert standing.best == ("best",)
    assert standing.rest == ("slow", "slower")
    assert standing.ratio_to_best["slow"].estimate == pytest.approx(1.2)
    assert standing.ratio_to_best["best"].estimate == 1.0
    assert not standing.screening


def test_what_differs_only_by_noise_ties(make, template):
    first = make("first", 10)
    medians = tuple(reversed(first.latency.launch_medians_ns))
    second = replace(
        first,
        variant_id="second",
        latency=replace(first.latency, launch_medians_ns=medians, host_to_host=launch_interval(medians)),
    )
    (standing,) = standings([first, second])
    assert set(standing.best) == {"first", "second"}
    assert standing.rest == ()


def test_unranked_rows_are_excluded_however_fast(make):
    (standing,) = standings([make("fell", 1, unranked=True), make("true", 10)])
    assert standing.best == ("true",)
    assert standing.excluded == ("fell",)
    assert "fell" not in standing.ratio_to_best


def test_screening_rows_rank_only_among_themselves(make):
    (mixed,) = standings([make("quick", 5, launches=2), make("full", 10)])
    assert (mixed.best, mixed.excluded, mixed.screening) == (("full",), ("quick",), False)
    (quick,) = standings([make("a", 5, launches=2), make("b", 10, launches=2)])
    assert quick.screening
    assert quick.best[0] == "a"
    (single,) = standings([make("a", 5, launches=1), make("b", 10, launches=1)])
    assert set(single.best) == {"a", "b"}  # one launch each shows nothing
    assert single.ratio_to_best["b"].low is None


def test_batches_stand_apart_under_names_of_their_own(make):
    found = standings([make("eight", 80, batch=8), make("one", 10)])
    assert [(standing.workload, standing.best) for standing in found] == [
        ("lite0", ("one",)),
        ("lite0 b8", ("eight",)),
    ]


def test_the_frontier_takes_what_nothing_beats_in_both(make):
    candidates = [
        make("fast", 5, score=0.7), make("middle", 10, score=0.8), make("beaten", 11, score=0.8),
        make("best", 20, score=0.9), make("unmeasured", 1),
    ]  # fmt: skip
    (standing,) = standings(candidates)
    assert standing.frontier == ("fast", "middle", "best")


def test_nothing_ranked_is_an_empty_standing(make):
    (standing,) = standings([make("fell", 1, unranked=True)])
    assert (standing.best, standing.rest, standing.frontier, standing.screening) == ((), (), (), False)
    assert standing.ratio_to_best == {}
    assert standings([]) == ()


def test_the_synthetic_run_ranks(synthetic_rows, factory):
    labels = {row.variant_id: row.label for row in synthetic_rows}
    by_name = {standing.workload: standing for standing in standings(synthetic_rows)}
    assert list(by_name) == ["lite0", "yolo11n", "yolo11n b8", factory.HOSTILE]
    lite = by_name["lite0"]
    assert [labels[key] for key in lite.best] == ["openvino int8 cpu b1"]
    assert labels[lite.rest[-1]] == "torch fp32 cpu b1"
    assert {labels[key] for key in lite.excluded} == {
        "onnxruntime int8 cpu b1", "openvino fp16 cpu b1", "torch int8 cpu b1",
    }  # fmt: skip
