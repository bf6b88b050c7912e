"""How much of the FP32 row's accuracy a row keeps, and whether that is enough for sure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from results.accuracy import verdict
from results.formats.amounts import fixed
from results.procurement.demand_text import shown_accuracy
from results.procurement.offers import Span
from results.procurement.trust import ACCURACY_GATE, untold

if TYPE_CHECKING:
    from results.row import Row


def retained(row: Row) -> Span | None:
    """Return the share of the FP32 row's metric that a row keeps; ``None`` where that is not known.

    An FP32 row is a reference itself and keeps all. The ends are those of the paired change over images.
    """
    result = row.accuracy
    if result is None or result.verdict == "not measured":
        return None
    if result.change is None:
        return Span(1.0, 1.0, 1.0) if result.verdict == "reference" else None
    reference = result.metrics[result.primary] - result.change.estimate
    if not 0 < reference < math.inf:
        return None
    ends = (result.change.estimate, result.change.low, result.change.high)
    value, low, high = ((reference + end) / reference for end in ends)
    return Span(value, low, high)


def inaccurate(row: Row, minimum: float | None) -> str | None:
    """Return why a row does not keep ``minimum`` of the FP32 row's metric, ``None`` where it surely does.

    The whole interval must lie at or above the minimum. A row that misses the target of its own suite is not accurate
    enough, whatever else is asked; of a row without a minimum to keep nothing more is asked.
    """
    gate = next((each for each in row.findings if each.kind == ACCURACY_GATE and each.unranked), None)
    if gate is not None:
        return gate.message or "misses the accuracy target of its suite"
    if minimum is None:
        return None
    kept = retained(row)
    if kept is None or kept.low is None or kept.high is None:
        return f"its accuracy is not known: {_unknown(row)}"
    found = verdict(kept.low - 1, kept.high - 1, minimum - 1)
    if found == "passes":
        return None
    shown = f"{percent(kept.value)} [{percent(kept.low, '')}, {percent(kept.high, '')}] of FP32's accuracy"
    if found == "fails":
        return f"keeps {shown}, less than {shown_accuracy(minimum)}"
    images = f" on {row.accuracy.images:,} images" if row.accuracy is not None and row.accuracy.images else ""
    return f"undecided: {shown}{images} does not settle {shown_accuracy(minimum)}"


def percent(share: float, unit: str = " %") -> str:
    """Return a share as ``97.8 %``."""
    return f"{fixed(100 * share, 1)}{unit}"


def percent_below(share: float) -> str:
    """Return a share as ``97.8 %``, rounded down, so that what is said is kept."""
    return percent(math.floor(1000 * share + 1e-9) / 1000)


def _unknown(row: Row) -> str:
    if row.accuracy is None:
        return untold(row, "accuracy") or "it was not measured"
    if row.accuracy.verdict == "not measured" and row.accuracy.notes:
        return row.accuracy.notes[-1]
    return "its change against FP32 has no interval"
