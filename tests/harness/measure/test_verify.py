"""No speed is published for garbage."""

import numpy as np
import pytest

from harness.errors import VerifyFailed
from harness.measure.verify import Comparison, check_sane
from harness.vocabulary import TensorSpec

SPEC = (TensorSpec("out", "float32", (1, 4)),)
GOOD = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


def test_good_outputs_pass():
    check_sane({"out": GOOD}, SPEC)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "missing"),
        ({"out": GOOD[:, :3]}, r"shape \[1, 3\], not \[1, 4\]"),
        ({"out": np.array([[1, np.nan, 3, np.inf]], dtype=np.float32)}, "2 of 4 values that are not finite"),
        ({"out": np.ones((1, 4), np.float32)}, "constant"),
    ],
)
def test_nonsense_is_named(outputs, message):
    with pytest.raises(VerifyFailed, match=message):
        check_sane(outputs, SPEC)


FLAT = np.zeros((1, 4), np.float32)
IDS = np.zeros((1, 4), np.int64)


@pytest.mark.parametrize(
    "outputs",
    [
        {"out": GOOD, "ids": IDS},  # one class
        {"out": GOOD, "scores": FLAT},  # nothing found, by a model that has suppressed
        {"out": IDS},  # a class map of one class
        {"out": np.zeros((1, 4), bool)},
    ],
)
def test_an_honest_constant_passes(outputs):
    check_sane(outputs, ())


def test_nothing_but_constants_is_no_result():
    with pytest.raises(VerifyFailed, match=r"every output is constant: 'out' \(0.0\), 'more' \(2.0\)"):
        check_sane({"out": FLAT, "ids": np.arange(4), "more": FLAT + 2}, ())


def test_an_output_that_varies_in_the_reference_alone_fails():
    comparison = Comparison()
    with pytest.raises(VerifyFailed, match=r"'out' is constant \(2.0\), the reference's is not"):
        comparison.add({"out": FLAT + 2, "more": GOOD}, {"out": GOOD, "more": GOOD})
    comparison.add({"out": FLAT, "ids": IDS}, {"out": FLAT, "ids": IDS})
    assert comparison.agreement().cosine == 1


def agreement(a, b):
    comparison = Comparison()
    comparison.add({"out": a}, {"out": b})
    return comparison.agreement()


def test_equal_outputs_agree_entirely():
    found = agreement(GOOD, GOOD)
    assert (found.cosine, found.max_relative, found.snr_db) == (pytest.approx(1), 0, 200)


def test_the_figures_are_those_of_their_formulas():
    found = agreement(GOOD + np.array([[0, 0, 0, 0.4]], np.float32), GOOD)
    assert found.max_relative == pytest.approx(0.1, rel=1e-5)
    assert found.snr_db == pytest.approx(10 * np.log10(30 / 0.16), rel=1e-5)


@pytest.mark.parametrize("broken", [-GOOD, np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)])
def test_outputs_far_from_the_reference_fail(broken):
    with pytest.raises(VerifyFailed, match="cosine"):
        agreement(broken, GOOD)


def test_another_shape_than_the_reference_fails():
    with pytest.raises(VerifyFailed, match="reference gives"):
        agreement(GOOD[:, :2], GOOD)


def test_the_worst_input_counts():
    comparison = Comparison()
    comparison.add({"out": GOOD}, {"out": GOOD})
    comparison.add({"out": GOOD * 1.5}, {"out": GOOD})
    assert comparison.agreement().max_relative == pytest.approx(0.5)
    assert comparison.agreement().inputs == 2


def test_a_zero_reference_divides_nothing():
    zero = np.zeros((1, 4), np.float32)
    assert agreement(zero, zero).cosine == 1
