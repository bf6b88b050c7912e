"""The summary of a GitHub step: every row in one table, cut to what GitHub takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.formats import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.changes import Comparison
    from results.formats.markdown import Row
    from results.snapshot import Snapshot

MOST_BYTES = 1024 * 1024
"""GitHub refuses the whole summary of a step beyond: "supports content up to a size of 1024k"."""


class Summary:
    """Markdown for ``$GITHUB_STEP_SUMMARY``, and for any page that shows GitHub's dialect."""

    name = "summary"
    suffix = ".md"
    description = "Markdown summary of a GitHub Actions step, at most 1,024 KiB"
    step_file = "GITHUB_STEP_SUMMARY"

    def of_run(self, snapshot: Snapshot) -> str:
        """Return a table of every figure, failed cells first."""
        rows = markdown.rows_of_figures(snapshot)
        head = markdown.heading(snapshot.suite, (cell.status for cell in snapshot.cells), markdown.OUTCOMES)
        return _page([head, "", markdown.context_of_run(snapshot), "", markdown.OF_FIGURES], rows, [])

    def of_comparison(self, comparison: Comparison) -> str:
        """Return a table of every change, worst first, then what differs around them."""
        rows = markdown.rows_of_changes(comparison)
        head = markdown.heading(comparison.after.suite, (row.kind for row in rows), markdown.KINDS)
        top = [head, "", markdown.context_of_comparison(comparison), "", markdown.OF_CHANGES]
        return _page(top, rows, markdown.around(comparison))


def _page(top: Sequence[str], rows: Sequence[Row], around: Sequence[str]) -> str:
    items = markdown.fitting(around, MOST_BYTES // 4, _size)
    foot = ["", "What differs around them:", "", *items] if items else []
    if len(items) < len(around):
        foot.append(f"- and {len(around) - len(items):,} more")
    room = MOST_BYTES - _size("\n".join([*top, *foot, markdown.left_out(rows)])) - 2
    taken = markdown.fitting((row.text for row in rows), room, _size)
    told = markdown.left_out(rows[len(taken) :])
    return "\n".join([*top, *taken, *([told] if told else []), *foot]) + "\n"


def _size(text: str) -> int:
    return len(text.encode())
