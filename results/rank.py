"""The ranking of each workload: who is not worse than the best, and who lies on the latency-accuracy frontier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.findings import MINIMUM_LAUNCHES
from results.row import Interval, Standing
from results.statistics import not_worse_than_best, paired_log_ratio, welch_log_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.row import Latency, Row


def standings(rows: Sequence[Row]) -> tuple[Standing, ...]:
    """Return the standings of every workload in the order of the rows: one per batch, the smallest batch first.

    Devices compete with each other; batches do not, since a latency is that of a whole batch. The smallest batch's
    standing has the workload's own name, the others say theirs: ``yolo11n b8``. Rows with fewer than five launches
    are ranked only where no row has more; the standing is then marked ``screening``.
    """
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.cell.workload, {}).setdefault(row.cell.batch, []).append(row)
    found = []
    for workload, batches in groups.items():
        for batch in sorted(batches):
            name = workload if batch == min(batches) else f"{workload} b{batch}"
            found.append(_standing(name, batches[batch]))
    return tuple(found)


def _standing(name: str, group: Sequence[Row]) -> Standing:
    able = {row.variant_id: row for row in group if row.ranked}
    replicated = {key: row for key, row in able.items() if _latency(row).host_to_host.launches >= MINIMUM_LAUNCHES}
    ranked = replicated or able
    medians = {key: by_launch(_latency(row)) for key, row in ranked.items()}
    order = sorted(ranked, key=lambda key: (_latency(ranked[key]).host_to_host.estimate, key))
    best = not_worse_than_best(medians)
    return Standing(
        workload=name,
        best=best,
        rest=tuple(key for key in order if key not in best),
        frontier=_frontier([ranked[key] for key in order]),
        excluded=tuple(row.variant_id for row in group if row.variant_id not in ranked),
        screening=bool(able) and not replicated,
        ratio_to_best={key: launch_ratio(medians[best[0]], medians[key]) for key in order},
    )


def _frontier(ordered: Sequence[Row]) -> tuple[str, ...]:
    """Return the rows, fastest first, than which no row is both faster and at least as accurate.

    Rows whose accuracy was not measured by the same metric and on the same images as the fastest measured one's are
    left out.
    """
    measured = [row for row in ordered if row.accuracy is not None and row.accuracy.primary in row.accuracy.metrics]
    frontier, highest = [], float("-inf")
    for row in measured:
        if row.accuracy is None or _measured_by(row) != _measured_by(measured[0]):
            continue
        score = row.accuracy.metrics[row.accuracy.primary]
        if score > highest:
            frontier.append(row.variant_id)
            highest = score
    return tuple(frontier)


def launch_ratio(base: Mapping[int, float], other: Mapping[int, float]) -> Interval:
    """Return other / base of values by launch, paired by round where they share two, else Welch.

    Of latencies it is how much slower ``other`` is. Raises ``ValueError`` for a value that is not positive.
    """
    shared = len(base.keys() & other.keys())
    if shared >= 2:
        ratio = paired_log_ratio(base, other)
        return Interval(ratio.estimate, ratio.low, ratio.high, shared)
    ratio = welch_log_ratio(list(base.values()), list(other.values()))
    return Interval(ratio.estimate, ratio.low, ratio.high, min(len(base), len(other)))


def by_launch(latency: Latency) -> dict[int, float]:
    """Return the median of each launch by its index; launches of one index ran in the same round."""
    indices = latency.launch_indices or tuple(range(len(latency.launch_medians_ns)))
    return dict(zip(indices, latency.launch_medians_ns, strict=True))


def _latency(row: Row) -> Latency:
    if row.latency is None:
        raise ValueError(f"{row.label} has no latency and cannot be ranked")
    return row.latency


def _measured_by(row: Row) -> tuple[str, str | None]:
    """Return metric and images of an accuracy: what two must share to be compared."""
    return row.accuracy.primary if row.accuracy else "", row.cell.evaluation_hash
