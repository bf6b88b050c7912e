"""The two streams of the command line: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from results.words import showable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import ConsoleOptions, RenderableType


class Terminal(Console):
    """A console on which text from outside can be read, and does nothing: Rich lets escape sequences through."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield what is shown, with every character that has no honest visible form as its code point."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(showable(segment.text), segment.style)


# Without emoji codes: `records.jsonl:100:` is a line of a file.
out = Terminal(soft_wrap=True, emoji=False)
errors = Terminal(stderr=True, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """Print plain text, with no markup in it interpreted."""
    out.print(text, markup=False, highlight=False)


def explain(message: str, hint: str = "") -> None:
    """Print what stands in the way, and what to do, on the error stream; no markup in it is interpreted."""
    errors.print(message, markup=False, highlight=False)
    if hint:
        errors.print("  [bold]hint:[/] ", end="")
        errors.print(hint, markup=False, highlight=False)


def document(text: str) -> None:
    """Print a file for other tools to the byte: in UTF-8, whatever the terminal takes."""
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:  # what a test or another program put in its place takes text
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    raw.write(text.encode())
    raw.flush()


def as_json(value: Any) -> None:
    """Print ``value`` as JSON alone, for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
