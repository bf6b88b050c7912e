"""Why a row may not be recommended: what it ran was not what was asked, or its measurement does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.vocabulary import Failed, Skipped, Stage

if TYPE_CHECKING:
    from harness.vocabulary import Finding
    from results.row import Row

ACCURACY_GATE = "accuracy"
"""The finding on a row that misses the accuracy target of its suite; see ``results.procurement.retained``."""
_DOUBTS = frozenset({"screening", "noisy", "unsteady"})
"""Findings that leave a row in the ranking of its own report, marked, and are too much to sign an order on."""


def distrust(row: Row) -> str | None:
    """Return the first reason why a row may never be recommended, ``None`` where nothing speaks against it.

    Whatever bars it from the ranking comes first: it fell back, ran at another precision, or was calibrated on what it
    was judged by. Then that nothing of it was timed, and outputs that failed verification in whatever scenario. Then
    what is wrong with the measurement: too few launches, noise, launches that became slower, throttling that no soak
    was there to follow, or a proof that is missing, without which a fall-back would go unseen. A missed accuracy target
    is no matter of trust, though it bars a row as well.
    """
    for finding in row.findings:
        if finding.unranked and finding.kind != ACCURACY_GATE:
            return finding.message or finding.kind
    return _undone(row) or _unverified(row) or next((each.message or each.kind for each in _doubts(row)), None)


def remeasurable(row: Row) -> bool:
    """Whether a better measurement is all that it takes to trust a row."""
    barred = any(finding.unranked and finding.kind != ACCURACY_GATE for finding in row.findings)
    return not barred and _undone(row) is None and _unverified(row) is None and any(_doubts(row))


def untold(row: Row, scenario: str) -> str | None:
    """Return why a scenario gave nothing, where it was tried or planned; ``None`` where it was not asked for."""
    outcome = row.outcomes.get(scenario)
    if isinstance(outcome, Failed):
        return f"{scenario} failed at {outcome.stage.value}: {outcome.message}"
    return f"{scenario} was not run: {outcome.reason}" if isinstance(outcome, Skipped) else None


def _undone(row: Row) -> str | None:
    """Return why nothing of a row was timed; what was never asked for is no reason."""
    if row.timed:
        return None
    told = [why for why in (untold(row, scenario) for scenario in row.outcomes) if why is not None]
    failed = [why for why in told if " failed at " in why]
    return next(iter((*failed, *told)), None)


def _unverified(row: Row) -> str | None:
    """Return where the outputs of a row were not those of its model: what other scenarios timed is of that, too."""
    failed = (name for name, told in row.outcomes.items() if isinstance(told, Failed) and told.stage is Stage.VERIFY)
    return next((untold(row, name) for name in failed), None)


def _doubts(row: Row) -> list[Finding]:
    return [
        each
        for each in row.findings
        if each.kind in _DOUBTS
        or (each.kind == "throttled" and not row.soaks)
        or (each.kind == "unproven" and row.execution is None)
    ]
