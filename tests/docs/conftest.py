"""What the documentation's command lines are held against: the real command line."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from harness.cli.app import app


def _commands(script):
    """Yield the words after ``harness`` of every command of a piece of shell."""
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s+(?:&&|\|\||[|;>])\s+", line):
            found = re.match(r"\s*(?:\S*/)?harness (.*)", part)
            if found:
                yield shlex.split(found[1], comments=True)


def _take(words):
    holder, rest = typer.main.get_command(app), list(words)
    while rest and rest[0] in getattr(holder, "commands", {}):
        holder = holder.commands[rest.pop(0)]
    assert not rest or rest != words, f"harness {words[0]} is no command"
    if rest != ["--help"]:
        holder.make_context(" ".join(words), rest)  # raises for an unknown option, a wrong value, an argument too many


@pytest.fixture(scope="session")
def take_commands():
    """Return a function that has the real command line take every ``harness …`` of some shell, and counts them."""

    def taken(scripts):
        commands = [words for script in scripts for words in _commands(script)]
        for words in commands:
            _take(words)
        return len(commands)

    return taken
