"""A folder of pages for any static host: one per suite, with its data beside it, and an index of them all."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from reports import html, runs
from reports.text import clamp, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reports.model import Tag, View
    from results.merged import Merged
    from results.sources import Source

INDEX = "index.html"
UNNAMED = "unnamed suite"

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_OTHER = re.compile(r"[^a-z0-9]+")
# The index's own, and names that Windows keeps for devices.
_RESERVED = re.compile(r"index|con|prn|aux|nul|(?:com|lpt)[0-9]")
_HEADLINES = 8
"""Verdicts on a card; the page has them all."""
_NAMED = 4
"""Machines that a card names one by one."""


@dataclass(frozen=True)
class Page:
    """All there is of one suite."""

    suite: str  # as it calls itself
    view: View
    merged: Merged

    @property
    def slug(self) -> str:
        """Stem of its file names."""
        return slug(self.suite)


@dataclass(frozen=True)
class Card:
    """What the index says of a page."""

    title: str
    slug: str
    kicker: str
    banner: str
    answers: tuple[str, ...]
    verdicts: tuple[tuple[str, str], ...]  # (workload, headline)
    more: int  # verdicts that are not shown
    states: tuple[Tag, ...]
    remarks: tuple[Tag, ...]


@dataclass(frozen=True)
class Run:
    """A line of the table of runs: the links, then the words, in the order of ``RUN_HEADS``."""

    suite: str
    slug: str
    words: tuple[str, ...]
    remarks: tuple[Tag, ...]


RUN_HEADS = ("run", "machine", "made", "preset", "environment", "harness", "launches")


def slug(suite: str) -> str:
    """Return a file name stem that is safe on every system and stays the same whatever other suites there are.

    A name of at most 60 lower-case letters, digits and inner hyphens is its own; any other loses what is not and gains
    the beginning of its SHA-256, so that no two names meet but by a name made to.
    """
    if _PLAIN.fullmatch(suite) and not _RESERVED.fullmatch(suite):
        return suite
    words = _OTHER.sub("-", suite.lower()).strip("-")[:40].strip("-")
    digest = hashlib.sha256(suite.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{words}-{digest}" if words else f"suite-{digest}"


def files(pages: Sequence[Page]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file, the index last: it links to nothing that is not there yet.

    The same pages give the same bytes, in whatever order they are given. Raises ``HarnessError`` for two pages of one
    name.
    """
    ordered = sorted(pages, key=lambda page: (page.suite.casefold(), page.suite))
    if len({page.slug for page in ordered}) < len(ordered):
        message = "two suites would have one page: " + ", ".join(repr(page.suite[:60]) for page in ordered)
        raise HarnessError(message, "rename one of the suites, or make a site of each")
    for page in ordered:
        yield f"{page.slug}.csv", page.view.downloads.csv
        yield f"{page.slug}.json", page.view.downloads.json
        yield f"{page.slug}.html", html.render(page.view)
    yield INDEX, index(ordered)


def index(pages: Sequence[Page]) -> str:
    """Return the index: a card for each page, and every run in a table, newest first."""
    lines = [(source.created_at, source.run_id, line) for page in pages for source, line in _runs(page)]
    lines.sort(key=lambda line: line[:2], reverse=True)
    machines = {machine for page in pages for machine in page.merged.machines}
    facts = (
        ("suites", str(len(pages))),
        ("machines", str(len(machines))),
        ("runs", str(len(lines))),
        ("rows", f"{sum(len(page.view.rows) for page in pages):,}"),
    )
    return html.plain(
        "site.html.j2",
        "site.css",
        title="Inference reports",
        facts=facts,
        cards=[_card(page) for page in pages],
        heads=RUN_HEADS,
        runs=[line for _, _, line in lines],
    )


def _card(page: Page) -> Card:
    view = page.view
    facts = dict(view.facts)
    machines = page.merged.machines
    named = "; ".join(machines) if len(machines) <= _NAMED else counted(len(machines), "machine")
    parts = (
        named,
        facts.get("made", ""),
        counted(len(page.merged.sources), "run") if len(page.merged.sources) > 1 else "",
        counted(len(view.rows), "row"),
    )
    verdicts = tuple((clamp(each.workload, 80), clamp(each.headline, 240)) for each in view.verdicts)
    panels = view.answer.panels if view.answer else ()
    return Card(
        title=clamp(page.suite, 80) or UNNAMED,
        slug=page.slug,
        kicker=" · ".join(clamp(part, 200) for part in parts if part),
        banner=view.banner,
        answers=tuple(clamp(panel.card.headline, 240) for panel in panels[:_HEADLINES] if panel.card),
        verdicts=verdicts[:_HEADLINES],
        more=len(verdicts[_HEADLINES:]),
        states=view.caveats,
        remarks=tuple(note for note in view.notes if note.tone == "bad"),
    )


def _runs(page: Page) -> Iterator[tuple[Source, Run]]:
    for source in page.merged.sources:
        words = (
            source.run_id,
            source.machine,
            runs.date(source.created_at),
            _text(source.manifest.get("plan"), "preset"),
            source.env_id,
            str(source.manifest.get("harness_version") or ""),
            f"{source.records:,}",
        )
        remarks = tuple(tag for tag in runs.source_notes(source) if tag.tone != "plain")
        yield (
            source,
            Run(clamp(page.suite, 80) or UNNAMED, page.slug, tuple(clamp(word, 100) for word in words), remarks),
        )


def _text(value: object, key: str) -> str:
    return str(value.get(key) or "") if isinstance(value, dict) else ""


def strangers(names: Iterable[str], pages: Sequence[Page]) -> tuple[str, ...]:
    """Return which of the files of a folder look like pages of a site and are none of this one.

    They are left where they are: a link that was handed out goes on working, and nothing of the user's is deleted.
    """
    ours = {INDEX, *(f"{page.slug}.{ending}" for page in pages for ending in ("html", "csv", "json"))}
    return tuple(sorted(name for name in names if name.endswith(".html") and name not in ours))
