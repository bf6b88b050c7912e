"""What a gate says, in the terminal and as JSON: the comparison, then what the gate makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from harness.cli.comparison_table import data, show_around, show_changes, show_sides
from harness.cli.console import as_json, errors, out, say
from harness.codec import encode
from results.comparison import LEVEL
from results.formats.words import line
from results.gate import AlarmRate, Outcome, shadow_alarm_rate
from results.resolution import POWER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.exit_codes import ExitCode
    from results.changes import Allowance, Change, Comparison
    from results.gate import Gate

_STYLES = {
    Outcome.PASSED: "bold green",
    Outcome.FAILED: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.NOTHING: "bold yellow",
}


def show(judged: Gate, code: ExitCode, *, shadow: bool, everything: bool) -> None:
    """Print the comparison, what was not said in it, and one line with what the gate comes to."""
    comparison = judged.comparison
    show_sides(comparison)
    show_changes(comparison.changes, everything=everything)
    show_around(comparison, everything=everything)
    power = judged.power
    if power is not None and power.able < power.tests:
        say(f"{power.able} of {power.tests} tests have a power of {POWER:.0%} or more")
    for note in judged.notes:
        say(f"note: {note}")
    for allowance in judged.expired:
        errors.print(f"warning: {_expired(allowance)}", markup=False, highlight=False)
    if shadow:
        say(_alarms(_alarm_rate(comparison)))
    looks = f", after {judged.looks} looks" if judged.looks > 1 else ""
    word = f"{judged.outcome.value}{' (shadow: fails nothing)' if shadow else ''}"
    out.print(Text(f"gate {word}", style=_STYLES[judged.outcome]), Text(f": {_counts(judged)}{looks}"), sep="")
    if code:
        say(f"exit {int(code)}")


def show_json(judged: Gate, code: ExitCode, *, shadow: bool) -> None:
    """Print the same as JSON."""
    comparison = judged.comparison
    alarms = _alarm_rate(comparison) if shadow else None
    as_json(
        {
            "outcome": judged.outcome.value,
            "exit_code": int(code),
            "shadow": shadow,
            "looks": judged.looks,
            "failing": _names(judged.failing),
            "open": _names(judged.open),
            "allowed": _names(judged.allowed),
            "missing": list(judged.missing),
            "expired": [_expired(each) for each in judged.expired],
            "power": encode(judged.power),
            "alarm_rate": _rate(alarms),
            "notes": list(judged.notes),
            "comparison": data(comparison),
        }
    )


def _counts(judged: Gate) -> str:
    """Return what the outcome is made of."""
    gated = sum(change.gated for change in judged.comparison.changes)
    parts = [f"{len(judged.failing) or 'none'} of {gated} gated regressed"]
    if judged.open:
        parts.append(f"{len(judged.open)} inconclusive")
    if judged.missing:
        parts.append(f"{len(judged.missing)} cells missing")
    if judged.allowed:
        parts.append(f"{len(judged.allowed)} allowed for now")
    return ", ".join(parts)


def _alarm_rate(comparison: Comparison) -> AlarmRate | str:
    """Return the rate of the whole gate: what two looks share of the level is one level here."""
    return shadow_alarm_rate(comparison.before, replace(comparison.rules, level=LEVEL))


def _alarms(rate: AlarmRate | str) -> str:
    if isinstance(rate, str):
        return f"false alarms of this gate: not known: {rate}"
    share = rate.share
    ways = f"all {share.of} ways" if rate.every else f"{share.of} ways drawn"
    return (
        f"false alarms of this gate: {share.estimate:.1%} [{share.low:.1%}, {share.high:.1%}], "
        f"{share.count} of {ways} to hold {rate.launches} launches of the baseline against its others"
    )


def _rate(rate: AlarmRate | str | None) -> dict[str, Any] | str | None:
    if not isinstance(rate, AlarmRate):
        return rate
    share = rate.share
    return {
        "alarms": share.count,
        "splits": share.of,
        "share": share.estimate,
        "low": share.low,
        "high": share.high,
        "launches": rate.launches,
        "every": rate.every,
    }


def _names(changes: Sequence[Change]) -> list[dict[str, str]]:
    return [{"cell": change.label, "quantity": change.quantity, "message": line(change.message)} for change in changes]


def _expired(allowance: Allowance) -> str:
    rule = f" ({allowance.rule})" if allowance.rule else ""
    why = f": {allowance.reason}" if allowance.reason else ""
    return f"what was allowed of {allowance.cells}{rule} until {allowance.until} is not allowed any more{why}"
