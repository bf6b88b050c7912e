"""``python docs/command_line.py``: bring ``docs/command-line.md`` up to date with the commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = Path(__file__).with_name("command-line.md")
_REQUIRED = re.compile(r"\{([A-Z]+(?:\.\.\.)?)\}")  # an argument that must be given, in Typer's usage
_TYPE = re.compile(r" <[\w\[\]]+>$")
_INTRODUCTION = """# Command line

Made from the commands themselves. Each takes `-h` or `--help`; a name in capitals stands for a value.
"""


def page() -> str:
    """Return the page as Markdown: a heading for each command, its help, its usage, its arguments and options."""
    command = typer.main.get_command(app)
    context = command.make_context("harness", [], resilient_parsing=True)
    return (
        "\n".join((_INTRODUCTION, *_about(command, context), *_inner(command, context, "harness", "##"))).rstrip()
        + "\n"
    )


def _inner(group: Any, context: Any, prefix: str, head: str) -> Iterator[str]:
    """Yield the sections of a group's commands, and theirs."""
    for name, command in group.commands.items():
        words = f"{prefix} {name}"
        yield f"{head} `{words}`\n"
        yield from _about(command, context)
        if hasattr(command, "commands"):
            yield from _inner(command, context, words, f"{head}#")
        else:
            usage = _REQUIRED.sub(r"\1", " ".join((words, *command.collect_usage_pieces(context))))
            yield f"```console\n$ {usage}\n```\n"
            for title in ("argument", "option"):
                yield from _table(title, _records(command, context, title))


def _about(command: Any, context: Any) -> Iterator[str]:
    """Yield what a command says of itself; of a group, the list of its commands too."""
    yield f"{_prose(command.help or '')}\n"
    if command.epilog:
        yield f"{_prose(command.epilog)}\n"
    commands = getattr(command, "commands", {})
    if commands:
        yield from _table("command", ((name, _first(inner.help)) for name, inner in commands.items()))
        yield from _table("option", _records(command, context, "option"))


def _records(command: Any, context: Any, kind: str) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and parameter.param_type_name == kind:
            yield _TYPE.sub("", record[0]), " ".join(record[1].split())


def _table(title: str, records: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows = [f"| `{name.replace('|', chr(92) + '|')}` | {_prose(said)} |" for name, said in records]
    if rows:
        yield "\n".join((f"| {title} | |", "|---|---|", *rows)) + "\n"


def _first(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _prose(text: str) -> str:
    """Return plain text as Markdown, what stands in backticks left alone."""
    parts = text.strip().split("`")
    parts[::2] = [re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
