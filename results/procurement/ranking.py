"""The order of offers, and how many of the first cannot be told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.procurement.candidates import loss
from results.statistics import holm, paired_log_ratio, welch_log_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.procurement.candidates import Candidate, Terms
    from results.statistics import LogRatio

LEVEL = 0.025
"""One-sided: the upper end of a two-sided interval of 95 %."""
_HALVINGS = 50


@dataclass(frozen=True)
class Ranked:
    """Candidates that keep every constraint, best first; those that cannot be told from it follow it."""

    candidates: tuple[Candidate, ...]
    tied: int

    @property
    def choice(self) -> Candidate | None:
        """The first, if any."""
        return self.candidates[0] if self.candidates else None


def ranked(candidates: Sequence[Candidate], terms: Terms) -> Ranked:
    """Return the candidates that break no constraint, ranked by the criterion of the terms.

    One is worse than the best where its criterion is, at every ratio of the two capacities that the 95 % interval
    leaves: paired by round where both are of one run, else Welch's, Holm-adjusted over all that are compared with the
    best. Where a side has no launches to compare, its interval is taken at the end that speaks against a difference. So
    is a capacity that no higher load was tried for.
    """
    scored = [(loss(one, terms), one) for one in candidates if not one.reasons]
    able = [(own, one) for own, one in scored if own < math.inf]
    ordered = sorted(able, key=lambda pair: (pair[0], -pair[1].items_per_s, pair[1].variant_id))
    if not ordered:
        return Ranked((), 0)
    (bar, best), *others = ordered
    chances = [_p_as_good(best, one, terms, LEVEL / len(others)) if own > bar else 1.0 for own, one in others]
    pairs = list(zip(others, holm(chances), strict=True))
    tied = [other for (_, other), p in pairs if p >= LEVEL]
    worse = [other for (_, other), p in pairs if p < LEVEL]
    return Ranked((best, *tied, *worse), 1 + len(tied))


def _p_as_good(best: Candidate, other: Candidate, terms: Terms, strictest: float) -> float:
    """Return the one-sided p-value against "``other``, worse by its estimate, is as good".

    Below ``strictest``, 0 may stand for it.
    """
    bar = loss(best, terms)
    ratio = _ratio(best, other)
    if ratio is None:
        low, high = best.ends[0], other.ends[1]
        if low is None or high is None:
            return 1.0
        return 0.0 if loss(other, terms, high) > loss(best, terms, low) else 1.0
    widest = ratio.interval(1 - 2 * strictest)
    if widest is None:
        return 1.0
    if loss(other, terms, widest[1] * best.items_per_s) > bar:
        return 0.0
    below, enough = math.log(ratio.estimate), math.log(max(widest[1], ratio.estimate))
    for _ in range(_HALVINGS):
        middle = (below + enough) / 2
        if loss(other, terms, math.exp(middle) * best.items_per_s) > bar:
            below = middle
        else:
            enough = middle
    return ratio.p_below(math.exp(enough))


def _ratio(best: Candidate, other: Candidate) -> LogRatio | None:
    """Return capacity of ``other`` / of ``best`` over launches; ``None`` where launches do not tell it."""
    if best.capacity is None or other.capacity is None or best.capacity.at_least or other.capacity.at_least:
        return None
    ours, theirs = best.capacity.by_launch or {}, other.capacity.by_launch or {}
    if min(len(ours), len(theirs)) < 2:
        return None
    if best.source is other.source and len(ours.keys() & theirs.keys()) >= 2:
        return paired_log_ratio(ours, theirs)
    return welch_log_ratio(list(ours.values()), list(theirs.values()))
