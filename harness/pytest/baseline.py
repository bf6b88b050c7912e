"""What the tests of a suite are held to, found before anything is measured, and what is said of the gate as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.gate_sides import Judged, NoBaseline, base_of, share_a_cell
from harness.host import hardware, short_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.pytest.nodes import SuiteFile
    from harness.vocabulary import Cell
    from results.changes import Difference
    from results.gate import Gate
    from results.snapshot import Snapshot

_SHOWN = 5


def baseline(which: str, file: SuiteFile, cells: Sequence[Cell], baselines: Path, runs: Path) -> Snapshot:
    """Return what ``--harness-baseline`` means. Raises ``NoBaseline`` or ``HarnessError``, with what to do about it."""
    machine = hardware()
    suite, setting = file.campaign.suite, file.setting
    judged = Judged(str(suite.name), short_id(machine), machine, setting)
    base = base_of(which, judged, baselines, runs)
    if not share_a_cell(base, [cell.cell_id for cell in cells]):
        message = f"{base.run_id} has none of the selected cells of the suite {suite.name!r}"
        raise NoBaseline(message, f"weights, images or settings changed, or the selection is new: {setting}")
    return base


def told(gate: Gate) -> Iterator[str]:
    """Yield what concerns all cells: what it was held to, the power, what is suffered, and likely causes."""
    comparison = gate.comparison
    yield f"gate: {gate.outcome.value}, held to {comparison.before.run_id} of {comparison.before.created_at[:10]}"
    power = gate.power
    if power is not None:
        yield (
            f"power to find a change of the margin: {power.median:.0%} (median of {power.tests} tests), "
            f"{power.least:.0%} at the least"
        )
    for change in gate.allowed:
        assert change.allowance is not None
        yield f"allowed until {change.allowance.until.isoformat()}: {change.label}, {change.quantity}: {change.message}"
    for expired in gate.expired:
        yield f"the allowance of {expired.cells} ended on {expired.until.isoformat()}"
    if gate.failing and comparison.causes:
        yield f"likely causes: {_listed(comparison.causes)}"
    yield from gate.notes


def _listed(causes: Sequence[Difference]) -> str:
    listed = ", ".join(f"{each.place} ({each.before} → {each.after})" for each in causes[:_SHOWN])
    return f"{listed} and {len(causes) - _SHOWN} more" if len(causes) > _SHOWN else listed
