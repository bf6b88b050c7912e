"""The tables that a reader of a page sees, read back from its HTML: every value under its head, by row."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser

_TABLE = re.compile(r'<table\b[^>]*\bclass="(?:[^"]* )?data(?: [^"]*)?"[^>]*>.*?</table>', re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """One value as it is shown."""

    heads: frozenset[str]  # of all columns of its table: what the table is about
    head: str
    unit: str
    text: str
    aside: str  # what is shown smaller: bounds, a remark
    order: str  # what it is sorted by; empty where it is not


def page_tables(page: str) -> dict[int, tuple[Seen, ...]]:
    """Return what the tables of a page show of each of its rows, by the row's number in the page.

    A table is one of the class ``data``; a line about a row bears ``data-row``, a value that can be sorted ``data-v``.
    """
    found: dict[int, list[Seen]] = defaultdict(list)
    for table in _TABLE.finditer(page):
        reader = _Reader()
        reader.feed(table[0])
        reader.close()
        heads = frozenset(name for name, _ in reader.heads)
        for row, cells in reader.lines:
            for (head, unit), cell in zip(reader.heads, cells, strict=False):
                if not cell.heading:
                    seen = Seen(heads, head, unit, _plain(cell.text), _plain(cell.aside), cell.order)
                    found[row].append(seen)
    return {row: tuple(cells) for row, cells in found.items()}


@dataclass
class _Cell:
    heading: bool
    order: str = ""
    text: str = ""
    aside: str = ""
    unit: str = ""


class _Reader(HTMLParser):
    """Reads one table: heads with their units, and the cells of the lines that are about a row."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.heads: list[tuple[str, str]] = []
        self.lines: list[tuple[int, list[_Cell]]] = []
        self._cell: _Cell | None = None
        self._within: list[str] = []  # of the open elements inside a cell: which of its parts each begins
        self._in_head = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "thead":
            self._in_head = True
        elif tag == "tbody":
            self._in_head = False
        elif tag == "tr" and not self._in_head:
            number = given.get("data-row", "")
            self.lines.append((int(number) if number.isdecimal() else -1, []))
        elif tag in {"td", "th"}:
            self._cell, self._within = _Cell(tag == "th", given.get("data-v", "")), []
        elif self._cell is not None:
            part = "aside" if tag == "small" else "unit" if "unit" in given.get("class", "").split() else ""
            self._within.append(part)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Do nothing: an element without content, as of a drawing, says nothing in words."""

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            part = next((part for part in reversed(self._within) if part), "text")
            setattr(self._cell, part, getattr(self._cell, part) + data)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"} and self._cell is not None:
            cell, self._cell = self._cell, None
            if self._in_head:
                self.heads.append((_plain(cell.text), _plain(cell.unit)))
            elif self.lines:
                self.lines[-1][1].append(cell)
        elif self._within:
            self._within.pop()

    def close(self) -> None:
        super().close()
        self.lines = [(row, cells) for row, cells in self.lines if row >= 0]


def _plain(text: str) -> str:
    return " ".join(text.split())
