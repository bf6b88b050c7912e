from dataclasses import replace

import pytest

from harness.vocabulary import Completed, Execution, Failed, Finding, Skipped, Stage, Unknowable
from results.procurement.retained import inaccurate, percent_below, retained
from results.procurement.trust import distrust, remeasurable, untold
from results.row import AccuracyResult

CRASH = Failed(Stage.LOAD, "crash", "the worker ended by signal 11")


def test_a_sound_row_is_trusted(make):
    assert distrust(make.row("a", 100)) is None
    assert not remeasurable(make.row("a", 100))


@pytest.mark.parametrize("kind", ["screening", "noisy", "unsteady"])
def test_what_a_better_measurement_would_settle_is_distrusted_until_then(make, kind):
    row = make.row("a", 100, findings=(Finding(kind, f"it is {kind}"),))
    assert distrust(row) == f"it is {kind}"
    assert remeasurable(row)


@pytest.mark.parametrize("kind", ["fell-back", "other-precision", "overlap", "whatever comes next"])
def test_what_is_not_ranked_is_never_trusted_however_well_it_is_measured(make, kind):
    findings = (Finding("noisy", "noise"), Finding(kind, f"it is {kind}", unranked=True))
    row = make.row("a", 100, findings=findings)
    assert distrust(row) == f"it is {kind}"
    assert not remeasurable(row)


@pytest.mark.parametrize("kind", ["few-inputs", "retried", "overhead", "accuracy-undecided", "leak"])
def test_what_is_worth_reading_alone_leaves_a_row_trusted(make, kind):
    assert distrust(make.row("a", 100, findings=(Finding(kind, "read this"),))) is None


def test_a_proof_that_is_missing_may_hide_a_fall_back(make):
    findings = (Finding("unproven", "what the engine executed is not proven: its prove launch gave no record of it"),)
    row = make.row("a", 100, findings=findings)
    assert distrust(row) == findings[0].message
    assert remeasurable(row)
    told = Unknowable("the provider does not tell")
    proven = Execution("cpu", {"cpu": 3}, told, told, told, 1, 1)
    assert distrust(replace(row, execution=proven)) is None, "what a runtime cannot tell is said, and no fault of a row"


@pytest.mark.parametrize("scenario", ["prove", "latency", "accuracy"])
def test_outputs_that_failed_verification_in_any_scenario_are_distrusted(make, scenario):
    wrong = Failed(Stage.VERIFY, "verify", "cosine 0.12 against the reference")
    row = make.row("a", 100, outcomes={"soak": Completed(), scenario: wrong})
    assert distrust(row) == f"{scenario} failed at verify: cosine 0.12 against the reference"
    assert not remeasurable(row)


def test_throttling_is_followed_by_a_soak_and_distrusted_without_one(make):
    findings = (Finding("throttled", "2 of 5 launches were throttled"),)
    assert distrust(make.row("a", 100, findings=findings)) is None
    assert distrust(make.row("a", servers=(make.server({100: 5}),), findings=findings)) is not None


def test_of_a_row_that_was_never_timed_the_failure_is_the_reason(make):
    row = make.row("a", outcomes={"latency": Skipped("no time"), "soak": CRASH, "memory": Completed()})
    assert distrust(row) == "soak failed at load: the worker ended by signal 11"
    assert not remeasurable(row)
    assert distrust(make.row("a", outcomes={"latency": Skipped("not here")})) == "latency was not run: not here"


def test_a_failure_beside_what_was_timed_is_not_held_against_it(make):
    row = make.row("a", 100, outcomes={"soak": Completed(), "mlperf": CRASH})
    assert distrust(row) is None
    assert untold(row, "mlperf") == "mlperf failed at load: the worker ended by signal 11"
    assert untold(row, "soak") is None
    assert untold(row, "server") is None


def test_a_missed_accuracy_gate_is_a_matter_of_accuracy(make):
    row = make.row("a", 100, findings=(Finding("accuracy", "−18 points: misses 99 %", unranked=True),))
    assert distrust(row) is None
    assert inaccurate(row, None) == "−18 points: misses 99 %"
    assert inaccurate(row, 0.5) == "−18 points: misses 99 %"


def test_the_whole_interval_must_keep_the_minimum(make):
    assert inaccurate(make.row("a", accuracy=make.accuracy(0.985, 1.01)), 0.98) is None
    assert inaccurate(make.row("a", accuracy=make.accuracy(0.985, 1.01)), None) is None
    undecided = inaccurate(make.row("a", accuracy=make.accuracy(0.985, 1.01, verdict="undecided")), 0.99)
    assert undecided == "undecided: 99.8 % [98.5, 101.0] of FP32's accuracy on 500 images does not settle 99 %"
    missed = inaccurate(make.row("a", accuracy=make.accuracy(0.95, 0.97, verdict="fails")), 0.99)
    assert missed == "keeps 96.0 % [95.0, 97.0] of FP32's accuracy, less than 99 %"


def test_the_reference_keeps_all_of_itself(make):
    row = make.row("a", accuracy=AccuracyResult({"top1": 0.8}, "top1", 500))
    assert retained(row).value == 1
    assert inaccurate(row, 1.0) is None


def test_accuracy_that_was_not_measured_keeps_nothing_for_sure(make):
    unmeasured = AccuracyResult({"top1": 0.8}, "top1", 500, ("no FP32 row",), verdict="not measured")
    zero = make.accuracy(0.99, metric=0.0)
    failed = {"accuracy": CRASH}
    assert inaccurate(make.row("a"), 0.9) == "its accuracy is not known: it was not measured"
    assert inaccurate(make.row("a", outcomes=failed), 0.9).endswith("accuracy failed at load: " + CRASH.message)
    assert inaccurate(make.row("a", accuracy=unmeasured), 0.9) == "its accuracy is not known: no FP32 row"
    assert inaccurate(make.row("a", accuracy=zero), 0.9) is not None
    assert all(retained(make.row("a", accuracy=found)) is None for found in (None, unmeasured, zero))


def test_what_is_guaranteed_is_rounded_down():
    assert percent_below(0.97899) == "97.8 %"
    assert percent_below(0.978) == "97.8 %"
