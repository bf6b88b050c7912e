"""Which row carries most under a service level: the highest rate of arrivals that met it, and who cannot be told apart.

What one ``server`` cell says is in ``results.scenarios.server``; here rows stand beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.findings import MINIMUM_LAUNCHES
from results.rank import launch_ratio
from results.scenarios.server import MEETS, highest_met
from results.statistics import not_worse_than_best

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.driven import Server
    from results.row import Interval, Row


@dataclass(frozen=True)
class Served:
    """The rows of one service level."""

    percentile: float  # in (0, 100)
    limit_ms: float
    servers: Mapping[str, Server]  # by variant id: of several settings, the one that carried most; highest rate first
    best: tuple[str, ...]  # that no test tells from the highest rate; empty: none is shown to meet it
    tested: bool  # False: rates were given or came from one launch, so they are compared as they are
    screening: bool  # too few launches to recommend anything
    ratio_to_best: Mapping[str, Interval]  # rate as a share of the best one's, of the rows that could be ranked


def served(rows: Sequence[Row]) -> tuple[Served, ...]:
    """Return the service levels of rows that may be held against each other, in the order of first sight.

    Batches compete: a rate is of queries, whatever a batch holds. Only a row that ``meets`` may be the best, and none
    that is left out of rankings; rows with fewer than five launches only where no row has more, as in ``standings``.
    """
    levels: dict[tuple[float, float], dict[str, list[Server]]] = {}
    for row in rows:
        for server in row.servers:
            level = levels.setdefault((server.slo_percentile, server.slo_ms), {})
            level.setdefault(row.variant_id, []).append(server)
    by_id = {row.variant_id: row for row in rows}
    return tuple(_level(percentile, limit, found, by_id) for (percentile, limit), found in levels.items())


def lowest_missed(server: Server) -> float | None:
    """Return the lowest rate that missed the level above what met it; ``None``: none did, so there may be more."""
    reached = server.rate_hz.estimate if server.rate_hz else 0.0
    return min((tried.rate_hz for tried in server.tried if not tried.meets and tried.rate_hz > reached), default=None)


def _level(percentile: float, limit_ms: float, found: Mapping[str, list[Server]], by_id: Mapping[str, Row]) -> Served:
    most = {
        key: max(servers, key=lambda server: (server.verdict == MEETS, _rate(server))) for key, servers in found.items()
    }
    order = sorted(most, key=lambda key: (most[key].verdict != MEETS, -_rate(most[key]), key))
    able = [key for key in order if most[key].verdict == MEETS and not _unranked(by_id[key])]
    replicated = [key for key in able if _launches(most[key]) >= MINIMUM_LAUNCHES]
    ranked = replicated or able
    rates = {key: {launch: tried.rate_hz for launch, tried in highest_met(most[key].tried).items()} for key in ranked}
    # A rate that the suite gives has no spread, and one launch shows none: such rates are compared as they are.
    tested = all(most[key].searched and len(rates[key]) > 1 for key in ranked)
    if tested:
        # Time between queries, so that the lowest is the best; on logarithms that is the same test.
        gaps = {key: {launch: 1 / rate for launch, rate in by_launch.items()} for key, by_launch in rates.items()}
        best = not_worse_than_best(gaps)
    else:
        best = tuple(key for key in ranked if _rate(most[key]) == _rate(most[ranked[0]]))
    return Served(
        percentile=percentile,
        limit_ms=limit_ms,
        servers={key: most[key] for key in order},
        best=best,
        tested=tested,
        screening=bool(able) and not replicated,
        ratio_to_best={key: launch_ratio(rates[best[0]], rates[key]) for key in ranked} if tested and ranked else {},
    )


def _rate(server: Server) -> float:
    return server.rate_hz.estimate if server.rate_hz else 0.0


def _launches(server: Server) -> int:
    return server.rate_hz.launches if server.rate_hz else 0


def _unranked(row: Row) -> bool:
    return any(finding.unranked for finding in row.findings)
