"""The rows in full, as a page carries them: as JSON where they are few, else by column, rounded and compressed."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.text import inert_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DIGITS = 10
"""Of a number in compressed rows: they tell a nanosecond in ten seconds, in half the room of all seventeen."""


@dataclass(frozen=True)
class Carried:
    """Text for a script element that no browser runs; ``plain``: JSON, else base64 of zlib of JSON."""

    text: Markup
    plain: bool


def carried(lines: Sequence[Mapping[str, Any]], *, whole: bool) -> Carried:
    """Return the rows for a page that is ``whole``, or for one of so many that a browser would be long at them.

    Of many rows the digests of the certificates remain: they tell as much, in less.
    """
    if whole:
        return Carried(Markup(inert_json(packed(lines))), plain=True)  # noqa: S704 - inert
    return Carried(Markup(compressed(lines, ("certificate",))), plain=False)  # noqa: S704 - base64


def packed(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON that names each column once: ``{"columns": […], "rows": [[…], …]}``."""
    columns = _columns(lines)
    rows = [[line.get(name) for name in columns] for line in lines]
    return json.dumps({"columns": columns, "rows": rows}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def compressed(lines: Sequence[Mapping[str, Any]], left_out: Iterable[str] = ()) -> str:
    """Return rows as base64 of what zlib makes of JSON by column: ``{"size": n, "columns": {"name": […], …}}``.

    The same rows give the same text wherever the same zlib is. Numbers have ``DIGITS`` significant digits.
    """
    dropped = set(left_out)
    columns = {name: [_rounded(line.get(name)) for line in lines] for name in _columns(lines) if name not in dropped}
    found = {"size": len(lines), "columns": columns}
    text = json.dumps(found, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("ascii"))).decode("ascii")


def _columns(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line))


def _rounded(value: object) -> object:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
