"""The end of a run in the terminal: the rows, the fastest, what failed and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from harness.cli.console import out, say
from harness.codec import encode
from harness.vocabulary import Failed, Skipped
from reports import units
from results import table as tables
from results.drift import drift_of
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
        "drift": encode(drift_of(store)),
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
    by_id = {row.variant_id: row for row in derived}
    for standing in standings(derived):
        mine = [by_id[key] for key in (*standing.best, *standing.rest, *standing.excluded)]
        if not any(row.latency or row.throughput or row.memory or row.accuracy for row in mine):
            _show_findings(mine)
            continue
        out.print(_table(standing.workload, mine))
        _show_findings(mine)
        best = [by_id[key].label for key in standing.best]
        if best:
            words = "fastest measured" if standing.screening else "fastest"
            tie = " (a tie: these launches do not tell them apart)" if len(best) > 1 else ""
            say(f"{words}: {', '.join(best)}{tie}")
        if standing.screening:
            say("screening: too few launches to recommend anything; --preset default makes five")
        say("")
    _show_driven(derived)
    watched = drift_of(store)
    if watched is not None and watched.found:
        say(f"drift: {watched.message}")
    _show_troubles(derived)
    for damage in store.damage:
        say(f"damaged: {damage}")
    say(f"report: {page}")


def _table(name: str, derived: Sequence[Row]) -> Table:
    measured = [row for row in derived if row.latency or row.throughput or row.memory or row.accuracy]
    shared = _shared_ending([row.label for row in measured])
    title = f"{name} ({shared})" if shared else name
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("row", no_wrap=True)
    for head in ("ms", "95 %", "items/s", "MB", "metric", "change, points"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in sorted(measured, key=_by_latency):
        latency, rate, memory = row.latency, row.throughput, row.memory
        table.add_row(
            Text(row.label.removesuffix(shared).rstrip()),
            _significant(latency.host_to_host.estimate / 1e6) if latency else "–",
            _interval_ms(latency.host_to_host) if latency else "–",
            _significant(rate.items_per_s.estimate) if rate else "–",
            f"{memory.peak / 1e6:.0f}" if memory else "–",
            *_accuracy(row.accuracy),
        )
    return table


def _shared_ending(labels: Sequence[str]) -> str:
    """Return the words that all labels end with, such as ``cpu b1``, so that they are said once."""
    words = [label.split(" ") for label in labels]
    count = 0
    while words and all(len(each) > count + 2 for each in words) and len({each[-1 - count] for each in words}) == 1:
        count += 1
    return " ".join(words[0][len(words[0]) - count :]) if count else ""


def _show_findings(derived: Sequence[Row]) -> None:
    """Print each kind of finding once, with the rows that it is about."""
    about: dict[str, list[str]] = {}
    for row in derived:
        for kind in dict.fromkeys(finding.kind for finding in row.findings):
            about.setdefault(kind, []).append(row.label)
    for kind, labels in about.items():
        if kind != "screening":
            say(f"  {kind}: {'every row' if len(labels) == len(derived) > 1 else ', '.join(labels)}")


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
    return value, f"{100 * change.estimate:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _significant(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def _show_driven(derived: Sequence[Row]) -> None:
    """Print a line per camera and server: the row, the verdict, and by how much; then what soaks left of the speed."""
    for row in derived:
        who = f"{row.cell.workload} {row.label}"
        for camera in row.cameras:
            shown, bounds = units.percent(camera.missed)
            late = f"{shown} % of {camera.missed.of:,} frames later than {camera.deadline_ms:.3g} ms (95 %: {bounds} %)"
            say(f"{_titled('camera', camera.title)}, {who}: {camera.verdict}, {late}")
        for server in row.servers:
            say(f"{_titled('server', server.title)}, {who}: {server.verdict}, {server.message}")
        for soak in row.soaks:
            left = f"{soak.ratio.estimate:.0%} {units.PLAIN.bounds(soak.ratio)} of the burst is sustained"
            since = "" if soak.slowed_after_s is None else f", slower after {soak.slowed_after_s:.0f} s"
            say(f"{_titled('soak', soak.title)}, {who}: {left}{since}")


def _titled(kind: str, title: str) -> str:
    return f"{kind} {title}" if title and title != kind else kind


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
