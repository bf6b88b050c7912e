"""A comment on a pull or merge request: what fails in sight, the rest folded, cut to what a forge takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from results.formats import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.changes import Comparison
    from results.formats.markdown import Row
    from results.snapshot import Snapshot

MOST_CHARACTERS = 65_535
"""GitHub: "Body is too long (maximum is 65536 characters)"."""
_OPEN, _CLOSE = "<details><summary>{}</summary>\n", "\n</details>"


class Comment:
    """Markdown that begins with a hidden tag, by which the comment of an earlier push is found and replaced."""

    name = "comment"
    suffix = ".md"
    description = (
        "Markdown comment for a pull or merge request, below 65,536 characters, with a hidden tag to update it by"
    )
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return failed cells in sight and every figure folded."""
        rows = markdown.rows_of_figures(snapshot)
        head = markdown.heading(snapshot.suite, (cell.status for cell in snapshot.cells), markdown.OUTCOMES)
        top = [tag(snapshot), head, "", markdown.context_of_run(snapshot)]
        return _page(top, markdown.OF_FIGURES, rows, [])

    def of_comparison(self, comparison: Comparison) -> str:
        """Return what fails the gate in sight; the other changes, and what differs around them, folded."""
        rows = markdown.rows_of_changes(comparison)
        head = markdown.heading(comparison.after.suite, (row.kind for row in rows), markdown.KINDS)
        top = [tag(comparison.after), head, "", markdown.context_of_comparison(comparison)]
        return _page(top, markdown.OF_CHANGES, rows, markdown.around(comparison))


def tag(snapshot: Snapshot) -> str:
    """Return the hidden first line: one comment per suite and hardware. Nothing in it can end it."""
    suite, hardware = (re.sub(r"[^\w.]+", "-", text).strip("-") for text in (snapshot.suite, snapshot.hw_id))
    return f"<!-- harness:{suite}:{hardware} -->"


def _page(top: Sequence[str], head: str, rows: Sequence[Row], around: Sequence[str]) -> str:
    items = markdown.fitting(around, MOST_CHARACTERS // 4, len)
    more = [f"- and {len(around) - len(items):,} more"] if len(items) < len(around) else []
    foot = ["", _OPEN.format("What differs around them"), *items, *more, _CLOSE] if items or more else []
    seen = [row for row in rows if row.foremost]
    rest = [row for row in rows if not row.foremost]
    fold = ["", _OPEN.format(f"{len(rest):,} more"), head]
    frame = [*top, "", head, *fold, _CLOSE, markdown.left_out(rows), *foot]
    texts = [row.text for row in (*seen, *rest)]
    taken = markdown.fitting(texts, MOST_CHARACTERS - len("\n".join(frame)) - 2, len)
    shown, folded = taken[: len(seen)], taken[len(seen) :]
    told = markdown.left_out([*seen, *rest][len(taken) :])
    parts = [*top]
    parts += ["", head, *shown] if shown else []
    parts += [*fold, *folded, _CLOSE] if folded else []
    return "\n".join([*parts, *([told] if told else []), *foot]) + "\n"
