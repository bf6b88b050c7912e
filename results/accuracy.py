"""Accuracy of a row against its FP32 reference: the paired change, and the verdict on the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.vocabulary import Precision
from results import paired
from results.row import AccuracyResult, Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Accuracy, Cell
    from results.store import RunStore

TARGET = 0.99
"""Share of the reference metric to keep: the higher of MLPerf Inference's two accuracy targets."""


@dataclass(frozen=True)
class Evaluated:
    """A variant whose accuracy was measured."""

    cell: Cell
    label: str
    accuracy: Accuracy


def reference_for(subject: Evaluated, candidates: Sequence[Evaluated]) -> Evaluated | None:
    """Return the FP32 variant to compare with, of the same workload and images; ``None`` where there is none.

    Its own engine's is preferred, then the same device, batch and environment, then what was planned first.
    """
    mine = subject.cell
    fitting = [
        other
        for other in candidates
        if other.cell.precision is Precision.FP32
        and other.cell.workload == mine.workload
        and (other.cell.source_hash, other.cell.shape) == (mine.source_hash, mine.shape)
        and other.cell.evaluation_hash == mine.evaluation_hash
        and other.accuracy.primary == subject.accuracy.primary
    ]

    def likeness(other: Evaluated) -> tuple[bool, bool, bool, bool]:
        its = other.cell
        same = (its.engine == mine.engine, its.device == mine.device, its.batch == mine.batch)
        return (*same, its.environment == mine.environment)

    return max(fitting, key=likeness, default=None)  # the first of equals


def compared(store: RunStore, subject: Evaluated, candidates: Sequence[Evaluated], target: float) -> AccuracyResult:
    """Return the accuracy of ``subject`` with its change against its reference and the verdict.

    ``target``: share of the reference metric to keep. Where the change cannot be told, a note says why.
    """
    accuracy = subject.accuracy
    result = AccuracyResult(accuracy.metrics, accuracy.primary, accuracy.images, accuracy.notes, target=target)
    if subject.cell.precision is Precision.FP32:
        return result
    reference = reference_for(subject, candidates)
    if reference is None:
        return _unmeasured(result, "no FP32 row of this workload was evaluated on the same images")
    if accuracy.per_image is None or reference.accuracy.per_image is None:
        return _unmeasured(result, "no per-image facts are stored, so the change has no interval")
    try:
        found = paired.change(store.arrays(reference.accuracy.per_image), store.arrays(accuracy.per_image))
    except (ValueError, HarnessError) as error:
        return _unmeasured(result, f"the change has no interval: {error}")
    change = Change(found.estimate, found.low, found.high, found.method, found.images, reference.label)
    kept = target * reference.accuracy.metrics[accuracy.primary]
    limit = kept - reference.accuracy.metrics[accuracy.primary]
    return replace(result, change=change, verdict=verdict(change.low, change.high, limit))


def verdict(low: float, high: float, limit: float) -> str:
    """Return ``passes`` or ``fails`` where the whole interval is on that side of ``limit``, else ``undecided``.

    ``limit`` is the lowest change that is accepted: zero or negative, in units of the metric.
    """
    if low >= limit:
        return "passes"
    return "fails" if high < limit else "undecided"


def _unmeasured(result: AccuracyResult, reason: str) -> AccuracyResult:
    return replace(result, verdict="not measured", notes=(*result.notes, reason))
