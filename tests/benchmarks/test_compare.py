"""The comparison of two large runs at a fraction of its size: what is drawn, and that every verdict can come up."""

import numpy as np
import pytest

from benchmarks import compare
from results.compared import compared


def test_the_figure_is_seconds_with_a_limit_of_five(monkeypatch):
    monkeypatch.setattr(compare, "_SLOWER", 1.5)
    told = []
    measured = compare.measure(told.append, cells=60, repeats=2)
    (figure,) = measured.figures
    assert (figure.name, figure.unit, figure.limit.high) == ("compare of two runs with 60 cells", "s", 5.0)
    assert figure.low < figure.value < figure.high
    assert figure.samples == len(told) == 2
    assert "4 regressed" in measured.notes[0], "two medians and two percentiles"


def test_the_two_sides_differ_by_noise_and_by_what_is_slower():
    generator = np.random.default_rng(1)
    before, after = compare.simulated(generator, 101, 1.0), compare.simulated(generator, 101, 1.5)
    assert [cell.cell_id for cell in before.cells] == [cell.cell_id for cell in after.cells]
    changes = {change.label: change for change in compared(before, after).changes if change.quantity != "p99"}
    slower = [change for change in changes.values() if change.verdict == "regressed"]
    assert [change.label for change in slower] == [before.cells[index].label for index in (0, 50, 100)]
    assert slower[0].effect.estimate == pytest.approx(1.5, rel=0.05)
    assert {len(reading.values) for cell in before.cells for reading in cell.readings} == {1, compare.LAUNCHES}
