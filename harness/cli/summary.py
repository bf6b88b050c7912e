"""The end of a run in the terminal: the rows, the verdict, the frontier, what failed and why, what to do next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from harness.cli.console import out, say
from harness.codec import encode
from harness.vocabulary import Failed, Skipped
from reports import units
from reports.field import fields
from reports.names import named, ordered
from reports.text import clamp, counted
from reports.verdict import verdict
from results import table as tables
from results.drift import drift_of
from results.rank import standings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.vocabulary import Outcome
    from reports.field import Field
    from results.row import AccuracyResult, Interval, Row
    from results.store import RunStore

_MOST_ROWS = 40
"""Rows of a table; the report has all."""
_MOST_SKIPPED = 8
"""Reasons for skipping that have a place in the one line on it."""


def summary_data(store: RunStore, derived: Sequence[Row]) -> dict[str, Any]:
    """Return the result of a run as JSON-able data."""
    return {
        "run_id": store.run_id,
        "folder": str(store.folder),
        "damage": list(store.damage),
        "drift": encode(drift_of(store)),
        "standings": [
            {
                "workload": group.workload,
                "verdict": verdict(group).headline,
                "best": [group.rows[key].label for key in group.standing.best],
                "frontier": [group.rows[key].label for key in group.standing.frontier],
                "screening": group.standing.screening,
            }
            for group in _fields(derived)
        ],
        "troubles": [
            {"row": f"{row.cell.workload} {row.label}", "scenario": scenario, "trouble": _trouble(outcome)}
            for row in derived
            for scenario, outcome in row.outcomes.items()
            if _trouble(outcome)
        ],
        "rows": tables.records(derived),
    }


def show(store: RunStore, derived: Sequence[Row], page: Path) -> None:
    """Print each workload's rows and verdict, then what failed and was skipped, the report, and what to do next."""
    groups = show_rows(derived)
    watched = drift_of(store)
    if watched is not None and watched.found:
        say(f"drift: {watched.message}")
    for damage in store.damage:
        say(f"damaged: {damage}")
    step = _next_step(store, groups)
    if step:
        say(f"next, {step}")
    say(f"report: {page}")


def show_rows(derived: Sequence[Row]) -> tuple[Field, ...]:
    """Print each workload's rows and verdict, then what failed and was skipped; return the workloads."""
    groups = _fields(derived)
    for group in groups:
        mine = list(group.rows.values())
        if not any(map(_measured, mine)):
            if not any(row.timed for row in mine):
                say(f"{group.workload}: nothing was measured; why stands below")
            _show_findings(mine)
            continue
        out.print(_table(group.workload, mine))
        hidden = sum(_measured(row) for row in mine) - _MOST_ROWS
        if hidden > 0:
            say(f"and {counted(hidden, 'slower row')} in the report")
        _show_findings(mine)
        _show_verdict(group)
        say("")
    _show_driven(derived)
    _show_troubles(derived)
    return groups


def _measured(row: Row) -> bool:
    """Return whether a row has a figure of the table."""
    return any(each is not None for each in (row.latency, row.throughput, row.memory, row.accuracy))


def _fields(derived: Sequence[Row]) -> tuple[Field, ...]:
    found = standings(derived)
    sequence = ordered(derived, found)
    return fields(sequence, named(sequence, found), found)


def _show_verdict(group: Field) -> None:
    """Print the answer, its figures in one line, and the rows that none beats in both latency and accuracy."""
    answer, standing = verdict(group), group.standing
    say(f"verdict: {answer.headline}")
    figures = (
        " ".join(part for part in (figure.value, figure.unit, figure.bounds, figure.label) if part)
        for figure in answer.figures
    )
    if answer.figures:
        say(f"  {'; '.join(figures)}")
    if len(standing.frontier) > 1:
        say(f"frontier of latency and accuracy: {', '.join(_on_frontier(group, key) for key in standing.frontier)}")
    if standing.screening:
        say("screening: too few launches to recommend anything; --preset default makes five")


