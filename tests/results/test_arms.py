"""A run of two sides, told from one of one."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from results.arms import design_of, is_of_two, sides
from results.comparison import Design
from results.snapshot import Snapshot
from results.store import RunStore


def test_a_run_of_one_side_has_no_two(written_run):
    store = RunStore.open(written_run)
    assert not is_of_two(store)
    with pytest.raises(HarnessError, match="measured one environment"):
        sides(store)


@pytest.mark.parametrize(
    ("before", "after", "design"),
    [
        ("01A@base", "01A@head", Design.INTERLEAVED),
        ("01A@head", "01A@base", Design.INTERLEAVED),
        ("01A@head", "01A@head", Design.APART),
        ("01A@base", "01B@head", Design.APART),
        ("01A", "01A", Design.APART),
    ],
)
def test_the_two_sides_of_one_run_are_interleaved(before, after, design):
    one, other = (Snapshot(run_id, "", "", "", "", "", "", {}, {}, ()) for run_id in (before, after))
    assert design_of(one, other) is design
