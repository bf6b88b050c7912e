"""A history as a terminal shows it, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import sys
from typing import TYPE_CHECKING, Any

from harness.cli.console import document, out, say
from harness.cli.sparkline import ASCII, BLOCKS, carries, plain
from harness.cli.sparkline import line as drawn_line
from harness.codec import encode
from results.formats.amounts import amount, bounded, fixed
from results.formats.words import counted
from results.formats.words import line as on_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.changes import Difference
    from results.history import History, Shift, Spot

_CHANGED, _TAKEN, _LEFT_OUT = "^", "+", "~"
_CAUSES = 6  # differences of environment that are named
_NARROWEST, _BESIDE = 10, 30  # columns of a line, and those that its ends take
_COLUMNS = (
    *("cell", "quantity", "unit", "hw_id", "run_id", "created_at", "value", "low", "high", "launches", "noisy"),
    *("left_out", "level", "change", "env_id", "revision"),
)


def print_history(one: History) -> None:
    """Print a series: a line of its values, its level, its changes with what changed around them."""
    _say(_title(one))
    if not one.spots:
        _say("  no run has measured it")
        return
    _say(f"  {_extent(one.spots)}")
    _print_line(one)
    if one.level is not None:
        since = one.shifts[-1].created_at if one.shifts else one.spots[0].created_at
        _say(f"  level {bounded(one.level, one.quantity.unit)} since {_day(since)}")
    if not one.shifts:
        _say("  no change of level")
    for shift in one.shifts:
        _print_change(one, shift)
    for note in one.notes:
        _say(f"  note: {note}")


def print_overview(changed: Sequence[History], of: int) -> None:
    """Print the series whose level changed, in their order, by the worst change of each."""
    lines = [("worst change", "at", "age", "cell")]
    for one in changed:
        shift = max(one.open, key=lambda shift: shift.worsening)
        of_cell = f"{one.label}: {one.quantity.name} on {one.hw_id}"
        lines.append((_moved(one, shift), _day(shift.created_at), counted(shift.age, "run"), of_cell))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines if changed else ():
        _say("  ".join((*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3])))
    _say(
        f"{len(changed)} of {counted(of, 'series', 'series')} changed and not acknowledged"
        if of
        else "no history yet: no run has completed a cell"
    )


def acknowledged(one: History, shift: Shift) -> str:
    """Return the word on a change that is now taken as it is."""
    return _shown(
        f"acknowledged: {_title(one)}: {_moved(one, shift)} on {_day(shift.created_at)}; "
        f"the level to hold is {amount(shift.after, one.quantity.unit)}"
    )


def as_data(shown: Sequence[History], of: int) -> dict[str, Any]:
    """Return histories as JSON-able data. ``series``: how many there are, those that are not shown too."""
    return {
        "series": of,
        "histories": [
            {
                "cell_id": one.cell_id,
                "label": one.label,
                "quantity": one.quantity.name,
                "unit": one.quantity.unit,
                "better": one.quantity.better.value,
                "hw_id": one.hw_id,
                "level": encode(one.level),
                "points": [encode(spot) for spot in one.spots],
                "changes": [{**encode(shift), "worse": shift.worse} for shift in one.shifts],
                "notes": list(one.notes),
            }
            for one in shown
        ],
    }


def print_csv(shown: Sequence[History]) -> None:
    """Print every point as a line of CSV; ``level`` is that of its stretch, ``change`` is filled where one begins."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for one in shown:
        by_index = {shift.index: shift for shift in one.shifts}
        level = one.shifts[0].before if one.shifts else (one.level.estimate if one.level else None)
        for index, spot in enumerate(one.spots):
            shift = by_index.get(index)
            level = shift.after if shift else level
            writer.writerow(
                {
                    **{name: value for name, value in encode(spot).items() if name in _COLUMNS},
                    "cell": one.label,
                    "quantity": one.quantity.name,
                    "unit": one.quantity.unit,
                    "hw_id": one.hw_id,
                    "level": level,
                    "change": "" if shift is None else "acknowledged" if shift.acknowledgement else _word(shift),
                }
            )
    document(text.getvalue())