def _on_frontier(group: Field, variant: str) -> str:
    latency, accuracy = group.latency(variant), group.rows[variant].accuracy
    metric = f", {accuracy.metrics[accuracy.primary]:.3f}" if accuracy else ""
    return f"{group.label(variant)} ({units.duration(latency.estimate if latency else None)}{metric})"


def _next_step(store: RunStore, groups: Sequence[Field]) -> str:
    """Return what to do from here, and the command for it; empty where nothing is to be done."""
    rows = [row for group in groups for row in group.rows.values()]
    for row in rows:
        for scenario, outcome in row.outcomes.items():
            if isinstance(outcome, Failed) and scenario in row.cell_ids:
                return f"to see again what failed: harness rerun {store.run_id} {row.cell_ids[scenario][:12]}"
    if any(group.standing.screening for group in groups):
        command = store.manifest.get("command")
        again = command if isinstance(command, str) else f"harness run {shlex.quote(store.plan.suite)}"
        return f"for a decision: {again} --preset default"
    if any(row.soaks for row in rows):
        return f"with a demand of your own: harness recommend {store.run_id} --slo p99=33ms --load 8x30fps"
    best = next((row for group in groups for row in rows if row.variant_id in group.standing.best[:1]), None)
    if best is None or "latency" not in best.cell_ids:
        return ""
    return f"for the artifact of the fastest: harness take {store.run_id} {best.cell_ids['latency'][:12]} -o model"


def _table(name: str, derived: Sequence[Row]) -> Table:
    measured = [row for row in derived if _measured(row)]
    shared = _shared_ending([row.label for row in measured])
    title = f"{name} ({shared})" if shared else name
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("row", no_wrap=True)
    for head in ("ms", "95 %", "items/s", "MB", "metric", "change, points"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in sorted(measured, key=_by_latency)[:_MOST_ROWS]:
        latency, rate, memory = row.latency, row.throughput, row.memory
        table.add_row(
            Text(row.label.removesuffix(shared).rstrip()),
            units.significant(latency.host_to_host.estimate / 1e6) if latency else "–",
            _interval_ms(latency.host_to_host) if latency else "–",
            units.significant(rate.items_per_s.estimate) if rate else "–",
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
    return f"{units.significant(interval.low / 1e6)}-{units.significant(interval.high / 1e6)}"


def _accuracy(result: AccuracyResult | None) -> tuple[str, str]:
    if result is None:
        return "–", "–"
    value = f"{result.metrics[result.primary]:.3f}"
    change = result.change
    if change is None:
        return value, result.verdict
    return value, f"{100 * change.estimate:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


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
    """Print each way of failing once, with the cells that failed so; then, in one line, what was skipped."""
    failed: dict[str, list[str]] = {}
    skipped: dict[str, int] = {}
    for row in derived:
        for scenario, outcome in row.outcomes.items():
            if isinstance(outcome, Skipped):
                skipped[outcome.reason] = skipped.get(outcome.reason, 0) + 1
            elif _trouble(outcome):
                failed.setdefault(_trouble(outcome), []).append(f"{row.cell.workload} {row.label} {scenario}")
    for trouble, cells in failed.items():
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        say(f"{trouble}\n    {', '.join(cells[:3])}{more}")
    if skipped:
        reasons = [f"{clamp(reason, 160)} ({counted(cells, 'cell')})" for reason, cells in skipped.items()]
        hidden = len(reasons) - _MOST_SKIPPED
        more = f"; and {counted(hidden, 'other reason')}, under Coverage in the report" if hidden > 0 else ""
        say(f"skipped: {'; '.join(reasons[:_MOST_SKIPPED])}{more}")


def _trouble(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        hint = f" (hint: {outcome.hint})" if outcome.hint else ""
        return f"FAILED in {outcome.stage.value}, {outcome.kind}: {outcome.message}{hint}"
    if isinstance(outcome, Skipped):
        hint = f" (hint: {outcome.hint})" if outcome.hint else ""
        return f"skipped: {outcome.reason}{hint}"
    return ""
