"""A comparison in the terminal and as JSON: what changed first, then what differs around it, then what it is worth."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from harness.cli.console import out, say
from results.changes import STATUS
from results.comparison import Verdict
from results.formats.amounts import effect, sides
from results.formats.words import line
from results.quantities import Rule, quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from results.changes import Change, Comparison, Difference
    from results.row import Interval
    from results.snapshot import Snapshot

_STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.IMPROVED: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.EQUIVALENT: "",
}
ORDER = tuple(_STYLES)
"""Verdicts in the order in which they are shown."""
_LONGEST = 10_000
_INDENT = 14
MOST = 20
"""Inconclusive changes, causes and names that are shown where not everything is asked for."""


def show(comparison: Comparison, *, everything: bool = False) -> None:
    """Print a comparison; what is equivalent, or open and not gated, is counted unless ``everything`` is asked."""
    show_sides(comparison)
    show_changes(comparison.changes, everything=everything)
    show_around(comparison, everything=everything)


def show_sides(comparison: Comparison) -> None:
    """Print which two are compared."""
    for name, side in (("before", comparison.before), ("after", comparison.after)):
        tags = f" ({', '.join(side.tags)})" if side.tags else ""
        say(f"{name:<6}  {line(f'{side.run_id}{tags}, {side.suite}, {side.preset}, {side.created_at[:16]}')}")


def show_changes(changes: Sequence[Change], *, everything: bool = False) -> None:
    """Print one line per change, its notes below it, then how many there are of each verdict."""
    shown = _shown(changes, everything=everything)
    labels = max((len(line(change.label)) for change in shown), default=0)
    titles = max((len(title(change)) for change in shown), default=0)
    for change in shown:
        words = f"{line(change.label):<{labels}}  {title(change):<{titles}}  {said(change)}"
        verdict = f"{change.verdict.value:<{_INDENT}}"
        out.print(Text.assemble((verdict, _STYLES[change.verdict]), words), soft_wrap=True)
        for note in notes(change):
            say(f"{'':<{_INDENT}}{note}")
    counts = Counter(change.verdict for change in changes)
    say(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in ORDER) if changes else "nothing changed")
    hidden = len(changes) - len(shown)
    if hidden:
        say(f"{hidden} more with --all")


def show_around(comparison: Comparison, *, everything: bool = False) -> None:
    """Print what stands around the changes: cells of one side alone, causes, hardware, power, notes."""
    most = None if everything else MOST
    for words, labels in (("only before", comparison.removed), ("only after", comparison.added)):
        if labels:
            say(f"{words}: {line(_listed(labels, most), _LONGEST)}")
    if comparison.hardware:
        say("hardware differs, so that nothing here is the software's doing alone:")
        _show_differences(comparison.hardware, most)
    if comparison.causes:
        say("likely causes, as far as the environment tells:")
        _show_differences(comparison.causes, most)
    power = power_line(comparison)
    if power:
        say(power)
    for note in comparison.notes:
        say(f"note: {line(note, _LONGEST)}")


def title(change: Change) -> str:
    """Return what changed, in words."""
    return "status" if change.quantity == STATUS else quantity(change.quantity).title


def said(change: Change) -> str:
    """Return what is to be said of a change in one line: both sides and the effect, or else its message."""
    if not _in_figures(change):
        return line(change.message, _LONGEST).removeprefix(f"{title(change)} ")
    before, after = sides(change)
    return f"{before} → {after}  {effect(change)}"


def notes(change: Change) -> tuple[str, ...]:
    """Return what stands below a change: why there is no answer, why it is suffered, what was left out of it."""
    found = list(change.notes)
    if change.allowance is not None:
        why = f": {change.allowance.reason}" if change.allowance.reason else ""
        found.insert(0, f"allowed until {change.allowance.until}{why}")
    if change.verdict is Verdict.INCONCLUSIVE and _in_figures(change):
        found.insert(0, change.message)
    return tuple(line(note, _LONGEST) for note in found)


def _in_figures(change: Change) -> bool:
    return change.effect is not None and change.before is not None and change.after is not None


def power_line(comparison: Comparison) -> str:
    """Return how surely the family would have found a change of its margin; empty where nothing was tested."""
    tested = [
        (change.power, change)
        for change in comparison.changes
        if change.gated and change.power is not None and _is_of_family(change)
    ]
    if not tested:
        return ""
    powers = [power for power, _ in tested]
    least, weakest = min(tested, key=lambda each: each[0])
    lowest = f", lowest {least:.0%} at {line(weakest.label)}" if len(tested) > 1 else ""
    members = f"{comparison.family} tests together" if comparison.family > 1 else "one test"
    level = f"{100 * comparison.rules.level:g} %"
    return f"power to find a change of the margin: {statistics.median(powers):.0%}{lowest} ({members}, at {level})"


def _is_of_family(change: Change) -> bool:
    return change.quantity != STATUS and quantity(change.quantity).rule is Rule.FAMILY


def data(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON-able data, without the readings of its sides."""
    counts = Counter(change.verdict for change in comparison.changes)
    rules = comparison.rules
    return {
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "verdicts": {verdict.value: counts[verdict] for verdict in ORDER},
        "changes": [_change(change) for change in comparison.changes],
        "added": list(comparison.added),
        "removed": list(comparison.removed),
        "hardware": _differences(comparison.hardware),
        "causes": _differences(comparison.causes),
        "family": comparison.family,
        "level": rules.level,
        "design": rules.design.value,
        "gated": sorted(rules.gated),
        "notes": list(comparison.notes),
    }