def _moved(one: History, shift: Shift) -> str:
    """Return ``+5.1 % [+4.0, +6.2] worse``, of shares ``−0.8 points [−1.2, −0.4] worse``."""
    points = one.quantity.is_share
    found = shift.effect
    estimate, low, high = (
        None if value is None else fixed(100 * (value - (not points)), 2 if points else 1, signed=True)
        for value in (found.estimate, found.low, found.high)
    )
    bounds = f" [{low}, {high}]" if low is not None and high is not None else ""
    return f"{estimate} {'points' if points else '%'}{bounds} {_word(shift)}"


def _print_change(one: History, shift: Shift) -> None:
    """Print one change: how far, where, and what changed around it."""
    before, after = (amount(value, one.quantity.unit, shift.before) for value in (shift.before, shift.after))
    _say(f"  {_day(shift.created_at)}  {before} → {after}  {_moved(one, shift)}")
    seen = f"seen after {counted(shift.delay, 'run')}, p = {shift.p:.2g}"
    _say(f"      run {shift.run_id}, {seen}, {_revisions(*shift.revisions)}")
    if shift.acknowledgement is not None:
        reason = f": {shift.acknowledgement.reason}" if shift.acknowledgement.reason else ""
        _say(f"      acknowledged on {shift.acknowledgement.acknowledged_on}{reason}")
    if not shift.causes:
        _say("      the environment did not change")
        return
    came = "" if shift.causes_run_id == shift.run_id else f", with run {shift.causes_run_id}"
    _say(f"      {counted(len(shift.causes), 'difference')} of environment{came}")
    for cause in shift.causes[:_CAUSES]:
        _say(f"        {_cause(cause)}")
    if len(shift.causes) > _CAUSES:
        _say(f"        and {len(shift.causes) - _CAUSES} more: --json lists them all")


def _revisions(old: str, new: str) -> str:
    if not old and not new:
        return "no revision known"
    return f"revision {_short(new)} before and after" if old == new else f"revisions {_short(old)}..{_short(new)}"


def _print_line(one: History) -> None:
    ramp = BLOCKS if carries(sys.stdout.encoding) else ASCII
    marks = {index: _LEFT_OUT for index, spot in enumerate(one.spots) if spot.left_out}
    marks |= {shift.index: _TAKEN for shift in one.shifts if shift.acknowledgement}
    marks |= {shift.index: _CHANGED for shift in one.open}
    drawn = drawn_line([spot.value for spot in one.spots], marks, max(_NARROWEST, out.width - _BESIDE), ramp)
    low, high = (amount(value, one.quantity.unit) for value in (drawn.low, drawn.high))
    _say(f"  {drawn.drawn}  {low} – {high}")
    if marks:
        legend = {_CHANGED: "change", _TAKEN: "acknowledged", _LEFT_OUT: "left out of the search"}
        told = ", ".join(f"{mark} {word}" for mark, word in legend.items() if mark in drawn.marks)
        _say(f"  {drawn.marks}")
        _say(f"  ({told})")


def _title(one: History) -> str:
    return f"{one.label}: {one.quantity.title} on {one.hw_id}"


def _extent(spots: Sequence[Spot]) -> str:
    fewest, most = (function(spot.launches for spot in spots) for function in (min, max))
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    noisy = sum(spot.noisy for spot in spots)
    launches = f", {each} {'launch' if most == 1 else 'launches'} each{f', {noisy} of them noisy' if noisy else ''}"
    when = f"{counted(len(spots), 'run')}, {_day(spots[0].created_at)} to {_day(spots[-1].created_at)}"
    return f"{when}{launches if most else ''}"


def _cause(cause: Difference) -> str:
    before, after = (
        "absent" if value is None else on_one_line(str(value), 60) for value in (cause.before, cause.after)
    )
    return f"{cause.place}: {before} → {after}"


def _word(shift: Shift) -> str:
    return "worse" if shift.worse else "better"


def _short(revision: str) -> str:
    return f"{revision[:10]}{'+' if revision.endswith('+') and len(revision) > 10 else ''}" or "unknown"


def _day(created_at: str) -> str:
    return created_at[:10]


def _say(text: str) -> None:
    say(_shown(text))


def _shown(text: str) -> str:
    return plain(text, sys.stdout.encoding)
