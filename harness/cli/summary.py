"""The end of a run in the terminal: the rows, the fastest, what failed and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from harness.cli.console import out, say
from harness.vocabulary import Failed, Skipped
from results import table as tables
from results.rank import standings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.vocabulary import Outcome
    from results.row import AccuracyResult, Interval, Row
    from results.store import RunStore


def summary_data(store: RunStore, derived: Sequence[Row]) -> dict[str, Any]:
    """Return the result of a run as JSON-able data."""
    by_id = {row.variant_id: row for row in derived}
    return {
        "run_id": store.run_id,
        "folder": str(store.folder),
        "damage": list(store.damage),
        "standings": [
            {
                "workload": standing.workload,
                "best": [by_id[key].label for key in standing.best],
                "frontier": [by_id[key].label for key in standing.frontier],
                "screening": standing.screening,
            }
            for standing in standings(derived)
        ],
        "troubles": [
            {"row": f"{row.cell.workload} {row.label}", "scenario": scenario, "trouble": _trouble(outcome)}
            for row in derived
            for scenario, outcome in row.outcomes.items()
            if _trouble(outcome)
        ],
        "rows": json.loads(tables.to_json(derived)),
    }


def show(store: RunStore, derived: Sequence[Row], page: Path) -> None:
    """Print the rows of a run, fastest first, then what failed, then where the report lies."""
    for standing in standings(derived):
        mine = [row for row in derived if row.cell.workload == standing.workload or standing.workload.startswith(f"{row.cell.workload} ")]
        out.print(_table(standing.workload, mine))
        best = [row.label for row in derived if row.variant_id in standing.best]
        if best:
            words = "fastest measured" if standing.screening else "fastest"
            tie = " (a tie: not told apart by these launches)" if len(best) > 1 else ""
            say(f"{words}: {', '.join(best)}{tie}")
        if standing.screening:
            say("screening: too few launches to recommend anything; preset default makes five")
        say("")
    _show_troubles(derived)
    for damage in store.damage:
        say(f"damaged: {damage}")
    say(f"report: {page}")


def _table(name: str, derived: Sequence[Row]) -> Table:
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("row", overflow="fold")
    for head in ("latency ms", "95 % interval", "items/s", "peak MB", "accuracy", "change vs FP32"):
        table.add_column(head, justify="right")
    table.add_column("findings", overflow="fold")
    measured = [row for row in derived if row.latency or row.throughput or row.memory or row.accuracy]
    for row in sorted(measured, key=_by_latency):
        latency, rate, memory = row.latency, row.throughput, row.memory
        table.add_row(
            Text(row.label),
            _significant(latency.host_to_host.estimate / 1e6) if latency else "–",
            _interval_ms(latency.host_to_host) if latency else "–",
            _significant(rate.items_per_s.estimate) if rate else "–",
            f"{memory.peak / 1e6:.0f}" if memory else "–",
            *_accuracy(row.accuracy),
            Text(", ".join(finding.kind for finding in row.findings if finding.kind != "screening")),
        )
    return table


def _by_latency(row: Row) -> float:
    return row.latency.host_to_host.estimate if row.latency else float("inf")


def _interval_ms(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "–"
    return f"{_significant(interval.low / 1e6)}-{_significant(interval.high / 1e6)}"


def _accuracy(result: AccuracyResult | None) -> tuple[str, str]:
    if result is None:
        return "–", "–"
    value = f"{result.metrics[result.primary]:.3f}"
    change = result.change
    if change is None:
        return value, result.verdict
    return value, f"{100 * change.estimate:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}] {result.verdict}"


def _significant(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def _show_troubles(derived: Sequence[Row]) -> None:
    told: dict[str, list[str]] = {}
    for row in derived:
        for scenario, outcome in row.outcomes.items():
            trouble = _trouble(outcome)
            if trouble:
                told.setdefault(trouble, []).append(f"{row.cell.workload} {row.label} {scenario}")
    for trouble, cells in told.items():
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        say(f"{trouble}\n    {', '.join(cells[:3])}{more}")


def _trouble(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        hint = f" (hint: {outcome.hint})" if outcome.hint else ""
        return f"FAILED in {outcome.stage.value}, {outcome.kind}: {outcome.message}{hint}"
    if isinstance(outcome, Skipped):
        hint = f" (hint: {outcome.hint})" if outcome.hint else ""
        return f"skipped: {outcome.reason}{hint}"
    return ""
