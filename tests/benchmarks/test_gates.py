"""The simulated gates at a fraction of their size: what they draw, and that a broken rule fails them."""

import numpy as np
import pytest

from benchmarks import gates
from results import comparison
from results.snapshots import derived


def told(_):
    """Hear progress and say nothing."""


def by_name(measured):
    return {figure.name: figure for figure in measured.figures}


def test_few_gates_accuse_what_did_not_change_and_most_find_what_did():
    figures = by_name(gates.measure(told, gates=20, of_records=1))
    assert len(figures) == 5
    for name, figure in figures.items():
        if "found" in name:
            assert figure.value >= 0.8
        else:
            assert figure.value <= 0.1


def test_a_gate_without_adjustment_would_accuse(monkeypatch):
    monkeypatch.setattr(comparison, "holm", list)
    monkeypatch.setattr(gates, "LAUNCH_SPREAD", 0.06)
    figures = by_name(gates.measure(told, gates=20, of_records=1))
    assert figures["one look: gates with a false alarm"].low > 0.05


def test_a_run_of_records_says_what_was_drawn():
    medians_ns = gates.levels(np.random.default_rng(1), 3, slower=0)
    found, direct = derived(gates.recorded(medians_ns, np.random.default_rng(3))), gates.drawn(medians_ns)
    assert [cell.cell_id for cell in found.cells] == [cell.cell_id for cell in direct.cells]
    for one, other in zip(found.cells, direct.cells, strict=True):
        assert one.reading("latency").launches == other.reading("latency").launches
        assert one.reading("latency").values == pytest.approx(other.reading("latency").values, rel=0.01)
    assert np.log(medians_ns[0]).mean() - np.log(medians_ns[1:]).mean() == pytest.approx(np.log(1.05), abs=0.05)
