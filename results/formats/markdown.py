"""What the summary of a step and the comment on a pull request share: tables whose text is inert, cut to a size."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.changes import STATUS
from results.comparison import Design, Verdict
from results.formats.amounts import INTERVAL, bounded, effect, sides
from results.formats.figures import figures_of, named, names_of
from results.formats.words import counted, line, listed
from results.numbers import MISSING
from results.quantities import quantity
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from results.changes import Change, Comparison, Difference
    from results.formats.figures import Figure, Named
    from results.snapshot import Snapshot

OF_CHANGES = "| verdict | cell | measure | before | after | change | note |\n|---|---|---|--:|--:|--:|---|"
OF_FIGURES = "| outcome | cell | measure | value | launches | note |\n|---|---|---|--:|--:|---|"
KINDS = (
    "regressed",
    "regressed (allowed)",
    "regressed (not gated)",
    "inconclusive",
    "improved",
    "inconclusive (not gated)",
    "equivalent",
)
"""What rows of changes are counted as, in their order."""
OUTCOMES = (FAILED, COMPLETED, SKIPPED, NOT_RUN)
"""What rows of figures are counted as, in their order."""

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$@#]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ADDRESSED = "&#8203;"  # a zero-width space: whoever is named is not notified, and no issue is linked


@dataclass(frozen=True)
class Row:
    """One row of a table; ``kind`` is what it is counted as, ``foremost`` what a reader must see."""

    text: str
    kind: str
    foremost: bool = False


def prose(text: str, limit: int = 300) -> str:
    """Return ``text`` on one line of Markdown that means itself: no markup, no HTML, no links, no mentions."""
    return _MARKUP.sub(
        lambda match: _entity(match) if match[0] not in "@#" else match[0] + _ADDRESSED, line(text, limit)
    )


def code(text: str, limit: int = 200) -> str:
    """Return ``text`` as inline code, which no forge looks for names in; as HTML, which a table cannot break."""
    return f"<code>{_MARKUP.sub(_entity, line(text, limit))}</code>"


def heading(suite: str, kinds: Iterable[str], order: Sequence[str]) -> str:
    """Return the first line: the suite, and how many rows there are of each kind."""
    counts = Counter(kinds)
    told = [f"{counts[kind]:,} {kind}" for kind in order if counts[kind]]
    return f"### harness · {prose(suite, 100)}: {', '.join(told) or 'nothing to show'}"


def rows_of_changes(comparison: Comparison) -> list[Row]:
    """Return a row per change, worst first: what fails the gate, what is open, then the rest, equivalent ones last."""
    names = names_of(comparison.changes)
    rows = [_of_change(change, names[change.key]) for change in comparison.changes]
    return sorted(rows, key=lambda row: (not row.foremost, KINDS.index(row.kind)))


def rows_of_figures(snapshot: Snapshot) -> list[Row]:
    """Return a row per figure, and one per cell that has none; those that failed first."""
    rows: list[Row] = []
    for each in named(snapshot):
        rows += _of_cell(each)
    return sorted(rows, key=lambda row: OUTCOMES.index(row.kind))


def kind_of(change: Change) -> str:
    """Return what a change is counted as."""
    if change.allowed:
        return "regressed (allowed)"
    if change.verdict in {Verdict.REGRESSED, Verdict.INCONCLUSIVE} and not change.gated:
        return f"{change.verdict.value} (not gated)"
    return change.verdict.value


def context_of_comparison(comparison: Comparison) -> str:
    """Return where, what and how was compared."""
    before, after, rules = comparison.before, comparison.after, comparison.rules
    how = "interleaved, paired by round" if rules.design is Design.INTERLEAVED else "measured apart"
    runs = " → ".join(code(run_id) for run_id in dict.fromkeys((before.run_id, after.run_id)))
    told = [f"Run {runs}, {how}; hardware {code(after.hw_id)}."]
    tests = counted(comparison.family, "test")
    told.append(
        f"Latency and throughput are tested together: {tests} (Holm), level {100 * rules.level:g} %. {INTERVAL}"
    )
    if comparison.hardware:
        told.insert(0, f"**The two sides ran on different hardware**: {code(before.hw_id)} and {code(after.hw_id)}.")
    told += [f"Drift while measuring: {prose(drift)}" for drift in dict.fromkeys((before.drift, after.drift)) if drift]
    return "\n".join(told)


def context_of_run(snapshot: Snapshot) -> str:
    """Return where and how was measured."""
    told = (
        f"Run {code(snapshot.run_id)} of {prose(snapshot.created_at, 40)}, preset {prose(snapshot.preset, 40)}; "
        f"hardware {code(snapshot.hw_id)}, environment {code(snapshot.env_id)}. {INTERVAL}"
    )
    return f"{told}\nDrift while measuring: {prose(snapshot.drift)}" if snapshot.drift else told


def around(comparison: Comparison) -> list[str]:
    """Return list items of what differs around the figures: likely causes first."""
    items = [f"- {_differs(each)}" for each in (*comparison.hardware, *comparison.causes)]
    items += [f"- only before: {code(label)}" for label in comparison.removed]
    items += [f"- only after: {code(label)}" for label in comparison.added]
    return items


def fitting(texts: Iterable[str], room: int, size: Callable[[str], int]) -> list[str]:
    """Return the first of ``texts`` that take no more than ``room``, each with its line end."""
    taken = []
    for text in texts:
        room -= size(text) + 1
        if room < 0:
            break
        taken.append(text)
    return taken


def left_out(rows: Sequence[Row]) -> str:
    """Return what is said of rows for which there was no room; empty where there are none."""
    if not rows:
        return ""
    counts = Counter(row.kind for row in rows)
    verb = "is" if len(rows) == 1 else "are"
    told = listed([f"{count:,} {kind}" for kind, count in sorted(counts.items())])
    return f"\n{counted(len(rows), 'row')} {verb} not shown for want of room: {told}."


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def _of_change(change: Change, name: str) -> Row:
    kind = kind_of(change)
    verdict = f"**{kind}**" if change.fails else kind
    if change.allowance is not None and change.allowed:
        verdict = f"regressed, allowed until {change.allowance.until.isoformat()}"
    told = [change.message] if change.quantity == STATUS or change.verdict is Verdict.INCONCLUSIVE else []
    told += [change.allowance.reason] if change.allowance is not None and change.allowance.reason else []
    title = "outcome" if change.quantity == STATUS else quantity(change.quantity).title
    before, after = sides(change)
    cells = (verdict, code(name), title, before, after, effect(change), prose("; ".join((*told, *change.notes))))
    return Row(f"| {' | '.join(cells)} |", kind, change.fails)


def _of_cell(each: Named) -> list[Row]:
    cell = each.cell
    found = figures_of(each)
    if cell.status == COMPLETED and found:
        return [Row(_of_figure(figure), cell.status) for figure in found]
    outcome = f"**{cell.status}**" if cell.status == FAILED else cell.status
    cells = (outcome, code(each.name), "", MISSING, MISSING, prose(cell.why))
    return [Row(f"| {' | '.join(cells)} |", cell.status, cell.status == FAILED)]


def _of_figure(figure: Figure) -> str:
    kind = f" ({prose(figure.reading.name, 60)})" if figure.reading.name else ""
    title = f"{figure.quantity.title}{kind}"
    noisy = len(figure.reading.noisy)
    notes = [counted(noisy, "noisy launch", "noisy launches")] if noisy else []
    notes += [finding for finding in figure.cell.findings if not (noisy and finding == "noisy")]
    value, launches = bounded(figure.interval, figure.quantity.unit), str(figure.launches or MISSING)
    cells = (figure.cell.status, code(figure.name), title, value, launches, prose(", ".join(notes)))
    return f"| {' | '.join(cells)} |"


def _differs(each: Difference) -> str:
    before, after = ("absent" if side is None else prose(str(side), 120) for side in (each.before, each.after))
    return f"{code(each.place, 80)}: {before} → {after}"
