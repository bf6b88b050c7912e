"""The reference of the command line is what the commands say of themselves."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import typer

from harness.cli.app import app

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _paths(command, prefix):
    """Yield the words of every command and group of commands."""
    yield prefix
    for name, inner in getattr(command, "commands", {}).items():
        yield from _paths(inner, f"{prefix} {name}")


def _made():
    spec = importlib.util.spec_from_file_location("command_line", DOCS / "command_line.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_page_is_up_to_date():
    shown = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert shown == _made(), "run `python docs/command_line.py`"


def test_it_has_a_heading_for_every_command():
    heads = re.findall(r"^#+ `(harness [^`]+)`$", _made(), re.MULTILINE)
    assert heads == [*_paths(typer.main.get_command(app), "harness")][1:]


def test_it_holds_nothing_of_the_machine_it_was_made_on():
    assert str(Path.home()) not in _made()
    assert str(Path.cwd()) not in _made()
