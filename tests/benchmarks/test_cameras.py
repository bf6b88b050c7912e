"""The camera figure, at a scale that is no figure."""

from benchmarks import cameras
from benchmarks.figure import Verdict


def test_what_is_over_the_deadline_misses_whatever_the_machine_does():
    measured = cameras.measure(lambda word: None, launches=1, seconds=0.3)
    over, under = measured.figures
    assert over.name == "missed at 1.1 × the deadline"
    assert (over.value, over.verdict, over.samples) == (1.0, Verdict.PASS, 9)
    # How many of the others are in time is the machine's: it is busy with tests.
    assert under.samples == 9
    assert under.verdict is (Verdict.PASS if under.value == 0 else Verdict.FAIL)
    assert len(measured.notes) == 2
    assert "9 of 9 frames missed" in measured.notes[0]


def test_the_cases_are_those_of_the_claim():
    assert {factor for factor, _ in cameras.CASES.values()} == {1.1, 0.5}
    over, under = (cameras.CASES[name][1] for name in ("over", "under"))
    assert over.holds(1.0)
    assert not over.holds(0.999)
    assert under.holds(0.0)
    assert not under.holds(0.001)
    assert cameras.LAUNCHES * cameras.SECONDS * 30 >= 1000