def _shown(changes: Sequence[Change], *, everything: bool) -> list[Change]:
    """Return the changes to print, by verdict and in their order."""
    by_verdict = {verdict: [change for change in changes if change.verdict is verdict] for verdict in ORDER}
    if not everything:
        by_verdict[Verdict.EQUIVALENT] = []
        by_verdict[Verdict.INCONCLUSIVE] = [c for c in by_verdict[Verdict.INCONCLUSIVE] if c.gated][:MOST]
    return [change for verdict in ORDER for change in by_verdict[verdict]]


def _show_differences(found: Sequence[Difference], most: int | None) -> None:
    for each in found[:most]:
        say(f"  {line(f'{each.place}: {_value(each.before)} → {_value(each.after)}')}")
    if most is not None and len(found) > most:
        say(f"  and {len(found) - most} more")


def _listed(names: Sequence[str], most: int | None) -> str:
    more = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _value(value: Any) -> str:
    return "absent" if value is None else str(value)


def _side(side: Snapshot) -> dict[str, Any]:
    return {
        "run_id": side.run_id,
        "created_at": side.created_at,
        "suite": side.suite,
        "preset": side.preset,
        "hw_id": side.hw_id,
        "env_id": side.env_id,
        "harness_version": side.harness_version,
        "tags": list(side.tags),
        "cells": len(side.cells),
    }


def _change(change: Change) -> dict[str, Any]:
    allowance = change.allowance
    return {
        "key": change.key,
        "label": change.label,
        "quantity": change.quantity,
        "verdict": change.verdict.value,
        "message": change.message,
        "gated": change.gated,
        "before": change.before,
        "after": change.after,
        "effect": _interval(change.effect),
        "adjusted_p": change.adjusted_p,
        "power": change.power,
        "launches_needed": change.launches_needed,
        "margin": change.margin,
        "allowance": allowance
        and {
            "cells": allowance.cells,
            "until": allowance.until.isoformat(),
            "rule": allowance.rule,
            "reason": allowance.reason,
        },
        "notes": list(change.notes),
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "launches": found.launches}


def _differences(found: Iterable[Difference]) -> list[dict[str, Any]]:
    return [{"place": each.place, "before": each.before, "after": each.after} for each in found]
